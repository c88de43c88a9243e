// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_WEIGHTED_LINES_HPP
#define BATCHNORM_KERNELS_WEIGHTED_LINES_HPP

#include <algorithm>
#include <cstddef>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/coefficients.hpp"
#include "batchnorm/kernels/list_lines.hpp"
#include "batchnorm/kernels/map.hpp"
#include "batchnorm/kernels/pack.hpp"
#include "batchnorm/kernels/partition.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/kernels/tuning.hpp"
#include "batchnorm/kernels/weighted_sums.hpp"
#include "batchnorm/version.hpp"

// Weights along the values of a channel: some hundred of them for one channel after the other,
// while they are in L1.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Weighted sums of the first operand, about the first coefficient of `call`. Cut at the ends of a
/// list's rows, and where they are packed into as many values as where they are not: to the same
/// bits.
template <class T>
class WeightedLineSums {
  using C = parameter_t<T>;

 public:
  /// @param shape  of a dense array of the values of the list
  WeightedLineSums(const ListLayout& layout, const Operands<T>& data, const FormulaCall<T>& call,
                   const double* weights, const Traversal& shape)
      : layout_(layout), data_(data), call_(call), weights_(weights), shape_(shape) {}

  /// @param ahead  elements to what is prefetched, or 0
  template <class Targets>
  void sum(InstructionSet set, const Region& region, Index ahead, const Targets& into) const {
    const bool wraps = shape_.channels_wrap();
    const Index per_row = wraps ? shape_.columns / shape_.channels : 1;
    const Index first = wraps ? 0 : region.first_column;
    const Index channels = wraps ? shape_.channels : region.columns();
    const Index end = (std::min)(layout_.list().count(), region.last_row * per_row);
    C pivots[max_block_columns];
    C* to[max_coefficients] = {pivots};
    call_.source.write(first, first + channels, to);
    T packed[ListLine::capacity + PlaceBits::per_byte];
    ListLine line(layout_);
    Pieces pieces(layout_);
    for (Index rank = region.first_row * per_row; rank < end; rank += line.length()) {
      const Index row_end = (std::min)(end, pieces.row_end(rank));
      line.locate(rank, (std::min)(packed_elements, row_end - rank));
      const bool direct = layout_.is_along_values() && line.is_one_piece();
      for (Index c = 0; c < channels; ++c) {
        const T* const channel = data_.from[0] + (first + c) * layout_.of(0).column_stride;
        if (!direct) line.copy(0, channel, packed);
        run_for_masks<WeightedLineKernel<T>>(
            set, {direct ? channel + layout_.offset(0, line.place()) : packed, weights_ + rank,
                  line.length(), pivots[c], into[0] + c, into[1] + c, direct ? ahead : 0});
      }
    }
  }

 private:
  const ListLayout& layout_;
  const Operands<T>& data_;
  const FormulaCall<T>& call_;
  const double* weights_;
  const Traversal& shape_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_WEIGHTED_LINES_HPP
