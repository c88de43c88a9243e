// SPDX-License-Identifier: MIT
#include <batchnorm/batchnorm.hpp>

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
template class BatchNorm<double>;
template class FrozenBatchNorm<double>;
namespace detail {
template Moments<double> moments_of_view<Eigen::Dynamic>(const BatchView<const double>&,
                                                         const SelectedValues<double>*,
                                                         const Execution&);
}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm
