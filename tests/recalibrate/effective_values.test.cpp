// SPDX-License-Identifier: MIT
#include "batchnorm/recalibrate/effective_values.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>

#include "batchnorm/math/masked.hpp"
#include "support/catch.hpp"

using namespace batchnorm;

TEST_CASE("what moments are worth in values of equal weight") {
  Eigen::RowVectorXd values(4);
  values << 1, 5, 2, 8;
  const Eigen::Vector4d weights(2, 1, 1, 0.5);
  const auto worth = [&](Weights kind) {
    return values_of_equal_weight(moments_of(weighted(values, weights, kind)));
  };
  CHECK(values_of_equal_weight(moments_of(values)) == 4);
  CHECK(values_of_equal_weight(Moments<double>(3)) == 0);
  CHECK(values_of_equal_weight(Moments<double>()) == 0);
  CHECK(worth(Weights::frequency) == 4.5);
  CHECK(worth(Weights::reliability) == 4.5 * 4.5 / 6.25);
  CHECK(worth(Weights::importance) == 4.5 * 4.5 / 6.25);
}

TEST_CASE("values that are worth one") {
  CHECK_NOTHROW(detail::check_values_alike("f", 1));
  for (const double wrong :
       {0.5, 0.0, -1.0, std::numeric_limits<double>::infinity(), std::nan("")}) {
    CHECK_THROWS_MATCHES(detail::check_values_alike("f", wrong), std::invalid_argument,
                         batchnorm_test::says("f: how many values are worth one"));
  }
}
