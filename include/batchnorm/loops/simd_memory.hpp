// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_SIMD_MEMORY_HPP
#define BATCHNORM_LOOPS_SIMD_MEMORY_HPP

#include <Eigen/Core>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/loops/sixteen_bits.hpp"
#include "batchnorm/version.hpp"

// Vectors from memory and back, converted in registers on the way where the elements are of
// another type: half and bfloat16 to float, everything to double.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace simd {

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
  } else if constexpr (Contiguous && std::is_same<T, float>::value) {
    Vector<float, Lanes> narrow;
    narrow_lanes<float, C, Lanes>(narrow, vector);
    write<float, Lanes>(to, narrow);
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
  if constexpr (is_avx<V>) {
    asm("vmovntps %1, %0" : "=m"(*static_cast<Memory*>(to)) : "v"(bits));
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
