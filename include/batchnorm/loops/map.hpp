// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_MAP_HPP
#define BATCHNORM_LOOPS_MAP_HPP

#include <algorithm>
#include <array>
#include <cstddef>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/execution.hpp"
#include "batchnorm/loops/partition.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/loops/traversal.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"

// Loop 2: every element of a channel is mapped with that channel's numbers. A formula has two
// parts. The map itself:
//
//   static constexpr int coefficients = K;
//   static void apply(V& y, const V* x, const V* k);     V is a number or a vector of type C
//
// and where its coefficients come from:
//
//   void operator()(Index channel, C* k) const;
//
// Whole vectors, the odd lanes at the end and single numbers all go through the same apply(), so
// that an element's bits do not depend on where in memory or in the minibatch it stands.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

/// One number of each operand of a map: pointers into them, or the steps between elements.
template <class T, std::size_t Inputs>
struct MapData {
  T* to;
  std::array<const T*, Inputs> from;
};
template <std::size_t Inputs>
struct MapSteps {
  Index to;
  std::array<Index, Inputs> from;
};

/// Maps one region; run<Bytes>() is the body for one vector width.
template <class C, class Map, class Coefficients, class T, std::size_t Inputs>
class RegionMapper {
  static constexpr int K = Map::coefficients;
  using Data = MapData<T, Inputs>;

 public:
  RegionMapper(const Coefficients& coefficients, const Plan<Inputs + 1>& plan, const Data& data,
               const Region& region)
      : coefficients_(coefficients),
        plan_(plan),
        traversal_(plan.traversal()),
        data_(data),
        region_(region) {}

  template <int Bytes>
  [[gnu::always_inline]] void run() const {
    constexpr int lanes = simd::lanes_of<C, Bytes>;
    const bool contiguous = plan_.contiguous();
    if (traversal_.across_channels) {
      contiguous ? across<lanes, true>() : across<lanes, false>();
    } else {
      contiguous ? along<lanes, true>() : along<lanes, false>();
    }
  }

 private:
  template <int Lanes>
  using V = simd::Vector<C, Lanes>;

  using Steps = MapSteps<Inputs>;

  [[gnu::always_inline]] Data locate(Index channel, Index outer, Index inner) const {
    return {data_.to + plan_.layouts()[0].offset(channel, outer, inner),
            plan_.template locate<1>(data_.from, channel, outer, inner)};
  }

  [[gnu::always_inline]] Steps steps(Index Layout::*axis) const {
    return {plan_.layouts()[0].*axis, plan_.template steps<1, Inputs>(axis)};
  }

  template <int Lanes, bool Contiguous>
  [[gnu::always_inline]] void along() const {
    const Steps step = steps(&Layout::inner_stride);
    for (Index channel = region_.first_channel; channel < region_.last_channel; ++channel) {
      C numbers[K];
      coefficients_(channel, numbers);
      V<Lanes> k[K];
#pragma GCC unroll 8
      for (int i = 0; i < K; ++i) simd::broadcast<C, Lanes>(k[i], numbers[i]);
      for (Runs run(traversal_, region_.first_value, region_.last_value); run.more(); run.next()) {
        const Data at = locate(channel, run.outer(), run.inner());
        Index done = 0;
        for (; done + Lanes <= run.length(); done += Lanes) {
          map_vector<Lanes, Contiguous>(at, step, done, k);
        }
        if (done < run.length()) map_some<Lanes>(at, step, done, run.length() - done, k);
      }
    }
  }

  /// The coefficients of a block of channels, padded for whole vectors.
  struct Scratch {
    C of[K][most_channels_across];
  };

  template <int Lanes, bool Contiguous>
  [[gnu::always_inline]] void across() const {
    Scratch scratch;
    for (Index first = region_.first_channel; first < region_.last_channel;
         first += most_channels_across) {
      const Index channels = (std::min)(most_channels_across, region_.last_channel - first);
      for (Index c = 0; c < channels; ++c) {
        C numbers[K];
        coefficients_(first + c, numbers);
#pragma GCC unroll 8
        for (int i = 0; i < K; ++i) scratch.of[i][c] = numbers[i];
      }
      rows_across<Lanes, Contiguous>(first, channels, scratch);
    }
  }

  template <int Lanes, bool Contiguous>
  [[gnu::always_inline]] void rows_across(Index first, Index channels,
                                          const Scratch& scratch) const {
    const Steps step = steps(&Layout::channel_stride);
    const Steps row_step = steps(&Layout::inner_stride);
    const Index whole = channels - channels % Lanes;
    for (Runs run(traversal_, region_.first_value, region_.last_value); run.more(); run.next()) {
      Data at = locate(first, run.outer(), run.inner());
      for (Index row = 0; row < run.length(); ++row) {
        V<Lanes> k[K] = {};
        for (Index c = 0; c < whole; c += Lanes) {
#pragma GCC unroll 8
          for (int i = 0; i < K; ++i) simd::load<C, Lanes, true>(k[i], scratch.of[i] + c, 1);
          map_vector<Lanes, Contiguous>(at, step, c, k);
        }
        if (whole < channels) {
#pragma GCC unroll 8
          for (int i = 0; i < K; ++i) {
            simd::load_some<C, Lanes>(k[i], scratch.of[i] + whole, 1, channels - whole);
          }
          map_some<Lanes>(at, step, whole, channels - whole, k);
        }
        at.to += row_step.to;
#pragma GCC unroll 8
        for (std::size_t i = 0; i < Inputs; ++i) at.from[i] += row_step.from[i];
      }
    }
  }

  template <int Lanes, bool Contiguous>
  [[gnu::always_inline]] static void map_vector(const Data& at, const Steps& step, Index done,
                                                const V<Lanes>* k) {
    V<Lanes> x[Inputs];
#pragma GCC unroll 8
    for (std::size_t i = 0; i < Inputs; ++i) {
      simd::load<C, Lanes, Contiguous>(x[i], at.from[i] + done * (Contiguous ? 1 : step.from[i]),
                                       step.from[i]);
    }
    V<Lanes> y;
    Map::apply(y, x, k);
    simd::store<C, Lanes, Contiguous>(at.to + done * (Contiguous ? 1 : step.to), step.to, y);
  }

  template <int Lanes>
  [[gnu::always_inline]] static void map_some(const Data& at, const Steps& step, Index done,
                                              Index count, const V<Lanes>* k) {
    V<Lanes> x[Inputs] = {};
#pragma GCC unroll 8
    for (std::size_t i = 0; i < Inputs; ++i) {
      simd::load_some<C, Lanes>(x[i], at.from[i] + done * step.from[i], step.from[i], count);
    }
    V<Lanes> y;
    Map::apply(y, x, k);
    simd::store_some<C, Lanes>(at.to + done * step.to, step.to, y, count);
  }

  const Coefficients& coefficients_;
  const Plan<Inputs + 1>& plan_;
  const Traversal& traversal_;
  const Data& data_;
  const Region& region_;
};

/// Maps every element of some inputs of one shape to the output; an output that is one of the
/// inputs is in place. Nothing is allocated.
///
/// @tparam C  the type that is computed in
/// @tparam Map  the formula; see the top of this file
template <class C, class Map, class Coefficients, class T, class... Inputs>
void map(const Execution& execution, const Coefficients& coefficients, const BatchView<T>& output,
         const Inputs&... inputs) {
  if (output.empty()) return;
  constexpr std::size_t count = sizeof...(Inputs);
  const Plan<count + 1> plan(output, inputs...);
  const MapData<T, count> data = {output.data(), {inputs.data()...}};
  const Traversal& traversal = plan.traversal();
  const auto map_region = [&](const Region& region) {
    simd::dispatch(execution.instruction_set(),
                   RegionMapper<C, Map, Coefficients, T, count>(coefficients, plan, data, region));
  };
  const Index elements = traversal.channels * traversal.values();
  if (execution.threads() == 1 || elements < 2 * elements_per_task) {
    map_region({0, traversal.channels, 0, traversal.values()});
    return;
  }
  const Partition partition(traversal);
  execution.for_each(partition.blocks * partition.slices, [&](Index task) {
    map_region(partition.region(traversal, task / partition.slices, task % partition.slices));
  });
}

}  // namespace loops
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_MAP_HPP
