// SPDX-License-Identifier: MIT
#include <batchnorm/batchnorm.hpp>

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
template class BatchNorm<float>;
template class FrozenBatchNorm<float>;
namespace detail {
template Moments<double> forward_pass(const ForwardCall<float, Eigen::Dynamic>&, const Execution&);
template Gradients<float> input_gradients(const Options&, const State<float>&,
                                          const StatisticsView<double>&,
                                          const MinibatchDivisor<double>&, const InputViews<float>&,
                                          const BatchView<const float>&,
                                          const GradientOutput<float>&, const Execution&);
template Gradients<float> input_gradients_together(const BackwardCall<float, Eigen::Dynamic>&,
                                                   const Execution&);
template void write_output(const Options&, const State<float>&, const StatisticsView<double>&,
                           const InputViews<float>&, const Output<float>&, const Execution&);
template Moments<double> moments_of_view<Eigen::Dynamic>(const BatchView<const float>&,
                                                         const SelectedValues<float>*,
                                                         const Execution&);
}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm
