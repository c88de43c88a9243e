// SPDX-License-Identifier: MIT
#include "batchnorm/math/check_batch.hpp"

#include <limits>
#include <stdexcept>
#include <string>

#include "support/catch.hpp"

using batchnorm::Moments;
using batchnorm::NonFinite;
using batchnorm::Options;
using batchnorm::SingleValue;
using batchnorm::State;
namespace detail = batchnorm::detail;
using namespace batchnorm_test;

TEST_CASE("one value per channel is refused, unless the running statistics stand in",
          "[check batch]") {
  Options options;
  CHECK_NOTHROW(detail::check_batch_size("f", options, 0));
  CHECK_NOTHROW(detail::check_batch_size("f", options, 2));
  CHECK_THROWS_MATCHES(detail::check_batch_size("f", options, 1), std::invalid_argument,
                       says("f: a minibatch has a variance from two values per channel on: "
                            "expected at least 2 values per channel, got 1; use infer()"));
  options.single_value = SingleValue::use_running_statistics;
  CHECK_NOTHROW(detail::check_batch_size("f", options, 1));
}

TEST_CASE("what happens to a minibatch that is not finite is for the options to say",
          "[check batch]") {
  Moments<double> batch(3);
  batch.count = 2;
  Options options;
  CHECK(detail::check_finite<float>("f", options, batch));
  const double huge = 1e39, infinity = std::numeric_limits<double>::infinity(),
               nan = std::numeric_limits<double>::quiet_NaN();
  for (const double value : {infinity, nan, huge}) {
    for (const batchnorm::Index channel : {0, 1, 2}) {
      batch.mean.setZero();
      batch.mean[channel] = value;
      options.non_finite = NonFinite::reject;
      CHECK_THROWS_MATCHES(
          detail::check_finite<float>("f", options, batch), std::domain_error,
          says("f: the statistics of a minibatch must be finite: expected finite values in every "
               "channel, got NaN, infinity or overflow in channel " +
               std::to_string(channel)));
      options.non_finite = NonFinite::skip_update;
      CHECK_FALSE(detail::check_finite<float>("f", options, batch));
      options.non_finite = NonFinite::propagate;
      CHECK(detail::check_finite<float>("f", options, batch));
    }
  }
  options.non_finite = NonFinite::reject;
  CHECK(detail::check_finite<double>("f", options, Moments<double>(3)));
  batch.mean[1] = huge;
  CHECK(detail::check_finite<double>("f", options, batch));
}

TEST_CASE("running statistics that come from nowhere are refused", "[check batch]") {
  State<float> state(2);
  CHECK_NOTHROW(detail::check_has_statistics("f", state, true));
  CHECK_THROWS_MATCHES(detail::check_has_statistics("f", state, false), std::domain_error,
                       says("f: the running statistics must come from data: expected a layer that "
                            "has trained on a minibatch or was given its state"));
  state.running_mean[1] = 0.5f;
  CHECK_NOTHROW(detail::check_has_statistics("f", state, false));
  state = State<float>(2);
  state.batches_seen = 1;
  CHECK_NOTHROW(detail::check_has_statistics("f", state, false));
  state.beta.resize(3);
  CHECK_THROWS_MATCHES(detail::check_has_statistics("f", state, true), std::invalid_argument,
                       says("size of beta must be that of gamma: expected 2, got 3"));
}
