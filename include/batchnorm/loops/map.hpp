// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_MAP_HPP
#define BATCHNORM_LOOPS_MAP_HPP

#include <array>
#include <cstddef>
#include <utility>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/cache.hpp"
#include "batchnorm/loops/execution.hpp"
#include "batchnorm/loops/map_job.hpp"
#include "batchnorm/loops/map_region.hpp"
#include "batchnorm/loops/map_run.hpp"
#include "batchnorm/loops/numbers.hpp"
#include "batchnorm/loops/partition.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/loops/simd_dispatch.hpp"
#include "batchnorm/loops/simd_memory.hpp"
#include "batchnorm/loops/traversal.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"

// Loop 2: every element of a channel is mapped with that channel's numbers. A formula has two
// parts. The map itself, a MapFormula<K, M, O>:
//
//   static void apply(V* y, const V* x, const V* k);     V is a number or a vector of type C; k has
//                                                        K numbers of the channel, then M constants
//
// and where its numbers come from:
//
//   void operator()(Index channel, C* k) const;          the K numbers of a channel, or write()
//   void constants(C* k) const;                          the M constants, when there are any
//   void tables(const C** tables) const;                 optional (all in numbers.hpp)

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

/// How many numbers a map takes and gives.
template <int Coefficients, int Constants = 0, std::size_t Outputs = 1>
struct MapFormula {
  static constexpr int coefficients = Coefficients;
  static constexpr int constants = Constants;
  static constexpr std::size_t outputs = Outputs;
};

template <class T, std::size_t N>
using Views = std::array<BatchView<T>, N>;

/// The plan of some outputs and inputs, or of inputs alone.
template <class To, class From, std::size_t O, std::size_t I, std::size_t... Os, std::size_t... Is>
Plan<O + I> plan_of(const Views<To, O>& outputs, const Views<From, I>& inputs,
                    std::index_sequence<Os...>, std::index_sequence<Is...>) {
  static_cast<void>(outputs);  // there may be none
  return Plan<O + I>(outputs[Os]..., inputs[Is]...);
}

template <class T, std::size_t N>
std::array<T*, N> pointers_of(const Views<T, N>& views) {
  std::array<T*, N> pointers;
  for (std::size_t i = 0; i < N; ++i) pointers[i] = views[i].data();
  return pointers;
}

/// Loop 2 over a plan's operands; see the top of this file.
template <class C, class Map, class T, std::size_t Inputs>
class Mapper {
 public:
  static constexpr std::size_t outputs = Map::outputs;

  template <class Coefficients>
  Mapper(const Coefficients& coefficients, const Views<T, outputs>& to,
         const Views<const T, Inputs>& from)
      : numbers_(coefficients),
        plan_(plan_of(to, from, std::make_index_sequence<outputs>(),
                      std::make_index_sequence<Inputs>())),
        data_{pointers_of(to), pointers_of(from)},
        streaming_(worth_streaming(bytes())) {
    if constexpr (Map::constants > 0) coefficients.constants(constants_);
  }

  const Traversal& traversal() const { return plan_.traversal(); }

  /// Bytes of all operands, each counted once.
  Index bytes() const {
    return traversal().elements() * static_cast<Index>((outputs + Inputs) * sizeof(T));
  }

  /// Maps all, on as many threads as there are and are worth it.
  void run(const Execution& given) const {
    const Execution execution = given.for_elements(traversal().elements());
    if (execution.threads() == 1) {
      map_region(execution, {0, traversal().columns, 0, traversal().rows()});
      return;
    }
    const MapPartition partition(traversal(), execution.threads());
    execution.for_each(partition.tasks(),
                       [&](Index task) { map_region(execution, partition.region(task)); });
  }

  /// Maps the channels [first, last), on this thread, and meanwhile asks for as many of the next
  /// ones, unless `last` is `end` or they are in the last-level cache: measured on Emerald Rapids,
  /// asking for those takes 1.1 times as long as not to ask.
  void run_channels(const Execution& execution, Index first, Index last, Index end) const {
    const Index repeat = traversal().repeat;
    // Inputs are laid out alike, or the vectors would not go along the same axis.
    const Index share = bytes() / traversal().channels * (last - first);
    const bool distant = streaming_ && share <= 8 * resident_bytes();
    const Index ahead = distant && last < end
                            ? (last - first) * repeat * plan_.layouts()[outputs].column_stride
                            : 0;
    map_region(execution, {first * repeat, last * repeat, 0, traversal().rows()}, ahead);
  }

 private:
  void map_region(const Execution& execution, const Region& region, Index ahead = 0) const {
    const MapJob<C, Map, T, Inputs> job{numbers_, constants_, plan_,
                                        data_,    region,     {streaming_, is_far(bytes()), ahead}};
    loops::map_region(execution.instruction_set(), job);
    if (streaming_) simd::finish_streaming();
  }

  Numbers<C, Map::coefficients> numbers_;
  C constants_[Map::constants + 1] = {};
  Plan<outputs + Inputs> plan_;
  MapData<T, Inputs, outputs> data_;
  bool streaming_;
};

/// Whether views are one row of neighbouring elements.
template <class T, std::size_t N>
bool are_single_rows(const Views<T, N>& views) {
  bool single = true;
  for (const BatchView<T>& view : views) {
    single = single && view.values_per_channel() == 1 && view.channel_stride() == 1;
  }
  return single;
}

/// Maps every element of some inputs of one shape to the outputs; an output that is one of the
/// inputs is in place. Nothing is allocated.
///
/// @tparam C  the type that is computed in
/// @tparam Map  the formula; see the top of this file
template <class C, class Map, class Coefficients, class T, std::size_t Outputs, std::size_t Inputs>
void map(const Execution& execution, const Coefficients& coefficients,
         const Views<T, Outputs>& outputs, const Views<const T, Inputs>& inputs) {
  static_assert(Outputs == Map::outputs, "as many outputs as the formula has");
  if (outputs[0].empty()) return;
  if constexpr (has_tables<Coefficients, C>) {
    if (are_single_rows(outputs) && are_single_rows(inputs)) {
      using Job = MapJob<C, Map, T, Inputs>;
      const typename Job::Data data{pointers_of(outputs), pointers_of(inputs)};
      typename SingleRowMapper<Job>::Tables tables;
      coefficients.tables(tables.data());
      C constants[Map::constants + 1] = {};
      if constexpr (Map::constants > 0) coefficients.constants(constants);
      simd::dispatch(execution.instruction_set(),
                     SingleRowMapper<Job>(data, tables, constants, outputs[0].channels()));
      return;
    }
  }
  Mapper<C, Map, T, Inputs>(coefficients, outputs, inputs).run(execution);
}

}  // namespace loops
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_MAP_HPP
