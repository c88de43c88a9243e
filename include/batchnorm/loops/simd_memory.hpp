// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_SIMD_MEMORY_HPP
#define BATCHNORM_LOOPS_SIMD_MEMORY_HPP

#include <Eigen/Core>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/version.hpp"

// Vectors from memory and back, converted in registers on the way where the elements are of
// another type: half and bfloat16 to float, everything to double.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace simd {

template <class T>
inline constexpr bool is_16_bit =
    std::is_same<T, Eigen::half>::value || std::is_same<T, Eigen::bfloat16>::value;

/// 16 bits of every lane as 32, and back: upper halves of lanes that are zero.
template <int Lanes>
[[gnu::always_inline]] inline void widen_words(Vector<std::uint32_t, Lanes>& wide,
                                               const Vector<std::uint16_t, Lanes>& bits) {
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
  // g++ would do it lane by lane, as it does not see yet for which processor.
  if constexpr (sizeof wide == avx2_bytes) {
    asm("vpmovzxwd %1, %0" : "=x"(wide) : "xm"(bits));
    return;
  }
#endif
  convert_lanes(wide, bits);
}
template <int Lanes>
[[gnu::always_inline]] inline void narrow_words(Vector<std::uint16_t, Lanes>& bits,
                                                const Vector<std::uint32_t, Lanes>& wide) {
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
  if constexpr (sizeof wide == avx2_bytes) {
    asm("vpackusdw %t1, %t1, %t0\n\tvpermq $8, %t0, %t0" : "=x"(bits) : "x"(wide));
    return;
  }
#endif
  convert_lanes(bits, wide);
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
  // clang++ has no asm for AVX in a function for less, but finds the instruction.
  if constexpr (Lanes == avx2_bytes / sizeof(float)) {
    typedef __fp16 Halves __attribute__((vector_size(2 * Lanes)));
    Halves halves;
    copy_bits(halves, bits);
    convert_lanes(wide, halves);
    return;
  }
#elif defined(__x86_64__)
  if constexpr (Lanes == avx2_bytes / sizeof(float)) {
    asm("vcvtph2ps %1, %0" : "=x"(wide) : "xm"(bits));
    return;
  }
#endif
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

/// Rounds to nearest, ties to even; NaN stays a quiet NaN.
template <int Lanes>
[[gnu::always_inline]] inline void narrow_bits(Vector<std::uint16_t, Lanes>& bits,
                                               const Vector<float, Lanes>& wide, Eigen::bfloat16) {
  using Words = Vector<std::uint32_t, Lanes>;
  Words all;
  copy_bits(all, wide);
  const Words odd = (all >> 16) & 1u;
  const Words rounded = (all + 0x7fffu + odd) >> 16;
  const Words quiet = (all >> 16) | 0x40u;
  // Signed: processors compare no others.
  Vector<std::int32_t, Lanes> magnitude;
  copy_bits(magnitude, all);
  magnitude &= 0x7fffffff;
  const Words result = magnitude > 0x7f800000 ? quiet : rounded;
  narrow_words<Lanes>(bits, result);
}

/// The same for binary16. Below 2^-14 the sum with 1/2 makes the adder round at the right bit;
/// above, the exponent is biased anew after rounding, and what is 65520 or larger is infinite.
template <int Lanes>
[[gnu::always_inline]] inline void narrow_bits(Vector<std::uint16_t, Lanes>& bits,
                                               const Vector<float, Lanes>& wide, Eigen::half) {
#if defined(__x86_64__) && defined(__clang__)
  if constexpr (Lanes == avx2_bytes / sizeof(float)) {
    typedef __fp16 Halves __attribute__((vector_size(2 * Lanes)));
    Halves halves;
    convert_lanes(halves, wide);
    copy_bits(bits, halves);
    return;
  }
#elif defined(__x86_64__)
  if constexpr (Lanes == avx2_bytes / sizeof(float)) {
    asm("vcvtps2ph $0, %1, %0" : "=x"(bits) : "x"(wide));
    return;
  }
#endif
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
  narrow_words<Lanes>(bits, result);
}

/// Reads `count` numbers, `stride` apart, of any scalar type, into the first lanes; the others keep
/// what they hold.
template <class C, int Lanes, class T>
[[gnu::always_inline]] inline void load_some(Vector<C, Lanes>& vector, const T* from, Index stride,
                                             Index count) {
  if constexpr (Lanes == 1) {
    if (count > 0) vector = detail::convert<C>(*from);
  } else {
    C lanes[Lanes];
    copy_bits(lanes, vector);
    for (Index lane = 0; lane < count; ++lane) lanes[lane] = static_cast<C>(from[lane * stride]);
    copy_bits(vector, lanes);
  }
}

/// Reads a whole vector. Contiguous elements go through one unaligned load, strided ones and those
/// of foreign scalars lane by lane.
template <class C, int Lanes, bool Contiguous, class T>
[[gnu::always_inline]] inline void load(Vector<C, Lanes>& vector, const T* from, Index stride) {
  if constexpr (Lanes == 1) {
    vector = detail::convert<C>(*from);
  } else if constexpr (Contiguous && std::is_same<T, C>::value) {
    read<C, Lanes>(vector, from);
  } else if constexpr (Contiguous && std::is_same<T, float>::value) {
    Vector<float, Lanes> narrow;
    read<float, Lanes>(narrow, from);
    widen_lanes<C, float, Lanes>(vector, narrow);
  } else if constexpr (Contiguous && is_16_bit<T>) {
    Vector<std::uint16_t, Lanes> bits;
    read<std::uint16_t, Lanes>(bits, from);
    if constexpr (std::is_same<C, float>::value) {
      widen_bits<Lanes>(vector, bits, T());
    } else {
      Vector<float, Lanes> narrow;
      widen_bits<Lanes>(narrow, bits, T());
      convert_lanes(vector, narrow);
    }
  } else {
    C lanes[Lanes];
    for (Index lane = 0; lane < Lanes; ++lane) {
      lanes[lane] = static_cast<C>(from[Contiguous ? lane : lane * stride]);
    }
    copy_bits(vector, lanes);
  }
}

/// Writes the first `count` lanes, `stride` apart, rounded to T.
template <class C, int Lanes, class T>
[[gnu::always_inline]] inline void store_some(T* to, Index stride, const Vector<C, Lanes>& vector,
                                              Index count) {
  if constexpr (Lanes == 1) {
    if (count > 0) *to = detail::convert<T>(vector);
  } else {
    C lanes[Lanes];
    copy_bits(lanes, vector);
    for (Index lane = 0; lane < count; ++lane) to[lane * stride] = static_cast<T>(lanes[lane]);
  }
}

/// Writes a whole vector.
template <class C, int Lanes, bool Contiguous, class T>
[[gnu::always_inline]] inline void store(T* to, Index stride, const Vector<C, Lanes>& vector) {
  if constexpr (Lanes == 1) {
    *to = detail::convert<T>(vector);
  } else if constexpr (Contiguous && std::is_same<T, C>::value) {
    write<C, Lanes>(to, vector);
  } else if constexpr (Contiguous && is_16_bit<T> && std::is_same<C, float>::value) {
    Vector<std::uint16_t, Lanes> bits;
    narrow_bits<Lanes>(bits, vector, T());
    write<std::uint16_t, Lanes>(to, bits);
  } else {
    store_some<C, Lanes>(to, Contiguous ? 1 : stride, vector, Lanes);
  }
}

/// Whether vectors of C that are stored as T can bypass the cache.
template <class C, int Lanes, class T>
inline constexpr bool can_stream =
#if defined(__x86_64__)
    has_vectors&& Lanes > 1 && (std::is_same<T, C>::value || is_16_bit<T>)&&Lanes * sizeof(T) >= 16;
#else
    false;
#endif

/// Writes a whole vector past the cache, to memory aligned to the vector; finish_streaming() after
/// the last one.
template <class V>
[[gnu::always_inline]] inline void stream_bits(void* to, const V& bits) {
#if defined(__x86_64__) && defined(__clang__)
  __builtin_nontemporal_store(bits, static_cast<V*>(to));
#elif defined(__x86_64__) && defined(__GNUC__)
  // g++ declares its built-in functions for AVX only to those who include all of immintrin.h.
  struct Memory {
    unsigned char bytes[sizeof(V)];
  };
  if constexpr (sizeof(V) == avx2_bytes) {
    asm("vmovntps %1, %0" : "=m"(*static_cast<Memory*>(to)) : "x"(bits));
  } else {
    asm("%vmovntps %1, %0" : "=m"(*static_cast<Memory*>(to)) : "x"(bits));
  }
#else
  std::memcpy(to, &bits, sizeof bits);
#endif
}

template <class C, int Lanes, class T>
[[gnu::always_inline]] inline void stream(T* to, const Vector<C, Lanes>& vector) {
  if constexpr (std::is_same<T, C>::value) {
    stream_bits(to, vector);
  } else {
    Vector<std::uint16_t, Lanes> bits;
    narrow_bits<Lanes>(bits, vector, T());
    stream_bits(to, bits);
  }
}

/// Makes streamed stores visible to other threads, as ordinary stores are by themselves.
inline void finish_streaming() {
#if defined(__x86_64__) && (defined(__clang__) || defined(__GNUC__))
  __builtin_ia32_sfence();
#endif
}

}  // namespace simd
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_SIMD_MEMORY_HPP
