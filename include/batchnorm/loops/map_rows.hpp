// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_MAP_ROWS_HPP
#define BATCHNORM_LOOPS_MAP_ROWS_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/fetch.hpp"
#include "batchnorm/loops/map_job.hpp"
#include "batchnorm/loops/map_vector.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/loops/simd_memory.hpp"
#include "batchnorm/version.hpp"

// Loop 2 on rows, across channels: the numbers of the columns come from tables. Some rows at a
// time, so that the tables are read once for all of them, two vectors of each row at a time: a
// whole cache line, so that rows that are a multiple of 4 KiB apart, which push one another out of
// the first-level cache, are not needed twice.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

template <class Job, int Lanes>
class RowMapper {
  using Mapper = VectorMapper<Job, Lanes>;
  using C = typename Mapper::C;
  using T = typename Mapper::T;
  using Data = typename Mapper::Data;
  using Steps = typename Mapper::Steps;
  template <int N>
  using V = simd::Vector<C, N>;
  static constexpr int tabled = Mapper::tabled;
  static constexpr int numbers = Mapper::numbers;
  /// Half a vector, where that still is one; otherwise a single number.
  static constexpr int half = Lanes * sizeof(C) / 2 >= 16 ? Lanes / 2 : 1;

 public:
  using Tables = typename Mapper::Tables;

  [[gnu::always_inline]] RowMapper(const Steps& row_step, const Tables& tables,
                                   const V<Lanes>* constants, MapMemory memory)
      : row_step_(row_step), tables_(tables), constants_(constants), memory_(memory) {}

  /// Maps some rows of as many columns as the tables have numbers for.
  [[gnu::always_inline]] void map(Data at, Index rows, Index columns) const {
    const Streams streams = streams_for(at, columns);
    while (rows > 0) {
      if constexpr (may_stream) stream_aligned(at, rows, columns, streams);
      // Of rows that are to be streamed, one that cannot be.
      Index plain = streams.wanted ? (std::min<Index>)(rows, 1) : rows;
      rows -= plain;
      if (memory_.distant || !by_line) {
        for (; plain >= most_rows; plain -= most_rows) map_some<most_rows>(at, columns);
      }
      for (; plain > 0; --plain) map_some<1>(at, columns);
    }
  }

 private:
  /// Measured: of more rows, lines of all operands take each other's places in the cache.
  static constexpr int most_rows = 2;
  /// Measured on 64 rows of 512 floats: where a vector is a line, one row after the other is read
  /// from the second-level cache in three quarters of the time.
  static constexpr bool by_line = Lanes * sizeof(T) >= line_bytes;
  /// Bytes of a row from which on streaming wins: of a cache line that is written in parts the rest
  /// has to be read.
  static constexpr Address shortest_row_stream = 128;
  using NearFetcher = RowFetcher<T, Job::inputs, Nearness::first_level, 4096>;
  /// Measured on rows of 512 floats that are streamed: asking for those of one input 16 KiB ahead
  /// and into the second level takes 0.6 times as long as not to ask. That does nothing for two
  /// inputs, but into the first level and less far ahead it does, on Emerald Rapids.
  using StreamFetcher =
      std::conditional_t<Job::inputs == 1,
                         RowFetcher<T, Job::inputs, Nearness::second_level, 16384>, NearFetcher>;

  /// Bytes of rows that are streamed in pairs from which on they are asked for, too. Measured on
  /// Emerald Rapids, rows of 64 floats with ReLU: 0.8 times as long.
  static constexpr Address shortest_asked_pair = 256;

  /// Vectors of a line are not for streams (map_region).
  static constexpr bool may_stream = Mapper::can_stream && !by_line;

  /// How rows are streamed, and of which of them those that follow are asked for.
  struct Streams {
    bool wanted;
    bool in_pairs;
    bool pair_asked;
    bool row_asked;
  };
  [[gnu::always_inline]] Streams streams_for(const Data& at, Index columns) const {
    if constexpr (may_stream) {
      const Address bytes = bytes_of<T>(columns);
      if (memory_.streaming && bytes >= shortest_row_stream) {
        // Long rows one by one, so that memory is read from front to back.
        const bool is_long = StreamFetcher::pays(columns);
        const bool alike = Mapper::aligned_alike(at) && Mapper::keeps_alignment(row_step_);
        return {true, !is_long && alike, memory_.distant && bytes >= shortest_asked_pair,
                memory_.distant && is_long};
      }
    }
    return {};
  }

  /// Streams rows up to one whose outputs do not begin as far from a boundary each.
  [[gnu::always_inline]] void stream_aligned(Data& at, Index& rows, Index columns,
                                             const Streams& streams) const {
    while (streams.wanted && rows > 0 && Mapper::aligned_alike(at)) {
      if (streams.in_pairs && rows >= 2) {
        stream_some<2, NearFetcher>(at, columns, streams.pair_asked);
        rows -= 2;
      } else {
        stream_some<1, StreamFetcher>(at, columns, streams.row_asked);
        --rows;
      }
    }
  }

  template <int Rows>
  [[gnu::always_inline]] void map_some(Data& at, Index columns) const {
    NearFetcher fetcher(at.from, row_step_.from, columns,
                        memory_.distant && NearFetcher::pays(columns));
    Index c = 0;
    map_pairs<Rows, false>(at, c, columns, fetcher);
    if (c + Lanes <= columns) map_column<Rows, Lanes, 1, false>(at, c);
    if constexpr (half > 1) {
      if (c + half <= columns) map_column<Rows, half, 1, false>(at, c);
    }
    while (c < columns) map_column<Rows, 1, 1, false>(at, c);
    for (int row = 0; row < Rows; ++row) Mapper::advance(at, row_step_);
  }

  template <int Rows, class Fetcher>
  [[gnu::always_inline]] void stream_some(Data& at, Index columns, bool asked) const {
    Fetcher fetcher(at.from, row_step_.from, columns, asked);
    const Index head = (std::min)(Mapper::to_alignment(at, 0), columns);
    Index c = head;
    map_pairs<Rows, true>(at, c, columns, fetcher);
    if (c + Lanes <= columns) map_column<Rows, Lanes, 1, true>(at, c);
    // What is left behind the vectors, and what there is before them.
    for (Index end : {columns, head}) {
      while (c < end) map_column<Rows, 1, 1, false>(at, c);
      c = 0;
    }
    for (int row = 0; row < Rows; ++row) Mapper::advance(at, row_step_);
  }

  template <int Rows, bool Stream, class Fetcher>
  [[gnu::always_inline]] void map_pairs(const Data& at, Index& c, Index columns,
                                        Fetcher& fetcher) const {
    while (c + 2 * Lanes <= columns) {
      fetcher.fetch(2 * Lanes * Rows);
      map_column<Rows, Lanes, 2, Stream>(at, c);
    }
  }

  /// Some vectors of N columns of some rows.
  template <int Rows, int N, int Vectors, bool Stream>
  [[gnu::always_inline]] void map_column(const Data& from, Index& c) const {
    V<N> k[Vectors][numbers];
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) {
#pragma GCC unroll 8
      for (int i = 0; i < tabled; ++i) {
        simd::load<C, N, true>(k[v][i], tables_[static_cast<std::size_t>(i)] + c + v * N, 1);
      }
#pragma GCC unroll 4
      for (int i = tabled; i < numbers; ++i) {
        if constexpr (N == Lanes) {
          k[v][i] = constants_[i];
        } else {
          simd::broadcast<C, N>(k[v][i], simd::first_lane<C, Lanes>(constants_[i]));
        }
      }
    }
    Data at = from;
#pragma GCC unroll 4
    for (int row = 0; row < Rows; ++row) {
      if constexpr (Vectors == 2) {
        Mapper::template map_pair<Stream>(at, c, k[0], k[1]);
      } else {
        Mapper::template map<N, Stream>(at, c, k[0]);
      }
      Mapper::advance(at, row_step_);
    }
    c += Vectors * N;
  }

  const Steps row_step_;
  const Tables tables_;
  const V<Lanes>* constants_;
  MapMemory memory_;
};

}  // namespace loops
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_MAP_ROWS_HPP
