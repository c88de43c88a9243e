// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_FUSED_HPP
#define BATCHNORM_KERNELS_FUSED_HPP

#include <algorithm>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/map.hpp"
#include "batchnorm/kernels/partition.hpp"
#include "batchnorm/kernels/reduce.hpp"
#include "batchnorm/kernels/selected.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/version.hpp"

// Both loops on channel-major (NCHW) data: some channels are reduced and then mapped while they are
// in the cache, before the next ones are touched. Where channels are interleaved (NHWC), and where
// everything fits the cache anyway, all are reduced and then all are mapped. The bits are the same.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Whether inputs of so many bytes are in the cache when they are read again.
inline bool stays_resident(Index read_bytes) {
  return read_bytes <= resident_bytes();
}

/// How many channels are taken at a time, 0 for all.
///
/// @param read_bytes  bytes of the inputs of all channels
inline Index fused_channels(const Traversal& reduced, const Traversal& mapped, Index read_bytes,
                            Index threads) {
  const auto channel_major = [](const Traversal& shape) {
    if (shape.along_rows) return !shape.channels_wrap() && shape.columns_per_channel > 1;
    return shape.inner >= min_fused_run;
  };
  if (!channel_major(reduced) || !channel_major(mapped) || stays_resident(read_bytes)) return 0;
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

/// Both loops over the same operands: plans once, then either reduces and maps some channels at a
/// time, or all of them, one loop after the other.
template <class T>
class ReducerAndMapper {
 public:
  /// @param outputs, inputs  the shapes of the map's operands; the reduction's inputs are the first
  ///                         of them
  ReducerAndMapper(const Execution& given, const ReduceAndMap<T>& work, const ViewShape* outputs,
                   const ViewShape* inputs)
      : plan_(plan_of(work.reduced, outputs, inputs)),
        reducer_(work.reduction, work.reduce_call, work.reduced, plan_, work.sums),
        mapper_(work.map_call, work.mapped, plan_of(work.mapped, outputs, inputs)),
        execution_(given.for_elements(plan_.traversal().elements())) {
    const Traversal& shape = plan_.traversal();
    together_ =
        fused_channels(shape, mapper_.traversal(),
                       shape.elements() * static_cast<Index>(sizeof(T) * work.mapped.inputs),
                       execution_.threads());
  }
  ReducerAndMapper(const ReducerAndMapper&) = delete;
  ReducerAndMapper& operator=(const ReducerAndMapper&) = delete;

  /// Whether channels are written before others have been read.
  bool is_fused() const { return together_ > 0; }

  /// A few channels at a time; where is_fused().
  void run_fused() const {
    const Execution alone = Execution::serial().with(execution_.instruction_set());
    for_groups(execution_, channels(), together_, [&](Index first, Index last, Index end) {
      reducer_.run(alone, first, last);
      mapper_.run_channels(execution_.instruction_set(), first, last, end);
    });
  }
  /// Each loop by itself.
  void reduce() const { reducer_.run(execution_, 0, channels()); }
  void map() const { mapper_.run(execution_); }

 private:
  Index channels() const { return plan_.traversal().channels; }

  Plan plan_;
  Reducer<T> reducer_;
  Mapper<T> mapper_;
  Execution execution_;
  Index together_;
};

/// Loops over a selection of the same minibatch: some channels at a time where that saves a pass
/// over memory, otherwise all.
template <class T>
class FusedGroups {
 public:
  FusedGroups(const Execution& given, const Operands<T>& reduced, const Operands<T>& mapped,
              const ViewShape* outputs, const ViewShape* inputs)
      : given_(given), channels_(inputs[0].channels) {
    const Plan reduces = plan_of(reduced, outputs, inputs);
    const Plan maps = plan_of(mapped, outputs, inputs);
    const Index elements = reduces.traversal().elements();
    execution_ = given.for_elements(elements);
    together_ = fused_channels(reduces.traversal(), maps.traversal(),
                               elements * static_cast<Index>(sizeof(T) * mapped.inputs),
                               execution_.threads());
  }

  /// Whether channels are written before others have been read.
  bool is_fused() const { return together_ > 0; }

  /// body(execution, channels) for all of them.
  template <class Body>
  void run(const Body& body) const {
    if (!is_fused()) return body(given_, ChannelRange{0, channels_});
    const Execution alone = Execution::serial().with(execution_.instruction_set());
    for_groups(execution_, channels_, together_, [&](Index first, Index last, Index end) {
      body(alone, ChannelRange{first, last, last < end ? last - first : 0});
    });
  }

 private:
  Execution given_;
  Execution execution_;
  Index channels_;
  Index together_ = 0;
};

/// Reduces every channel, then maps every element. The map's coefficients are computed when the
/// channel is finished.
template <class T>
void reduce_and_map(const Execution& given, const ReduceAndMap<T>& work, const ViewShape* outputs,
                    const ViewShape* inputs) {
  const ReducerAndMapper<T> loops(given, work, outputs, inputs);
  if (loops.is_fused()) return loops.run_fused();
  loops.reduce();
  loops.map();
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_FUSED_HPP
