// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_REDUCE_PLAIN_HPP
#define BATCHNORM_LOOPS_REDUCE_PLAIN_HPP

#include <algorithm>
#include <array>
#include <cstddef>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/numbers.hpp"
#include "batchnorm/loops/partition.hpp"
#include "batchnorm/loops/reduce_job.hpp"
#include "batchnorm/loops/traversal.hpp"
#include "batchnorm/version.hpp"

// Loop 1 without vectors, number by number in the type of the totals: for elements that are not
// neighbours, and for channels whose sums are beyond what lanes of float hold.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

/// Job::L is Job::A.
template <class Job>
class PlainReducer {
  using A = typename Job::A;
  using Pointers = std::array<const typename Job::T*, Job::inputs>;
  static constexpr int sums = Job::Formula::sums;
  static constexpr int coefficients = Job::Formula::coefficients;

  /// Numbers per column of the block, a column's together.
  struct Column {
    A k[coefficients];
    A total[sums];
  };

 public:
  explicit PlainReducer(const Job& job) : job_(job), traversal_(job.plan.traversal()) {}

  /// For every instruction set, so that a formula rounds here as it does elsewhere.
  template <int Bytes>
  [[gnu::always_inline]] void run() const {
    const Region& region = job_.region;
    Column columns[most_columns];
    for (Index c = 0; c < region.columns(); ++c) {
      job_.numbers(traversal_.channel_of(region.first_column + c), columns[c].k);
    }
    const Index channels = (std::min)(traversal_.channels, region.columns() / traversal_.repeat);
    for (int k = 0; k < sums; ++k) std::fill(job_.into[k], job_.into[k] + channels, A(0));
    for (Index row = region.first_row; row < region.last_row; row += rows_per_total) {
      for (Index c = 0; c < region.columns(); ++c) {
        std::fill(columns[c].total, columns[c].total + sums, A(0));
      }
      sum_rows(row, (std::min)(row + rows_per_total, region.last_row), columns);
      for (Index c = 0; c < region.columns(); ++c) {
        const Index channel = c / traversal_.repeat % traversal_.channels;
        for (int k = 0; k < sums; ++k) job_.into[k][channel] += columns[c].total[k];
      }
    }
  }

 private:
  /// In the order in which the elements lie.
  [[gnu::always_inline]] void sum_rows(Index begin, Index end, Column* columns) const {
    for (Runs run(traversal_, begin, end); run.more(); run.next()) {
      const Index last = run.inner() + run.length();
      if (traversal_.along_rows) {
        for (Index inner = run.inner(); inner < last; ++inner) {
          for (Index c = 0; c < width(run.outer(), inner); ++c) {
            add(columns[c], c, run.outer(), inner);
          }
        }
      } else {
        for (Index c = 0; c < job_.region.columns(); ++c) {
          for (Index inner = run.inner(); inner < last; ++inner) {
            add(columns[c], c, run.outer(), inner);
          }
        }
      }
    }
  }

  /// Columns of a row: the very last one may be shorter.
  Index width(Index outer, Index inner) const {
    const bool very_last = inner + 1 == traversal_.inner && outer + 1 == traversal_.outer;
    if (!very_last) return job_.region.columns();
    return (std::min)(job_.region.columns(), traversal_.last_width - job_.region.first_column);
  }

  [[gnu::always_inline]] void add(Column& column, Index c, Index outer, Index inner) const {
    const Pointers at =
        job_.plan.template locate<0>(job_.data, job_.region.first_column + c, outer, inner);
    A x[Job::inputs];
    for (std::size_t i = 0; i < Job::inputs; ++i) x[i] = detail::convert<A>(*at[i]);
    Job::Formula::add(column.total, x, column.k);
  }

  const Job& job_;
  const Traversal& traversal_;
};

}  // namespace loops
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_REDUCE_PLAIN_HPP
