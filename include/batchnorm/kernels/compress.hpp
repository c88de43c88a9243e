// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_COMPRESS_HPP
#define BATCHNORM_KERNELS_COMPRESS_HPP

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/instruction_set.hpp"
#include "batchnorm/kernels/place_bits.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/version.hpp"

// Elements whose bits are set, to neighbouring places, without a branch on each.

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

/// Lines of elements that the same bits choose, and where they go; steps from line to line in
/// bytes.
struct CompressedLines {
  const char* from;
  std::ptrdiff_t from_step;
  const std::uint8_t* bits;
  Index count;  ///< of bytes of bits
  char* to;
  std::ptrdiff_t to_step;
};

/// Eight elements at a time, of 2 or 4 bytes: a permutation for every byte of bits, of all lines.
template <int Bytes, int Lines>
[[gnu::target("avx2"), gnu::noinline]] void compress_avx2(const CompressedLines& work) {
  const CompressedLines lines = work;
  const char* from = lines.from;
  char* to = lines.to;
  for (Index i = 0; i < lines.count; ++i, from += 8 * Bytes) {
    const unsigned bits = lines.bits[i];
    if constexpr (Bytes == 4) {
      // The instruction looks at three bits of each number.
      const EightWords shifts = {0, 4, 8, 12, 16, 20, 24, 28};
      const EightWords order =
          (EightWords{} + static_cast<int>(compress_order.words[bits])) >> shifts;
#pragma GCC unroll 4
      for (int line = 0; line < Lines; ++line) {
        EightWords x;
        std::memcpy(&x, from + line * lines.from_step, sizeof x);
        x = __builtin_ia32_permvarsi256(x, order);
        std::memcpy(to + line * lines.to_step, &x, sizeof x);
      }
    } else {
      SixteenBytes order;
      std::memcpy(&order, compress_order.halves[bits], sizeof order);
#pragma GCC unroll 4
      for (int line = 0; line < Lines; ++line) {
        SixteenBytes x;
        std::memcpy(&x, from + line * lines.from_step, sizeof x);
        x = __builtin_ia32_pshufb128(x, order);
        std::memcpy(to + line * lines.to_step, &x, sizeof x);
      }
    }
    to += compress_order.count[bits] * Bytes;
  }
}
#else
inline constexpr bool can_permute = false;
#endif

/// Lines that are compressed together.
inline constexpr Index lines_together = 4;

/// Copies the elements of `count` bytes of bits to neighbouring places. Writes up to seven more.
///
/// @param lines              1, or lines_together
/// @param from_step, to_step  from line to line
template <class T>
void compress(InstructionSet set, const T* from, Index from_step, const std::uint8_t* bits,
              Index count, T* to, Index to_step, Index lines) {
#if (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 9)) && defined(__x86_64__)
  if constexpr (can_permute && (sizeof(T) == 2 || sizeof(T) == 4)) {
    if (set != InstructionSet::baseline) {
      constexpr int bytes = static_cast<int>(sizeof(T));
      const CompressedLines work = {
          reinterpret_cast<const char*>(from), from_step * bytes, bits, count,
          reinterpret_cast<char*>(to),         to_step * bytes};
      return lines == 1 ? compress_avx2<bytes, 1>(work)
                        : compress_avx2<bytes, static_cast<int>(lines_together)>(work);
    }
  }
#endif
  static_cast<void>(set);
  for (Index line = 0; line < lines; ++line) {
    const T* at = from + line * from_step;
    T* next = to + line * to_step;
    for (Index i = 0; i < count; ++i, at += 8) {
      compress_eight(at, bits[i], next);
      next += PlaceBits::count_of(bits[i]);
    }
  }
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_COMPRESS_HPP
