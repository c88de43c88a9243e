// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_MAP_RUN_HPP
#define BATCHNORM_LOOPS_MAP_RUN_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/map_job.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/loops/simd_memory.hpp"
#include "batchnorm/version.hpp"

// Loop 2 on neighbouring elements: whole vectors, and at the ends half vectors and single numbers.
// All go through the same apply(), so that an element's bits do not depend on where it stands.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

template <class Job, int Lanes>
class RunMapper {
  using C = typename Job::C;
  using Map = typename Job::Map;
  using T = typename Job::T;
  static constexpr std::size_t Inputs = Job::inputs;
  static constexpr int numbers = Map::coefficients;
  static constexpr std::size_t outputs = Map::outputs;
  using Data = MapData<T, Inputs, outputs>;
  using Steps = MapSteps<Inputs, outputs>;
  template <int N>
  using V = simd::Vector<C, N>;
  /// Half a vector, where that still is one; otherwise a single number.
  static constexpr int half = Lanes * sizeof(C) / 2 >= 16 ? Lanes / 2 : 1;
  static constexpr bool can_stream = simd::can_stream<C, Lanes, T>;
  using Tables = std::array<const C*, static_cast<std::size_t>(numbers)>;

 public:
  /// Maps the runs of some channels that follow one another in memory, as one: only at its ends are
  /// there less than whole vectors, and a vector in which one channel ends and the next one begins
  /// has the numbers of both. A run has at least as many elements as a vector.
  [[gnu::always_inline]] static void map_lined_up(const Data& at, Index run, Index channels,
                                                  const Tables& tables, const V<Lanes>* constants,
                                                  MapMemory memory) {
    if constexpr (can_stream) {
      if (memory.streaming && aligned_alike(at) &&
          channels * run * static_cast<Index>(sizeof(T)) >= shortest_stream) {
        map_channels<true>(at, run, channels, tables, constants, memory);
        return;
      }
    }
    map_channels<false>(at, run, channels, tables, constants, memory);
  }

  /// Maps one row of elements whose numbers are in tables.
  [[gnu::always_inline]] static void map_row(const Data& at, Index columns, const Tables& tables,
                                             const V<Lanes>* constants) {
    map_columns<1>(&at, columns, tables, constants, {false, 0});
  }

  /// Maps rows of elements whose numbers are in tables; two rows at a time, so that the tables are
  /// read once for both.
  [[gnu::always_inline]] static void map_rows(Data at, const Steps& row_step, Index rows,
                                              Index columns, const Tables& tables,
                                              const V<Lanes>* constants, MapMemory memory) {
    if constexpr (can_stream) {
      if (memory.streaming && columns * static_cast<Index>(sizeof(T)) >= shortest_row_stream) {
        for (; rows > 0; --rows) {
          stream_row(at, columns, tables, constants, memory);
          advance(at, row_step);
        }
        return;
      }
    }
    for (; rows >= 2; rows -= 2) {
      Data next = at;
      advance(next, row_step);
      const Data both[2] = {at, next};
      map_columns<2>(both, columns, tables, constants, memory);
      advance(next, row_step);
      at = next;
    }
    if (rows > 0) map_columns<1>(&at, columns, tables, constants, memory);
  }

 private:
  /// Bytes of runs and of rows from which on streaming wins: of a cache line that is written in
  /// parts the rest has to be read.
  static constexpr Index shortest_stream = 1024;
  static constexpr Index shortest_row_stream = 128;

  [[gnu::always_inline]] static void advance(Data& at, const Steps& step) {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < outputs; ++i) at.to[i] += step.to[i];
#pragma GCC unroll 8
    for (std::size_t i = 0; i < Inputs; ++i) at.from[i] += step.from[i];
  }

  template <bool Stream>
  [[gnu::always_inline]] static void map_channels(const Data& at, Index run, Index channels,
                                                  const Tables& tables, const V<Lanes>* constants,
                                                  MapMemory memory) {
    V<Lanes> k[numbers + Map::constants] = {};
    V<Lanes> next[numbers + Map::constants] = {};
    const Index end = channels * run;
    Index channel = 0;
    Index boundary = run;
    Index done = 0;
    load_channel(k, tables, constants, channel);
    if constexpr (Stream) {
      for (const Index head = (std::min)(to_alignment(at), run); done < head; ++done) {
        map_one(at, done, k);
      }
    }
    while (true) {
      for (; done + 2 * Lanes <= boundary; done += 2 * Lanes) {
        fetch_ahead(at, done, memory);
        map_vector<Lanes, Stream>(at, done, k);
        map_vector<Lanes, Stream>(at, done + Lanes, k);
      }
      if (done + Lanes <= boundary) {
        map_vector<Lanes, Stream>(at, done, k);
        done += Lanes;
      }
      if (channel + 1 == channels) break;
      load_channel(next, tables, constants, ++channel);
      const Index of_next = done + Lanes - boundary;
      if (of_next < Lanes && done + Lanes <= end) {
        keep_last_numbers(k, next, of_next);
        map_vector<Lanes, Stream>(at, done, k);
        done += Lanes;
      }
#pragma GCC unroll 8
      for (int i = 0; i < numbers; ++i) k[i] = next[i];
      boundary += run;
    }
    for (; done < end; ++done) map_one(at, done, k);
  }

  /// The numbers of the next channel in the last lanes.
  [[gnu::always_inline]] static void keep_last_numbers(V<Lanes>* k, const V<Lanes>* next,
                                                       Index count) {
#pragma GCC unroll 8
    for (int i = 0; i < numbers; ++i) {
      V<Lanes> both = next[i];
      simd::keep_last_lanes<C, Lanes>(both, k[i], count);
      k[i] = both;
    }
  }

  [[gnu::always_inline]] static void load_channel(V<Lanes>* k, const Tables& tables,
                                                  const V<Lanes>* constants, Index channel) {
#pragma GCC unroll 8
    for (int i = 0; i < numbers; ++i) {
      simd::broadcast<C, Lanes>(k[i], tables[static_cast<std::size_t>(i)][channel]);
    }
#pragma GCC unroll 4
    for (int i = numbers; i < numbers + Map::constants; ++i) k[i] = constants[i];
  }

  /// Asks for what is read next, so that it comes while there is work to do. The address may be
  /// past the end of the memory: it is not read.
  [[gnu::always_inline]] static void fetch_ahead(const Data& at, Index done, MapMemory memory) {
#if defined(__GNUC__)
    if (memory.ahead == 0) return;
#pragma GCC unroll 8
    for (std::size_t i = 0; i < Inputs; ++i) {
      __builtin_prefetch(at.from[i] + done + memory.ahead, 0, 2);
    }
#else
    static_cast<void>(at), static_cast<void>(done), static_cast<void>(memory);
#endif
  }

  /// Whether all outputs are as far from the next vector boundary.
  [[gnu::always_inline]] static bool aligned_alike(const Data& at) {
    bool alike = true;
    for (std::size_t i = 1; i < outputs; ++i)
      alike = alike && misaligned(at, i) == misaligned(at, 0);
    return alike && misaligned(at, 0) % sizeof(T) == 0;
  }
  [[gnu::always_inline]] static std::size_t misaligned(const Data& at, std::size_t output) {
    return reinterpret_cast<std::uintptr_t>(at.to[output]) % (Lanes * sizeof(T));
  }
  /// Elements up to the next vector boundary.
  [[gnu::always_inline]] static Index to_alignment(const Data& at) {
    constexpr std::size_t bytes = Lanes * sizeof(T);
    return static_cast<Index>((bytes - misaligned(at, 0)) % bytes / sizeof(T));
  }

  template <int Rows>
  [[gnu::always_inline]] static void map_columns(const Data* at, Index columns,
                                                 const Tables& tables, const V<Lanes>* constants,
                                                 MapMemory memory) {
    Index c = 0;
    for (; c + Lanes <= columns; c += Lanes) {
      fetch_ahead(at[0], c, memory);
      map_column<Rows, Lanes, false>(at, c, tables, constants);
    }
    if constexpr (half > 1) {
      if (c + half <= columns) {
        map_column<Rows, half, false>(at, c, tables, constants);
        c += half;
      }
    }
    for (; c < columns; ++c) map_column<Rows, 1, false>(at, c, tables, constants);
  }

  [[gnu::always_inline]] static void stream_row(const Data& at, Index columns, const Tables& tables,
                                                const V<Lanes>* constants, MapMemory memory) {
    if (!aligned_alike(at)) {
      map_columns<1>(&at, columns, tables, constants, memory);
      return;
    }
    Index c = 0;
    for (const Index head = (std::min)(to_alignment(at), columns); c < head; ++c) {
      map_column<1, 1, false>(&at, c, tables, constants);
    }
    for (; c + 2 * Lanes <= columns; c += 2 * Lanes) {
      fetch_ahead(at, c, memory);
      map_column<1, Lanes, true>(&at, c, tables, constants);
      map_column<1, Lanes, true>(&at, c + Lanes, tables, constants);
    }
    if (c + Lanes <= columns) {
      map_column<1, Lanes, true>(&at, c, tables, constants);
      c += Lanes;
    }
    for (; c < columns; ++c) map_column<1, 1, false>(&at, c, tables, constants);
  }

  /// N columns of some rows.
  template <int Rows, int N, bool Stream>
  [[gnu::always_inline]] static void map_column(const Data* at, Index c, const Tables& tables,
                                                const V<Lanes>* constants) {
    V<N> k[numbers + Map::constants] = {};
#pragma GCC unroll 8
    for (int i = 0; i < numbers; ++i) {
      simd::load<C, N, true>(k[i], tables[static_cast<std::size_t>(i)] + c, 1);
    }
#pragma GCC unroll 4
    for (int i = numbers; i < numbers + Map::constants; ++i) {
      simd::broadcast<C, N>(k[i], simd::first_lane<C, Lanes>(constants[i]));
    }
#pragma GCC unroll 2
    for (int row = 0; row < Rows; ++row) map_vector<N, Stream>(at[row], c, k);
  }

  [[gnu::always_inline]] static void map_one(const Data& at, Index done, const V<Lanes>* k) {
    C one[numbers + Map::constants];
#pragma GCC unroll 8
    for (int i = 0; i < numbers + Map::constants; ++i) {
      one[i] = simd::first_lane<C, Lanes>(k[i]);
    }
    map_vector<1, false>(at, done, one);
  }

  template <int N, bool Stream>
  [[gnu::always_inline]] static void map_vector(const Data& at, Index done, const V<N>* k) {
    V<N> x[Inputs];
#pragma GCC unroll 8
    for (std::size_t i = 0; i < Inputs; ++i) {
      simd::load<C, N, true>(x[i], at.from[i] + done, 1);
    }
    V<N> y[outputs];
    Map::apply(y, x, k);
#pragma GCC unroll 4
    for (std::size_t i = 0; i < outputs; ++i) {
      if constexpr (Stream) {
        simd::stream<C, N>(at.to[i] + done, y[i]);
      } else {
        simd::store<C, N, true>(at.to[i] + done, 1, y[i]);
      }
    }
  }
};

}  // namespace loops
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_MAP_RUN_HPP
