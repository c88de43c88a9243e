// SPDX-License-Identifier: MIT
#include "batchnorm/math/check_moments.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "support/catch.hpp"

using namespace batchnorm_test;
using batchnorm::Index;
using batchnorm::Moments;
using batchnorm::moments_of;
namespace detail = batchnorm::detail;

TEST_CASE("moments of another layer, and such as no data can have, are refused", "[moments]") {
  Moments<double> moments(3);
  CHECK_NOTHROW(detail::check_moments("f", moments, 3));
  CHECK_THROWS_MATCHES(detail::check_moments("f", moments, 2), std::invalid_argument,
                       says("f: number of channels of the moments must be the layer's: expected 2, "
                            "got 3 means and 3 sums of squares"));
  moments.sum_of_squares.resize(2);
  CHECK_THROWS_MATCHES(detail::check_moments("f", moments, 3), std::invalid_argument,
                       says("expected 3, got 3 means and 2 sums of squares"));
  moments = Moments<double>(3);
  moments.count = -1;
  CHECK_THROWS_MATCHES(detail::check_moments("f", moments, 3), std::invalid_argument,
                       says("f: count of the moments: expected zero or more, got -1"));
  moments.count = 4;
  moments.sum_of_squares[2] = -0.0;
  CHECK_NOTHROW(detail::check_moments("f", moments, 3));
  moments.sum_of_squares[2] = -1e-300;
  CHECK_THROWS_MATCHES(detail::check_moments("f", moments, 3), std::domain_error,
                       says("f: sum of squares of channel 2: expected zero or larger"));
  moments.sum_of_squares[2] = std::numeric_limits<double>::quiet_NaN();
  CHECK_NOTHROW(detail::check_moments("f", moments, 3));
}

TEST_CASE("the first channel that is not finite is found", "[moments]") {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()}) {
    for (const Index column : {0, 1, 2, 6}) {
      Eigen::MatrixXf x = Eigen::MatrixXf::Ones(5, 7);
      x(3, column) = bad;
      CHECK(batchnorm::detail::first_non_finite_channel<float>(moments_of(x)) == 3);
    }
  }
  const Eigen::MatrixXf fine = Eigen::MatrixXf::Ones(5, 7);
  CHECK(batchnorm::detail::first_non_finite_channel<float>(moments_of(fine)) == -1);
}

TEST_CASE("a variance too large for the running statistics counts as not finite", "[moments]") {
  // +-1e30 in float: the variance 1e60 is a fine double and an infinite float.
  const Eigen::MatrixXf x = (Eigen::MatrixXf(2, 2) << 1, 2, 1e30f, -1e30f).finished();
  const Moments<double> moments = moments_of(x);
  CHECK_THAT(moments.population_variance()[1], Catch::Matchers::WithinRel(1e60, 1e-6));
  CHECK(batchnorm::detail::first_non_finite_channel<float>(moments) == 1);
  CHECK(batchnorm::detail::first_non_finite_channel<double>(moments) == -1);
}

TEST_CASE("the first of several bad channels is found, wherever it stands", "[moments]") {
  const double infinity = std::numeric_limits<double>::infinity();
  for (Index channels = 1; channels < 12; ++channels) {
    Moments<double> moments(channels);
    moments.count = 3;
    moments.mean.setConstant(-std::numeric_limits<float>::max());
    moments.sum_of_squares.setConstant(7);
    CHECK(detail::first_non_finite_channel<float>(moments) == -1);
    for (Index bad = 0; bad < channels; ++bad) {
      for (const double odd : {infinity, -infinity, 1e39, -1e39}) {
        Moments<double> with = moments;
        with.mean.tail(channels - bad).setConstant(odd);
        INFO("channel " << bad << " of " << channels << ", mean " << odd);
        CHECK(detail::first_non_finite_channel<float>(with) == bad);
      }
      // A sum of squares may be too large for float where the variance is not.
      Moments<double> squares = moments;
      squares.sum_of_squares[bad] = 6e38;
      CHECK(detail::first_non_finite_channel<float>(squares) == -1);
      squares.sum_of_squares[bad] = 8e38;
      CHECK(detail::first_non_finite_channel<float>(squares) == bad);
      CHECK(detail::first_non_finite_channel<double>(squares) == -1);
      for (const double odd : {infinity, -infinity, std::nan("")}) {
        squares.sum_of_squares[bad] = odd;
        CHECK(detail::first_non_finite_channel<double>(squares) == bad);
      }
      for (const Index count : {0, 1, 2}) {  // nothing to divide by
        squares.count = count;
        squares.sum_of_squares[bad] = 6e38;
        CHECK(detail::first_non_finite_channel<float>(squares) == bad);
      }
    }
  }
}

TEST_CASE("moments belong to an input, or to what it is a piece of", "[moments]") {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Ones(3, 5);
  const auto view = batchnorm::examples_in_columns(x);
  Moments<double> moments(3);
  for (const Index count : {4, 5, 6}) {
    moments.count = count;
    if (count == 5) {
      CHECK_NOTHROW(detail::check_batch("f", moments, 3, view.values_per_channel()));
    } else {
      CHECK_THROWS_MATCHES(detail::check_batch("f", moments, 3, view.values_per_channel()),
                           std::invalid_argument,
                           says("f: the moments must be those of this input: expected moments of 5 "
                                "values per channel, got moments of"));
    }
    if (count >= 5) {
      CHECK_NOTHROW(detail::check_piece("f", moments, 3, view.values_per_channel()));
    } else {
      CHECK_THROWS_MATCHES(detail::check_piece("f", moments, 3, view.values_per_channel()),
                           std::invalid_argument,
                           says("f: the moments must be those of the whole minibatch: expected "
                                "moments of at least the 5 values per channel of this piece, got "
                                "moments of 4"));
    }
  }
  moments.count = 5;
  const auto wrong_channels =
      says("f: number of channels of the moments must be the layer's: expected 2, got 3 means");
  CHECK_THROWS_MATCHES(detail::check_batch("f", moments, 2, view.values_per_channel()),
                       std::invalid_argument, wrong_channels);
  CHECK_THROWS_MATCHES(detail::check_piece("f", moments, 2, view.values_per_channel()),
                       std::invalid_argument, wrong_channels);
  moments.sum_of_squares[1] = -1;
  CHECK_THROWS_AS(detail::check_batch("f", moments, 3, view.values_per_channel()),
                  std::domain_error);
  CHECK_THROWS_AS(detail::check_piece("f", moments, 3, view.values_per_channel()),
                  std::domain_error);
}

TEST_CASE("sums belong to a layer and to a whole minibatch", "[moments]") {
  batchnorm::GradientSums<double> sums(3);
  sums.count = 5;
  CHECK_NOTHROW(detail::check_sums("f", sums, 3, 5));
  for (const Index count : {4, 6}) {
    CHECK_THROWS_MATCHES(detail::check_sums("f", sums, 3, count), std::invalid_argument,
                         says("f: the sums must be those of the whole minibatch, all pieces "
                              "merged: expected sums of"));
  }
  CHECK_THROWS_MATCHES(detail::check_sums("f", sums, 2, 5), std::invalid_argument,
                       says("f: number of channels of the sums must be the layer's: expected 2, "
                            "got 3 and 3"));
  sums.normalized.resize(2);
  CHECK_THROWS_MATCHES(detail::check_sums("f", sums, 3, 5), std::invalid_argument,
                       says("expected 3, got 3 and 2"));
}

TEST_CASE("one value leaves no squares behind, whatever it is") {
  Moments<double> one(1);
  one.count = 1;
  for (const double value : {0.0, -3.0, 1e300}) {
    one.mean[0] = value;
    one.sum_of_squares[0] = 0;
    CHECK_NOTHROW(detail::check_sound_moments("to_bytes", one));
  }
  one.mean[0] = 2;
  one.sum_of_squares[0] = 1;
  CHECK_THROWS_MATCHES(
      detail::check_sound_moments("to_bytes", one), std::domain_error,
      says("to_bytes: mean and sum of squares of channel 0: expected finite numbers, the sum zero, "
           "as there is one value, got 2 and 1"));
}

TEST_CASE("one value may leave rounding behind, as much as it weighs") {
  Moments<double> one(1);
  one.count = 1;
  one.mean[0] = -8;
  for (const double weight : {1.0, 4.0, 0.25}) {
    one.set_weight(weight, weight * weight, batchnorm::Weights::importance);
    one.sum_of_squares[0] = 64e-6 * weight * 0.99;
    CHECK_NOTHROW(detail::check_sound_moments("f", one));
    one.sum_of_squares[0] = 64e-6 * weight * 1.01;
    CHECK_THROWS_AS(detail::check_sound_moments("f", one), std::domain_error);
  }
  one.count = 2;
  CHECK_NOTHROW(detail::check_sound_moments("f", one));
}

TEST_CASE("no values leave nothing behind, and several no number that is not finite") {
  Moments<double> moments(2);
  CHECK_NOTHROW(detail::check_sound_moments("f", moments));
  const auto refusal = [&](double mean, double squares) {
    moments.mean[1] = mean;
    moments.sum_of_squares[1] = squares;
    try {
      detail::check_sound_moments("f", moments);
    } catch (const std::domain_error& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  const std::string rule = "f: mean and sum of squares of channel 1: expected ";
  CHECK(refusal(1, 0) == rule + "zero, as there are no values, got 1 and 0");
  CHECK(refusal(0, 0.5) == rule + "zero, as there are no values, got 0 and 0.5");
  moments.count = 3;
  CHECK(refusal(1, 0) == "accepted");
  CHECK(refusal(-1, 7) == "accepted");
  CHECK(refusal(INFINITY, 7) == rule + "finite numbers, the sum not negative, got inf and 7");
  CHECK(refusal(1, INFINITY) == rule + "finite numbers, the sum not negative, got 1 and inf");
  CHECK(refusal(1, -2) == rule + "finite numbers, the sum not negative, got 1 and -2");
  moments.count = -1;
  CHECK_THROWS_MATCHES(detail::check_sound_moments("f", moments), std::invalid_argument,
                       says("f: count of the moments: expected zero or more, got -1"));
}
