// SPDX-License-Identifier: MIT
#include "batchnorm/variants/derivatives.hpp"

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

namespace {

using reference::Under;
using reference::Weighted;
using MaskMatrix = Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic>;

enum class Said { nothing, mask, weights };

/// Everything that the derivatives depend on: gamma away from 1, and dy that is not the output's.
struct Problem {
  Weighted norm;
  Batch x, dy, v;
  PerChannel u, t;
  Said said;

  Problem(std::uint64_t seed, Said what, bool frozen, Under under, Size samples = 5,
          Size channels = 3, Size positions = 4)
      : x{samples, channels, positions}, dy(x), v(x), said(what) {
    Random random(seed);
    x = normal_batch(random, samples, channels, positions, 1.5L, 2);
    dy = normal_batch(random, samples, channels, positions, 0.3L);
    v = normal_batch(random, samples, channels, positions, -0.2L);
    norm.gamma = uniform_channels(random, channels, -2, 2);
    norm.beta = uniform_channels(random, channels, -1, 1);
    norm.epsilon = 0.3L;
    norm.weights.assign(samples * positions, 1);
    norm.frozen = frozen;
    norm.mu = stored_as<float>(uniform_channels(random, channels, -1, 1));
    norm.sigma2 = stored_as<float>(uniform_channels(random, channels, 1, 3));
    norm.under = under;
    for (Real& w : norm.weights) {
      if (what == Said::nothing) continue;
      const bool counts = random.below(3) > 0;
      w = !counts ? 0 : what == Said::mask ? 1 : 0.25L + static_cast<Real>(random.below(8)) / 4;
    }
    u = uniform_channels(random, channels, -1, 1);
    t = uniform_channels(random, channels, -1, 1);
    norm.gamma[0] = 0;  // what is divided by gamma fails
  }

  template <class T>
  BatchNorm<T> layer() const {
    return make_layer<T>({norm.gamma, norm.beta, norm.mu, norm.sigma2, norm.epsilon}, {});
  }

  template <class T>
  Gradients<T> direction() const {
    Gradients<T> both(static_cast<Index>(x.channels));
    both.gamma = to_vector<T>(u);
    both.beta = to_vector<T>(t);
    return both;
  }

  /// v'dL/dx + u'dL/dgamma + t'dL/dbeta.
  Real penalty() const {
    const reference::Gradients d = reference::backward(norm, x, dy);
    return reference::dot(v, d.x) + reference::dot(u, d.gamma) + reference::dot(t, d.beta);
  }

  MaskedOutput output() const {
    return norm.under == Under::zero   ? MaskedOutput::zero
           : norm.under == Under::kept ? MaskedOutput::keep
                                       : MaskedOutput::normalize;
  }
};

/// Calls body with the input as the problem wants it: as it is, masked or weighted.
template <class View, class Body>
void with_input(const Problem& problem, const View& view, const Body& body) {
  const Index samples = static_cast<Index>(problem.x.samples);
  const Index positions = static_cast<Index>(problem.x.positions);
  Eigen::MatrixXd weights(samples, positions);
  for (Index n = 0; n < samples; ++n)
    for (Index p = 0; p < positions; ++p)
      weights(n, p) =
          static_cast<double>(problem.norm.weights[static_cast<Size>(n * positions + p)]);
  if (problem.said == Said::nothing) {
    body(view);
  } else if (problem.said == Said::mask) {
    const MaskMatrix mask = weights.array() > 0.5;
    body(masked(view, mask, problem.output()));
  } else {
    body(weighted(view, weights, Weights::importance, problem.output()));
  }
}

template <class T>
Moments<accumulator_t<T>> batch_of(const Problem& problem, const Stored<T>& x) {
  Moments<accumulator_t<T>> batch;
  with_input(problem, x.view(), [&](const auto& in) { batch = moments_of(in); });
  return batch;
}

/// The directional derivative of the output, by differences.
Batch differences_of_output(Problem problem) {
  const Batch dx = problem.v, x = problem.x;
  const PerChannel gamma = problem.norm.gamma, beta = problem.norm.beta;
  const auto output = [&](Real step) {
    problem.x = x;
    for (Size i = 0; i < x.values.size(); ++i) problem.x.values[i] += step * dx.values[i];
    for (Size c = 0; c < x.channels; ++c) {
      problem.norm.gamma[c] = gamma[c] + step * problem.u[c];
      problem.norm.beta[c] = beta[c] + step * problem.t[c];
    }
    return reference::forward(problem.norm, problem.x).values;
  };
  Batch dy = reference::zeros_like(x);
  const auto above = output(1e-4L), below = output(-1e-4L), far = output(2e-4L),
             near = output(-2e-4L);
  for (Size i = 0; i < above.size(); ++i) {
    const Real wide = (far[i] - near[i]) / 4e-4L;
    dy.values[i] = (4 * (above[i] - below[i]) / 2e-4L - wide) / 3;
  }
  return dy;
}

template <class T>
Batch jvp_of(const Problem& problem, Layout layout) {
  const Stored<T> x(problem.x, layout), dx(problem.v, Layout::channels_first);
  Stored<T> dy = Stored<T>::like(problem.x, layout);
  const BatchNorm<T> layer = problem.layer<T>();
  with_input(problem, x.view(), [&](const auto& in) {
    if (problem.norm.frozen) {
      jvp_frozen(layer, in, dx.view(), problem.direction<T>(), dy.view());
    } else {
      jvp(layer, batch_of(problem, x), in, dx.view(), problem.direction<T>(), dy.view());
    }
  });
  CHECK(dy.gaps_are_untouched());
  return dy.read();
}

struct Second {
  Batch x, dy;
  PerChannel gamma;
};

template <class T>
Second double_backward_of(const Problem& problem, Layout layout, const Execution& execution = {}) {
  const Stored<T> x(problem.x, layout), dy(problem.dy, Layout::channels_last), v(problem.v, layout);
  Stored<T> to_x = Stored<T>::like(problem.x, layout), to_dy = Stored<T>::like(problem.x, layout);
  const BatchNorm<T> layer = problem.layer<T>();
  PerChannel gamma;
  with_input(problem, x.view(), [&](const auto& in) {
    const auto to_gamma =
        problem.norm.frozen
            ? double_backward_frozen(layer, in, dy.view(), v.view(), problem.direction<T>(),
                                     to_x.view(), to_dy.view(), execution)
            : double_backward(layer, batch_of(problem, x), in, dy.view(), v.view(),
                              problem.direction<T>(), to_x.view(), to_dy.view(), execution);
    gamma = to_reals(to_gamma);
  });
  CHECK(to_x.gaps_are_untouched());
  CHECK(to_dy.gaps_are_untouched());
  return {to_x.read(), to_dy.read(), gamma};
}

template <class Body>
void for_all_problems(const Body& body) {
  std::uint64_t seed = 1;
  for (const bool frozen : {false, true}) {
    for (const Said said : {Said::nothing, Said::mask, Said::weights}) {
      for (const Under under : {Under::normalized, Under::zero, Under::kept}) {
        if (said == Said::nothing && under != Under::normalized) continue;
        INFO("frozen " << frozen << ", said " << static_cast<int>(said) << ", under "
                       << static_cast<int>(under));
        body(Problem(seed++, said, frozen, under));
      }
    }
  }
}

}  // namespace

TEST_CASE("jvp is the derivative of the output along a direction") {
  for_all_problems([](const Problem& problem) {
    const Batch expected = differences_of_output(problem);
    for (const Layout layout : all_layouts) {
      INFO(name_of(layout));
      CHECK(reference::worst_share(jvp_of<double>(problem, layout).values, expected.values) <
            1e-11L);
      CHECK(reference::worst_share(jvp_of<float>(problem, layout).values, expected.values) < 2e-6L);
    }
  });
}

TEST_CASE("double backward is the derivative of the gradients, by dy, x and gamma") {
  for_all_problems([](const Problem& given) {
    Problem problem = given;
    const auto penalty = [&] { return problem.penalty(); };
    const auto by_dy = reference::central_differences(problem.dy.values, penalty);
    const auto by_x = reference::central_differences(problem.x.values, penalty);
    const auto by_gamma = reference::central_differences(problem.norm.gamma, penalty);
    for (const Layout layout : all_layouts) {
      INFO(name_of(layout));
      const Second second = double_backward_of<double>(problem, layout);
      CHECK(reference::worst_share(second.dy.values, by_dy) < 1e-10L);
      CHECK(reference::worst_share(second.x.values, by_x) < 1e-10L);
      CHECK(reference::worst_share(second.gamma, by_gamma) < 1e-10L);
      const Second narrow = double_backward_of<float>(problem, layout);
      CHECK(reference::worst_share(narrow.dy.values, by_dy) < 5e-6L);
      CHECK(reference::worst_share(narrow.x.values, by_x) < 5e-6L);
      CHECK(reference::worst_share(narrow.gamma, by_gamma) < 5e-6L);
    }
  });
}

TEST_CASE("a gradient penalty on dx alone has no gradient along what batch norm forgets") {
  // L = |dL/dx|^2 / 2 has v = dx. x -> a x + b leaves y as it is (epsilon 0), and makes dL/dx
  // smaller by a: the derivative of L along x - mean is -2 L, along 1 it is 0.
  Problem problem(77, Said::nothing, false, Under::normalized, 8, 2, 5);
  problem.norm.gamma = {1.25L, -0.75L};
  problem.norm.epsilon = 0;
  problem.u = problem.t = PerChannel(2, 0);
  const auto dx = reference::backward(problem.norm, problem.x, problem.dy).x;
  problem.v = dx;
  const Second second = double_backward_of<double>(problem, Layout::channels_first);
  const PerChannel mean = reference::mean(problem.x);
  PerChannel along(2, 0), constant(2, 0), twice(2, 0);
  problem.x.each([&](Size n, Size c, Size p) {
    along[c] += second.x.at(n, c, p) * (problem.x.at(n, c, p) - mean[c]);
    constant[c] += second.x.at(n, c, p);
    twice[c] += dx.at(n, c, p) * dx.at(n, c, p);
  });
  for (Size c = 0; c < 2; ++c) {
    CHECK(twice[c] > 0.01L);  // not vacuous
    CHECK(std::fabs(along[c] + twice[c]) < 1e-13L * twice[c]);
    CHECK(std::fabs(constant[c]) < 1e-13L * twice[c]);
  }
}

TEST_CASE("P 1 = 0, and P h = epsilon r^2 h to four units in the last place") {
  Random random(11);
  const Batch x = stored_as<double>(normal_batch(random, 16, 3, 7, 2, 1.5L));
  const PerChannel mean = reference::mean(x), variance = reference::variance(x, mean);
  Options options;
  options.epsilon = 0.75;
  BatchNorm<double> layer(3, options);
  layer.state().gamma.setConstant(1);
  const Stored<double> stored(x, Layout::channels_last);
  const auto batch = moments_of(stored.view());
  Batch h = x, one = x;
  std::fill(one.values.begin(), one.values.end(), 1);
  x.each([&](Size n, Size c, Size p) {
    h.at(n, c, p) = (x.at(n, c, p) - mean[c]) / std::sqrt(variance[c] + 0.75L);
  });
  Stored<double> out = Stored<double>::like(x, Layout::channels_last);
  jvp(layer, batch, stored.view(), Stored<double>(one, Layout::channels_last).view(),
      Gradients<double>(3), out.view());
  const Real unit = std::numeric_limits<double>::epsilon();
  for (const Real value : out.read().values) CHECK(std::fabs(value) <= 4 * unit);
  jvp(layer, batch, stored.view(), Stored<double>(h, Layout::channels_last).view(),
      Gradients<double>(3), out.view());
  const Batch image = out.read();
  x.each([&](Size n, Size c, Size p) {
    const Real r = 1 / std::sqrt(variance[c] + 0.75L);
    const Real expected = r * 0.75L * r * r * h.at(n, c, p);
    // Half a unit of 1 beside it: h as it is stored has a mean that is not quite 0.
    const Real room = 4 * unit * std::fabs(r * h.at(n, c, p)) + unit / 2;
    CHECK(std::fabs(image.at(n, c, p) - expected) <= room);
  });
}

TEST_CASE("jvp and backward are transposes, and the gradient to x sums to zero") {
  for (const Said said : {Said::nothing, Said::mask, Said::weights}) {
    const Problem problem(31 + static_cast<std::uint64_t>(said), said, false, Under::normalized, 9,
                          4, 6);
    INFO(static_cast<int>(said));
    const BatchNorm<double> layer = problem.layer<double>();
    const Stored<double> x(problem.x, Layout::channels_first);
    const Stored<double> dy(problem.dy, Layout::channels_first);
    const Stored<double> v(problem.v, Layout::channels_first);
    Stored<double> pushed = Stored<double>::like(problem.x, Layout::channels_first);
    Stored<double> pulled = Stored<double>::like(problem.x, Layout::channels_first);
    Gradients<double> gradients(4);
    const Gradients<double> direction = problem.direction<double>();
    with_input(problem, x.view(), [&](const auto& in) {
      const auto batch = batch_of(problem, x);
      jvp(layer, batch, in, v.view(), direction, pushed.view());
      gradients = layer.backward(batch, in, dy.view(), pulled.view());
    });
    const Real forward = reference::dot(pushed.read(), problem.dy);
    const Real backward = reference::dot(pulled.read(), problem.v) +
                          static_cast<Real>(gradients.gamma.dot(direction.gamma)) +
                          static_cast<Real>(gradients.beta.dot(direction.beta));
    CHECK(std::fabs(forward) > 1);
    CHECK(std::fabs(forward - backward) < 1e-13L * std::fabs(forward));
    const Second second = double_backward_of<double>(problem, Layout::channels_first);
    PerChannel sums(4, 0), sizes(4, 0);
    problem.x.each([&](Size n, Size c, Size p) {
      sums[c] += second.x.at(n, c, p);
      sizes[c] += std::fabs(second.x.at(n, c, p));
    });
    // A shift of all of a channel changes no gradient.
    for (Size c = 0; c < 4; ++c) CHECK(std::fabs(sums[c]) < 1e-14L * sizes[c]);
  }
}

TEST_CASE("outputs may be inputs, and bits do not depend on threads") {
  Problem problem(5, Said::nothing, false, Under::normalized, 64, 8, 300);
  const Second expected = double_backward_of<float>(problem, Layout::channels_first);
  const auto from_the_end = [](Index tasks, const auto& task) {
    for (Index i = tasks; i-- > 0;) task(i);
  };
  const Execution three = Execution::parallel_for(from_the_end, 3);
  const Second shared = double_backward_of<float>(problem, Layout::channels_first, three);
  CHECK((shared.x.values == expected.x.values));
  CHECK((shared.dy.values == expected.dy.values));
  Stored<float> x(problem.x, Layout::channels_first), dy(problem.dy, Layout::channels_last),
      v(problem.v, Layout::channels_first);
  const auto batch = moments_of(x.view());
  const auto to_gamma = double_backward(problem.layer<float>(), batch, x.view(), dy.view(),
                                        v.view(), problem.direction<float>(), x.view(), v.view());
  CHECK(static_cast<Real>(to_gamma[1]) == expected.gamma[1]);
  CHECK((x.read().values == expected.x.values));
  CHECK((v.read().values == expected.dy.values));
}

TEST_CASE("sums beyond the range of float are made in double, and large means keep their digits") {
  Problem problem(6, Said::nothing, false, Under::normalized, 6, 2, 4);
  for (Real& value : problem.dy.values) value *= 1e30L;
  for (Real& value : problem.v.values) value *= 1e9L;
  problem.norm.gamma = {1e-9L, 2e-9L};
  problem.u = problem.t = PerChannel(2, 0);
  problem.x = stored_as<float>(problem.x);
  problem.dy = stored_as<float>(problem.dy);
  problem.v = stored_as<float>(problem.v);
  const auto penalty = [&] { return problem.penalty(); };
  const auto by_x = reference::central_differences(problem.x.values, penalty);
  CHECK(reference::worst_share(double_backward_of<float>(problem, Layout::channels_first).x.values,
                               by_x) < 1e-5L);

  Problem shifted(8, Said::nothing, false, Under::normalized, 6, 2, 4);
  for (Real& value : shifted.x.values) value = static_cast<Real>(static_cast<float>(value + 1e5L));
  const auto again = [&] { return shifted.penalty(); };
  const auto shifted_by_x = reference::central_differences(shifted.x.values, again, 1e-3L);
  CHECK(reference::worst_share(double_backward_of<float>(shifted, Layout::channels_last).x.values,
                               shifted_by_x) < 1e-5L);
}

TEST_CASE("parameters that are left out have no derivatives") {
  Problem problem(9, Said::nothing, false, Under::normalized);
  Options options;
  options.scale = options.shift = false;
  const BatchNorm<double> layer(problem.layer<double>().state(), options);
  const Stored<double> x(problem.x, Layout::channels_first);
  const auto batch = moments_of(x.view());
  Stored<double> one = Stored<double>::like(problem.x, Layout::channels_first);
  Stored<double> other = one, more = one;
  const Stored<double> v(problem.v, Layout::channels_first);
  jvp(layer, batch, x.view(), v.view(), problem.direction<double>(), one.view());
  jvp(layer, batch, x.view(), v.view(), Gradients<double>(3), other.view());
  CHECK(one.same_bits(other));
  const auto to_gamma = double_backward(layer, batch, x.view(), v.view(), v.view(),
                                        problem.direction<double>(), other.view(), more.view());
  CHECK(to_gamma.isZero(0));
}

TEST_CASE("derivatives of a minibatch in which nothing counts") {
  BatchNorm<double> layer(1);
  Eigen::RowVectorXd x(3), v(3), out(3), to_dy(3);
  x << 1, 2, 4;
  v << 3, 5, 7;
  const Eigen::Array<bool, 3, 1> mask(false, false, false);
  const auto batch = moments_of(masked(x, mask));
  jvp(layer, batch, masked(x, mask, MaskedOutput::keep), v, Gradients<double>(1), out);
  CHECK(out == v);
  jvp(layer, batch, masked(x, mask), v, Gradients<double>(1), out);
  CHECK(out.isZero(0));
  const auto to_gamma = double_backward(layer, batch, masked(x, mask, MaskedOutput::keep), v, v,
                                        Gradients<double>(1), out, to_dy);
  CHECK(to_gamma[0] == 0);
  CHECK(out.isZero(0));
  CHECK(to_dy == v);
  // An empty minibatch: nothing to write.
  const Eigen::MatrixXd none(1, 0);
  Eigen::MatrixXd no_output(1, 0);
  jvp(layer, moments_of(none), none, none, Gradients<double>(1), no_output);
}

TEST_CASE("derivatives refuse what they cannot do, by name") {
  using Catch::Matchers::Contains;
  BatchNorm<double> layer(2);
  Eigen::MatrixXd x(2, 4), v(2, 4), out(2, 4), more(2, 4), small(2, 3);
  x << 1, 2, 3, 5, 4, 3, 2, 7;
  v = x;
  const auto batch = moments_of(x);
  const Gradients<double> none(2);
  CHECK_THROWS_WITH(jvp(layer, batch, x, small, none, out), Contains("jvp: shape of tangent"));
  CHECK_THROWS_WITH(jvp(layer, batch, small, small, none, small),
                    Contains("the moments must be those of this input"));
  CHECK_THROWS_WITH(jvp(layer, batch, x, v, Gradients<double>(3), out),
                    Contains("one number of each per channel: expected 2"));
  CHECK_THROWS_WITH(jvp(layer, batch, with_residual(x, v), v, none, out), Contains("residual"));
  CHECK_THROWS_WITH(jvp_frozen(layer, x, v, none, out),
                    Contains("running statistics must come from data"));
  CHECK_THROWS_WITH(double_backward(layer, batch, x, v, v, none, out, out),
                    Contains("must be disjoint"));
  const Eigen::Array<bool, 4, 1> mask(true, true, false, true);
  const auto some = moments_of(masked(x, mask));
  CHECK_THROWS_WITH(double_backward(layer, some, masked(x, mask), v, v, none, x, more),
                    Contains("must be disjoint"));
  CHECK_THROWS_WITH(jvp(layer, batch, x, masked(v, mask), none, out),
                    Contains("a mask and weights are said at the input"));
  CHECK_THROWS_WITH(jvp(layer, batch, x, with_residual(v, x), none, out), Contains("residual"));
  Options options;
  options.epilogue = Epilogue::relu();
  CHECK_THROWS_WITH(jvp(BatchNorm<double>(2, options), batch, x, v, none, out),
                    Contains("the layer has no epilogue"));
}

TEST_CASE("double backward refuses inputs and outputs by their names") {
  using Catch::Matchers::Contains;
  BatchNorm<double> layer(2);
  Eigen::MatrixXd x(2, 4), dy(2, 4), v(2, 4), out(2, 4), more(2, 4), small(2, 3);
  x << 1, 2, 3, 5, 4, 3, 2, 7;
  dy = v = x;
  small.setOnes();
  const Eigen::Array<bool, 4, 1> mask(true, true, false, true);
  const auto batch = moments_of(x), some = moments_of(masked(x, mask));
  const Gradients<double> none(2);
  const auto refuse = [&](const Input<double>& in, const auto& of, const auto& g, const auto& u,
                          Eigen::MatrixXd& to_x, Eigen::MatrixXd& to_g, const char* text) {
    CHECK_THROWS_WITH(double_backward(layer, of, in, g, u, none, to_x, to_g), Contains(text));
  };
  refuse(x, batch, small, v, out, more, "shape of output gradient");
  refuse(x, batch, dy, small, out, more, "shape of cotangent");
  refuse(x, some, dy, v, out, more, "the moments must be those of this input");
  refuse(masked(x, mask), some, dy, v, dy, more, "must be disjoint");
  refuse(masked(x, mask), some, dy, v, out, dy, "must be disjoint");
  refuse(masked(x, mask), some, dy, v, v, more, "must be disjoint");
  refuse(masked(x, mask), some, dy, v, out, v, "must be disjoint");
}

TEST_CASE("derivatives refuse moments and layers that are none") {
  using Catch::Matchers::Contains;
  BatchNorm<double> layer(2);
  Eigen::MatrixXd x(2, 4), out(2, 4), more(2, 4);
  x << 1, 2, 3, 5, 4, 3, 2, 7;
  const Gradients<double> none(2);
  auto batch = moments_of(x);
  batch.mean[1] = std::numeric_limits<double>::infinity();
  CHECK_THROWS_WITH(jvp(layer, batch, x, x, none, out), Contains("jvp: the statistics of a"));
  CHECK_THROWS_WITH(double_backward(layer, batch, x, x, x, none, out, more),
                    Contains("double_backward: the statistics of a"));
  batch = moments_of(x);
  layer.state().beta.setZero(3);
  CHECK_THROWS_AS(jvp(layer, batch, x, x, none, out), std::invalid_argument);
  CHECK_THROWS_AS(double_backward(layer, batch, x, x, x, none, out, more), std::invalid_argument);
}

TEST_CASE("one value per channel has the derivatives of constant statistics") {
  Options options;
  options.single_value = SingleValue::use_running_statistics;
  BatchNorm<double> layer(1, options);
  Eigen::RowVectorXd several(3), out(3), x(1), v(1), one(1), other(1);
  several << 1, 2, 6;
  layer.train(several, out);
  layer.state().gamma[0] = 3;
  x << 5;
  v << 2;
  jvp(layer, moments_of(x), x, v, Gradients<double>(1), one);
  jvp_frozen(layer, x, v, Gradients<double>(1), other);
  CHECK(one == other);
  CHECK(one[0] ==
        Approx(3 * 2 / std::sqrt(layer.state().running_variance[0] + 1e-5)).epsilon(1e-14));
}
