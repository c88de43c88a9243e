// SPDX-License-Identifier: MIT
#include <batchnorm/compiled.hpp>

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
BATCHNORM_LAYERS_OF(, Eigen::bfloat16)
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm
