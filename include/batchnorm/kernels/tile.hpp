// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_TILE_HPP
#define BATCHNORM_KERNELS_TILE_HPP

#include <array>
#include <cstddef>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/instruction_set.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/version.hpp"

// The work of a kernel as plain data: rows of contiguous elements. Drivers (map.hpp, reduce.hpp)
// cut an array into tiles; kernels (unit.hpp) know formulas and vectors and no layout.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// The most operands, coefficients per channel and sums per channel that any formula has.
inline constexpr std::size_t max_inputs = 3;
inline constexpr std::size_t max_outputs = 2;
inline constexpr std::size_t max_coefficients = 8;
inline constexpr std::size_t max_sums = 5;

/// Numbers in the longest vector of any kernel.
inline constexpr Index max_lanes = 16;

/// What a formula is told once per call: the epilogue, and which optional parts it has. In kernels
/// with vectors in place of numbers.
template <class V>
struct FormulaOptions {
  V slope;                        ///< of the epilogue below zero
  V inverse_slope;                ///< 1 / slope, where the epilogue is undone
  bool rectified = false;         ///< the slope is not 1
  bool residual = false;          ///< there is a last input, the residual; otherwise it is -0
  bool fixed_statistics = false;  ///< backward: mean and variance do not depend on x
};

/// `rows` rows of `columns` contiguous elements of every operand. Coefficients and sums are per
/// column (rows lie across channels) or per row (a row lies within one channel).
///
/// Where columns < width (KernelTable), `width` elements before the end of every row, coefficient
/// table and table of sums must be readable, and writable where the kernel writes; their values do
/// not matter and do not change (sums, as long as the coefficients beside them are finite).
template <class T>
struct Tile {
  using C = parameter_t<T>;
  using A = accumulator_t<T>;

  Tile() : from{}, from_step{}, to{}, to_step{}, k{}, sums{}, ahead{} {}
  /// Leaves the arrays to the caller, who sets what the kernel reads: g++ clears all of them by
  /// `rep stos`, which takes longer than a small tile.
  struct Uncleared {};
  explicit Tile(Uncleared) {}

  Index rows = 0;
  Index columns = 0;
  bool per_column = false;
  /// From row to row in coefficients and sums per row: 0 where all rows are of one channel.
  Index row_step = 1;
  int inputs = 1;
  int outputs = 0;
  int coefficients = 0;
  std::array<const T*, max_inputs> from;
  std::array<Index, max_inputs> from_step;  ///< elements from row to row
  std::array<T*, max_outputs> to;
  std::array<Index, max_outputs> to_step;
  std::array<const C*, max_coefficients> k;  ///< one table per coefficient
  const FormulaOptions<C>* options = nullptr;
  /// Reductions add to these: one number per column, or `lanes` (KernelTable) per row.
  std::array<A*, max_sums> sums;
  bool prefetch = false;
  /// Maps write whole cache lines past the cache: outputs must be no input, and all of them as far
  /// from a line. finish_streaming() after the last tile.
  bool streaming = false;
  std::array<Index, max_inputs> ahead;  ///< elements from what is read to what is prefetched
};

/// One formula for the tiles of one scalar, compiled for every instruction set; for AVX-512 there
/// may be only what set_for asks of it.
template <class T>
struct KernelTable {
  using Kernel = void (*)(const Tile<T>&);

  Kernel kernels[instruction_sets];
  int width[instruction_sets];  ///< elements that are worked on at once
  int lanes[instruction_sets];  ///< numbers in a vector
  int inputs;                   ///< without a residual
  int coefficients;             ///< without an epilogue
  int epilogue_coefficients;    ///< with one
  /// Reductions only: the same for one row of one channel in the type of the totals, for sums that
  /// are beyond the range of T's lanes.
  Kernel in_accumulator;

  void operator()(InstructionSet set, const Tile<T>& tile) const {
    kernels[static_cast<int>(set)](tile);
  }
  Index width_of(InstructionSet set) const { return width[static_cast<int>(set)]; }
  Index lanes_of(InstructionSet set) const { return lanes[static_cast<int>(set)]; }
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_TILE_HPP
