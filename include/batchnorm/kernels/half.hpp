// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_HALF_HPP
#define BATCHNORM_KERNELS_HALF_HPP

#include <Eigen/Core>
#include <cstdint>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/instructions.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/version.hpp"

// half and bfloat16 in registers: vectors of them as vectors of float, and back.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {
namespace simd {

template <class T>
inline constexpr bool is_16_bit =
    std::is_same<T, Eigen::half>::value || std::is_same<T, Eigen::bfloat16>::value;

/// 16 bits of every lane as 32.
template <int Lanes>
[[gnu::always_inline]] inline void widen_words(Vector<std::uint32_t, Lanes>& wide,
                                               const Vector<std::uint16_t, Lanes>& bits) {
  if constexpr (assembly::available && is_avx<Vector<std::uint32_t, Lanes>>) {
    assembly::vpmovzxwd(wide, bits);
  } else {
    convert_lanes(wide, bits);
  }
}

/// Whether vectors of T are better widened while they are read.
template <class T, int Lanes>
inline constexpr bool widens_from_memory =
    assembly::available&& std::is_same<T, Eigen::bfloat16>::value&& Lanes * sizeof(float) ==
    avx2_bytes;

/// The eight bfloat16 at an address, which both halves of the vector read, as four floats in each:
/// unlike with vpmovzxwd, nothing crosses the halves.
template <int Lanes>
[[gnu::always_inline]] inline void widen_from(Vector<float, Lanes>& wide, const void* from) {
  constexpr std::uint8_t zero = 0x80;
  static constexpr std::uint8_t bytes[] = {zero, zero, 0,  1,  zero, zero, 2,  3,   //
                                           zero, zero, 4,  5,  zero, zero, 6,  7,   //
                                           zero, zero, 8,  9,  zero, zero, 10, 11,  //
                                           zero, zero, 12, 13, zero, zero, 14, 15};
  Vector<std::uint8_t, 4 * Lanes> chosen, both;
  read<std::uint8_t, 4 * Lanes>(chosen, bytes);
  assembly::vbroadcasti128(both, from);
  assembly::vpshufb(wide, both, chosen);
}

/// The numbers whose 16 bits are given. bfloat16 is the upper half of a float.
template <int Lanes>
[[gnu::always_inline]] inline void widen_bits(Vector<float, Lanes>& wide,
                                              const Vector<std::uint16_t, Lanes>& bits,
                                              Eigen::bfloat16) {
  Vector<std::uint32_t, Lanes> upper;
  widen_words<Lanes>(upper, bits);
  upper <<= 16;
  copy_bits(wide, upper);
}

/// IEEE binary16: the exponent is moved to its place and biased anew; what has no exponent is an
/// integer times 2^-24.
template <int Lanes>
[[gnu::always_inline]] inline void widen_bits(Vector<float, Lanes>& wide,
                                              const Vector<std::uint16_t, Lanes>& bits,
                                              Eigen::half) {
#if defined(__x86_64__) && defined(__clang__)
  if constexpr (is_avx<Vector<float, Lanes>>) {
    typedef __fp16 Halves __attribute__((vector_size(2 * Lanes)));
    Halves halves;
    copy_bits(halves, bits);
    convert_lanes(wide, halves);
    return;
  }
#endif
  if constexpr (assembly::available && is_avx<Vector<float, Lanes>>) {
    assembly::vcvtph2ps(wide, bits);
    return;
  }
  using Words = Vector<std::uint32_t, Lanes>;
  Words all, tiny_bits;
  widen_words<Lanes>(all, bits);
  const Words magnitude = all & 0x7fffu;
  const Words rebias = Words{} + (112u << 23);
  Words result = (magnitude << 13) + rebias;
  result += magnitude >= 0x7c00u ? rebias : Words{};
  Vector<float, Lanes> tiny;
  convert_lanes(tiny, magnitude);
  tiny *= 0x1p-24f;
  copy_bits(tiny_bits, tiny);
  result = magnitude < 0x0400u ? tiny_bits : result;
  result |= (all & 0x8000u) << 16;
  copy_bits(wide, result);
}

/// Rounds to nearest, ties to even, and leaves the 16 bits in the upper half of each lane. NaN
/// stays NaN: all bits of one are set, or a carry could turn it into a number.
template <int Lanes>
[[gnu::always_inline]] inline void round_to_bfloat16(Vector<std::uint32_t, Lanes>& words,
                                                     const Vector<float, Lanes>& wide) {
  using Words = Vector<std::uint32_t, Lanes>;
  Words all;
  copy_bits(all, wide);
  if constexpr (assembly::available && sizeof all == avx512_bytes) {
    assembly::round_to_bfloat16(words, all);
    return;
  }
  Words not_a_number;
  if constexpr (assembly::available && sizeof all == avx2_bytes) {
    assembly::vcmpunordps(not_a_number, wide);
  } else {
    // As integers, since compilers may assume that there is no NaN; signed, since processors
    // compare no others.
    Vector<std::int32_t, Lanes> magnitude;
    copy_bits(magnitude, wide);
    magnitude = (magnitude & 0x7fffffff) > 0x7f800000;
    copy_bits(not_a_number, magnitude);
  }
  const Words odd = (all >> 16) & 1u;
  words = ((all + odd) + 0x7fffu) | not_a_number;
}

template <int Lanes>
[[gnu::always_inline]] inline void narrow_bits(Vector<std::uint16_t, Lanes>& bits,
                                               const Vector<float, Lanes>& wide, Eigen::bfloat16) {
  Vector<std::uint32_t, Lanes> words;
  round_to_bfloat16<Lanes>(words, wide);
  words >>= 16;
  convert_lanes(bits, words);
}

/// The same for binary16. Below 2^-14 the sum with 1/2 makes the adder round at the right bit;
/// above, the exponent is biased anew after rounding, and what is 65520 or larger is infinite.
template <int Lanes>
[[gnu::always_inline]] inline void narrow_bits(Vector<std::uint16_t, Lanes>& bits,
                                               const Vector<float, Lanes>& wide, Eigen::half) {
#if defined(__x86_64__) && defined(__clang__)
  if constexpr (is_avx<Vector<float, Lanes>>) {
    typedef __fp16 Halves __attribute__((vector_size(2 * Lanes)));
    Halves halves;
    convert_lanes(halves, wide);
    copy_bits(bits, halves);
    return;
  }
#endif
  if constexpr (assembly::available && is_avx<Vector<float, Lanes>>) {
    assembly::vcvtps2ph(bits, wide);
    return;
  }
  using Words = Vector<std::uint32_t, Lanes>;
  Words all, tiny_bits;
  copy_bits(all, wide);
  const Words magnitude = all & 0x7fffffffu;
  Vector<float, Lanes> tiny;
  copy_bits(tiny, magnitude);
  tiny += 0.5f;
  copy_bits(tiny_bits, tiny);
  const Words odd = (magnitude >> 13) & 1u;
  Words result = (magnitude + odd + 0xfffu - (112u << 23)) >> 13;
  result = magnitude < (113u << 23) ? tiny_bits - 0x3f000000u : result;
  result = magnitude >= 0x477ff000u ? Words{} + 0x7c00u : result;
  result = magnitude > 0x7f800000u ? ((magnitude >> 13) & 0x3ffu) | 0x7e00u : result;
  result |= (all >> 16) & 0x8000u;
  convert_lanes(bits, result);
}

/// Whether two vectors of C that are stored as T side by side are better narrowed together.
template <class C, int Lanes, class T>
inline constexpr bool narrows_in_pairs =
#if defined(__x86_64__) && defined(__clang__)
    std::is_same<T, Eigen::bfloat16>::value&& std::is_same<C, float>::value&& Lanes * sizeof(C) ==
    avx2_bytes;
#elif defined(__x86_64__) && defined(__GNUC__)
    std::is_same<T, Eigen::bfloat16>::value&& std::is_same<C, float>::value&& Lanes * sizeof(C) >=
    avx2_bytes;
#else
    false;
#endif

/// The upper halves of the lanes of two vectors, side by side.
template <int Lanes>
[[gnu::always_inline]] inline void join_upper_halves(Vector<std::uint16_t, 2 * Lanes>& bits,
                                                     const Vector<std::uint32_t, Lanes>& first,
                                                     const Vector<std::uint32_t, Lanes>& second) {
  if constexpr (assembly::available && sizeof first == avx512_bytes) {
    // Word by word, those with odd numbers, counted through both vectors.
    static constexpr std::uint16_t odd_words[] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21,
                                                  23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 43,
                                                  45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
    Vector<std::uint16_t, 2 * Lanes> from;
    read<std::uint16_t, 2 * Lanes>(from, odd_words);
    copy_bits(bits, first);
    assembly::vpermt2w(bits, from, second);
    return;
  }
  if constexpr (assembly::available && sizeof first == avx2_bytes) {
    const Vector<std::uint32_t, Lanes> lower_first = first >> 16, lower_second = second >> 16;
    assembly::vpackusdw(bits, lower_first, lower_second);
    return;
  }
  Vector<std::uint32_t, 2 * Lanes> both;
  std::uint32_t words[2 * Lanes];
  write<std::uint32_t, Lanes>(words, first);
  write<std::uint32_t, Lanes>(words + Lanes, second);
  read<std::uint32_t, 2 * Lanes>(both, words);
  both >>= 16;
  convert_lanes(bits, both);
}

/// The bits of two vectors, side by side.
template <int Lanes>
[[gnu::always_inline]] inline void narrow_pair(Vector<std::uint16_t, 2 * Lanes>& bits,
                                               const Vector<float, Lanes>& first,
                                               const Vector<float, Lanes>& second,
                                               Eigen::bfloat16) {
  Vector<std::uint32_t, Lanes> low, high;
  round_to_bfloat16<Lanes>(low, first);
  round_to_bfloat16<Lanes>(high, second);
  join_upper_halves<Lanes>(bits, low, high);
}

}  // namespace simd
}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_HALF_HPP
