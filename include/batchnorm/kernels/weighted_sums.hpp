// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_WEIGHTED_SUMS_HPP
#define BATCHNORM_KERNELS_WEIGHTED_SUMS_HPP

#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/instruction_set.hpp"
#include "batchnorm/kernels/instructions.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/kernels/simd_memory.hpp"
#include "batchnorm/version.hpp"

// Sums with weights: in vectors of the accumulator, along the values of a channel and across
// channels. Compiled only where weights are.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Runs a kernel of masks or weights, which are compiled for AVX2 at most.
template <class Kernel>
void run_for_masks(InstructionSet set, const typename Kernel::Work& work) {
  if constexpr (compiled_sets >= 2) {
    if (set != InstructionSet::baseline) return run_avx2<Kernel>(work);
  }
  static_cast<void>(set);
  run_baseline<Kernel>(work);
}

/// Neighbouring elements as vectors of the accumulator.
template <class T, int Lanes, int Count>
[[gnu::always_inline]] inline void load_in_accumulator(
    simd::Vector<accumulator_t<T>, Lanes> (&x)[Count], const T* from) {
  using A = accumulator_t<T>;
  if constexpr (Lanes > 1 && simd::is_16_bit<T>) {
#pragma GCC unroll 4
    for (int pair = 0; pair < Count; pair += 2) {
      simd::Vector<float, 2 * Lanes> narrow;
      simd::load<float, 2 * Lanes>(narrow, from + pair * Lanes);
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        simd::Vector<float, Lanes> some;
        simd::read<float, Lanes>(some, reinterpret_cast<const float*>(&narrow) + half * Lanes);
        simd::widen_lanes<A, float, Lanes>(x[pair + half], some);
      }
    }
  } else {
#pragma GCC unroll 4
    for (int v = 0; v < Count; ++v) simd::load<A, Lanes>(x[v], from + v * Lanes);
  }
}

/// Some values of a channel and their weights: sum(w d) and sum(w d^2), d = x - pivot, are added to
/// two numbers.
template <class T>
struct WeightedLine {
  using A = accumulator_t<T>;
  const T* x;
  const double* weights;
  Index count;
  parameter_t<T> pivot;
  A* sum;
  A* square_sum;
  Index ahead;  ///< elements from what is read to what is prefetched; 0: nothing is
};

template <class T>
class WeightedLineKernel {
  using A = accumulator_t<T>;

 public:
  using Work = WeightedLine<T>;
  template <int Bytes>
  [[gnu::always_inline]] static void run(const Work& line) {
    constexpr int lanes = simd::lanes_of<A, Bytes>;
    constexpr Index width = 2 * lanes;
    using V = simd::Vector<A, lanes>;
    const T* const x = line.x;
    const double* const weights = line.weights;
    const Index count = line.count;
    const A pivot = convert<A>(line.pivot);
    V pivots;
    simd::broadcast<A, lanes>(pivots, pivot);
    V sums[2] = {V{0}, V{0}};
    V squares[2] = {V{0}, V{0}};
    Index i = 0;
    for (; i + width <= count; i += width) {
      V some[2];
      load_in_accumulator<T, lanes, 2>(some, x + i);
      if (line.ahead != 0) prefetch_line(x + i, line.ahead);
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        V weight;
        simd::load<A, lanes>(weight, weights + i + v * lanes);
        const V deviation = some[v] - pivots;
        const V weighted = weight * deviation;
        sums[v] += weighted;
        squares[v] += weighted * deviation;
      }
    }
    sums[0] += sums[1];
    squares[0] += squares[1];
    A sum = simd::sum_of_lanes<A, lanes>(sums[0]);
    A square_sum = simd::sum_of_lanes<A, lanes>(squares[0]);
    for (; i < count; ++i) {
      const A deviation = convert<A>(x[i]) - pivot;
      const A weighted = A(weights[i]) * deviation;
      sum += weighted;
      square_sum += weighted * deviation;
    }
    *line.sum += sum;
    *line.square_sum += square_sum;
  }
};

/// Neighbouring channels of some values, a row each: the same sums, added to tables of them.
template <class T>
struct WeightedRows {
  using A = accumulator_t<T>;
  static constexpr Index most = 16;  ///< rows
  static constexpr Index unit = 16;  ///< of the columns there is a multiple

  const T* const* rows;
  const T* const* next;  ///< rows that are prefetched meanwhile; null: none are
  const double* weights;
  Index count;
  Index first;  ///< column of the rows; tables begin with it
  Index columns;
  const A* pivots;
  A* sums;
  A* squares;
};

template <class T>
class WeightedRowsKernel {
  using A = accumulator_t<T>;

 public:
  using Work = WeightedRows<T>;
  /// A cache line of floats with AVX2: its sums stay in registers.
  template <int Bytes>
  [[gnu::always_inline]] static void run(const Work& work) {
    constexpr int lanes = simd::lanes_of<A, Bytes>;
    constexpr int vectors = lanes > 1 ? 4 : 1;
    using V = simd::Vector<A, lanes>;
    const Work rows = work;
    for (Index c = 0; c < rows.columns; c += vectors * lanes) {
      V sums[vectors], squares[vectors], pivots[vectors];
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        sums[v] = squares[v] = V{0};
        simd::load<A, lanes>(pivots[v], rows.pivots + c + v * lanes);
      }
      for (Index r = 0; r < rows.count; ++r) {
        V x[vectors], weight;
        load_in_accumulator<T, lanes, vectors>(x, rows.rows[r] + rows.first + c);
        if (rows.next != nullptr) prefetch_line(rows.next[r], rows.first + c);
        simd::broadcast<A, lanes>(weight, A(rows.weights[r]));
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) {
          const V deviation = x[v] - pivots[v];
          const V weighted = weight * deviation;
          sums[v] += weighted;
          squares[v] += weighted * deviation;
        }
      }
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        simd::add_lanes<A, lanes>(rows.sums + c + v * lanes, sums[v]);
        simd::add_lanes<A, lanes>(rows.squares + c + v * lanes, squares[v]);
      }
    }
  }
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_WEIGHTED_SUMS_HPP
