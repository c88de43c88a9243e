// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_NORMALIZE_FEW_HPP
#define BATCHNORM_MATH_NORMALIZE_FEW_HPP

#include <cstddef>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/coefficients.hpp"
#include "batchnorm/kernels/instruction_set.hpp"
#include "batchnorm/kernels/map_kernel.hpp"
#include "batchnorm/kernels/tile.hpp"
#include "batchnorm/kernels/tuning.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"
#include "batchnorm/view/check.hpp"
#include "batchnorm/view/input.hpp"

// The short way of one example, or of a few: one tile, without a plan.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Whether a view is rows of neighbouring channels at one distance: examples, or positions of one.
template <class T>
bool is_matrix(const BatchView<T>& view) {
  return view.channel_stride() == 1 && (view.samples() == 1 || view.positions() == 1);
}
template <class T>
Index row_stride(const BatchView<T>& view) {
  return view.positions() == 1 ? view.sample_stride() : view.position_stride();
}

/// Whether the kernels of a set read rows of so many channels in place.
template <class T>
bool fills_vectors(InstructionSet set, Index channels) {
  return channels >= map_kernels<Forward, T>.width_of(set);
}

/// Some rows of neighbouring channels as one tile, with coefficients that lie in tables.
///
/// @param step, to_step  from row to row
template <class T, class Pointers>
[[gnu::always_inline]] inline void set_rows(Tile<T>& tile,
                                            const FormulaOptions<parameter_t<T>>& options,
                                            const Pointers& k, Index rows,
                                            const BatchView<const T>& x, Index step,
                                            const BatchView<T>& out, Index to_step) {
  tile.rows = rows;
  tile.columns = out.channels();
  tile.per_column = true;
  tile.outputs = 1;
  tile.coefficients = Forward::coefficients;
  tile.from[0] = x.data();
  tile.from_step[0] = step;
  tile.ahead[0] = 0;
  tile.to[0] = out.data();
  tile.to_step[0] = to_step;
  // One by one: a copy of all reads what was just written in other pieces, which is waited for.
  for (std::size_t i = 0; i < Forward::coefficients; ++i) tile.k[i] = k[i];
  tile.options = &options;
}

/// Normalises one example, with coefficients that lie in tables, where nothing has to be looked at
/// twice.
/// @return false, and nothing is done, where checks may fail or more is asked for
template <class T>
[[gnu::always_inline]] inline bool normalize_example(
    const Execution& execution, const FormulaOptions<parameter_t<T>>& options,
    const parameter_t<T>* const (&k)[Forward::coefficients], Index channels, const Input<T>& in,
    const BatchView<T>& out) {
  const BatchView<const T>& x = in.view();
  if (x.channels() != channels || !are_proper_examples(out, x) || in.residual() != nullptr ||
      in.mask() != nullptr) {
    return false;
  }
  const InstructionSet set = usable_instruction_set(execution.instruction_set());
  if (!fills_vectors<T>(set, channels)) return false;
  Tile<T> tile{typename Tile<T>::Uncleared()};
  set_rows(tile, options, k, 1, x, 0, out, 0);
  map_kernels<Forward, T>(set, tile);
  return true;
}

/// Normalises a few examples, with coefficients that lie in tables: in one tile, as there is
/// nothing to plan.
/// @return false, and nothing is done, where they are no small matrix of enough channels
template <class T>
bool normalize_few(const Execution& execution, const FormulaOptions<parameter_t<T>>& options,
                   const Tables<parameter_t<T>>& k, const Input<T>& in, const BatchView<T>& out) {
  const BatchView<const T>* const residual = in.residual();
  const InstructionSet set = usable_instruction_set(execution.instruction_set());
  const Index rows = out.values_per_channel();
  if (!is_matrix(in.view()) || !is_matrix(out) || !fills_vectors<T>(set, out.channels()) ||
      rows * out.channels() > max_few_elements || (residual != nullptr && !is_matrix(*residual))) {
    return false;
  }
  Tile<T> tile{typename Tile<T>::Uncleared()};
  set_rows(tile, options, k, rows, in.view(), row_stride(in.view()), out, row_stride(out));
  if (residual != nullptr) {
    tile.inputs = 2;
    tile.from[1] = residual->data();
    tile.from_step[1] = row_stride(*residual);
    tile.ahead[1] = 0;
  }
  map_kernels<Forward, T>(set, tile);
  return true;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_NORMALIZE_FEW_HPP
