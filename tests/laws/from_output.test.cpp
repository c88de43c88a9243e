// SPDX-License-Identifier: MIT
// backward_from_output against the oracle, and how accurate it is. The error of a recovered xhat is
// that of y divided by gamma,
//
//     e_i = (error of y_i + two roundings of z_i) / |gamma|     about u (|xhat_i| + |beta / gamma|)
//
// and from there on first order:
//
//     dgamma    sum_j |g_j| e_j
//     dx_i      |gamma| r (e_i |sum_j g_j xhat_j| + |xhat_i| sum_j |g_j| e_j) / n
#include <array>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "support/catch.hpp"
#include "support/epilogues.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

/// The bounds above, added to those of backward.
template <class T>
class RecoveredBounds {
 public:
  explicit RecoveredBounds(const EpilogueProblem& problem)
      : problem_(problem),
        bounds_(problem.layer, problem.x),
        steepest_(largest(problem.dy)),
        exact_(reference::backward(problem.layer, problem.x, problem.dy, true)),
        dgamma_(bounds_.dgamma(problem.dy)),
        spread_(problem.x.channels, 0) {
    problem.x.each([&](Size n, Size c, Size p) {
      spread_[c] += std::fabs(exact_.residual.at(n, c, p)) * recovery(n, c, p);
    });
  }

  const reference::Gradients& exact() const { return exact_; }
  Real dgamma(Size c) const { return dgamma_[c] + spread_[c]; }
  Real dx(Size n, Size c, Size p) const {
    const reference::Layer& layer = problem_.layer;
    const Real scale = std::fabs(layer.gamma[c]) / layer.root(c) / problem_.x.count();
    return bounds_.dx(n, c, p, steepest_[c]) + 2 * scale *
                                                   (recovery(n, c, p) * std::fabs(exact_.gamma[c]) +
                                                    std::fabs(xhat(n, c, p)) * spread_[c]);
  }

 private:
  Real xhat(Size n, Size c, Size p) const {
    return (problem_.x.at(n, c, p) - problem_.layer.mu[c]) / problem_.layer.root(c);
  }
  Real recovery(Size n, Size c, Size p) const {
    const Real gamma = std::fabs(problem_.layer.gamma[c]);
    const Real z = gamma * std::fabs(xhat(n, c, p)) + std::fabs(problem_.layer.beta[c]);
    const Real underflow = static_cast<Real>(std::numeric_limits<T>::denorm_min());
    return (bounds_.y(n, c, p) + 2 * unit<parameter_t<T>>() * z +
            underflow / problem_.layer.slope) /
           gamma;
  }

  const EpilogueProblem& problem_;
  Bounds<T> bounds_;
  PerChannel steepest_;
  reference::Gradients exact_;
  PerChannel dgamma_, spread_;
};

template <class T>
void check_recovered(const RecoveredBounds<T>& bounds, const Batch& dx,
                     const Gradients<T>& gradients) {
  CHECK(beyond(dx, bounds.exact().x, [&](Size n, Size c, Size p) { return bounds.dx(n, c, p); }) ==
        "");
  CHECK(beyond_channels(gradients.gamma, bounds.exact().gamma,
                        [&](Size c) { return bounds.dgamma(c); }) == "");
}

/// Gamma is kept so large that nothing is refused; bfloat16 demands |gamma| >= |beta|.
template <class T>
EpilogueProblem invertible_problem(Random& random, const Batch& values, Real slope) {
  using P = parameter_t<T>;
  EpilogueProblem problem = epilogue_problem<T>(random, values, slope, false);
  for (Size c = 0; c < values.channels; ++c) {
    problem.layer.gamma[c] = (c % 2 == 0 ? 1 : -1) * (0.5L + std::fabs(problem.layer.gamma[c]));
    problem.layer.beta[c] *= problem.layer.gamma[c] / 4;
  }
  problem.layer.gamma = stored_as<P>(problem.layer.gamma);
  problem.layer.beta = stored_as<P>(problem.layer.beta);
  const Bounds<T> bounds(problem.layer, problem.x);
  const Batch z = reference::before_epilogue(problem.layer, problem.x, problem.residual);
  z.each([&](Size n, Size c, Size p) {
    if (std::fabs(z.at(n, c, p)) <= bounds.y(n, c, p)) problem.dy.at(n, c, p) = 0;
  });
  return problem;
}

template <class T>
void check_from_output(const EpilogueProblem& problem, Layout layout) {
  const BatchNorm<T> layer = make_layer<T>(problem.layer, problem.options());
  const RecoveredBounds<T> bounds(problem);
  Stored<T> y(problem.x, layout);
  const auto batch = layer.normalize(y.view(), y.view());
  const Stored<T> out = y, dy(problem.dy, layout);
  Stored<T> dx = Stored<T>::like(problem.x, layout);
  const Gradients<T> gradients =
      layer.backward_from_output(batch, out.view(), dy.view(), dx.view());
  check_recovered<T>(bounds, dx.read(), gradients);
  const PerChannel dbeta = Bounds<T>(problem.layer, problem.x).dbeta(problem.dy);
  CHECK(beyond_channels(gradients.beta, bounds.exact().beta, [&](Size c) { return dbeta[c]; }) ==
        "");
  CHECK(dx.gaps_are_untouched());

  Stored<T> over_dy = dy;
  layer.backward_from_output(batch, y.view(), dy.view(), y.view());
  layer.backward_from_output(batch, out.view(), over_dy.view(), over_dy.view());
  CHECK(y.read().values == dx.read().values);
  CHECK(over_dy.read().values == dx.read().values);
}

/// One channel of standard deviates whose beta is `ratio` times gamma.
template <class T>
EpilogueProblem problem_with_ratio(Random& random, Real ratio) {
  const Batch x = stored_as<T>(normal_batch(random, 500, 1, 1));
  EpilogueProblem problem{x, reference::zeros_like(x),
                          stored_as<T>(normal_batch(random, 500, 1, 1)), plain_layer(x, 1e-5L),
                          false};
  problem.layer.gamma = {0.75L};
  problem.layer.beta = {0.75L * ratio};
  return problem;
}

/// Larger than what the library refuses to exceed: 1/128 of a deviation.
template <class T>
bool is_refused(Real ratio) {
  return unit<T>() / 2 * (1 + ratio) > 1.0L / 128;
}

}  // namespace

TEMPLATE_TEST_CASE("gradients from the output are those of the oracle, in every layout", "", float,
                   double, long double, Eigen::bfloat16, Eigen::half) {
  Random random(80);
  for (const auto& [samples, channels, positions] :
       {std::array<Size, 3>{8, 5, 1}, {3, 4, 21}, {40, 1, 3}}) {
    const Batch values = normal_batch(random, samples, channels, positions, 3, 2);
    for (const Real slope : {1.0L, 0.25L, Real(0.01)}) {
      const EpilogueProblem problem = invertible_problem<TestType>(random, values, slope);
      for (const Layout layout : all_layouts) {
        INFO(channels << " channels, slope " << static_cast<double>(slope) << ", "
                      << name_of(layout));
        check_from_output<TestType>(problem, layout);
      }
    }
  }
}

TEMPLATE_TEST_CASE("the error grows with beta / gamma as documented, up to where it is refused", "",
                   float, Eigen::bfloat16, Eigen::half) {
  Random random(81);
  for (const Real ratio : {0.0L, 1.0L, 10.0L, 100.0L}) {
    INFO("beta / gamma = " << static_cast<double>(ratio));
    const EpilogueProblem problem = problem_with_ratio<TestType>(random, ratio);
    const BatchNorm<TestType> layer = make_layer<TestType>(problem.layer, Options{});
    Stored<TestType> y(problem.x, Layout::channels_first), dx = y;
    const Stored<TestType> dy(problem.dy, Layout::channels_first);
    const auto batch = layer.normalize(y.view(), y.view());
    if (is_refused<TestType>(ratio)) {
      CHECK_THROWS_MATCHES(layer.backward_from_output(batch, y.view(), dy.view(), dx.view()),
                           std::domain_error, says("gamma of channel 0 is divided by"));
      continue;
    }
    const Gradients<TestType> gradients =
        layer.backward_from_output(batch, y.view(), dy.view(), dx.view());
    const RecoveredBounds<TestType> bounds(problem);
    check_recovered<TestType>(bounds, dx.read(), gradients);
    // The documented size of the error, without the safety of the bounds.
    Real worst = 0;
    const Batch found = dx.read();
    const PerChannel steepest = largest(bounds.exact().x);
    found.each([&](Size n, Size c, Size p) {
      worst = std::max(worst, std::fabs(found.at(n, c, p) - bounds.exact().x.at(n, c, p)));
    });
    CHECK(worst <= unit<TestType>() * (4 + ratio) * steepest[0]);
  }
}

TEST_CASE("one value per channel goes through the running statistics") {
  Options options;
  options.single_value = SingleValue::use_running_statistics;
  const BatchNorm<double> layer(State<double>(2), options);
  const Eigen::Vector2d x(3, -4), dy(2, 5);
  Eigen::Vector2d y, dx, expected;
  const auto batch = layer.normalize(x, y);
  const auto gradients = layer.backward_from_output(batch, y, dy, dx);
  const auto frozen = layer.backward_frozen(x, dy, expected);
  CHECK(dx == expected);
  CHECK((gradients.gamma - frozen.gamma).norm() < 1e-14 * frozen.gamma.norm());
  CHECK(gradients.beta == frozen.beta);
}

TEST_CASE("without scale and shift gamma is 1 and beta is 0") {
  Random random(82);
  EpilogueProblem problem = problem_with_ratio<double>(random, 0);
  problem.layer.gamma = {1};
  problem.layer.beta = {0};
  Options options;
  options.epsilon = static_cast<double>(problem.layer.epsilon);
  options.scale = options.shift = false;
  State<double> state(1);
  state.gamma[0] = 0.0;  // not used
  state.beta[0] = 1e30;
  const BatchNorm<double> layer(state, options);
  Stored<double> y(problem.x, Layout::channels_last);
  const Stored<double> dy(problem.dy, Layout::channels_last);
  const auto batch = layer.normalize(y.view(), y.view());
  const Gradients<double> gradients =
      layer.backward_from_output(batch, y.view(), dy.view(), y.view());
  const RecoveredBounds<double> bounds(problem);
  CHECK(beyond(y.read(), bounds.exact().x,
               [&](Size n, Size c, Size p) { return bounds.dx(n, c, p); }) == "");
  CHECK(gradients.gamma[0] == 0.0);
  CHECK(gradients.beta[0] == 0.0);
}
