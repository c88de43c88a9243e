// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_SIMD_MEMORY_HPP
#define BATCHNORM_KERNELS_SIMD_MEMORY_HPP

#include <Eigen/Core>
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/half.hpp"
#include "batchnorm/kernels/instructions.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/kernels/tuning.hpp"
#include "batchnorm/version.hpp"

// Vectors from memory and back, converted in registers on the way where the elements are of
// another type: half and bfloat16 to float, everything to double.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {
namespace simd {

/// Reads a whole vector of neighbouring elements.
template <class C, int Lanes, class T>
[[gnu::always_inline]] inline void load(Vector<C, Lanes>& vector, const T* from) {
  if constexpr (Lanes == 1) {
    vector = convert<C>(*from);
  } else if constexpr (std::is_same<T, C>::value) {
    read<C, Lanes>(vector, from);
  } else if constexpr (std::is_same<T, float>::value) {
    Vector<float, Lanes> narrow;
    read<float, Lanes>(narrow, from);
    widen_lanes<C, float, Lanes>(vector, narrow);
  } else {
    static_assert(is_16_bit<T> && std::is_same<C, float>::value, "half and bfloat16 become float");
    if constexpr (widens_from_memory<T, Lanes>) {
      widen_from<Lanes>(vector, from);
    } else {
      Vector<std::uint16_t, Lanes> bits;
      read<std::uint16_t, Lanes>(bits, from);
      widen_bits<Lanes>(vector, bits, T());
    }
  }
}

/// Writes a whole vector, rounded to T.
template <class C, int Lanes, class T>
[[gnu::always_inline]] inline void store(T* to, const Vector<C, Lanes>& vector) {
  if constexpr (Lanes == 1) {
    *to = convert<T>(vector);
  } else if constexpr (std::is_same<T, C>::value) {
    write<C, Lanes>(to, vector);
  } else if constexpr (std::is_same<T, float>::value) {
    Vector<float, Lanes> narrow;
    convert_lanes(narrow, vector);  // rounded
    write<float, Lanes>(to, narrow);
  } else {
    static_assert(is_16_bit<T> && std::is_same<C, float>::value, "half and bfloat16 are float");
    Vector<std::uint16_t, Lanes> bits;
    narrow_bits<Lanes>(bits, vector, T());
    write<std::uint16_t, Lanes>(to, bits);
  }
}

/// Writes a vector past the cache, to memory aligned to its size; through it where can_stream is
/// false.
template <class V>
[[gnu::always_inline]] inline void stream_bits(void* to, const V& bits) {
#if !defined(__x86_64__)
  std::memcpy(to, &bits, sizeof bits);
#elif defined(__clang__)
  __builtin_nontemporal_store(bits, static_cast<V*>(to));
#else
  if constexpr (sizeof(V) < 16) {
    std::memcpy(to, &bits, sizeof bits);
  } else {
    assembly::vmovntps(to, bits);
  }
#endif
}

/// `Vectors` vectors side by side.
template <class C, int Lanes, int Vectors, class T>
[[gnu::always_inline]] inline void store_unit(T* to, const Vector<C, Lanes> (&unit)[Vectors]) {
  if constexpr (Vectors == 2 && narrows_in_pairs<C, Lanes, T>) {
    Vector<std::uint16_t, 2 * Lanes> bits;
    narrow_pair<Lanes>(bits, unit[0], unit[1], T());
    write<std::uint16_t, 2 * Lanes>(to, bits);
  } else {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) store<C, Lanes>(to + v * Lanes, unit[v]);
  }
}

/// Whether elements can be stored past the cache.
template <class T>
inline constexpr bool can_stream =
#if defined(__x86_64__) && (defined(__clang__) || defined(__GNUC__))
    has_vectors &&
    (std::is_same<T, float>::value || std::is_same<T, double>::value || is_16_bit<T>);
#else
    false;
#endif

/// A unit, normally or with non-temporal stores to aligned memory.
template <class C, int Lanes, int Vectors, class T>
[[gnu::always_inline]] inline void store_or_stream(T* to, const Vector<C, Lanes> (&unit)[Vectors],
                                                   bool streaming) {
  if constexpr (std::is_same<T, C>::value) {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      if (streaming) {
        stream_bits(to + v * Lanes, unit[v]);
      } else {
        write<C, Lanes>(to + v * Lanes, unit[v]);
      }
    }
  } else if constexpr (Vectors == 2 && narrows_in_pairs<C, Lanes, T>) {
    Vector<std::uint16_t, 2 * Lanes> bits;
    narrow_pair<Lanes>(bits, unit[0], unit[1], T());
    if (streaming) {
      stream_bits(to, bits);
    } else {
      write<std::uint16_t, 2 * Lanes>(to, bits);
    }
  } else {
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      Vector<std::uint16_t, Lanes> bits;
      narrow_bits<Lanes>(bits, unit[v], T());
      if (streaming) {
        stream_bits(to + v * Lanes, bits);
      } else {
        write<std::uint16_t, Lanes>(to + v * Lanes, bits);
      }
    }
  }
}

/// Copies fewer than 2 * Piece elements, in pieces of a size that the compiler knows.
template <Index Piece, class T>
[[gnu::always_inline]] inline void copy_few(T* to, const T* from, Index count) {
  if constexpr (Piece > 0) {
    if ((count & Piece) != 0) {
      std::memcpy(static_cast<void*>(to), static_cast<const void*>(from), Piece * sizeof(T));
      to += Piece;
      from += Piece;
    }
    copy_few<Piece / 2>(to, from, count);
  }
}

/// `count` elements of a unit from its element `first` on, without a look at the others.
template <class C, int Lanes, int Vectors, class T>
[[gnu::always_inline]] inline void store_between(T* to, const Vector<C, Lanes> (&unit)[Vectors],
                                                 Index first, Index count) {
  using Bits = std::conditional_t<is_16_bit<T>, std::int16_t, T>;
  Bits rounded[Vectors * Lanes];
  store_unit<C, Lanes, Vectors>(reinterpret_cast<T*>(rounded), unit);
  copy_few<Vectors * Lanes / 2>(reinterpret_cast<Bits*>(to) + first, rounded + first, count);
}

/// The last `count` elements of a unit; the elements before them are written back as they are.
template <class C, int Lanes, int Vectors, class T>
[[gnu::always_inline]] inline void store_last(T* to, const Vector<C, Lanes> (&unit)[Vectors],
                                              Index count) {
  if constexpr (Lanes == 1) {
    if (count > 0) store<C, Lanes>(to, unit[0]);
  } else {
    // As bits where they are converted: a conversion and back would not keep every NaN.
    using Bits = std::conditional_t<is_16_bit<T>, std::int16_t, T>;
    Bits rounded[Vectors * Lanes];
    store_unit<C, Lanes, Vectors>(reinterpret_cast<T*>(rounded), unit);
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      Vector<Bits, Lanes> now, before;
      read<Bits, Lanes>(now, rounded + v * Lanes);
      read<Bits, Lanes>(before, to + v * Lanes);
      LastLanes<Bits, Lanes>(count - (Vectors - 1 - v) * Lanes).keep(now, before);
      write<Bits, Lanes>(to + v * Lanes, now);
    }
  }
}

/// Zeros; whole cache lines past the cache where that is wanted.
template <class T>
void fill_zeros(T* to, Index count, bool streaming) {
  if constexpr (can_stream<T>) {
    constexpr Index per_line = cache_line_bytes / static_cast<Index>(sizeof(T));
    const Index beyond = static_cast<Index>(reinterpret_cast<std::uintptr_t>(to) %
                                            static_cast<std::uintptr_t>(cache_line_bytes));
    const Index head =
        (cache_line_bytes - beyond) % cache_line_bytes / static_cast<Index>(sizeof(T));
    const bool aligned = beyond % static_cast<Index>(sizeof(T)) == 0;
    if (streaming && aligned && count >= head + per_line) {
      std::fill_n(to, head, T(0));
      to += head;
      count -= head;
      using Bits = std::conditional_t<is_16_bit<T>, std::int16_t, T>;
      const Vector<Bits, baseline_bytes / static_cast<int>(sizeof(T))> zeros{};
      for (; count >= per_line; count -= per_line, to += per_line) {
        constexpr Index step = baseline_bytes / static_cast<Index>(sizeof(T));
        for (Index i = 0; i < per_line; i += step) stream_bits(to + i, zeros);
      }
    }
  }
  static_cast<void>(streaming);
  std::fill_n(to, count, T(0));
}

}  // namespace simd
}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_SIMD_MEMORY_HPP
