// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_REDUCE_ROWS_HPP
#define BATCHNORM_LOOPS_REDUCE_ROWS_HPP

#include <algorithm>
#include <array>
#include <cstddef>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/fetch.hpp"
#include "batchnorm/loops/numbers.hpp"
#include "batchnorm/loops/partition.hpp"
#include "batchnorm/loops/reduce_job.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/loops/simd_memory.hpp"
#include "batchnorm/loops/traversal.hpp"
#include "batchnorm/version.hpp"

// Loop 1 along rows: the coefficients and sums of a block of columns stay in the first-level cache.
//
// Some rows at a time, so that the totals are read and written once for all of them; two vectors of
// each row at a time, whole cache lines, so that no line is needed twice: rows that are a multiple
// of 4 KiB apart would push one another out of the cache. What is not in a cache yet is asked for
// in the order of memory.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

template <class Job, int Lanes>
class RowReducer {
  using T = typename Job::T;
  using L = typename Job::L;
  using A = typename Job::A;
  using Adder = VectorAdder<Job, Lanes>;
  using V = typename Adder::V;
  using Pointers = typename Adder::Pointers;
  static constexpr int sums = Job::Formula::sums;
  static constexpr int numbers = Job::Formula::coefficients;

  enum class Part { whole, last, few };
  /// Measured on rows of 512 floats: into the second level, 8 KiB ahead or more. Of several inputs
  /// in vectors as long as a line, each of which is all that is asked of its line, into the first.
  static constexpr bool into_first = Job::inputs > 1 && Lanes * sizeof(L) >= line_bytes;
  using Fetcher =
      RowFetcher<T, Job::inputs, into_first ? Nearness::first_level : Nearness::second_level,
                 into_first ? 4096 : 16384>;

  /// Numbers per column of the block, each in other places of the cache than the next.
  struct Scratch {
    L room[numbers][most_columns + 16];
    A total_room[sums][most_columns + 8];
    std::array<const L*, static_cast<std::size_t>(numbers)> k;
    std::array<A*, static_cast<std::size_t>(sums)> total;
  };

 public:
  [[gnu::always_inline]] explicit RowReducer(const Job& job)
      : job_(job),
        traversal_(job.plan.traversal()),
        row_step_(job.plan.template steps<0, Job::inputs>(&Layout::inner_stride)),
        fetching_(job.distant() && Fetcher::pays(traversal_.columns)),
        together_(rows_together(job.distant() && bytes_of<T>(traversal_.columns) >= 512)) {}

  [[gnu::always_inline]] void run() const {
    const Region& region = job_.region;
    Scratch scratch;
    scratch.k =
        tables_of(job_.numbers, traversal_, region.first_column, region.columns(), scratch.room);
    const Index channels = (std::min)(traversal_.channels, region.columns() / traversal_.repeat);
    // Of columns that are channels, and so few rows that their totals are those of the region,
    // nothing has to be joined.
    const bool joined = traversal_.columns > traversal_.channels || region.rows() > rows_per_total;
    for (std::size_t k = 0; k < sums; ++k) {
      std::fill(job_.into[k], job_.into[k] + channels, A(0));
      scratch.total[k] = joined ? scratch.total_room[k] : job_.into[k];
    }
    if (!joined) {
      sum_rows(region.first_row, region.last_row, region.columns(), scratch);
      return;
    }
    const bool short_end =
        traversal_.last_width < traversal_.columns && region.last_row == traversal_.rows();
    const Index whole_rows = region.last_row - (short_end ? 1 : 0);
    for (Index row = region.first_row; row < whole_rows; row += rows_per_total) {
      join_rows(row, (std::min)(row + rows_per_total, whole_rows), region.columns(), scratch);
    }
    if (short_end) join_rows(whole_rows, region.last_row, traversal_.last_width, scratch);
  }

 private:
  /// Measured: more rows of one input than of several, and of several fewer where they are long and
  /// come from memory.
  static constexpr Index rows_together(bool distant_and_long) {
    if (Job::inputs == 1) return distant_and_long ? chain : 2 * chain;
    if (!distant_and_long) return chain;
    return into_first ? chain / 4 : chain / 2;
  }

  [[gnu::always_inline]] void join_rows(Index begin, Index end, Index columns,
                                        Scratch& scratch) const {
    for (A* const total : scratch.total) std::fill(total, total + columns, A(0));
    sum_rows(begin, end, columns, scratch);
    join_columns(columns, scratch);
  }

  /// Adds some rows to the totals.
  [[gnu::always_inline]] void sum_rows(Index begin, Index end, Index columns,
                                       Scratch& scratch) const {
    for (Runs run(traversal_, begin, end); run.more(); run.next()) {
      for (Index row = 0; row < run.length(); row += together_) {
        sum_block(job_.plan.template locate<0>(job_.data, job_.region.first_column, run.outer(),
                                               run.inner() + row),
                  (std::min)(together_, run.length() - row), columns, scratch);
      }
    }
  }

  /// Adds the totals of all columns of a channel to those of the region.
  [[gnu::always_inline]] void join_columns(Index columns, const Scratch& scratch) const {
    if (traversal_.columns == traversal_.channels) {
      for (int k = 0; k < sums; ++k) add_totals(job_.into[k], scratch.total_room[k], columns);
      return;
    }
    Index channel = 0;
    for (Index column = 0; column < columns; column += traversal_.repeat) {
      for (int k = 0; k < sums; ++k) {
        A sum(0);
        for (Index i = 0; i < traversal_.repeat; ++i) sum += scratch.total_room[k][column + i];
        job_.into[k][channel] += sum;
      }
      if (++channel == traversal_.channels) channel = 0;
    }
  }

  [[gnu::always_inline]] static void add_totals(A* to, const A* from, Index count) {
    constexpr int lanes = Lanes > 1 ? Lanes / (static_cast<int>(sizeof(A) / sizeof(L))) : 1;
    Index i = 0;
    for (; i + lanes <= count; i += lanes) {
      simd::Vector<A, lanes> sum;
      simd::load<A, lanes, true>(sum, from + i, 1);
      simd::add_lanes<A, lanes>(to + i, sum);
    }
    for (; i < count; ++i) to[i] += from[i];
  }

  [[gnu::always_inline]] void sum_block(const Pointers& from, Index rows, Index columns,
                                        Scratch& scratch) const {
    Index c = 0;
    Fetcher fetcher(from, row_step_, columns, fetching_);
    for (; c + 2 * Lanes <= columns; c += 2 * Lanes) {
      fetcher.fetch(2 * Lanes * rows);
      sum_columns<2, Part::whole>(from, rows, c, 0, scratch);
    }
    if (columns < Lanes) {
      sum_columns<1, Part::few>(from, rows, c, columns, scratch);
      return;
    }
    // A whole vector, and what is none at the end, which reaches back.
    while (c < columns) {
      const Index count = (std::min<Index>)(Lanes, columns - c);
      c += count;
      sum_columns<1, Part::last>(from, rows, c - Lanes, count, scratch);
    }
  }

  /// @param count  of the last vector, or of a row shorter than one: how many lanes count
  template <int Vectors, Part Which>
  [[gnu::always_inline]] void sum_columns(const Pointers& from, Index rows, Index column,
                                          Index count, Scratch& scratch) const {
    V k[Vectors][numbers] = {};
    V sum[Vectors][sums] = {};
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) {
#pragma GCC unroll 8
      for (int i = 0; i < numbers; ++i) {
        load_numbers<Which>(k[v][i], scratch.k[static_cast<std::size_t>(i)] + column + v * Lanes,
                            count);
      }
    }
    Pointers at = from;
    while (rows > 0) {
      V part[Vectors][sums] = {};
      const Index some = (std::min)(rows, chain);
      for (Index row = 0; row < some; ++row) {
#pragma GCC unroll 2
        for (int v = 0; v < Vectors; ++v) {
          add<Which>(part[v], at, column + v * Lanes, count, k[v]);
        }
#pragma GCC unroll 8
        for (std::size_t i = 0; i < Job::inputs; ++i) at[i] += row_step_[i];
      }
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) {
#pragma GCC unroll 8
        for (int i = 0; i < sums; ++i) sum[v][i] += part[v][i];
      }
      rows -= some;
    }
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) {
#pragma GCC unroll 8
      for (int i = 0; i < sums; ++i) {
        store_sums<Which>(scratch.total[static_cast<std::size_t>(i)] + column + v * Lanes,
                          sum[v][i], count);
      }
    }
  }

  template <Part Which>
  [[gnu::always_inline]] static void load_numbers(V& k, const L* from, Index count) {
    if constexpr (Which == Part::few) {
      simd::load_some<L, Lanes>(k, from, 1, count);
    } else {
      simd::load<L, Lanes, true>(k, from, 1);
    }
  }

  template <Part Which>
  [[gnu::always_inline]] void add(V* s, const Pointers& from, Index column, Index count,
                                  const V* k) const {
    if constexpr (Which == Part::whole) {
      Adder::add(s, from, column, k);
    } else if constexpr (Which == Part::last) {
      Adder::add_last(s, from, column + Lanes, count, k);
    } else {
      Adder::add_few(s, from, column, count, k);
    }
  }

  template <Part Which>
  [[gnu::always_inline]] static void store_sums(A* to, const V& sum, Index count) {
    if constexpr (Which == Part::few) {
      L lanes[Lanes];
      simd::store_some<L, Lanes>(lanes, 1, sum, Lanes);
      for (Index lane = 0; lane < count; ++lane) to[lane] += detail::convert<A>(lanes[lane]);
    } else {
      simd::add_lanes<L, Lanes>(to, sum);
    }
  }

  const Job& job_;
  const Traversal& traversal_;
  std::array<Index, Job::inputs> row_step_;
  bool fetching_;
  /// Rows that are added up in registers before the totals are touched.
  Index together_;
};

}  // namespace loops
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_REDUCE_ROWS_HPP
