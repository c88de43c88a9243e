// SPDX-License-Identifier: MIT
// Weights are brought to kernels in blocks: of many channels and values, in all layouts, with and
// without holes, derivatives are those of a function in long double, and threads change no bit.
#include <algorithm>
#include <batchnorm/batchnorm.hpp>
#include <cmath>
#include <vector>

#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layers.hpp"
#include "support/layouts.hpp"
#include "support/reference_derivatives.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

/// A layer, and everything that its derivatives depend on. Of each sample some values at the end
/// have no weight, where there are holes.
struct Weighing {
  reference::Weighted norm;
  Batch x, dy, v, direction;
  PerChannel u, t;

  Weighing(Size samples, Size channels, Size positions, bool holes)
      : x{samples, channels, positions}, dy(x), v(x), direction(x) {
    Random random(samples + channels + positions);
    x = stored_as<float>(normal_batch(random, samples, channels, positions, 1.5L, 2));
    dy = stored_as<float>(normal_batch(random, samples, channels, positions, 0.3L));
    v = stored_as<float>(normal_batch(random, samples, channels, positions, -0.2L));
    direction = normal_batch(random, samples, channels, positions);
    norm.gamma = stored_as<float>(uniform_channels(random, channels, 0.5, 2));
    norm.beta = uniform_channels(random, channels, -1, 1);
    norm.epsilon = 0.25L;
    u = stored_as<float>(uniform_channels(random, channels, -1, 1));
    t = stored_as<float>(uniform_channels(random, channels, -1, 1));
    for (Size n = 0; n < samples; ++n) {
      const Size end = holes ? positions - random.below(positions / 2) : positions;
      for (Size p = 0; p < positions; ++p) {
        norm.weights.push_back(p < end ? 0.25L + static_cast<Real>(random.below(8)) / 4 : 0);
      }
    }
  }

  Eigen::MatrixXd weights() const {
    Eigen::MatrixXd all(static_cast<Index>(x.samples), static_cast<Index>(x.positions));
    for (Index n = 0; n < all.rows(); ++n)
      for (Index p = 0; p < all.cols(); ++p)
        all(n, p) = static_cast<double>(norm.weights[static_cast<Size>(n * all.cols() + p)]);
    return all;
  }

  /// v'dL/dx + u'dL/dgamma + t'dL/dbeta, where x has moved along the direction.
  Real penalty(Real step) const {
    Batch moved = x;
    for (Size i = 0; i < moved.values.size(); ++i) {
      moved.values[i] += step * direction.values[i];
    }
    const reference::Gradients d = reference::backward(norm, moved, dy);
    return reference::dot(v, d.x) + reference::dot(u, d.gamma) + reference::dot(t, d.beta);
  }

  /// The penalty is linear in dy, of which this is the gradient's product with dy itself.
  Real along_dy() const { return penalty(0); }
  Real along_x() const {
    const Real h = 1e-4L;
    const Real near = (penalty(h) - penalty(-h)) / (2 * h);
    const Real far = (penalty(2 * h) - penalty(-2 * h)) / (4 * h);
    return (4 * near - far) / 3;
  }
};

struct Second {
  Batch x, dy;
  PerChannel gamma;
};

template <class T>
Second second_of(const Weighing& problem, Layout layout, const Execution& execution = {}) {
  const Stored<T> x(problem.x, layout), dy(problem.dy, layout), v(problem.v, layout);
  Stored<T> to_x = Stored<T>::like(problem.x, layout), to_dy = Stored<T>::like(problem.x, layout);
  BatchNorm<T> layer =
      make_layer<T>({problem.norm.gamma, problem.norm.beta, PerChannel(problem.x.channels, 0),
                     PerChannel(problem.x.channels, 1), problem.norm.epsilon},
                    {});
  Gradients<T> both(layer.channels());
  both.gamma = to_vector<T>(problem.u);
  both.beta = to_vector<T>(problem.t);
  const auto weights = problem.weights();
  const auto in = weighted(x.view(), weights, Weights::importance);
  const auto to_gamma = double_backward(layer, moments_of(in), in, dy.view(), v.view(), both,
                                        to_x.view(), to_dy.view(), execution);
  CHECK(to_x.gaps_are_untouched());
  CHECK(to_dy.gaps_are_untouched());
  return {to_x.read(), to_dy.read(), to_reals(to_gamma)};
}

/// @return how far a product of sums of random signs is off, as a share of the sizes that go in
Real error_of(const Batch& gradient, const Batch& along, Real expected) {
  Real size = 0;
  for (Size i = 0; i < along.values.size(); ++i) {
    size += std::pow(gradient.values[i] * along.values[i], 2.0L);
  }
  return std::fabs(reference::dot(gradient, along) - expected) / std::sqrt(size);
}

void check(const Weighing& problem) {
  const Real by_x = problem.along_x(), by_dy = problem.along_dy();
  const auto near = [&](const Second& second, Real tolerance) {
    CHECK(error_of(second.x, problem.direction, by_x) < tolerance);
    CHECK(error_of(second.dy, problem.dy, by_dy) < tolerance);
  };
  for (const Layout layout : all_layouts) {
    INFO(name_of(layout));
    near(second_of<float>(problem, layout), 1e-4L);
    if (layout != Layout::padded) near(second_of<double>(problem, layout), 1e-8L);
  }
}

}  // namespace

TEST_CASE("double backward with weights: many channels, many values, few of both") {
  struct Shape {
    Size samples, channels, positions;
  };
  // Two slices of values, two blocks of channels, and less than one of either.
  for (const Shape s : {Shape{5, 260, 12}, Shape{3, 5, 200}, Shape{520, 16, 1}, Shape{5, 2, 9}}) {
    for (const bool holes : {false, true}) {
      if (holes && s.positions == 1) continue;
      INFO(s.samples << " x " << s.channels << " x " << s.positions << ", holes " << holes);
      const Weighing problem(s.samples, s.channels, s.positions, holes);
      check(problem);
    }
  }
}

TEST_CASE("jvp with weights is the transpose of backward, channel by channel") {
  const Weighing problem(4, 260, 12, true);
  for (const Layout layout : all_layouts) {
    INFO(name_of(layout));
    const Stored<double> x(problem.x, layout), dy(problem.dy, layout), v(problem.v, layout);
    Stored<double> pushed = Stored<double>::like(problem.x, layout);
    Stored<double> pulled = Stored<double>::like(problem.x, layout);
    const BatchNorm<double> layer(static_cast<Index>(problem.x.channels));
    const auto weights = problem.weights();
    const auto in = weighted(x.view(), weights, Weights::importance);
    const auto batch = moments_of(in);
    jvp(layer, batch, in, v.view(), Gradients<double>(layer.channels()), pushed.view());
    layer.backward(batch, in, dy.view(), pulled.view());
    const Batch forward = pushed.read(), backward = pulled.read();
    PerChannel difference(problem.x.channels, 0), size(problem.x.channels, 0);
    problem.x.each([&](Size n, Size c, Size p) {
      const Real product = forward.at(n, c, p) * problem.dy.at(n, c, p);
      difference[c] += product - backward.at(n, c, p) * problem.v.at(n, c, p);
      size[c] += std::fabs(product);
    });
    for (Size c = 0; c < problem.x.channels; ++c) {
      CHECK(size[c] > 1);
      CHECK(std::fabs(difference[c]) < 1e-14L * size[c]);
    }
  }
}

TEST_CASE("the unit of weights changes no bit of gradients, also below the range of float") {
  Weighing problem(4, 20, 12, true);
  struct All {
    Second second;
    Batch dx;
  };
  const auto gradients_of = [&](Layout layout) {
    const Stored<float> x(problem.x, layout), dy(problem.dy, layout);
    Stored<float> dx = Stored<float>::like(problem.x, layout);
    const BatchNorm<float> layer(static_cast<Index>(problem.x.channels));
    const auto weights = problem.weights();
    const auto in = weighted(x.view(), weights, Weights::importance);
    layer.backward(moments_of(in), in, dy.view(), dx.view());
    return All{second_of<float>(problem, layout), dx.read()};
  };
  const std::vector<Real> weights = problem.norm.weights;
  for (const Layout layout : all_layouts) {
    problem.norm.weights = weights;
    const All expected = gradients_of(layout);
    for (const int exponent : {-160, 100}) {
      INFO(name_of(layout) << ", times 2^" << exponent);
      std::transform(weights.begin(), weights.end(), problem.norm.weights.begin(),
                     [&](Real weight) { return std::ldexp(weight, exponent); });
      const All scaled = gradients_of(layout);
      CHECK((scaled.dx.values == expected.dx.values));
      CHECK((scaled.second.x.values == expected.second.x.values));
      CHECK((scaled.second.dy.values == expected.second.dy.values));
      CHECK((scaled.second.gamma == expected.second.gamma));
    }
  }
}

TEST_CASE("the bits of weighted derivatives do not depend on threads") {
  const auto from_the_end = [](Index tasks, const auto& task) {
    for (Index i = tasks; i-- > 0;) task(i);
  };
  const Execution three = Execution::parallel_for(from_the_end, 3);
  const Weighing problem(40, 20, 200, true);  // as many elements as are shared
  for (const Layout layout : {Layout::channels_first, Layout::channels_last}) {
    const Second alone = second_of<float>(problem, layout);
    const Second shared = second_of<float>(problem, layout, three);
    CHECK((alone.x.values == shared.x.values));
    CHECK((alone.dy.values == shared.dy.values));
    CHECK((alone.gamma == shared.gamma));
  }
}
