// SPDX-License-Identifier: MIT
#include <batchnorm/batchnorm.hpp>

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
template class BatchNorm<double>;
template class FrozenBatchNorm<double>;
namespace detail {
template Moments<double> forward_pass(const ForwardCall<double, Eigen::Dynamic>&, const Execution&);
template Gradients<double> input_gradients(const Options&, const State<double>&,
                                           const StatisticsView<double>&,
                                           const MinibatchDivisor<double>&,
                                           const InputViews<double>&,
                                           const BatchView<const double>&,
                                           const GradientOutput<double>&, const Execution&);
template Gradients<double> input_gradients_together(const BackwardCall<double, Eigen::Dynamic>&,
                                                    const Execution&);
template void write_output(const Options&, const State<double>&, const StatisticsView<double>&,
                           const InputViews<double>&, const Output<double>&, const Execution&);
template Moments<double> moments_of_view<Eigen::Dynamic>(const BatchView<const double>&,
                                                         const SelectedValues<double>*,
                                                         const Execution&);
}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm
