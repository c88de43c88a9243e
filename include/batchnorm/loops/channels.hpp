// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_CHANNELS_HPP
#define BATCHNORM_LOOPS_CHANNELS_HPP

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/loops/simd_dispatch.hpp"
#include "batchnorm/loops/simd_memory.hpp"
#include "batchnorm/version.hpp"

// What is done once per channel, for some channels at a time: roots and divisions take as long for
// four numbers as for one, and of 64 examples of 512 features they are most of the work. The
// formulas stand in math/, on numbers or vectors of them. They are compiled without fused
// multiply-add, so that a channel's numbers are the same to the bit whatever the width.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

/// Neighbouring channels: as many as a vector has lanes, or fewer at the end.
struct ChannelGroup {
  Index first;
  Index count;
};

/// Reads the numbers that some channels have in a table. Lanes of no channel get the numbers of the
/// first one, which are as good as any.
template <class C, int Lanes, class T>
[[gnu::always_inline]] inline void load_channels(simd::Vector<C, Lanes>& numbers, const T* table,
                                                 const ChannelGroup& group) {
  const T* const from = table + group.first;
  if (group.count == Lanes) {
    simd::load<C, Lanes, true>(numbers, from, 1);
  } else {
    simd::broadcast<C, Lanes>(numbers, detail::convert<C>(*from));
    simd::load_some<C, Lanes>(numbers, from, 1, group.count);
  }
}

/// Writes the numbers of some channels to `to`, where that of the first one goes.
template <class C, int Lanes, class T>
[[gnu::always_inline]] inline void store_channels(T* to, const ChannelGroup& group,
                                                  const simd::Vector<C, Lanes>& numbers) {
  if (group.count == Lanes) {
    simd::store<C, Lanes, true>(to, 1, numbers);
  } else {
    simd::store_some<C, Lanes>(to, 1, numbers, group.count);
  }
}

/// Rounds every lane to a narrower type.
template <class Narrow, class C, int Lanes>
[[gnu::always_inline]] inline void round_lanes(simd::Vector<C, Lanes>& numbers) {
  if constexpr (!std::is_same<Narrow, C>::value) {
    Narrow rounded[Lanes];
    simd::store<C, Lanes, true>(rounded, 1, numbers);
    simd::load<C, Lanes, true>(numbers, rounded, 1);
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
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
    if constexpr (simd::is_avx<simd::Vector<C, Lanes>> && std::is_same<C, double>::value) {
      asm("vsqrtpd %1, %0" : "=v"(x) : "vm"(x));
      return;
    }
#endif
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
      holds_ = holds_ && detail::is_finite(x);
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

/// Runs a body on all channels; see for_channels.
template <class C, class Body>
class ChannelLoop {
 public:
  ChannelLoop(Index first, Index last, const Body& body)
      : first_(first), last_(last), body_(body) {}

  template <int Bytes>
  [[gnu::always_inline]] void run() const {
    constexpr int lanes = simd::lanes_of<C, Bytes>;
    Index channel = first_;
    for (; channel + lanes <= last_; channel += lanes) {
      if (!body_.template run<lanes>(ChannelGroup{channel, lanes})) return;
    }
    if (channel < last_) body_.template run<lanes>(ChannelGroup{channel, last_ - channel});
  }

 private:
  Index first_;
  Index last_;
  const Body& body_;
};

/// Calls body.run<Lanes>(group) for the channels [first, last), as many at a time as a vector of C
/// has lanes, until it returns false.
template <class C, class Body>
void for_channels(Index first, Index last, const Body& body) {
  simd::dispatch_unfused(ChannelLoop<C, Body>(first, last, body));
}

}  // namespace loops
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_CHANNELS_HPP
