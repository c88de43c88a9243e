// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_WEIGHTED_MAP_HPP
#define BATCHNORM_KERNELS_WEIGHTED_MAP_HPP

#include <algorithm>
#include <cstddef>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/coefficients.hpp"
#include "batchnorm/kernels/instruction_set.hpp"
#include "batchnorm/kernels/list_lines.hpp"
#include "batchnorm/kernels/map.hpp"
#include "batchnorm/kernels/pack.hpp"
#include "batchnorm/kernels/place_bits.hpp"
#include "batchnorm/kernels/selected.hpp"
#include "batchnorm/kernels/tile.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/kernels/tuning.hpp"
#include "batchnorm/kernels/weighted_terms.hpp"
#include "batchnorm/version.hpp"

// The mapping loop over a list of values with weights, by one kernel.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Maps with a formula of two outputs, the first of which is
///
///     y_0 = k_1 x_1 + w (y_0 for x_1 = 0)
///
/// The second one has no weights. Outputs are no inputs.
template <class T>
class WeightedMap {
  using C = parameter_t<T>;

 public:
  /// @param layout   of the outputs, then the inputs
  /// @param weights  of the values of the list
  WeightedMap(const ListLayout& layout, const FormulaCall<T>& call, const Operands<T>& data,
              const C* weights, Index channels)
      : layout_(layout), call_(call), data_(data), weights_(weights) {
    shape_.channels = shape_.columns = shape_.last_width = channels;
    const Index bytes = layout.list().count() * channels * static_cast<Index>(sizeof(T));
    from_memory_ = exceeds_l2(bytes * static_cast<Index>(data.inputs + data.outputs));
  }

  void run(const Execution& given, const ChannelRange& range) const {
    const InstructionSet set =
        usable_instruction_set((std::max)(given.instruction_set(), InstructionSet::avx2));
    const bool across = layout_.is_along_channels() && range.count() >= call_.kernels.width_of(set);
    for_parts(given, layout_.list().count(), range.count(), [&](Index begin, Index end) {
      if (across) {
        map_rows(set, begin, end, range);
      } else {
        map_lines(set, begin, end, range);
      }
    });
  }

 private:
  static constexpr Index rows_together = 8;
  std::size_t input(std::size_t i) const { return data_.outputs + i; }

  // ---- across channels

  struct Rows {
    T terms[rows_together * 2 * weighted_columns];
    T zeros[2 * weighted_columns];
    Tile<T> tile;
  };

  void map_rows(InstructionSet set, Index begin, Index end, const ChannelRange& range) const {
    const ColumnTables<C> tables(call_.source, call_.coefficients(), shape_);
    TableRoom<C> room;
    Rows rows;
    std::fill_n(rows.zeros, 2 * weighted_columns, T(0));
    rows.tile = call_.tile(data_, true);
    for (std::size_t i = 0; i < data_.inputs; ++i) {
      const Index step = layout_.of(input(i)).inner_stride;
      rows.tile.from_step[i] = i == 1 ? 0 : step;
      rows.tile.ahead[i] = i == 1 ? 0 : rows_together * step;
    }
    rows.tile.prefetch = from_memory_;
    rows.tile.to_step[1] = layout_.of(1).inner_stride;
    Pieces pieces(layout_);
    for (Index rank = begin; rank < end;) {
      const Piece piece = pieces.at(rank);
      const Index length = (std::min)({piece.length, end - rank, rows_together});
      for (Index first = range.first; first < range.last;) {
        const Index columns = next_weighted_columns(range.last - first);
        map_block(set, rows, tables.of(first, columns, false, room), {piece.place, length}, first,
                  columns, weights_ + rank);
        first += columns;
      }
      rank += length;
    }
  }

  void map_block(InstructionSet set, Rows& rows, const Tables<C>& k, const Piece& piece,
                 Index first, Index columns, const C* weights) const {
    Tile<T>& tile = rows.tile;
    tile.k = k;
    tile.rows = piece.length;
    tile.columns = columns;
    for (std::size_t i = 0; i < data_.inputs; ++i) {
      tile.from[i] =
          i == 1 ? rows.zeros : data_.from[i] + layout_.offset(input(i), piece.place) + first;
    }
    tile.to = {rows.terms, data_.to[1] + layout_.offset(1, piece.place) + first};
    tile.to_step[0] = columns;
    call_.kernels(set, tile);
    const T* values = data_.from[1] + layout_.offset(input(1), piece.place) + first;
    T* to = data_.to[0] + layout_.offset(0, piece.place) + first;
    for (Index r = 0; r < piece.length; ++r) {
      add_weighted<C>(to, values, TableFactor<C>{k[1]}, rows.terms + r * columns,
                      OneFactor<C>{weights[r]}, columns);
      values += layout_.of(input(1)).inner_stride;
      to += layout_.of(0).inner_stride;
    }
  }

  // ---- along values

  /// A line, and room for its operands.
  struct Lines {
    explicit Lines(const ListLayout& layout) : line(layout) {
      for (T(&each)[room] : inputs) std::fill_n(each, room, T(0));
      for (T(&each)[room] : outputs) std::fill_n(each, room, T(0));
      std::fill_n(terms, room, T(0));
      std::fill_n(zeros, room, T(0));
    }
    static constexpr Index room = margin + ListLine::capacity + PlaceBits::per_byte;
    ListLine line;
    T inputs[max_inputs][room];
    T outputs[max_outputs][room];
    T terms[room];
    T zeros[room];
  };

  void map_lines(InstructionSet set, Index begin, Index end, const ChannelRange& range) const {
    const ColumnTables<C> tables(call_.source, call_.coefficients(), shape_);
    TableRoom<C> room;
    Lines lines(layout_);
    const Index most = tables.most_columns();
    for (Index first = range.first; first < range.last; first += most) {
      const Index channels = (std::min)(most, range.last - first);
      const Tables<C> k = tables.of(first, channels, false, room);
      for (Index rank = begin; rank < end; rank += lines.line.length()) {
        lines.line.locate(rank, (std::min)(packed_elements, end - rank));
        for (Index c = 0; c < channels; ++c) map_line(set, lines, k, first, c, weights_ + rank);
      }
    }
  }

  void map_line(InstructionSet set, Lines& lines, const Tables<C>& k, Index first, Index c,
                const C* weights) const {
    const Index length = lines.line.length();
    const bool direct = lines.line.is_one_piece() && layout_.is_along_values() &&
                        length >= call_.kernels.width_of(set);
    const T* from[max_inputs] = {};
    T* strided[max_outputs] = {};
    T* to[max_outputs] = {};
    for (std::size_t o = 0; o < data_.outputs; ++o) {
      strided[o] = data_.to[o] + (first + c) * layout_.of(o).column_stride;
      to[o] =
          direct ? strided[o] + layout_.offset(o, lines.line.place()) : lines.outputs[o] + margin;
    }
    for (std::size_t i = 0; i < data_.inputs; ++i) {
      const T* const at = data_.from[i] + (first + c) * layout_.of(input(i)).column_stride;
      from[i] =
          direct ? at + layout_.offset(input(i), lines.line.place()) : lines.inputs[i] + margin;
      if (!direct) lines.line.copy(input(i), at, lines.inputs[i] + margin);
    }
    Tile<T> tile = call_.tile(data_, false);
    tile.rows = 1;
    tile.columns = length;
    for (std::size_t i = 0; i < max_coefficients; ++i) {
      tile.k[i] = k[i] == nullptr ? nullptr : k[i] + c;
    }
    tile.from = {from[0], lines.zeros + margin, from[2]};
    tile.to = {lines.terms + margin, to[1]};
    call_.kernels(set, tile);
    add_weighted<C>(to[0], from[1], OneFactor<C>{*tile.k[1]}, lines.terms + margin,
                    TableFactor<C>{weights}, length);
    if (direct) return;
    for (std::size_t o = 0; o < data_.outputs; ++o) {
      lines.line.copy(o, strided[o], static_cast<const T*>(to[o]));
    }
  }

  const ListLayout& layout_;
  const FormulaCall<T>& call_;
  const Operands<T>& data_;
  const C* weights_;
  Traversal shape_;
  bool from_memory_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_WEIGHTED_MAP_HPP
