// SPDX-License-Identifier: MIT
#include <batchnorm/batchnorm.hpp>

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
template class BatchNorm<Eigen::bfloat16>;
template class FrozenBatchNorm<Eigen::bfloat16>;
namespace detail {
template Moments<double> moments_of_view<Eigen::Dynamic>(const BatchView<const Eigen::bfloat16>&,
                                                         const SelectedValues<Eigen::bfloat16>*,
                                                         const Execution&);
}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm
