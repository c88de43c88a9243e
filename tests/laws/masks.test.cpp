// SPDX-License-Identifier: MIT
// Masks and weights against the oracle: statistics, outputs and gradients in long double, with
// gradients from finite differences of the loss.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "batchnorm/layer.hpp"
#include "batchnorm/math/masked.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"
#include "support/reference_batch_norm.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

using WeightMatrix = Eigen::Array<double, Eigen::Dynamic, Eigen::Dynamic>;
using MaskMatrix = Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic>;

constexpr Real epsilon = 0.01L;

/// A minibatch with weights, some of them 0, and the gradient of its outputs.
struct Weighed {
  Batch x, dy;
  WeightMatrix w;
  PerChannel gamma, beta;

  Weighed(Random& random, Size samples, Size channels, Size positions, bool zero_or_one)
      : x{samples, channels, positions},
        dy(x),
        w(static_cast<Index>(samples), static_cast<Index>(positions)) {
    for (Real& value : x.values) value = static_cast<Real>(2 + random.normal());
    for (Real& value : dy.values) value = static_cast<Real>(random.normal());
    for (double& weight : w.reshaped()) {
      const bool counts = random.below(3) != 0;
      weight = !counts ? 0.0 : zero_or_one ? 1.0 : random.uniform(0.25, 4.0);
    }
    w(0, 0) = zero_or_one ? 1 : 2.5;
    w(w.rows() - 1, 0) = 1;
    for (Size c = 0; c < channels; ++c) {
      gamma.push_back(static_cast<Real>(random.uniform(0.5, 1.5)));
      beta.push_back(static_cast<Real>(random.uniform(-1, 1)));
    }
  }

  Real weight(Size n, Size p) const {
    return static_cast<Real>(w(static_cast<Index>(n), static_cast<Index>(p)));
  }

  reference::Layer layer_for(const Batch& input) const {
    reference::Layer layer{gamma, beta, PerChannel(input.channels, 0),
                           PerChannel(input.channels, 0), epsilon};
    Real total = 0;
    for (Size n = 0; n < input.samples; ++n) {
      for (Size p = 0; p < input.positions; ++p) total += weight(n, p);
    }
    input.each([&](Size n, Size c, Size p) {
      if (weight(n, p) > 0) layer.mu[c] += weight(n, p) * input.at(n, c, p) / total;
    });
    input.each([&](Size n, Size c, Size p) {
      const Real deviation = input.at(n, c, p) - layer.mu[c];
      if (weight(n, p) > 0) layer.sigma2[c] += weight(n, p) * deviation * deviation / total;
    });
    return layer;
  }

  Batch output(const Batch& input, MaskedOutput masked) const {
    Batch y = reference::forward(layer_for(input), input);
    y.each([&](Size n, Size c, Size p) {
      if (weight(n, p) > 0 || masked == MaskedOutput::normalize) return;
      y.at(n, c, p) = masked == MaskedOutput::zero ? 0 : input.at(n, c, p);
    });
    return y;
  }

  /// dL/dx by central differences, L = sum dy y.
  Batch differences(MaskedOutput masked) const {
    const auto loss = [&](const Batch& input) {
      const Batch y = output(input, masked);
      Real sum = 0;
      y.each([&](Size n, Size c, Size p) { sum += dy.at(n, c, p) * y.at(n, c, p); });
      return sum;
    };
    const Real step = 1e-6L;
    Batch d = x;
    for (Size i = 0; i < x.values.size(); ++i) {
      Batch more = x, less = x;
      more.values[i] += step;
      less.values[i] -= step;
      d.values[i] = (loss(more) - loss(less)) / (2 * step);
    }
    return d;
  }
};

BatchNorm<double> layer_of(const Weighed& data) {
  Options options;
  options.epsilon = static_cast<double>(epsilon);
  BatchNorm<double> layer(static_cast<Index>(data.x.channels), options);
  for (Size c = 0; c < data.x.channels; ++c) {
    layer.state().gamma[static_cast<Index>(c)] = static_cast<double>(data.gamma[c]);
    layer.state().beta[static_cast<Index>(c)] = static_cast<double>(data.beta[c]);
  }
  return layer;
}

double largest_difference(const Batch& a, const Batch& b) {
  Real most = 0;
  for (Size i = 0; i < a.values.size(); ++i) {
    const Real difference = std::fabs(a.values[i] - b.values[i]);
    if (!(difference <= most)) most = difference;
  }
  return static_cast<double>(most);
}

Batch rounded(const Batch& batch) {
  Batch result = batch;
  for (Real& value : result.values) value = static_cast<double>(value);
  return result;
}

/// Train and backward of `in`, which is masked or weighted, against the oracle.
template <class In>
void check_against_oracle(const Weighed& data, const In& in, Layout layout, MaskedOutput masked,
                          const Batch& expected_dx) {
  BatchNorm<double> layer = layer_of(data);
  Stored<double> y = Stored<double>::like(data.x, layout);
  Stored<double> dx = Stored<double>::like(data.x, Layout::channels_last);
  const Stored<double> dy(data.dy, layout);
  const auto batch = layer.train(in, y.view());
  const auto gradients = layer.backward(batch, in, dy.view(), dx.view());
  const reference::Layer expected = data.layer_for(data.x);
  CHECK(batch.count == (data.w > 0).count());
  CHECK(batch.weight() == Approx(data.w.sum()).epsilon(1e-14));
  CHECK(batch.squared_weight() == Approx(data.w.square().sum()).epsilon(1e-14));
  for (Size c = 0; c < data.x.channels; ++c) {
    const Index channel = static_cast<Index>(c);
    CHECK(batch.mean[channel] == Approx(static_cast<double>(expected.mu[c])).epsilon(1e-13));
    CHECK(batch.population_variance()[channel] ==
          Approx(static_cast<double>(expected.sigma2[c])).epsilon(1e-12));
  }
  CHECK(largest_difference(y.read(), data.output(data.x, masked)) < 1e-13);
  CHECK(largest_difference(dx.read(), expected_dx) < 1e-8);
  CHECK(y.gaps_are_untouched());

  PerChannel dgamma(data.x.channels, 0), dbeta(data.x.channels, 0);
  data.x.each([&](Size n, Size c, Size p) {
    if (!(data.weight(n, p) > 0) && masked != MaskedOutput::normalize) return;
    dbeta[c] += data.dy.at(n, c, p);
    dgamma[c] += data.dy.at(n, c, p) * (data.x.at(n, c, p) - expected.mu[c]) / expected.root(c);
  });
  for (Size c = 0; c < data.x.channels; ++c) {
    const Index channel = static_cast<Index>(c);
    CHECK(std::fabs(gradients.gamma[channel] - static_cast<double>(dgamma[c])) < 1e-12);
    CHECK(std::fabs(gradients.beta[channel] - static_cast<double>(dbeta[c])) < 1e-12);
  }
}

constexpr MaskedOutput all_outputs[] = {MaskedOutput::normalize, MaskedOutput::zero,
                                        MaskedOutput::keep};

/// Six samples, in numbers that a double holds.
Weighed rounded_problem(Random& random, Size channels, Size positions, bool is_mask) {
  Weighed made(random, 6, channels, positions, is_mask);
  made.x = rounded(made.x);
  made.dy = rounded(made.dy);
  return made;
}

}  // namespace

TEST_CASE("masks: statistics, outputs and gradients are the oracle's in every layout") {
  Random random(131);
  const Size positions = GENERATE(Size{1}, Size{4}, Size{20});
  const Size channels = GENERATE(Size{1}, Size{3}, Size{5});
  const Weighed data = rounded_problem(random, channels, positions, true);
  const MaskMatrix mask = data.w > 0;
  for (const MaskedOutput output : all_outputs) {
    const Batch dx = data.differences(output);
    for (const Layout layout : all_layouts) {
      INFO(name_of(layout) << ", " << channels << " channels, " << positions << " positions");
      const Stored<double> x(data.x, layout);
      check_against_oracle(data, masked(x.view(), mask, output), layout, output, dx);
    }
  }
}

TEST_CASE("weights: statistics, outputs and gradients are the oracle's in every layout") {
  Random random(132);
  const Size positions = GENERATE(Size{1}, Size{4}, Size{20});
  const Size channels = GENERATE(Size{1}, Size{3}, Size{5});
  const Weighed data = rounded_problem(random, channels, positions, false);
  for (const MaskedOutput output : all_outputs) {
    const Batch dx = data.differences(output);
    for (const Layout layout : all_layouts) {
      INFO(name_of(layout) << ", " << channels << " channels, " << positions << " positions");
      const Stored<double> x(data.x, layout);
      check_against_oracle(data, weighted(x.view(), data.w, Weights::reliability, output), layout,
                           output, dx);
    }
  }
}

TEST_CASE("weights: the pieces of a minibatch lead to the gradients of the whole") {
  Random random(133);
  const Weighed data(random, 8, 3, 6, false);
  const BatchNorm<double> layer = layer_of(data);
  const Stored<double> x(data.x, Layout::channels_first), dy(data.dy, Layout::channels_first);
  Stored<double> whole = Stored<double>::like(data.x, Layout::channels_first);
  Stored<double> dx = whole, y = whole, y_whole = whole;
  const auto all = weighted(x.view(), data.w, Weights::frequency);
  const auto batch = layer.normalize(all, y_whole.view());
  layer.backward(batch, all, dy.view(), whole.view());

  const auto part = [](const auto& view, Index first, Index count) {
    using View = BatchView<typename std::decay_t<decltype(view)>::Element>;
    return View(view.data() + first * view.sample_stride(), count, view.channels(),
                view.positions(), view.sample_stride(), view.channel_stride(),
                view.position_stride());
  };
  const WeightMatrix w_first = data.w.topRows(3), w_second = data.w.bottomRows(5);
  const auto first = part(x.view(), 0, 3), second = part(x.view(), 3, 5);
  auto merged = moments_of(weighted(first, w_first, Weights::frequency));
  merged.merge(moments_of(weighted(second, w_second, Weights::frequency)));
  CHECK(merged.count == batch.count);
  CHECK(merged.weight() == Approx(batch.weight()).epsilon(1e-14));
  auto sums = layer.backward_sums(merged, weighted(first, w_first, Weights::frequency),
                                  part(dy.view(), 0, 3));
  sums.merge(layer.backward_sums(merged, weighted(second, w_second, Weights::frequency),
                                 part(dy.view(), 3, 5)));
  layer.normalize(merged, weighted(first, w_first, Weights::frequency), part(y.view(), 0, 3));
  layer.normalize(merged, weighted(second, w_second, Weights::frequency), part(y.view(), 3, 5));
  layer.backward(merged, sums, weighted(first, w_first, Weights::frequency), part(dy.view(), 0, 3),
                 part(dx.view(), 0, 3));
  layer.backward(merged, sums, weighted(second, w_second, Weights::frequency),
                 part(dy.view(), 3, 5), part(dx.view(), 3, 5));
  CHECK(largest_difference(y.read(), y_whole.read()) < 1e-13);
  CHECK(largest_difference(dx.read(), whole.read()) < 1e-13);
}

TEST_CASE("weights of float data: gradients of a heavy element keep their digits") {
  // One element has nearly all the weight: what it adds to the mean is not lost beside its own
  // gradient.
  Random random(134);
  Weighed data(random, 50, 2, 1, false);
  for (Real& value : data.x.values) value = static_cast<float>(value);
  for (Real& value : data.dy.values) value = static_cast<float>(value);
  data.w(7, 0) = 1e4;
  const Stored<float> x(data.x, Layout::channels_first), dy(data.dy, Layout::channels_first);
  Stored<float> y = Stored<float>::like(data.x, Layout::channels_first), dx = y;
  Options options;
  options.epsilon = static_cast<double>(epsilon);
  BatchNorm<float> layer(2, options);
  for (Size c = 0; c < 2; ++c) {
    layer.state().gamma[static_cast<Index>(c)] = 1.0f;
    data.gamma[c] = 1;
    data.beta[c] = 0;
  }
  const auto in = weighted(x.view(), data.w, Weights::importance);
  const auto batch = layer.train(in, y.view());
  layer.backward(batch, in, dy.view(), dx.view());
  const Batch expected = data.differences(MaskedOutput::normalize);
  Real largest = 0;
  for (const Real value : expected.values) largest = std::max(largest, std::fabs(value));
  CHECK(largest_difference(dx.read(), expected) < 2e-6 * static_cast<double>(largest));
}

TEST_CASE("masks and a ReLU with residual: the oracle on what counts") {
  Random random(135);
  Weighed data(random, 5, 4, 7, true);
  Batch residual = data.x;
  for (Real& value : residual.values) value = static_cast<double>(random.normal());
  data.x = rounded(data.x);
  data.dy = rounded(data.dy);
  const MaskMatrix mask = data.w > 0;
  Options options;
  options.epsilon = static_cast<double>(epsilon);
  options.epilogue = Epilogue::relu();
  BatchNorm<double> layer(4, options);
  layer.state() = layer_of(data).state();
  reference::Layer oracle = data.layer_for(data.x);
  oracle.slope = 0;
  const Batch expected = reference::forward(oracle, data.x, residual);
  const Layout layout = GENERATE(Layout::channels_first, Layout::channels_last);
  const Stored<double> x(data.x, layout), r(residual, layout), dy(data.dy, layout);
  Stored<double> y = Stored<double>::like(data.x, layout), other = y, dx = y, dr = y, dx2 = y,
                 dr2 = y;
  const auto batch = layer.train(with_residual(masked(x.view(), mask), r.view()), y.view());
  CHECK(largest_difference(y.read(), expected) < 1e-13);
  layer.normalize(masked(with_residual(x.view(), r.view()), mask), other.view());
  CHECK(other.read().values == y.read().values);
  layer.backward(batch, with_residual(masked(x.view(), mask), r.view()), dy.view(),
                 with_residual(dx.view(), dr.view()));
  layer.backward(batch, masked(with_residual(x.view(), r.view()), mask), dy.view(),
                 with_residual(dx2.view(), dr2.view()));
  CHECK(dx2.read().values == dx.read().values);
  CHECK(dr2.read().values == dr.read().values);
  // dr = f'(z) dy everywhere; dx through the statistics of what counts.
  const Batch z = reference::before_epilogue(oracle, data.x, residual);
  Weighed behind = data;
  Batch expected_dr = data.dy;
  data.x.each([&](Size n, Size c, Size p) {
    if (!(z.at(n, c, p) > 0)) expected_dr.at(n, c, p) = 0;
  });
  behind.dy = expected_dr;
  CHECK(dr.read().values == expected_dr.values);
  CHECK(largest_difference(dx.read(), behind.differences(MaskedOutput::normalize)) < 1e-8);
}
