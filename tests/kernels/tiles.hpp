// SPDX-License-Identifier: MIT
// Tiles of small integers in memory whose every other bit is watched.
#ifndef BATCHNORM_TESTS_KERNELS_TILES_HPP
#define BATCHNORM_TESTS_KERNELS_TILES_HPP

#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "batchnorm/kernels/tile.hpp"
#include "support/generators.hpp"

namespace batchnorm_test {

using batchnorm::Index;

/// Sums, coefficients and elements that nobody wrote: a NaN of a bit pattern of its own.
template <class T>
T unwritten() {
  T value = std::numeric_limits<T>::quiet_NaN();
  if (std::numeric_limits<T>::digits <= 53) {
    unsigned char bytes[sizeof(T)];
    std::memcpy(bytes, &value, sizeof value);
    bytes[0] |= 1;
    std::memcpy(&value, bytes, sizeof value);
  }
  return value;
}

/// Zeros of both signs are the same, NaNs of other bits are not.
template <class T>
bool same_bits(const T& a, const T& b) {
  constexpr int digits = std::numeric_limits<T>::digits;
  const Size size = digits == 64 ? 10 : sizeof(T);  // the rest of x87's long double is padding
  return a == b || std::memcmp(&a, &b, size) == 0;
}

/// Rows of elements, with a margin in front, in memory that ends soon after them.
template <class T>
class Rows {
 public:
  /// @param margin    elements before the end of every row that must be there
  /// @param step      from row to row
  /// @param past_line distance of the first element to the cache line before it
  Rows(Index rows, Index columns, Index margin, Index step, Index past_line) : step_(step) {
    const Index span = (rows - 1) * (step < 0 ? -step : step);
    const Index most = (margin > columns ? margin - columns : 0) + span + columns + line;
    memory_.assign(static_cast<Size>(most), unwritten<T>());
    first_ = (margin > columns ? margin - columns : 0) + (step < 0 ? span : 0);
    while (address(first_) % line != past_line) ++first_;
  }

  T* data() { return memory_.data() + first_; }
  Index step() const { return step_; }
  T& operator()(Index row, Index column) {
    return memory_[static_cast<Size>(first_ + row * step_ + column)];
  }
  static constexpr Index line = 64 / static_cast<Index>(sizeof(T));
  bool operator==(const Rows& other) const {
    for (Size i = 0; i < memory_.size(); ++i) {
      if (!same_bits(memory_[i], other.memory_[i])) return false;
    }
    return true;
  }

 private:
  Index address(Index element) const {
    return static_cast<Index>(reinterpret_cast<std::uintptr_t>(memory_.data() + element) /
                              sizeof(T));
  }

  Index step_;
  Index first_ = 0;
  std::vector<T> memory_;
};

/// A step between rows: without gaps, with some, or from the last row to the first.
inline Index random_step(Random& random, Index columns) {
  const Index step = columns + static_cast<Index>(random.below(4));
  return random.below(4) == 0 ? -step : step;
}

/// An integer from -bound to bound.
inline Real small_integer(Random& random, Size bound) {
  return static_cast<Real>(random.below(2 * bound + 1)) - static_cast<Real>(bound);
}

/// Shapes of tiles: all numbers of columns with some of rows, all of rows with some of columns.
template <class Body>
void for_tile_shapes(Index width, const Body& body) {
  for (Index columns = 1; columns <= 3 * width + 1; ++columns) {
    for (const Index rows : {1, 2, 7}) body(rows, columns);
  }
  for (Index rows = 1; rows <= 20; ++rows) {
    for (const Index columns : {Index{1}, width, 2 * width + 3}) body(rows, columns);
  }
}

/// The instruction sets that this machine has.
inline std::vector<batchnorm::InstructionSet> instruction_sets_here() {
  using batchnorm::InstructionSet;
  std::vector<InstructionSet> sets;
  for (const InstructionSet set :
       {InstructionSet::best, InstructionSet::avx2, InstructionSet::baseline}) {
    if (batchnorm::detail::usable_instruction_set(set) == set) sets.push_back(set);
  }
  return sets;
}

/// Whether the kernels of a set are there for tiles along channels, and for streamed ones.
template <class T>
bool takes_all_tiles(const batchnorm::detail::KernelTable<T>& kernels,
                     batchnorm::InstructionSet set) {
  constexpr Index bytes = sizeof(batchnorm::parameter_t<T>);
  return batchnorm::detail::simd::is_16_bit<T> || kernels.lanes_of(set) * bytes < 64;
}

/// One table of integers per coefficient, with what a masked unit reads in front.
template <class C>
class CoefficientTables {
 public:
  /// @param before  the numbers in the margin
  CoefficientTables(Random& random, int count, Index entries, Index margin, C before)
      : margin_(margin) {
    for (int i = 0; i < count; ++i) {
      tables_.emplace_back(static_cast<Size>(margin + entries), before);
      for (Index e = 0; e < entries; ++e) {
        tables_.back()[static_cast<Size>(margin + e)] = static_cast<C>(small_integer(random, 2));
      }
    }
  }
  const C* table(int i) const { return tables_[static_cast<Size>(i)].data() + margin_; }
  Real operator()(int i, Index entry) const { return static_cast<Real>(table(i)[entry]); }

 private:
  Index margin_;
  std::vector<std::vector<C>> tables_;
};

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_KERNELS_TILES_HPP
