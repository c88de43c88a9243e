// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_PACK_HPP
#define BATCHNORM_KERNELS_PACK_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/coefficients.hpp"
#include "batchnorm/kernels/selected.hpp"
#include "batchnorm/kernels/tile.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/kernels/tuning.hpp"
#include "batchnorm/version.hpp"

// What no kernel can read in place, elements that are not contiguous and rows shorter than a unit,
// is packed into rows on the stack, and unpacked after a map.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// The operands of a call: inputs, and outputs of a map.
template <class T>
struct Operands {
  std::array<const T*, max_inputs> from{};
  std::array<T*, max_outputs> to{};
  std::size_t inputs = 0;
  std::size_t outputs = 0;
  /// Of a reduction that reads only a list of values: how. Null where it reads them all.
  const Gathered<T>* gathered = nullptr;

  /// Whether an output is the memory of an input.
  bool is_in_place() const {
    for (std::size_t o = 0; o < outputs; ++o) {
      for (std::size_t i = 0; i < inputs; ++i) {
        if (to[o] == from[i]) return true;
      }
    }
    return false;
  }
  /// In a plan, the layouts of outputs come first.
  const Layout& input_layout(const Plan& plan, std::size_t i) const {
    return plan.layout(outputs + i);
  }
  /// Points a tile to an element of every operand.
  void locate(Tile<T>& tile, const Plan& plan, Index column, Index outer, Index inner) const {
    for (std::size_t i = 0; i < inputs; ++i) {
      tile.from[i] = from[i] + input_layout(plan, i).offset(column, outer, inner);
    }
    for (std::size_t i = 0; i < outputs; ++i) {
      tile.to[i] = to[i] + plan.layout(i).offset(column, outer, inner);
    }
    fill_unused(tile);
  }
  /// Kernels move the pointers of optional operands that are not there, too.
  void fill_unused(Tile<T>& tile) const {
    for (std::size_t i = inputs; i < max_inputs; ++i) tile.from[i] = tile.from[0];
    for (std::size_t i = outputs; i < max_outputs; ++i) tile.to[i] = tile.to[0];
  }
  /// From an element of a run to the one to be prefetched meanwhile.
  ///
  /// @param in_memory_order  whether all channels of a sample follow, and then the next sample
  void set_run_prefetch(Tile<T>& tile, const Plan& plan, bool in_memory_order) const {
    const Traversal& shape = plan.traversal();
    const Index within = prefetch_bytes / static_cast<Index>(sizeof(T));
    const bool short_run = shape.inner * static_cast<Index>(sizeof(T)) <= max_run_prefetched_whole;
    const bool next_sample = shape.outer > 1 && short_run && !in_memory_order;
    for (std::size_t i = 0; i < inputs; ++i) {
      tile.ahead[i] = next_sample ? input_layout(plan, i).outer_stride : within;
    }
  }
  /// The steps between a tile's rows.
  void set_steps(Tile<T>& tile, const Plan& plan, Index Layout::*axis) const {
    for (std::size_t i = 0; i < inputs; ++i) tile.from_step[i] = input_layout(plan, i).*axis;
    for (std::size_t i = 0; i < outputs; ++i) tile.to_step[i] = plan.layout(i).*axis;
  }
};

/// Where rows of a tile begin that are no even step apart.
template <class T>
struct RowPlaces {
  const T* of[max_inputs][16];
};

/// A tile of packed rows: `lines` of `length` elements, line i of the column or row that the caller
/// names, and its copies in and out.
///
/// @tparam Elements  the most that are packed of an operand
template <class T, Index Elements = packed_elements>
class PackedTile {
 public:
  // Noinline, as what several drivers call once per tile or block: it is compiled once.
  [[gnu::noinline]] PackedTile(const Plan& plan, const Operands<T>& data)
      : plan_(plan), data_(data) {
    for (std::size_t i = 0; i < data.inputs; ++i) std::fill_n(inputs_[i], capacity, T(0));
    for (std::size_t i = 0; i < data.outputs; ++i) std::fill_n(outputs_[i], capacity, T(0));
  }

  /// How many lines of `length` elements fit.
  static Index lines(Index length) { return (std::max<Index>)(1, Elements / stride(length)); }

  /// Packs the elements of rows [row, row + rows) in the columns [column, column + columns). Across
  /// channels a line is a row, along channels a line is a column.
  ///
  /// @param row_step  across channels, the distance of the rows
  void pack(Tile<T>& tile, Index column, Index columns, Index row, Index rows, Index row_step = 1) {
    const bool across = plan_.traversal().along_rows;
    tile.rows = across ? rows : columns;
    tile.columns = across ? columns : rows;
    const Index step = stride(tile.columns);
    const Index start = margin + step - tile.columns;
    for (std::size_t i = 0; i < data_.inputs; ++i) {
      tile.from[i] = inputs_[i] + start;
      tile.from_step[i] = step;
      if (data_.gathered != nullptr) {
        data_.gathered->pack(i, inputs_[i] + start, step, column, row, tile.rows, tile.columns,
                             row_step);
      } else {
        copy(data_.from[i], inputs_[i] + start, data_.input_layout(plan_, i), column, row, tile,
             step, row_step);
      }
    }
    for (std::size_t i = 0; i < data_.outputs; ++i) {
      tile.to[i] = outputs_[i] + start;
      tile.to_step[i] = step;
    }
    data_.fill_unused(tile);
  }

  /// The same for rows of neighbouring columns, wherever they are.
  void pack_rows(Tile<T>& tile, const RowPlaces<T>& places, Index column, Index columns,
                 Index rows) {
    const Index step = stride(columns);
    const Index start = margin + step - columns;
    tile.rows = rows;
    tile.columns = columns;
    for (std::size_t i = 0; i < data_.inputs; ++i) {
      tile.from[i] = inputs_[i] + start;
      tile.from_step[i] = step;
      for (Index row = 0; row < rows; ++row) {
        const T* const from = places.of[i][row] + column;
        std::copy(from, from + columns, inputs_[i] + start + row * step);
      }
    }
    data_.fill_unused(tile);
  }

  /// Writes the outputs to where they belong.
  [[gnu::noinline]] void unpack(const Tile<T>& tile, Index column, Index row) const {
    for (std::size_t i = 0; i < data_.outputs; ++i) {
      copy(data_.to[i], tile.to[i], plan_.layout(i), column, row, tile, tile.to_step[i], 1);
    }
  }

 private:
  static Index stride(Index length) { return (std::max)(length, margin / 2); }

  /// Copies between a strided operand and packed lines: to whichever of them is not const.
  template <class Strided, class Packed>
  void copy(Strided* strided, Packed* packed, const Layout& layout, Index column, Index row,
            const Tile<T>& tile, Index step, Index row_step) const {
    const Traversal& shape = plan_.traversal();
    const bool across = shape.along_rows;
    for (Index line = 0; line < tile.rows; ++line) {
      const Index first_row = across ? row + line * row_step : row;
      Index outer = shape.outer == 1 ? 0 : first_row / shape.inner;
      Index inner = first_row - outer * shape.inner;
      for (Index i = 0; i < tile.columns; ++i) {
        const Index at = layout.offset(across ? column + i : column + line, outer, inner);
        if constexpr (std::is_const<Strided>::value) {
          packed[line * step + i] = strided[at];
        } else {
          strided[at] = packed[line * step + i];
        }
        if (!across && ++inner == shape.inner) {
          inner = 0;
          ++outer;
        }
      }
    }
  }

  const Plan& plan_;
  const Operands<T>& data_;
  static constexpr Index capacity = margin + Elements + margin;
  T inputs_[max_inputs][capacity];
  T outputs_[max_outputs][capacity];
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_PACK_HPP
