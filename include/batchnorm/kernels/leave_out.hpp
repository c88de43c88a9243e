// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_LEAVE_OUT_HPP
#define BATCHNORM_KERNELS_LEAVE_OUT_HPP

#include <cstddef>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/tile.hpp"
#include "batchnorm/version.hpp"

// Which outputs that are masked add to the sums of gradients.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Whether a gradient is 0, or NaN, which adds nothing either.
template <class T>
bool adds_nothing(const T& gradient) {
  return !(gradient < T(0)) && !(gradient > T(0));
}

/// Gives elements of a packed tile that add nothing, as those without a gradient and those that are
/// not finite, a gradient of 0 and the pivot for x, so that their terms are 0. The first inputs are
/// x and the gradient.
template <class T>
void leave_out(Tile<T>& tile, std::size_t inputs) {
  using C = parameter_t<T>;
  for (Index row = 0; row < tile.rows; ++row) {
    for (Index c = 0; c < tile.columns; ++c) {
      T* at[max_inputs];
      for (std::size_t i = 0; i < inputs; ++i) {
        at[i] = const_cast<T*>(tile.from[i]) + row * tile.from_step[i] + c;  // of a packed tile
      }
      const bool adds =
          !adds_nothing(*at[1]) && is_finite(convert<C>(*at[1])) && is_finite(convert<C>(*at[0]));
      if (adds) continue;
      *at[0] = convert<T>(tile.k[0][tile.per_column ? c : row * tile.row_step]);
      for (std::size_t i = 1; i < inputs; ++i) *at[i] = T(0);
    }
  }
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_LEAVE_OUT_HPP
