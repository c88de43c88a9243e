// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_WEIGHTED_REDUCE_HPP
#define BATCHNORM_KERNELS_WEIGHTED_REDUCE_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/coefficients.hpp"
#include "batchnorm/kernels/instruction_set.hpp"
#include "batchnorm/kernels/list_lines.hpp"
#include "batchnorm/kernels/map.hpp"
#include "batchnorm/kernels/pack.hpp"
#include "batchnorm/kernels/reduce_kernel.hpp"
#include "batchnorm/kernels/selected.hpp"
#include "batchnorm/kernels/tile.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/kernels/tuning.hpp"
#include "batchnorm/kernels/weighted_terms.hpp"
#include "batchnorm/version.hpp"

// The reducing loop over a list of values with weights, by kernels.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// What is summed: of the first and the last operand, this one times its weights, two sums; and of
/// all operands as they are, further ones, of which the first two are not wanted. Both formulas
/// have the same coefficients.
template <class T>
struct WeightedSums {
  const FormulaCall<T>& weighted;
  const FormulaCall<T>* plain;  ///< null: no further ones
  std::size_t sums;             ///< of both
};

/// Sums some values at a time: first as they are, then, while they are in the cache, with weights.
/// All cuts depend on the list alone.
template <class T>
class WeightedReducer {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;
  using Targets = std::array<A*, max_sums>;

 public:
  /// @param layout   of the inputs
  /// @param weights  of the values of the list
  WeightedReducer(const ListLayout& layout, const C* weights, const Operands<T>& data,
                  const WeightedSums<T>& what, Index channels)
      : layout_(layout), weights_(weights), data_(data), what_(what) {
    shape_.channels = shape_.columns = shape_.last_width = channels;
    const Index bytes = layout.list().count() * channels * static_cast<Index>(sizeof(T));
    from_memory_ = exceeds_l2(bytes * static_cast<Index>(data.inputs));
  }

  /// The sums of the channels of a range, sum j of channel 0 at into[j].
  void run(const Execution& given, const ChannelRange& range, A* const* into) const {
    const InstructionSet set =
        usable_instruction_set((std::max)(given.instruction_set(), InstructionSet::avx2));
    const Index count = layout_.list().count();
    const Index slices = (std::min)(max_slices, count / values_per_slice + 1);
    const Index size = range.count();
    std::vector<A> totals(static_cast<std::size_t>(slices * size) * what_.sums, A(0));
    const auto total = [&](Index slice, std::size_t j) {
      return totals.data() +
             (slice * static_cast<Index>(what_.sums) + static_cast<Index>(j)) * size;
    };
    given.for_elements(count * size).for_each(slices, [&](Index slice) {
      Targets targets{};
      for (std::size_t j = 0; j < what_.sums; ++j) targets[j] = total(slice, j);
      const Index begin = slice * count / slices;
      const Index end = (slice + 1) * count / slices;
      if (layout_.is_along_channels() && size >= what_.weighted.kernels.width_of(set)) {
        sum_rows(set, begin, end, range, targets);
      } else {
        sum_lines(set, begin, end, range, targets);
      }
    });
    for (std::size_t j = 0; j < what_.sums; ++j) {
      std::copy_n(total(0, j), size, into[j] + range.first);
      for (Index slice = 1; slice < slices; ++slice) {
        const A* const more = total(slice, j);
        for (Index c = 0; c < size; ++c) into[j][range.first + c] += more[c];
      }
    }
  }

 private:
  static constexpr Index values_per_slice = 512;

  /// The operand that is weighted, and how many sums are of it.
  std::size_t last() const { return data_.inputs - 1; }
  static constexpr std::size_t weighted_sums = 2;

  Tile<T> plain_tile(bool across) const {
    return what_.plain == nullptr ? Tile<T>() : what_.plain->tile(data_, across);
  }
  Tile<T> weighted_tile(bool across) const {
    Tile<T> tile = what_.weighted.tile(data_, across);
    tile.inputs = 2;
    return tile;
  }

  // ---- across channels

  struct Rows {
    T weighed[max_terms_per_total * 2 * weighted_columns];
    A unwanted[weighted_sums][2 * weighted_columns];
    Tile<T> plain;
    Tile<T> weighted;
  };

  void sum_rows(InstructionSet set, Index begin, Index end, const ChannelRange& range,
                const Targets& into) const {
    const ColumnTables<C> tables(what_.weighted.source, what_.weighted.coefficients(), shape_);
    TableRoom<C> room;
    Rows rows;
    std::fill_n(rows.unwanted[0], 2 * weighted_columns, A(0));
    std::fill_n(rows.unwanted[1], 2 * weighted_columns, A(0));
    rows.plain = plain_tile(true);
    rows.weighted = weighted_tile(true);
    for (std::size_t i = 0; i < data_.inputs; ++i) {
      rows.plain.from_step[i] = layout_.of(i).inner_stride;
      rows.plain.ahead[i] = max_terms_per_total * layout_.of(i).inner_stride;
    }
    rows.plain.prefetch = from_memory_;
    rows.weighted.prefetch = from_memory_ && what_.plain == nullptr;
    rows.weighted.from_step[0] = layout_.of(0).inner_stride;
    rows.weighted.ahead[0] = max_terms_per_total * layout_.of(0).inner_stride;
    Pieces pieces(layout_);
    for (Index rank = begin; rank < end;) {
      const Piece piece = pieces.at(rank);
      const Index length = (std::min)({piece.length, end - rank, max_terms_per_total});
      for (Index first = range.first; first < range.last;) {
        const Index columns = next_weighted_columns(range.last - first);
        sum_block(set, rows, tables.of(first, columns, false, room), {piece.place, length}, first,
                  columns, weights_ + rank, first - range.first, into);
        first += columns;
      }
      rank += length;
    }
  }

  /// Some rows of some columns; `to` is the place of the first one among totals.
  void sum_block(InstructionSet set, Rows& rows, const Tables<C>& k, const Piece& piece,
                 Index first, Index columns, const C* weights, Index to,
                 const Targets& into) const {
    const auto at = [&](std::size_t i) {
      return data_.from[i] + layout_.offset(i, piece.place) + first;
    };
    if (what_.plain != nullptr) {
      Tile<T>& plain = rows.plain;
      plain.rows = piece.length;
      plain.columns = columns;
      plain.k = k;
      for (std::size_t i = 0; i < data_.inputs; ++i) plain.from[i] = at(i);
      for (std::size_t j = 0; j < what_.sums; ++j) {
        plain.sums[j] = j < weighted_sums ? rows.unwanted[j] : into[j] + to;
      }
      what_.plain->kernels(set, plain);
    }
    for (Index r = 0; r < piece.length; ++r) {
      const T* const values = at(last()) + r * layout_.of(last()).inner_stride;
      weigh<T>(rows.weighed + r * columns, values, OneFactor<C>{weights[r]}, columns);
    }
    Tile<T>& weighted = rows.weighted;
    weighted.rows = piece.length;
    weighted.columns = columns;
    weighted.k = k;
    weighted.from = {at(0), rows.weighed, at(0)};
    weighted.from_step[1] = columns;
    weighted.ahead[1] = 0;
    for (std::size_t j = 0; j < weighted_sums; ++j) weighted.sums[j] = into[j] + to;
    what_.weighted.kernels(set, weighted);
  }

  // ---- along values

  /// A line, room for its operands, and the totals of the lanes of some channels.
  struct Lines {
    explicit Lines(const ListLayout& layout) : line(layout) {
      for (T(&each)[room] : packed) std::fill_n(each, room, T(0));
      std::fill_n(weighed, room, T(0));
    }
    static constexpr Index room = margin + ListLine::capacity + margin;
    ListLine line;
    T packed[max_inputs][room];
    T weighed[room];
    A totals[max_sums][channels_per_tile * max_lanes];
    A unwanted[weighted_sums][max_lanes];
  };

  void sum_lines(InstructionSet set, Index begin, Index end, const ChannelRange& range,
                 const Targets& into) const {
    const ColumnTables<C> tables(what_.weighted.source, what_.weighted.coefficients(), shape_);
    TableRoom<C> room;
    Lines lines(layout_);
    std::fill_n(lines.unwanted[0], weighted_sums * max_lanes, A(0));
    const Index lanes = what_.weighted.kernels.lanes_of(set);
    for (Index first = range.first; first < range.last; first += channels_per_tile) {
      const Index channels = (std::min)(channels_per_tile, range.last - first);
      const Tables<C> k = tables.of(first, channels, false, room);
      std::fill_n(lines.totals[0], static_cast<Index>(max_sums) * channels_per_tile * max_lanes,
                  A(0));
      for (Index rank = begin; rank < end; rank += lines.line.length()) {
        lines.line.locate(rank, (std::min)(packed_elements, end - rank));
        for (Index c = 0; c < channels; ++c) {
          sum_line(set, lines, k, first + c, c, weights_ + rank);
        }
      }
      for (std::size_t j = 0; j < what_.sums; ++j) {
        for (Index c = 0; c < channels; ++c) {
          A& sum = into[j][first - range.first + c];
          for (Index lane = 0; lane < lanes; ++lane) sum += lines.totals[j][c * max_lanes + lane];
        }
      }
    }
  }

  void sum_line(InstructionSet set, Lines& lines, const Tables<C>& k, Index channel, Index c,
                const C* weights) const {
    const FormulaCall<T>& call = what_.weighted;
    const Index length = lines.line.length();
    const bool direct = lines.line.is_one_piece() && layout_.is_along_values() &&
                        length >= call.kernels.width_of(set);
    Tile<T> tile = weighted_tile(false);
    tile.rows = 1;
    tile.columns = length;
    for (std::size_t i = 0; i < max_coefficients; ++i) {
      tile.k[i] = k[i] == nullptr ? nullptr : k[i] + c;
    }
    for (std::size_t j = 0; j < what_.sums; ++j) tile.sums[j] = lines.totals[j] + c * max_lanes;
    for (std::size_t i = 0; i < data_.inputs; ++i) {
      const T* const from = data_.from[i] + channel * layout_.of(i).column_stride;
      tile.from[i] =
          direct ? from + layout_.offset(i, lines.line.place()) : lines.packed[i] + margin;
      if (!direct) lines.line.copy(i, from, lines.packed[i] + margin);
    }
    weigh<T>(lines.weighed + margin, tile.from[last()], TableFactor<C>{weights}, length);
    if (what_.plain != nullptr) {
      Tile<T> plain = tile;
      plain.inputs = static_cast<int>(data_.inputs);
      plain.options = &what_.plain->options;
      for (std::size_t j = 0; j < weighted_sums; ++j) plain.sums[j] = lines.unwanted[j];
      what_.plain->kernels(set, plain);
    }
    tile.from[1] = lines.weighed + margin;
    call.kernels(set, tile);
  }

  const ListLayout& layout_;
  const C* weights_;
  const Operands<T>& data_;
  WeightedSums<T> what_;
  Traversal shape_;
  bool from_memory_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_WEIGHTED_REDUCE_HPP
