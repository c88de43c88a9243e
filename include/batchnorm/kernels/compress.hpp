// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_COMPRESS_HPP
#define BATCHNORM_KERNELS_COMPRESS_HPP

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/instruction_set.hpp"
#include "batchnorm/kernels/place_bits.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/version.hpp"

// Elements whose bits are set, to neighbouring places, and elements of two arrays, chosen by bits:
// without a branch on each.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Copies elements of eight to neighbouring places. Writes eight.
template <class T>
[[gnu::always_inline]] inline void compress_eight(const T* from, unsigned bits, T* to) {
#pragma GCC unroll 8
  for (unsigned i = 0; i < 8; ++i) {
    *to = from[i];
    to += bits >> i & 1u;
  }
}

#if (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 9)) && defined(__x86_64__)
inline constexpr bool can_permute = simd::has_vectors && compiled_sets >= 2;

/// For eight bits: how many are set, and their numbers, four bits each; as the bytes of halves too.
struct CompressOrder {
  std::uint8_t count[256] = {};
  std::uint32_t words[256] = {};
  std::uint8_t halves[256][16] = {};

  constexpr CompressOrder() {
    for (unsigned bits = 0; bits < 256; ++bits) {
      unsigned last = 0;
      for (unsigned i = 0; i < 8; ++i) {
        if ((bits >> i & 1u) == 0) continue;
        words[bits] |= i << (4 * last);
        halves[bits][2 * last] = static_cast<std::uint8_t>(2 * i);
        halves[bits][2 * last + 1] = static_cast<std::uint8_t>(2 * i + 1);
        ++last;
      }
      count[bits] = static_cast<std::uint8_t>(last);
    }
  }
};
inline constexpr CompressOrder compress_order;

using SixteenBytes [[gnu::vector_size(16)]] = char;
using EightWords [[gnu::vector_size(32)]] = int;

/// Eight elements at a time, of 2 or 4 bytes: a permutation for every byte of bits.
template <int Bytes>
[[gnu::target("avx2"), gnu::noinline]] void compress_avx2(const void* from,
                                                          const std::uint8_t* bits, Index count,
                                                          void* to) {
  const char* source = static_cast<const char*>(from);
  char* target = static_cast<char*>(to);
  for (Index i = 0; i < count; ++i, source += 8 * Bytes) {
    if constexpr (Bytes == 4) {
      EightWords x;
      std::memcpy(&x, source, sizeof x);
      // The instruction looks at three bits of each number.
      const EightWords shifts = {0, 4, 8, 12, 16, 20, 24, 28};
      const EightWords order =
          (EightWords{} + static_cast<int>(compress_order.words[bits[i]])) >> shifts;
      x = __builtin_ia32_permvarsi256(x, order);
      std::memcpy(target, &x, sizeof x);
    } else {
      SixteenBytes x, order;
      std::memcpy(&x, source, sizeof x);
      std::memcpy(&order, compress_order.halves[bits[i]], sizeof order);
      x = __builtin_ia32_pshufb128(x, order);
      std::memcpy(target, &x, sizeof x);
    }
    target += compress_order.count[bits[i]] * Bytes;
  }
}
#else
inline constexpr bool can_permute = false;

template <int Bytes>
void compress_avx2(const void*, const std::uint8_t*, Index, void*);  // not compiled
#endif

/// Copies the elements of `count` bytes of bits to neighbouring places. Writes up to seven more.
template <class T>
void compress(InstructionSet set, const T* from, const std::uint8_t* bits, Index count, T* to) {
  if constexpr (can_permute && (sizeof(T) == 2 || sizeof(T) == 4)) {
    if (set != InstructionSet::baseline) {
      return compress_avx2<static_cast<int>(sizeof(T))>(from, bits, count, to);
    }
  }
  for (Index i = 0; i < count; ++i, from += 8) {
    compress_eight(from, bits[i], to);
    to += PlaceBits::count_of(bits[i]);
  }
}

/// Writes the elements of `count` whose bits are set, over others.
template <class T>
void blend(const T* from, const std::uint8_t* bits, Index count, T* to) {
  Index i = 0;
  if constexpr (simd::has_vectors && (sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8) &&
                std::is_trivially_copyable<T>::value) {
    constexpr int lanes = 16 / static_cast<int>(sizeof(T));
    using Bits =
        std::conditional_t<sizeof(T) == 2, std::uint16_t,
                           std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>>;
    using V = simd::Vector<Bits, lanes>;
    for (; i + 8 <= count; i += 8) {
      for (int part = 0; part < 8 / lanes; ++part) {
        V chosen, now, before;
        for (int lane = 0; lane < lanes; ++lane) chosen[lane] = static_cast<Bits>(1 << lane);
        V all;
        simd::broadcast<Bits, lanes>(all, static_cast<Bits>(bits[i / 8] >> (part * lanes)));
        chosen = V((all & chosen) == chosen);
        std::memcpy(&now, from + i + part * lanes, sizeof now);
        std::memcpy(&before, to + i + part * lanes, sizeof before);
        now = (now & chosen) | (before & ~chosen);
        std::memcpy(static_cast<void*>(to + i + part * lanes), &now, sizeof now);
      }
    }
  }
  for (; i < count; ++i) {
    if ((bits[i / 8] >> (i % 8) & 1u) != 0) to[i] = from[i];
  }
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_COMPRESS_HPP
