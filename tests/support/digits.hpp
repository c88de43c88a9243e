// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_TESTS_SUPPORT_DIGITS_HPP
#define BATCHNORM_TESTS_SUPPORT_DIGITS_HPP

#include <Eigen/Core>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace batchnorm_test {

/// The UCI digits as the conformance groups use them: pixels / 16, one image per column.
struct Digits {
  Eigen::MatrixXd images;
  std::vector<Eigen::Index> labels;

  static constexpr Eigen::Index rows = 1797;
  static constexpr Eigen::Index training_rows = 1437;
  static constexpr Eigen::Index test_rows = rows - training_rows;

  auto test_images() const { return images.rightCols(test_rows); }
};

/// Reads the CSV: per row 64 pixels from 0 to 16 and the digit.
inline Digits read_digits(const std::string& path) {
  std::ifstream file(path);
  Digits digits{Eigen::MatrixXd(64, Digits::rows), {}};
  for (Eigen::Index row = 0; row < Digits::rows; ++row) {
    int value = 0;
    char comma = ',';
    for (Eigen::Index pixel = 0; pixel < 64; ++pixel) {
      if (!(file >> value >> comma) || comma != ',')
        throw std::runtime_error("not the digits: " + path);
      digits.images(pixel, row) = value / 16.0;
    }
    if (!(file >> value)) throw std::runtime_error("not the digits: " + path);
    digits.labels.push_back(value);
  }
  return digits;
}

/// The row of the largest entry of each column.
template <class Scores>
std::vector<Eigen::Index> predictions(const Scores& scores) {
  std::vector<Eigen::Index> best(static_cast<std::size_t>(scores.cols()));
  for (Eigen::Index column = 0; column < scores.cols(); ++column) {
    scores.col(column).maxCoeff(&best[static_cast<std::size_t>(column)]);
  }
  return best;
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_DIGITS_HPP
