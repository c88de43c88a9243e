// SPDX-License-Identifier: MIT
// The variance is right to a few units in the last place of double in every layout, padded and
// strided ones included, whatever the distance of the mean to zero.
#include <algorithm>
#include <cmath>
#include <vector>

#include "batchnorm/math/moments.hpp"
#include "support/arrays.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

/// Values of deviation 1 about `mean`, as they are stored, and the sums of their squared
/// deviations.
template <class T>
struct Data {
  /// @param digits  values are rounded to that many digits behind the point; 0: not at all
  Data(Random& random, const Shape& shape, double mean, int digits)
      : values(static_cast<Size>(shape.elements())), squares(static_cast<Size>(shape.channels), 0) {
    PerChannel sums(static_cast<Size>(shape.channels), 0);
    std::vector<Real> offsets(values.size());
    for (Size i = 0; i < values.size(); ++i) {
      const double number = random.normal();
      const double rounded =
          digits > 0 ? std::ldexp(std::round(std::ldexp(number, digits)), -digits) : number;
      values[i] = static_cast<T>(mean + rounded);
      offsets[i] = static_cast<Real>(values[i]) - static_cast<Real>(mean);
      sums[channel(shape, i)] += offsets[i];
    }
    const Real count = static_cast<Real>(shape.samples * shape.positions);
    for (Size i = 0; i < offsets.size(); ++i) {
      const Real deviation = offsets[i] - sums[channel(shape, i)] / count;
      squares[channel(shape, i)] += deviation * deviation;
    }
  }
  static Size channel(const Shape& shape, Size i) {
    return i / static_cast<Size>(shape.positions) % static_cast<Size>(shape.channels);
  }

  std::vector<T> values;  ///< samples, channels, positions
  PerChannel squares;
};

/// The largest relative error of a variance, in units of the last place of double.
template <class T>
Real worst_error(const Data<T>& data, const Shape& shape, const Storage& storage) {
  Array<T> x(shape, storage, static_cast<T>(1e6));
  const T* next = data.values.data();
  x.each([&](T& element, Index, Index, Index) { element = *next++; });
  const auto moments = moments_of(x.view());
  Real worst = 0;
  for (Size c = 0; c < data.squares.size(); ++c) {
    const Real found = static_cast<Real>(moments.sum_of_squares[static_cast<Index>(c)]);
    worst = (std::max)(worst, std::fabs(found - data.squares[c]) / data.squares[c]);
  }
  return worst / 0x1p-52L;
}

/// Data of few digits, whose squares no lane rounds, and of all, which sums must round.
template <class T>
void check_all_layouts(int digits, double bound, const std::vector<double>& means) {
  Random random(60);
  for (const Shape& shape : {Shape{30011, 1, 1},
                             {50, 6, 400},
                             {1, 3, 9001},
                             {10007, 3, 1},
                             {1500, 40, 1},
                             {500, 35, 9}}) {
    for (const double mean : means) {
      const Data<T> data(random, shape, mean, digits);
      for (const Storage& storage : all_storages()) {
        INFO(shape.samples << " x " << shape.channels << " x " << shape.positions << ", mean "
                           << mean << ", axes " << storage.order[0] << storage.order[1]
                           << storage.order[2] << ", step " << storage.step << ", gap "
                           << storage.gap);
        CHECK(static_cast<double>(worst_error<T>(data, shape, storage)) <= bound);
      }
    }
  }
}

}  // namespace

TEST_CASE("the variance of doubles of few digits is right to 4 units in the last place") {
  check_all_layouts<double>(4, 4, {0, 1e3, 1e8});
}

TEST_CASE("the variance of doubles of all digits is right to 8 units in the last place") {
  check_all_layouts<double>(0, 8, {0, 1e8});
}

TEST_CASE("the variance of floats of few digits is right to 4 units in the last place of double") {
  check_all_layouts<float>(4, 4, {0, 1e3, 5e5});
}
