// SPDX-License-Identifier: MIT
#include "batchnorm/variants/substitute.hpp"

#include <cstddef>
#include <limits>

#include "batchnorm/distributed/synchronize.hpp"
#include "support/catch.hpp"

using namespace batchnorm;
using Catch::Matchers::Contains;

namespace {

detail::Substitute<float> numbers() {
  detail::Substitute<float> norm(2);
  norm.mean << 1.1, -3;
  norm.variance << 4, 0.25;
  norm.gamma << 3, 0.5;
  norm.beta << -1, 2;
  return norm;
}

}  // namespace

TEST_CASE("the coefficients are those of a layer with the same numbers, to the bit") {
  State<float> state(2);
  state.gamma << 3, 0.5f;
  state.beta << -1, 2;
  state.running_mean << 1.1, -3;
  state.running_variance << 4, 0.25;
  const FrozenBatchNorm<float> frozen(state, Options{});
  auto tables = detail::tables_of(numbers(), 1e-5);
  for (Index c = 0; c < 2; ++c) {
    CHECK(tables.pivot()[c] == frozen.pivot()[c]);
    CHECK(tables.scale()[c] == frozen.scale()[c]);
    CHECK(tables.shift()[c] == frozen.shift()[c]);
  }
  const detail::Substitute<float> same(Options{}, state, detail::statistics_of(state));
  CHECK(same.mean == numbers().mean);
  CHECK(same.variance == numbers().variance);
  CHECK(same.gamma == numbers().gamma);
  CHECK(same.beta == numbers().beta);
}

TEST_CASE("numbers that nothing can be normalised with are refused, by channel") {
  auto norm = numbers();
  Options options;
  const auto check = [&] {
    auto tables = detail::tables_of(norm, options.epsilon);
    detail::check_substitute("test", options, norm, tables);
  };
  CHECK_NOTHROW(check());
  norm.gamma[1] = std::numeric_limits<double>::infinity();
  CHECK_THROWS_WITH(check(), Contains("test: gamma of channel 1"));
  norm.gamma[1] = 1e38;
  norm.variance[1] = 1e-5;
  CHECK_THROWS_WITH(check(), Contains("gamma / sqrt(variance + epsilon) of channel 1"));
  options.non_finite = NonFinite::propagate;
  CHECK_NOTHROW(check());
  options.epsilon = 0;
  norm.variance[0] = 0;
  CHECK_THROWS_WITH(check(), Contains("variance + epsilon of channel 0"));
}

TEST_CASE("samples of a view are a view of the same memory") {
  float data[24] = {};
  const auto view = channels_last(data, 4, 3, 2).counted(PositionOrder::first_fastest);
  const auto some = detail::samples_of(view, 1, 2);
  CHECK(some.samples() == 2);
  CHECK(some.data() == data + 6);
  CHECK(&some(1, 2, 1) == &view(2, 2, 1));
  CHECK(some.position_order() == PositionOrder::first_fastest);
}

TEST_CASE("a minibatch of several ranks is refused, and nothing is exchanged") {
  struct Nobody {
    int calls = 0;
    void operator()(const void*, std::size_t, void*) { ++calls; }
  };
  Nobody nobody;
  Synchronize together(nobody, 0, 2);
  const BatchNorm<double> layer(1);
  const Eigen::RowVectorXd x = Eigen::RowVectorXd::LinSpaced(4, 0, 3);
  const detail::SelectedInput<double> chosen("test", x);
  CHECK_THROWS_WITH(detail::checked_batch("test", layer, chosen, together),
                    Contains("test: statistics are those of the minibatch of this rank"));
  CHECK(nobody.calls == 0);
  CHECK(detail::checked_batch("test", layer, chosen, {}).batch.mean[0] == 1.5);
}
