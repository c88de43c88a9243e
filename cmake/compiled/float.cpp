// SPDX-License-Identifier: MIT
#include <batchnorm/batchnorm.hpp>

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
template class BatchNorm<float>;
template class FrozenBatchNorm<float>;
namespace detail {
template Moments<double> moments_of_view<Eigen::Dynamic>(const BatchView<const float>&,
                                                         const SelectedValues<float>*,
                                                         const Execution&);
}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm
