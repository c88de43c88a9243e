// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_COMPILED_HPP
#define BATCHNORM_COMPILED_HPP

// The umbrella for programs that link to batchnorm::compiled, a static library with the layers of
// float, double, half and bfloat16: they are then compiled once, not in every file. Nothing is
// defined differently; a file that includes batchnorm.hpp alone may be linked with others that
// include this.
//
//     set(BATCHNORM_COMPILED ON)  # before add_subdirectory or FetchContent_MakeAvailable, or when
//                                 # the library is installed
//     target_link_libraries(app PRIVATE batchnorm::compiled)
//
// Files that include this are compiled with the instructions (-mavx2, -march=...), exceptions and
// BATCHNORM_INSTRUCTION_SETS of the library, all of which are part of the names (version.hpp): in
// CMAKE_CXX_FLAGS before the library is added, flags count for both. A file with others includes
// batchnorm.hpp and compiles its layers itself; when it includes this, the linker refuses the
// program and names the function below.

#include <Eigen/Core>

#include "batchnorm/batchnorm.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/frozen.hpp"
#include "batchnorm/layer.hpp"
#include "batchnorm/math/backward.hpp"
#include "batchnorm/math/forward.hpp"
#include "batchnorm/math/gradient_sums.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/math/together.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"
#include "batchnorm/view/input.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// Stands in the library, in its inline namespace. Called by every file that includes this, so that
/// the linker's message does not only tell of members that are missing.
bool this_file_and_batchnorm_compiled_need_the_same_compiler_flags() noexcept;
namespace detail {
[[maybe_unused]] static const bool linked_to_the_same_flags =
    this_file_and_batchnorm_compiled_need_the_same_compiler_flags();
}  // namespace detail

// All of the layers of one scalar: their members, and what inline members call, which compilers
// would compile in every file in spite of the former. Declared here, and defined in the library by
// the same list (cmake/compiled).
#define BATCHNORM_LAYERS_OF(is_extern, T)                                                          \
  is_extern template class BatchNorm<T>;                                                           \
  is_extern template class FrozenBatchNorm<T>;                                                     \
  namespace detail {                                                                               \
  is_extern template Moments<double> forward_pass(const ForwardCall<T, Eigen::Dynamic>&,           \
                                                  const Execution&);                               \
  is_extern template Gradients<T> input_gradients(const Options&, const State<T>&,                 \
                                                  const StatisticsView<double>&,                   \
                                                  const MinibatchDivisor<double>&,                 \
                                                  const InputViews<T>&, const BatchView<const T>&, \
                                                  const GradientOutput<T>&, const Execution&);     \
  is_extern template Gradients<T> input_gradients_together(const BackwardCall<T, Eigen::Dynamic>&, \
                                                           const Execution&);                      \
  is_extern template void write_output(const Options&, const State<T>&,                            \
                                       const StatisticsView<double>&, const InputViews<T>&,        \
                                       const Output<T>&, const Execution&);                        \
  is_extern template Moments<double> moments_of_view<Eigen::Dynamic>(const BatchView<const T>&,    \
                                                                     const SelectedValues<T>*,     \
                                                                     const Execution&);            \
  }

BATCHNORM_LAYERS_OF(extern, float)
BATCHNORM_LAYERS_OF(extern, double)
BATCHNORM_LAYERS_OF(extern, Eigen::half)
BATCHNORM_LAYERS_OF(extern, Eigen::bfloat16)

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_COMPILED_HPP
