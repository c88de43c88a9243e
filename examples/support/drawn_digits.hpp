// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_DRAWN_DIGITS_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_DRAWN_DIGITS_HPP

// A data set that needs no file: digits drawn with a pen of strokes onto 8 x 8 pixels, every one
// shifted, slanted, wobbled and soiled in its own way. Only sums, products and square roots are
// used, so that every system draws the same images.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "support/digits.hpp"
#include "support/random.hpp"

namespace example {

struct Point {
  double x;
  double y;
};
using Stroke = std::vector<Point>;
using Glyph = std::vector<Stroke>;

/// The ten digits as a pen draws them on a sheet of 10 x 10, y pointing down.
inline const std::vector<Glyph>& glyphs() {
  static const std::vector<Glyph> ten = {
      {{{5, 0}, {8, 1}, {9, 5}, {8, 9}, {5, 10}, {2, 9}, {1, 5}, {2, 1}, {5, 0}}},
      {{{3, 3}, {6, 0}, {6, 10}}},
      {{{1, 3}, {3, 0}, {7, 0}, {9, 3}, {6, 6}, {1, 10}, {9, 10}}},
      {{{1, 1}, {5, 0}, {8, 2}, {8, 4}, {4, 5}, {9, 6}, {9, 9}, {5, 10}, {1, 9}}},
      {{{6, 10}, {6, 0}, {1, 7}, {9, 7}}},
      {{{9, 0}, {2, 0}, {1, 5}, {6, 4}, {9, 6}, {8, 9}, {5, 10}, {1, 9}}},
      {{{8, 0}, {4, 2}, {1, 6}, {2, 9}, {6, 10}, {9, 8}, {7, 5}, {4, 5}, {1, 7}}},
      {{{1, 0}, {9, 0}, {4, 10}}, {{3, 5}, {8, 5}}},
      {{{5, 5}, {2, 3}, {3, 0}, {7, 0}, {8, 3}, {5, 5}},
       {{5, 5}, {1, 8}, {3, 10}, {7, 10}, {9, 8}, {5, 5}}},
      {{{9, 3}, {6, 5}, {3, 5}, {1, 2}, {4, 0}, {8, 1}, {9, 4}, {7, 8}, {3, 10}}}};
  return ten;
}

/// How far apart the copies of one digit are.
struct Handwriting {
  double shift = 0.7;   ///< in pixels, to every side
  double wobble = 0.7;  ///< standard deviation of the points of a stroke, on the sheet of 10 x 10
  double slant = 0.25;  ///< pixels to the side per pixel up
  double stain = 1.8;   ///< standard deviation of the noise, in steps of brightness
};

inline double distance_to_segment(const Point& p, const Point& a, const Point& b) {
  const double dx = b.x - a.x;
  const double dy = b.y - a.y;
  const double length = std::max(dx * dx + dy * dy, 1e-12);
  const double share = std::clamp(((p.x - a.x) * dx + (p.y - a.y) * dy) / length, 0.0, 1.0);
  const double away_x = p.x - a.x - share * dx;
  const double away_y = p.y - a.y - share * dy;
  return std::sqrt(away_x * away_x + away_y * away_y);
}

/// A glyph put on the 8 x 8 pixels: wobbled, scaled, slanted and shifted.
inline Glyph placed(Glyph glyph, const Handwriting& hand, Random& random) {
  const double width = random.between(0.50, 0.62);
  const double height = random.between(0.65, 0.78);
  const double slant = random.between(-hand.slant, hand.slant);
  const double right = random.between(-hand.shift, hand.shift);
  const double down = random.between(-hand.shift, hand.shift) / 2;
  for (Stroke& stroke : glyph) {
    for (Point& point : stroke) {
      const double x = (point.x - 5 + hand.wobble * random.normal()) * width;
      const double y = (point.y - 5 + hand.wobble * random.normal()) * height;
      point = {3.5 + x - slant * y + right, 3.5 + y + down};
    }
  }
  return glyph;
}

/// One image of a digit: 64 pixels, row by row, each k / 16 for a whole number k.
inline Eigen::VectorXf draw_digit(int digit, const Handwriting& hand, Random& random) {
  const Glyph glyph = placed(glyphs()[static_cast<std::size_t>(digit)], hand, random);
  const double thickness = random.between(0.8, 1.2);
  const double ink = random.between(0.9, 1.2) * brightest;
  Eigen::VectorXf image(pixels);
  for (Eigen::Index pixel = 0; pixel < pixels; ++pixel) {
    const Point here{static_cast<double>(pixel % image_side),
                     static_cast<double>(pixel / image_side)};
    double nearest = 2.0 * image_side;
    for (const Stroke& stroke : glyph) {
      for (std::size_t k = 1; k < stroke.size(); ++k) {
        nearest = std::min(nearest, distance_to_segment(here, stroke[k - 1], stroke[k]));
      }
    }
    const double covered = std::clamp(thickness + 0.5 - nearest, 0.0, 1.0);
    const double shade = std::round(ink * covered + hand.stain * random.normal());
    image[pixel] = static_cast<float>(std::clamp(shade, 0.0, double{brightest})) / brightest;
  }
  return image;
}

/// As many images as the UCI digits have, all ten digits equally often, in a random order.
inline DigitsData draw_digits(std::uint64_t seed) {
  Random random(seed);
  std::vector<int> labels;
  for (Eigen::Index row = 0; row < training_rows + test_rows; ++row) {
    labels.push_back(static_cast<int>(row % classes));
  }
  random.shuffle(labels);
  DigitsData data;
  data.origin = "drawn by this program, seed " + std::to_string(seed);
  for (std::size_t row = 0; row < labels.size(); ++row) {
    data.set(static_cast<Eigen::Index>(row), draw_digit(labels[row], Handwriting{}, random),
             labels[row]);
  }
  return data;
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_DRAWN_DIGITS_HPP
