// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_TESTS_SUPPORT_RANDOM_BITS_HPP
#define BATCHNORM_TESTS_SUPPORT_RANDOM_BITS_HPP

#include <cstdint>
#include <vector>

#include "batchnorm/detail/scalar.hpp"
#include "support/generators.hpp"

// Elements, and one bit for each of them.

namespace batchnorm_test {

/// Whole numbers that all scalar types hold.
template <class T>
std::vector<T> whole_numbers(Random& random, batchnorm::Index count) {
  std::vector<T> values;
  for (batchnorm::Index i = 0; i < count; ++i) {
    values.push_back(static_cast<T>(static_cast<float>(random.below(200)) - 100.0f));
  }
  return values;
}

inline std::vector<std::uint8_t> random_bits(Random& random, batchnorm::Index bytes) {
  std::vector<std::uint8_t> bits;
  for (batchnorm::Index i = 0; i < bytes; ++i) {
    bits.push_back(static_cast<std::uint8_t>(random.below(256)));
  }
  return bits;
}

inline bool is_set(const std::vector<std::uint8_t>& bits, batchnorm::Index i) {
  return (bits[static_cast<Size>(i / 8)] >> (i % 8) & 1u) != 0;
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_RANDOM_BITS_HPP
