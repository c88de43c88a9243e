// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_REDUCE_RUNS_HPP
#define BATCHNORM_LOOPS_REDUCE_RUNS_HPP

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

// Loop 1 along the values of one channel: the sums stay in registers.
//
// A lane adds up at most `chain` values in its own type, then four chains are joined and go into
// totals in the accumulator. So the rounding of a sum of float is that of some ten additions,
// however many values there are, at the speed of float.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

template <class Job, int Lanes>
class RunReducer {
  using L = typename Job::L;
  using A = typename Job::A;
  using Adder = VectorAdder<Job, Lanes>;
  using V = typename Adder::V;
  using Pointers = typename Adder::Pointers;
  static constexpr int sums = Job::Formula::sums;
  static constexpr int coefficients = Job::Formula::coefficients;
  static constexpr Index step4 = 4 * Lanes;
  using Fetcher = RunFetcher<typename Job::T, Job::inputs, Nearness::first_level, 4096>;

 public:
  [[gnu::always_inline]] explicit RunReducer(const Job& job)
      : job_(job),
        column_step_(job.plan.template steps<0, Job::inputs>(&Layout::column_stride)),
        fetcher_(job.plan.template steps<0, Job::inputs>(&Layout::outer_stride),
                 job.plan.traversal().inner, job.distant()) {}

  [[gnu::always_inline]] void run() const {
    const Region& region = job_.region;
    L room[coefficients][most_columns];
    const Tables tables =
        tables_of(job_.numbers, job_.plan.traversal(), region.first_column, region.columns(), room);
    // Short runs of some channels in turn, as they usually lie in memory; long ones of one channel.
    const Index together = has_short_runs(job_.plan.traversal()) ? columns_at_once : 1;
    for (Index first = 0; first < region.columns(); first += together) {
      sum_columns(first, (std::min)(together, region.columns() - first), tables);
    }
  }

 private:
  using Tables = std::array<const L*, static_cast<std::size_t>(coefficients)>;
  /// Channels whose totals stay in the first-level cache meanwhile.
  static constexpr Index columns_at_once = 32;

  /// Four chains for every sum.
  using Chains = V[4][sums];
  /// The totals of all lanes, in memory, where g++ keeps the chains out of it.
  using Totals = A[sums][Lanes];

  [[gnu::always_inline]] static void clear(Chains& s) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 8
      for (int j = 0; j < sums; ++j) s[i][j] = V{};
    }
  }

  [[gnu::always_inline]] static void join(Chains& s, Totals& totals) {
#pragma GCC unroll 8
    for (int j = 0; j < sums; ++j) {
      const V all = (s[0][j] + s[1][j]) + (s[2][j] + s[3][j]);
      simd::add_lanes<L, Lanes>(totals[j], all);
    }
    clear(s);
  }

  [[gnu::always_inline]] static void load_numbers(V* k, const Tables& tables, Index column) {
#pragma GCC unroll 8
    for (int i = 0; i < coefficients; ++i) {
      simd::broadcast<L, Lanes>(k[i], tables[static_cast<std::size_t>(i)][column]);
    }
  }

  /// Sums some columns of the region.
  [[gnu::always_inline]] void sum_columns(Index first, Index columns, const Tables& tables) const {
    const Region& region = job_.region;
    for (Index row = region.first_row; row < region.last_row; row += rows_per_total) {
      sum_rows(first, columns, row, (std::min)(row + rows_per_total, region.last_row), tables);
    }
  }

  /// Adds some rows of some columns, whose totals are kept apart for every lane meanwhile.
  [[gnu::always_inline]] void sum_rows(Index first, Index columns, Index begin, Index end,
                                       const Tables& tables) const {
    // Of several columns, whose runs are short; long runs are asked for as they are added.
    const bool fetching = columns > 1 && job_.distant();
    Totals totals[columns_at_once];
    for (Index column = 0; column < columns; ++column) {
      for (auto& sum : totals[column]) std::fill(sum, sum + Lanes, A(0));
    }
    Chains s = {};
    for (Runs run(job_.plan.traversal(), begin, end); run.more(); run.next()) {
      Pointers from = job_.plan.template locate<0>(job_.data, job_.region.first_column + first,
                                                   run.outer(), run.inner());
      for (Index column = 0; column < columns; ++column) {
        V k[coefficients];
        load_numbers(k, tables, first + column);
        if (fetching) fetch_ahead(from, run.length());
        add_run(s, from, run.length(), k, totals[column]);
#pragma GCC unroll 8
        for (std::size_t i = 0; i < Job::inputs; ++i) from[i] += column_step_[i];
      }
    }
    for (Index column = 0; column < columns; ++column) {
      for (int j = 0; j < sums; ++j) {
        A& into = job_.into[j][first + column];
        const A sum = simd::sum_of_array<A, Lanes>(totals[column][j]);
        into = begin == job_.region.first_row ? sum : into + sum;
      }
    }
  }

  /// Measured on planes of 7 x 7 and 14 x 14: as RowFetcher does for rows.
  [[gnu::always_inline]] static void fetch_ahead(const Pointers& from, Index length) {
    constexpr Address distance = 4096;
#pragma GCC unroll 8
    for (std::size_t i = 0; i < Job::inputs; ++i) {
      fetch_lines<Nearness::second_level>(address_of(from[i]) + distance,
                                          bytes_of<typename Job::T>(length));
    }
  }

  [[gnu::always_inline]] void add_run(Chains& s, const Pointers& from, Index length, const V* k,
                                      Totals& totals) const {
    Index at = 0;
    for (; at + chain * step4 <= length; at += chain * step4) {
      for (Index i = 0; i < chain; ++i) {
        fetcher_.template fetch<step4>(from, at + i * step4, length);
        add_four(s, from, at + i * step4, k);
      }
      join(s, totals);
    }
    add_rest(s, from, at, length, k);
    join(s, totals);
  }

  [[gnu::always_inline]] static void add_four(Chains& s, const Pointers& from, Index at,
                                              const V* k) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) Adder::add(s[i], from, at + i * Lanes, k);
  }

  /// Less than `chain` times four vectors; what is no whole vector at the end reaches back.
  [[gnu::always_inline]] static void add_rest(Chains& s, const Pointers& from, Index at,
                                              Index length, const V* k) {
    for (; at + step4 <= length; at += step4) add_four(s, from, at, k);
    if (at + 2 * Lanes <= length) {
      Adder::add(s[0], from, at, k);
      Adder::add(s[1], from, at + Lanes, k);
      at += 2 * Lanes;
    }
    if (at + Lanes <= length) {
      Adder::add(s[2], from, at, k);
      at += Lanes;
    }
    if (at == length) return;
    if (length >= Lanes) {
      Adder::add_last(s[3], from, length, length - at, k);
    } else {
      Adder::add_few(s[3], from, at, length - at, k);
    }
  }

  const Job& job_;
  std::array<Index, Job::inputs> column_step_;
  Fetcher fetcher_;
};

}  // namespace loops
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_REDUCE_RUNS_HPP
