// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_KERNEL_HPP
#define BATCHNORM_KERNELS_KERNEL_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/instruction_set.hpp"
#include "batchnorm/kernels/memory.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/kernels/simd_memory.hpp"
#include "batchnorm/kernels/tile.hpp"
#include "batchnorm/version.hpp"

// Kernels: a formula applied to a tile with the vectors of one instruction set. A formula that maps,
//
//   static constexpr int inputs, outputs, coefficients;   the most there are; optional ones are last
//   static constexpr int required_inputs, required_coefficients;
//   static void apply(V* y, const V* x, const V* k, const FormulaOptions<V>& options);
//
// and one that is summed,
//
//   static constexpr int inputs, sums, coefficients, required_inputs, required_coefficients;
//   static void add(V* s, const V* x, const V* k, const FormulaOptions<V>& options);
//                 adds the terms of one value. Input 0 being k[0] and the others 0, they are 0: with
//                 such values unused lanes are filled
//
// work on V, a vector or a single number. A unit is what one step of a kernel works on: a cache line
// of floats with AVX2, so that rows a multiple of 4 KiB apart need no line twice.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

template <class T, int Lanes>
inline constexpr int vectors_per_unit =
    Lanes == 1                                                                          ? 1
    : Lanes * sizeof(parameter_t<T>) >= simd::avx512_bytes && !simd::is_16_bit<T> ? 1
                                                                                        : 2;

/// Pointers to where a kernel is in every operand, and steps between such places.
template <class T>
struct Cursor {
  std::array<const T*, max_inputs> from;
  std::array<T*, max_outputs> to;

  template <int Inputs, int Outputs>
  [[gnu::always_inline]] void advance(const std::array<Index, max_inputs>& from_step,
                                      const std::array<Index, max_outputs>& to_step) {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < Inputs; ++i) from[i] += from_step[i];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < Outputs; ++i) to[i] += to_step[i];
  }
};

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
  using Coefficients = V[vectors][coefficients];

  [[gnu::always_inline]] static FormulaOptions<V> load_options(const Tile<T>& tile) {
    FormulaOptions<V> options;
    simd::broadcast<C, lanes>(options.slope, tile.options->slope);
    simd::broadcast<C, lanes>(options.inverse_slope, tile.options->inverse_slope);
    options.rectified = tile.options->rectified;
    options.residual = tile.options->residual;
    options.fixed_statistics = tile.options->fixed_statistics;
    return options;
  }

  /// From column or row `at` on.
  [[gnu::always_inline]] static void load_coefficients(Coefficients& k, const Tile<T>& tile,
                                                       Index at) {
#pragma GCC unroll 8
    for (std::size_t i = 0; i < coefficients; ++i) {
      if (i >= required_coefficients && static_cast<int>(i) >= tile.coefficients) break;
      if (tile.per_column) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) simd::load<C, lanes>(k[v][i], tile.k[i] + at + v * lanes);
      } else {
        simd::broadcast<C, lanes>(k[0][i], tile.k[i][at]);
#pragma GCC unroll 4
        for (int v = 1; v < vectors; ++v) k[v][i] = k[0][i];
      }
    }
  }

  [[gnu::always_inline]] static void load_inputs(V (&x)[vectors][inputs], const Tile<T>& tile,
                                                 const std::array<const T*, max_inputs>& from) {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < inputs; ++i) {
      if (i >= required_inputs && static_cast<int>(i) >= tile.inputs) break;
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) simd::load<C, lanes>(x[v][i], from[i] + v * lanes);
      if (tile.prefetch) prefetch_line(from[i], tile.ahead[i]);
    }
  }
};

template <class Formula, class T>
class MapKernel {
 public:
  using Work = Tile<T>;
  using C = parameter_t<T>;

  template <int Bytes>
  [[gnu::always_inline]] static void run(const Tile<T>& tile) {
    Loop<simd::lanes_of<C, Bytes>>::run(tile);
  }

 private:
  template <int Lanes>
  struct Loop : Unit<Formula, T, Lanes> {
    using Base = Unit<Formula, T, Lanes>;
    using typename Base::Coefficients;
    using typename Base::V;
    using Base::inputs;
    using Base::vectors;
    using Base::width;
    static constexpr int outputs = Formula::outputs;

    [[gnu::always_inline]] static void run(const Tile<T>& tile) {
      const FormulaOptions<V> options = Base::load_options(tile);
      const Index units = tile.columns / width;
      const Index rest = tile.columns - units * width;
      const bool partial_group = tile.per_column && rest > 0;
      const Index groups = tile.per_column ? units + (partial_group ? 1 : 0) : tile.rows;
      const Index whole = tile.per_column ? tile.rows : units;
      std::array<Index, max_inputs> from_step;
      std::array<Index, max_outputs> to_step;
#pragma GCC unroll 4
      for (std::size_t i = 0; i < inputs; ++i) {
        from_step[i] = tile.per_column ? tile.from_step[i] : width;
      }
#pragma GCC unroll 4
      for (std::size_t i = 0; i < outputs; ++i) {
        to_step[i] = tile.per_column ? tile.to_step[i] : width;
      }
      Coefficients k = {};
      for (Index group = 0; group < groups; ++group) {
        Cursor<T> at{tile.from, tile.to};
        const bool partial = partial_group && group == units;
        const Index column = partial ? tile.columns - width : group * width;
#pragma GCC unroll 4
        for (std::size_t i = 0; i < inputs; ++i) {
          at.from[i] += tile.per_column ? column : group * tile.from_step[i];
        }
#pragma GCC unroll 4
        for (std::size_t i = 0; i < outputs; ++i) {
          at.to[i] += tile.per_column ? column : group * tile.to_step[i];
        }
        Base::load_coefficients(k, tile, tile.per_column ? column : group);
        Index masked = partial ? tile.rows : 0;
        if (!partial) {
          for (Index n = 0; n < whole; ++n) {
            map_unit<false>(at, tile, options, k, width);
            at.template advance<inputs, outputs>(from_step, to_step);
          }
          if (!tile.per_column && rest > 0) {
            masked = 1;
#pragma GCC unroll 4
            for (std::size_t i = 0; i < inputs; ++i) at.from[i] += rest - width;
#pragma GCC unroll 4
            for (std::size_t i = 0; i < outputs; ++i) at.to[i] += rest - width;
          }
        }
        for (; masked > 0; --masked) {
          map_unit<true>(at, tile, options, k, rest);
          at.template advance<inputs, outputs>(from_step, to_step);
        }
      }
    }

    template <bool Masked>
    [[gnu::always_inline]] static void map_unit(const Cursor<T>& at, const Tile<T>& tile,
                                                const FormulaOptions<V>& options,
                                                const Coefficients& k, Index count) {
      V x[vectors][inputs] = {};
      Base::load_inputs(x, tile, at.from);
      V y[outputs][vectors];
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        V of_vector[outputs];
        Formula::apply(of_vector, x[v], k[v], options);
#pragma GCC unroll 2
        for (int i = 0; i < outputs; ++i) y[i][v] = of_vector[i];
      }
#pragma GCC unroll 2
      for (std::size_t i = 0; i < outputs; ++i) {
        if (i > 0 && static_cast<int>(i) >= tile.outputs) break;
        if constexpr (Masked) {
          simd::store_last<C, Lanes, vectors>(at.to[i], y[i], count);
        } else {
          simd::store_unit<C, Lanes, vectors>(at.to[i], y[i]);
        }
      }
    }
  };
};

/// The most values that a lane adds up in its own type before two such sums are joined and widened:
/// the rounding of a sum of floats is that of about ten additions, however many values there are.
inline constexpr Index max_terms_per_lane = 8;
inline constexpr Index max_terms_per_total = 2 * max_terms_per_lane;

template <class Formula, class T>
class ReduceKernel {
 public:
  using Work = Tile<T>;
  using C = parameter_t<T>;
  using A = accumulator_t<T>;

  template <int Bytes>
  [[gnu::always_inline]] static void run(const Tile<T>& tile) {
    Loop<simd::lanes_of<C, Bytes>>::run(tile);
  }

  /// One row of one channel, in the type of the totals.
  static void run_in_accumulator(const Tile<T>& tile) {
    A k[Formula::coefficients] = {};
    for (std::size_t i = 0; i < static_cast<std::size_t>(tile.coefficients); ++i) {
      k[i] = convert<A>(*tile.k[i]);
    }
    const FormulaOptions<A> options{convert<A>(tile.options->slope),
                                    convert<A>(tile.options->inverse_slope),
                                    tile.options->rectified, tile.options->residual,
                                    tile.options->fixed_statistics};
    A s[Formula::sums] = {};
    for (Index c = 0; c < tile.columns; ++c) {
      A x[Formula::inputs] = {};
      for (std::size_t i = 0; i < static_cast<std::size_t>(tile.inputs); ++i) {
        x[i] = convert<A>(tile.from[i][c]);
      }
      Formula::add(s, x, k, options);
    }
    for (std::size_t j = 0; j < Formula::sums; ++j) *tile.sums[j] += s[j];
  }

 private:
  template <int Lanes>
  struct Loop : Unit<Formula, T, Lanes> {
    using Base = Unit<Formula, T, Lanes>;
    using typename Base::Coefficients;
    using typename Base::V;
    using Base::inputs;
    using Base::vectors;
    using Base::width;
    static constexpr int sums = Formula::sums;
    /// Two partial sums of everything, so that additions do not wait for one another.
    using Sums = V[2][vectors][sums];

    [[gnu::always_inline]] static void run(const Tile<T>& tile) {
      const FormulaOptions<V> options = Base::load_options(tile);
      const Index units = tile.columns / width;
      const Index rest = tile.columns - units * width;
      const bool partial_group = tile.per_column && rest > 0;
      const Index groups = tile.per_column ? units + (partial_group ? 1 : 0) : tile.rows;
      const Index whole = tile.per_column ? tile.rows : units;
      std::array<Index, max_inputs> step;
#pragma GCC unroll 4
      for (std::size_t i = 0; i < inputs; ++i) {
        step[i] = tile.per_column ? tile.from_step[i] : width;
      }
      Coefficients k = {};
      for (Index group = 0; group < groups; ++group) {
        std::array<const T*, max_inputs> at = tile.from;
        const bool partial = partial_group && group == units;
        const Index column = partial ? tile.columns - width : group * width;
#pragma GCC unroll 4
        for (std::size_t i = 0; i < inputs; ++i) {
          at[i] += tile.per_column ? column : group * tile.from_step[i];
        }
        Base::load_coefficients(k, tile, tile.per_column ? column : group);
        const Index total = tile.per_column ? column : group * Lanes;
        Index left = whole;
        do {
          const Index some = (std::min)(left, max_terms_per_total);
          left -= some;
          Sums s = {};
          Index masked = some;
          if (!partial) {
            add_whole(s, at, step, some, tile, options, k);
            masked = !tile.per_column && rest > 0 && left == 0 ? 1 : 0;
#pragma GCC unroll 4
            for (std::size_t i = 0; i < inputs; ++i) at[i] += masked * (rest - width);
          }
          for (; masked > 0; --masked) {
            take_turns(s);
            add_unit<true>(s[0], at, tile, options, k, rest);
            advance(at, step);
          }
          add_to_totals(tile, s, total);
        } while (left > 0);
      }
    }

    [[gnu::always_inline]] static void advance(std::array<const T*, max_inputs>& at,
                                               const std::array<Index, max_inputs>& step) {
#pragma GCC unroll 4
      for (std::size_t i = 0; i < inputs; ++i) at[i] += step[i];
    }

    /// Rows of a partial unit are added to the two partial sums by turns, as those of a whole one:
    /// the bits of a column do not depend on its place among others.
    [[gnu::always_inline]] static void take_turns(Sums& s) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
#pragma GCC unroll 2
        for (int j = 0; j < sums; ++j) {
          const V other = s[0][v][j];
          s[0][v][j] = s[1][v][j];
          s[1][v][j] = other;
        }
      }
    }

    [[gnu::always_inline]] static void add_whole(Sums& s, std::array<const T*, max_inputs>& at,
                                                 const std::array<Index, max_inputs>& step,
                                                 Index count, const Tile<T>& tile,
                                                 const FormulaOptions<V>& options,
                                                 const Coefficients& k) {
      for (; count >= 2; count -= 2) {
#pragma GCC unroll 2
        for (int part = 0; part < 2; ++part) {
          add_unit<false>(s[part], at, tile, options, k, width);
          advance(at, step);
        }
      }
      if (count == 0) return;
      add_unit<false>(s[0], at, tile, options, k, width);
      advance(at, step);
    }

    template <bool Masked>
    [[gnu::always_inline]] static void add_unit(V (&s)[vectors][sums],
                                                const std::array<const T*, max_inputs>& at,
                                                const Tile<T>& tile,
                                                const FormulaOptions<V>& options,
                                                const Coefficients& k, Index count) {
      V x[vectors][inputs] = {};
      Base::load_inputs(x, tile, at);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        if constexpr (Masked && Lanes > 1) {
          const Index kept = count - (vectors - 1 - v) * Lanes;
          const Index bytes = (std::max<Index>)(0, (std::min<Index>)(kept, Lanes)) *
                              static_cast<Index>(sizeof(C));
          simd::keep_last_bytes(x[v][0], k[v][0], bytes);
#pragma GCC unroll 4
          for (int i = 1; i < inputs; ++i) simd::keep_last_bytes(x[v][i], V{}, bytes);
        }
        Formula::add(s[v], x[v], k[v], options);
      }
    }

    /// Joins the partial sums of a lane and adds them to the totals of a unit or a row.
    [[gnu::always_inline]] static void add_to_totals(const Tile<T>& tile, const Sums& s, Index at) {
#pragma GCC unroll 2
      for (std::size_t j = 0; j < sums; ++j) {
        V of_vector[vectors];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) of_vector[v] = s[0][v][j] + s[1][v][j];
        if (!tile.per_column) {
#pragma GCC unroll 4
          for (int v = 1; v < vectors; ++v) of_vector[0] += of_vector[v];
          simd::add_lanes<C, Lanes>(tile.sums[j] + at, of_vector[0]);
          continue;
        }
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) {
          simd::add_lanes<C, Lanes>(tile.sums[j] + at + v * Lanes, of_vector[v]);
        }
      }
    }
  };
};

template <class T, int Bytes>
inline constexpr int lanes_for = simd::lanes_of<parameter_t<T>, Bytes>;
template <class T, int Bytes>
inline constexpr int width_for = lanes_for<T, Bytes> * vectors_per_unit<T, lanes_for<T, Bytes>>;

template <class Kernel, class Formula, class T>
constexpr KernelTable<T> make_kernel_table(void (*in_accumulator)(const Tile<T>&)) {
#if (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 9)) && defined(__x86_64__)
  if constexpr (lanes_for<T, simd::baseline_bytes> > 1) {
    return {{run_avx512<Kernel>, run_avx2<Kernel>, run_baseline<Kernel>},
            {width_for<T, simd::avx512_bytes>, width_for<T, simd::avx2_bytes>,
             width_for<T, simd::baseline_bytes>},
            {lanes_for<T, simd::avx512_bytes>, lanes_for<T, simd::avx2_bytes>,
             lanes_for<T, simd::baseline_bytes>},
            Formula::required_inputs,
            Formula::required_coefficients,
            Formula::coefficients,
            in_accumulator};
  }
#endif
  constexpr int width = width_for<T, simd::baseline_bytes>;
  constexpr int lanes = lanes_for<T, simd::baseline_bytes>;
  return {{run_baseline<Kernel>, run_baseline<Kernel>, run_baseline<Kernel>},
          {width, width, width},
          {lanes, lanes, lanes},
          Formula::required_inputs,
          Formula::required_coefficients,
          Formula::coefficients,
          in_accumulator};
}

template <class Formula, class T>
inline constexpr KernelTable<T> map_kernels =
    make_kernel_table<MapKernel<Formula, T>, Formula, T>(nullptr);
template <class Formula, class T>
inline constexpr KernelTable<T> reduce_kernels =
    make_kernel_table<ReduceKernel<Formula, T>, Formula, T>(
        &ReduceKernel<Formula, T>::run_in_accumulator);

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_KERNEL_HPP
