// SPDX-License-Identifier: MIT
#include "batchnorm/math/statistics.hpp"

#include <cstddef>
#include <stdexcept>
#include <vector>

#include "batchnorm/loops/channels.hpp"
#include "batchnorm/loops/simd.hpp"
#include "support/catch.hpp"

using batchnorm::Index;
using batchnorm::Options;
using batchnorm::State;
namespace detail = batchnorm::detail;
using namespace batchnorm_test;

namespace {

/// Writes what the statistics and the options have of some channels.
struct LoadsAll {
  template <int Lanes>
  [[gnu::always_inline]] bool run(const batchnorm::loops::ChannelGroup& group) const {
    batchnorm::simd::Vector<double, Lanes> mean, variance, gamma, beta, r;
    statistics.template load<Lanes>(group, mean, variance);
    detail::load_gamma<Lanes>(gamma, options, state, group);
    detail::load_beta<Lanes>(beta, options, state, group);
    scales.load_inverse_std_dev<Lanes>(group, r);
    batchnorm::loops::store_channels<double, Lanes>(to[0].data() + group.first, group, mean);
    batchnorm::loops::store_channels<double, Lanes>(to[1].data() + group.first, group, variance);
    batchnorm::loops::store_channels<double, Lanes>(to[2].data() + group.first, group, gamma);
    batchnorm::loops::store_channels<double, Lanes>(to[3].data() + group.first, group, beta);
    batchnorm::loops::store_channels<double, Lanes>(to[4].data() + group.first, group, r);
    scales.load_scale<Lanes>(group, r);
    batchnorm::loops::store_channels<double, Lanes>(to[5].data() + group.first, group, r);
    return true;
  }
  using Statistics = detail::RunningStatistics<float, Eigen::Dynamic>;
  const Options& options;
  const State<float>& state;
  const Statistics& statistics;
  const detail::Scales<float, Eigen::Dynamic, Statistics>& scales;
  std::vector<double>* to;
};

}  // namespace

TEST_CASE("statistics of a channel, of a minibatch and running", "[statistics]") {
  batchnorm::Moments<double> moments(3);
  moments.count = 8;
  moments.mean << 1.0, 2.5, -3.0;
  moments.sum_of_squares << 8.0, 2.0, 0.0;
  const auto batch =
      detail::of_channel(detail::BatchStatistics<double, Eigen::Dynamic>(moments), 1);
  CHECK(batch.mean == 2.5);
  CHECK(batch.variance == 0.25);
  CHECK(batch.inverse_std_dev(0.0) == 2.0);
  State<float> state(3);
  state.running_mean << 4.0f, 5.0f, 0.1f;
  state.running_variance << 1.0f, 1.0f, 15.0f;
  const auto running =
      detail::of_channel(detail::RunningStatistics<float, Eigen::Dynamic>(state), 2);
  CHECK(running.mean == static_cast<double>(0.1f));
  CHECK(running.variance == 15.0);
  CHECK(running.inverse_std_dev(1.0) == 0.25);
}

TEST_CASE("every channel has its own statistics, gamma, beta and inverse deviation",
          "[statistics]") {
  for (const Index channels : {1, 2, 3, 4, 5, 7, 8, 13}) {
    State<float> state(channels);
    for (Index c = 0; c < channels; ++c) {
      const auto number = static_cast<float>(c);
      state.running_mean[c] = number + 0.25f;
      state.running_variance[c] = (number + 1) * (number + 1) - 0.5f;
      state.gamma[c] = number - 7;
      state.beta[c] = 2 * number;
    }
    for (const bool learned : {true, false}) {
      Options options;
      options.epsilon = 0.5;
      options.scale = options.shift = learned;
      const LoadsAll::Statistics statistics(state);
      const detail::Scales<float, Eigen::Dynamic, LoadsAll::Statistics> scales(options, state,
                                                                               statistics);
      std::vector<std::vector<double>> to(
          6, std::vector<double>(static_cast<std::size_t>(channels), -12345));
      batchnorm::loops::for_channels<double>(
          0, channels, LoadsAll{options, state, statistics, scales, to.data()});
      for (std::size_t c = 0; c < static_cast<std::size_t>(channels); ++c) {
        INFO("channel " << c << " of " << channels);
        const auto number = static_cast<double>(c);
        CHECK(to[0][c] == number + 0.25);
        CHECK(to[1][c] == (number + 1) * (number + 1) - 0.5);
        CHECK(to[2][c] == (learned ? number - 7 : 1));
        CHECK(to[3][c] == (learned ? 2 * number : 0));
        CHECK(to[4][c] == 1.0 / (number + 1));
        CHECK(to[5][c] == (learned ? number - 7 : 1) * (1.0 / (number + 1)));
      }
    }
  }
}

TEST_CASE("a channel that cannot be divided by its deviation is named", "[statistics]") {
  State<float> state(3);
  state.running_variance[2] = 0.0f;
  Options options;
  const detail::RunningStatistics<float, Eigen::Dynamic> statistics(state);
  CHECK_NOTHROW(detail::check_deviation<float>("f", options, 3, statistics));
  options.epsilon = 0.0;
  CHECK_THROWS_MATCHES(
      detail::check_deviation<float>("f", options, 3, statistics), std::domain_error,
      says("f: variance + epsilon of channel 2 is divided by: expected a number larger than 0; "
           "choose an epsilon larger than 0, got 0"));
}

TEST_CASE("a variance whose inverse root overflows is refused, too", "[statistics]") {
  batchnorm::Moments<double> moments(1);
  moments.count = 1;
  moments.sum_of_squares[0] = 1e-80;
  Options options;
  options.epsilon = 0.0;
  const detail::BatchStatistics<double, Eigen::Dynamic> statistics(moments);
  CHECK_THROWS_MATCHES(detail::check_deviation<float>("f", options, 1, statistics),
                       std::domain_error, says("one so small that its inverse overflows"));
  CHECK_NOTHROW(detail::check_deviation<double>("f", options, 1, statistics));
}
