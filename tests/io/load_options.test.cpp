// SPDX-License-Identifier: MIT
#include "batchnorm/io/load_options.hpp"

#include <cmath>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "support/catch.hpp"

using namespace batchnorm;
using batchnorm_test::says;

TEST_CASE("there are no options without saying where epsilon comes from") {
  STATIC_REQUIRE_FALSE(std::is_default_constructible<LoadOptions>::value);
  STATIC_REQUIRE_FALSE(std::is_convertible<double, LoadOptions>::value);
  STATIC_REQUIRE_FALSE(std::is_convertible<double, Epsilon>::value);
  STATIC_REQUIRE(std::is_convertible<Epsilon, LoadOptions>::value);
}

TEST_CASE("epsilon is a finite number from zero") {
  CHECK(Epsilon(0.0).value == 0.0);
  CHECK(Epsilon(1e-3).value == 1e-3);
  for (const double bad : {-1e-5, HUGE_VAL, std::nan("")}) {
    CHECK_THROWS_MATCHES(Epsilon(bad), std::invalid_argument,
                         says("epsilon is added to a variance: expected a finite number"));
  }
}

TEST_CASE("options are what was asked for, and copies stay as they are") {
  const LoadOptions given = Epsilon(1e-5);
  REQUIRE(given.epsilon());
  CHECK(given.epsilon()->value == 1e-5);
  CHECK_FALSE(given.naming());
  CHECK_FALSE(given.is_inplace_abn());
  const LoadOptions changed = given.named(Naming::keras()).from_inplace_abn();
  REQUIRE(changed.naming());
  CHECK(*changed.naming() == Naming::keras());
  CHECK(changed.is_inplace_abn());
  CHECK(changed.epsilon()->value == 1e-5);
  CHECK_FALSE(given.naming());
  CHECK_FALSE(LoadOptions::saved().epsilon());
}

TEST_CASE("what a layer has not is known only when the caller has said so") {
  const LoadOptions given = Epsilon(1e-5);
  CHECK_FALSE(given.has_scale());
  CHECK_FALSE(given.has_shift());
  CHECK_FALSE(given.has_statistics());
  CHECK(given.without_scale().has_scale() == false);
  CHECK_FALSE(given.without_scale().has_shift());
  CHECK(given.without_shift().has_shift() == false);
  CHECK_FALSE(given.without_shift().has_scale());
  const LoadOptions bare = given.without_scale_and_shift().without_statistics();
  CHECK(bare.has_scale() == false);
  CHECK(bare.has_shift() == false);
  CHECK(bare.has_statistics() == false);
  CHECK(bare.epsilon()->value == 1e-5);
}

TEST_CASE("each word about how numbers are stored and learned is kept, and says nothing else") {
  const LoadOptions given = Epsilon(1e-5);
  const auto said = [](const LoadOptions& options) {
    std::string words;
    words += options.is_inplace_abn() ? "inplace " : "";
    words += options.stored_variance() ? "stored " : "";
    words += options.is_epsilon_outside_root() ? "outside " : "";
    words += options.adds_one_to_gamma() ? "one " : "";
    words += options.has_free_gamma() ? "free " : "";
    words += options.running() ? "running " : "";
    words += options.running_variance() ? "estimator " : "";
    return words;
  };
  CHECK(said(given) == "");
  CHECK(said(LoadOptions::saved()) == "");
  CHECK(said(given.from_inplace_abn()) == "inplace ");
  CHECK(said(given.epsilon_outside_root()) == "outside ");
  CHECK(said(given.adding_one_to_gamma()) == "one ");
  CHECK(said(given.without_fixed_gamma()) == "free ");
  const LoadOptions storing = given.storing(StoredVariance::deviation_with_epsilon);
  CHECK(said(storing) == "stored ");
  CHECK(storing.stored_variance() == StoredVariance::deviation_with_epsilon);
  const LoadOptions updating =
      given.updating(RunningUpdate::cumulative(), VarianceEstimator::sample);
  CHECK(said(updating) == "running estimator ");
  CHECK(updating.running() == RunningUpdate::cumulative());
  CHECK(updating.running_variance() == VarianceEstimator::sample);
  CHECK(updating.epsilon()->value == 1e-5);
}
