// SPDX-License-Identifier: MIT
#include "batchnorm/variants/renormalize.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>

#include "batchnorm/math/masked.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layers.hpp"
#include "support/layouts.hpp"
#include "support/reference_derivatives.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
using Catch::Matchers::Contains;

namespace {

/// Algorithm 1 of Ioffe 2017, line by line.
struct Literal {
  PerChannel gamma, beta, mu, sigma2;
  Real epsilon, r_max, d_max, slope = 1;
  PerChannel r, d;  // constants of backward

  static Real clip(Real value, Real low, Real high) {
    return std::fmin(std::fmax(value, low), high);
  }

  void set_corrections(const Batch& x) {
    const PerChannel mean = reference::mean(x), variance = reference::variance(x, mean);
    r.clear();
    d.clear();
    for (Size c = 0; c < x.channels; ++c) {
      const Real own = std::sqrt(variance[c] + epsilon), running = std::sqrt(sigma2[c] + epsilon);
      r.push_back(clip(own / running, 1 / r_max, r_max));
      d.push_back(clip((mean[c] - mu[c]) / running, -d_max, d_max));
    }
  }

  Batch forward(const Batch& x) const {
    const PerChannel mean = reference::mean(x), variance = reference::variance(x, mean);
    Batch y = x;
    x.each([&](Size n, Size c, Size p) {
      const Real h = (x.at(n, c, p) - mean[c]) / std::sqrt(variance[c] + epsilon);
      Real& out = y.at(n, c, p);
      out = gamma[c] * (h * r[c] + d[c]) + beta[c];
      if (out < 0) out *= slope;
    });
    return y;
  }
};

struct Case {
  Literal literal;
  Batch x, dy;

  explicit Case(std::uint64_t seed, Size positions = 3) : x{4, 5, positions}, dy{4, 5, positions} {
    Random random(seed);
    x = stored_as<float>(normal_batch(random, 4, 5, positions, 1, 1.5L));
    dy = stored_as<float>(normal_batch(random, 4, 5, positions, 0.2L));
    literal.gamma = stored_as<float>(uniform_channels(random, 5, 0.5, 2));
    literal.beta = stored_as<float>(uniform_channels(random, 5, -1, 1));
    literal.mu = stored_as<float>(uniform_channels(random, 5, -1, 1));
    literal.sigma2 = stored_as<float>(uniform_channels(random, 5, 0.5, 9));
    literal.mu[3] = 40;        // clips d
    literal.sigma2[4] = 1e4L;  // clips r
    literal.epsilon = 0.01L;
    literal.r_max = 2.5L;
    literal.d_max = 3;
    literal.set_corrections(x);
  }

  template <class T>
  BatchNorm<T> layer(const Options& options = {}) const {
    BatchNorm<T> layer = make_layer<T>(
        {literal.gamma, literal.beta, literal.mu, literal.sigma2, literal.epsilon}, options);
    layer.state().batches_seen = 3;
    layer.state().samples_seen = 36;
    return layer;
  }

  Renormalization limits() const {
    Renormalization limits;
    limits.r_max = static_cast<double>(literal.r_max);
    limits.d_max = static_cast<double>(literal.d_max);
    return limits;
  }
};

}  // namespace

TEST_CASE("batch renormalisation is algorithm 1 of its paper, clipped and not") {
  const Case given(1);
  for (const Layout layout : all_layouts) {
    INFO(name_of(layout));
    const Stored<double> x(given.x, layout);
    Stored<double> y = Stored<double>::like(given.x, layout);
    BatchNorm<double> layer = given.layer<double>(), plain = layer;
    const auto batch = train_renormalized(layer, given.limits(), x.view(), y.view());
    CHECK(reference::worst_share(y.read().values, given.literal.forward(given.x).values) < 1e-14L);
    CHECK(reference::worst_share(to_reals(batch.r), given.literal.r) < 1e-14L);
    CHECK(reference::worst_share(to_reals(batch.d), given.literal.d) < 1e-14L);
    CHECK(batch.clipped[3]);
    CHECK(batch.clipped[4]);
    CHECK_FALSE(batch.clipped[0]);
    // Its update is that of training.
    Stored<double> ignored = y;
    plain.train(x.view(), ignored.view());
    CHECK(layer.state().running_mean == plain.state().running_mean);
    CHECK(layer.state().running_variance == plain.state().running_variance);
    CHECK(layer.state().batches_seen == 4);
  }
}

TEST_CASE("backward of batch renormalisation: r and d are constants") {
  for (const double slope : {1.0, 0.25}) {
    INFO(slope);
    Case given(2);
    given.literal.slope = static_cast<Real>(slope);
    const auto loss = [&] { return reference::dot(given.literal.forward(given.x), given.dy); };
    const auto by_x = reference::central_differences(given.x.values, loss, 1e-5L);
    const auto by_gamma = reference::central_differences(given.literal.gamma, loss, 1e-5L);
    const auto by_beta = reference::central_differences(given.literal.beta, loss, 1e-5L);
    Options options;
    if (slope < 1) options.epilogue = Epilogue::leaky_relu(slope);
    BatchNorm<double> layer = given.layer<double>(options);
    const Stored<double> x(given.x, Layout::channels_first), dy(given.dy, Layout::channels_last);
    Stored<double> y = Stored<double>::like(given.x, Layout::channels_first), dx = y;
    const auto batch = train_renormalized(layer, given.limits(), x.view(), y.view());
    const auto gradients = backward_renormalized(layer, batch, x.view(), dy.view(), dx.view());
    CHECK(reference::worst_share(dx.read().values, by_x) < 1e-10L);
    CHECK(reference::worst_share(to_reals(gradients.gamma), by_gamma) < 1e-10L);
    CHECK(reference::worst_share(to_reals(gradients.beta), by_beta) < 1e-10L);
    BatchNorm<float> narrow = given.layer<float>(options);
    const Stored<float> fx(given.x, Layout::channels_last), fdy(given.dy, Layout::channels_first);
    Stored<float> fy = Stored<float>::like(given.x, Layout::channels_last), fdx = fy;
    const auto float_batch = train_renormalized(narrow, given.limits(), fx.view(), fy.view());
    backward_renormalized(narrow, float_batch, fx.view(), fdy.view(), fdx.view());
    CHECK(reference::worst_share(fdx.read().values, by_x) < 5e-6L);
  }
}

TEMPLATE_TEST_CASE("r_max 1 and d_max 0 are plain training, to the bit", "", float, double) {
  const Case given(3);
  const Stored<TestType> x(given.x, Layout::channels_first), dy(given.dy, Layout::channels_first);
  Stored<TestType> y = Stored<TestType>::like(given.x, Layout::channels_first), dx = y;
  Stored<TestType> plain_y = y, plain_dx = y;
  BatchNorm<TestType> layer = given.layer<TestType>(), plain = layer;
  for (int step = 0; step < 3; ++step) {
    const auto batch = train_renormalized(layer, Renormalization{}, x.view(), y.view());
    const auto gradients = backward_renormalized(layer, batch, x.view(), dy.view(), dx.view());
    const auto plain_batch = plain.train(x.view(), plain_y.view());
    const auto plain_gradients = plain.backward(plain_batch, x.view(), dy.view(), plain_dx.view());
    CHECK(y.same_bits(plain_y));
    CHECK(dx.same_bits(plain_dx));
    CHECK(gradients.gamma == plain_gradients.gamma);
    CHECK(gradients.beta == plain_gradients.beta);
    CHECK(layer.state().running_mean == plain.state().running_mean);
    CHECK(layer.state().running_variance == plain.state().running_variance);
  }
  // Also where the minibatch has the running statistics themselves.
  layer.state().running_mean = moments_of(x.view()).mean;
  layer.state().running_variance = moments_of(x.view()).population_variance();
  train_renormalized(layer, Renormalization{}, x.view(), y.view());
  CHECK(y.same_bits(plain_y));
  // And where these are NaN, which plain training does not look at.
  Options options;
  options.non_finite = NonFinite::propagate;
  BatchNorm<TestType> broken = given.layer<TestType>(options);
  broken.state().running_mean.setConstant(std::numeric_limits<double>::quiet_NaN());
  train_renormalized(broken, Renormalization{}, x.view(), y.view());
  CHECK(y.same_bits(plain_y));
}

TEMPLATE_TEST_CASE("where nothing is clipped, training has the bits of inference", "", float,
                   double) {
  const Case given(4);
  BatchNorm<TestType> layer = given.layer<TestType>();
  const BatchNorm<TestType> before = layer;
  const Stored<TestType> x(given.x, Layout::channels_last);
  Stored<TestType> y = Stored<TestType>::like(given.x, Layout::channels_last), inferred = y;
  Renormalization wide;
  wide.r_max = wide.d_max = 1e6;
  const auto batch = train_renormalized(layer, wide, x.view(), y.view());
  CHECK_FALSE(batch.clipped.any());
  before.infer(x.view(), inferred.view());
  CHECK(y.same_bits(inferred));
}

TEST_CASE("a channel that is constant in the minibatch keeps its offset") {
  // As in inference: (x - running_mean) / s = 1/2 for a running deviation of 2, and not 0.
  Options options;
  options.epsilon = 1e-3;
  BatchNorm<double> layer(1, options);
  layer.state().running_mean[0] = 4;
  layer.state().running_variance[0] = 4 - 1e-3;
  layer.state().gamma[0] = 3;
  layer.state().beta[0] = 0.25;
  const Eigen::RowVectorXd x = Eigen::RowVectorXd::Constant(8, 5);
  Eigen::RowVectorXd y(8);
  Renormalization limits;
  limits.r_max = 2;  // r, sqrt(1e-3) / 2, is clipped
  limits.d_max = 1;
  const auto batch = train_renormalized(layer, limits, x, y);
  CHECK(batch.clipped[0]);
  for (Index i = 0; i < 8; ++i) CHECK(y[i] == Approx(3 * 0.5 + 0.25).epsilon(1e-15));
}

TEST_CASE("limits follow the schedule of the paper, as a function of the step") {
  CHECK(Renormalization::ioffe(0).r_max == 1);
  CHECK(Renormalization::ioffe(5000).d_max == 0);
  CHECK(Renormalization::ioffe(15000).d_max == Approx(2.5));
  CHECK(Renormalization::ioffe(22500).r_max == Approx(2));
  CHECK(Renormalization::ioffe(25000).d_max == 5);
  CHECK(Renormalization::ioffe(40000).r_max == 3);
  CHECK(Renormalization::ioffe(1000000).r_max == 3);
  CHECK(Renormalization::ioffe(1000000).d_max == 5);
}

TEST_CASE("Keras averages standard deviations") {
  // renorm_stddev = 0.99 renorm_stddev + 0.01 stddev, moving_variance = renorm_stddev^2 - epsilon.
  BatchNorm<double> layer(1, Options::keras());
  const double epsilon = layer.options().epsilon;
  const Eigen::RowVectorXd x = (Eigen::RowVectorXd(4) << 1, 3, 5, 7).finished();
  Eigen::RowVectorXd y(4);
  const auto limits = Renormalization::keras(0.25, 2, 1);
  CHECK(limits.least_r() == 0.25);
  double deviation = std::sqrt(1 + epsilon), mean = 0;
  for (int step = 0; step < 3; ++step) {
    train_renormalized(layer, limits, x, y);
    deviation = 0.99 * deviation + 0.01 * std::sqrt(5 + epsilon);
    mean = 0.99 * mean + 0.01 * 4;
  }
  CHECK(layer.state().running_mean[0] == Approx(mean).epsilon(1e-14));
  CHECK(layer.state().running_variance[0] ==
        Approx(deviation * deviation - epsilon).epsilon(1e-14));
  CHECK(layer.state().batches_seen == 3);
  CHECK(layer.state().samples_seen == 12);
  // The other average is larger: 1, 5 and 5 in place of their roots.
  BatchNorm<double> variances(1, Options::keras());
  Renormalization same = limits;
  same.average = RenormAverage::variance;
  for (int step = 0; step < 3; ++step) train_renormalized(variances, same, x, y);
  CHECK(variances.state().running_variance[0] > layer.state().running_variance[0]);
}

TEST_CASE("an average of deviations is never of a negative variance, and leaves unknown counts") {
  const Eigen::RowVectorXd x = Eigen::RowVectorXd::Constant(4, 3);
  Eigen::RowVectorXd y(4);
  for (int i = 1; i <= 40; ++i) {
    Options options;
    options.epsilon = i * 1e-3;  // the square of its root is less for some
    BatchNorm<double> layer(1, options);
    layer.state().running_variance[0] = 0;
    layer.state().samples_seen = State<double>::unknown;
    train_renormalized(layer, Renormalization::keras(0.5, 2, 1), x, y);
    CHECK(layer.state().running_variance[0] >= 0);
    CHECK(layer.state().running_variance[0] < 1e-16);
    CHECK(layer.state().samples_seen == State<double>::unknown);
  }
}

TEST_CASE("gamma and beta that are left out have no gradient under renormalisation") {
  Options options;
  options.scale = options.shift = false;
  BatchNorm<double> layer(1, options);
  Eigen::RowVectorXd x(3), dy(3), y(3), dx(3);
  x << 1, 2, 6;
  dy << 1, 1, -3;
  const auto batch = train_renormalized(layer, {}, x, y);
  const auto gradients = backward_renormalized(layer, batch, x, dy, dx);
  CHECK(gradients.gamma[0] == 0);
  CHECK(gradients.beta[0] == 0);
}

TEST_CASE("masks, in-place outputs and minibatches of nothing") {
  BatchNorm<double> layer(1), dense(1);
  Eigen::RowVectorXd x(4), y(4), some(3), some_y(3);
  x << 1, 100, 3, 8;
  some << 1, 3, 8;
  const Eigen::Array<bool, 4, 1> mask(true, false, true, true);
  Renormalization limits;
  limits.r_max = 1.5;
  limits.d_max = 0.5;
  const auto batch = train_renormalized(layer, limits, masked(x, mask), y);
  train_renormalized(dense, limits, some, some_y);
  CHECK(y[0] == some_y[0]);
  CHECK(y[3] == some_y[2]);
  CHECK(layer.state().running_mean == dense.state().running_mean);
  CHECK(batch.batch.count == 3);
  train_renormalized(dense, limits, some, some);
  const auto before = layer.state().running_mean;
  const Eigen::Array<bool, 4, 1> none(false, false, false, false);
  const auto nothing = train_renormalized(layer, limits, masked(x, none), y);
  CHECK(nothing.batch.count == 0);
  CHECK(y.isZero(0));
  CHECK(layer.state().running_mean == before);
  y.setConstant(-5);
  CHECK(backward_renormalized(layer, nothing, masked(x, none), x, y).gamma[0] == 0);
  CHECK(y.isZero(0));
}

TEST_CASE("what batch renormalisation refuses changes nothing") {
  BatchNorm<double> layer(1);
  Eigen::RowVectorXd x(3), y(3);
  x << 1, 2, 4;
  layer.train(x, y);
  const State<double> before = layer.state();
  const auto refuse = [&](const Renormalization& limits, const auto& in, const char* text) {
    Eigen::RowVectorXd copy = Eigen::RowVectorXd::Constant(in.size(), -5);
    CHECK_THROWS_WITH(train_renormalized(layer, limits, in, copy), Contains(text));
    CHECK((copy.array() == -5).all());
    CHECK(layer.state().running_mean == before.running_mean);
    CHECK(layer.state().running_variance == before.running_variance);
    CHECK(layer.state().batches_seen == before.batches_seen);
  };
  Renormalization limits;
  limits.r_max = 0.5;
  refuse(limits, x, "r is clipped to [r_min, r_max]: expected 0 <= r_min <= 1 <= r_max");
  limits.r_max = 2;
  limits.r_min = 1.5;
  refuse(limits, x, "r is clipped");
  limits = {};
  limits.d_max = -1;
  refuse(limits, x, "d is clipped to [-d_max, d_max]");
  refuse({}, Eigen::RowVectorXd::Ones(1).eval(), "from two values per channel on");
  Eigen::RowVectorXd broken = x;
  broken[1] = std::numeric_limits<double>::quiet_NaN();
  refuse({}, broken, "must be finite");
  Options options;
  options.running = RunningUpdate::population();
  BatchNorm<double> pooled(1, options);
  CHECK_THROWS_WITH(train_renormalized(pooled, Renormalization::keras(0.5, 2, 1), x, y),
                    Contains("the population rule pools variances"));
  // A running variance of zero without epsilon: the deviation is divided by.
  options = {};
  options.epsilon = 0;
  BatchNorm<double> flat(1, options);
  flat.state().running_variance[0] = 0;
  CHECK_THROWS_WITH(train_renormalized(flat, limits, x, y), Contains("d is clipped"));
  CHECK_THROWS_WITH(train_renormalized(flat, Renormalization{}, x, y),
                    Contains("variance + epsilon of channel 0"));
  const auto batch = train_renormalized(layer, {}, x, y);
  Eigen::RowVectorXd small(2);
  small << 1, 2;
  CHECK_THROWS_WITH(backward_renormalized(layer, batch, small, small, small),
                    Contains("the moments must be those of this input"));
}

TEST_CASE("renormalisation refuses states and parameters that training or inference refuses") {
  Eigen::RowVectorXd x(3), y = Eigen::RowVectorXd::Constant(3, -5);
  x << 1, 2, 4;
  Options options;
  options.running = RunningUpdate::population();
  BatchNorm<double> pooled(1, options);
  pooled.state().batches_seen = 2;
  pooled.state().samples_seen = State<double>::unknown;
  CHECK_THROWS_WITH(train_renormalized(pooled, {}, x, y), Contains("weighs by samples seen"));
  BatchNorm<double> negative(1), infinite(1);
  negative.state().running_variance[0] = -1;
  CHECK_THROWS_AS(train_renormalized(negative, {}, x, y), std::domain_error);
  CHECK((y.array() == -5).all());
  const auto batch = train_renormalized(infinite, {}, x, y);
  infinite.state().gamma[0] = std::numeric_limits<double>::infinity();
  y.setConstant(-5);
  CHECK_THROWS_WITH(train_renormalized(infinite, {}, x, y), Contains("gamma of channel 0"));
  CHECK_THROWS_WITH(backward_renormalized(infinite, batch, x, x, y),
                    Contains("gamma of channel 0"));
  CHECK((y.array() == -5).all());
  options = {};
  options.non_finite = NonFinite::skip_update;
  BatchNorm<double> skipping(1, options);
  x[1] = std::numeric_limits<double>::quiet_NaN();
  train_renormalized(skipping, {}, x, y);
  CHECK(skipping.state().batches_seen == 0);
  CHECK(skipping.state().running_mean[0] == 0);
}

TEST_CASE("unless told otherwise, renormalisation is plain training") {
  const Renormalization plain;
  CHECK(plain.r_max == 1.0);
  CHECK(plain.d_max == 0.0);
  CHECK(plain.r_min == 0.0);
  CHECK(plain.least_r() == 1.0);
  CHECK(plain.average == RenormAverage::variance);
}
