// SPDX-License-Identifier: MIT
// Double backward as a whole, against differences of the gradients in long double: what the sums of
// masked and weighted values go into.
#include "batchnorm/math/second_order.hpp"

#include <cstdint>
#include <utility>
#include <vector>

#include "batchnorm/layer.hpp"
#include "batchnorm/math/masked.hpp"
#include "batchnorm/variants/derivatives.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layers.hpp"
#include "support/layouts.hpp"
#include "support/reference_derivatives.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

/// Six samples of two channels and two positions, gradients dy, and cotangents v of x, u of gamma
/// and t of beta.
struct Problem {
  reference::Weighted norm;
  Batch x, dy, v;
  PerChannel u, t;

  Problem(std::vector<Real> weights, reference::Under under)
      : x(normal(1, 1.5L)), dy(normal(2, 0.7L)), v(normal(3, -0.5L)), u{0.5L, -1}, t{2, -0.25L} {
    norm.gamma = {1.5L, -0.75L};
    norm.beta = {0.25L, 2};
    norm.epsilon = 0.3L;
    norm.weights = std::move(weights);
    norm.under = under;
  }

  static Batch normal(std::uint64_t seed, Real mean) {
    Random random(seed);
    return stored_as<double>(normal_batch(random, 6, 2, 2, mean));
  }

  /// v'dL/dx + u'dL/dgamma + t'dL/dbeta.
  Real penalty() const {
    const reference::Gradients d = reference::backward(norm, x, dy);
    return reference::dot(v, d.x) + reference::dot(u, d.gamma) + reference::dot(t, d.beta);
  }

  /// Double backward of an input that is as it is, masked or weighted, by what each depends on.
  template <class In>
  void check(const In& in) {
    const Stored<double> gradient(dy, Layout::channels_first), cotangent(v, Layout::channels_first);
    Stored<double> to_x = Stored<double>::like(x, Layout::channels_first), to_dy = to_x;
    Gradients<double> both(2);
    both.gamma = to_vector<double>(u);
    both.beta = to_vector<double>(t);
    const auto layer =
        make_layer<double>({norm.gamma, norm.beta, {0, 0}, {1, 1}, norm.epsilon}, {});
    const auto to_gamma = double_backward(layer, moments_of(in), in, gradient.view(),
                                          cotangent.view(), both, to_x.view(), to_dy.view());
    const auto differences = [&](std::vector<Real>& at) {
      return reference::central_differences(at, [&] { return penalty(); });
    };
    CHECK(reference::worst_share(to_x.read().values, differences(x.values)) < 1e-10L);
    CHECK(reference::worst_share(to_dy.read().values, differences(dy.values)) < 1e-10L);
    CHECK(reference::worst_share(to_reals(to_gamma), differences(norm.gamma)) < 1e-10L);
  }
};

const std::vector<Real> of_mask = {1, 1, 0, 1, 1, 0, 1, 1, 1, 0, 0, 1};
const std::vector<Real> of_weights = {1, 0.5L, 0, 2, 1.25L, 0, 0.5L, 1, 3, 1, 0.25L, 1};

/// One per sample and position.
Eigen::MatrixXd matrix_of(const std::vector<Real>& weights) {
  Eigen::MatrixXd matrix(6, 2);
  for (Index i = 0; i < 12; ++i) {
    matrix(i / 2, i % 2) = static_cast<double>(weights[static_cast<Size>(i)]);
  }
  return matrix;
}

}  // namespace

TEST_CASE("double backward without a mask is the derivative of backward") {
  Problem problem(std::vector<Real>(12, 1), reference::Under::normalized);
  const Stored<double> x(problem.x, Layout::channels_first);
  problem.check(x.view());
}

TEST_CASE("double backward of masked values, whatever becomes of them") {
  using reference::Under;
  const Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic> mask = matrix_of(of_mask).array() > 0.5;
  for (const auto& [under, output] :
       {std::pair(Under::normalized, MaskedOutput::normalize),
        std::pair(Under::zero, MaskedOutput::zero), std::pair(Under::kept, MaskedOutput::keep)}) {
    CAPTURE(static_cast<int>(output));
    Problem problem(of_mask, under);
    const Stored<double> x(problem.x, Layout::channels_first);
    problem.check(masked(x.view(), mask, output));
  }
}

TEST_CASE("double backward of weighted values") {
  const Eigen::MatrixXd weights = matrix_of(of_weights);
  Problem problem(of_weights, reference::Under::normalized);
  const Stored<double> x(problem.x, Layout::channels_first);
  problem.check(weighted(x.view(), weights, Weights::importance));
}
