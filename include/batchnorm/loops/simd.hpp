// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_SIMD_HPP
#define BATCHNORM_LOOPS_SIMD_HPP

#include <Eigen/Core>
#include <cstring>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/execution.hpp"
#include "batchnorm/version.hpp"

// Vectors for the loops: GNU vector types, which g++ and clang++ turn into the instructions of the
// function they are inlined into. The loop bodies are templates on the vector width, always inlined
// into one thin function per instruction set; that function alone carries the target attribute, so
// the flags of the user's build stay as they are. Other compilers get plain loops.
//
// Vectors travel by reference only: passing them by value would depend on the flags of the caller.
// The loops over the few operands, sums or coefficients of a body carry `#pragma GCC unroll`: only
// without a loop variable do arrays of vectors become registers at -O2.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace simd {

/// Bytes of a vector in the loops that run everywhere, and in those for AVX2. 1 stands for plain
/// loops over single numbers.
#if defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 9)
inline constexpr int baseline_bytes = 16;
template <class C, int Lanes>
struct VectorOf {
  typedef C type __attribute__((vector_size(sizeof(C) * Lanes)));
};

/// As many floats as `wide` has lanes, converted.
template <class C, int Lanes>
[[gnu::always_inline]] inline void widen(typename VectorOf<C, Lanes>::type& wide,
                                         const float* from) {
  typename VectorOf<float, Lanes>::type narrow;
  std::memcpy(&narrow, from, sizeof narrow);
  wide = __builtin_convertvector(narrow, typename VectorOf<C, Lanes>::type);
}
#else
inline constexpr int baseline_bytes = 1;
template <class C, int Lanes>
struct VectorOf;
template <class C, int Lanes>
void widen(typename VectorOf<C, Lanes>::type& wide, const float* from);  // there are no vectors
#endif
inline constexpr int avx2_bytes = 32;

template <class C>
struct VectorOf<C, 1> {
  using type = C;
};

/// How many numbers of type C a vector holds: only float and double have vectors.
template <class C, int Bytes>
inline constexpr int lanes_of =
    (std::is_same<C, float>::value || std::is_same<C, double>::value) && Bytes >= 16
        ? Bytes / static_cast<int>(sizeof(C))
        : 1;

/// `Lanes` numbers of type C; C itself when Lanes is 1.
template <class C, int Lanes>
using Vector = typename VectorOf<C, Lanes>::type;

/// The same number in every lane, to the bit: 0 + value would lose the sign of a zero.
template <class C, int Lanes>
[[gnu::always_inline]] inline void broadcast(Vector<C, Lanes>& vector, const C& value) {
  if constexpr (Lanes == 1) {
    vector = value;
  } else {
    C lanes[Lanes];
    for (C& lane : lanes) lane = value;
    std::memcpy(&vector, lanes, sizeof lanes);
  }
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
    std::memcpy(lanes, &vector, sizeof lanes);
    for (Index lane = 0; lane < count; ++lane) lanes[lane] = static_cast<C>(from[lane * stride]);
    std::memcpy(&vector, lanes, sizeof lanes);
  }
}

/// Reads a whole vector. Contiguous float and double go through one unaligned load; what is
/// converted on the way, or strided, lane by lane.
template <class C, int Lanes, bool Contiguous, class T>
[[gnu::always_inline]] inline void load(Vector<C, Lanes>& vector, const T* from, Index stride) {
  if constexpr (Lanes == 1) {
    vector = detail::convert<C>(*from);
  } else if constexpr (Contiguous && std::is_same<T, C>::value) {
    std::memcpy(&vector, from, sizeof vector);
  } else if constexpr (Contiguous && std::is_same<T, float>::value) {
    widen<C, Lanes>(vector, from);
  } else {
    C lanes[Lanes];
    for (Index lane = 0; lane < Lanes; ++lane) {
      lanes[lane] = static_cast<C>(from[Contiguous ? lane : lane * stride]);
    }
    std::memcpy(&vector, lanes, sizeof lanes);
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
    std::memcpy(lanes, &vector, sizeof lanes);
    for (Index lane = 0; lane < count; ++lane) to[lane * stride] = static_cast<T>(lanes[lane]);
  }
}

/// Writes a whole vector.
template <class C, int Lanes, bool Contiguous, class T>
[[gnu::always_inline]] inline void store(T* to, Index stride, const Vector<C, Lanes>& vector) {
  if constexpr (Lanes == 1) {
    *to = detail::convert<T>(vector);
  } else if constexpr (Contiguous && std::is_same<T, C>::value) {
    std::memcpy(to, &vector, sizeof vector);
  } else {
    store_some<C, Lanes>(to, Contiguous ? 1 : stride, vector, Lanes);
  }
}

/// The sum of all lanes, in an order that is always the same.
template <class C, int Lanes>
[[gnu::always_inline]] inline C sum_of_lanes(const Vector<C, Lanes>& vector) {
  if constexpr (Lanes == 1) {
    return vector;
  } else {
    C lanes[Lanes];
    std::memcpy(lanes, &vector, sizeof lanes);
    for (int width = Lanes / 2; width > 0; width /= 2) {
      for (int lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
    }
    return lanes[0];
  }
}

#if (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 9)) && defined(__x86_64__)
inline bool has_avx2() {
  static const bool found = [] {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  }();
  return found;
}

template <class Body>
[[gnu::target("avx2,fma"), gnu::noinline]] void run_avx2(const Body& body) {
  body.template run<avx2_bytes>();
}
#endif

template <class Body>
[[gnu::noinline]] void run_baseline(const Body& body) {
  body.template run<baseline_bytes>();
}

/// Calls body.run<Bytes>() with the widest vectors that this processor has, or as execution says.
/// Everything below run() has to be always_inline, or it is compiled for the baseline.
template <class Body>
void dispatch(InstructionSet instruction_set, const Body& body) {
#if (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 9)) && defined(__x86_64__)
  if (instruction_set == InstructionSet::best && has_avx2()) {
    run_avx2(body);
    return;
  }
#endif
  static_cast<void>(instruction_set);
  run_baseline(body);
}

}  // namespace simd
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_SIMD_HPP
