// SPDX-License-Identifier: MIT
// Masks whose elements count or not at random, on long runs of neighbouring values: the formulas in
// long double, in place or not, on any number of threads, beside NaN.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "batchnorm/layer.hpp"
#include "batchnorm/math/masked.hpp"
#include "support/caches.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

using MaskMatrix = Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic>;

constexpr double epsilon = 0.01;

/// Samples x channels x positions, channels first, one element behind the beginning of its memory.
template <class T>
struct Scattered {
  Index samples, channels, positions;
  std::vector<T> x, dy;
  MaskMatrix mask;
  Eigen::VectorXd gamma;

  Scattered(Random& random, Index sample_count, Index channel_count, Index position_count)
      : samples(sample_count),
        channels(channel_count),
        positions(position_count),
        x(static_cast<Size>(1 + sample_count * channel_count * position_count)),
        dy(x.size()),
        mask(samples, positions),
        gamma(channels) {
    for (T& value : x) value = static_cast<T>(static_cast<float>(2 + random.normal()));
    for (T& value : dy) value = static_cast<T>(static_cast<float>(random.normal()));
    for (bool& each : mask.reshaped()) each = random.below(2) == 0;
    for (double& each : gamma) each = random.uniform(0.5, 2);
  }

  BatchView<T> view(std::vector<T>& data) const {
    return channels_first(data.data() + 1, samples, channels, positions);
  }
  Size at(Index n, Index c, Index p) const {
    return static_cast<Size>(1 + (n * channels + c) * positions + p);
  }

  BatchNorm<T> layer() const {
    Options options;
    options.epsilon = epsilon;
    BatchNorm<T> made(channels, options);
    made.state().gamma = gamma.cast<parameter_t<T>>();
    return made;
  }
};

struct Results {
  std::vector<double> dx, gamma, beta;
  bool operator==(const Results& other) const {
    return dx == other.dx && gamma == other.gamma && beta == other.beta;
  }
};

enum class Place { apart, over_x, over_dy };

template <class T>
Results backward(const Scattered<T>& data, MaskedOutput output, Place place,
                 const Execution& execution = {}) {
  std::vector<T> x = data.x, dy = data.dy, apart(x.size(), T(7));
  std::vector<T>& dx = place == Place::over_x ? x : place == Place::over_dy ? dy : apart;
  const BatchNorm<T> layer = data.layer();
  std::vector<T> y(x.size());
  const auto batch =
      layer.normalize(masked(data.view(x), data.mask, output), data.view(y), execution);
  const auto gradients = layer.backward(batch, masked(data.view(x), data.mask, output),
                                        data.view(dy), data.view(dx), execution);
  Results results;
  for (const T& value : dx) results.dx.push_back(static_cast<double>(value));
  for (Index c = 0; c < data.channels; ++c) {
    results.gamma.push_back(static_cast<double>(gradients.gamma[c]));
    results.beta.push_back(static_cast<double>(gradients.beta[c]));
  }
  if (place == Place::apart) CHECK(static_cast<double>(dx[0]) == 7);
  return results;
}

/// dx = gamma s (g - m/n (sum g + h sum g h)), m = 1 where an element counts, h about the mean of
/// those; the sums over all outputs, or over those that count where others are not normalised.
template <class T>
Results formula(const Scattered<T>& data, MaskedOutput output) {
  Results results;
  results.dx.assign(data.x.size(), 0.0);
  const Real count = static_cast<Real>(data.mask.count());
  for (Index c = 0; c < data.channels; ++c) {
    const auto sum = [&](const auto& term) {
      Real total = 0;
      for (Index n = 0; n < data.samples; ++n) {
        for (Index p = 0; p < data.positions; ++p) {
          total += term(static_cast<Real>(static_cast<double>(data.x[data.at(n, c, p)])),
                        static_cast<Real>(static_cast<double>(data.dy[data.at(n, c, p)])),
                        data.mask(n, p));
        }
      }
      return total;
    };
    const bool all = output == MaskedOutput::normalize;
    const Real mean = sum([](Real x, Real, bool m) { return m ? x : 0; }) / count;
    const Real variance =
        sum([&](Real x, Real, bool m) { return m ? (x - mean) * (x - mean) : 0; }) / count;
    const Real s = 1 / std::sqrt(variance + static_cast<Real>(epsilon));
    const Real g = sum([&](Real, Real dy, bool m) { return m || all ? dy : 0; });
    const Real gh =
        sum([&](Real x, Real dy, bool m) { return m || all ? dy * (x - mean) * s : 0; });
    results.beta.push_back(static_cast<double>(g));
    results.gamma.push_back(static_cast<double>(gh));
    const Real gain = static_cast<Real>(data.gamma[c]) * s;
    for (Index n = 0; n < data.samples; ++n) {
      for (Index p = 0; p < data.positions; ++p) {
        const Size i = data.at(n, c, p);
        const Real x = static_cast<Real>(static_cast<double>(data.x[i]));
        const Real dy = static_cast<Real>(static_cast<double>(data.dy[i]));
        const Real counted = gain * (dy - (g + (x - mean) * s * gh) / count);
        const Real other = all ? gain * dy : output == MaskedOutput::keep ? dy : 0;
        results.dx[i] = static_cast<double>(data.mask(n, p) ? counted : other);
      }
    }
  }
  return results;
}

void check_close(const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
  REQUIRE(a.size() == b.size());
  double most = 0;
  for (Size i = 0; i < a.size(); ++i) {
    const double difference = std::abs(a[i] - b[i]) / (1 + std::abs(b[i]));
    if (!(difference <= most)) most = difference;
  }
  CHECK(most < tolerance);
}

const auto from_the_end = [](Index tasks, Task task) {
  for (Index i = tasks - 1; i >= 0; --i) task(i);
};

template <class T>
void check_scattered(Index samples, Index channels, Index positions, double tolerance) {
  Random random(140);
  const Scattered<T> data(random, samples, channels, positions);
  for (const MaskedOutput output :
       {MaskedOutput::normalize, MaskedOutput::zero, MaskedOutput::keep}) {
    INFO(samples << " x " << channels << " x " << positions << ", " << static_cast<int>(output));
    Results expected = formula(data, output);
    const Results results = backward(data, output, Place::apart);
    expected.dx[0] = results.dx[0];
    check_close(results.dx, expected.dx, tolerance);
    check_close(results.gamma, expected.gamma, tolerance);
    check_close(results.beta, expected.beta, tolerance);
    for (const Place place : {Place::over_x, Place::over_dy}) {
      Results in_place = backward(data, output, place);
      in_place.dx[0] = results.dx[0];
      CHECK((in_place == results));
    }
    for (const Index threads : {2, 7}) {
      const auto execution = Execution::parallel_for(from_the_end, threads);
      CHECK((backward(data, output, Place::apart, execution) == results));
    }
    const InstructionSet limit = limit_instruction_set(InstructionSet::baseline);
    const Results baseline = backward(data, output, Place::apart);
    limit_instruction_set(limit);
    check_close(baseline.dx, expected.dx, tolerance);
  }
}

}  // namespace

TEST_CASE("scattered masks: gradients are those of the formulas, in place or not") {
  check_scattered<float>(3, 5, 1300, 3e-6);
  check_scattered<float>(1, 2, 20000, 3e-6);
  check_scattered<float>(40, 3, 37, 3e-6);
  check_scattered<float>(7, 3, 9, 3e-6);
  check_scattered<double>(3, 4, 1111, 1e-14);
  check_scattered<double>(5, 2, 3, 1e-14);
  check_scattered<Eigen::half>(2, 3, 1500, 4e-3);
}

TEST_CASE("scattered masks: NaN under the mask is not in the sums, nor in other channels") {
  Random random(141);
  const Scattered<float> data(random, 3, 4, 900);
  Index p = 100;
  while (data.mask(1, p)) ++p;
  const Results clean = backward(data, MaskedOutput::normalize, Place::apart);
  Scattered<float> without = data, dirty = data;
  without.dy[data.at(1, 2, p)] = 0;
  dirty.x[data.at(1, 2, p)] = std::numeric_limits<float>::quiet_NaN();
  const Results expected = backward(without, MaskedOutput::normalize, Place::apart);
  const Results results = backward(dirty, MaskedOutput::normalize, Place::apart);
  for (const Size c : {Size{0}, Size{1}, Size{3}}) {
    CHECK(results.gamma[c] == clean.gamma[c]);
    CHECK(results.beta[c] == clean.beta[c]);
    for (Index n = 0; n < 3; ++n) {
      for (Index i = 0; i < 900; ++i) {
        const Size at = data.at(n, static_cast<Index>(c), i);
        if (results.dx[at] != clean.dx[at]) FAIL("channel " << c << ", " << n << ", " << i);
      }
    }
  }
  CHECK(results.gamma[2] == Approx(expected.gamma[2]).margin(1e-5));
  CHECK(results.beta[2] == Approx(expected.beta[2]).margin(1e-5));
  CHECK(results.beta[2] != Approx(clean.beta[2]).margin(1e-3));
}

TEST_CASE("scattered masks: bits do not depend on which channels are taken together") {
  // Groups of channels that fit the cache: of 8 on one thread, of 4 and fewer on more.
  const Caches caches(1 << 20, 1 << 25);
  Random random(141);
  Scattered<float> data(random, 4, 32, 1024);
  for (Index n = 0; n < data.samples; ++n) {
    for (Index p = 0; p < data.positions; ++p) {
      for (Index c = 1; c < data.channels && !data.mask(n, p); ++c) data.dy[data.at(n, c, p)] = 0;
    }
  }
  const Results results = backward(data, MaskedOutput::normalize, Place::apart);
  for (const Index threads : {2, 3, 5}) {
    const auto execution = Execution::parallel_for(from_the_end, threads);
    CHECK((backward(data, MaskedOutput::normalize, Place::apart, execution) == results));
  }
}

TEST_CASE(
    "scattered masks: bits of a channel do not depend on gradients under the mask of others") {
  Random random(144);
  for (const Index channels : {3, 70}) {
    Scattered<float> data(random, 2, channels, 700), others = data;
    const auto for_masked = [&](Scattered<float>& some, Index first, Index step) {
      for (Index n = 0; n < some.samples; ++n) {
        for (Index p = 0; p < some.positions; ++p) {
          for (Index c = first; c < channels && !some.mask(n, p); c += step) {
            some.dy[some.at(n, c, p)] = p % 2 == 0 ? -0.0f : 0.0f;
          }
        }
      }
    };
    for_masked(data, 0, 1);    // no channel has a gradient there
    for_masked(others, 0, 2);  // every second channel has none
    const Results alone = backward(data, MaskedOutput::normalize, Place::apart);
    const Results beside = backward(others, MaskedOutput::normalize, Place::apart);
    for (Index c = 0; c < channels; ++c) {
      const Size at = static_cast<Size>(c);
      CHECK((alone.gamma[at] == beside.gamma[at]) == (c % 2 == 0));
      CHECK((alone.beta[at] == beside.beta[at]) == (c % 2 == 0));
      for (Index p = 0; p < 700 && c % 2 == 0; ++p) {
        const Size i = data.at(1, c, p);
        if (alone.dx[i] != beside.dx[i] || std::signbit(alone.dx[i]) != std::signbit(beside.dx[i]))
          FAIL("channel " << c << ", position " << p);
      }
    }
  }
}

TEST_CASE(
    "where nothing counts, masked gradients are summed all the same, but for what is not finite") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Eigen::MatrixXf x{{1, nan, 3}, {2, 4, 6}}, dy{{1, 1, 2}, {1, 1, 2}}, dx(2, 3);
  const Eigen::Array<bool, 3, 1> none = Eigen::Array<bool, 3, 1>::Constant(false);
  Options options;
  options.epsilon = 0;
  options.non_finite = NonFinite::propagate;
  BatchNorm<float> layer(2, options);
  layer.state().set_statistics(Eigen::Vector2f(1, 2), Eigen::Vector2f(4, 4));
  const auto gradients = layer.backward_frozen(masked(x, none), dy, dx);
  CHECK(gradients.beta == Eigen::Vector2f(3, 4));
  CHECK(gradients.gamma == Eigen::Vector2f(2, 5));  // 0 1 + 1 2, and 0 1 + 1 1 + 2 2
  CHECK(dx.row(1) == Eigen::RowVector3f(0.5f, 0.5f, 1));
}

TEMPLATE_TEST_CASE("a masked gradient that is not a number is one of the input's, too", "", float,
                   double, long double, Eigen::half) {
  Eigen::Matrix<TestType, 2, 6> x, dy, y, dx;
  for (Index i = 0; i < x.size(); ++i) x(i) = static_cast<TestType>(static_cast<float>(i * i % 7));
  dy.setZero();
  dy(0, 1) = std::numeric_limits<TestType>::quiet_NaN();
  Eigen::Array<bool, 6, 1> mask;
  mask << true, false, true, true, false, true;
  const BatchNorm<TestType> layer(2);
  const auto batch = layer.normalize(masked(x, mask), y);
  const auto gradients = layer.backward(batch, masked(x, mask), dy, dx);
  CHECK(std::isnan(static_cast<double>(dx(0, 1))));
  dx(0, 1) = TestType(0);
  CHECK((dx.array() == TestType(0)).all());
  CHECK((gradients.gamma.array() == parameter_t<TestType>(0)).all());
  CHECK((gradients.beta.array() == parameter_t<TestType>(0)).all());
}

namespace {

/// Weights of the columns of a matrix, some of them 0: moments and gradients by the formulas.
template <class T>
void check_weighted_columns(Index channels, Index examples, double tolerance) {
  using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;
  using RealMatrix = Eigen::Matrix<Real, Eigen::Dynamic, Eigen::Dynamic>;
  Random random(142);
  Matrix x(channels, examples), dy(x), r(x), y(x), dx(x), dr(x);
  for (T& value : x.reshaped()) value = static_cast<T>(2 + random.normal());
  for (T& value : dy.reshaped()) value = static_cast<T>(random.normal());
  for (T& value : r.reshaped()) value = static_cast<T>(random.normal());
  Eigen::VectorXd w(examples);
  for (double& weight : w) weight = random.below(4) == 0 ? 0.0 : random.uniform(0.25, 4.0);
  Options options;
  options.epsilon = epsilon;
  BatchNorm<T> layer(channels, options);
  for (auto& gamma : layer.state().gamma) gamma = static_cast<T>(random.uniform(0.5, 2));

  const auto in = weighted(with_residual(x, r), w, Weights::reliability);
  const auto batch = layer.normalize(in, y);
  const auto gradients = layer.backward(batch, in, dy, with_residual(dx, dr));

  const RealMatrix xr = x.template cast<Real>(), g = dy.template cast<Real>();
  const Eigen::Matrix<Real, Eigen::Dynamic, 1> weight = w.cast<Real>();
  INFO(channels << " x " << examples);
  for (Index c = 0; c < channels; ++c) {
    const Real mean = xr.row(c).dot(weight) / weight.sum();
    const auto deviation = (xr.row(c).array() - mean).matrix().eval();
    const Real variance = deviation.array().square().matrix().dot(weight) / weight.sum();
    const Real s = 1 / std::sqrt(variance + static_cast<Real>(epsilon));
    const Real sum = g.row(c).sum(), with_h = g.row(c).dot(deviation) * s;
    CHECK(batch.mean[c] == Approx(static_cast<double>(mean)).epsilon(1e-14));
    CHECK(batch.population_variance()[c] == Approx(static_cast<double>(variance)).epsilon(1e-13));
    CHECK(static_cast<double>(gradients.gamma[c]) ==
          Approx(static_cast<double>(with_h)).margin(tolerance));
    Real most = 0;
    for (Index i = 0; i < examples; ++i) {
      const Real share = weight[i] / weight.sum();
      const Real expected = static_cast<Real>(layer.state().gamma[c]) * s *
                            (g(c, i) - share * (sum + deviation[i] * s * with_h));
      most = (std::max)(most, std::abs(expected - static_cast<Real>(dx(c, i))));
    }
    CHECK(static_cast<double>(most) < tolerance);
  }
  CHECK(dr == dy);
  Matrix over = dy;
  const auto again = layer.backward(batch, in, over, with_residual(over, dr));
  CHECK(over == dx);
  CHECK(again.gamma == gradients.gamma);
  const auto threads = Execution::parallel_for(from_the_end, 5);
  Matrix shared(x);
  layer.backward(batch, in, dy, with_residual(shared, dr), threads);
  CHECK(shared == dx);
  CHECK(layer.normalize(in, y, threads).sum_of_squares == batch.sum_of_squares);
}

}  // namespace

TEST_CASE("weights of the columns of a matrix: moments and gradients are those of the formulas") {
  check_weighted_columns<double>(3, 150, 1e-13);
  check_weighted_columns<double>(16, 150, 1e-13);
  check_weighted_columns<double>(70, 150, 1e-13);
  check_weighted_columns<float>(19, 333, 1e-5);
  check_weighted_columns<float>(530, 40, 1e-5);
  check_weighted_columns<float>(300, 700, 2e-5);
}

TEST_CASE("scattered masks: operands of several layouts, some channels at a time") {
  const Caches caches(8192, 1 << 25);  // so that channels are taken in groups
  Random random(143);
  const Scattered<float> data(random, 2, 16, 351);
  std::vector<float> x(data.x.size());
  const BatchView<float> last = channels_last(x.data(), 2, 16, 351);
  for (Index n = 0; n < 2; ++n) {
    for (Index c = 0; c < 16; ++c) {
      for (Index p = 0; p < 351; ++p) last(n, c, p) = data.x[data.at(n, c, p)];
    }
  }
  for (const MaskedOutput output : {MaskedOutput::normalize, MaskedOutput::keep}) {
    std::vector<float> dy = data.dy, y(dy.size()), dx(dy.size());
    const BatchNorm<float> layer = data.layer();
    const auto batch = layer.normalize(masked(last, data.mask, output), data.view(y));
    std::vector<float> residual(dy.size(), 1.0f), dr(dy.size());
    const auto gradients =
        layer.backward(batch, masked(with_residual(last, data.view(residual)), data.mask, output),
                       data.view(dy), with_residual(data.view(dx), data.view(dr)));
    Results expected = formula(data, output), results;
    for (const float value : dx) results.dx.push_back(static_cast<double>(value));
    expected.dx[0] = results.dx[0];
    check_close(results.dx, expected.dx, 3e-6);
    for (Index c = 0; c < 16; ++c) {
      const Size at = static_cast<Size>(c);
      CHECK(static_cast<double>(gradients.gamma[c]) == Approx(expected.gamma[at]).margin(1e-4));
      CHECK(static_cast<double>(gradients.beta[c]) == Approx(expected.beta[at]).margin(1e-4));
    }
  }
}
