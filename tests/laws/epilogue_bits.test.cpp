// SPDX-License-Identifier: MIT
// Epilogues to the bit: a fused ReLU is a layer followed by a ReLU, backward finds the signs that
// forward saw, and what happens at zero, at NaN and at infinity.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "support/catch.hpp"
#include "support/epilogues.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

/// What a separate ReLU does to stored numbers, forward and backward.
Batch rectified(Batch values, const Batch& by, Real slope) {
  values.each([&](Size n, Size c, Size p) {
    if (!(by.at(n, c, p) > 0)) values.at(n, c, p) *= slope;
  });
  return values;
}

/// Backward of the two within a few roundings: compilers that fuse multiplications and additions
/// have a choice where dy has been multiplied by a slope.
template <class T>
void check_same_gradients(const EpilogueProblem& problem, const Gradients<T>& fused,
                          const Gradients<T>& separate, const Batch& dx, const Batch& expected) {
  const PerChannel most = largest(expected);
  CHECK(beyond(dx, expected, [&](Size, Size c, Size) { return 2 * unit<T>() * most[c]; }) == "");
  PerChannel sizes(problem.x.channels, 0);
  problem.dy.each([&](Size n, Size c, Size p) { sizes[c] += std::fabs(problem.dy.at(n, c, p)); });
  const auto close = [&](const auto& a, const auto& b) {
    return beyond_channels(a, PerChannel(b.data(), b.data() + b.size()),
                           [&](Size c) { return 4 * unit<parameter_t<T>>() * sizes[c]; });
  };
  CHECK(close(fused.gamma, separate.gamma) == "");
  CHECK(close(fused.beta, separate.beta) == "");
}

/// Forward and backward of the fused layer, of the plain one with a ReLU behind it, and compared.
template <class T>
void check_fused(const EpilogueProblem& problem, Layout layout) {
  const BatchNorm<T> fused = make_layer<T>(problem.layer, problem.options());
  const BatchNorm<T> plain = make_layer<T>(problem.layer, Options{});
  const Real slope = problem.layer.slope;
  const Stored<T> x(problem.x, layout), dy(problem.dy, layout);
  Stored<T> y = Stored<T>::like(problem.x, layout), z = y, dx = y, other = y;

  const auto batch = fused.normalize(x.view(), y.view());
  plain.normalize(x.view(), z.view());
  CHECK(y.read().values == rectified(z.read(), z.read(), slope).values);
  const Stored<T> dz(rectified(dy.read(), z.read(), slope), layout);
  const Gradients<T> gradients = fused.backward(batch, x.view(), dy.view(), dx.view());
  const Gradients<T> separate = plain.backward(batch, x.view(), dz.view(), other.view());
  check_same_gradients<T>(problem, gradients, separate, dx.read(), other.read());

  fused.infer(x.view(), y.view());
  plain.infer(x.view(), z.view());
  CHECK(y.read().values == rectified(z.read(), z.read(), slope).values);
  const Stored<T> frozen_dz(rectified(dy.read(), z.read(), slope), layout);
  const Gradients<T> frozen = fused.backward_frozen(x.view(), dy.view(), dx.view());
  const Gradients<T> constant = plain.backward_frozen(x.view(), frozen_dz.view(), other.view());
  check_same_gradients<T>(problem, frozen, constant, dx.read(), other.read());
}

/// With dL/dy = 1, dL/dresidual is 1 where f' is that of a positive z, else 0; and dL/dbeta counts
/// them.
template <class T>
void check_mask(const EpilogueProblem& problem, Layout layout, Layout others) {
  Options options;
  options.epilogue = Epilogue::relu();
  const BatchNorm<T> layer = make_layer<T>(problem.layer, options);
  Batch ones = problem.x;
  std::fill(ones.values.begin(), ones.values.end(), 1);
  const Stored<T> x(problem.x, layout), r(problem.residual, layout), dy(ones, others);
  Stored<T> y = Stored<T>::like(ones, layout), dx = Stored<T>::like(ones, others), dr = dx;
  for (const bool frozen : {false, true}) {
    const auto batch = call_normalize<T>(layer, problem.has_residual, x.view(), r.view(), y.view());
    if (frozen) call_infer<T>(layer, problem.has_residual, x.view(), r.view(), y.view());
    const Gradients<T> gradients =
        call_backward<T>(layer, problem.has_residual, frozen ? nullptr : &batch, x.view(), r.view(),
                         dy.view(), dx.view(), dr.view());
    PerChannel positive(ones.channels, 0);
    const Batch out = y.read(), mask = dr.read();
    Size disagreements = 0;
    out.each([&](Size n, Size c, Size p) {
      const bool above = out.at(n, c, p) > 0;
      positive[c] += above ? 1 : 0;
      if (problem.has_residual && mask.at(n, c, p) != (above ? 1 : 0)) ++disagreements;
    });
    CHECK(disagreements == 0);
    CHECK(beyond_channels(gradients.beta, positive, [](Size) { return Real(0); }) == "");
  }
}

/// Layers in which z of some elements is zero or a last bit away from it: beta is minus what the
/// formula makes of an element, rounded to the type that is computed in.
template <class T>
EpilogueProblem on_the_kink(Random& random, const Batch& values, bool has_residual) {
  using P = parameter_t<T>;
  EpilogueProblem problem = epilogue_problem<T>(random, values, 0, has_residual);
  reference::Layer& layer = problem.layer;
  layer.mu = stored_as<P>(layer.mu);
  layer.sigma2 = stored_as<P>(layer.sigma2);
  for (Size c = 0; c < values.channels; ++c) {
    const Size n = random.below(values.samples), p = random.below(values.positions);
    const Real z = (problem.x.at(n, c, p) - layer.mu[c]) * layer.gamma[c] / layer.root(c) +
                   problem.residual.at(n, c, p);
    layer.beta[c] = -static_cast<Real>(static_cast<P>(z));
    // Neighbours of that element: beside z = 0 lie the numbers that a rounding can turn around.
    for (Size other = 0; other < values.samples; ++other) {
      if (other % 3 == 0) problem.x.at(other, c, p) = problem.x.at(n, c, p);
    }
  }
  return problem;
}

}  // namespace

TEMPLATE_TEST_CASE("fused is a layer and then a ReLU, forward to the bit", "", float, double,
                   long double, Eigen::bfloat16, Eigen::half) {
  Random random(70);
  for (const auto& [samples, channels, positions] :
       {std::array<Size, 3>{9, 5, 1}, {3, 4, 21}, {40, 1, 3}}) {
    const Batch values = normal_batch(random, samples, channels, positions, 3, 2);
    for (const Real slope : {0.0L, 0.25L}) {
      const EpilogueProblem problem = epilogue_problem<TestType>(random, values, slope, false);
      for (const Layout layout : all_layouts) {
        INFO(channels << " channels, slope " << static_cast<double>(slope) << ", "
                      << name_of(layout));
        check_fused<TestType>(problem, layout);
      }
    }
  }
}

TEMPLATE_TEST_CASE("backward finds the signs that forward saw, for every element", "", float,
                   double, Eigen::bfloat16, Eigen::half) {
  Random random(71);
  // A half may become zero where z is not, so that y does not tell the sign of the smallest z.
  const bool is_half = std::is_same<TestType, Eigen::half>::value;
  for (const Real mean : {0.0L, 5.0L, is_half ? 1e3L : 1e6L}) {
    for (const bool has_residual : {false, true}) {
      for (int repetition = 0; repetition < 6; ++repetition) {
        const Batch values = normal_batch(random, 12, 11, 3, mean, 1);
        const EpilogueProblem problem =
            is_half || repetition % 2 == 0
                ? epilogue_problem<TestType>(random, values, 0, has_residual)
                : on_the_kink<TestType>(random, values, has_residual);
        for (const Layout layout : all_layouts) {
          INFO("mean " << static_cast<double>(mean) << ", residual " << has_residual << ", "
                       << name_of(layout) << ", repetition " << repetition);
          check_mask<TestType>(problem, layout, layout);
          check_mask<TestType>(problem, layout, Layout::channels_first);
          check_mask<TestType>(problem, layout, Layout::padded);
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("at z = 0 the derivative is the slope below", "", float, double, long double,
                   Eigen::bfloat16, Eigen::half) {
  Random random(72);
  const ExactBatch exact = exact_batch(random, 16, 3, 4);
  EpilogueProblem problem{exact.values, reference::zeros_like(exact.values), exact.values,
                          plain_layer(exact.values, 0), true};
  problem.layer.beta.assign(3, 0.5L);  // xhat is +-0.5 or +-2.5
  std::fill(problem.dy.values.begin(), problem.dy.values.end(), 8);
  for (const Real slope : {0.0L, 0.25L, 1.0L, 2.0L}) {
    problem.layer.slope = slope;
    for (const Layout layout : all_layouts) {
      INFO("slope " << static_cast<double>(slope) << ", " << name_of(layout));
      const BatchNorm<TestType> layer = make_layer<TestType>(problem.layer, problem.options());
      const Stored<TestType> x(problem.x, layout), r(problem.residual, layout),
          dy(problem.dy, layout);
      Stored<TestType> y = Stored<TestType>::like(problem.x, layout), dx = y, dr = y;
      const auto batch = layer.normalize(with_residual(x.view(), r.view()), y.view());
      layer.backward(batch, with_residual(x.view(), r.view()), dy.view(),
                     with_residual(dx.view(), dr.view()));
      Size at_zero = 0, wrong = 0;
      const Batch out = y.read(), gradient = dr.read();
      out.each([&](Size n, Size c, Size p) {
        const Real z = (problem.x.at(n, c, p) - exact.mean[c]) / exact.deviation[c] + 0.5L;
        at_zero += z == 0 ? 1 : 0;
        if (out.at(n, c, p) != (z > 0 ? z : slope * z)) ++wrong;
        if (gradient.at(n, c, p) != (z > 0 ? 8 : 8 * slope)) ++wrong;
      });
      CHECK(at_zero == 3 * 28);
      CHECK(wrong == 0);
    }
  }
}

TEMPLATE_TEST_CASE("NaN and infinity behind an epilogue", "", float, double, Eigen::bfloat16,
                   Eigen::half) {
  using T = TestType;
  const T infinity = std::numeric_limits<T>::infinity(), nan = std::numeric_limits<T>::quiet_NaN();
  const T one(1), zero(0);
  Options options;
  options.epilogue = Epilogue::relu();
  const FrozenBatchNorm<T> relu(State<T>(1), options);
  const BatchNorm<T> layer(State<T>(1), options);
  options.epilogue = Epilogue::leaky_relu(0.5);
  const FrozenBatchNorm<T> leaky(State<T>(1), options);
  using Row = Eigen::Matrix<T, 1, 9>;
  Row x, r, y;
  x << infinity, -infinity, nan, one, one, one, infinity, -infinity, one;
  r << zero, zero, zero, infinity, -infinity, nan, -infinity, -infinity, one;
  const auto same = [](const T& a, const T& b) {
    return a == b || ((Eigen::numext::isnan)(a) && (Eigen::numext::isnan)(b));
  };
  relu(with_residual(x, r), y);
  const T expected[] = {infinity, zero, nan, infinity, zero, nan, nan, zero};
  for (Index i = 0; i < 8; ++i) CHECK(same(y[i], expected[i]));
  leaky(with_residual(x, r), y);
  const T leaking[] = {infinity, -infinity, nan, infinity, -infinity, nan, nan, -infinity};
  for (Index i = 0; i < 8; ++i) CHECK(same(y[i], leaking[i]));

  // What ReLU cuts off stays cut off, whatever comes back.
  Eigen::Matrix<T, 1, 4> z, back, dx;
  z << T(-1), T(-2), one, one;
  back << infinity, nan, infinity, one;
  const Gradients<T> gradients = layer.backward_frozen(z, back, dx);
  CHECK(dx[0] == zero);
  CHECK(dx[1] == zero);
  CHECK(dx[2] == infinity);
  CHECK(static_cast<double>(gradients.beta[0]) == std::numeric_limits<double>::infinity());
}
