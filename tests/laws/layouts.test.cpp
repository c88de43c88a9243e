// SPDX-License-Identifier: MIT
// Every layout gives the oracle's numbers, so all layouts agree: forward, backward through the
// statistics, inference and backward with frozen statistics, into other memory and in place.
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/layers.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

/// One batch, the gradient that comes back, and the layer of the oracle.
struct Problem {
  Batch x, dy;
  reference::Layer layer;
};

/// What the oracle says, and how far from it a layer may be.
template <class T>
struct Expected {
  /// @param own_statistics  whether those of the layer are the ones of x
  Expected(const Problem& problem, bool own_statistics)
      : bounds(problem.layer, problem.x),
        y(reference::forward(problem.layer, problem.x)),
        gradients(reference::backward(problem.layer, problem.x, problem.dy, own_statistics)) {}

  void check_output(const Batch& out) const {
    CHECK(beyond(out, y, [&](Size n, Size c, Size p) { return bounds.y(n, c, p); }) == "");
  }

  Bounds<T> bounds;
  Batch y;
  reference::Gradients gradients;
};

template <class T>
Problem make_problem(Random& random, const Batch& x) {
  return {x, stored_as<T>(normal_batch(random, x.samples, x.channels, x.positions)),
          random_layer<T>(random, x)};
}

template <class T>
void check_gradients(const Problem& problem, const Expected<T>& right, const Batch& dx,
                     const Gradients<T>& gradients) {
  const Bounds<T>& bounds = right.bounds;
  const reference::Gradients& expected = right.gradients;
  const PerChannel steepest = largest(problem.dy);
  const PerChannel dgamma = bounds.dgamma(problem.dy), dbeta = bounds.dbeta(problem.dy);
  CHECK(beyond(dx, expected.x,
               [&](Size n, Size c, Size p) { return bounds.dx(n, c, p, steepest[c]); }) == "");
  CHECK(beyond_channels(gradients.gamma, expected.gamma, [&](Size c) { return dgamma[c]; }) == "");
  CHECK(beyond_channels(gradients.beta, expected.beta, [&](Size c) { return dbeta[c]; }) == "");
}

/// Training: the statistics are those of x.
template <class T>
void check_training(const Problem& problem, const Expected<T>& expected, Layout layout) {
  BatchNorm<T> layer = make_layer<T>(problem.layer, Options{});
  const Stored<T> x(problem.x, layout), dy(problem.dy, layout);
  Stored<T> out = Stored<T>::like(problem.x, layout), dx = Stored<T>::like(problem.x, layout);
  const auto batch = layer.train(x.view(), out.view());
  expected.check_output(out.read());
  const Gradients<T> gradients = layer.backward(batch, x.view(), dy.view(), dx.view());
  check_gradients(problem, expected, dx.read(), gradients);
  CHECK(out.gaps_are_untouched());
  CHECK(dx.gaps_are_untouched());

  Stored<T> gradient = dy, in_place = x;
  layer.backward(batch, x.view(), gradient.view(), gradient.view());
  CHECK(gradient.same_bits(dx));
  layer.train(in_place.view(), in_place.view());
  CHECK(in_place.same_bits(out));
}

/// The same problem with statistics that are given, and are not quite those of x.
template <class T>
Problem at_test_time(Problem problem) {
  using P = parameter_t<T>;
  for (Real& mean : problem.layer.mu) mean += mean / 64;
  for (Real& variance : problem.layer.sigma2) variance += variance / 4;
  problem.layer.mu = stored_as<P>(problem.layer.mu);
  problem.layer.sigma2 = stored_as<P>(problem.layer.sigma2);
  return problem;
}

template <class T>
void check_inference(const Problem& problem, const Expected<T>& expected, Layout layout) {
  const BatchNorm<T> layer = make_layer<T>(problem.layer, Options{});
  const Stored<T> x(problem.x, layout), dy(problem.dy, layout);
  Stored<T> out = Stored<T>::like(problem.x, layout), dx = Stored<T>::like(problem.x, layout);
  layer.infer(x.view(), out.view());
  expected.check_output(out.read());
  const Gradients<T> gradients = layer.backward_frozen(x.view(), dy.view(), dx.view());
  check_gradients(problem, expected, dx.read(), gradients);
  CHECK(out.gaps_are_untouched());
  CHECK(dx.gaps_are_untouched());

  Stored<T> gradient = dy, in_place = x;
  layer.backward_frozen(x.view(), gradient.view(), gradient.view());
  CHECK(gradient.same_bits(dx));
  layer.infer(in_place.view(), in_place.view());
  CHECK(in_place.same_bits(out));
}

}  // namespace

TEMPLATE_TEST_CASE("all layouts agree with the oracle", "", float, double, long double,
                   Eigen::bfloat16) {
  Random random(11);
  for (const Named& named : adversarial_batches<TestType>(12)) {
    const Problem training = make_problem<TestType>(random, named.values);
    const Problem test_time = at_test_time<TestType>(training);
    const Expected<TestType> trained(training, true), inferred(test_time, false);
    for (const Layout layout : all_layouts) {
      INFO(named.name << ", " << name_of(layout));
      check_training(training, trained, layout);
      check_inference(test_time, inferred, layout);
    }
  }
}

TEMPLATE_TEST_CASE("permuting the examples permutes outputs and input gradients", "", float,
                   double) {
  Random random(13);
  for (const Layout layout : all_layouts) {
    INFO(name_of(layout));
    const Batch x = stored_as<TestType>(normal_batch(random, 50, 3, 4, 20, 2));
    const Problem problem = make_problem<TestType>(random, x);
    std::vector<Size> order = indices(x.samples);
    random.shuffle(order);
    const Problem shuffled{pick(x, order), pick(problem.dy, order), problem.layer};
    const Bounds<TestType> bounds(shuffled.layer, shuffled.x);
    const PerChannel steepest = largest(problem.dy);

    const auto results = [&](const Problem& given) {
      const BatchNorm<TestType> layer = make_layer<TestType>(given.layer, Options{});
      const Stored<TestType> in(given.x, layout), dy(given.dy, layout);
      Stored<TestType> out = Stored<TestType>::like(given.x, layout), dx = out;
      const auto batch = layer.normalize(in.view(), out.view());
      layer.backward(batch, in.view(), dy.view(), dx.view());
      return std::make_pair(out.read(), dx.read());
    };
    const auto before = results(problem), after = results(shuffled);
    CHECK(beyond(after.first, pick(before.first, order),
                 [&](Size n, Size c, Size p) { return bounds.y(n, c, p); }) == "");
    CHECK(beyond(after.second, pick(before.second, order),
                 [&](Size n, Size c, Size p) { return bounds.dx(n, c, p, steepest[c]); }) == "");
  }
}
