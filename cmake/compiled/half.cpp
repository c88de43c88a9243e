// SPDX-License-Identifier: MIT
#include <batchnorm/batchnorm.hpp>

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
template class BatchNorm<Eigen::half>;
template class FrozenBatchNorm<Eigen::half>;
namespace detail {
template Moments<double> forward_pass(const ForwardCall<Eigen::half, Eigen::Dynamic>&,
                                      const Execution&);
template Gradients<Eigen::half> input_gradients(
    const Options&, const State<Eigen::half>&, const StatisticsView<double>&,
    const MinibatchDivisor<double>&, const InputViews<Eigen::half>&,
    const BatchView<const Eigen::half>&, const GradientOutput<Eigen::half>&, const Execution&);
template Gradients<Eigen::half> input_gradients_together(
    const BackwardCall<Eigen::half, Eigen::Dynamic>&, const Execution&);
template void write_output(const Options&, const State<Eigen::half>&, const StatisticsView<double>&,
                           const InputViews<Eigen::half>&, const Output<Eigen::half>&,
                           const Execution&);
template Moments<double> moments_of_view<Eigen::Dynamic>(const BatchView<const Eigen::half>&,
                                                         const SelectedValues<Eigen::half>*,
                                                         const Execution&);
}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm
