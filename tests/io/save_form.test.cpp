// SPDX-License-Identifier: MIT
// A state under the names of every system, and what some of them cannot hold.
#include "batchnorm/io/save_form.hpp"

#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "batchnorm/io/checkpoint.hpp"
#include "support/catch.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

template <class T>
State<T> example_state() {
  State<T> state(3);
  state.gamma << T(1.5), T(-2), T(0.5);
  state.beta << T(0.25), T(0), T(-1);
  state.running_mean << -1, 3, 0.1;
  state.running_variance << 4, 0.3, 2e-3;
  state.batches_seen = 460;
  state.samples_seen = 46000;
  return state;
}

Options example_options(const Naming& naming) {
  Options options = Options::dlib();
  options.epsilon = 3e-3;
  options.scale = !naming.names(Role::gamma).empty();
  return options;
}

LayerPrefix prefix_for(const Naming& naming) {
  return naming.has_scale_layer() ? LayerPrefix("scale1/", "bn1/") : LayerPrefix("bn1/");
}

/// What the system stores, by the formulas that its own documents give.
double stored(StoredVariance form, double v, double e) {
  if (form == StoredVariance::variance_with_epsilon) return v + e;
  if (form == StoredVariance::deviation_with_epsilon) return std::sqrt(v + e);
  if (form == StoredVariance::inverse_deviation) return 1.0 / std::sqrt(v + e);
  return v;
}

}  // namespace

TEMPLATE_TEST_CASE("a state saved under the names of any system comes back", "", float, double) {
  for (const Naming& naming : Naming::all()) {
    INFO(naming.system());
    State<TestType> state = example_state<TestType>();
    const Options options = example_options(naming);
    if (!options.scale) state.gamma.setOnes();
    const Tensors tensors = save_as(naming, prefix_for(naming), state, options);
    const auto layers = find_batch_norms(tensors);
    REQUIRE(layers.size() == 1);
    CHECK(layers[0].naming == naming);
    CHECK(layers[0].prefix == prefix_for(naming));
    CHECK(examine_batch_norm(tensors, layers[0]).errors() == 0);
    const auto loaded = load_state<TestType>(tensors, layers[0].prefix, LoadOptions::saved());
    CHECK(loaded.found.naming == naming);
    CHECK(detail::options_to_json(loaded.options) == detail::options_to_json(options));
    CHECK(loaded.state.gamma == state.gamma);
    CHECK(loaded.state.running_mean == state.running_mean);
    CHECK(loaded.state.batches_seen == 460);
    CHECK(loaded.state.samples_seen == 46000);
    const double rounding = naming.is_exact() ? 0.0 : 0x1p-50;
    for (Index channel = 0; channel < 3; ++channel) {
      const double variance = state.running_variance[channel];
      CHECK(std::fabs(loaded.state.running_variance[channel] - variance) <=
            rounding * (variance + options.epsilon));
      const double beta = static_cast<double>(state.beta[channel]);
      CHECK(std::fabs(static_cast<double>(loaded.state.beta[channel]) - beta) <=
            rounding * std::fabs(beta));
    }
  }
}

TEST_CASE("layers without scale or shift come back, or the error says what cannot be held") {
  for (const Naming& naming : Naming::all()) {
    for (const bool scale : {true, false}) {
      for (const bool shift : {true, false}) {
        INFO(naming.system() << " " << scale << shift);
        Options options = example_options(naming);
        options.scale = scale;
        options.shift = shift;
        State<double> state = example_state<double>();
        if (!scale) state.gamma.setOnes();
        if (!shift) state.beta.setZero();
        Tensors tensors;
        bool is_saved = false;
        try {
          save_state(tensors, prefix_for(naming), state, options, naming);
          is_saved = true;
        } catch (const std::invalid_argument& error) {
          CHECK(std::string(error.what()).find(naming.system()) != std::string::npos);
          CHECK(tensors.size() == 0);
        }
        if (!is_saved) continue;
        const LayerPrefix prefix = prefix_for(naming);
        const auto loaded = load_state<double>(tensors, prefix, LoadOptions::saved());
        CHECK(detail::options_to_json(loaded.options) == detail::options_to_json(options));
        CHECK(loaded.state.gamma == state.gamma);
        CHECK((loaded.state.beta - state.beta).norm() <= 1e-15);
        CHECK((loaded.state.running_variance - state.running_variance).norm() <= 1e-14);
      }
    }
  }
}

TEST_CASE("what is stored in the place of the variance is what the system has there") {
  for (const Naming& naming : Naming::all()) {
    INFO(naming.system());
    const Options options = example_options(naming);
    const State<double> state = example_state<double>();
    const Tensors tensors = save_as(naming, prefix_for(naming), state, options);
    const FoundBatchNorm layer = find_batch_norms(tensors).at(0);
    const std::vector<double> values = tensors.values<double>(layer.key(Role::variance));
    for (std::size_t channel = 0; channel < 3; ++channel) {
      const double v = state.running_variance[static_cast<Index>(channel)];
      const std::size_t place = naming.has_moments() ? 2 * channel + 1 : channel;
      CHECK(values[place] ==
            Approx(stored(naming.stored_variance(), v, options.epsilon)).epsilon(1e-15));
    }
  }
}

TEST_CASE("what a system has no place for is refused, and nothing is written") {
  const State<float> state = example_state<float>();
  const Options options = example_options(Naming::pytorch());
  CHECK_THROWS_MATCHES(save_as(Naming::leela_zero(), "0.", state, options), std::invalid_argument,
                       says("layer under the names of Leela Zero: expected none with a scale"));
  CHECK_THROWS_MATCHES(save_as(Naming::caffe(), "bn1/", state, options), std::invalid_argument,
                       says("expected two prefixes: that of the layer of kind Scale"));
  Options shift = options;
  shift.scale = false;
  CHECK_THROWS_AS(save_as(Naming::caffe(), LayerPrefix("s/", "b/"), state, shift),
                  std::invalid_argument);
  CHECK_THROWS_AS(save_as(Naming::nam(), "b.", state, shift), std::invalid_argument);
  CHECK_THROWS_MATCHES(save_as(Naming::matconvnet(), "b_", State<float>(2), options),
                       std::invalid_argument, says("[C, 2] is told from [2, C]"));
  Options zero = options;
  zero.epsilon = 0.0;
  CHECK_THROWS_AS(save_as(Naming::coreml(), "c.", state, zero), std::invalid_argument);
}

TEST_CASE("a variance that is lost beside epsilon is refused") {
  State<double> state = example_state<double>();
  state.running_variance[1] = 1e-20;
  for (const Naming& naming : {Naming::ncnn(), Naming::lasagne(), Naming::matconvnet()}) {
    INFO(naming.system());
    CHECK_THROWS_MATCHES(save_as(naming, "b_", state, Options::pytorch()), std::domain_error,
                         says("running variance of channel 1: expected one that "));
  }
  Options none = Options::pytorch();
  none.epsilon = 0.0;
  CHECK_NOTHROW(save_as(Naming::ncnn(), "b_", state, none));
  state.running_variance[1] = 0.0;
  CHECK_THROWS_AS(save_as(Naming::ncnn(), "b_", state, none), std::domain_error);
}

TEST_CASE("epsilon and the weight of a minibatch are written where a system keeps them") {
  const State<double> state = example_state<double>();
  Options options = Options::pytorch();
  options.running = RunningUpdate::take_new(0.25);
  const Tensors tensors = save_as(Naming::dfdx(), "bn.", state, options);
  CHECK(tensors.value<double>("bn.epsilon") == 1e-5);
  CHECK(tensors.value<double>("bn.momentum") == 0.25);
  CHECK(save_as(Naming::caffe(), LayerPrefix("s/", "b/"), state, options).value<double>("b/2") ==
        1.0);
  CHECK_FALSE(save_as(Naming::pytorch(), "bn.", state, options).contains("bn.eps"));
}
