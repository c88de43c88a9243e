// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_JOIN_RESULTS_HPP
#define BATCHNORM_KERNELS_JOIN_RESULTS_HPP

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/instruction_set.hpp"
#include "batchnorm/kernels/instructions.hpp"
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

/// Integers of an element's size.
template <class T>
using BitsOf = std::conditional_t<sizeof(T) == 2, std::uint16_t,
                                  std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>>;

/// Whether elements can be treated as integers in vectors.
template <class T>
inline constexpr bool has_bit_vectors = simd::has_vectors&& std::is_trivially_copyable<T>::value &&
                                        (sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8);

/// Which lanes some bits choose, as lanes of ones and zeros. g++ has no single instruction to
/// broadcast an integer here, but one for the float of the same bits.
template <class Bits, int Lanes>
class ChosenLanes {
  using V = simd::Vector<Bits, Lanes>;

 public:
  /// So many elements are looked at together: bits are read by the byte.
  static constexpr Index step = Lanes > 8 ? Lanes : 8;

  [[gnu::always_inline]] ChosenLanes() {
    for (int lane = 0; lane < Lanes; ++lane) lane_bits_[lane] = static_cast<Bits>(1u << lane);
  }
  /// The bits of the elements from one on that is a multiple of eight.
  [[gnu::always_inline]] static unsigned bits_at(const std::uint8_t* bits, Index element) {
    const unsigned byte = bits[element / 8];
    if (step == 8) return byte;
    return byte | static_cast<unsigned>(bits[element / 8 + 1]) << 8;
  }
  [[gnu::always_inline]] void choose(V& chosen, unsigned bits) const {
    V all;
    if constexpr (assembly::available && simd::is_avx<V> && sizeof(Bits) == 8) {
      double number = 0;
      simd::copy_bits(number, static_cast<std::uint64_t>(bits));
      simd::Vector<double, Lanes> numbers;
      simd::broadcast<double, Lanes>(numbers, number);
      simd::copy_bits(all, numbers);
    } else if constexpr (assembly::available && simd::is_avx<V>) {
      float number = 0;
      simd::copy_bits(number, sizeof(Bits) == 2 ? bits << 16 | bits : bits);
      constexpr int numbers_in = static_cast<int>(sizeof(V) / sizeof(float));
      simd::Vector<float, numbers_in> numbers;
      simd::broadcast<float, numbers_in>(numbers, number);
      simd::copy_bits(all, numbers);
    } else {
      simd::broadcast<Bits, Lanes>(all, static_cast<Bits>(bits));
    }
    chosen = V((all & lane_bits_) == lane_bits_);
  }

 private:
  V lane_bits_;
};

/// Elements of which bits choose some that are replaced.
template <class T>
struct Replacement {
  const T* from;
  const T* by;  ///< null: by zeros
  const std::uint8_t* bits;
  Index count;
  T* to;
};

template <class T>
class ReplaceKernel {
 public:
  using Work = Replacement<T>;

  template <int Bytes>
  [[gnu::always_inline]] static void run(const Work& work) {
    Index i = 0;
    if constexpr (has_bit_vectors<T> && Bytes >= 16) {
      constexpr int lanes = Bytes / static_cast<int>(sizeof(T));
      i = work.by == nullptr ? run_vectors<lanes, false>(work) : run_vectors<lanes, true>(work);
    }
    for (; i < work.count; ++i) {
      const bool chosen = (work.bits[i / 8] >> (i % 8) & 1u) != 0;
      work.to[i] = !chosen ? work.from[i] : work.by == nullptr ? T(0) : work.by[i];
    }
  }

 private:
  /// @return the first element that is left
  template <int Lanes, bool HasOthers>
  [[gnu::always_inline]] static Index run_vectors(const Work& work) {
    using Bits = BitsOf<T>;
    using Chosen = ChosenLanes<Bits, Lanes>;
    const Work all = work;
    const Chosen lanes;
    Index i = 0;
    for (; i + Chosen::step <= all.count; i += Chosen::step) {
      const unsigned bits = Chosen::bits_at(all.bits, i);
#pragma GCC unroll 4
      for (int part = 0; part < Chosen::step / Lanes; ++part) {
        simd::Vector<Bits, Lanes> chosen, now, other{};
        lanes.choose(chosen, bits >> (part * Lanes));
        simd::read<Bits, Lanes>(now, all.from + i + part * Lanes);
        if (HasOthers) simd::read<Bits, Lanes>(other, all.by + i + part * Lanes);
        now = (other & chosen) | (now & ~chosen);
        simd::write<Bits, Lanes>(all.to + i + part * Lanes, now);
      }
    }
    return i;
  }
};

/// Whether any element that bits choose is not 0; NaN is not.
template <class T>
struct Search {
  const T* from;
  const std::uint8_t* bits;
  Index count;
  bool* found;
};

template <class T>
class SearchKernel {
 public:
  using Work = Search<T>;

  template <int Bytes>
  [[gnu::always_inline]] static void run(const Work& work) {
    constexpr int lanes = Bytes / static_cast<int>(sizeof(T));
    using Bits = BitsOf<T>;
    using Chosen = ChosenLanes<Bits, lanes>;
    using V = simd::Vector<Bits, lanes>;
    const Work all = work;
    const Chosen choose;
    V some{};
    Index i = 0;
    for (; i + Chosen::step <= all.count; i += Chosen::step) {
      const unsigned bits = Chosen::bits_at(all.bits, i);
#pragma GCC unroll 4
      for (int part = 0; part < Chosen::step / lanes; ++part) {
        V chosen, now;
        choose.choose(chosen, bits >> (part * lanes));
        simd::read<Bits, lanes>(now, all.from + i + part * lanes);
        some |= now & chosen;
      }
    }
    Bits found[lanes];
    simd::write<Bits, lanes>(found, some);
    Bits any = 0;
    for (const Bits each : found) any = static_cast<Bits>(any | each);
    for (; i < all.count; ++i) {
      Bits each;
      std::memcpy(&each, all.from + i, sizeof each);
      if ((all.bits[i / 8] >> (i % 8) & 1u) != 0) any = static_cast<Bits>(any | each);
    }
    *all.found = static_cast<Bits>(any << 1) != 0;
  }
};

/// Results and weighted terms: to = from + w term, and where w is 0 what there was. Whole vectors
/// are read, so that there must be room for one behind the last element of all but `to`, which may
/// be `from`.
template <class T>
struct WeightedTerms {
  const T* from;
  const T* terms;
  const parameter_t<T>* weights;  ///< null: all are `weight`
  parameter_t<T> weight;
  Index count;
  T* to;
};

template <class T>
class WeightedTermsKernel {
 public:
  using Work = WeightedTerms<T>;
  using C = parameter_t<T>;
  /// Elements behind the last one that are read.
  static constexpr Index room = 16;

  template <int Bytes>
  [[gnu::always_inline]] static void run(const Work& work) {
    constexpr int lanes = simd::lanes_of<C, Bytes>;
    const Work all = work;
    Index i = 0;
    for (; i + lanes <= all.count; i += lanes) add<lanes>(all, i, all.to + i);
    if (i == all.count) return;
    T last[lanes];
    add<lanes>(all, i, last);
    std::copy(last, last + (all.count - i), all.to + i);
  }

 private:
  template <int Lanes>
  [[gnu::always_inline]] static void add(const Work& work, Index i, T* to) {
    using V = simd::Vector<C, Lanes>;
    V before, term, weight;
    simd::load<C, Lanes>(before, work.from + i);
    simd::load<C, Lanes>(term, work.terms + i);
    if (work.weights != nullptr) {
      simd::load<C, Lanes>(weight, work.weights + i);
    } else {
      simd::broadcast<C, Lanes>(weight, work.weight);
    }
    V sum = before + weight * term;
    simd::keep_where_positive(sum, weight, before);
    simd::store<C, Lanes>(to, sum);
  }
};

/// Prefetches the lines at both ends of what will be streamed: they are written through the cache.
template <class T>
void prefetch_ends(const T* to, Index count) {
  prefetch_line(to, 0);
  prefetch_line(to, count - 1);
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
