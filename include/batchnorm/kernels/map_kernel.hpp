// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_MAP_KERNEL_HPP
#define BATCHNORM_KERNELS_MAP_KERNEL_HPP

#include <array>
#include <cstddef>
#include <cstdint>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/coefficient_room.hpp"
#include "batchnorm/kernels/instruction_set.hpp"
#include "batchnorm/kernels/instructions.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/kernels/simd_memory.hpp"
#include "batchnorm/kernels/tile.hpp"
#include "batchnorm/kernels/tuning.hpp"
#include "batchnorm/kernels/unit.hpp"
#include "batchnorm/version.hpp"

// Longer than most: one kernel, all of whose loops share its vectors.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Maps a tile with a formula (unit.hpp).
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
    using Base::has_own_loops;
    using Base::inputs;
    using Base::vectors;
    using Base::width;
    using typename Base::Coefficients;
    using typename Base::RowCoefficients;
    using typename Base::V;
    static constexpr int outputs = Formula::outputs;
    static constexpr bool can_stream = simd::can_stream<T> && !across_only<T, Lanes>;

    /// Where the current row begins in every operand.
    struct Row {
      const T* from[inputs];
      T* to[outputs];
    };

    /// What a tile says, in copies that no store can change and no pointer can reach, so that they
    /// stay in registers. Plain tiles (Unit) that are not streamed have loops of their own: data in
    /// the cache is bound by instructions.
    template <bool Plain>
    struct Setting {
      FormulaOptions<V> options;
      typename Base::Prefetch prefetch;
      bool streaming;

      [[gnu::always_inline]] explicit Setting(const Tile<T>& tile)
          : options(Base::load_options(tile)), prefetch(tile), streaming(tile.streaming) {
        if (Plain) options.residual = streaming = prefetch.active = false;
      }
      /// Of what is streamed of a tile without a residual.
      [[gnu::always_inline]] explicit Setting(const Setting<false>& streamed)
          : options(streamed.options), prefetch(streamed.prefetch), streaming(true) {
        options.residual = false;
        if (!Formula::plain_with_epilogue) options.rectified = false;
      }
      /// Of a plain tile without an epilogue.
      struct NoEpilogue {};
      [[gnu::always_inline]] Setting(const Tile<T>& tile, NoEpilogue)
          : options{V{0}, V{0}, false, false, tile.options->fixed_statistics},
            prefetch(tile),
            streaming(false) {
        prefetch.active = false;
      }
    };

    [[gnu::always_inline]] static void run(const Tile<T>& tile) {
      if (!has_own_loops || !Base::is_plain(tile) || (can_stream && tile.streaming)) {
        return Base::template walk<Loop>(tile, Setting<false>(tile));
      }
      if constexpr (has_own_loops) {
        using Plain = Setting<true>;
        if constexpr (Formula::plain_with_epilogue && !Base::always_plain) {
          // A loop that need not ask for an epilogue.
          if (!tile.options->rectified) {
            return Base::template walk<Loop>(tile, Plain(tile, typename Plain::NoEpilogue()));
          }
        }
        Base::template walk<Loop>(tile, Plain(tile));
      }
    }

    /// Across channels: the coefficients of a unit are read from the tables, for the whole units of
    /// plain tiles once for two rows.
    template <bool Plain>
    [[gnu::always_inline]] static void columns(const Tile<T>& tile, const Setting<Plain>& setting) {
      const C* tables[coefficients];
#pragma GCC unroll 8
      for (int i = 0; i < coefficients; ++i) tables[i] = tile.k[static_cast<std::size_t>(i)];
      if constexpr (many_coefficients) {
        Room room;
        for (Index first = 0; first < tile.columns; first += Room::columns) {
          const Index next = first + Room::columns;
          const typename Room::Load load{room, first, next < tile.columns ? next : tile.columns};
          room.copy(tables, first, load.last - first);
          all_rows(tile, load, setting);
        }
      } else {
        all_rows(tile, FromTables{tables, setting.options}, setting);
      }
    }

    /// Asks again and again where the columns end: kept, that would take a register from loops.
    template <bool Plain, class Load>
    [[gnu::always_inline]] static void all_rows(const Tile<T>& tile, const Load& load,
                                                const Setting<Plain>& setting) {
      Index paired = load.first;
      for (Index r = 0; r < tile.rows; ++r) {
        Index at = paired;
        paired = load.first;
        if constexpr (Plain && has_own_loops) {
          if (at == load.first && r + 1 < tile.rows) {
            at = paired = whole_units_of_two(tile, r, load, setting);
          }
        }
        if (at < load.end(tile)) rest_of_row(tile, r, at, load, setting);
      }
    }

    /// @return up to which column both rows are done
    template <bool Plain, class Load>
    [[gnu::always_inline]] static Index whole_units_of_two(const Tile<T>& tile, Index r,
                                                           const Load& load,
                                                           const Setting<Plain>& setting) {
      const Row row = row_of(tile, r, setting);
      const Row next = row_of(tile, r + 1, setting);
      const Index last = load.end(tile) - width;
      Index at = load.first;
      for (; at <= last; at += width) {
        typename Load::K k;
        load(k, at);
        if constexpr (many_coefficients) {
#pragma GCC unroll 4
          for (int v = 0; v < vectors; ++v) {
            const V* const of_both = k[v];
            map_vector(row, at + v * Lanes, of_both, setting.options);
            map_vector(next, at + v * Lanes, of_both, setting.options);
          }
        } else {
          map_unit(row, at, k, setting, 0, width, false);
          map_unit(next, at, k, setting, 0, width, false);
        }
      }
      return at;
    }

    [[gnu::always_inline]] static void map_vector(const Row& row, Index at, const V* k,
                                                  const FormulaOptions<V>& options) {
      V x[inputs], y[outputs];
#pragma GCC unroll 4
      for (int i = 0; i < inputs; ++i) simd::load<C, Lanes>(x[i], row.from[i] + at);
      Formula::template apply<true>(y, x, k, options);
#pragma GCC unroll 2
      for (int i = 0; i < outputs; ++i) simd::store<C, Lanes>(row.to[i] + at, y[i]);
    }

    /// A row from an element on. Its last unit, where it is no multiple of units long, begins among
    /// elements that are done, and stores the others.
    template <bool Plain, class Load>
    [[gnu::always_inline]] static void rest_of_row(const Tile<T>& tile, Index r, Index at,
                                                   const Load& load,
                                                   const Setting<Plain>& setting) {
      const Index end = load.end(tile);
      const Row row = row_of(tile, r, setting);
      const Streamed<Plain> streamed(row, setting, at, end);
      typename Load::K k;
      at = whole_units(row, at, end, k, load, setting, streamed);
      if (at == end) return;
      load(k, end - width);
      map_unit(row, end - width, k, setting, at - (end - width), end - at, false);
    }

    /// Whether the coefficients of a unit would fill the registers: they are read vector by vector.
    static constexpr bool many_coefficients =
        Base::always_plain && coefficients > 5 && !simd::is_16_bit<T>;
    using Room = CoefficientRoom<C, Lanes, width, coefficients>;

    /// How whole_units gets coefficients: from tables for every unit, or those that are there.
    struct FromTables {
      using K = Coefficients;
      static constexpr Index first = 0;
      const C* const (&tables)[coefficients];
      const FormulaOptions<V>& options;
      [[gnu::always_inline]] Index end(const Tile<T>& tile) const { return tile.columns; }
      [[gnu::always_inline]] void operator()(Coefficients& k, Index at) const {
        Base::load_table(k, tables, at, options);
      }
    };
    struct Loaded {
      [[gnu::always_inline]] void operator()(RowCoefficients&, Index) const {}
    };

    /// Along channels: the coefficients of a row stay in registers. Rows that follow one another
    /// are walked as one; a unit in which one ends and the next begins has the coefficients of
    /// both.
    template <bool Plain>
    [[gnu::always_inline]] static void rows(const Tile<T>& tile, const Setting<Plain>& setting) {
      const bool packed = is_packed(tile);
      const Index last_row = tile.rows - 1;
      Row row = row_of(tile, 0, setting);
      Streamed<Plain> streamed(row, setting, 0, packed ? tile.rows * tile.columns : tile.columns);
      RowCoefficients k, next;
      Base::broadcast_row(k, tile, 0);
      next = k;
      Index at = 0;
      Index end = tile.columns;
      for (Index r = 0;; ++r) {
        at = whole_units(row, at, end, k, Loaded(), setting, streamed);
        const bool shared = packed && r < last_row;
        if (r < last_row) Base::broadcast_row(next, tile, r + 1);
        while (at < end) {
          const Index rest = end - at;
          const Index from = shared ? at : end - width;
          const Index count = shared ? streamed.count(at) : rest;
          Coefficients both;
          Base::blend(both, k, next, shared ? width - rest : 0);
          map_unit(row, from, both, setting, at - from, count, streamed.has(at));
          at += count;
        }
        if (r == last_row) return;
        k = next;
        end += tile.columns;
        if (packed) continue;
        row = row_of(tile, r + 1, setting);
        streamed = Streamed<Plain>(row, setting, 0, tile.columns);
        at = 0;
        end = tile.columns;
      }
    }

    /// What is streamed of neighbouring elements: whole cache lines. What lies before and behind
    /// them is stored normally and alone: a line that is written in both ways, or read after it was
    /// streamed, is waited for. The line behind them is prefetched.
    template <bool Plain>
    struct Streamed {
      static constexpr bool none = Plain || !can_stream;
      static constexpr Index per_line = cache_line_bytes / static_cast<Index>(sizeof(T));
      Index begin = 0;
      Index end = 0;

      /// Of the elements [first, last).
      [[gnu::always_inline]] Streamed(const Row& row, const Setting<Plain>& setting, Index first,
                                      Index last) {
        if (none || !setting.streaming) return;
        const auto address = reinterpret_cast<std::uintptr_t>(row.to[0] + first);
        const Index head = static_cast<Index>((0 - address) / sizeof(T)) % per_line;
        begin = head < last - first ? first + head : last;
        end = begin + (last - begin) / per_line * per_line;
        if (end == last) return;
#pragma GCC unroll 2
        for (int i = 0; i < outputs; ++i) {
          const bool written = i == 0 || Base::always_plain || setting.options.residual;
          if (written) prefetch_line(row.to[i], end);
        }
      }
      /// Whether the unit at an element is streamed.
      [[gnu::always_inline]] bool has(Index at) const {
        return !none && at >= begin && at < end;
      }
      /// Where the streamed units of the elements up to `last` end. They have loops that ask
      /// nothing, so that memory is all that is waited for.
      [[gnu::always_inline]] Index stop(Index last) const {
        return end <= last - width ? end : last - width + 1;
      }
      /// How many elements of the unit at an element are stored.
      [[gnu::always_inline]] Index count(Index at) const {
        return !none && at < begin && begin - at < width ? begin - at : width;
      }
    };

    /// All units up to `end` that are whole. @return the element behind them
    template <bool Plain, class K, class Load>
    [[gnu::always_inline]] static Index whole_units(const Row& row, Index at, Index end, K& k,
                                                    const Load& load, const Setting<Plain>& setting,
                                                    const Streamed<Plain>& streamed) {
      while (at + width <= end) {
        if (streamed.has(at)) {
          at = streamed_units(row, at, streamed.stop(end), k, load, setting);
          continue;
        }
        const Index count = streamed.count(at);
        load(k, at);
        map_unit(row, at, k, setting, 0, count, false);
        at += count;
      }
      return at;
    }

    /// All units up to `stop`, streamed. Elements that are converted have a loop of their own for
    /// plain tiles: they are bound by instructions out of the cache, too.
    template <bool Plain, class K, class Load>
    [[gnu::always_inline]] static Index streamed_units(const Row& row, Index at, Index stop, K& k,
                                                       const Load& load,
                                                       const Setting<Plain>& setting) {
      if constexpr (!Plain && has_own_loops && simd::is_16_bit<T>) {
        if (!setting.options.residual &&
            (Formula::plain_with_epilogue || !setting.options.rectified)) {
          return streamed_units(row, at, stop, k, load, Setting<true>(setting));
        }
      }
      for (; at < stop; at += width) {
        load(k, at);
        map_unit(row, at, k, setting, 0, width, true);
      }
      return at;
    }

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

    template <bool Plain>
    [[gnu::always_inline]] static Row row_of(const Tile<T>& tile, Index r,
                                             const Setting<Plain>& setting) {
      Row row;
#pragma GCC unroll 4
      for (std::size_t i = 0; i < inputs; ++i) {
        if (i >= Base::required_inputs && !setting.options.residual) continue;
        row.from[i] = tile.from[i] + r * tile.from_step[i];
      }
#pragma GCC unroll 2
      for (std::size_t i = 0; i < outputs; ++i) row.to[i] = tile.to[i] + r * tile.to_step[i];
      return row;
    }

    /// Stores `count` elements of the unit from its element `first` on: all, or up to its end, or
    /// of a streamed row those up to a cache line.
    template <bool Plain, class K>
    [[gnu::always_inline]] static void map_unit(const Row& row, Index at, const K& k,
                                                const Setting<Plain>& setting, Index first,
                                                Index count, bool stream) {
      V x[vectors][inputs];
      V y[outputs][vectors];
      Base::template load_inputs<Plain>(x, row.from, at, setting.options.residual,
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
        if (i > 0 && !Base::always_plain && !setting.options.residual) break;
        if (count < width) {
          if (can_stream && !Plain && setting.streaming) {
            simd::store_between<C, Lanes, vectors>(row.to[i] + at, y[i], first, count);
          } else {
            simd::store_last<C, Lanes, vectors>(row.to[i] + at, y[i], count);
          }
        } else if constexpr (can_stream && (!Plain || simd::is_16_bit<T>)) {
          simd::store_or_stream<C, Lanes, vectors>(row.to[i] + at, y[i], stream);
        } else {
          simd::store_unit<C, Lanes, vectors>(row.to[i] + at, y[i]);
        }
      }
    }
  };
};

template <class Formula, class T>
inline constexpr KernelTable<T> map_kernels =
    make_kernel_table<MapKernel<Formula, T>, Formula, T>(nullptr);

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_MAP_KERNEL_HPP
