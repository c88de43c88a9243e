// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_JOIN_RESULTS_HPP
#define BATCHNORM_KERNELS_JOIN_RESULTS_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/instruction_set.hpp"
#include "batchnorm/kernels/place_bits.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/kernels/simd_memory.hpp"
#include "batchnorm/kernels/tuning.hpp"
#include "batchnorm/kernels/weighted_sums.hpp"
#include "batchnorm/version.hpp"

// What a formula made of some neighbouring elements, while it is in L1, joined with what others
// get: by bits that choose, or by weights. Compiled only where masks and weights are.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Elements of which bits choose some that are replaced.
template <class T>
struct Replacement {
  T* at;
  const T* by;  ///< null: by zeros
  const std::uint8_t* bits;
  Index count;
};

/// Integers of an element's size.
template <class T>
using BitsOf = std::conditional_t<sizeof(T) == 2, std::uint16_t,
                                  std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>>;

template <class T>
class ReplaceKernel {
 public:
  using Work = Replacement<T>;
  static constexpr bool has_vectors = simd::has_vectors && std::is_trivially_copyable<T>::value &&
                                      (sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8);

  template <int Bytes>
  [[gnu::always_inline]] static void run(const Work& work) {
    Index i = 0;
    if constexpr (has_vectors && Bytes >= 16) {
      i = run_vectors<Bytes / static_cast<int>(sizeof(T))>(work);
    }
    for (; i < work.count; ++i) {
      if ((work.bits[i / 8] >> (i % 8) & 1u) == 0) continue;
      work.at[i] = work.by == nullptr ? T(0) : work.by[i];
    }
  }

 private:
  /// @return the first element that is left
  template <int Lanes>
  [[gnu::always_inline]] static Index run_vectors(const Work& work) {
    using Bits = BitsOf<T>;
    using V = simd::Vector<Bits, Lanes>;
    constexpr Index step = Lanes > 8 ? Lanes : 8;
    T* const at = work.at;
    const T* const by = work.by;
    const Index count = work.count;
    V lane_bits;
    for (int lane = 0; lane < Lanes; ++lane) lane_bits[lane] = static_cast<Bits>(1u << lane);
    Index i = 0;
    for (; i + step <= count; i += step) {
      unsigned bits = work.bits[i / 8];
      if (step > 8) bits |= static_cast<unsigned>(work.bits[i / 8 + 1]) << 8;
#pragma GCC unroll 4
      for (int part = 0; part < step / Lanes; ++part) {
        V all, now, other{};
        simd::broadcast<Bits, Lanes>(all, static_cast<Bits>(bits >> (part * Lanes)));
        const V chosen = V((all & lane_bits) == lane_bits);
        simd::read<Bits, Lanes>(now, at + i + part * Lanes);
        if (by != nullptr) simd::read<Bits, Lanes>(other, by + i + part * Lanes);
        now = (other & chosen) | (now & ~chosen);
        simd::write<Bits, Lanes>(at + i + part * Lanes, now);
      }
    }
    return i;
  }
};

/// Results with weighted terms to be added: at = at + w term, and where w is 0 what was there.
/// Whole vectors are read and written, so that there must be room for one behind the last element.
template <class T>
struct WeightedTerms {
  T* at;
  const T* terms;
  const parameter_t<T>* weights;  ///< null: all are `weight`
  parameter_t<T> weight;
  Index count;
};

template <class T>
class WeightedTermsKernel {
 public:
  using Work = WeightedTerms<T>;
  using C = parameter_t<T>;
  /// Elements behind the last one that are touched.
  static constexpr Index room = 16;

  template <int Bytes>
  [[gnu::always_inline]] static void run(const Work& work) {
    constexpr int lanes = simd::lanes_of<C, Bytes>;
    using V = simd::Vector<C, lanes>;
    const Work all = work;
    V weight;
    simd::broadcast<C, lanes>(weight, all.weight);
    for (Index i = 0; i < all.count; i += lanes) {
      V before, term;
      simd::load<C, lanes>(before, all.at + i);
      simd::load<C, lanes>(term, all.terms + i);
      if (all.weights != nullptr) simd::load<C, lanes>(weight, all.weights + i);
      V sum = before + weight * term;
      simd::keep_where_positive(sum, weight, before);
      simd::store<C, lanes>(all.at + i, sum);
    }
  }
};

/// A weight in the type of coefficients. Those that are beyond its range are multiplied with terms
/// that are as far below it.
template <class C>
C as_coefficient(double weight) {
  if constexpr (std::is_same<C, float>::value) {
    return static_cast<float>(
        (std::min)(weight, static_cast<double>((std::numeric_limits<float>::max)())));
  } else {
    return C(weight);
  }
}

/// Neighbouring elements that are copied to where they belong.
template <class T>
struct Delivery {
  T* to;
  const T* from;
  Index count;
  bool streaming;  ///< past the cache
};

template <class T>
class DeliverKernel {
 public:
  using Work = Delivery<T>;

  template <int Bytes>
  [[gnu::always_inline]] static void run(const Work& work) {
    Index i = 0;
    if constexpr (simd::can_stream<T> && Bytes >= 16) {
      if (work.streaming) i = stream<Bytes / static_cast<int>(sizeof(T))>(work);
    }
    std::copy(work.from + i, work.from + work.count, work.to + i);
  }

 private:
  /// Whole cache lines. @return the first element that is left
  template <int Lanes>
  [[gnu::always_inline]] static Index stream(const Work& work) {
    using Bits = BitsOf<T>;
    using V = simd::Vector<Bits, Lanes>;
    constexpr Index per_line = cache_line_bytes / static_cast<Index>(sizeof(T));
    const std::uintptr_t address = reinterpret_cast<std::uintptr_t>(work.to);
    const Index head = static_cast<Index>((0 - address) / sizeof(T)) % per_line;
    if (address % sizeof(T) != 0 || head + per_line > work.count) return 0;
    std::copy(work.from, work.from + head, work.to);
    Index i = head;
    for (; i + per_line <= work.count; i += per_line) {
#pragma GCC unroll 4
      for (Index v = 0; v < per_line; v += Lanes) {
        V some;
        simd::read<Bits, Lanes>(some, work.from + i + v);
        simd::stream_bits(work.to + i + v, some);
      }
    }
    return i;
  }
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_JOIN_RESULTS_HPP
