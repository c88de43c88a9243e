// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_MAP_RUN_HPP
#define BATCHNORM_LOOPS_MAP_RUN_HPP

#include <array>
#include <cstddef>
#include <utility>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/fetch.hpp"
#include "batchnorm/loops/map_job.hpp"
#include "batchnorm/loops/map_vector.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/loops/simd_memory.hpp"
#include "batchnorm/version.hpp"

// Loop 2 along the values of one channel after the other: whole vectors, and single numbers at the
// ends.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

template <class Job, int Lanes>
class RunMapper {
  using Mapper = VectorMapper<Job, Lanes>;
  using C = typename Mapper::C;
  using T = typename Mapper::T;
  using Data = typename Mapper::Data;
  template <int N>
  using V = simd::Vector<C, N>;
  static constexpr int tabled = Mapper::tabled;
  static constexpr int numbers = Mapper::numbers;

 public:
  using Tables = typename Mapper::Tables;

  /// Maps the runs of some channels that follow one another in memory, as one: only at its ends are
  /// there less than whole vectors, and a vector in which one channel ends and the next one begins
  /// has the numbers of both. A run has at least as many elements as a vector.
  [[gnu::always_inline]] static void map_lined_up(const Data& at, Index run, Index channels,
                                                  const Tables& tables, const V<Lanes>* constants,
                                                  MapMemory memory) {
    if constexpr (Mapper::can_stream) {
      if (memory.streaming && Mapper::aligned_alike(at) && Mapper::to_alignment(at, 0) <= run &&
          channels * run * static_cast<Index>(sizeof(T)) >= shortest_stream) {
        map_channels<true>(at, run, channels, tables, constants, memory);
        return;
      }
    }
    map_channels<false>(at, run, channels, tables, constants, memory);
  }

 private:
  /// Bytes of runs from which on streaming wins: of a cache line that is written in parts the rest
  /// has to be read.
  static constexpr Index shortest_stream = 1024;

  template <bool Stream>
  [[gnu::always_inline]] static void map_channels(const Data& at, Index run, Index channels,
                                                  const Tables& tables, const V<Lanes>* constants,
                                                  MapMemory memory) {
    V<Lanes> k[numbers];
    V<Lanes> next[numbers];
    const Index end = channels * run;
    Index channel = 0;
    Index boundary = run;
    Index done = 0;
    load_channel(k, tables, channel, Tabled());
    load_constants(k, constants, Constants());
    if constexpr (Stream) {
      for (const Index head = Mapper::to_alignment(at, 0); done < head; ++done) {
        map_one(at, done, k, All());
      }
    }
    while (true) {
      map_whole_vectors<Stream>(at, done, boundary, k, memory);
      if (channel + 1 == channels) break;
      load_channel(next, tables, ++channel, Tabled());
      const Index of_next = done + Lanes - boundary;
      if (of_next < Lanes && done + Lanes <= end) {
        keep_last_numbers(k, next, of_next, Tabled());
        Mapper::template map<Lanes, Stream>(at, done, k);
        done += Lanes;
      }
      copy_numbers(k, next, Tabled());
      boundary += run;
    }
    for (; done < end; ++done) map_one(at, done, k, All());
  }

  /// Those of one channel, up to its end.
  template <bool Stream>
  [[gnu::always_inline]] static void map_whole_vectors(const Data& at, Index& done, Index boundary,
                                                       const V<Lanes>* k, MapMemory memory) {
    if constexpr (Stream && Mapper::streams_pairs) {
      // A single vector where the last channel ended leaves the next ones between boundaries.
      if (Mapper::to_alignment(at, done) != 0 && done + Lanes <= boundary) {
        Mapper::template map<Lanes, Stream>(at, done, k);
        done += Lanes;
      }
    }
    for (; done + 2 * Lanes <= boundary; done += 2 * Lanes) {
      fetch_ahead(at, done, memory);
      Mapper::template map_pair<Stream>(at, done, k, k);
    }
    if (done + Lanes > boundary) return;
    Mapper::template map<Lanes, Stream>(at, done, k);
    done += Lanes;
  }

  // Index by index and without loops, so that the numbers of a channel are registers: through a
  // loop variable g++ keeps them in memory, and planes of 7 x 7 take 1.4 times as long.
  template <int... I>
  using Indices = std::integer_sequence<int, I...>;
  using All = std::make_integer_sequence<int, numbers>;
  using Tabled = std::make_integer_sequence<int, tabled>;
  using Constants = std::make_integer_sequence<int, numbers - tabled>;

  /// The numbers of the next channel in the last lanes.
  template <int... I>
  [[gnu::always_inline]] static void keep_last_numbers(V<Lanes>* k, const V<Lanes>* next,
                                                       Index count, Indices<I...>) {
    (keep_last_number(k[I], next[I], count), ...);
  }
  [[gnu::always_inline]] static void keep_last_number(V<Lanes>& k, const V<Lanes>& next,
                                                      Index count) {
    V<Lanes> both = next;
    simd::keep_last_lanes<C, Lanes>(both, k, count);
    k = both;
  }
  template <int... I>
  [[gnu::always_inline]] static void copy_numbers(V<Lanes>* k, const V<Lanes>* next,
                                                  Indices<I...>) {
    ((k[I] = next[I]), ...);
  }
  template <int... I>
  [[gnu::always_inline]] static void load_channel(V<Lanes>* k, const Tables& tables, Index channel,
                                                  Indices<I...>) {
    (simd::broadcast<C, Lanes>(k[I], tables[static_cast<std::size_t>(I)][channel]), ...);
  }
  template <int... I>
  [[gnu::always_inline]] static void load_constants([[maybe_unused]] V<Lanes>* k,
                                                    [[maybe_unused]] const V<Lanes>* constants,
                                                    Indices<I...>) {
    ((k[tabled + I] = constants[tabled + I]), ...);
  }

  /// Asks for what is read after these channels, so that it comes while there is work to do; where
  /// it is these that come from memory, for what is read next. Measured on planes of 56 x 56 with
  /// ReLU: Emerald Rapids takes 0.7 times as long as without, Zen 5 as long.
  [[gnu::always_inline]] static void fetch_ahead(const Data& at, Index done, MapMemory memory) {
    constexpr Address next = 2048;
    if (memory.ahead != 0) {
#pragma GCC unroll 8
      for (std::size_t i = 0; i < Job::inputs; ++i) {
        fetch_line<Nearness::second_level>(address_of(at.from[i]) +
                                           bytes_of<T>(done + memory.ahead));
      }
    } else if (memory.streaming) {
#pragma GCC unroll 8
      for (std::size_t i = 0; i < Job::inputs; ++i) {
        fetch_line<Nearness::first_level>(address_of(at.from[i]) + bytes_of<T>(done) + next);
      }
    }
  }

  template <int... I>
  [[gnu::always_inline]] static void map_one(const Data& at, Index done, const V<Lanes>* k,
                                             Indices<I...>) {
    const C one[] = {simd::first_lane<C, Lanes>(k[I])...};
    Mapper::template map<1, false>(at, done, one);
  }
};

}  // namespace loops
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_MAP_RUN_HPP
