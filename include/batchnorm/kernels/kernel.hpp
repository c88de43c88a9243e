// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_KERNEL_HPP
#define BATCHNORM_KERNELS_KERNEL_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/instruction_set.hpp"
#include "batchnorm/kernels/memory.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/kernels/simd_memory.hpp"
#include "batchnorm/kernels/tile.hpp"
#include "batchnorm/kernels/tuning.hpp"
#include "batchnorm/version.hpp"

// Kernels: a formula applied to a tile with the vectors of one instruction set. A formula that
// maps,
//
//   static constexpr int inputs, outputs, coefficients;   the most there are; optional ones are
//   last static constexpr int required_inputs, required_coefficients; static void apply<Plain>(V*
//   y, const V* x, const V* k, const FormulaOptions<V>& options);
//                 Plain: without a residual
//
// and one that is summed,
//
//   static constexpr int inputs, sums, coefficients, required_inputs, required_coefficients;
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

  /// Coefficients of the columns from `at` on.
  [[gnu::always_inline]] static void load_table(
      Coefficients& k, const std::array<const C*, max_coefficients>& tables, Index at,
      const FormulaOptions<V>& options) {
#pragma GCC unroll 8
    for (std::size_t i = 0; i < coefficients; ++i) {
      if (i >= required_coefficients && !options.rectified) break;
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) simd::load<C, lanes>(k[v][i], tables[i] + at + v * lanes);
    }
  }

  /// Coefficients of a row, in every lane.
  [[gnu::always_inline]] static void broadcast_row(Coefficients& k, const Tile<T>& tile,
                                                   Index row) {
#pragma GCC unroll 8
    for (std::size_t i = 0; i < coefficients; ++i) {
      if (i >= required_coefficients && static_cast<int>(i) >= tile.coefficients) break;
      simd::broadcast<C, lanes>(k[0][i], tile.k[i][row * tile.row_step]);
#pragma GCC unroll 4
      for (int v = 1; v < vectors; ++v) k[v][i] = k[0][i];
    }
  }

  /// The lanes of vector v among the last `count` of a unit.
  using LastLanes = std::conditional_t<(lanes > 1), simd::LastBytes<V>, simd::NoBytes>;
  [[gnu::always_inline]] static LastLanes last_lanes(Index count, int v) {
    return LastLanes((count - (vectors - 1 - v) * lanes) * static_cast<Index>(sizeof(C)));
  }

  /// The last `count` lanes of a unit get the coefficients of the next row.
  [[gnu::always_inline]] static void blend(Coefficients& k, const Coefficients& next, Index count) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      const LastLanes last = last_lanes(count, v);
#pragma GCC unroll 8
      for (int i = 0; i < coefficients; ++i) {
        V both = next[v][i];
        last.keep(both, k[v][i]);
        k[v][i] = both;
      }
    }
  }
  [[gnu::always_inline]] static void copy(Coefficients& k, const Coefficients& next) {
#pragma GCC unroll 8
    for (int i = 0; i < coefficients; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) k[v][i] = next[v][i];
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
  struct NoResidual {
    T of[width];
    [[gnu::always_inline]] NoResidual() {
      for (T& each : of) each = convert<T>(C(-0.0));
    }
  };

  template <bool Plain, class Pointers>
  [[gnu::always_inline]] static void load_inputs(V (&x)[vectors][inputs], const Pointers& from,
                                                 Index at, Index residual_at,
                                                 const Prefetch& prefetch) {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < (Plain ? required_inputs : inputs); ++i) {
      const Index offset = i >= required_inputs ? residual_at : at;
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) simd::load<C, lanes>(x[v][i], from[i] + offset + v * lanes);
      if (!Plain && prefetch.active) prefetch_line(from[i], offset + prefetch.ahead[i]);
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
    using Base::coefficients;
    using Base::inputs;
    using Base::vectors;
    using Base::width;
    using typename Base::Coefficients;
    using typename Base::V;
    static constexpr int outputs = Formula::outputs;
    static constexpr bool can_stream = simd::can_stream<T>;

    /// Where the current row begins in every operand.
    struct Row {
      const T* from[inputs];
      T* to[outputs];
    };

    /// What a tile says, in copies that no store can change.
    struct Setting {
      FormulaOptions<V> options;
      typename Base::Prefetch prefetch;
      typename Base::NoResidual none;
      Index residual_mask;
      bool streaming;

      [[gnu::always_inline]] explicit Setting(const Tile<T>& tile)
          : options(Base::load_options(tile)),
            prefetch(tile),
            residual_mask(options.residual ? -1 : 0),
            streaming(can_stream && tile.streaming) {}
    };

    /// Plain: within the cache and without a residual. Loops of their own, as these are bound by
    /// instructions, not by memory.
    [[gnu::always_inline]] static void run(const Tile<T>& tile) {
      const Setting setting(tile);
      const bool plain =
          !setting.options.residual && !setting.prefetch.active && !setting.streaming;
      if (tile.per_column) {
        plain ? columns<true>(tile, setting) : columns<false>(tile, setting);
      } else {
        plain ? rows<true>(tile, setting) : rows<false>(tile, setting);
      }
    }

    /// Across channels: the coefficients of a unit are read from the tables.
    template <bool Plain>
    [[gnu::always_inline]] static void columns(const Tile<T>& tile, const Setting& setting) {
      const Index end = tile.columns;
      for (Index r = 0; r < tile.rows; ++r) {
        const Row row = row_of(tile, r, setting);
        Alignment<Plain> alignment(row, setting, tile.columns);
        Index at = 0;
        for (; at + width <= end; at += alignment.step()) {
          Coefficients k;
          Base::load_table(k, tile.k, at, setting.options);
          map_unit<Plain, false>(row, at, k, setting, width, alignment.next());
        }
        if (at >= end) continue;
        Coefficients k;
        Base::load_table(k, tile.k, end - width, setting.options);
        map_unit<Plain, true>(row, end - width, k, setting, end - at, false);
      }
    }

    /// Along channels: the coefficients of a row stay in registers. Rows that follow one another
    /// are walked as one; a unit in which one ends and the next begins has the coefficients of
    /// both.
    template <bool Plain>
    [[gnu::always_inline]] static void rows(const Tile<T>& tile, const Setting& setting) {
      const bool packed = is_packed(tile);
      const Index last_row = tile.rows - 1;
      Row row = row_of(tile, 0, setting);
      Alignment<Plain> alignment(row, setting, tile.columns);
      Coefficients k, next;
      Base::broadcast_row(k, tile, 0);
      Index at = 0;
      Index end = tile.columns;
      for (Index r = 0;; ++r) {
        for (; at + width <= end; at += alignment.step()) {
          map_unit<Plain, false>(row, at, k, setting, width, alignment.next());
        }
        const Index rest = end - at;
        if (rest > 0 && (!packed || r == last_row)) {
          map_unit<Plain, true>(row, end - width, k, setting, rest, false);
        }
        if (r == last_row) return;
        Base::broadcast_row(next, tile, r + 1);
        if (packed && rest > 0) {
          Base::blend(k, next, width - rest);
          map_unit<Plain, false>(row, at, k, setting, width, alignment.next());
          at += alignment.step();
        }
        Base::copy(k, next);
        end += tile.columns;
        if (packed) continue;
        row = row_of(tile, r + 1, setting);
        alignment = Alignment<Plain>(row, setting, tile.columns);
        at = 0;
        end = tile.columns;
      }
    }

    /// Streamed rows begin with units that are stored normally, up to the first line. The last of
    /// these ends early: that it is one of two rows is ruled out.
    template <bool Plain>
    class Alignment {
     public:
      [[gnu::always_inline]] Alignment(const Row& row, const Setting& setting, Index columns)
          : streaming_(!Plain && setting.streaming) {
        if (Plain || !streaming_) return;
        const auto address = reinterpret_cast<std::uintptr_t>(row.to[0]);
        head_ = static_cast<Index>((0 - address) % cache_line_bytes / sizeof(T));
        streaming_ = head_ <= width || (head_ - 1) / width * width + width <= columns;
        if (!streaming_) head_ = 0;
      }
      /// Whether the unit at work is streamed.
      [[gnu::always_inline]] bool next() const { return !Plain && streaming_ && head_ == 0; }
      /// To the unit behind it.
      [[gnu::always_inline]] Index step() {
        if (Plain || head_ == 0) return width;
        const Index step = head_ < width ? head_ : width;
        head_ -= step;
        return step;
      }

     private:
      bool streaming_;
      Index head_ = 0;  ///< elements up to the first line
    };

    [[gnu::always_inline]] static bool is_packed(const Tile<T>& tile) {
      bool packed = tile.columns >= width;  // a unit has at most two rows
#pragma GCC unroll 4
      for (std::size_t i = 0; i < inputs; ++i) {
        packed &= static_cast<int>(i) >= tile.inputs || tile.from_step[i] == tile.columns;
      }
#pragma GCC unroll 2
      for (std::size_t i = 0; i < outputs; ++i) {
        packed &= static_cast<int>(i) >= tile.outputs || tile.to_step[i] == tile.columns;
      }
      return packed;
    }

    [[gnu::always_inline]] static Row row_of(const Tile<T>& tile, Index r, const Setting& setting) {
      Row row;
#pragma GCC unroll 4
      for (std::size_t i = 0; i < inputs; ++i) {
        row.from[i] = i < Base::required_inputs || setting.options.residual
                          ? tile.from[i] + r * tile.from_step[i]
                          : setting.none.of;
      }
#pragma GCC unroll 2
      for (std::size_t i = 0; i < outputs; ++i) row.to[i] = tile.to[i] + r * tile.to_step[i];
      return row;
    }

    template <bool Plain, bool Masked>
    [[gnu::always_inline]] static void map_unit(const Row& row, Index at, const Coefficients& k,
                                                const Setting& setting, Index count, bool stream) {
      V x[vectors][inputs];
      V y[outputs][vectors];
      Base::template load_inputs<Plain>(x, row.from, at, at & setting.residual_mask,
                                        setting.prefetch);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        V of_vector[outputs];
        Formula::template apply<Plain>(of_vector, x[v], k[v], setting.options);
#pragma GCC unroll 2
        for (int i = 0; i < outputs; ++i) y[i][v] = of_vector[i];
      }
#pragma GCC unroll 2
      for (std::size_t i = 0; i < outputs; ++i) {
        if (i > 0 && (Plain || !setting.options.residual)) break;
        if constexpr (Masked) {
          simd::store_last<C, Lanes, vectors>(row.to[i] + at, y[i], count);
        } else if constexpr (can_stream && !Plain) {
          simd::store_or_stream<C, Lanes, vectors>(row.to[i] + at, y[i], stream);
        } else {
          simd::store_unit<C, Lanes, vectors>(row.to[i] + at, y[i]);
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
    const FormulaOptions<A> options{
        convert<A>(tile.options->slope), convert<A>(tile.options->inverse_slope),
        tile.options->rectified, tile.options->residual, tile.options->fixed_statistics};
    A s[Formula::sums] = {};
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
    using typename Base::V;
    static constexpr int sums = Formula::sums;
    /// Two partial sums of everything, so that additions do not wait for one another.
    using Sums = V[2][vectors][sums];
    using Tail = typename Base::LastLanes[vectors];

    /// Plain: within the cache and without a residual, as in MapKernel.
    [[gnu::always_inline]] static void run(const Tile<T>& tile) {
      tile.options->residual || tile.prefetch ? sum<false>(tile) : sum<true>(tile);
    }

    template <bool Plain>
    [[gnu::always_inline]] static void sum(const Tile<T>& tile) {
      constexpr std::size_t inputs = Plain ? Base::required_inputs : Base::inputs;
      const FormulaOptions<V> options = Base::load_options(tile);
      const typename Base::Prefetch prefetch(tile);
      const typename Base::NoResidual none;
      Tail tail;
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) tail[v] = Base::last_lanes(tile.columns % width, v);
      const Index units = tile.columns / width;
      const Index rest = tile.columns - units * width;
      const bool partial_group = tile.per_column && rest > 0;
      const Index groups = tile.per_column ? units + (partial_group ? 1 : 0) : tile.rows;
      const Index whole = tile.per_column ? tile.rows : units;
      std::array<Index, max_inputs> step;
#pragma GCC unroll 4
      for (std::size_t i = 0; i < inputs; ++i) {
        step[i] = tile.per_column ? tile.from_step[i] : width;
        if (!Plain && i >= Base::required_inputs && !options.residual) step[i] = 0;
      }
      Coefficients k = {};
      for (Index group = 0; group < groups; ++group) {
        std::array<const T*, max_inputs> at = tile.from;
        const bool partial = partial_group && group == units;
        const Index column = partial ? tile.columns - width : group * width;
#pragma GCC unroll 4
        for (std::size_t i = 0; i < inputs; ++i) {
          at[i] += tile.per_column ? column : group * tile.from_step[i];
          if (!Plain && i >= Base::required_inputs && !options.residual) at[i] = none.of;
        }
        if (tile.per_column) {
          Base::load_table(k, tile.k, column, options);
        } else {
          Base::broadcast_row(k, tile, group);
        }
        const Index total = tile.per_column ? column : group * tile.row_step * Lanes;
        Index left = whole;
        do {
          const Index some = (std::min)(left, max_terms_per_total);
          left -= some;
          Sums s = {};
          Index masked = some;
          if (!partial) {
            add_whole<Plain>(s, at, step, some, prefetch, options, k, tail);
            masked = !tile.per_column && rest > 0 && left == 0 ? 1 : 0;
#pragma GCC unroll 4
            for (std::size_t i = 0; i < inputs; ++i) {
              if (Plain || step[i] != 0) at[i] += masked * (rest - width);
            }
          }
          for (; masked > 0; --masked) {
            take_turns(s);
            add_unit<Plain, true>(s[0], at, prefetch, options, k, tail);
            advance<inputs>(at, step);
          }
          add_to_totals(tile, s, total);
        } while (left > 0);
      }
    }

    template <std::size_t Count>
    [[gnu::always_inline]] static void advance(std::array<const T*, max_inputs>& at,
                                               const std::array<Index, max_inputs>& step) {
#pragma GCC unroll 4
      for (std::size_t i = 0; i < Count; ++i) at[i] += step[i];
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

    template <bool Plain>
    [[gnu::always_inline]] static void add_whole(Sums& s, std::array<const T*, max_inputs>& at,
                                                 const std::array<Index, max_inputs>& step,
                                                 Index count,
                                                 const typename Base::Prefetch& prefetch,
                                                 const FormulaOptions<V>& options,
                                                 const Coefficients& k, const Tail& tail) {
      constexpr std::size_t inputs = Plain ? Base::required_inputs : Base::inputs;
      for (; count >= 2; count -= 2) {
#pragma GCC unroll 2
        for (int part = 0; part < 2; ++part) {
          add_unit<Plain, false>(s[part], at, prefetch, options, k, tail);
          advance<inputs>(at, step);
        }
      }
      if (count == 0) return;
      add_unit<Plain, false>(s[0], at, prefetch, options, k, tail);
      advance<inputs>(at, step);
    }

    template <bool Plain, bool Masked>
    [[gnu::always_inline]] static void add_unit(V (&s)[vectors][sums],
                                                const std::array<const T*, max_inputs>& at,
                                                const typename Base::Prefetch& prefetch,
                                                const FormulaOptions<V>& options,
                                                const Coefficients& k, const Tail& tail) {
      V x[vectors][Base::inputs];
      Base::template load_inputs<Plain>(x, at, 0, 0, prefetch);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        if constexpr (Masked && Lanes > 1) {
          tail[v].keep(x[v][0], k[v][0]);
#pragma GCC unroll 4
          for (std::size_t i = 1; i < (Plain ? Base::required_inputs : Base::inputs); ++i) {
            tail[v].keep(x[v][i], V{});
          }
        }
        Formula::template add<Plain>(s[v], x[v], k[v], options);
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
inline constexpr int width_for = lanes_for<T, Bytes>* vectors_per_unit<T, lanes_for<T, Bytes>>;

template <class Kernel, class Formula, class T>
constexpr KernelTable<T> make_kernel_table(void (*in_accumulator)(const Tile<T>&)) {
#if (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 9)) && defined(__x86_64__)
  if constexpr (lanes_for < T, simd::baseline_bytes >> 1) {
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
