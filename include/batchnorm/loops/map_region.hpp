// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_MAP_REGION_HPP
#define BATCHNORM_LOOPS_MAP_REGION_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/fetch.hpp"
#include "batchnorm/loops/map_job.hpp"
#include "batchnorm/loops/map_plain.hpp"
#include "batchnorm/loops/map_rows.hpp"
#include "batchnorm/loops/map_run.hpp"
#include "batchnorm/loops/numbers.hpp"
#include "batchnorm/loops/partition.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/loops/simd_dispatch.hpp"
#include "batchnorm/loops/sixteen_bits.hpp"
#include "batchnorm/loops/traversal.hpp"
#include "batchnorm/version.hpp"

// The inside of loop 2, for one region of one array; map.hpp says what a Map is.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

/// Maps one region; run<Bytes>() is the body for one vector width. That for more than AVX2 has is
/// for neighbouring elements alone, and in runs for those of 16 bits.
template <class Job>
class RegionMapper {
  using C = typename Job::C;
  using Map = typename Job::Map;
  using Data = typename Job::Data;
  static constexpr int numbers = Map::coefficients;
  template <int Lanes>
  using V = simd::Vector<C, Lanes>;
  using Tables = std::array<const C*, static_cast<std::size_t>(numbers)>;

 public:
  explicit RegionMapper(const Job& job) : job_(job), traversal_(job.plan.traversal()) {}

  template <int Bytes>
  [[gnu::always_inline]] void run() const {
    constexpr int lanes = simd::lanes_of<C, Bytes>;
    if constexpr (Bytes > simd::avx2_bytes && !simd::is_16_bit<typename Job::T>) {
      along_rows<lanes>();
    } else if (lanes > 1 && job_.plan.contiguous()) {
      traversal_.along_rows ? along_rows<lanes>() : along_runs<lanes>();
    } else {
      PlainMapper<Job>(job_).run();
    }
  }

 private:
  /// So many that their coefficients are some 12 KiB.
  static constexpr Index most_mapped_columns =
      most_columns * static_cast<Index>(sizeof(double)) /
      static_cast<Index>((std::max)(sizeof(C), sizeof(float)));

  /// The coefficients of a block of columns. Tables of a power of two of bytes would take the same
  /// places in the cache.
  struct Scratch {
    C of[numbers][most_mapped_columns + line_bytes / static_cast<Index>(sizeof(C))];
  };

  template <int Lanes>
  [[gnu::always_inline]] void load_constants(V<Lanes>* k) const {
#pragma GCC unroll 4
    for (int i = 0; i < Map::constants; ++i) {
      simd::broadcast<C, Lanes>(k[numbers + i], job_.constants[i]);
    }
  }

  // ---- along the values of one channel

  template <int Lanes>
  [[gnu::always_inline]] void along_runs() const {
    const Region& region = job_.region;
    // In the order of memory: sample by sample, channel by channel, or channel by channel.
    const Layout& to = job_.plan.layouts()[0];
    const bool by_sample = traversal_.outer == 1 || to.outer_stride > to.column_stride;
    const Index together = by_sample ? most_mapped_columns : 1;
    Scratch scratch;
    for (Index first = region.first_column; first < region.last_column; first += together) {
      const Index last = (std::min)(first + together, region.last_column);
      const Tables tables = tables_of(job_.numbers, traversal_, first, last - first, scratch.of);
      for (Runs run(traversal_, region.first_row, region.last_row); run.more(); run.next()) {
        map_runs<Lanes>(run, first, last - first, tables);
      }
    }
  }

  /// The same run of some channels, one channel after the other.
  template <int Lanes>
  [[gnu::always_inline]] void map_runs(const Runs& run, Index first, Index channels,
                                       const Tables& tables) const {
    V<Lanes> constants[numbers + Map::constants] = {};
    load_constants<Lanes>(constants);
    const bool as_one =
        run.length() == traversal_.inner && run.length() >= Lanes && job_.plan.lined_up();
    const Index separate = as_one ? 1 : channels;
    for (Index channel = 0; channel < separate; ++channel) {
      Tables from_channel = tables;
      for (const C*& table : from_channel) table += channel;
      RunMapper<Job, Lanes>::map_lined_up(job_.locate(first + channel, run.outer(), run.inner()),
                                          run.length(), as_one ? channels : 1, from_channel,
                                          constants, job_.memory);
    }
  }

  // ---- along rows, across channels

  template <int Lanes>
  [[gnu::always_inline]] void along_rows() const {
    const Region& region = job_.region;
    Scratch scratch;
    for (Index first = region.first_column; first < region.last_column;
         first += most_mapped_columns) {
      const Index columns = (std::min)(most_mapped_columns, region.last_column - first);
      const Tables tables = tables_of(job_.numbers, traversal_, first, columns, scratch.of);
      map_block<Lanes>(first, columns, tables);
    }
  }

  template <int Lanes>
  [[gnu::always_inline]] void map_block(Index first, Index columns, const Tables& tables) const {
    V<Lanes> constants[numbers + Map::constants] = {};
    load_constants<Lanes>(constants);
    const RowMapper<Job, Lanes> mapper(job_.steps(&Layout::inner_stride), tables, constants,
                                       job_.memory);
    const bool short_end =
        traversal_.last_width < traversal_.columns && job_.region.last_row == traversal_.rows();
    for (Runs run(traversal_, job_.region.first_row, job_.region.last_row); run.more();
         run.next()) {
      Index rows = run.length() - (short_end ? 1 : 0);
      Index width = columns;
      Index inner = run.inner();
      // Once for the whole rows, once for the last one.
      for (int part = 0; part < (short_end ? 2 : 1); ++part) {
        mapper.map(job_.locate(first, run.outer(), inner), rows, width);
        inner += rows;
        rows = 1;
        width = (std::max<Index>)(0, (std::min)(columns, traversal_.last_width - first));
      }
    }
  }

  const Job& job_;
  const Traversal& traversal_;
};

/// Maps one region, in the longest vectors that pay. Measured on rows of 512 floats: past the
/// cache, those of AVX-512 take 1.04 times as long as those of AVX2, unless elements are converted.
template <class Job>
void map_region(InstructionSet asked, const Job& job) {
  using C = typename Job::C;
  constexpr bool has_long_vectors = simd::lanes_of < C, simd::avx512_bytes >> 1;
  const bool waits = job.memory.streaming && std::is_same<C, typename Job::T>::value;
  const bool enough =
      !waits && job.plan.contiguous() &&
      job.plan.traversal().suits_long_vectors(sizeof(C), simd::is_16_bit<typename Job::T>);
  simd::dispatch<has_long_vectors ? simd::avx512_bytes : simd::avx2_bytes>(
      simd::limit_unless(enough, asked), RegionMapper(job));
}

/// Maps one row of neighbouring columns whose numbers are in tables, all of it: one example at test
/// time. Nothing has to be planned for it.
template <class Job>
class SingleRowMapper {
  using C = typename Job::C;
  using Map = typename Job::Map;
  static constexpr int numbers = Map::coefficients;

 public:
  using Tables = std::array<const C*, static_cast<std::size_t>(numbers)>;

  SingleRowMapper(const typename Job::Data& data, const Tables& tables, const C* constants,
                  Index columns)
      : data_(data), tables_(tables), constants_(constants), columns_(columns) {}

  template <int Bytes>
  [[gnu::always_inline]] void run() const {
    constexpr int lanes = simd::lanes_of<C, Bytes>;
    simd::Vector<C, lanes> k[numbers + Map::constants] = {};
#pragma GCC unroll 4
    for (int i = 0; i < Map::constants; ++i) {
      simd::broadcast<C, lanes>(k[numbers + i], constants_[i]);
    }
    RowMapper<Job, lanes>({}, tables_, k, {false, false, 0}).map(data_, 1, columns_);
  }

 private:
  const typename Job::Data& data_;
  const Tables& tables_;
  const C* constants_;
  Index columns_;
};

}  // namespace loops
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_MAP_REGION_HPP
