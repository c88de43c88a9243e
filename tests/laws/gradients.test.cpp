// SPDX-License-Identifier: MIT
// Gradients against finite differences of the oracle in long double. Batch norm is neither the
// first nor the last layer, so that the gradient of its input matters:
//
//     h = A x        y = f(batch norm of h + residual)        L = sum w tanh(y^2)
//
// and L is differentiated with respect to x, A, the residual, gamma and beta.
#include <algorithm>
#include <cmath>
#include <vector>

#include "support/catch.hpp"
#include "support/epilogues.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

constexpr Size features = 3;

struct Graph {
  Batch x;                // input, of 3 features
  std::vector<Real> a;    // the dense layer before: channels x features
  reference::Layer norm;  // gamma, beta; mu and sigma2 where they are held constant
  Batch weights;          // of the loss
  bool frozen;
  bool has_residual;
  Batch residual;  // zero when there is none

  Size channels() const { return weights.channels; }

  Batch hidden() const {
    Batch h = weights;
    h.each([&](Size n, Size c, Size p) {
      h.at(n, c, p) = 0;
      for (Size f = 0; f < features; ++f) h.at(n, c, p) += a[c * features + f] * x.at(n, f, p);
    });
    return h;
  }

  reference::Layer layer_for(const Batch& h) const {
    reference::Layer layer = norm;
    if (!frozen) {
      layer.mu = reference::mean(h);
      layer.sigma2 = reference::variance(h, layer.mu);
    }
    return layer;
  }

  Real loss() const {
    const Batch h = hidden();
    const Batch y = reference::forward(layer_for(h), h, residual);
    Real sum = 0;
    y.each([&](Size n, Size c, Size p) {
      sum += weights.at(n, c, p) * std::tanh(y.at(n, c, p) * y.at(n, c, p));
    });
    return sum;
  }

  /// dL/dy, by hand.
  Batch loss_gradient(const Batch& y) const {
    Batch dy = weights;
    y.each([&](Size n, Size c, Size p) {
      const Real value = y.at(n, c, p), t = std::tanh(value * value);
      dy.at(n, c, p) *= (1 - t * t) * 2 * value;
    });
    return dy;
  }
};

/// Whether no z is so near the kink of an epilogue that a step reaches it.
bool clear_of_the_kink(const Graph& graph) {
  const Batch h = graph.hidden();
  const Batch z = reference::before_epilogue(graph.layer_for(h), h, graph.residual);
  return std::all_of(z.values.begin(), z.values.end(),
                     [](Real value) { return std::fabs(value) > 0.002L; });
}

/// dL/dparameter by the five-point rule: step^4 = 1e-18 times the fifth derivative, and the
/// rounding of the losses, 1e-19 / step, are both far below the tolerances.
Real difference_quotient(const Graph& graph, Real& parameter) {
  const Real at = parameter, step = 0.00003L;
  const auto loss_at = [&](Real offset) {
    parameter = at + offset;
    return graph.loss();
  };
  const Real quotient =
      (8 * (loss_at(step) - loss_at(-step)) - (loss_at(2 * step) - loss_at(-2 * step))) /
      (12 * step);
  parameter = at;
  return quotient;
}

struct Shape {
  Size samples, channels, positions;
};

template <class T>
Graph make_graph(Random& random, const Shape& shape, bool frozen, Real slope = 1,
                 bool has_residual = false) {
  const auto batch = [&](Size channels, Real mean) {
    return normal_batch(random, shape.samples, channels, shape.positions, mean);
  };
  Graph graph{batch(features, 1),
              {},
              {},
              batch(shape.channels, 0),
              frozen,
              has_residual,
              Batch{shape.samples, shape.channels, shape.positions}};
  do {
    graph.a = uniform_channels(random, shape.channels * features, -1, 1);
    if (has_residual) graph.residual = stored_as<T>(batch(shape.channels, 0.5L));
    graph.norm = random_layer<T>(random, graph.hidden(), 1e-3);
    for (Real& mean : graph.norm.mu) mean += 0.25L;
    graph.norm.mu = stored_as<parameter_t<T>>(graph.norm.mu);
    graph.norm.sigma2 = stored_as<parameter_t<T>>(graph.norm.sigma2);
    graph.norm.slope = slope;
  } while (slope < 1 && !clear_of_the_kink(graph));
  return graph;
}

/// What the library makes of the graph, forward and backward in one layout.
template <class T>
struct Result {
  Batch dh, dresidual;
  Gradients<T> parameters;
};

template <class T>
Result<T> differentiate(const Graph& graph, Layout layout) {
  Options options;
  options.epilogue = Epilogue::leaky_relu(static_cast<double>(graph.norm.slope));
  const BatchNorm<T> layer = make_layer<T>(graph.norm, options);
  const Stored<T> h(graph.hidden(), layout), r(graph.residual, layout);
  Stored<T> y = Stored<T>::like(graph.weights, layout), dh = y, dr = y;
  const auto batch = call_normalize<T>(layer, graph.has_residual, h.view(), r.view(), y.view());
  if (graph.frozen) call_infer<T>(layer, graph.has_residual, h.view(), r.view(), y.view());
  const Stored<T> dy(graph.loss_gradient(y.read()), layout);
  const Gradients<T> gradients =
      call_backward<T>(layer, graph.has_residual, graph.frozen ? nullptr : &batch, h.view(),
                       r.view(), dy.view(), dh.view(), dr.view());
  return {dh.read(), dr.read(), gradients};
}

/// Checks all gradients; the chain rule through h = A x is the test's own.
template <class T>
void check_gradients(Graph graph, Layout layout, Real tolerance) {
  const Result<T> result = differentiate<T>(graph, layout);
  const auto check = [&](const char* what, Real gradient, Real& parameter) {
    const Real expected = difference_quotient(graph, parameter);
    INFO(what << ": " << gradient << ", by differences " << expected);
    CHECK(std::fabs(gradient - expected) <= tolerance * (1 + std::fabs(expected)));
  };
  graph.x.each([&](Size n, Size f, Size p) {
    Real dx = 0;
    for (Size c = 0; c < graph.channels(); ++c) {
      dx += graph.a[c * features + f] * result.dh.at(n, c, p);
    }
    check("dx", dx, graph.x.at(n, f, p));
  });
  std::vector<Real> da(graph.a.size(), 0);
  result.dh.each([&](Size n, Size c, Size p) {
    for (Size f = 0; f < features; ++f) {
      da[c * features + f] += result.dh.at(n, c, p) * graph.x.at(n, f, p);
    }
  });
  for (Size i = 0; i < da.size(); ++i) check("dA", da[i], graph.a[i]);
  for (Size c = 0; c < graph.channels(); ++c) {
    const Index i = static_cast<Index>(c);
    check("dgamma", result.parameters.gamma[i], graph.norm.gamma[c]);
    check("dbeta", result.parameters.beta[i], graph.norm.beta[c]);
  }
  if (!graph.has_residual) return;
  result.dresidual.each([&](Size n, Size c, Size p) {
    check("dresidual", result.dresidual.at(n, c, p), graph.residual.at(n, c, p));
  });
}

template <class T>
Real tolerance_of() {
  // Differences are good to about 1e-13; float rounds some hundred terms of the order of one.
  return sizeof(T) < sizeof(double) ? 1e-4L : 1e-11L;
}

}  // namespace

TEMPLATE_TEST_CASE("gradients through the minibatch's statistics", "", double, long double, float) {
  Random random(50);
  for (const Layout layout : all_layouts) {
    for (const Size positions : {1u, 3u}) {
      INFO(name_of(layout) << ", " << positions << " positions");
      const Graph graph = make_graph<TestType>(random, {5, 4, positions}, false);
      check_gradients<TestType>(graph, layout, tolerance_of<TestType>());
    }
  }
}

TEMPLATE_TEST_CASE("gradients with frozen statistics", "", double, long double, float) {
  Random random(51);
  for (const Layout layout : all_layouts) {
    for (const Size positions : {1u, 3u}) {
      INFO(name_of(layout) << ", " << positions << " positions");
      const Graph graph = make_graph<TestType>(random, {4, 3, positions}, true);
      check_gradients<TestType>(graph, layout, tolerance_of<TestType>());
    }
  }
}

TEMPLATE_TEST_CASE("gradients through epilogues and residuals", "", double, long double, float) {
  Random random(54);
  for (const Real slope : {0.0L, 0.25L, 1.0L}) {
    for (const bool has_residual : {false, true}) {
      for (const bool frozen : {false, true}) {
        if (slope >= 1 && !has_residual) continue;
        const Graph graph = make_graph<TestType>(random, {4, 3, 2}, frozen, slope, has_residual);
        for (const Layout layout :
             {Layout::channels_first, Layout::channels_last, Layout::padded}) {
          INFO("slope " << static_cast<double>(slope) << ", residual " << has_residual
                        << ", frozen " << frozen << ", " << name_of(layout));
          check_gradients<TestType>(graph, layout, tolerance_of<TestType>());
        }
      }
    }
  }
}

TEST_CASE("without scale and shift the input gradient is that of gamma 1, the others are zero") {
  Random random(52);
  Graph graph = make_graph<double>(random, {6, 3, 2}, false);
  graph.norm.gamma.assign(3, 1);
  graph.norm.beta.assign(3, 0);
  const Result<double> expected = differentiate<double>(graph, Layout::channels_first);
  const Stored<double> h(graph.hidden(), Layout::channels_first);
  Stored<double> y = h, dh = h;

  Options options;
  options.epsilon = static_cast<double>(graph.norm.epsilon);
  options.scale = false;
  options.shift = false;
  BatchNorm<double> layer(3, options);
  layer.state().gamma.setConstant(7);  // not used
  layer.state().beta.setConstant(-7);
  const auto batch = layer.normalize(h.view(), y.view());
  const Stored<double> dy(graph.loss_gradient(y.read()), Layout::channels_first);
  const Gradients<double> gradients = layer.backward(batch, h.view(), dy.view(), dh.view());
  CHECK(dh.read().values == expected.dh.values);
  CHECK((gradients.gamma.array() == 0.0).all());
  CHECK((gradients.beta.array() == 0.0).all());
}

TEST_CASE("gradients of a batch of two, where the output hardly depends on the input") {
  Random random(53);
  const Graph graph = make_graph<double>(random, {2, 2, 1}, false);
  check_gradients<double>(graph, Layout::channels_last, tolerance_of<double>());
}
