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
/// channels of a region. Every 64 values have partial sums of their own, so that chains are short.
template <class T, class Targets>
void sum_weighted_rows(const ListLayout& layout, const Operands<T>& data,
                       const FormulaCall<T>& call, const double* weights, const Region& region,
                       const Targets& into) {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;
  constexpr Index most_channels = 256;
  constexpr Index most_values = 64;
  C pivots[most_channels];
  C* to[max_coefficients] = {pivots};
  A k[most_channels], sums[most_channels], squares[most_channels];
  for (Index first = region.first_column; first < region.last_column; first += most_channels) {
    const Index channels = (std::min)(most_channels, region.last_column - first);
    call.source.write(first, first + channels, to);
    for (Index c = 0; c < channels; ++c) k[c] = convert<A>(pivots[c]);
    Pieces pieces(layout);
    for (Index rank = region.first_row; rank < region.last_row;) {
      std::fill_n(sums, channels, A(0));
      std::fill_n(squares, channels, A(0));
      const Index end = (std::min)(rank + most_values, region.last_row);
      for (; rank < end; ++rank) {
        const T* const x = data.from[0] + layout.offset(0, pieces.at(rank).place) + first;
        add_weighted_row(x, A(weights[rank]), k, channels, sums, squares);
      }
      for (Index c = 0; c < channels; ++c) {
        into[0][first - region.first_column + c] += sums[c];
        into[1][first - region.first_column + c] += squares[c];
      }
    }
  }
}

/// dL/dx where values have weights, as GatheredMap::run_weighted.
template <class T>
class WeightedRowMap {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;

 public:
  WeightedRowMap(const ListLayout& layout, const FormulaCall<T>& call,
                 const FormulaCall<T>& mean_terms, const Operands<T>& data, Index channels,
                 const double* weights)
      : layout_(layout), call_(call), mean_terms_(mean_terms), data_(data), weights_(weights) {
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
    });
  }

 private:
  static constexpr Index most_columns = 256;
  static constexpr Index room_ = 4 * most_columns;
  struct Rows {
    T gradients[max_outputs][margin + room_];
    T terms[max_outputs][margin + room_];
    T zeros[margin + 2 * most_columns];
    Rows() { std::fill_n(zeros, margin + 2 * most_columns, T(0)); }
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
    call_.kernels(set, tile);
    // The same again with dy = 0.
    tile.from[1] = rows.zeros + margin;
    tile.from_step[1] = 0;
    tile.options = &mean_terms_.options;
    tile.to[0] = rows.terms[0] + margin;
    tile.to[1] = rows.terms[1] + margin;  // written where there is a residual: zeros
    mean_terms_.kernels(set, tile);
    for (Index r = 0; r < length; ++r) {
      const Index at = margin + r * columns;
      T* const dx = data_.to[0] + layout_.offset(0, place + r) + first;
      add_weighted_terms(rows.gradients[0] + at, A(weights[r]), rows.terms[0] + at, columns, dx);
      if (data_.outputs < 2) continue;
      const T* const residual = rows.gradients[1] + at;
      std::copy(residual, residual + columns, data_.to[1] + layout_.offset(1, place + r) + first);
    }
  }

  static void add_weighted_terms(const T* gradients, const A& weight, const T* terms, Index count,
                                 T* to) {
    const auto add = [&](Index i) {
      to[i] = convert<T>(A(convert<A>(gradients[i]) + weight * convert<A>(terms[i])));
    };
    constexpr Index together = 8;
    Index i = 0;
    for (; i + together <= count; i += together) {
      for (Index j = i; j < i + together; ++j) add(j);
    }
    for (; i < count; ++i) add(i);
  }

  const ListLayout& layout_;
  const FormulaCall<T>& call_;
  const FormulaCall<T>& mean_terms_;
  const Operands<T>& data_;
  const double* weights_;
  Traversal shape_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_WEIGHTED_ROWS_HPP
