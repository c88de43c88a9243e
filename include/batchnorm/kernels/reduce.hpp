// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_REDUCE_HPP
#define BATCHNORM_KERNELS_REDUCE_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/coefficients.hpp"
#include "batchnorm/kernels/map.hpp"
#include "batchnorm/kernels/pack.hpp"
#include "batchnorm/kernels/partition.hpp"
#include "batchnorm/kernels/reduce_region.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/version.hpp"

// The reducing loop: a few sums per channel. Lanes sum a few values in their own type, for speed;
// totals are in the accumulator. All cuts depend on the shape alone and totals are joined in a
// fixed order, so that the bits of a channel depend neither on the number of threads nor on other
// channels.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// What a reduction makes of the sums of a channel.
enum class Outcome {
  done,
  retry,                ///< with coefficients that have changed
  retry_in_accumulator  ///< in the type of the totals: the sums are beyond the range of the lanes
};

/// What is done with the sums of channels. Virtual, so that the loop is compiled once per scalar.
template <class T>
class Reduction {
 public:
  using A = accumulator_t<T>;

  /// Where sum j of channel 0 goes; those of the other channels follow it.
  virtual A* result(std::size_t j) = 0;
  /// Called before the first attempt at the channels [first, last).
  virtual void prepare(const Plan& plan, const Operands<T>& data, InstructionSet set, Index first,
                       Index last) = 0;
  /// Finishes channels in their order after the first attempt, up to one that needs more than the
  /// plain formula, which it returns; `last` if none does.
  virtual Index finish_many(Index first, Index last) = 0;
  /// Finishes one channel after `tried` attempts before this one.
  virtual Outcome finish(Index channel, int tried, bool in_accumulator) = 0;

  Reduction() = default;
  Reduction(const Reduction&) = default;
  Reduction& operator=(const Reduction&) = default;
  virtual ~Reduction() = default;
};

/// Reduces channels until all are finished.
template <class T>
class Reducer {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;
  static constexpr bool lanes_are_wide = std::is_same<A, C>::value;
  using Targets = typename RegionReducer<T>::Targets;

 public:
  Reducer(Reduction<T>& reduction, const FormulaCall<T>& call, const Operands<T>& data,
          const Plan& plan, std::size_t sums)
      : reduction_(reduction),
        plan_(plan),
        shape_(plan.traversal()),
        region_(call, data, plan, sums),
        sums_(sums) {}

  void run(const Execution& execution, Index first, Index last) const {
    const InstructionSet set = set_for<T>(plan_, execution.instruction_set(), false);
    Targets into{};
    for (std::size_t j = 0; j < sums_; ++j) into[j] = reduction_.result(j) + first;
    reduction_.prepare(plan_, region_.operands(), set, first, last);
    attempt(execution, set, first, last, false, into);
    const Index together = channels_together();
    for (Index channel = first; channel < last; ++channel) {
      channel = reduction_.finish_many(channel, last);
      if (channel == last) return;
      const Outcome outcome = reduction_.finish(channel, 0, lanes_are_wide);
      if (outcome == Outcome::done) continue;
      const Index begin = shape_.channels_wrap() ? 0 : channel;
      const Index end = shape_.channels_wrap() ? last : (std::min)(last, channel + together);
      retry(execution, set, channel, outcome, begin, end);
      channel = end - 1;
    }
  }

 private:
  /// Channels that wrap, or share cache lines.
  static constexpr Index max_retried = max_short_row;

  /// Channels that share cache lines, so that reducing one costs as much as all.
  Index channels_together() const {
    return shape_.along_rows && shape_.columns_per_channel == 1
               ? cache_line_bytes / static_cast<Index>(sizeof(float))
               : 1;
  }

  /// Reduces [begin, end) again and again, for those of them that are not done; the first that is
  /// not is known. One kind of outcome at a time: no channel is reduced in another way because of
  /// its neighbours.
  [[gnu::cold]] void retry(const Execution& execution, InstructionSet set, Index pending,
                           Outcome outcome, Index begin, Index end) const {
    Outcome outcomes[max_retried] = {};
    int tried[max_retried] = {};
    A scratch[max_sums][max_retried];
    Targets into{};
    for (std::size_t j = 0; j < sums_; ++j) into[j] = scratch[j];
    outcomes[pending - begin] = outcome;
    for (Index c = pending + 1; c < end; ++c) {
      outcomes[c - begin] = reduction_.finish(c, 0, lanes_are_wide);
    }
    for (Outcome kind = cheapest(outcomes); kind != Outcome::done; kind = cheapest(outcomes)) {
      const bool wide = kind == Outcome::retry_in_accumulator;
      attempt(execution, set, begin, end, wide, into);
      for (Index c = begin; c < end; ++c) {
        if (outcomes[c - begin] != kind) continue;
        for (std::size_t j = 0; j < sums_; ++j) reduction_.result(j)[c] = into[j][c - begin];
        outcomes[c - begin] = reduction_.finish(c, ++tried[c - begin], lanes_are_wide || wide);
      }
    }
  }

  static Outcome cheapest(const Outcome (&outcomes)[max_retried]) {
    for (const Outcome kind : {Outcome::retry, Outcome::retry_in_accumulator}) {
      if (std::find(std::begin(outcomes), std::end(outcomes), kind) != std::end(outcomes)) {
        return kind;
      }
    }
    return Outcome::done;
  }

  void attempt(const Execution& execution, InstructionSet set, Index first, Index last, bool wide,
               const Targets& into) const {
    const Partition partition(shape_, first, last, execution.threads());
    if (execution.threads() == 1 || partition.slices() == 1) {
      execution.for_each(partition.blocks(), [&](Index block) {
        block_in_turn(set, partition, block, first, wide, into);
      });
    } else {
      all_at_once(execution, set, partition, first, last, wide, into);
    }
  }

  static Targets at_channel(const Targets& targets, Index channel) {
    Targets at = targets;
    for (A*& target : at) {
      if (target != nullptr) target += channel;
    }
    return at;
  }

  void add_slice(Index channels, const Targets& into, const Targets& slice) const {
    for (std::size_t j = 0; j < sums_; ++j) {
      for (Index c = 0; c < channels; ++c) into[j][c] += slice[j][c];
    }
  }

  /// One slice after another, in scratch on the stack.
  void block_in_turn(InstructionSet set, const Partition& partition, Index block, Index first,
                     bool wide, const Targets& results) const {
    const Targets into = at_channel(results, partition.first_channel(block) - first);
    region_.run(set, partition.region(block, 0), wide, into);
    if (partition.slices() == 1) return;
    A scratch[max_sums][max_block_columns];
    Targets slice_results{};
    for (std::size_t j = 0; j < sums_; ++j) slice_results[j] = scratch[j];
    for (Index slice = 1; slice < partition.slices(); ++slice) {
      region_.run(set, partition.region(block, slice), wide, slice_results);
      add_slice(partition.last_channel(block) - partition.first_channel(block), into,
                slice_results);
    }
  }

  /// Every slice of every block a task; joined afterwards in the order of block_in_turn. Needs
  /// memory for the slices: per channel, not per element.
  void all_at_once(const Execution& execution, InstructionSet set, const Partition& partition,
                   Index first, Index last, bool wide, const Targets& results) const {
    const Index slices = partition.slices();
    const Index channels = last - first;
    // Written by the threads alone, which then need not fetch it from this one.
    ChannelVector<A> scratch(static_cast<Index>(sums_) * slices * channels);
    const auto slice_results = [&](Index slice) {
      Targets into{};
      for (std::size_t j = 0; j < sums_; ++j) {
        into[j] = scratch.data() + (static_cast<Index>(j) * slices + slice) * channels;
      }
      return into;
    };
    execution.for_each(partition.blocks() * slices, [&](Index task) {
      const Index block = task / slices;
      const Index slice = task % slices;
      region_.run(set, partition.region(block, slice), wide,
                  at_channel(slice == 0 ? results : slice_results(slice),
                             partition.first_channel(block) - first));
    });
    for (Index slice = 1; slice < slices; ++slice) {
      add_slice(channels, results, slice_results(slice));
    }
  }

  Reduction<T>& reduction_;
  const Plan& plan_;
  const Traversal& shape_;
  RegionReducer<T> region_;
  std::size_t sums_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_REDUCE_HPP
