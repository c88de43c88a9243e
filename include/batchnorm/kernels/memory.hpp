// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_MEMORY_HPP
#define BATCHNORM_KERNELS_MEMORY_HPP

#include <cstddef>
#include <cstdint>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/version.hpp"

// Software prefetch and non-temporal stores.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Prefetches the line `ahead` elements from `at` into L2. Computed as a number: it may lie past
/// the end of the memory, which is not read.
template <class T>
[[gnu::always_inline]] inline void prefetch_line(const T* at, Index ahead) {
#if defined(__GNUC__)
  const std::uintptr_t line =
      reinterpret_cast<std::uintptr_t>(at) + static_cast<std::uintptr_t>(ahead) * sizeof(T);
  // NOLINTNEXTLINE(performance-no-int-to-ptr): nothing is read through it
  __builtin_prefetch(reinterpret_cast<const void*>(line), 0, 2);
#else
  static_cast<void>(at);
  static_cast<void>(ahead);
#endif
}

/// Makes streamed stores visible to other threads, as ordinary stores are by themselves.
inline void finish_streaming() {
#if defined(__x86_64__) && (defined(__clang__) || defined(__GNUC__))
  __builtin_ia32_sfence();
#endif
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_MEMORY_HPP
