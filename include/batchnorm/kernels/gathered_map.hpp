// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_GATHERED_MAP_HPP
#define BATCHNORM_KERNELS_GATHERED_MAP_HPP

#include <algorithm>
#include <cstddef>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/coefficients.hpp"
#include "batchnorm/kernels/list_lines.hpp"
#include "batchnorm/kernels/map.hpp"
#include "batchnorm/kernels/pack.hpp"
#include "batchnorm/kernels/selected.hpp"
#include "batchnorm/kernels/tile.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/kernels/tuning.hpp"
#include "batchnorm/kernels/value_list.hpp"
#include "batchnorm/version.hpp"

// The mapping loop over a list of values. An element is read and written once, so that outputs may
// be inputs.
// Longer than most: maps with and without weights cut one list in one way.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

template <class T>
class GatheredMap {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;

 public:
  /// @param layout     of the outputs, then the inputs
  /// @param streaming  whether outputs go past the cache
  GatheredMap(const ListLayout& layout, const FormulaCall<T>& call, const Operands<T>& data,
              Index channels, bool streaming)
      : layout_(layout),
        call_(call),
        data_(data),
        streaming_(streaming),
        joins_(channels < width_of() && layout.all([=](const Layout& each) {
          return each.column_stride == 1 && each.inner_stride == channels;
        })) {
    shape_.channels = shape_.columns = shape_.last_width = channels;
    shape_.outer = 1;
    shape_.inner = layout.list().count();
    if (joins_) shape_.columns = (std::max<Index>)(1, max_joined_row / channels) * channels;
  }

  void run(const Execution& given, const ChannelRange& range) const {
    for_parts(given, layout_.list().count(), range.count(), [&](Index begin, Index end) {
      map_part(set_of(given), begin, end, range);
      if (streaming_) finish_streaming();
    });
  }

  /// Maps what is on this list and on another one, a few places at a time: what they have in
  /// between each other is read while it is in the cache.
  void run_with(const GatheredMap& other, const Execution& given, const ChannelRange& range) const {
    const Index step = (std::max<Index>)(1, elements_per_task / range.count());
    for_parts(given, layout_.places(), range.count(), [&](Index begin, Index end) {
      for (Index place = begin; place < end; place += step) {
        const Index last = (std::min)(end, place + step);
        for (const GatheredMap* const map : {this, &other}) {
          const ValueList& list = map->layout_.list();
          map->map_part(set_of(given), list.count_before(place), list.count_before(last), range);
        }
      }
      if (streaming_) finish_streaming();
    });
  }

  /// dL/dx where values have weights. `call` has constant statistics, and `mean_terms` is the same
  /// call without:
  ///
  ///     dL/dx = a g + w (a (centred b + c))
  ///
  /// The second term is what the formula gives for dy = 0. Kernels know no weights; so both terms
  /// are made by them and joined here. Weights are those given times `scale`.
  void run_weighted(const Execution& given, const ChannelRange& range,
                    const FormulaCall<T>& mean_terms, const double* weights, double scale) const {
    for_parts(given, layout_.list().count(), range.count(), [&](Index begin, Index end) {
      Lines lines(*this);
      for (Index rank = begin; rank < end; rank += lines.line.length()) {
        lines.line.locate(rank, (std::min)(packed_elements, end - rank));
        for (Index channel = range.first; channel < range.last; ++channel) {
          map_weighted_line(set_of(given), lines, channel, mean_terms, weights + rank, scale);
        }
      }
    });
  }

 private:
  Index stride(std::size_t operand) const { return layout_.of(operand).column_stride; }
  /// Of the widest kernel that is used.
  Index width_of() const { return call_.kernels.width_of(set_of({})); }
  InstructionSet set_of(const Execution& execution) const {
    return usable_instruction_set((std::max)(execution.instruction_set(), InstructionSet::avx2));
  }

  /// A line, and room for its operands.
  struct Lines {
    explicit Lines(const GatheredMap& map) : line(map.layout_) {
      for (T(&each)[room] : inputs) std::fill_n(each, room, T(0));
      for (T(&each)[room] : outputs) std::fill_n(each, room, T(0));
    }
    static constexpr Index room = margin + ListLine::capacity + PlaceBits::per_byte;
    ListLine line;
    T inputs[max_inputs][room];
    T outputs[max_outputs][room];
  };

  void map_part(InstructionSet set, Index begin, Index end, const ChannelRange& range) const {
    const bool across = layout_.is_along_channels() && shape_.channels >= width_of();
    const ColumnTables<C> tables(call_.source, call_.coefficients(), shape_);
    TableRoom<C> room;
    Lines lines(*this);
    Pieces pieces(layout_);
    if (joins_) {
      const Tables<C> k = tables.of(0, shape_.columns, true, room);
      for (Index rank = begin; rank < end;) {
        const Piece piece = pieces.at(rank);
        const Index length = (std::min)(piece.length, end - rank);
        map_joined(set, lines, k, piece.place, length);
        rank += length;
      }
      return;
    }
    const Index together = tables.most_columns();
    for (Index first = range.first; first < range.last; first += together) {
      const Index channels = (std::min)(together, range.last - first);
      if (across && channels < width_of()) {
        // What is left of many channels, as the tables are cut.
        map_lines(set, lines, tables.of(first, channels, true, room), begin, end, first, channels);
        continue;
      }
      const Tables<C> k = tables.of(first, channels, false, room);
      if (across) {
        for (Index rank = begin; rank < end;) {
          const Piece piece = pieces.at(rank);
          const Index length = (std::min)(piece.length, end - rank);
          map_piece(set, k, piece.place, length, {first, first + channels}, true);
          rank += length;
        }
      } else {
        map_runs(set, lines, pieces, k, begin, end, {first, first + channels, range.next});
      }
    }
  }

  /// Few channels of neighbouring places, in rows through which the channels cycle.
  void map_joined(InstructionSet set, Lines& lines, const Tables<C>& k, Index place,
                  Index length) const {
    const Index per_row = shape_.columns / shape_.channels;
    const Index rows = length / per_row;
    Tile<T> tile = call_.tile(data_, true);
    tile.k = k;
    tile.streaming = streaming_;
    tile.from_step.fill(shape_.columns);
    tile.to_step.fill(shape_.columns);
    locate(tile, place, 0);
    tile.rows = rows;
    tile.columns = shape_.columns;
    if (rows > 0) call_.kernels(set, tile);
    tile.columns = (length - rows * per_row) * shape_.channels;
    if (tile.columns == 0) return;
    tile.rows = 1;
    locate(tile, place + rows * per_row, 0);
    if (tile.columns >= width_of()) {
      call_.kernels(set, tile);
      return;
    }
    const Tile<T> whole = tile;
    for (std::size_t i = 0; i < data_.inputs; ++i) {
      std::copy(whole.from[i], whole.from[i] + tile.columns, lines.inputs[i] + margin);
      tile.from[i] = lines.inputs[i] + margin;
    }
    for (std::size_t o = 0; o < data_.outputs; ++o) tile.to[o] = lines.outputs[o] + margin;
    tile.streaming = false;
    data_.fill_unused(tile);
    call_.kernels(set, tile);
    for (std::size_t o = 0; o < data_.outputs; ++o) {
      std::copy(tile.to[o], tile.to[o] + tile.columns, whole.to[o]);
    }
  }

  void map_runs(InstructionSet set, Lines& lines, Pieces& pieces, const Tables<C>& k, Index begin,
                Index end, const ChannelRange& range) const {
    if (layout_.has_bits()) return map_lines(set, lines, k, begin, end, range.first, range.count());
    const Index shortest = width_of();
    const bool direct = layout_.is_along_values();
    for (Index rank = begin; rank < end;) {
      Piece piece = pieces.at(rank);
      piece.length = (std::min)(piece.length, end - rank);
      if (direct && piece.length >= shortest) {
        map_piece(set, k, piece.place, piece.length, range, false);
        rank += piece.length;
        continue;
      }
      Index length = piece.length;
      while (length < packed_elements && rank + length < end) {
        piece = pieces.at(rank + length);
        if (direct && piece.length >= shortest) break;
        length += piece.length;
      }
      length = (std::min)({length, packed_elements, end - rank});
      map_lines(set, lines, k, rank, rank + length, range.first, range.count());
      rank += length;
    }
  }

  /// One piece of some channels, where it is.
  void map_piece(InstructionSet set, const Tables<C>& k, Index place, Index length,
                 const ChannelRange& range, bool across) const {
    Tile<T> tile = call_.tile(data_, across);
    tile.k = k;
    tile.rows = across ? length : range.count();
    tile.columns = across ? range.count() : length;
    tile.streaming = streaming_;
    tile.prefetch = !across && (streaming_ || range.next != 0);
    for (std::size_t i = 0; i < data_.inputs; ++i) {
      const Layout& layout = layout_.of(data_.outputs + i);
      tile.from_step[i] = across ? layout.inner_stride : layout.column_stride;
      tile.ahead[i] = range.next != 0 ? range.next * layout.column_stride
                                      : prefetch_bytes / static_cast<Index>(sizeof(T));
    }
    for (std::size_t o = 0; o < data_.outputs; ++o) {
      const Layout& layout = layout_.of(o);
      tile.to_step[o] = across ? layout.inner_stride : layout.column_stride;
    }
    locate(tile, place, range.first);
    call_.kernels(set, tile);
  }

  void locate(Tile<T>& tile, Index place, Index channel) const {
    for (std::size_t i = 0; i < data_.inputs; ++i) {
      const std::size_t operand = data_.outputs + i;
      tile.from[i] = data_.from[i] + layout_.offset(operand, place) + channel * stride(operand);
    }
    for (std::size_t o = 0; o < data_.outputs; ++o) {
      tile.to[o] = data_.to[o] + layout_.offset(o, place) + channel * stride(o);
    }
    data_.fill_unused(tile);
  }

  /// Packed, channel by channel.
  void map_lines(InstructionSet set, Lines& lines, const Tables<C>& k, Index begin, Index end,
                 Index first, Index channels) const {
    for (Index rank = begin; rank < end; rank += lines.line.length()) {
      lines.line.locate(rank, (std::min)(packed_elements, end - rank));
      for (Index c = 0; c < channels; ++c) {
        Tile<T> tile = line_tile(lines, call_, data_.outputs);
        for (std::size_t i = 0; i < max_coefficients; ++i) {
          tile.k[i] = k[i] == nullptr ? nullptr : k[i] + c;
        }
        read(lines, first + c);
        call_.kernels(set, tile);
        write(lines, first + c);
      }
    }
  }

  Tile<T> line_tile(Lines& lines, const FormulaCall<T>& call, std::size_t outputs) const {
    Tile<T> tile = call.tile(data_, false);
    tile.outputs = static_cast<int>(outputs);
    tile.rows = 1;
    tile.columns = lines.line.length();
    for (std::size_t i = 0; i < max_inputs; ++i) tile.from[i] = lines.inputs[i] + margin;
    for (std::size_t o = 0; o < max_outputs; ++o) tile.to[o] = lines.outputs[o] + margin;
    return tile;
  }

  void read(Lines& lines, Index channel) const {
    for (std::size_t i = 0; i < data_.inputs; ++i) {
      const std::size_t operand = data_.outputs + i;
      lines.line.copy(operand, data_.from[i] + channel * stride(operand), lines.inputs[i] + margin);
    }
  }
  void write(Lines& lines, Index channel) const {
    for (std::size_t o = 0; o < data_.outputs; ++o) {
      lines.line.copy(o, data_.to[o] + channel * stride(o),
                      static_cast<const T*>(lines.outputs[o] + margin));
    }
  }

  void map_weighted_line(InstructionSet set, Lines& lines, Index channel,
                         const FormulaCall<T>& mean_terms, const double* weights,
                         double scale) const {
    C k[max_coefficients];
    C* to[max_coefficients];
    Tile<T> tile = line_tile(lines, call_, data_.outputs);
    for (std::size_t i = 0; i < max_coefficients; ++i) tile.k[i] = to[i] = &k[i];
    call_.source.write(channel, channel + 1, to);
    read(lines, channel);
    call_.kernels(set, tile);
    // The same again with dy = 0, into what was the room of dy; the gradient of a residual, 0, into
    // that of the residual.
    T* const term = lines.inputs[1] + margin;
    std::fill_n(term, tile.columns, T(0));
    tile.options = &mean_terms.options;
    tile.to[0] = term;
    tile.to[1] = lines.inputs[2] + margin;
    mean_terms.kernels(set, tile);
    T* const dx = lines.outputs[0] + margin;
    for (Index i = 0; i < tile.columns; ++i) {
      dx[i] = convert<T>(A(convert<A>(dx[i]) + A(weights[i] * scale) * convert<A>(term[i])));
    }
    write(lines, channel);
  }

  const ListLayout& layout_;
  const FormulaCall<T>& call_;
  const Operands<T>& data_;
  Traversal shape_;
  bool streaming_;
  bool joins_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_GATHERED_MAP_HPP
