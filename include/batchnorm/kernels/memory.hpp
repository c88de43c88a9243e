// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_MEMORY_HPP
#define BATCHNORM_KERNELS_MEMORY_HPP

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/kernels/tuning.hpp"
#include "batchnorm/version.hpp"

// Software prefetch and non-temporal stores.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Prefetches the line `ahead` elements from `at` into L2. Computed as a number: it may lie past the
/// end of the memory, which is not read.
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

#if defined(__x86_64__) && (defined(__clang__) || defined(__GNUC__))
inline constexpr bool has_streaming = true;

/// Copies bytes with non-temporal stores, which do not read the lines they overwrite nor evict
/// others. Partial lines at the ends are stored normally.
inline void stream_copy(void* to, const void* from, std::size_t bytes) {
  using Word = simd::VectorOf<long long, 2>;
  auto* out = static_cast<unsigned char*>(to);
  const auto* in = static_cast<const unsigned char*>(from);
  const std::size_t line = cache_line_bytes;
  const std::size_t head = (line - reinterpret_cast<std::uintptr_t>(out) % line) % line;
  if (bytes < head + line) {
    std::memcpy(out, in, bytes);
    return;
  }
  std::memcpy(out, in, head);
  std::size_t at = head;
  for (; at + line <= bytes; at += line) {
    for (std::size_t part = 0; part < line; part += 16) {
      const typename Word::type word = *reinterpret_cast<const typename Word::loose*>(in + at + part);
#if defined(__clang__)
      __builtin_nontemporal_store(word, reinterpret_cast<typename Word::type*>(out + at + part));
#else
      __builtin_ia32_movntdq(reinterpret_cast<typename Word::type*>(out + at + part), word);
#endif
    }
  }
  std::memcpy(out + at, in + at, bytes - at);
}

/// Makes streamed stores visible to other threads, as ordinary stores are by themselves.
inline void finish_streaming() {
  __builtin_ia32_sfence();
}
#else
inline constexpr bool has_streaming = false;
inline void stream_copy(void* to, const void* from, std::size_t bytes) {
  std::memcpy(to, from, bytes);
}
inline void finish_streaming() {}
#endif

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_MEMORY_HPP
