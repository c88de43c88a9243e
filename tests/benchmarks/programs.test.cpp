// SPDX-License-Identifier: MIT
// The two programs whose times to compile are compared compute the same: two steps of training.
#include <cmath>

#include "benchmarks/programs/ten_lines_of_eigen.cpp"  // NOLINT(bugprone-suspicious-include)
#include "benchmarks/programs/training.cpp"            // NOLINT(bugprone-suspicious-include)
#include "support/catch.hpp"

namespace {

Eigen::MatrixXf waves(Eigen::Index rows, Eigen::Index columns, float step) {
  Eigen::MatrixXf x(rows, columns);
  for (Eigen::Index i = 0; i < x.size(); ++i) {
    x.data()[i] = std::sin(step * static_cast<float>(i)) + static_cast<float>(i % rows);
  }
  return x;
}

template <class A, class B>
float distance(const A& a, const B& b) {
  return (a.template cast<float>().matrix() - b.matrix()).cwiseAbs().maxCoeff();
}

}  // namespace

TEST_CASE("ten lines of Eigen learn what the layer learns") {
  const Eigen::Index features = 3, examples = 16;
  batchnorm::BatchNorm<float> layer(features);
  LayerOfEigen by_hand{Eigen::ArrayXf::Ones(features), Eigen::ArrayXf::Zero(features),
                       Eigen::ArrayXf::Zero(features), Eigen::ArrayXf::Ones(features),
                       Eigen::ArrayXXf()};
  for (const float step : {0.7f, 1.3f}) {
    const Eigen::MatrixXf x = waves(features, examples, step);
    const Eigen::MatrixXf target = waves(features, examples, 2 * step);
    batchnorm::BatchNorm<float> copy = layer;
    const auto [y, batch] = copy.train(x);
    const Eigen::MatrixXf in_gradient = copy.backward(batch, x, y - target).in_gradient;

    const Eigen::MatrixXf out = learn(layer, x, target);
    CHECK(distance(out, learn(by_hand, x, target)) < 1e-5f);
    CHECK(distance(in_gradient, by_hand.in_gradient) < 1e-5f);
    CHECK(distance(layer.state().gamma, by_hand.gamma) < 1e-5f);
    CHECK(distance(layer.state().beta, by_hand.beta) < 1e-5f);
    CHECK(distance(layer.state().running_mean, by_hand.running_mean) < 1e-6f);
    CHECK(distance(layer.state().running_variance, by_hand.running_variance) < 1e-6f);
  }
  CHECK((layer.state().gamma.array() - 1.0f).abs().minCoeff() > 0.01f);
}
