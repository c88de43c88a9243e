// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_REDUCE_HPP
#define BATCHNORM_LOOPS_REDUCE_HPP

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/execution.hpp"
#include "batchnorm/loops/partition.hpp"
#include "batchnorm/loops/reduce_region.hpp"
#include "batchnorm/loops/sample.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/loops/traversal.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"

// Loop 1: every channel becomes a few sums. A formula is a Reduction:
//
//   using Accumulator = A;                    type of the totals
//   using Lane = L;                           type that a lane sums in: the type of the data, or
//                                             float for what is shorter
//   using Formula = F;                        with
//     static constexpr int sums = S;          numbers per channel
//     static constexpr int coefficients = K;  numbers that add() is given for each channel; the
//                                             first is the pivot of the channel
//     static void add(V* s, const V* x, const V* k);
//                                             adds the terms of one value; V is a number or a
//                                             vector of them. The terms of a value that is the
//                                             pivot in the last input and zero in the others must
//                                             be zero: with such values odd lanes are filled
//   void operator()(Index channel, C* k) const;
//                                             the coefficients; C is Lane or Accumulator
//   A* result(int k) const;                   where sum k of all channels goes
//   L* pivots();                              where guesses of the pivots are wanted before the
//                                             first attempt, or nullptr
//   Verdict settle(Index channel, int tried, bool wide);
//                                             looks at the sums of a channel after so many attempts
//                                             before this one, whose lanes were as wide as the
//                                             totals or not. When the sums lost too much, to
//                                             rounding, overflow or a bad pivot, the channel is
//                                             reduced again, with coefficients that may have
//                                             changed
//   Index settle_good(Index first, Index last); optional: settles channels in their order after the
//                                             first attempt, some at a time, up to one that is not
//                                             plainly good, which it returns; `last` if all are
//
// Lanes sum a few values in their own type, for speed, and totals are kept in A (reduce_runs.hpp).
// All cuts depend on the shape alone and totals are joined in a fixed order: the bits of a channel
// depend neither on the number of threads nor on other channels.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

/// What a reduction thinks of the sums of a channel.
enum class Verdict {
  settled,
  again,      ///< reduce the channel again
  again_wide  ///< and let the lanes sum in the type of the totals
};

template <class Reduction, class = void>
inline constexpr bool settles_many = false;
template <class Reduction>
inline constexpr bool settles_many<Reduction, std::void_t<decltype(&Reduction::settle_good)>> =
    true;

/// Loop 1 over a plan's operands; see the top of this file.
template <class Reduction, class T, std::size_t Inputs>
class Reducer {
  using A = typename Reduction::Accumulator;
  using Lane = typename Reduction::Lane;
  static constexpr bool always_wide = std::is_same<A, Lane>::value;
  using Formula = typename Reduction::Formula;
  static constexpr int sums = Formula::sums;
  using Targets = std::array<A*, static_cast<std::size_t>(sums)>;

 public:
  Reducer(Reduction& reduction, const Plan<Inputs>& plan, const std::array<const T*, Inputs>& data)
      : reduction_(reduction), plan_(plan), traversal_(plan.traversal()), data_(data) {}

  /// Reduces the channels [first, last) until all are settled.
  void run(const Execution& execution, Index first, Index last) const {
    Targets into;
    for (std::size_t k = 0; k < sums; ++k) {
      into[k] = reduction_.result(static_cast<int>(k)) + first;
    }
    if constexpr (Inputs == 1) {
      if (auto* const pivots = reduction_.pivots()) {
        sample_means(execution.instruction_set(), plan_, data_[0], first, last, pivots);
      }
    }
    attempt(execution, first, last, false, into);
    const Index together = channels_together();
    for (Index channel = first; channel < last; ++channel) {
      if constexpr (settles_many<Reduction>) {
        channel = reduction_.settle_good(channel, last);
        if (channel == last) return;
      }
      const Verdict verdict = reduction_.settle(channel, 0, always_wide);
      if (verdict == Verdict::settled) continue;
      const Index begin = traversal_.cycles() ? 0 : channel;
      const Index end = traversal_.cycles() ? last : (std::min)(last, channel + together);
      again(execution, channel, verdict, begin, end);
      channel = end - 1;
    }
  }

 private:
  static constexpr Index most_again = short_row;

  /// Channels that share cache lines, so that reducing one costs as much as all.
  Index channels_together() const {
    return traversal_.along_rows && traversal_.repeat == 1 ? most_again / 2 : 1;
  }

  /// Reduces [begin, end) again and again, for those of them that are not settled; the first that
  /// is not is known.
  void again(const Execution& execution, Index unsettled, Verdict verdict, Index begin,
             Index end) const {
    Verdict verdicts[most_again] = {};
    A scratch[sums][most_again];
    Targets into;
    for (std::size_t k = 0; k < sums; ++k) into[k] = scratch[k];
    verdicts[unsettled - begin] = verdict;
    for (Index c = unsettled + 1; c < end; ++c) {
      verdicts[c - begin] = reduction_.settle(c, 0, always_wide);
    }
    // One kind of verdict at a time: no channel is reduced in another way because of its
    // neighbours.
    int tried[most_again] = {};
    for (Verdict asked = most_modest(verdicts); asked != Verdict::settled;
         asked = most_modest(verdicts)) {
      const bool wide = asked == Verdict::again_wide;
      attempt(execution, begin, end, wide, into);
      for (Index c = begin; c < end; ++c) {
        if (verdicts[c - begin] != asked) continue;
        for (std::size_t k = 0; k < sums; ++k) {
          reduction_.result(static_cast<int>(k))[c] = into[k][c - begin];
        }
        verdicts[c - begin] = reduction_.settle(c, ++tried[c - begin], always_wide || wide);
      }
    }
  }

  static Verdict most_modest(const Verdict (&verdicts)[most_again]) {
    for (const Verdict verdict : {Verdict::again, Verdict::again_wide}) {
      if (any(verdicts, verdict)) return verdict;
    }
    return Verdict::settled;
  }

  static bool any(const Verdict (&verdicts)[most_again], Verdict verdict) {
    return std::find(std::begin(verdicts), std::end(verdicts), verdict) != std::end(verdicts);
  }

  void attempt(const Execution& execution, Index first, Index last, bool wide,
               const Targets& into) const {
    const Partition partition(traversal_, first, last, execution.threads());
    if (execution.threads() == 1 || partition.slices() == 1) {
      execution.for_each(partition.blocks(), [&](Index block) {
        block_in_turn(execution.instruction_set(), partition, block, first, wide, into);
      });
    } else {
      all_at_once(execution, partition, first, last, wide, into);
    }
  }

  void reduce_one(InstructionSet instruction_set, const Region& region, bool wide,
                  const Targets& into) const {
    reduce_region<Formula, Lane, A>(instruction_set, reduction_, plan_, data_, region, wide,
                                    into.data());
  }

  static Targets at_channel(const Targets& targets, Index channel) {
    Targets at = targets;
    for (A*& target : at) target += channel;
    return at;
  }

  static void add_slice(Index channels, const Targets& into, const Targets& slice) {
    using Totals = Eigen::Array<A, Eigen::Dynamic, 1>;
    for (std::size_t k = 0; k < sums; ++k) {
      Eigen::Map<Totals>(into[k], channels) += Eigen::Map<const Totals>(slice[k], channels);
    }
  }

  /// One slice after another, in scratch on the stack.
  void block_in_turn(InstructionSet instruction_set, const Partition& partition, Index block,
                     Index first, bool wide, const Targets& results) const {
    const Targets into = at_channel(results, partition.first_channel(block) - first);
    reduce_one(instruction_set, partition.region(block, 0), wide, into);
    if (partition.slices() == 1) return;
    A scratch[sums][most_columns];
    Targets slice_results;
    for (std::size_t k = 0; k < sums; ++k) slice_results[k] = scratch[k];
    for (Index slice = 1; slice < partition.slices(); ++slice) {
      reduce_one(instruction_set, partition.region(block, slice), wide, slice_results);
      add_slice(partition.last_channel(block) - partition.first_channel(block), into,
                slice_results);
    }
  }

  /// Every slice of every block a task; joined afterwards in the order of block_in_turn. Needs
  /// memory for the slices: per channel, not per element.
  void all_at_once(const Execution& execution, const Partition& partition, Index first, Index last,
                   bool wide, const Targets& results) const {
    const Index slices = partition.slices();
    const Index channels = last - first;
    // Written by the threads alone, which then need not fetch it from this one.
    Eigen::Array<A, Eigen::Dynamic, 1> scratch(sums * slices * channels);
    const auto slice_results = [&](Index slice) {
      Targets into;
      for (std::size_t k = 0; k < sums; ++k) {
        into[k] = scratch.data() + (static_cast<Index>(k) * slices + slice) * channels;
      }
      return into;
    };
    execution.for_each(partition.blocks() * slices, [&](Index task) {
      const Index block = task / slices;
      const Index slice = task % slices;
      reduce_one(execution.instruction_set(), partition.region(block, slice), wide,
                 at_channel(slice == 0 ? results : slice_results(slice),
                            partition.first_channel(block) - first));
    });
    for (Index slice = 1; slice < slices; ++slice) {
      add_slice(channels, results, slice_results(slice));
    }
  }

  Reduction& reduction_;
  const Plan<Inputs>& plan_;
  const Traversal& traversal_;
  const std::array<const T*, Inputs>& data_;
};

/// Reduces every channel of some inputs of one shape, which must not be empty.
///
/// Cost: one pass over memory, and another one for every channel that is not settled. Serial
/// execution allocates nothing for settled channels.
template <class Reduction, class T, class... Same>
void reduce(const Execution& execution, Reduction& reduction, const BatchView<const T>& input,
            const Same&... more) {
  constexpr std::size_t inputs = 1 + sizeof...(Same);
  const Plan<inputs> plan(input, more...);
  const std::array<const T*, inputs> data = {input.data(), more.data()...};
  const Reducer<Reduction, T, inputs> reducer(reduction, plan, data);
  reducer.run(execution.for_elements(plan.traversal().elements()), 0, plan.traversal().channels);
}

}  // namespace loops
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_REDUCE_HPP
