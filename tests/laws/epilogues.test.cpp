// SPDX-License-Identifier: MIT
// Epilogues and residuals against the oracle, in every layout: forward, backward through the
// statistics and with frozen ones, and every output over every input it may take the memory of.
#include "support/epilogues.hpp"

#include <vector>

#include "support/catch.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

template <class T>
using BatchMomentsOf = typename BatchNorm<T>::BatchMoments;

template <class T>
struct Case {
  const EpilogueProblem& problem;
  Layout layout;
  bool residual;
  Stored<T> x, r, dy;

  Case(const EpilogueProblem& given, Layout chosen)
      : problem(given),
        layout(chosen),
        residual(given.has_residual),
        x(given.x, chosen),
        r(given.residual, chosen),
        dy(given.dy, chosen) {}

  Stored<T> room() const { return Stored<T>::like(problem.x, layout); }
};

template <class T>
void check_output(const Case<T>& with, const Stored<T>& out) {
  const EpilogueProblem& problem = with.problem;
  const Bounds<T> bounds(problem.layer, problem.x);
  CHECK(beyond(out.read(), reference::forward(problem.layer, problem.x, problem.residual),
               [&](Size n, Size c, Size p) {
                 return bounds.y(n, c, p, problem.residual.at(n, c, p));
               }) == "");
  CHECK(out.gaps_are_untouched());
}

/// `call(x, r, out)` gives the same bits when the output takes the memory of an input.
template <class T, class Call>
void check_forward_in_place(const Case<T>& with, const Stored<T>& out, const Call& call) {
  Stored<T> over_x = with.x, over_r = with.r;
  call(over_x, with.r, over_x);
  CHECK(over_x.read().values == out.read().values);
  if (!with.residual) return;
  call(with.x, over_r, over_r);
  CHECK(over_r.read().values == out.read().values);
}

/// Gradients against the oracle, then again in place.
template <class T>
void check_backward(const Case<T>& with, const BatchNorm<T>& layer, const BatchMomentsOf<T>* batch,
                    bool own_statistics) {
  const EpilogueProblem& problem = with.problem;
  Stored<T> dx = with.room(), dr = with.room();
  const auto run = [&](const Stored<T>& x, const Stored<T>& r, const Stored<T>& dy, Stored<T>& to_x,
                       Stored<T>& to_r) {
    return call_backward<T>(layer, with.residual, batch, x.view(), r.view(), dy.view(), to_x.view(),
                            to_r.view());
  };
  const Gradients<T> gradients = run(with.x, with.r, with.dy, dx, dr);
  const reference::Gradients expected =
      reference::backward(problem.layer, problem.x, problem.residual, problem.dy, own_statistics);
  const Bounds<T> bounds(problem.layer, problem.x);
  const PerChannel steepest = largest(problem.dy);
  const PerChannel dgamma = bounds.dgamma(problem.dy), dbeta = bounds.dbeta(problem.dy);
  CHECK(beyond(dx.read(), expected.x,
               [&](Size n, Size c, Size p) { return bounds.dx(n, c, p, steepest[c]); }) == "");
  CHECK(beyond_channels(gradients.gamma, expected.gamma, [&](Size c) { return dgamma[c]; }) == "");
  CHECK(beyond_channels(gradients.beta, expected.beta, [&](Size c) { return dbeta[c]; }) == "");
  CHECK(dx.gaps_are_untouched());

  Stored<T> over_dy = with.dy, over_x = with.x, other = with.room();
  run(with.x, with.r, over_dy, over_dy, other);
  CHECK(over_dy.read().values == dx.read().values);
  run(over_x, with.r, with.dy, over_x, other);
  CHECK(over_x.read().values == dx.read().values);
  if (!with.residual) return;

  CHECK(beyond(dr.read(), expected.residual, [&](Size n, Size c, Size p) {
          return Bounds<T>::residual_gradient(problem.dy.at(n, c, p));
        }) == "");
  CHECK(other.read().values == dr.read().values);
  CHECK(dr.gaps_are_untouched());
  Stored<T> r_over_dy = with.dy, x_over_r = with.r;
  run(with.x, x_over_r, r_over_dy, x_over_r, r_over_dy);
  CHECK(r_over_dy.read().values == dr.read().values);
  CHECK(x_over_r.read().values == dx.read().values);
  Stored<T> x_over_dy = with.dy, r_over_r = with.r;
  run(with.x, r_over_r, x_over_dy, x_over_dy, r_over_r);
  CHECK(x_over_dy.read().values == dx.read().values);
  CHECK(r_over_r.read().values == dr.read().values);
  Stored<T> r_over_x = with.x;
  run(r_over_x, with.r, with.dy, other, r_over_x);
  CHECK(r_over_x.read().values == dr.read().values);
  CHECK(other.read().values == dx.read().values);
}

/// Training: the statistics are those of x.
template <class T>
void check_training(const EpilogueProblem& problem, Layout layout) {
  const Case<T> with(problem, layout);
  BatchNorm<T> layer = make_layer<T>(problem.layer, problem.options());
  Stored<T> out = with.room();
  const auto batch = call_train<T>(layer, with.residual, with.x.view(), with.r.view(), out.view());
  check_output(with, out);
  check_backward<T>(with, layer, &batch, true);
  check_forward_in_place(with, out, [&](const auto& x, const auto& r, auto& to) {
    const auto same = call_normalize<T>(layer, with.residual, x.view(), r.view(), to.view());
    CHECK(same.mean == batch.mean);
    CHECK(same.sum_of_squares == batch.sum_of_squares);
  });
}

/// Test time and fine-tuning: the statistics are given, and are not quite those of x.
template <class T>
void check_inference(EpilogueProblem problem, Layout layout) {
  using P = parameter_t<T>;
  problem.layer.mu = stored_as<P>(problem.layer.mu);
  problem.layer.sigma2 = stored_as<P>(problem.layer.sigma2);
  const Case<T> with(problem, layout);
  const BatchNorm<T> layer = make_layer<T>(problem.layer, problem.options());
  const FrozenBatchNorm<T> frozen = layer.freeze();
  Stored<T> out = with.room(), same = with.room();
  call_infer<T>(layer, with.residual, with.x.view(), with.r.view(), out.view());
  check_output(with, out);
  check_backward<T>(with, layer, nullptr, false);
  call_frozen<T>(frozen, with.residual, with.x.view(), with.r.view(), same.view());
  CHECK(same.read().values == out.read().values);
  CHECK(same.gaps_are_untouched());
  check_forward_in_place(with, out, [&](const auto& x, const auto& r, auto& to) {
    call_infer<T>(layer, with.residual, x.view(), r.view(), to.view());
  });
  check_forward_in_place(with, out, [&](const auto& x, const auto& r, auto& to) {
    call_frozen<T>(frozen, with.residual, x.view(), r.view(), to.view());
  });
}

}  // namespace

TEMPLATE_TEST_CASE("epilogues and residuals are those of the oracle in every layout", "", float,
                   double, long double, Eigen::bfloat16, Eigen::half) {
  Random random(60);
  const std::vector<Batch> batches = {normal_batch(random, 7, 5, 1, 2, 3),
                                      normal_batch(random, 4, 3, 19, -20, 2),
                                      normal_batch(random, 9, 2, 4, 1, 1)};
  for (const Batch& values : batches) {
    for (const Real slope : all_slopes()) {
      for (const bool has_residual : {false, true}) {
        if (slope >= 1 && !has_residual) continue;
        const EpilogueProblem problem =
            epilogue_problem<TestType>(random, values, slope, has_residual);
        for (const Layout layout : all_layouts) {
          INFO(values.channels << " channels, slope " << static_cast<double>(slope)
                               << (has_residual ? ", residual, " : ", ") << name_of(layout));
          check_training<TestType>(problem, layout);
          check_inference<TestType>(problem, layout);
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("means of 1e6 deviations, other scales and odd shapes with epilogues", "", float,
                   double) {
  Random random(61);
  for (const Named& named : adversarial_batches<TestType>(62)) {
    if (named.values.values.size() > 3000) continue;
    for (const Real slope : {0.0L, 0.25L}) {
      const EpilogueProblem problem =
          epilogue_problem<TestType>(random, named.values, slope, slope > 0);
      for (const Layout layout : all_layouts) {
        INFO(named.name << ", slope " << static_cast<double>(slope) << ", " << name_of(layout));
        check_training<TestType>(problem, layout);
        check_inference<TestType>(problem, layout);
      }
    }
  }
}
