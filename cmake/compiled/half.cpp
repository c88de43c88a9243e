// SPDX-License-Identifier: MIT
#include <batchnorm/batchnorm.hpp>

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
template class BatchNorm<Eigen::half>;
template class FrozenBatchNorm<Eigen::half>;
namespace detail {
template Moments<double> moments_of_view<Eigen::Dynamic>(const BatchView<const Eigen::half>&,
                                                         const SelectedValues<Eigen::half>*,
                                                         const Execution&);
}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm
