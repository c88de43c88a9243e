// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_REDUCE_KERNEL_HPP
#define BATCHNORM_KERNELS_REDUCE_KERNEL_HPP

#include <algorithm>
#include <array>
#include <cstddef>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/kernels/tile.hpp"
#include "batchnorm/kernels/unit.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// The most values that a lane adds up in its own type before two such sums are joined and widened:
/// the rounding of a sum of floats is that of about ten additions, however many values there are.
inline constexpr Index max_terms_per_lane = 8;
inline constexpr Index max_terms_per_total = 2 * max_terms_per_lane;

/// Sums the terms of a formula over a tile (unit.hpp).
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
    A k[Formula::coefficients];
    std::fill(k, k + Formula::coefficients, A(0));
    for (std::size_t i = 0; i < static_cast<std::size_t>(tile.coefficients); ++i) {
      k[i] = convert<A>(*tile.k[i]);
    }
    const FormulaOptions<A> options{
        convert<A>(tile.options->slope), convert<A>(tile.options->inverse_slope),
        tile.options->rectified, tile.options->residual, tile.options->fixed_statistics};
    A s[Formula::sums];
    std::fill(s, s + Formula::sums, A(0));
    for (Index c = 0; c < tile.columns; ++c) {
      A x[Formula::inputs];
      std::fill(x, x + Formula::inputs, A(-0.0));
      for (std::size_t i = 0; i < static_cast<std::size_t>(tile.inputs); ++i) {
        x[i] = convert<A>(tile.from[i][c]);
      }
      Formula::template add<false>(s, x, k, options);
    }
    for (std::size_t j = 0; j < Formula::sums; ++j) *tile.sums[j] += s[j];
  }

 private:
  template <int Lanes>
  struct Loop : Unit<Formula, T, Lanes> {
    using Base = Unit<Formula, T, Lanes>;
    using Base::inputs;
    using Base::vectors;
    using Base::width;
    using typename Base::Coefficients;
    using typename Base::RowCoefficients;
    using typename Base::V;
    static constexpr int sums = Formula::sums;
    /// Two partial sums of everything, so that additions do not wait for one another; one where
    /// there are so many sums that they do not wait, and that twice as many would fill the
    /// registers.
    static constexpr int parts = sums > 2 ? 1 : 2;
    using Sums = V[parts][vectors][sums];

    [[gnu::always_inline]] static void run(const Tile<T>& tile) {
      if constexpr (Base::always_plain || Base::has_own_loops) {
        if (Base::is_plain(tile)) return Base::template walk<Loop>(tile, Setting<true>(tile));
      }
      if constexpr (!Base::always_plain) Base::template walk<Loop>(tile, Setting<false>(tile));
    }

    /// What a tile says, in copies that no store can change, and what follows from it. Plain: as
    /// in MapKernel.
    template <bool Plain>
    struct Setting {
      static constexpr std::size_t inputs = Plain ? Base::required_inputs : Base::inputs;
      FormulaOptions<V> options;
      std::array<Index, max_inputs> step;  ///< from one unit of a group to the next
      typename Base::Prefetch prefetch;

      [[gnu::always_inline]] explicit Setting(const Tile<T>& tile)
          : options(Base::load_options(tile)), prefetch(tile) {
        if (Plain) options.residual = false;
#pragma GCC unroll 4
        for (std::size_t i = 0; i < inputs; ++i) {
          step[i] = tile.per_column ? tile.from_step[i] : width;
        }
      }
      [[gnu::always_inline]] std::array<const T*, max_inputs> start(const Tile<T>& tile,
                                                                    Index column, Index row) const {
        std::array<const T*, max_inputs> at = tile.from;
#pragma GCC unroll 4
        for (std::size_t i = 0; i < inputs; ++i) {
          if (i >= Base::required_inputs && !options.residual) continue;
          at[i] += column + row * tile.from_step[i];
        }
        return at;
      }
    };

    /// Across channels: the rows of a unit of columns after the other.
    template <bool Plain>
    [[gnu::always_inline]] static void columns(const Tile<T>& tile, const Setting<Plain>& setting) {
      Coefficients k;
      for (Index c = 0; c < tile.columns; c += width) {
        const Index rest = tile.columns - c;
        const Index column = rest < width ? tile.columns - width : c;
        const Counted counted(rest);
        Base::load_table(k, tile.k, column, setting.options);
        auto at = setting.start(tile, column, 0);
        for (Index r = 0; r < tile.rows; r += max_terms_per_total) {
          Index left = (std::min)(tile.rows - r, max_terms_per_total);
          Sums s;
          clear(s);
          if (rest >= width) add_pairs(s, at, left, k, setting);
          for (; left > 0; --left) add_single(s, at, k, counted, setting);
          add_to_totals<true>(tile, s, column);
        }
      }
    }

    /// Along channels: the units of one row after the other.
    template <bool Plain>
    [[gnu::always_inline]] static void rows(const Tile<T>& tile, const Setting<Plain>& setting) {
      RowCoefficients k;
      for (Index r = 0; r < tile.rows; ++r) {
        Base::broadcast_row(k, tile, r);
        auto at = setting.start(tile, 0, r);
        Index rest = tile.columns;
        do {
          Index left = (std::min)(rest / width, max_terms_per_total);
          rest -= left * width;
          Sums s;
          clear(s);
          add_pairs(s, at, left, k, setting);
          // One unit more, and what is left of the row.
          while (left > 0 || (rest > 0 && rest < width)) {
            const Index count = left > 0 ? width : rest;
            if (left == 0) at = setting.start(tile, tile.columns - width, r);
            add_single(s, at, k, Counted(count), setting);
            if (left == 0) rest = 0;
            left = 0;
          }
          add_to_totals<false>(tile, s, r * tile.row_step * Lanes);
        } while (rest > 0);
      }
    }

    /// Zero is spelled out: the default of another library's scalar need not be zero.
    [[gnu::always_inline]] static void clear(Sums& s) {
#pragma GCC unroll 2
      for (int part = 0; part < parts; ++part) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) {
#pragma GCC unroll 8
          for (int j = 0; j < sums; ++j) s[part][v][j] = V{0};
        }
      }
    }

    template <bool Plain>
    [[gnu::always_inline]] static void advance(std::array<const T*, max_inputs>& at,
                                               const Setting<Plain>& setting) {
#pragma GCC unroll 4
      for (std::size_t i = 0; i < Setting<Plain>::inputs; ++i) {
        if (i < Base::required_inputs || setting.options.residual) at[i] += setting.step[i];
      }
    }

    /// Which lanes of a unit count: its last ones.
    struct Counted {
      typename Base::LastLanes of[vectors];
      [[gnu::always_inline]] explicit Counted(Index count) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) of[v] = Base::last_lanes(count, v);
      }
    };

    /// Two units at a time, one to each partial sum. Leaves one of an odd number.
    template <bool Plain, class K>
    [[gnu::always_inline]] static void add_pairs(Sums& s, std::array<const T*, max_inputs>& at,
                                                 Index& count, const K& k,
                                                 const Setting<Plain>& setting) {
      for (; count >= 2; count -= 2) {
#pragma GCC unroll 2
        for (int part = 0; part < 2; ++part) {
          V x[vectors][Base::inputs];
          Base::template load_inputs<Plain>(x, at, 0, setting.options.residual, setting.prefetch);
          add_unit(s[part % parts], x, k, setting);
          advance(at, setting);
        }
      }
    }

    /// One unit, all of it or its last lanes. The partial sums take turns, as in pairs: the bits of
    /// a column do not depend on its place among others.
    template <bool Plain, class K>
    [[gnu::always_inline]] static void add_single(Sums& s, std::array<const T*, max_inputs>& at,
                                                  const K& k, const Counted& counted,
                                                  const Setting<Plain>& setting) {
      V x[vectors][Base::inputs];
      Base::template load_inputs<Plain>(x, at, 0, setting.options.residual, setting.prefetch);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        counted.of[v].keep(x[v][0], k[v][0]);
#pragma GCC unroll 4
        for (std::size_t i = 1; i < Setting<Plain>::inputs; ++i) counted.of[v].keep(x[v][i], V{});
      }
      add_unit(s[0], x, k, setting);
      advance(at, setting);
      if (parts == 1) return;
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
#pragma GCC unroll 8
        for (int j = 0; j < sums; ++j) {
          const V other = s[0][v][j];
          s[0][v][j] = s[parts - 1][v][j];
          s[parts - 1][v][j] = other;
        }
      }
    }

    template <bool Plain, class K>
    [[gnu::always_inline]] static void add_unit(V (&s)[vectors][sums],
                                                const V (&x)[vectors][Base::inputs], const K& k,
                                                const Setting<Plain>& setting) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        Formula::template add<Plain>(s[v], x[v], k[v], setting.options);
      }
    }

    /// Joins the partial sums of a lane and adds them to the totals of a unit or a row.
    template <bool PerColumn>
    [[gnu::always_inline]] static void add_to_totals(const Tile<T>& tile, const Sums& s, Index at) {
#pragma GCC unroll 8
      for (std::size_t j = 0; j < sums; ++j) {
        V of_vector[vectors];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) {
          of_vector[v] = s[0][v][j];
          if constexpr (parts == 2) of_vector[v] += s[1][v][j];
        }
        if constexpr (!PerColumn) {
#pragma GCC unroll 4
          for (int v = 1; v < vectors; ++v) of_vector[0] += of_vector[v];
          simd::add_lanes<C, Lanes>(tile.sums[j] + at, of_vector[0]);
        } else {
#pragma GCC unroll 4
          for (int v = 0; v < vectors; ++v) {
            simd::add_lanes<C, Lanes>(tile.sums[j] + at + v * Lanes, of_vector[v]);
          }
        }
      }
    }
  };
};

template <class Formula, class T>
inline constexpr KernelTable<T> reduce_kernels =
    make_kernel_table<ReduceKernel<Formula, T>, Formula, T>(
        &ReduceKernel<Formula, T>::run_in_accumulator);

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_REDUCE_KERNEL_HPP
