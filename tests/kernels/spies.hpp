// SPDX-License-Identifier: MIT
// Kernels that are no vectors: plain loops that note the tiles they are given, so that the drivers
// are tested by themselves, with units of any width.
#ifndef BATCHNORM_TESTS_KERNELS_SPIES_HPP
#define BATCHNORM_TESTS_KERNELS_SPIES_HPP

#include <algorithm>
#include <vector>

#include "batchnorm/kernels/reduce.hpp"
#include "support/arrays.hpp"

namespace batchnorm_test {

using batchnorm::Index;
using SpiedTile = batchnorm::detail::Tile<double>;

/// The tiles that kernels were given since it was cleared.
inline std::vector<SpiedTile>& spied_tiles() {
  static std::vector<SpiedTile> tiles;
  return tiles;
}

/// y_i = x_i + k_i, for as many outputs as there are.
inline void spy_map(const SpiedTile& tile) {
  spied_tiles().push_back(tile);
  for (Index r = 0; r < tile.rows; ++r) {
    for (Index c = 0; c < tile.columns; ++c) {
      for (std::size_t i = 0; i < static_cast<std::size_t>(tile.outputs); ++i) {
        tile.to[i][r * tile.to_step[i] + c] = tile.from[i][r * tile.from_step[i] + c] +
                                              tile.k[i][tile.per_column ? c : r * tile.row_step];
      }
    }
  }
}

constexpr Index spy_lanes = 4;

/// The sums of x_0 - k and of its product with the last input.
inline void spy_sums(const SpiedTile& tile) {
  spied_tiles().push_back(tile);
  const std::size_t last = static_cast<std::size_t>(tile.inputs) - 1;
  for (Index r = 0; r < tile.rows; ++r) {
    for (Index c = 0; c < tile.columns; ++c) {
      const double x = tile.from[0][r * tile.from_step[0] + c] -
                       tile.k[0][tile.per_column ? c : r * tile.row_step];
      const Index at = tile.per_column ? c : r * tile.row_step * spy_lanes + c % spy_lanes;
      tile.sums[0][at] += x;
      tile.sums[1][at] += x * tile.from[last][r * tile.from_step[last] + c];
    }
  }
}

/// The same of one row, into one number.
inline void spy_sums_in_accumulator(const SpiedTile& tile) {
  for (Index c = 0; c < tile.columns; ++c) {
    const double x = tile.from[0][c] - *tile.k[0];
    *tile.sums[0] += x;
    *tile.sums[1] += x * tile.from[static_cast<std::size_t>(tile.inputs - 1)][c];
  }
}

inline batchnorm::detail::KernelTable<double> spy_kernels(void (*kernel)(const SpiedTile&),
                                                          int width, int coefficients) {
  constexpr int lanes = static_cast<int>(spy_lanes);
  return {{kernel, kernel, kernel},
          {width, width, width},
          {lanes, lanes, lanes},
          1,
          coefficients,
          coefficients,
          &spy_sums_in_accumulator};
}

/// Coefficient i of channel c is 3 c + i: in tables, or computed.
class SpiedCoefficients : public batchnorm::detail::CoefficientSource<double> {
 public:
  SpiedCoefficients(Index channels, int count, bool in_tables) : in_tables_(in_tables) {
    for (int i = 0; i < count; ++i) {
      values_.emplace_back();
      for (Index c = 0; c < channels; ++c) values_.back().push_back(static_cast<double>(3 * c + i));
      tables_.push_back(nullptr);
    }
    for (std::size_t i = 0; i < values_.size(); ++i) tables_[i] = values_[i].data();
  }
  void write(Index first, Index last, double* const* to) const override {
    for (std::size_t i = 0; i < values_.size(); ++i) {
      std::copy(tables_[i] + first, tables_[i] + last, to[i]);
    }
  }
  const double* const* tables() const override { return in_tables_ ? tables_.data() : nullptr; }

 private:
  std::vector<std::vector<double>> values_;
  std::vector<const double*> tables_;
  bool in_tables_;
};

/// An array in which every element has a number of its own.
inline Array<double> numbered(const Shape& shape, const Storage& storage) {
  Array<double> array(shape, storage, -7.0);
  double number = 0;
  array.each([&](double& element, Index, Index, Index) { element = ++number; });
  return array;
}

/// Shapes for every way of walking: across channels and along, rows that are joined and runs that
/// are, with and without short ends.
inline std::vector<Shape> small_shapes() {
  return {{1, 1, 1},    {2, 1, 3},   {1, 5, 1},   {70, 3, 1},  {131, 1, 1}, {9, 5, 7},
          {8, 4, 15},   {9, 37, 3},  {7, 3, 16},  {3, 2, 257}, {2, 70, 4},  {5, 33, 2},
          {1, 600, 2},  {20, 17, 9}, {300, 4, 1}, {2, 3, 150}, {1, 31, 31}, {2, 2, 600},
          {30, 520, 1}, {9, 140, 9}, {1, 70, 1}};
}

/// Enough elements to be shared between threads; in the last, a cut lies one element behind the end
/// of a run.
inline std::vector<Shape> large_shapes() {
  return {{20, 33, 200}, {140001, 1, 1}, {4, 3, 11000}, {8900, 15, 1},
          {1100, 30, 4}, {120, 1100, 1}, {3, 1, 70001}};
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_KERNELS_SPIES_HPP
