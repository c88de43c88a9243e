// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_WEIGHTED_ROWS_HPP
#define BATCHNORM_KERNELS_WEIGHTED_ROWS_HPP

#include <algorithm>
#include <array>
#include <cstddef>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/coefficients.hpp"
#include "batchnorm/kernels/instruction_set.hpp"
#include "batchnorm/kernels/instructions.hpp"
#include "batchnorm/kernels/join_results.hpp"
#include "batchnorm/kernels/list_lines.hpp"
#include "batchnorm/kernels/map.hpp"
#include "batchnorm/kernels/pack.hpp"
#include "batchnorm/kernels/partition.hpp"
#include "batchnorm/kernels/selected.hpp"
#include "batchnorm/kernels/tile.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/kernels/weighted_sums.hpp"
#include "batchnorm/version.hpp"

// Weights where the channels of a value are neighbours: one weight for a row of channels.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Weighted sums of the first operand, about the first coefficient of `call`, of the ranks and
/// channels of a region: sixteen values at a time, whose places are looked up once.
template <class T>
class WeightedRowSums {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;
  using Rows = WeightedRows<T>;
  static constexpr Index most_channels = 256;

 public:
  WeightedRowSums(const ListLayout& layout, const Operands<T>& data, const FormulaCall<T>& call,
                  const double* weights)
      : layout_(layout), data_(data), call_(call), weights_(weights) {}

  template <class Targets>
  void sum(InstructionSet set, const Region& region, bool prefetch, const Targets& into) const {
    for (Index first = region.first_column; first < region.last_column; first += most_channels) {
      const Index channels = (std::min)(most_channels, region.last_column - first);
      Targets at = into;
      for (std::size_t j = 0; j < 2; ++j) at[j] += first - region.first_column;
      sum_block(set, region, first, channels, prefetch, at);
    }
  }

 private:
  /// Channels that fill no unit are summed beside zeros: their bits do not depend on how many
  /// there are.
  template <class Targets>
  void sum_block(InstructionSet set, const Region& region, Index first, Index channels,
                 bool prefetch, const Targets& into) const {
    A pivots[most_channels + Rows::unit];
    write_pivots(first, channels, pivots);
    const Index whole = channels / Rows::unit * Rows::unit;
    const Index rest = channels - whole;
    T packed[Rows::most][Rows::unit];
    const T* packed_rows[Rows::most];
    for (Index r = 0; r < Rows::most; ++r) {
      std::fill_n(packed[r], Rows::unit, T(0));
      packed_rows[r] = packed[r];
    }
    A rest_sums[2][Rows::unit];
    for (A(&each)[Rows::unit] : rest_sums) std::fill_n(each, Rows::unit, A(0));
    const T* places[2][Rows::most];
    Pieces pieces(layout_);
    Index count = locate(pieces, region.first_row, region.last_row, places[0]);
    int now = 0;
    for (Index rank = region.first_row; rank < region.last_row; now = 1 - now) {
      const T* const* const rows = places[now];
      const Index next = locate(pieces, rank + count, region.last_row, places[1 - now]);
      const bool ahead = prefetch && next == count;
      run_for_masks<WeightedRowsKernel<T>>(
          set, {rows, ahead ? places[1 - now] : nullptr, weights_ + rank, count, first, whole,
                pivots, into[0], into[1]});
      for (Index r = 0; rest > 0 && r < count; ++r) {
        std::copy(rows[r] + first + whole, rows[r] + first + channels, packed[r]);
      }
      if (rest > 0) {
        run_for_masks<WeightedRowsKernel<T>>(
            set, {packed_rows, nullptr, weights_ + rank, count, 0, Rows::unit, pivots + whole,
                  rest_sums[0], rest_sums[1]});
      }
      rank += count;
      count = next;
    }
    for (std::size_t j = 0; j < 2; ++j) {
      for (Index c = 0; c < rest; ++c) into[j][whole + c] += rest_sums[j][c];
    }
  }

  void write_pivots(Index first, Index channels, A* pivots) const {
    C rounded[most_channels];
    C* to[max_coefficients] = {rounded};
    call_.source.write(first, first + channels, to);
    for (Index c = 0; c < channels; ++c) pivots[c] = convert<A>(rounded[c]);
    std::fill_n(pivots + channels, Rows::unit, A(0));
  }

  /// Where some values begin, from a rank on. @return how many
  Index locate(Pieces& pieces, Index rank, Index last, const T** rows) const {
    const Index count = (std::min)(Rows::most, last - rank);
    for (Index r = 0; r < count;) {
      const Piece piece = pieces.at(rank + r);
      const T* at = data_.from[0] + layout_.offset(0, piece.place);
      for (const Index end = (std::min)(count, r + piece.length); r < end; ++r) {
        rows[r] = at;
        at += layout_.of(0).inner_stride;
      }
    }
    return count;
  }

  const ListLayout& layout_;
  const Operands<T>& data_;
  const FormulaCall<T>& call_;
  const double* weights_;
};

/// dL/dx where values have weights, times `scale`, as GatheredMap::run_weighted.
template <class T>
class WeightedRowMap {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;

 public:
  WeightedRowMap(const ListLayout& layout, const FormulaCall<T>& call,
                 const FormulaCall<T>& mean_terms, const Operands<T>& data, Index channels,
                 const double* weights, double scale, bool streaming)
      : layout_(layout),
        call_(call),
        mean_terms_(mean_terms),
        data_(data),
        weights_(weights),
        scale_(scale),
        streaming_(streaming) {
    shape_.channels = shape_.columns = shape_.last_width = channels;
  }

  static bool fits(const ListLayout& layout, const FormulaCall<T>& call, Index channels) {
    return layout.is_along_channels() &&
           channels >= call.kernels.width_of(usable_instruction_set(InstructionSet::avx2));
  }

  void run(const Execution& given, const ChannelRange& range) const {
    const InstructionSet set =
        usable_instruction_set((std::max)(given.instruction_set(), InstructionSet::avx2));
    for_parts(given, layout_.list().count(), range.count(), [&](Index begin, Index end) {
      const ColumnTables<C> tables(call_.source, call_.coefficients(), shape_);
      TableRoom<C> room;
      Rows rows;
      Pieces pieces(layout_);
      for (Index first = range.first; first < range.last;) {
        // The last columns are not left alone: they might be too few for a kernel.
        const Index left = range.last - first;
        const Index columns = left < 2 * most_columns ? left : most_columns;
        const Tables<C> k = tables.of(first, columns, false, room);
        for (Index rank = begin; rank < end;) {
          const Piece piece = pieces.at(rank);
          const Index length =
              (std::min)({piece.length, end - rank, (std::max<Index>)(1, room_ / columns)});
          map_rows(set, rows, k, first, columns, piece.place, length, weights_ + rank);
          rank += length;
        }
        first += columns;
      }
      if (streaming_) finish_streaming();
    });
  }

 private:
  static constexpr Index most_columns = 256;
  static constexpr Index room_ = 8 * most_columns;
  struct Rows {
    static constexpr Index length = margin + room_ + WeightedTermsKernel<T>::room;
    T gradients[max_outputs][length];
    T terms[max_outputs][length];
    T zeros[margin + 2 * most_columns];
    Rows() {
      for (T(&each)[length] : gradients) std::fill_n(each, length, T(0));
      for (T(&each)[length] : terms) std::fill_n(each, length, T(0));
      std::fill_n(zeros, margin + 2 * most_columns, T(0));
    }
  };

  void map_rows(InstructionSet set, Rows& rows, const Tables<C>& k, Index first, Index columns,
                Index place, Index length, const double* weights) const {
    Tile<T> tile = call_.tile(data_, true);
    tile.k = k;
    tile.rows = length;
    tile.columns = columns;
    for (std::size_t i = 0; i < data_.inputs; ++i) {
      const std::size_t operand = data_.outputs + i;
      tile.from[i] = data_.from[i] + layout_.offset(operand, place) + first;
      tile.from_step[i] = layout_.of(operand).inner_stride;
    }
    for (std::size_t o = 0; o < data_.outputs; ++o) tile.to[o] = rows.gradients[o] + margin;
    tile.to_step.fill(columns);
    data_.fill_unused(tile);
    tile.prefetch = streaming_;
    for (std::size_t i = 0; i < data_.inputs; ++i) tile.ahead[i] = length * tile.from_step[i];
    for (std::size_t o = 0; streaming_ && o < data_.outputs; ++o) {
      prefetch_ends(data_.to[o] + layout_.offset(o, place) + first, length * columns);
    }
    call_.kernels(set, tile);
    tile.prefetch = false;
    // The same again with dy = 0.
    tile.from[1] = rows.zeros + margin;
    tile.from_step[1] = 0;
    tile.options = &mean_terms_.options;
    tile.to[0] = rows.terms[0] + margin;
    tile.to[1] = rows.terms[1] + margin;  // written where there is a residual: zeros
    mean_terms_.kernels(set, tile);
    for (Index r = 0; r < length; ++r) {
      T* const dx = rows.gradients[0] + margin + r * columns;
      run_for_masks<WeightedTermsKernel<T>>(set, {dx, rows.terms[0] + margin + r * columns, nullptr,
                                                  C(weights[r] * scale_), columns, dx});
    }
    deliver(set, rows, first, columns, place, length);
  }

  void deliver(InstructionSet set, const Rows& rows, Index first, Index columns, Index place,
               Index length) const {
    for (std::size_t o = 0; o < data_.outputs; ++o) {
      // Rows that follow one another without gaps are delivered as one.
      const bool dense = layout_.of(o).inner_stride == columns;
      const Index lines = dense ? 1 : length;
      for (Index r = 0; r < lines; ++r) {
        run_for_masks<DeliverKernel<T>>(set, {data_.to[o] + layout_.offset(o, place + r) + first,
                                              rows.gradients[o] + margin + r * columns,
                                              dense ? length * columns : columns, streaming_});
      }
    }
  }

  const ListLayout& layout_;
  const FormulaCall<T>& call_;
  const FormulaCall<T>& mean_terms_;
  const Operands<T>& data_;
  const double* weights_;
  double scale_;
  bool streaming_;
  Traversal shape_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_WEIGHTED_ROWS_HPP
