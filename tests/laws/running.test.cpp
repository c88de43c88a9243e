// SPDX-License-Identifier: MIT
// Running statistics after uneven minibatches, for every rule and preset, against the form in which
// its authors write it down; and population() against all values at once.
#include <cmath>
#include <functional>
#include <limits>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "support/catch.hpp"
#include "support/instances.hpp"
#include "support/layers.hpp"
#include "support/reference_running.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
using reference::History;

namespace {

constexpr Size channels = 3;
constexpr Size positions = 2;

/// Minibatches of different sizes, means and spreads.
template <class T>
std::vector<Batch> minibatches(Size count) {
  Random random(40);
  std::vector<Batch> batches;
  for (Size k = 0; k < count; ++k) {
    const Real mean = static_cast<Real>(k % 5) - 1;
    batches.push_back(stored_as<T>(
        normal_batch(random, 2 + random.below(9), channels, positions, mean, 1 + mean * mean / 8)));
  }
  return batches;
}

/// Trains through train or through normalize and commit in turn, every minibatch in another layout.
template <class T>
void train_on(BatchNorm<T>& layer, const std::vector<Batch>& batches) {
  for (Size k = 0; k < batches.size(); ++k) {
    const Layout layout = all_layouts[k % all_layouts.size()];
    const Stored<T> x(batches[k], layout);
    Stored<T> y = Stored<T>::like(batches[k], layout);
    if (k % 2 == 0) {
      layer.train(x.view(), y.view());
    } else {
      layer.commit(layer.normalize(x.view(), y.view()));
    }
  }
}

/// What the moments of one minibatch may be off by: neighbours are summed in float. It does not
/// grow with the number of minibatches.
template <class T>
Real of_moments() {
  return std::is_same<T, double>::value ? 0 : 4 * unit<float>();
}

struct Histories {
  History means, variances;
};

/// @param bessel  1 for the sample variance, 0 for the population variance
Histories histories(const std::vector<Batch>& batches, Size channel, int bessel) {
  Histories all;
  for (const Batch& batch : batches) {
    const PerChannel mu = reference::mean(batch);
    const Real n = batch.count();
    all.means.push_back(mu[channel]);
    all.variances.push_back(reference::variance(batch, mu)[channel] * n / (n - bessel));
  }
  return all;
}

/// What a rule makes of the initial value and the statistics of all minibatches.
using Formula = std::function<Real(Real initial, const History&)>;

template <class T>
void check_rule(const Options& options, const Formula& formula, int bessel) {
  State<T> start(channels);
  start.running_mean << T(0.5f), T(-2.0f), T(3.0f);
  start.running_variance << T(1.0f), T(0.25f), T(9.0f);
  // Averages over all minibatches begin with the first one, and refuse to drop anything for it.
  const bool begins_anew = options.running.rule() != RunningUpdate::Rule::exponential;
  if (begins_anew) start.forget_statistics();
  for (const Size count : {1u, 2u, 3u, 12u, 40u}) {
    INFO(count << " minibatches, " << (std::is_same<T, float>::value ? "float" : "double"));
    const std::vector<Batch> batches = minibatches<T>(count);
    BatchNorm<T> layer(start, options);
    train_on(layer, batches);
    // Every step rounds once more; the weights themselves are known to 2^-53.
    const Real share = 4 * static_cast<Real>(count) * unit<double>() + of_moments<T>();
    Index samples = 0;
    for (const Batch& batch : batches) samples += static_cast<Index>(batch.samples * positions);
    CHECK(layer.state().batches_seen == static_cast<Index>(count));
    CHECK(layer.state().samples_seen == samples);
    for (Size c = 0; c < channels; ++c) {
      const Index i = static_cast<Index>(c);
      const Histories seen = histories(batches, c, bessel);
      const Real mean = formula(start.running_mean[i], seen.means);
      const Real variance = formula(start.running_variance[i], seen.variances);
      CHECK(std::fabs(layer.state().running_mean[i] - mean) <= share * 8);
      CHECK(std::fabs(layer.state().running_variance[i] - variance) <= share * variance);
    }
  }
}

void check_preset(const Options& options, const Formula& formula, int bessel) {
  check_rule<float>(options, formula, bessel);
  check_rule<double>(options, formula, bessel);
}

Options with(const RunningUpdate& rule, VarianceEstimator estimator) {
  Options options;
  options.running = rule;
  options.running_variance = estimator;
  return options;
}

const Formula average = [](Real, const History& s) { return reference::average(s); };

}  // namespace

TEST_CASE("PyTorch: m s + (1 - m) R with m = 0.1, sample variance") {
  const Formula formula = [](Real r, const History& s) {
    return reference::weight_of_new(0.1L, r, s);
  };
  check_preset(Options::pytorch(), formula, 1);
}

TEST_CASE("MATLAB: the same with the population variance") {
  const Formula formula = [](Real r, const History& s) {
    return reference::weight_of_new(0.1L, r, s);
  };
  check_preset(Options::matlab(), formula, 0);
}

TEST_CASE("Keras and Flax: m R + (1 - m) s with m = 0.99, population variance") {
  const Formula formula = [](Real r, const History& s) {
    return reference::weight_of_old(0.99L, r, s);
  };
  check_preset(Options::keras(), formula, 0);
  check_preset(Options::flax(), formula, 0);
}

TEST_CASE("ONNX: m R + (1 - m) s with m = 0.9, population variance") {
  const Formula formula = [](Real r, const History& s) {
    return reference::weight_of_old(0.9L, r, s);
  };
  check_preset(Options::onnx(), formula, 0);
}

TEST_CASE("Haiku: hidden / (1 - d^k)") {
  for (const double decay : {0.0, 0.5, 0.99, 0.999999}) {
    INFO("decay " << decay);
    const Formula formula = [decay](Real, const History& s) { return reference::haiku(decay, s); };
    check_preset(Options::haiku(decay), formula, 0);
  }
}

TEST_CASE("Haiku's rule at its limit, decay 1, is the plain average") {
  check_preset(Options::haiku(1.0), average, 0);
}

TEST_CASE("dlib: 1 / (1 + min(minibatches so far, 100)), sample variance") {
  const Formula formula = [](Real, const History& s) { return reference::dlib(100, s); };
  check_preset(Options::dlib(), formula, 1);
}

TEST_CASE("a window shorter than the training forgets") {
  const Formula formula = [](Real, const History& s) { return reference::dlib(3, s); };
  check_preset(with(RunningUpdate::windowed(3), VarianceEstimator::sample), formula, 1);
}

TEST_CASE("paper, algorithm 2: averages over minibatches, of m / (m - 1) times the variance") {
  check_preset(Options::paper(), average, 1);
}

TEST_CASE("the ends of the weight: nothing is taken, or all of it") {
  const Formula stays = [](Real r, const History&) { return r; };
  const Formula follows = [](Real, const History& s) { return s.back(); };
  const auto population = VarianceEstimator::population;
  check_preset(with(RunningUpdate::take_new(0), population), stays, 0);
  check_preset(with(RunningUpdate::keep_old(1), population), stays, 0);
  check_preset(with(RunningUpdate::take_new(1), population), follows, 0);
  check_preset(with(RunningUpdate::keep_old(0), population), follows, 0);
}

TEMPLATE_TEST_CASE("population() over minibatches is one batch of everything", "", float, double,
                   Eigen::bfloat16) {
  for (const int bessel : {0, 1}) {
    const auto estimator = bessel == 0 ? VarianceEstimator::population : VarianceEstimator::sample;
    for (const Size count : {1u, 2u, 17u, 60u}) {
      INFO(count << " minibatches, n - " << bessel);
      const std::vector<Batch> batches = minibatches<TestType>(count);
      BatchNorm<TestType> layer(channels, with(RunningUpdate::population(), estimator));
      train_on(layer, batches);
      const Real share = 4 * static_cast<Real>(count) * unit<double>() + of_moments<TestType>();
      for (Size c = 0; c < channels; ++c) {
        const Index i = static_cast<Index>(c);
        const reference::Pooled all = reference::pool(batches, c);
        const Real variance = all.squares / (all.count - bessel);
        CHECK(std::fabs(layer.state().running_mean[i] - all.mean) <= share * std::sqrt(variance));
        CHECK(std::fabs(layer.state().running_variance[i] - variance) <= share * variance);
        CHECK(layer.state().samples_seen == static_cast<Index>(all.count));
      }
    }
  }
}

TEMPLATE_TEST_CASE("training on parts, then inferring, equals training on everything", "", float,
                   double) {
  Random random(41);
  const Batch everything =
      stored_as<TestType>(normal_batch(random, 90, channels, positions, 100, 3));
  const reference::Layer trained = random_layer<TestType>(random, everything);
  const Options options = with(RunningUpdate::population(), VarianceEstimator::population);

  const Stored<TestType> x(everything, Layout::channels_last);
  Stored<TestType> at_once = Stored<TestType>::like(everything, Layout::channels_last);
  const BatchNorm<TestType> untouched = make_layer<TestType>(trained, options);
  untouched.normalize(x.view(), at_once.view());

  for (const Size parts : {2u, 7u, 20u}) {
    INFO(parts << " parts");
    BatchNorm<TestType> layer = make_layer<TestType>(trained, options);
    layer.state().forget_statistics();
    std::vector<Batch> batches;
    for (const Batch& part : split(random, everything, parts)) {
      if (part.samples * positions > 1) batches.push_back(part);
    }
    Size kept = 0;
    for (const Batch& part : batches) kept += part.samples;
    REQUIRE(kept == everything.samples);
    train_on(layer, batches);
    Stored<TestType> inferred = Stored<TestType>::like(everything, Layout::channels_last);
    layer.infer(x.view(), inferred.view());
    const Bounds<TestType> bounds(trained, everything);
    // The state keeps mean and variance in double, rounded after every part.
    const Batch expected = at_once.read();
    CHECK(beyond(inferred.read(), expected, [&](Size n, Size c, Size p) {
            const Real kept_mean = unit<double>() * std::fabs(trained.mu[c]) / trained.root(c);
            return 2 * bounds.y(n, c, p) + static_cast<Real>(parts) * kept_mean * 2;
          }) == "");
  }
}

TEST_CASE("a minibatch that is refused moves no statistic") {
  BatchNorm<float> layer(channels, Options::pytorch());
  train_on(layer, minibatches<float>(3));
  const State<float> before = layer.state();
  Batch bad = minibatches<float>(1).front();
  bad.at(1, 2, 0) = std::numeric_limits<Real>::quiet_NaN();
  const Stored<float> x(bad, Layout::channels_first);
  Stored<float> y = Stored<float>::like(bad, Layout::channels_first);
  CHECK_THROWS_MATCHES(layer.train(x.view(), y.view()), std::domain_error, says("channel 2"));
  CHECK(layer.state().running_mean == before.running_mean);
  CHECK(layer.state().running_variance == before.running_variance);
  CHECK(layer.state().batches_seen == before.batches_seen);
  CHECK(layer.state().samples_seen == before.samples_seen);
}
