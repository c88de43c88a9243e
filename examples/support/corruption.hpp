// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_CORRUPTION_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_CORRUPTION_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "support/digits.hpp"
#include "support/random.hpp"

// What a camera may do to images after a network has learned to read: all of them in one way.

namespace example {

/// x -> centre + contrast (x - centre) + brightness + noise, cut off at black and white.
struct Camera {
  double contrast = 1;
  double brightness = 0;
  double noise = 0;  ///< its standard deviation

  Digits operator()(Digits digits, Random& random) const {
    constexpr double centre = 0.5;
    for (float& pixel : digits.images.reshaped()) {
      const double shown = centre + contrast * (double{pixel} - centre) + brightness;
      pixel = static_cast<float>(std::clamp(shown + noise * random.normal(), 0.0, 1.0));
    }
    return digits;
  }
};

/// The same images, all of one digit first, then all of the next.
inline Digits sorted_by_class(const Digits& digits) {
  std::vector<Eigen::Index> order(static_cast<std::size_t>(digits.count()));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](Eigen::Index a, Eigen::Index b) {
    return digits.label(a) < digits.label(b);
  });
  return digits.pick(order.begin(), order.end());
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_CORRUPTION_HPP
