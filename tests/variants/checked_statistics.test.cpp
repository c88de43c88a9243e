// SPDX-License-Identifier: MIT
#include "batchnorm/variants/checked_statistics.hpp"

#include "batchnorm/math/masked.hpp"
#include "support/catch.hpp"

using namespace batchnorm;
using Catch::Matchers::Contains;

TEST_CASE("statistics are those of a minibatch, or the running ones of one value") {
  Options options;
  options.single_value = SingleValue::use_running_statistics;
  BatchNorm<double> layer(1, options);
  layer.state().running_mean[0] = 7;
  Moments<double> batch(1);
  batch.count = 2;
  batch.mean[0] = 3;
  batch.sum_of_squares[0] = 8;
  const auto own = detail::batch_statistics_of("test", layer, batch);
  CHECK(*own.mean == 3);
  CHECK(*own.variance / own.divisor == 4);
  batch.count = 1;
  batch.sum_of_squares[0] = 0;
  layer.state().batches_seen = 1;
  CHECK(*detail::batch_statistics_of("test", layer, batch).mean == 7);
  CHECK(*detail::running_statistics_of("test", layer).variance == 1);
}

TEST_CASE("a layer without statistics has none to give") {
  CHECK_THROWS_WITH(detail::running_statistics_of("test", BatchNorm<float>(1)),
                    Contains("test: the running statistics must come from data"));
}

TEST_CASE("what a variant cannot do is refused with what to do instead") {
  Options options;
  CHECK_NOTHROW(detail::refuse_epilogue("test", options, "none"));
  options.epilogue = Epilogue::relu();
  CHECK_THROWS_WITH(detail::refuse_epilogue("test", options, "none"),
                    Contains("test: the layer has no epilogue: expected none"));
  const Eigen::RowVectorXd x = Eigen::RowVectorXd::Ones(3);
  CHECK_NOTHROW(detail::refuse_residual<double>("test", x));
  CHECK_THROWS_WITH(detail::refuse_residual<double>("test", with_residual(x, x)),
                    Contains("expected x, got with_residual"));
  CHECK_NOTHROW(detail::refuse_mask<double>("test", x, "why"));
  CHECK_THROWS_WITH(
      detail::refuse_mask<double>("test", masked(x, Eigen::Array3<bool>(1, 0, 1)), "why"),
      Contains("test: why: expected an input without a mask"));
}
