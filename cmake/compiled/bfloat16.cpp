// SPDX-License-Identifier: MIT
#include <batchnorm/batchnorm.hpp>

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
template class BatchNorm<Eigen::bfloat16>;
template class FrozenBatchNorm<Eigen::bfloat16>;
namespace detail {
template Moments<double> forward_pass(const ForwardCall<Eigen::bfloat16, Eigen::Dynamic>&,
                                      const Execution&);
template Gradients<Eigen::bfloat16> input_gradients(const Options&, const State<Eigen::bfloat16>&,
                                                    const StatisticsView<double>&,
                                                    const MinibatchDivisor<double>&,
                                                    const InputViews<Eigen::bfloat16>&,
                                                    const BatchView<const Eigen::bfloat16>&,
                                                    const GradientOutput<Eigen::bfloat16>&,
                                                    const Execution&);
template Gradients<Eigen::bfloat16> input_gradients_together(
    const BackwardCall<Eigen::bfloat16, Eigen::Dynamic>&, const Execution&);
template void write_output(const Options&, const State<Eigen::bfloat16>&,
                           const StatisticsView<double>&, const InputViews<Eigen::bfloat16>&,
                           const Output<Eigen::bfloat16>&, const Execution&);
template Moments<double> moments_of_view<Eigen::Dynamic>(const BatchView<const Eigen::bfloat16>&,
                                                         const SelectedValues<Eigen::bfloat16>*,
                                                         const Execution&);
}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm
