// SPDX-License-Identifier: MIT
#include "batchnorm/recalibrate/layer_handle.hpp"

#include <stdexcept>
#include <vector>

#include "support/catch.hpp"

using namespace batchnorm;
using batchnorm_test::says;

TEST_CASE("handles of layers with and without a fixed number of channels are one type") {
  Options options;
  options.epsilon = 0.25;
  BatchNorm<float> any(2);
  BatchNorm<float, 2> fixed(options);
  fixed.state().gamma << 3, 4;
  for (const LayerHandle<float>& layer : std::vector<LayerHandle<float>>{&any, &fixed}) {
    CHECK(layer.state().channels() == 2);
    State<float> state(2);
    state.set_statistics(Eigen::Vector2f(5, 6), Eigen::Vector2f(7, 8), 9, 10);
    layer.set_statistics(state);
    CHECK(layer.state().running_mean == Eigen::Vector2d(5, 6));
    CHECK(layer.state().running_variance == Eigen::Vector2d(7, 8));
    CHECK(layer.state().batches_seen == 9);
    CHECK(layer.state().samples_seen == 10);
    CHECK(layer.state().batches_given == 9);
  }
  CHECK(LayerHandle<float>(&fixed).address() == &fixed);
  CHECK(LayerHandle<float>(&fixed).options().epsilon == 0.25);
  CHECK(fixed.state().gamma == Eigen::Vector2f(3, 4));
  CHECK(any.state().running_mean == Eigen::Vector2d(5, 6));
}

TEST_CASE("a layer that is empty, or whose parts differ in size, is named as such") {
  BatchNorm<float> empty, broken(3);
  broken.state().gamma.resize(2);
  CHECK_THROWS_MATCHES(LayerHandle<float>(&empty).state(), std::invalid_argument,
                       says("LayerHandle: number of channels: expected at least 1, got 0"));
  CHECK_THROWS_MATCHES(LayerHandle<float>(&broken).state(), std::invalid_argument,
                       says("LayerHandle: size of beta must be that of gamma"));
}

TEST_CASE("statistics that are taken anew are not stale") {
  BatchNorm<double> layer(1);
  layer.state().mark_stale(Staleness::weights_pruned);
  LayerHandle<double>(&layer).set_statistics(State<double>(1));
  CHECK(layer.state().staleness == Staleness::fresh);
}

TEST_CASE("no layer is refused") {
  BatchNorm<float>* const none = nullptr;
  CHECK_THROWS_MATCHES(LayerHandle<float>(none), std::invalid_argument,
                       says("LayerHandle: a layer: expected its address, got a null pointer"));
  BatchNorm<float> empty;
  CHECK_THROWS_AS(LayerHandle<float>(&empty).state(), std::invalid_argument);
}
