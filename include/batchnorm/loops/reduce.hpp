// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_REDUCE_HPP
#define BATCHNORM_LOOPS_REDUCE_HPP

#include <array>
#include <cstddef>
#include <vector>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/execution.hpp"
#include "batchnorm/loops/partition.hpp"
#include "batchnorm/loops/reduce_region.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/loops/traversal.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"

// Loop 1: every channel becomes a few numbers. A formula is a Reduction:
//
//   using Accumulator = A;                    type of sums and results
//   static constexpr int sums = S;            numbers per channel
//   static constexpr bool recentres;          whether each chunk finds a pivot of its own, its mean
//   A origin(Index channel) const;            then: what the results of a channel are relative to
//   A pivot(Index channel) const;             otherwise: the pivot of a channel
//   static void add(V* s, const V* x, const V& pivot);
//                                             adds the terms of one value; V is a number or a
//                                             vector. The terms of a value that is the pivot in the
//                                             last input and zero in the others must be zero: with
//                                             such values the odd lanes of a vector are filled
//   static void close(A* s, const A& place, const A& count);
//                                             makes results of the sums of a chunk; place is the
//                                             chunk's pivot minus the channel's origin
//   static void merge(A* into, const A* from, const MergeWeights<A>&);
//                                             joins the results of two disjoint sets of values
//   A* result(int k) const;                   where result k of all channels goes
//
// The last input is the one that the pivot belongs to. Values are cut into chunks that stay in the
// first-level cache, so that the second look at a chunk, about its own mean, costs no memory
// traffic; chunks are merged into slices, slices into the result. All cuts depend on the shape
// alone: the bits do not depend on the number of threads.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

/// Loop 1 over a plan's operands; see the top of this file.
template <class Reduction, class T, std::size_t Inputs>
class Reducer {
  using A = typename Reduction::Accumulator;
  static constexpr int sums = Reduction::sums;
  using Targets = std::array<A*, static_cast<std::size_t>(sums)>;

 public:
  Reducer(const Execution& execution, const Reduction& reduction, const Plan<Inputs>& plan,
          const std::array<const T*, Inputs>& data)
      : execution_(execution),
        reduction_(reduction),
        plan_(plan),
        traversal_(plan.traversal()),
        data_(data),
        partition_(plan.traversal()) {}

  void run() const {
    const bool little = traversal_.channels * traversal_.values() < 2 * elements_per_task;
    const Execution serial = Execution::serial().with(execution_.instruction_set());
    const Execution& execution = little ? serial : execution_;
    if (execution.threads() == 1 || partition_.slices == 1) {
      execution.for_each(partition_.blocks, [this](Index block) { block_in_turn(block); });
    } else {
      all_at_once(execution);
    }
  }

 private:
  Targets result_of(Index first_channel) const {
    Targets into;
    for (std::size_t k = 0; k < sums; ++k) {
      into[k] = reduction_.result(static_cast<int>(k)) + first_channel;
    }
    return into;
  }

  void reduce_region(const Region& region, const Targets& into) const {
    simd::dispatch(
        execution_.instruction_set(),
        RegionReducer<Reduction, T, Inputs>(reduction_, plan_, data_, region, into.data()));
  }

  void merge_slice(const Region& region, const Targets& into, const Targets& slice) const {
    const MergeWeights<A> weights(region.first_value, region.values());
    for (Index c = 0; c < region.channels(); ++c) {
      A results[sums];
      A added[sums];
      for (std::size_t k = 0; k < sums; ++k) {
        results[k] = into[k][c];
        added[k] = slice[k][c];
      }
      Reduction::merge(results, added, weights);
      for (std::size_t k = 0; k < sums; ++k) into[k][c] = results[k];
    }
  }

  /// One slice after another, in scratch on the stack.
  void block_in_turn(Index block) const {
    const Region first = partition_.region(traversal_, block, 0);
    const Targets into = result_of(first.first_channel);
    reduce_region(first, into);
    if (partition_.slices == 1) return;
    A scratch[sums][most_channels_across];
    Targets slice_results;
    for (std::size_t k = 0; k < sums; ++k) slice_results[k] = scratch[k];
    for (Index slice = 1; slice < partition_.slices; ++slice) {
      const Region region = partition_.region(traversal_, block, slice);
      reduce_region(region, slice_results);
      merge_slice(region, into, slice_results);
    }
  }

  /// Every slice of every block a task; merged afterwards in the order of block_in_turn. Needs
  /// memory for the slices: per channel, not per element.
  void all_at_once(const Execution& execution) const {
    const Index slices = partition_.slices;
    const Index row = partition_.blocks * partition_.block;
    std::vector<A> scratch(static_cast<std::size_t>(sums * slices * row));
    const auto slice_results = [&](Index block, Index slice) {
      Targets into;
      for (std::size_t k = 0; k < sums; ++k) {
        into[k] = scratch.data() + (static_cast<Index>(k) * slices + slice) * row +
                  block * partition_.block;
      }
      return into;
    };
    execution.for_each(partition_.blocks * slices, [&](Index task) {
      const Index block = task / slices;
      const Index slice = task % slices;
      const Region region = partition_.region(traversal_, block, slice);
      reduce_region(region,
                    slice == 0 ? result_of(region.first_channel) : slice_results(block, slice));
    });
    for (Index block = 0; block < partition_.blocks; ++block) {
      for (Index slice = 1; slice < slices; ++slice) {
        const Region region = partition_.region(traversal_, block, slice);
        merge_slice(region, result_of(region.first_channel), slice_results(block, slice));
      }
    }
  }

  const Execution& execution_;
  const Reduction& reduction_;
  const Plan<Inputs>& plan_;
  const Traversal& traversal_;
  const std::array<const T*, Inputs>& data_;
  Partition partition_;
};

/// Reduces every channel of some inputs of one shape, which must not be empty.
///
/// Cost: one pass over memory, a second one over each chunk while it is in the cache when the
/// reduction recentres. Serial execution allocates nothing.
template <class Reduction, class T, class... Same>
void reduce(const Execution& execution, const Reduction& reduction, const BatchView<const T>& input,
            const Same&... more) {
  constexpr std::size_t inputs = 1 + sizeof...(Same);
  const Plan<inputs> plan(input, more...);
  const std::array<const T*, inputs> data = {input.data(), more.data()...};
  Reducer<Reduction, T, inputs>(execution, reduction, plan, data).run();
}

}  // namespace loops
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_REDUCE_HPP
