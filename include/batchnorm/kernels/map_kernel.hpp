// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_MAP_KERNEL_HPP
#define BATCHNORM_KERNELS_MAP_KERNEL_HPP

#include <array>
#include <cstddef>
#include <cstdint>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/kernels/simd_memory.hpp"
#include "batchnorm/kernels/tile.hpp"
#include "batchnorm/kernels/tuning.hpp"
#include "batchnorm/kernels/unit.hpp"
#include "batchnorm/version.hpp"

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

template <class Formula, class T>
inline constexpr KernelTable<T> map_kernels =
    make_kernel_table<MapKernel<Formula, T>, Formula, T>(nullptr);

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_MAP_KERNEL_HPP
