// SPDX-License-Identifier: MIT
// One region of an array reduced in one way, for the tests of the ways.
#ifndef BATCHNORM_TESTS_LOOPS_REGION_SUMS_HPP
#define BATCHNORM_TESTS_LOOPS_REGION_SUMS_HPP

#include <algorithm>
#include <array>
#include <type_traits>
#include <vector>

#include "batchnorm/loops/numbers.hpp"
#include "batchnorm/loops/partition.hpp"
#include "batchnorm/loops/reduce_job.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/loops/simd_dispatch.hpp"
#include "batchnorm/loops/traversal.hpp"
#include "support/generators.hpp"
#include "support/loop_formulas.hpp"

namespace batchnorm_test {

inline constexpr std::array<batchnorm::InstructionSet, 3> instruction_sets = {
    batchnorm::InstructionSet::baseline, batchnorm::InstructionSet::avx2,
    batchnorm::InstructionSet::best};

/// The sum about a pivot that is the same for all channels.
struct PlainSum {
  static constexpr int sums = 1;
  static constexpr int coefficients = 1;
  template <class V>
  [[gnu::always_inline]] static void add(V* s, const V* x, const V* k) {
    s[0] += x[0] - k[0];
  }
};
struct ConstantPivot {
  template <class C>
  void operator()(Index, C* k) const {
    k[0] = static_cast<C>(pivot);
  }
  float pivot = 0;
};

/// The body of a way to reduce that is made for some number of lanes.
template <template <class, int> class Way, class Job>
struct InLanes {
  template <int Bytes>
  [[gnu::always_inline]] void run() const {
    Way<Job, batchnorm::simd::lanes_of<typename Job::L, Bytes>>(job).run();
  }
  const Job& job;
};

inline batchnorm::loops::Region everything(const batchnorm::loops::Traversal& traversal) {
  return {0, traversal.columns, 0, traversal.rows()};
}

/// Calls body(job) for the job of reducing a region of a view; the results begin at the region's
/// first channel. Without a region, all of the view.
template <class Formula, class L, class A, class T, class Source, class Body>
Results<A> with_job(const Source& source, const batchnorm::BatchView<const T>& view,
                    const batchnorm::loops::Region* some, const Body& body) {
  namespace loops = batchnorm::loops;
  const loops::Plan<1> plan(view);
  const loops::Traversal& traversal = plan.traversal();
  const loops::Region region = some != nullptr ? *some : everything(traversal);
  const Index channels = (std::min)(traversal.channels, region.columns() / traversal.repeat);
  Results<A> results(Formula::sums, static_cast<Size>(channels));
  const std::vector<A*> into = results.pointers();
  const std::array<const T*, 1> data = {view.data()};
  const loops::Numbers<L, Formula::coefficients> numbers(source);
  using Job = loops::ReduceJob<Formula, T, L, A, 1>;
  body(Job{numbers, plan, data, region, into.data()});
  return results;
}

/// The sums in lanes of L, the type of the elements.
template <template <class, int> class Way, class Formula, class L, class Source>
Results<double> sums_in_lanes(batchnorm::InstructionSet set, const Source& source,
                              const batchnorm::BatchView<const L>& view,
                              const batchnorm::loops::Region* region = nullptr) {
  return with_job<Formula, L, double>(source, view, region, [&](const auto& job) {
    using Job = std::decay_t<decltype(job)>;
    batchnorm::simd::dispatch(set, InLanes<Way, Job>{job});
  });
}

/// The power sums of some channels and of them some values, numbered sample by sample.
inline Results<double> sums_of_part(const Batch& batch, Size first_channel, Size last_channel,
                                    Size first_value, Size last_value) {
  Batch part{last_value - first_value, last_channel, 1};
  part.each([&](Size v, Size c, Size p) {
    const Size value = first_value + v;
    part.at(v, c, p) = batch.at(value / batch.positions, c, value % batch.positions);
  });
  Results<double> sums = PowerSums::of<double>(part);
  for (std::vector<double>& each : sums.of) {
    each.erase(each.begin(), each.begin() + static_cast<Index>(first_channel));
  }
  return sums;
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_LOOPS_REGION_SUMS_HPP
