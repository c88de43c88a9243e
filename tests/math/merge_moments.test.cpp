// SPDX-License-Identifier: MIT
// A million random pairs of moments, against the merged moments of the given numbers in long
// double: from sets of one value to sets of a million, with means that agree in many digits, that
// differ by many deviations, and that cancel.
#include "batchnorm/math/merge_moments.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "batchnorm/math/moments.hpp"
#include "support/bounds.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"

using namespace batchnorm_test;
using batchnorm::Index;
using batchnorm::Moments;

namespace {

constexpr Index channels = 1000;

/// 1 to 2^20, small numbers as often as large ones.
Index random_count(Random& random) {
  return 1 + static_cast<Index>(random.bits() & ((std::uint64_t{1} << random.below(21)) - 1));
}

/// Moments about means of `offset` deviations that lie `apart` deviations from each other.
Moments<double> random_moments(Random& random, Index count, double offset, double apart) {
  Moments<double> moments(channels);
  moments.count = count;
  for (Index c = 0; c < channels; ++c) {
    moments.mean[c] = offset + apart * random.normal();
    moments.sum_of_squares[c] = static_cast<double>(count - 1) * random.uniform(0.5, 2);
  }
  return moments;
}

struct Pair {
  Moments<double> a, b;
};

/// A pair of each kind in turn.
Pair random_pair(Random& random, int kind) {
  const double offsets[] = {0.0, 1.0, -1e3, 1e8};
  const double distances[] = {1e-3, 1.0, 30.0};
  const double offset = offsets[kind % 4];
  const double apart = distances[kind / 4 % 3];
  const Index count = random_count(random);
  const bool same_size = kind % 5 == 0;
  Pair pair{random_moments(random, count, offset, apart),
            random_moments(random, same_size ? count : random_count(random), offset, apart)};
  if (kind % 7 == 0) pair.b.mean = -pair.a.mean + pair.b.mean * 1e-6;  // the means cancel
  if (kind % 11 == 0) pair.b.mean = pair.a.mean;                       // or are one
  return pair;
}

/// The distance from |value| to the next larger double.
Real ulp(Real value) {
  const double magnitude = std::fabs(static_cast<double>(value));
  return static_cast<Real>(std::nextafter(magnitude, std::numeric_limits<double>::infinity())) -
         static_cast<Real>(magnitude);
}

struct Errors {
  Index differing_bits = 0;
  Real mean = 0;      ///< the largest, in ulp of the result
  Real variance = 0;  ///< the same
};

void add_errors(Errors& errors, const Pair& pair) {
  Moments<double> ab = pair.a, ba = pair.b;
  ab.merge(pair.b);
  ba.merge(pair.a);
  const Real n = static_cast<Real>(pair.a.count + pair.b.count);
  const Real share = static_cast<Real>(pair.b.count) / n;
  const auto merged = ab.population_variance();
  REQUIRE(ab.count == pair.a.count + pair.b.count);
  for (Index c = 0; c < channels; ++c) {
    if (!(ab.mean[c] == ba.mean[c] && ab.sum_of_squares[c] == ba.sum_of_squares[c])) {
      ++errors.differing_bits;
    }
    const Real mean_a = pair.a.mean[c], mean_b = pair.b.mean[c];
    const Real d = mean_b - mean_a;
    const Real mean = mean_a + d * share;
    const Real squares = static_cast<Real>(pair.a.sum_of_squares[c]) + pair.b.sum_of_squares[c] +
                         d * d * share * static_cast<Real>(pair.a.count);
    // What the sums in long double may be off by themselves.
    const Real slack = 4 * unit<Real>() * (std::fabs(mean_a) + std::fabs(mean_b));
    const Real off = std::max(std::fabs(ab.mean[c] - mean) - slack, Real(0));
    errors.mean = std::max(errors.mean, off / ulp(mean));
    const Real variance = squares / n;
    if (variance > 0) {
      errors.variance = std::max(errors.variance, std::fabs(merged[c] - variance) / ulp(variance));
    }
  }
}

}  // namespace

TEST_CASE("a million random pairs merge to the same bits in either order, and rightly") {
  Random random(11);
  Errors errors;
  for (int kind = 0; kind < 1000; ++kind) add_errors(errors, random_pair(random, kind));
  CHECK(errors.differing_bits == 0);
  CHECK(errors.mean <= 0.5L);
  CHECK(errors.variance <= 4);
}

TEST_CASE("the plain formula joins 0 and 2 with 4 and 6, and with 4, 5 and 6") {
  namespace detail = batchnorm::detail;
  double mean = 1, squares = 2;
  detail::merge_moments(mean, squares, 5.0, 2.0, detail::MergeWeights<double>(2, 2));
  CHECK(mean == 3.0);
  CHECK(squares == 20.0);
  mean = 1, squares = 2;
  detail::merge_moments(mean, squares, 5.0, 2.0, detail::MergeWeights<double>(2.0, 6.0, 8.0));
  CHECK(mean == 4.0);
  CHECK(squares == 28.0);  // 2 + 2 + 16 x 1.5
  detail::merge_moments(mean, squares, 9.0, 7.0, detail::MergeWeights<double>(8, 0));
  CHECK(mean == 4.0);
}

TEST_CASE("scalars that are no built-in ones are merged by the plain formula, in either order") {
  using Eigen::half;
  const auto merged = [](float n, float mean, float squares, float m, float other_mean,
                         float other_squares) {
    half to_mean(mean), to_squares(squares);
    const batchnorm::detail::SymmetricMerge<half> merge{half(n), half(m), half(n + m)};
    merge(to_mean, to_squares, half(other_mean), half(other_squares));
    return std::make_pair(static_cast<float>(to_mean), static_cast<float>(to_squares));
  };
  const std::pair<float, float> expected(3.0f, 20.0f), uneven(4.0f, 28.0f);
  CHECK(merged(2, 1, 2, 2, 5, 2) == expected);
  CHECK(merged(2, 5, 2, 2, 1, 2) == expected);
  CHECK(merged(2, 1, 2, 6, 5, 2) == uneven);
  CHECK(merged(6, 5, 2, 2, 1, 2) == uneven);
  // Thirds are rounded: to the same bits all the same.
  CHECK(merged(1, 1, 0, 2, 2, 5) == merged(2, 2, 5, 1, 1, 0));
  CHECK(merged(3, 1, 0.1f, 3, 2.7f, 5) == merged(3, 2.7f, 5, 3, 1, 0.1f));
  CHECK(merged(3, 1, 0.1f, 3, 1, 5) == merged(3, 1, 5, 3, 1, 0.1f));
}
