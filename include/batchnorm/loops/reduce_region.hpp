// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_REDUCE_REGION_HPP
#define BATCHNORM_LOOPS_REDUCE_REGION_HPP

#include <algorithm>
#include <array>
#include <cstddef>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/partition.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/loops/traversal.hpp"
#include "batchnorm/version.hpp"

// The inside of loop 1, for one region of one array; reduce.hpp says what a Reduction is and cuts
// the array into regions.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

/// Values of one channel in a chunk when walking along the values, and elements of a chunk when
/// walking across the channels: chunk and scratch fit the 32 KiB of a first-level cache.
inline constexpr Index chunk_values = 2048;
inline constexpr Index chunk_elements = 4096;

/// The first look at a chunk: the sum about its first value, for the mean.
struct SumAboutPivot {
  template <class V>
  [[gnu::always_inline]] static void add(V* s, const V* x, const V& pivot) {
    s[0] += x[0] - pivot;
  }
};

/// Reduces one region; run<Bytes>() is the body for one vector width. The results of channel c go
/// to into[k][c - first_channel].
template <class Reduction, class T, std::size_t Inputs>
class RegionReducer {
  using A = typename Reduction::Accumulator;
  static constexpr int sums = Reduction::sums;
  static_assert(Inputs == 1 || !Reduction::recentres, "one input has one mean to find");

 public:
  RegionReducer(const Reduction& reduction, const Plan<Inputs>& plan,
                const std::array<const T*, Inputs>& data, const Region& region, A* const* into)
      : reduction_(reduction),
        plan_(plan),
        traversal_(plan.traversal()),
        data_(data),
        region_(region),
        into_(into) {}

  template <int Bytes>
  [[gnu::always_inline]] void run() const {
    constexpr int lanes = simd::lanes_of<A, Bytes>;
    if (traversal_.across_channels) {
      across<lanes>();
    } else if (plan_.contiguous()) {
      along<lanes, true>();
    } else {
      along<lanes, false>();
    }
  }

 private:
  template <int Lanes>
  using V = simd::Vector<A, Lanes>;

  /// Where each input has the given element.
  [[gnu::always_inline]] std::array<const T*, Inputs> locate(Index channel, Index outer,
                                                             Index inner) const {
    return plan_.template locate<0>(data_, channel, outer, inner);
  }

  [[gnu::always_inline]] std::array<Index, Inputs> steps(Index Layout::*axis) const {
    return plan_.template steps<0, Inputs>(axis);
  }

  /// The first of some values of a channel, as good a guess of their mean as any.
  [[gnu::always_inline]] A first_value(Index channel, Index value) const {
    const Index outer = value / traversal_.inner;
    return detail::convert<A>(
        *locate(channel, outer, value - outer * traversal_.inner)[Inputs - 1]);
  }

  // ---- along the values: the sums of one channel stay in registers

  template <int Lanes, bool Contiguous>
  [[gnu::always_inline]] void along() const {
    for (Index channel = region_.first_channel; channel < region_.last_channel; ++channel) {
      A results[sums] = {};
      Index count = 0;
      for (Index v = region_.first_value; v < region_.last_value; v += chunk_values) {
        const Index end = (std::min)(v + chunk_values, region_.last_value);
        const A n = detail::from_index<A>(end - v);
        A pivot(0), place(0);
        if constexpr (Reduction::recentres) {
          const A start = first_value(channel, v);
          A sum[1];
          sum_along<SumAboutPivot, 1, Lanes, Contiguous>(channel, v, end, start, sum);
          pivot = start + sum[0] / n;
          place = pivot - reduction_.origin(channel);
        } else {
          pivot = reduction_.pivot(channel);
        }
        A chunk[sums];
        sum_along<Reduction, sums, Lanes, Contiguous>(channel, v, end, pivot, chunk);
        Reduction::close(chunk, place, n);
        if (count == 0) {
          std::copy(chunk, chunk + sums, results);
        } else {
          Reduction::merge(results, chunk, MergeWeights<A>(count, end - v));
        }
        count += end - v;
      }
      for (int k = 0; k < sums; ++k) into_[k][channel - region_.first_channel] = results[k];
    }
  }

  template <class Terms, int Sums, int Lanes, bool Contiguous>
  [[gnu::always_inline]] void sum_along(Index channel, Index begin, Index end, const A& pivot,
                                        A* result) const {
    V<Lanes> about;
    simd::broadcast<A, Lanes>(about, pivot);
    V<Lanes> s[4][Sums];
    for (auto& each : s) {
      for (V<Lanes>& sum : each) simd::broadcast<A, Lanes>(sum, A(0));  // {} is not always zero
    }
    const std::array<Index, Inputs> stride = steps(&Layout::inner_stride);
    for (Runs run(traversal_, begin, end); run.more(); run.next()) {
      const std::array<const T*, Inputs> from = locate(channel, run.outer(), run.inner());
      Index at = 0;
      for (; at + 4 * Lanes <= run.length(); at += 4 * Lanes) {
        add_vector<Terms, Lanes, Contiguous>(s[0], from, stride, at, about);
        add_vector<Terms, Lanes, Contiguous>(s[1], from, stride, at + Lanes, about);
        add_vector<Terms, Lanes, Contiguous>(s[2], from, stride, at + 2 * Lanes, about);
        add_vector<Terms, Lanes, Contiguous>(s[3], from, stride, at + 3 * Lanes, about);
      }
      for (; at + Lanes <= run.length(); at += Lanes) {
        add_vector<Terms, Lanes, Contiguous>(s[0], from, stride, at, about);
      }
      if (at < run.length()) {
        add_some<Terms, Lanes>(s[1], from, stride, at, run.length() - at, about);
      }
    }
#pragma GCC unroll 8
    for (int k = 0; k < Sums; ++k) {
      const V<Lanes> all = (s[0][k] + s[1][k]) + (s[2][k] + s[3][k]);
      result[k] = simd::sum_of_lanes<A, Lanes>(all);
    }
  }

  template <class Terms, int Lanes, bool Contiguous>
  [[gnu::always_inline]] static void add_vector(V<Lanes>* s,
                                                const std::array<const T*, Inputs>& from,
                                                const std::array<Index, Inputs>& stride, Index at,
                                                const V<Lanes>& about) {
    V<Lanes> x[Inputs];
#pragma GCC unroll 8
    for (std::size_t i = 0; i < Inputs; ++i) {
      simd::load<A, Lanes, Contiguous>(x[i], from[i] + (Contiguous ? at : at * stride[i]),
                                       stride[i]);
    }
    Terms::add(s, x, about);
  }

  /// The lanes past the end hold the pivot in the centred input and zero in the others: every term
  /// of theirs is zero.
  template <class Terms, int Lanes>
  [[gnu::always_inline]] static void add_some(V<Lanes>* s, const std::array<const T*, Inputs>& from,
                                              const std::array<Index, Inputs>& stride, Index at,
                                              Index count, const V<Lanes>& about) {
    V<Lanes> x[Inputs] = {};
    x[Inputs - 1] = about;
#pragma GCC unroll 8
    for (std::size_t i = 0; i < Inputs; ++i) {
      simd::load_some<A, Lanes>(x[i], from[i] + at * stride[i], stride[i], count);
    }
    Terms::add(s, x, about);
  }

  // ---- across the channels: the sums of a block of channels stay in the first-level cache

  /// Numbers per channel of the block, and padding for whole vectors.
  struct Scratch {
    A pivot[most_channels_across];
    A sum[sums][most_channels_across];
  };

  template <int Lanes>
  [[gnu::always_inline]] void across() const {
    Scratch scratch;
    std::fill(scratch.pivot, scratch.pivot + most_channels_across, A(0));
    const Index channels = region_.channels();
    const Index rows = (std::max<Index>)(8, chunk_elements / channels);
    Index count = 0;
    if constexpr (!Reduction::recentres) {
      for (Index c = 0; c < channels; ++c) {
        scratch.pivot[c] = reduction_.pivot(region_.first_channel + c);
      }
    }
    for (Index v = region_.first_value; v < region_.last_value; v += rows) {
      const Index end = (std::min)(v + rows, region_.last_value);
      const A n = detail::from_index<A>(end - v);
      if constexpr (Reduction::recentres) {
        for (Index c = 0; c < channels; ++c) {
          scratch.pivot[c] = first_value(region_.first_channel + c, v);
        }
        sum_across<SumAboutPivot, 1, Lanes>(v, end, scratch);
        for (Index c = 0; c < channels; ++c) scratch.pivot[c] += scratch.sum[0][c] / n;
      }
      sum_across<Reduction, sums, Lanes>(v, end, scratch);
      merge_chunk(scratch, count, end - v);
      count += end - v;
    }
  }

  [[gnu::always_inline]] void merge_chunk(const Scratch& scratch, Index before, Index added) const {
    const A n = detail::from_index<A>(added);
    const MergeWeights<A> weights(before, added);
    for (Index c = 0; c < region_.channels(); ++c) {
      A chunk[sums];
      for (int k = 0; k < sums; ++k) chunk[k] = scratch.sum[k][c];
      A place(0);
      if constexpr (Reduction::recentres) {
        place = scratch.pivot[c] - reduction_.origin(region_.first_channel + c);
      }
      Reduction::close(chunk, place, n);
      A results[sums] = {};
      for (int k = 0; k < sums; ++k) results[k] = before > 0 ? into_[k][c] : chunk[k];
      if (before > 0) Reduction::merge(results, chunk, weights);
      for (int k = 0; k < sums; ++k) into_[k][c] = results[k];
    }
  }

  template <class Terms, int Sums, int Lanes>
  [[gnu::always_inline]] void sum_across(Index begin, Index end, Scratch& scratch) const {
#pragma GCC unroll 8
    for (int k = 0; k < Sums; ++k) {
      std::fill(scratch.sum[k], scratch.sum[k] + most_channels_across, A(0));
    }
    if (plan_.contiguous()) {
      rows_across<Terms, Sums, Lanes, true>(begin, end, scratch);
    } else {
      rows_across<Terms, Sums, Lanes, false>(begin, end, scratch);
    }
  }

  /// Four rows at a time, so that the sums are read and written once for all four.
  template <class Terms, int Sums, int Lanes, bool Contiguous>
  [[gnu::always_inline]] void rows_across(Index begin, Index end, Scratch& scratch) const {
    for (Runs run(traversal_, begin, end); run.more(); run.next()) {
      for (Index row = 0; row < run.length(); row += 4) {
        const Index rows = (std::min<Index>)(4, run.length() - row);
        block_across<Terms, Sums, Lanes, Contiguous>(
            locate(region_.first_channel, run.outer(), run.inner() + row), rows, scratch);
      }
    }
  }

  template <class Terms, int Sums, int Lanes, bool Contiguous>
  [[gnu::always_inline]] void block_across(const std::array<const T*, Inputs>& from, Index rows,
                                           Scratch& scratch) const {
    const std::array<Index, Inputs> stride = steps(&Layout::channel_stride);
    const std::array<Index, Inputs> row_step = steps(&Layout::inner_stride);
    const Index channels = region_.channels();
    for (Index c = 0; c < channels; c += Lanes) {
      V<Lanes> about;
      V<Lanes> s[Sums];
      simd::load<A, Lanes, true>(about, scratch.pivot + c, 1);
#pragma GCC unroll 8
      for (int k = 0; k < Sums; ++k) simd::load<A, Lanes, true>(s[k], scratch.sum[k] + c, 1);
      std::array<const T*, Inputs> at = from;
      for (Index row = 0; row < rows; ++row) {
        if (c + Lanes <= channels) {
          add_vector<Terms, Lanes, Contiguous>(s, at, stride, c, about);
        } else {
          add_some<Terms, Lanes>(s, at, stride, c, channels - c, about);
        }
#pragma GCC unroll 8
        for (std::size_t i = 0; i < Inputs; ++i) at[i] += row_step[i];
      }
#pragma GCC unroll 8
      for (int k = 0; k < Sums; ++k) simd::store<A, Lanes, true>(scratch.sum[k] + c, 1, s[k]);
    }
  }

  const Reduction& reduction_;
  const Plan<Inputs>& plan_;
  const Traversal& traversal_;
  const std::array<const T*, Inputs>& data_;
  const Region& region_;
  A* const* into_;
};

}  // namespace loops
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_REDUCE_REGION_HPP
