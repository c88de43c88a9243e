// SPDX-License-Identifier: MIT
#include "batchnorm/math/forward.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>

#include "batchnorm/math/masked.hpp"
#include "support/catch.hpp"

using namespace batchnorm;
using batchnorm_test::says;
using Eigen::MatrixXd;

namespace {

/// One call on a state of one channel.
struct Call {
  Options options;
  State<double> state{1};
  MatrixXd y;

  template <class In>
  Moments<double> operator()(const In& in, bool steps = true) {
    const Input<double> input(in);
    const Output<double> output(y);
    return detail::forward_pass<double, Eigen::Dynamic>(
        {"test", options, state, false, input, output, steps ? &state : nullptr}, Execution());
  }
};

/// 1 3 5 7: mean 4, sum of squares 20, variance 5. With epsilon 4 the root is 3.
MatrixXd some_values() {
  MatrixXd x(1, 4);
  x << 1, 3, 5, 7;
  return x;
}

}  // namespace

TEST_CASE("a minibatch is normalised, and the running statistics follow") {
  for (const NonFinite policy : {NonFinite::reject, NonFinite::propagate, NonFinite::skip_update}) {
    Call call;
    call.y.resize(1, 4);
    call.options.epsilon = 4;
    call.options.non_finite = policy;
    call.options.running = RunningUpdate::take_new(0.5);
    call(some_values(), false);
    CHECK(call.state.batches_seen == 0);
    CHECK(call.state.running_mean[0] == 0);
    const auto batch = call(some_values());
    CHECK(batch.count == 4);
    CHECK(batch.mean[0] == 4);
    CHECK(batch.sum_of_squares[0] == 20);
    for (Index i = 0; i < 4; ++i) CHECK(call.y(0, i) == Approx((2.0 * double(i) - 3) / 3));
    CHECK(call.state.batches_seen == 1);
    CHECK(call.state.running_mean[0] == 2);
  }
}

TEST_CASE("a minibatch of nothing is filled and followed by nothing") {
  Call call;
  call.y.resize(1, 0);
  CHECK(call(MatrixXd(1, 0)).count == 0);
  call.y = some_values();
  const Eigen::Array<bool, 4, 1> none = Eigen::Array<bool, 4, 1>::Constant(false);
  const MatrixXd x = some_values();
  CHECK(call(masked(x, none, MaskedOutput::zero)).count == 0);
  CHECK(call.state.batches_seen == 0);
  CHECK(call.y.isZero(0));
}

TEST_CASE("one value uses the running statistics, and does not move them") {
  Call call;
  call.y.resize(1, 1);
  CHECK_THROWS_AS(call(MatrixXd::Constant(1, 1, 5.0)), std::invalid_argument);
  call.options.single_value = SingleValue::use_running_statistics;
  CHECK_THROWS_AS(call(MatrixXd::Constant(1, 1, 5.0)), std::domain_error);  // there are none
  call.options.epsilon = 0;
  call.state.running_mean[0] = 3;
  call.state.running_variance[0] = 16;
  call.state.batches_seen = 1;
  CHECK(call(MatrixXd::Constant(1, 1, 5.0)).count == 1);
  CHECK(call.state.batches_seen == 1);
  CHECK(call.state.running_mean[0] == 3);
  CHECK(call.y(0, 0) == 0.5);
}

TEST_CASE("what is not finite is refused, passes, or moves nothing, as the options say") {
  MatrixXd x = some_values();
  x(0, 2) = std::numeric_limits<double>::quiet_NaN();
  Call call;
  call.y = MatrixXd::Zero(1, 4);
  CHECK_THROWS_AS(call(x), std::domain_error);
  CHECK(call.y.isZero(0));
  call.options.non_finite = NonFinite::skip_update;
  call(x);
  CHECK(call.state.batches_seen == 0);
  CHECK(std::isnan(call.y(0, 0)));
  call.options.non_finite = NonFinite::propagate;
  call(x);
  CHECK(call.state.batches_seen == 1);
}

TEST_CASE("a step that cannot be taken is refused before the output is written, if one follows") {
  for (const NonFinite policy : {NonFinite::reject, NonFinite::propagate}) {
    Call call;
    call.options.non_finite = policy;
    call.y = MatrixXd::Zero(1, 4);
    call.state.running_variance[0] = -1;
    CHECK_THROWS_MATCHES(call(some_values()), std::domain_error, says("running variance"));
    CHECK(call.y.isZero(0));
    CHECK_NOTHROW(call(some_values(), false));
    CHECK_FALSE(call.y.isZero(0));
  }
}
