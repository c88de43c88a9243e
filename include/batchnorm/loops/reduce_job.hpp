// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_REDUCE_JOB_HPP
#define BATCHNORM_LOOPS_REDUCE_JOB_HPP

#include <array>
#include <cstddef>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/cache.hpp"
#include "batchnorm/loops/numbers.hpp"
#include "batchnorm/loops/partition.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/loops/simd_memory.hpp"
#include "batchnorm/loops/traversal.hpp"
#include "batchnorm/version.hpp"

// What one region of loop 1 is, and what both ways to go through it share.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

/// What one region of a reduction needs to know. The totals of channel c go to
/// into[k][c - first channel of the region].
///
/// @tparam L  the type that a lane sums in, over a few values; the totals are in A
template <class Terms, class Element, class LaneType, class Total, std::size_t InputCount>
struct ReduceJob {
  using Formula = Terms;
  using T = Element;
  using L = LaneType;
  using A = Total;
  static constexpr std::size_t inputs = InputCount;

  const Numbers<L, Formula::coefficients>& numbers;
  const Plan<InputCount>& plan;
  const std::array<const T*, InputCount>& data;
  const Region& region;
  A* const* into;

  /// Whether the inputs come from memory.
  bool distant() const {
    return is_far(plan.traversal().elements() * static_cast<Index>(InputCount * sizeof(T)));
  }
};

/// The most values that one lane adds up before its sum is widened.
inline constexpr Index chain = 8;

/// Rows after which the lanes of the totals are joined into those of the region.
inline constexpr Index rows_per_total = 8192;

/// Adds one vector of every input to some sums: the inside of both ways to reduce.
template <class Job, int Lanes>
struct VectorAdder {
  using L = typename Job::L;
  using V = simd::Vector<L, Lanes>;
  using Pointers = std::array<const typename Job::T*, Job::inputs>;

  [[gnu::always_inline]] static void load(V* x, const Pointers& from, Index at) {
#pragma GCC unroll 8
    for (std::size_t i = 0; i < Job::inputs; ++i) {
      simd::load<L, Lanes, true>(x[i], from[i] + at, 1);
    }
  }

  [[gnu::always_inline]] static void add(V* s, const Pointers& from, Index at, const V* k) {
    V x[Job::inputs];
    load(x, from, at);
    Job::Formula::add(s, x, k);
  }

  /// The last `count` elements before `end`, of which there are at least as many as lanes in all:
  /// the lanes before them are filled so that every term of theirs is zero.
  [[gnu::always_inline]] static void add_last(V* s, const Pointers& from, Index end, Index count,
                                              const V* k) {
    V x[Job::inputs];
    load(x, from, end - Lanes);
    const V zero{};
#pragma GCC unroll 8
    for (std::size_t i = 0; i < Job::inputs; ++i) {
      simd::keep_last_lanes<L, Lanes>(x[i], i + 1 == Job::inputs ? k[0] : zero, count);
    }
    Job::Formula::add(s, x, k);
  }

  /// `count` elements where there are no more.
  [[gnu::always_inline]] static void add_few(V* s, const Pointers& from, Index at, Index count,
                                             const V* k) {
    V x[Job::inputs] = {};
    x[Job::inputs - 1] = k[0];
#pragma GCC unroll 8
    for (std::size_t i = 0; i < Job::inputs; ++i) {
      simd::load_some<L, Lanes>(x[i], from[i] + at, 1, count);
    }
    Job::Formula::add(s, x, k);
  }
};

}  // namespace loops
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_REDUCE_JOB_HPP
