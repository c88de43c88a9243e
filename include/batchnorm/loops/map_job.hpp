// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_MAP_JOB_HPP
#define BATCHNORM_LOOPS_MAP_JOB_HPP

#include <array>
#include <cstddef>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/numbers.hpp"
#include "batchnorm/loops/partition.hpp"
#include "batchnorm/loops/traversal.hpp"
#include "batchnorm/version.hpp"

// What one region of loop 2 is: operands, numbers, and how to go through memory.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

/// One number of each operand of a map: pointers into them, or the steps between elements.
template <class T, std::size_t Inputs, std::size_t Outputs>
struct MapData {
  std::array<T*, Outputs> to;
  std::array<const T*, Inputs> from;
};
template <std::size_t Inputs, std::size_t Outputs>
struct MapSteps {
  std::array<Index, Outputs> to;
  std::array<Index, Inputs> from;
};

/// How a map goes through memory.
struct MapMemory {
  bool streaming;  ///< write past the cache where that can be done
  bool distant;    ///< the inputs come from memory
  Index ahead;     ///< elements from each input to what is read after this region; 0 for nothing
};

/// What one region of a map needs to know.
template <class Compute, class Formula, class Element, std::size_t InputCount>
struct MapJob {
  using C = Compute;
  using Map = Formula;
  using T = Element;
  static constexpr std::size_t inputs = InputCount;
  static constexpr std::size_t outputs = Map::outputs;
  using Data = MapData<T, inputs, outputs>;
  using Steps = MapSteps<inputs, outputs>;

  const Numbers<C, Map::coefficients>& numbers;
  const C* constants;
  const Plan<outputs + inputs>& plan;
  const Data& data;
  const Region& region;
  MapMemory memory;

  [[gnu::always_inline]] Data locate(Index column, Index outer, Index inner) const {
    return {plan.template locate<0>(data.to, column, outer, inner),
            plan.template locate<outputs>(data.from, column, outer, inner)};
  }
  [[gnu::always_inline]] Steps steps(Index Layout::*axis) const {
    return {plan.template steps<0, outputs>(axis), plan.template steps<outputs, inputs>(axis)};
  }
};

}  // namespace loops
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_MAP_JOB_HPP
