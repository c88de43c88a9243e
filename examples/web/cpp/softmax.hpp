// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_WEB_SOFTMAX_HPP
#define BATCHNORM_EXAMPLES_WEB_SOFTMAX_HPP

#include <Eigen/Core>
#include <cmath>
#include <cstddef>
#include <vector>

// Softmax to the same bits in a browser and in a native program. C libraries round exp in different
// ways; sums, products and quotients are rounded in one way everywhere (IEEE 754), provided that
// none of them are fused (-ffp-contract=off).

namespace example {

/// exp(x) for x <= 0, to a few units in the last place.
inline double portable_exp(double x) {
  if (x < -700.0) return 0.0;
  // x = k log(2) + r with |r| <= log(2) / 2, and log(2) in two parts, of which k times the first is
  // exact.
  constexpr double log2_high = 0x1.62e42fee00000p-1, log2_low = 0x1.a39ef35793c76p-33;
  const double k = std::floor(x * 1.4426950408889634 + 0.5);
  const double r = (x - k * log2_high) - k * log2_low;
  double sum = 1.0;  // Taylor: r^14 / 14! is below 2^-57
  for (int n = 13; n > 0; --n) sum = 1.0 + sum * r / n;
  return std::ldexp(sum, static_cast<int>(k));
}

/// The probabilities of the classes, from one column of logits per image.
inline Eigen::MatrixXd probabilities(const Eigen::MatrixXf& logits) {
  Eigen::MatrixXd shares(logits.rows(), logits.cols());
  for (Eigen::Index image = 0; image < logits.cols(); ++image) {
    const auto largest = static_cast<double>(logits.col(image).maxCoeff());
    double sum = 0.0;
    for (Eigen::Index k = 0; k < logits.rows(); ++k) {
      shares(k, image) = portable_exp(static_cast<double>(logits(k, image)) - largest);
      sum += shares(k, image);
    }
    for (Eigen::Index k = 0; k < logits.rows(); ++k) shares(k, image) /= sum;
  }
  return shares;
}

/// The gradient of the mean cross entropy with respect to the logits.
inline Eigen::MatrixXf cross_entropy_gradient(const Eigen::MatrixXf& logits,
                                              const std::vector<int>& labels) {
  Eigen::MatrixXd gradient = probabilities(logits);
  for (std::size_t image = 0; image < labels.size(); ++image) {
    gradient(labels[image], static_cast<Eigen::Index>(image)) -= 1.0;
  }
  return (gradient / static_cast<double>(labels.size())).cast<float>();
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_WEB_SOFTMAX_HPP
