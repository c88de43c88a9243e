// SPDX-License-Identifier: MIT
#include "batchnorm/fold/inference_map.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "batchnorm/fold/fold.hpp"
#include "support/catch.hpp"
#include "support/fold_cases.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

Options with_epsilon(double epsilon) {
  Options options;
  options.epsilon = epsilon;
  return options;
}

/// The map at x, in long double.
Real apply(const InferenceMap& map, Index c, Real x) {
  return (x - map.mean()[c]) * map.scale()[c] + map.shift()[c];
}

Real apply(const reference::Layer& norm, Index channel, Real x) {
  const Size c = static_cast<Size>(channel);
  return norm.gamma[c] * (x - norm.mu[c]) / norm.root(c) + norm.beta[c];
}

constexpr Real u = 0x1p-53L;

}  // namespace

TEMPLATE_TEST_CASE("a norm as one affine map", "[fold]", float, double, Eigen::half,
                   Eigen::bfloat16) {
  Random random(41);
  const State<TestType> state = random_state<TestType>(random, 50);
  const reference::Layer norm = oracle_of(state, 1e-3);
  const InferenceMap map(state, with_epsilon(1e-3));
  REQUIRE(map.channels() == 50);
  CHECK(map.shift_roundings() == 0);
  CHECK(map.options().epsilon == 1e-3);
  for (Index c = 0; c < 50; ++c) {
    const Size k = static_cast<Size>(c);
    const Real scale = norm.gamma[k] / norm.root(k);
    CHECK(map.mean()[c] == static_cast<double>(norm.mu[k]));
    CHECK(map.shift()[c] == static_cast<double>(norm.beta[k]));
    CHECK(map.shift_terms()[c] == std::fabs(map.shift()[c]));
    CHECK(std::fabs(map.scale()[c] - scale) <= map.scale_roundings() * u * std::fabs(scale));
  }
}

TEST_CASE("norms in a row, and how exact they are", "[fold]") {
  Random random(42);
  const State<double> states[] = {random_state<double>(random, 40),
                                  random_state<double>(random, 40),
                                  random_state<double>(random, 40)};
  const double epsilons[] = {1e-5, 1e-3, 0};
  InferenceMap chain(states[0], with_epsilon(epsilons[0]));
  for (int next : {1, 2}) {
    chain = chain.then(InferenceMap(states[next], with_epsilon(epsilons[next])));
    CHECK(chain.options().epsilon == epsilons[next]);
  }
  CHECK(chain.scale_roundings() == 14);  // 4 + 4 + 4 and two products
  CHECK(chain.shift_roundings() == 14);  // twice 4 of the scale and 3 operations
  const InferenceMap one(states[0], with_epsilon(0)), two(states[1], with_epsilon(0));
  CHECK(one.then(one.then(two)).shift_roundings() == 19);  // 7 of the last two, 9 and 3
  for (Index c = 0; c < 40; ++c) {
    const auto exact = [&](Real x) {
      for (int n = 0; n < 3; ++n) x = apply(oracle_of(states[n], epsilons[n]), c, x);
      return x;
    };
    const Real mean = chain.mean()[c];
    CHECK(mean == static_cast<Real>(states[0].running_mean[c]));
    const Real slope = (exact(mean + 1024) - exact(mean)) / 1024;
    CHECK(std::fabs(chain.scale()[c] - slope) <= chain.scale_roundings() * u * std::fabs(slope));
    CHECK(std::fabs(chain.shift()[c] - exact(mean)) <=
          chain.shift_roundings() * u * chain.shift_terms()[c]);
    CHECK(chain.shift_terms()[c] >= std::fabs(chain.shift()[c]));
    CHECK(std::fabs(apply(chain, c, 0.3L) - exact(0.3L)) < 1e-12L);
  }
}

TEST_CASE("the identity changes nothing in front and behind", "[fold]") {
  Random random(43);
  const InferenceMap map(random_state<float>(random, 9), with_epsilon(1e-5));
  const InferenceMap none = InferenceMap::identity(9);
  const InferenceMap in_front = map.then(none);
  CHECK(in_front.mean() == map.mean());
  CHECK(in_front.scale() == map.scale());
  CHECK(in_front.shift() == map.shift());
  const InferenceMap behind = none.then(map);
  for (Index c = 0; c < 9; ++c) {
    CHECK(std::fabs(apply(behind, c, 2) - apply(map, c, 2)) < 1e-14L);
  }
  CHECK(none.scale_roundings() == 0);
  CHECK(none.shift_roundings() == 0);
}

TEST_CASE("scale and shift can be left out", "[fold]") {
  State<float> state(1);
  state.gamma[0] = std::numeric_limits<float>::quiet_NaN();
  state.beta[0] = std::numeric_limits<float>::quiet_NaN();
  state.running_variance[0] = 16;
  Options options = with_epsilon(0);
  CHECK_THROWS_WITH(InferenceMap(state, options),
                    "InferenceMap: gamma of channel 0: expected a finite number, got NaN, "
                    "infinity or overflow");
  options.scale = false;
  CHECK_THROWS_WITH(InferenceMap(state, options),
                    "InferenceMap: beta of channel 0: expected a finite number, got NaN, infinity "
                    "or overflow");
  options.shift = false;
  const InferenceMap map(state, options);
  CHECK(map.scale()[0] == 0.25);
  CHECK(map.shift()[0] == 0.0);
}

TEST_CASE("maps that do not fit or overflow are refused", "[fold]") {
  const InferenceMap two(State<float>(2), Options());
  CHECK_THROWS_WITH(two.then(InferenceMap::identity(3)),
                    "InferenceMap::then: number of channels must be that of this map: expected 2, "
                    "got 3");
  State<double> steep(1);
  steep.gamma[0] = 1e200;
  const InferenceMap map(steep, Options());
  CHECK_THROWS_AS(map.then(map), std::domain_error);
  CHECK_THROWS_WITH(map.then(map),
                    "InferenceMap::then: gamma / sqrt(variance + epsilon) of channel 0: expected a "
                    "finite number, got NaN, infinity or overflow");
  Options negative;
  negative.epsilon = -1;
  CHECK_THROWS_AS(InferenceMap(State<float>(1), negative), std::invalid_argument);
  CHECK_THROWS_AS(detail::check_foldable("test", negative), std::invalid_argument);
  CHECK_NOTHROW(detail::check_foldable("test", Options()));
}

TEST_CASE("nothing is merged through an epilogue, and one at the end stays", "[fold]") {
  Options rectified;
  rectified.epilogue = Epilogue::relu();
  const InferenceMap plain(State<float>(2), Options());
  const InferenceMap with_relu(State<float>(2), rectified);
  const char* text =
      "InferenceMap::then: what follows a norm that is merged with it must follow it directly: "
      "expected a norm without an epilogue, got one with a ReLU or leaky ReLU between them";
  CHECK_THROWS_WITH(with_relu.then(plain), text);
  CHECK(plain.then(with_relu).options().epilogue == Epilogue::relu());
  Eigen::MatrixXf weight = Eigen::MatrixXf::Ones(2, 2);
  const Eigen::MatrixXf before = weight;
  Eigen::VectorXf bias;
  CHECK_THROWS_AS(fold_before(linear(weight), bias, with_relu), std::invalid_argument);
  CHECK(weight == before);
  CHECK(bias.size() == 0);
  CHECK_NOTHROW(fold_after(linear(weight), bias, with_relu));
}

namespace {

/// All that the map of a frozen layer looks at.
struct AffineLayer {
  Eigen::Vector2f pivots{3.0f, -1.0f}, scales{-0.5f, 2.0f}, shifts{-7.0f, 0.25f};
  Index channels() const { return 2; }
  const Eigen::Vector2f& pivot() const { return pivots; }
  const Eigen::Vector2f& scale() const { return scales; }
  const Eigen::Vector2f& shift() const { return shifts; }
  Epilogue epilogue() const { return Epilogue::leaky_relu(0.125); }
};

}  // namespace

TEST_CASE("the map of a frozen layer has its numbers, and they must be finite", "[fold]") {
  const InferenceMap map{AffineLayer()};
  CHECK(map.mean() == Eigen::Vector2d(3.0, -1.0));
  CHECK(map.scale() == Eigen::Vector2d(-0.5, 2.0));
  CHECK(map.shift() == Eigen::Vector2d(-7.0, 0.25));
  CHECK(map.shift_terms() == Eigen::Vector2d(7.0, 0.25));
  CHECK(map.scale_roundings() == 0);
  CHECK(map.shift_roundings() == 0);
  CHECK(map.options().epilogue == Epilogue::leaky_relu(0.125));
  const auto refusal = [](Eigen::Vector2f AffineLayer::*part) {
    AffineLayer layer;
    (layer.*part)[1] = std::numeric_limits<float>::infinity();
    return layer;
  };
  const std::string got = "expected a finite number, got NaN, infinity or overflow";
  CHECK_THROWS_WITH(InferenceMap(refusal(&AffineLayer::pivots)),
                    "InferenceMap: pivot of channel 1: " + got);
  CHECK_THROWS_WITH(InferenceMap(refusal(&AffineLayer::scales)),
                    "InferenceMap: gamma / sqrt(variance + epsilon) of channel 1: " + got);
  CHECK_THROWS_WITH(InferenceMap(refusal(&AffineLayer::shifts)),
                    "InferenceMap: beta of channel 1: " + got);
}

TEST_CASE("the identity is made of zeros and ones", "[fold]") {
  const InferenceMap none = InferenceMap::identity(2);
  CHECK(none.mean() == Eigen::Vector2d::Zero());
  CHECK(none.scale() == Eigen::Vector2d::Ones());
  CHECK(none.shift() == Eigen::Vector2d::Zero());
  CHECK(none.shift_terms() == Eigen::Vector2d::Zero());
}

TEST_CASE("a shift of norms in a row that overflows is refused", "[fold]") {
  State<double> large_shift(1);
  large_shift.beta[0] = 1e308;
  State<double> large_mean(1);
  large_mean.running_mean[0] = -1e308;
  CHECK_THROWS_WITH(InferenceMap(large_shift, Options()).then(InferenceMap(large_mean, Options())),
                    "InferenceMap::then: beta of channel 0: expected a finite number, got NaN, "
                    "infinity or overflow");
  // The shift is 0; what it is made of is not a number of double.
  large_mean.running_mean[0] = 1e308;
  CHECK_THROWS_WITH(InferenceMap(large_shift, Options()).then(InferenceMap(large_mean, Options())),
                    "InferenceMap::then: beta of channel 0: expected a finite number, got NaN, "
                    "infinity or overflow");
}

namespace {

/// A layer that has or has no statistics, as BatchNorm says it.
struct TrainedLayer {
  State<float> kept{1};
  bool tracked = true;
  const State<float>& state() const { return kept; }
  Options options() const { return with_epsilon(0); }
  bool has_statistics() const { return tracked; }
};

}  // namespace

TEST_CASE("states that are not whole, statistics that are stale or nothing, have no map",
          "[fold]") {
  TrainedLayer layer;
  CHECK(InferenceMap(layer).scale()[0] == 1.0);
  layer.tracked = false;
  CHECK_THROWS_AS(InferenceMap(layer), std::domain_error);
  State<float> uneven(2);
  uneven.beta.resize(3);
  CHECK_THROWS_AS(InferenceMap(uneven, Options()), std::invalid_argument);
  State<float> negative(1);
  negative.running_variance[0] = -1;
  CHECK_THROWS_AS(InferenceMap(negative, Options()), std::domain_error);
  State<float> stale(1);
  stale.staleness = Staleness::weights_changed;
  CHECK_THROWS_MATCHES(InferenceMap("fold", stale, Options()), std::domain_error,
                       says("freeze(StaleStatistics::accept), and fold that"));
  State<float> constant(1);
  constant.running_variance[0] = 0;
  CHECK_NOTHROW(InferenceMap(constant, with_epsilon(1e-5)));
  CHECK_THROWS_MATCHES(InferenceMap("fold", constant, with_epsilon(0)), std::domain_error,
                       says("fold: variance + epsilon of channel 0 is divided by"));
}
