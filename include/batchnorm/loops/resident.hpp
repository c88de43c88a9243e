// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_RESIDENT_HPP
#define BATCHNORM_LOOPS_RESIDENT_HPP

#include <algorithm>
#include <cstddef>
#include <utility>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/cache.hpp"
#include "batchnorm/loops/execution.hpp"
#include "batchnorm/loops/map.hpp"
#include "batchnorm/loops/reduce.hpp"
#include "batchnorm/loops/traversal.hpp"
#include "batchnorm/version.hpp"

// Both loops, one after the other, on channels that lie apart: some channels are reduced and then
// mapped while they are in the cache, before the next ones are touched. Where channels lie side by
// side (NHWC), and where there is no more than fits the cache anyway, all are reduced and then all
// are mapped. The bits are the same.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

/// Elements of a run, and bytes of neighbouring runs, from which on jumping through memory for
/// those of a few channels wins over one pass in the order of memory. Measured: planes of 14 x 14
/// of 32 samples take 0.8 times as long, those of 256 samples 1.4 times, and planes of 7 x 7 up to
/// as much.
inline constexpr Index shortest_resident_run = 128;
inline constexpr Index shortest_resident_jump = 4096;

/// How many channels of an array are taken at a time, 0 for all.
///
/// @param read_bytes  bytes of the inputs of all channels
inline Index resident_channels(const Traversal& reduced, const Traversal& mapped, Index read_bytes,
                               Index threads) {
  const auto apart = [](const Traversal& traversal) {
    if (traversal.along_rows) return !traversal.cycles() && traversal.repeat > 1;
    return traversal.inner >= shortest_resident_run;
  };
  if (!apart(reduced) || !apart(mapped) || read_bytes <= resident_bytes()) return 0;
  const Index channels = reduced.channels;
  const Index of_channel = read_bytes / channels;
  if (channels < 2 * threads || of_channel > last_level_bytes() / 4) return 0;
  const Index share = threads == 1 ? channels : channels / (4 * threads);
  const Index together = (std::max<Index>)(1, (std::min)(resident_bytes() / of_channel, share));
  const bool jumps = has_short_runs(reduced) || has_short_runs(mapped);
  return jumps && together * of_channel / reduced.outer < shortest_resident_jump ? 0 : together;
}

/// Reduces every channel of some inputs, then maps every element, as reduce() and map() do. What
/// the map takes from the reduction is asked for when the channel is settled.
template <class C, class Map, class Reduction, class Coefficients, class T, std::size_t Outputs,
          std::size_t Reduced, std::size_t Mapped>
void reduce_and_map(const Execution& given, Reduction& reduction,
                    const Views<const T, Reduced>& reduced, const Coefficients& coefficients,
                    const Views<T, Outputs>& outputs, const Views<const T, Mapped>& mapped) {
  const auto plan = plan_of(Views<const T, 0>{}, reduced, std::index_sequence<>(),
                            std::make_index_sequence<Reduced>());
  const auto data = pointers_of(reduced);
  const Reducer<Reduction, T, Reduced> reducer(reduction, plan, data);
  const Mapper<C, Map, T, Mapped> mapper(coefficients, outputs, mapped);
  const Index channels = plan.traversal().channels;
  const Index elements = plan.traversal().elements();
  const Execution execution = given.for_elements(elements);
  const Index together = resident_channels(
      plan.traversal(), mapper.traversal(),
      elements * static_cast<Index>(sizeof(T) * (std::max)(Reduced, Mapped)), execution.threads());
  if (together == 0) {
    reducer.run(execution, 0, channels);
    mapper.run(execution);
    return;
  }
  const Execution alone = Execution::serial().with(execution.instruction_set());
  const Index groups = (channels + together - 1) / together;
  const Index tasks = execution.threads() == 1 ? 1 : (std::min)(groups, 8 * execution.threads());
  // Neighbours in turn, so that what a thread asks for ahead is its own.
  execution.for_each(tasks, [&](Index task) {
    const auto cut = [&](Index t) { return (std::min)(channels, t * groups / tasks * together); };
    const Index end = cut(task + 1);
    for (Index first = cut(task); first < end; first += together) {
      const Index last = (std::min)(end, first + together);
      reducer.run(alone, first, last);
      mapper.run_channels(alone, first, last, end);
    }
  });
}

}  // namespace loops
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_RESIDENT_HPP
