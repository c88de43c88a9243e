// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_CHANNELS_HPP
#define BATCHNORM_KERNELS_CHANNELS_HPP

#include <Eigen/Core>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/instruction_set.hpp"
#include "batchnorm/kernels/instructions.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/kernels/simd_memory.hpp"
#include "batchnorm/version.hpp"

// Work of O(channels), in vectors across channels: a root or a division takes as long for four
// channels as for one, and of 64 examples of 512 features they are most of the work. The formulas
// stand in math/. They are compiled without fused multiply-add, so that a channel's results are the
// same to the bit at any width.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Neighbouring channels: as many as a vector has lanes, from this one on.
struct ChannelGroup {
  Index first;
};

/// Reads the entries of some channels.
template <class C, int Lanes, class T>
[[gnu::always_inline]] inline void load_channels(simd::Vector<C, Lanes>& numbers, const T* table,
                                                 const ChannelGroup& group) {
  simd::load<C, Lanes>(numbers, table + group.first);
}

/// Rounds every lane to a narrower type.
template <class Narrow, class C, int Lanes>
[[gnu::always_inline]] inline void round_lanes(simd::Vector<C, Lanes>& numbers) {
  if constexpr (!std::is_same<Narrow, C>::value) {
    Narrow rounded[Lanes];
    simd::store<C, Lanes>(rounded, numbers);
    simd::load<C, Lanes>(numbers, rounded);
  }
}

/// x becomes its square root.
template <class C, int Lanes>
[[gnu::always_inline]] inline void square_root(simd::Vector<C, Lanes>& x) {
  using std::sqrt;
  if constexpr (Lanes == 1) {
    x = sqrt(x);
    return;
  } else {
    if constexpr (assembly::available && simd::is_avx<simd::Vector<C, Lanes>> &&
                  std::is_same<C, double>::value) {
      assembly::vsqrtpd(x, x);
      return;
    }
#if defined(__x86_64__)
    constexpr int half = simd::baseline_bytes / static_cast<int>(sizeof(C));
    C lanes[Lanes];
    simd::write<C, Lanes>(lanes, x);
#pragma GCC unroll 2
    for (int lane = 0; lane < Lanes; lane += half) {
      simd::Vector<C, half> part;
      simd::read<C, half>(part, lanes + lane);
      if constexpr (std::is_same<C, double>::value) {
        part = __builtin_ia32_sqrtpd(part);
      } else {
        part = __builtin_ia32_sqrtps(part);
      }
      simd::write<C, half>(lanes + lane, part);
    }
    simd::read<C, Lanes>(x, lanes);
#else
    for (int lane = 0; lane < Lanes; ++lane) x[lane] = sqrt(x[lane]);
#endif
  }
}

/// What holds in every lane.
template <class C, int Lanes>
class AllLanes {
  using V = simd::Vector<C, Lanes>;
  static constexpr bool has_words = Lanes > 1;
  using Word = std::conditional_t<!has_words, bool,
                                  std::conditional_t<sizeof(C) == 4, std::int32_t, std::int64_t>>;
  using Words = simd::Vector<Word, Lanes>;

 public:
  [[gnu::always_inline]] AllLanes() : holds_(Words{} == Words{}) {}

  /// a <= b; that does not hold where one of them is NaN.
  [[gnu::always_inline]] void at_most(const V& a, const V& b) { holds_ &= a <= b; }

  /// x is neither NaN nor infinite; by its bits, as compilers may assume the answer.
  [[gnu::always_inline]] void finite(const V& x) {
    if constexpr (has_words) {
      constexpr Word exponent = static_cast<Word>(sizeof(C) == 4 ? 0x7f800000 : 0x7ff0000000000000);
      Words bits;
      simd::copy_bits(bits, x);
      holds_ &= (bits & exponent) != exponent;
    } else {
      holds_ = holds_ && is_finite(x);
    }
  }

  [[gnu::always_inline]] bool passed() const {
    if constexpr (has_words) {
      Word words[Lanes];
      simd::write<Word, Lanes>(words, holds_);
      Word all = words[0];
      for (int lane = 1; lane < Lanes; ++lane) all &= words[lane];
      return all != 0;
    } else {
      return holds_;
    }
  }

 private:
  Words holds_;
};

/// A body and the channels it is run on: in vectors, and the last ones alone. Processors without
/// AVX2 have it without vectors, which is less to compile, where others do not need that.
template <class C, class Body>
class ChannelKernel {
 public:
  struct Work {
    Index first;
    Index last;
    const Body& body;
  };

  template <int Bytes>
  [[gnu::always_inline]] static void run(const Work& work) {
    constexpr int lanes =
        Bytes == simd::baseline_bytes && compiled_sets > 1 ? 1 : simd::lanes_of<C, Bytes>;
    Index channel = work.first;
    if constexpr (lanes > 1) {
      for (; channel + lanes <= work.last; channel += lanes) {
        if (!work.body.template run<lanes>(ChannelGroup{channel})) return;
      }
    }
    for (; channel < work.last; ++channel) {
      if (!work.body.template run<1>(ChannelGroup{channel})) return;
    }
  }
};

/// Calls body.run<Lanes>(group) for the channels [first, last), as many at a time as a vector of C
/// has lanes, or one, until it returns false.
template <class C, class Body>
void for_channels(Index first, Index last, const Body& body) {
  run_unfused<ChannelKernel<C, Body>>({first, last, body});
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_CHANNELS_HPP
