// SPDX-License-Identifier: MIT
// Includes compiled.hpp and has to compile although its kernels are taken away: files that include
// it compile nothing of a layer, not even what compilers throw away again because it stands in the
// library.
#include <batchnorm/compiled.hpp>

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {
template <>
class MapKernel<Forward, float>;
template <>
class MapKernel<Backward<FromInput<float>>, float>;
template <>
class ReduceKernel<MomentSums, float>;
template <>
class ReduceKernel<GradientTerms<FromInput<float>>, float>;
}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#include "benchmarks/programs/fine_tuning.cpp"
