// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_UNIT_HPP
#define BATCHNORM_KERNELS_UNIT_HPP

#include <array>
#include <cstddef>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/instruction_set.hpp"
#include "batchnorm/kernels/instructions.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/kernels/simd_memory.hpp"
#include "batchnorm/kernels/tile.hpp"
#include "batchnorm/version.hpp"

// Kernels: a formula applied to a tile with the vectors of one instruction set. A formula that
// maps has
//
//   static constexpr int inputs, outputs, coefficients;   the most there are; optional ones last
//   static constexpr int required_inputs, required_coefficients;
//   static constexpr bool plain_with_epilogue;
//   static void apply<Plain>(V* y, const V* x, const V* k, const FormulaOptions<V>& options);
//                 Plain: without a residual and, unless plain_with_epilogue, without an epilogue
//
// and one that is summed has sums in place of outputs, and in place of apply
//
//   static void add<Plain>(V* s, const V* x, const V* k, const FormulaOptions<V>& options);
//                 adds the terms of one value. Input 0 being k[0] and the others 0, they are 0:
//                 with such values unused lanes are filled
//
// work on V, a vector or a single number. A unit is what one step of a kernel works on: a cache
// line of floats with AVX2, so that rows a multiple of 4 KiB apart need no line twice.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

template <class T, int Lanes>
inline constexpr int vectors_per_unit = Lanes == 1 ? 1
                                        : Lanes * sizeof(parameter_t<T>) >= simd::avx512_bytes &&
                                                !simd::is_16_bit<T>
                                            ? 1
                                            : 2;

/// Whether kernels take tiles with coefficients per column alone, and do not stream: all that
/// AVX-512 is used for where elements are not converted (set_for).
template <class T, int Lanes>
inline constexpr bool across_only = Lanes * sizeof(parameter_t<T>) >= simd::avx512_bytes &&
                                    !simd::is_16_bit<T>;

/// What mapping and reducing kernels share: loading coefficients and inputs of a unit.
template <class Formula, class T, int LaneCount>
struct Unit {
  using C = parameter_t<T>;
  static constexpr int lanes = LaneCount;
  static constexpr int vectors = vectors_per_unit<T, lanes>;
  static constexpr Index width = vectors * lanes;
  static constexpr int inputs = Formula::inputs;
  static constexpr int coefficients = Formula::coefficients;
  static constexpr std::size_t required_inputs = Formula::required_inputs;
  static constexpr std::size_t required_coefficients = Formula::required_coefficients;
  using V = simd::Vector<C, lanes>;
  /// Whether loops of their own for plain tiles are worth compiling: not in a kernel for processors
  /// without AVX2 where there is one for those that have it.
  static constexpr bool has_own_loops = simd::is_avx<V> || compiled_sets == 1;
  /// Of a unit across channels.
  struct Coefficients {
    V of[vectors][coefficients];
    [[gnu::always_inline]] const V* operator[](int v) const { return of[v]; }
  };
  /// Of a unit along a channel: one of each, which leaves registers for sums.
  struct RowCoefficients {
    V of[coefficients];
    [[gnu::always_inline]] const V* operator[](int) const { return of; }
  };

  /// Whether there is nothing that a tile of this formula could have besides.
  static constexpr bool always_plain = inputs == Formula::required_inputs &&
                                       coefficients == Formula::required_coefficients &&
                                       Formula::plain_with_epilogue;

  /// Whether a tile has no residual; nor an epilogue, where that would take registers from sums.
  [[gnu::always_inline]] static bool is_plain(const Tile<T>& tile) {
    if (always_plain) return true;
    return !tile.options->residual && (Formula::plain_with_epilogue || !tile.options->rectified);
  }

  /// The walk of a loop over a tile: across channels or along them.
  template <class Loop, class Setting>
  [[gnu::always_inline]] static void walk(const Tile<T>& tile, const Setting& setting) {
    if (across_only<T, lanes> || tile.per_column) return Loop::columns(tile, setting);
    if constexpr (!across_only<T, lanes>) Loop::rows(tile, setting);
  }

  [[gnu::always_inline]] static FormulaOptions<V> load_options(const Tile<T>& tile) {
    FormulaOptions<V> options;
    simd::broadcast<C, lanes>(options.slope, tile.options->slope);
    simd::broadcast<C, lanes>(options.inverse_slope, tile.options->inverse_slope);
    options.rectified = tile.options->rectified;
    options.residual = tile.options->residual;
    options.fixed_statistics = tile.options->fixed_statistics;
    return options;
  }

  /// Coefficients of the columns from `at` on.
  template <class Pointers>
  [[gnu::always_inline]] static void load_table(Coefficients& k, const Pointers& tables, Index at,
                                                const FormulaOptions<V>& options) {
#pragma GCC unroll 8
    for (std::size_t i = 0; i < coefficients; ++i) {
      const bool absent = i >= required_coefficients && !options.rectified;
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        if (absent) {
          k.of[v][i] = V{0};
        } else {
          simd::load<C, lanes>(k.of[v][i], tables[i] + at + v * lanes);
        }
      }
    }
  }

  /// Coefficients of a row, in every lane.
  [[gnu::always_inline]] static void broadcast_row(RowCoefficients& k, const Tile<T>& tile,
                                                   Index row) {
#pragma GCC unroll 8
    for (std::size_t i = 0; i < coefficients; ++i) {
      if (i >= required_coefficients && static_cast<int>(i) >= tile.coefficients) {
        k.of[i] = V{0};
      } else {
        simd::broadcast<C, lanes>(k.of[i], tile.k[i][row * tile.row_step]);
      }
    }
  }

  /// The lanes of vector v among the last `count` of a unit.
  using LastLanes = simd::LastLanes<C, lanes>;
  [[gnu::always_inline]] static LastLanes last_lanes(Index count, int v) {
    return LastLanes(count - (vectors - 1 - v) * lanes);
  }

  /// Coefficients of a unit whose last `count` lanes are of the next row.
  [[gnu::always_inline]] static void blend(Coefficients& both, const RowCoefficients& k,
                                           const RowCoefficients& next, Index count) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      const LastLanes last = last_lanes(count, v);
#pragma GCC unroll 8
      for (int i = 0; i < coefficients; ++i) {
        both.of[v][i] = next.of[i];
        last.keep(both.of[v][i], k.of[i]);
      }
    }
  }

  /// What a tile says of prefetching; a copy, which no store can change.
  struct Prefetch {
    [[gnu::always_inline]] explicit Prefetch(const Tile<T>& tile) : active(tile.prefetch) {
#pragma GCC unroll 4
      for (std::size_t i = 0; i < inputs; ++i) ahead[i] = tile.ahead[i];
    }
    bool active;
    Index ahead[inputs];
  };

  /// A residual that is not there is -0, which changes no number it is added to.
  template <bool Plain, class Pointers>
  [[gnu::always_inline]] static void load_inputs(V (&x)[vectors][inputs], const Pointers& from,
                                                 Index at, bool residual,
                                                 const Prefetch& prefetch) {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < (Plain ? required_inputs : inputs); ++i) {
      if (i >= required_inputs && !residual) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) simd::broadcast<C, lanes>(x[v][i], C(-0.0));
        continue;
      }
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) simd::load<C, lanes>(x[v][i], from[i] + at + v * lanes);
      if (prefetch.active) prefetch_line(from[i], at + prefetch.ahead[i]);
    }
  }
};

template <class T, int Bytes>
inline constexpr int lanes_for = simd::lanes_of<parameter_t<T>, Bytes>;
template <class T, int Bytes>
inline constexpr int width_for = lanes_for<T, Bytes>* vectors_per_unit<T, lanes_for<T, Bytes>>;

/// Enters the kernel of one instruction set, in place of all that demand more and are not compiled.
template <int Bytes, class T>
constexpr void enter_kernel(KernelTable<T>& table, InstructionSet set,
                            void (*kernel)(const Tile<T>&)) {
  for (int i = 0; i <= static_cast<int>(set); ++i) {
    table.kernels[i] = kernel;
    table.width[i] = width_for<T, Bytes>;
    table.lanes[i] = lanes_for<T, Bytes>;
  }
}

template <class Kernel, class Formula, class T>
constexpr KernelTable<T> make_kernel_table(void (*in_accumulator)(const Tile<T>&)) {
  KernelTable<T> table{{},
                       {},
                       {},
                       Formula::required_inputs,
                       Formula::required_coefficients,
                       Formula::coefficients,
                       in_accumulator};
  enter_kernel<simd::baseline_bytes>(table, InstructionSet::baseline, run_baseline<Kernel>);
  if constexpr (lanes_for<T, simd::baseline_bytes> != 1) {
    if constexpr (compiled_sets >= 2) {
      enter_kernel<simd::avx2_bytes>(table, InstructionSet::avx2, run_avx2<Kernel>);
    }
    if constexpr (compiled_sets >= 3) {
      enter_kernel<simd::avx512_bytes>(table, InstructionSet::best, run_avx512<Kernel>);
    }
  }
  return table;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_UNIT_HPP
