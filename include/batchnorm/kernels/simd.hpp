// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_SIMD_HPP
#define BATCHNORM_KERNELS_SIMD_HPP

#include <Eigen/Core>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/instructions.hpp"
#include "batchnorm/version.hpp"

// Vectors for the kernels: GNU vector types, which g++ and clang++ turn into the instructions of
// the function they are inlined into (instruction_set.hpp). Other compilers get plain loops.
//
// Vectors travel by reference only: passing them by value would depend on the flags of the caller.
// The loops over the few operands, sums or coefficients of a body carry `#pragma GCC unroll`: only
// without a loop variable do arrays of vectors become registers at -O2.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {
namespace simd {

/// Bytes of a vector in kernels that run everywhere, and in those for AVX2 and AVX-512. 1 stands
/// for plain loops over single numbers.
#if defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 9)
inline constexpr bool has_vectors = true;
inline constexpr int baseline_bytes = 16;
template <class C, int Lanes>
struct VectorOf {
  typedef C type __attribute__((vector_size(sizeof(C) * Lanes)));
  /// The same anywhere in memory, whatever is said to lie there.
  typedef type loose __attribute__((aligned(1), may_alias));
};

/// Every lane as a number of the other vector's type.
template <class To, class From>
[[gnu::always_inline]] inline void convert_lanes(To& to, const From& from) {
  to = __builtin_convertvector(from, To);
}
#else
inline constexpr bool has_vectors = false;
inline constexpr int baseline_bytes = 1;
template <class C, int Lanes>
struct VectorOf;
template <class To, class From>
void convert_lanes(To& to, const From& from);  // there are no vectors
#endif
inline constexpr int avx2_bytes = 32;
inline constexpr int avx512_bytes = 64;

/// Whether a vector is as long as those of AVX or longer: met only in code for such processors. A
/// class is a number of another library.
template <class V>
inline constexpr bool is_avx = sizeof(V) >= avx2_bytes && !std::is_class<V>::value;

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

/// Reads a vector from anywhere, or writes it there. Not by memcpy: g++ does not always turn that
/// into one instruction inside a function for another target.
template <class C, int Lanes>
[[gnu::always_inline]] inline void read(Vector<C, Lanes>& vector, const void* from) {
  if constexpr (Lanes == 1) {
    std::memcpy(&vector, from, sizeof vector);
  } else {
    vector = *static_cast<const typename VectorOf<C, Lanes>::loose*>(from);
  }
}
template <class C, int Lanes>
[[gnu::always_inline]] inline void write(void* to, const Vector<C, Lanes>& vector) {
  if constexpr (Lanes == 1) {
    std::memcpy(to, &vector, sizeof vector);
  } else {
    *static_cast<typename VectorOf<C, Lanes>::loose*>(to) = vector;
  }
}

/// The bits of one thing as another of the same size.
template <class To, class From>
[[gnu::always_inline]] inline void copy_bits(To& to, const From& from) {
  static_assert(sizeof(To) == sizeof(From), "the same bits");
  std::memcpy(&to, &from, sizeof to);
}

/// The same number in every lane, to the bit: value - 0 is value, while 0 + value would lose the
/// sign of a zero.
template <class C, int Lanes>
[[gnu::always_inline]] inline void broadcast(Vector<C, Lanes>& vector, const C& value) {
  constexpr bool in_assembly = assembly::available && is_avx<Vector<C, Lanes>>;
  if constexpr (in_assembly && std::is_same<C, float>::value) {
    assembly::vbroadcastss(vector, value);
  } else if constexpr (in_assembly && std::is_same<C, double>::value) {
    assembly::vbroadcastsd(vector, value);
  } else if constexpr (Lanes == 1) {
    vector = value;
  } else {
    vector = value - Vector<C, Lanes>{};
  }
}

/// Whether the compiler makes one instruction of a multiplication and an addition by itself.
#ifdef __OPTIMIZE__
inline constexpr bool fuses = true;
#else
inline constexpr bool fuses = false;
#endif

/// a becomes a b + c, rounded once in kernels for AVX2 and AVX-512 with any optimisation, so that
/// files of one program that were compiled differently agree. Elsewhere the compiler decides.
template <class V>
[[gnu::always_inline]] inline void multiply_add(V& a, const V& b, const V& c) {
  if constexpr (fuses || !assembly::available || !is_avx<V>) {
    a = a * b + c;
  } else if constexpr (std::is_same<std::decay_t<decltype(a[0])>, float>::value) {
    assembly::vfmadd213ps(a, b, c);
  } else {
    assembly::vfmadd213pd(a, b, c);
  }
}

/// The first lane.
template <class C, int Lanes>
[[gnu::always_inline]] inline C first_lane(const Vector<C, Lanes>& vector) {
  if constexpr (Lanes == 1) {
    return vector;
  } else {
    return vector[0];
  }
}

/// The sum of some numbers in memory, in an order that is always the same: the upper half onto the
/// lower one, again and again.
template <class C, int Count>
[[gnu::always_inline]] inline C sum_of_array(const C* from) {
  if constexpr (Count == 1) {
    return *from;
  } else if constexpr (Count * sizeof(C) > baseline_bytes && Count > 2) {
    constexpr int half = Count / 2;
    Vector<C, half> low, high;
    read<C, half>(low, from);
    read<C, half>(high, from + half);
    low += high;
    C sums[half];
    write<C, half>(sums, low);
    return sum_of_array<C, half>(sums);
  } else {
    C lower[Count / 2];
    for (int i = 0; i < Count / 2; ++i) lower[i] = from[i] + from[i + Count / 2];
    return sum_of_array<C, Count / 2>(lower);
  }
}

/// The sum of all lanes, in the same order.
template <class C, int Lanes>
[[gnu::always_inline]] inline C sum_of_lanes(const Vector<C, Lanes>& vector) {
  if constexpr (Lanes == 1) {
    return vector;
  } else {
    C lanes[Lanes];
    write<C, Lanes>(lanes, vector);
    return sum_of_array<C, Lanes>(lanes);
  }
}

/// The same lanes in a wider type.
template <class A, class C, int Lanes>
[[gnu::always_inline]] inline void widen_lanes(Vector<A, Lanes>& wide,
                                               const Vector<C, Lanes>& narrow) {
  if constexpr (assembly::available && is_avx<Vector<A, Lanes>> &&
                sizeof wide == 2 * sizeof narrow) {
    assembly::vcvtps2pd(wide, narrow);
  } else {
    convert_lanes(wide, narrow);
  }
}

/// to[i] += lane i, in the type of `to`, which is the same or a wider one.
template <class C, int Lanes, class A>
[[gnu::always_inline]] inline void add_lanes(A* to, const Vector<C, Lanes>& vector) {
  if constexpr (Lanes == 1) {
    to[0] += convert<A>(vector);
  } else if constexpr (std::is_same<A, C>::value) {
    Vector<C, Lanes> sum;
    read<C, Lanes>(sum, to);
    sum += vector;
    write<C, Lanes>(to, sum);
  } else {
    constexpr int half = Lanes / 2;
#pragma GCC unroll 2
    for (int k = 0; k < 2; ++k) {
      Vector<C, half> narrow;
      Vector<A, half> sum, added;
      read<C, half>(narrow, reinterpret_cast<const C*>(&vector) + k * half);
      read<A, half>(sum, to + k * half);
      widen_lanes<A, C, half>(added, narrow);
      sum += added;
      write<A, half>(to + k * half, sum);
    }
  }
}

/// Which of the lanes of a vector are among its last ones. Chosen by bits: what g++ 12 makes of a
/// comparison for AVX-512 cannot be kept, and it ends in an internal error.
template <class C, int Lanes>
class LastLanes {
  using Word = std::conditional_t<sizeof(C) == 2, std::int16_t,
                                  std::conditional_t<sizeof(C) == 4, std::int32_t, std::int64_t>>;
  using Words = Vector<Word, Lanes>;
  using Numbers = Vector<C, Lanes>;

 public:
  LastLanes() = default;
  /// @param count  at most the lanes of a few vectors; below 0 as 0, above Lanes as Lanes
  [[gnu::always_inline]] explicit LastLanes(Index count) {
    Numbers lane, before;
    number(lane, std::make_integer_sequence<int, Lanes>());
    broadcast<C, Lanes>(before, static_cast<C>(Lanes - 1 - static_cast<int>(count)));
    before -= lane;
    copy_bits(mask_, before);
    mask_ >>= static_cast<int>(8 * sizeof(C)) - 1;  // the sign in every bit
  }

  /// Takes the lanes before them from `fill`.
  [[gnu::always_inline]] void keep(Numbers& vector, const Numbers& fill) const {
    Words kept, filled;
    copy_bits(kept, vector);
    copy_bits(filled, fill);
    kept = (kept & mask_) | (filled & ~mask_);
    copy_bits(vector, kept);
  }

 private:
  template <int... I>
  [[gnu::always_inline]] static void number(Numbers& lane, std::integer_sequence<int, I...>) {
    lane = Numbers{C(I)...};
  }
  Words mask_;
};

/// A single number is no vector and has no tail.
template <class C>
class LastLanes<C, 1> {
 public:
  LastLanes() = default;
  explicit LastLanes(Index) {}
  void keep(C&, const C&) const {}
};

/// x where x is not below zero (NaN included), otherwise `below`. Zero is spelled out: the default
/// of another library's scalar need not be zero.
template <class V>
[[gnu::always_inline]] inline void replace_negative(V& x, const V& below) {
  x = x < V{0} ? below : x;
}

/// x where `sign` is above zero, otherwise `other`.
template <class V>
[[gnu::always_inline]] inline void keep_where_positive(V& x, const V& sign, const V& other) {
  x = sign > V{0} ? x : other;
}

}  // namespace simd
}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_SIMD_HPP
