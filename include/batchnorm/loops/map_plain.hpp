// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_MAP_PLAIN_HPP
#define BATCHNORM_LOOPS_MAP_PLAIN_HPP

#include <algorithm>
#include <array>
#include <cstddef>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/map_job.hpp"
#include "batchnorm/loops/numbers.hpp"
#include "batchnorm/loops/partition.hpp"
#include "batchnorm/loops/traversal.hpp"
#include "batchnorm/version.hpp"

// Loop 2 number by number, for elements that are not neighbours.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

template <class Job>
class PlainMapper {
  using C = typename Job::C;
  using Map = typename Job::Map;
  static constexpr int numbers = Map::coefficients;

 public:
  [[gnu::always_inline]] explicit PlainMapper(const Job& job)
      : job_(job), traversal_(job.plan.traversal()) {}

  [[gnu::always_inline]] void run() const {
    const Region& region = job_.region;
    for (Index first = region.first_column; first < region.last_column; first += most_columns) {
      C k[most_columns][numbers + Map::constants];
      const Index columns = (std::min)(most_columns, region.last_column - first);
      for (Index c = 0; c < columns; ++c) {
        job_.numbers(traversal_.channel_of(first + c), k[c]);
        for (int i = 0; i < Map::constants; ++i) k[c][numbers + i] = job_.constants[i];
      }
      for (Runs run(traversal_, region.first_row, region.last_row); run.more(); run.next()) {
        map_rows(run, first, columns, k);
      }
    }
  }

 private:
  /// In the order in which the elements lie.
  template <class Table>
  [[gnu::always_inline]] void map_rows(const Runs& run, Index first, Index columns,
                                       const Table& k) const {
    const Index last = run.inner() + run.length();
    if (traversal_.along_rows) {
      for (Index inner = run.inner(); inner < last; ++inner) {
        const bool very_last = inner + 1 == traversal_.inner && run.outer() + 1 == traversal_.outer;
        const Index width =
            very_last ? (std::min)(columns, traversal_.last_width - first) : columns;
        for (Index c = 0; c < width; ++c) map_one(first + c, run.outer(), inner, k[c]);
      }
    } else {
      for (Index c = 0; c < columns; ++c) {
        for (Index inner = run.inner(); inner < last; ++inner) {
          map_one(first + c, run.outer(), inner, k[c]);
        }
      }
    }
  }

  [[gnu::always_inline]] void map_one(Index column, Index outer, Index inner, const C* k) const {
    const auto at = job_.locate(column, outer, inner);
    C x[Job::inputs];
    for (std::size_t i = 0; i < Job::inputs; ++i) x[i] = detail::convert<C>(*at.from[i]);
    C y[Map::outputs];
    Map::apply(y, x, k);
    for (std::size_t i = 0; i < Map::outputs; ++i) {
      *at.to[i] = detail::convert<typename Job::T>(y[i]);
    }
  }

  const Job& job_;
  const Traversal& traversal_;
};

}  // namespace loops
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_MAP_PLAIN_HPP
