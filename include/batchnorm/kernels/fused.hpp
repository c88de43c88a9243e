// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_FUSED_HPP
#define BATCHNORM_KERNELS_FUSED_HPP

#include <algorithm>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/map.hpp"
#include "batchnorm/kernels/partition.hpp"
#include "batchnorm/kernels/reduce.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/version.hpp"

// Both loops on channel-major (NCHW) data: some channels are reduced and then mapped while they are
// in the cache, before the next ones are touched. Where channels are interleaved (NHWC), and where
// everything fits the cache anyway, all are reduced and then all are mapped. The bits are the same.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// How many channels are taken at a time, 0 for all.
///
/// @param read_bytes  bytes of the inputs of all channels
inline Index fused_channels(const Traversal& reduced, const Traversal& mapped, Index read_bytes,
                            Index threads) {
  const auto channel_major = [](const Traversal& shape) {
    if (shape.along_rows) return !shape.channels_wrap() && shape.columns_per_channel > 1;
    return shape.inner >= min_fused_run;
  };
  if (!channel_major(reduced) || !channel_major(mapped) || read_bytes <= resident_bytes()) return 0;
  const Index channels = reduced.channels;
  const Index of_channel = read_bytes / channels;
  if (channels < 2 * threads || of_channel > last_level_bytes() / 4) return 0;
  const Index share = threads == 1 ? channels : channels / (4 * threads);
  const Index together = (std::max<Index>)(1, (std::min)(resident_bytes() / of_channel, share));
  const bool jumps = reduced.along_rows || has_short_runs(reduced) || has_short_runs(mapped);
  const Index runs = reduced.along_rows ? reduced.rows() : reduced.outer;
  return jumps && together * of_channel / runs < min_fused_jump_bytes ? 0 : together;
}

/// body(first channel, last, end of the task), some channels at a time, which are together read and
/// written. Each task has neighbouring channels, so that a thread prefetches its own data.
template <class Body>
void for_groups(const Execution& execution, Index channels, Index together, const Body& body) {
  const Index groups = (channels + together - 1) / together;
  const Index tasks = execution.threads() == 1 ? 1 : (std::min)(groups, 8 * execution.threads());
  execution.for_each(tasks, [&](Index task) {
    const auto cut = [&](Index t) { return (std::min)(channels, t * groups / tasks * together); };
    const Index end = cut(task + 1);
    for (Index first = cut(task); first < end; first += together) {
      body(first, (std::min)(end, first + together), end);
    }
  });
}

/// One call of each loop on the same minibatch.
template <class T>
struct ReduceAndMap {
  Reduction<T>& reduction;
  const FormulaCall<T>& reduce_call;
  const Operands<T>& reduced;
  const FormulaCall<T>& map_call;
  const Operands<T>& mapped;
  std::size_t sums;
};

/// Reduces every channel, then maps every element. The map's coefficients are computed when the
/// channel is finished.
///
/// @param outputs, inputs  the shapes of the map's operands; the reduction's inputs are the first
///                         of them
template <class T>
void reduce_and_map(const Execution& given, const ReduceAndMap<T>& work, const ViewShape* outputs,
                    const ViewShape* inputs) {
  const Plan plan = plan_of(work.reduced, outputs, inputs);
  const Reducer<T> reducer(work.reduction, work.reduce_call, work.reduced, plan, work.sums);
  const Mapper<T> mapper(work.map_call, work.mapped, plan_of(work.mapped, outputs, inputs));
  const Index channels = plan.traversal().channels;
  const Index elements = plan.traversal().elements();
  const Execution execution = given.for_elements(elements);
  const Index together = fused_channels(
      plan.traversal(), mapper.traversal(),
      elements * static_cast<Index>(sizeof(T) * work.mapped.inputs), execution.threads());
  if (together == 0) {
    reducer.run(execution, 0, channels);
    mapper.run(execution);
    return;
  }
  const Execution alone = Execution::serial().with(execution.instruction_set());
  for_groups(execution, channels, together, [&](Index first, Index last, Index end) {
    reducer.run(alone, first, last);
    mapper.run_channels(execution.instruction_set(), first, last, end);
  });
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_FUSED_HPP
