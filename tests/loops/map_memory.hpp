// SPDX-License-Identifier: MIT
// What the tests of runs and of rows of loop 2 share: a formula that rounds, and memory in which a
// write to the wrong place is seen.
#ifndef BATCHNORM_TESTS_LOOPS_MAP_MEMORY_HPP
#define BATCHNORM_TESTS_LOOPS_MAP_MEMORY_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "batchnorm/loops/map.hpp"
#include "batchnorm/loops/map_job.hpp"
#include "support/generators.hpp"

namespace batchnorm_test {

/// y0 = (x0 - k0) k1 + k2 and y1 = x1 k1 + x0: numbers round, and k2 is a constant.
struct Rounding : batchnorm::loops::MapFormula<2, 1, 2> {
  template <class V>
  [[gnu::always_inline]] static void apply(V* y, const V* x, const V* k) {
    y[0] = (x[0] - k[0]) * k[1] + k[2];
    y[1] = x[1] * k[1] + x[0];
  }
};

/// Two inputs and two outputs, aligned to any vector, with empty memory before and behind.
template <class T, std::size_t Room>
struct MapMemoryOf {
  explicit MapMemoryOf(std::uint64_t seed) {
    Random random(seed);
    for (auto& each : in) {
      for (T& value : each) value = static_cast<T>(static_cast<float>(random.uniform(-9, 9)));
    }
    for (auto& each : out) std::fill(each, each + Room, untouched());
  }
  static T untouched() { return T(-12345.0f); }
  /// The operands from an element on; the outputs may be some elements apart from each other.
  batchnorm::loops::MapData<T, 2, 2> at(std::size_t first, std::size_t apart = 0) {
    return {{out[0] + first, out[1] + first + apart}, {in[0] + first, in[1] + first + 1}};
  }
  static_assert(Room * sizeof(T) % 64 == 0, "all arrays are aligned");
  alignas(64) T in[2][Room];
  alignas(64) T out[2][Room];
};

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_LOOPS_MAP_MEMORY_HPP
