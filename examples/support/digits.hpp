// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_DIGITS_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_DIGITS_HPP

#include <Eigen/Core>
#include <cstddef>
#include <string>
#include <vector>

namespace example {

constexpr Eigen::Index image_side = 8;
constexpr Eigen::Index pixels = image_side * image_side;
constexpr Eigen::Index classes = 10;
constexpr int brightest = 16;  ///< a pixel of the UCI digits is a whole number from 0 to 16
constexpr Eigen::Index training_rows = 1437;
constexpr Eigen::Index test_rows = 360;

/// Images of digits and what they show.
struct Digits {
  Eigen::MatrixXf images;   ///< 64 x count: one image per column, row by row, 0 to 1
  std::vector<int> labels;  ///< 0 to 9

  explicit Digits(Eigen::Index count)
      : images(pixels, count), labels(static_cast<std::size_t>(count)) {}

  Eigen::Index count() const { return images.cols(); }
  int& label(Eigen::Index image) { return labels[static_cast<std::size_t>(image)]; }
  int label(Eigen::Index image) const { return labels[static_cast<std::size_t>(image)]; }

  /// The images with the given numbers, in that order.
  template <class Iterator>
  Digits pick(Iterator begin, Iterator end) const {
    Digits picked(end - begin);
    for (Eigen::Index place = 0; begin != end; ++begin, ++place) {
      picked.images.col(place) = images.col(*begin);
      picked.label(place) = label(*begin);
    }
    return picked;
  }
};

/// A data set, split as the UCI digits are in this project: rows 0 to 1436 and 1437 to 1796.
struct DigitsData {
  Digits training{training_rows};
  Digits test{test_rows};
  std::string origin;  ///< where the images come from, for people

  /// The place of a row of the whole data set.
  void set(Eigen::Index row, const Eigen::VectorXf& image, int label) {
    Digits& part = row < training_rows ? training : test;
    const Eigen::Index place = row < training_rows ? row : row - training_rows;
    part.images.col(place) = image;
    part.label(place) = label;
  }
};

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_DIGITS_HPP
