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

extern template class BatchNorm<float>;
extern template class BatchNorm<double>;
extern template class BatchNorm<Eigen::half>;
extern template class BatchNorm<Eigen::bfloat16>;

extern template class FrozenBatchNorm<float>;
extern template class FrozenBatchNorm<double>;
extern template class FrozenBatchNorm<Eigen::half>;
extern template class FrozenBatchNorm<Eigen::bfloat16>;

namespace detail {
// What inline members call, which compilers compile in every file in spite of the above.
extern template Moments<double> forward_pass(const ForwardCall<float, Eigen::Dynamic>&,
                                             const Execution&);
extern template Gradients<float> input_gradients(const Options&, const State<float>&,
                                                 const StatisticsView<double>&,
                                                 const MinibatchDivisor<double>&,
                                                 const InputViews<float>&,
                                                 const BatchView<const float>&,
                                                 const GradientOutput<float>&, const Execution&);
extern template Gradients<float> input_gradients_together(
    const BackwardCall<float, Eigen::Dynamic>&, const Execution&);
extern template void write_output(const Options&, const State<float>&,
                                  const StatisticsView<double>&, const InputViews<float>&,
                                  const Output<float>&, const Execution&);

extern template Moments<double> forward_pass(const ForwardCall<double, Eigen::Dynamic>&,
                                             const Execution&);
extern template Gradients<double> input_gradients(const Options&, const State<double>&,
                                                  const StatisticsView<double>&,
                                                  const MinibatchDivisor<double>&,
                                                  const InputViews<double>&,
                                                  const BatchView<const double>&,
                                                  const GradientOutput<double>&, const Execution&);
extern template Gradients<double> input_gradients_together(
    const BackwardCall<double, Eigen::Dynamic>&, const Execution&);
extern template void write_output(const Options&, const State<double>&,
                                  const StatisticsView<double>&, const InputViews<double>&,
                                  const Output<double>&, const Execution&);

extern template Moments<double> forward_pass(const ForwardCall<Eigen::half, Eigen::Dynamic>&,
                                             const Execution&);
extern template Gradients<Eigen::half> input_gradients(
    const Options&, const State<Eigen::half>&, const StatisticsView<double>&,
    const MinibatchDivisor<double>&, const InputViews<Eigen::half>&,
    const BatchView<const Eigen::half>&, const GradientOutput<Eigen::half>&, const Execution&);
extern template Gradients<Eigen::half> input_gradients_together(
    const BackwardCall<Eigen::half, Eigen::Dynamic>&, const Execution&);
extern template void write_output(const Options&, const State<Eigen::half>&,
                                  const StatisticsView<double>&, const InputViews<Eigen::half>&,
                                  const Output<Eigen::half>&, const Execution&);

extern template Moments<double> forward_pass(const ForwardCall<Eigen::bfloat16, Eigen::Dynamic>&,
                                             const Execution&);
extern template Gradients<Eigen::bfloat16> input_gradients(
    const Options&, const State<Eigen::bfloat16>&, const StatisticsView<double>&,
    const MinibatchDivisor<double>&, const InputViews<Eigen::bfloat16>&,
    const BatchView<const Eigen::bfloat16>&, const GradientOutput<Eigen::bfloat16>&,
    const Execution&);
extern template Gradients<Eigen::bfloat16> input_gradients_together(
    const BackwardCall<Eigen::bfloat16, Eigen::Dynamic>&, const Execution&);
extern template void write_output(const Options&, const State<Eigen::bfloat16>&,
                                  const StatisticsView<double>&, const InputViews<Eigen::bfloat16>&,
                                  const Output<Eigen::bfloat16>&, const Execution&);

extern template Moments<double> moments_of_view<Eigen::Dynamic>(const BatchView<const float>&,
                                                                const SelectedValues<float>*,
                                                                const Execution&);
extern template Moments<double> moments_of_view<Eigen::Dynamic>(const BatchView<const double>&,
                                                                const SelectedValues<double>*,
                                                                const Execution&);
extern template Moments<double> moments_of_view<Eigen::Dynamic>(const BatchView<const Eigen::half>&,
                                                                const SelectedValues<Eigen::half>*,
                                                                const Execution&);
extern template Moments<double> moments_of_view<Eigen::Dynamic>(
    const BatchView<const Eigen::bfloat16>&, const SelectedValues<Eigen::bfloat16>*,
    const Execution&);
}  // namespace detail

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_COMPILED_HPP
