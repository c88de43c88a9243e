// SPDX-License-Identifier: MIT
#include <batchnorm/compiled.hpp>

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
bool this_file_and_batchnorm_compiled_need_the_same_compiler_flags() noexcept {
  return true;
}
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm
