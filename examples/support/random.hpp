// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_RANDOM_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_RANDOM_HPP

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace example {

/// Random numbers that are the same with every compiler and standard library, which those of
/// <random> are not: splitmix64 (Steele, Lea and Flood 2014).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t bits() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  /// Evenly between low and high.
  double between(double low, double high) {
    return low + (high - low) * (static_cast<double>(bits() >> 11) * 0x1p-53);
  }

  /// Mean 0 and standard deviation 1: twelve even numbers added up are close to normal, and need no
  /// logarithm that every system rounds in its own way.
  double normal() {
    double sum = -6.0;
    for (int k = 0; k < 12; ++k) sum += between(0.0, 1.0);
    return sum;
  }

  /// Every order equally likely (Fisher and Yates).
  template <class T>
  void shuffle(std::vector<T>& items) {
    for (std::size_t left = items.size(); left > 1; --left) {
      std::swap(items[left - 1], items[static_cast<std::size_t>(bits() % left)]);
    }
  }

 private:
  std::uint64_t state_;
};

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_RANDOM_HPP
