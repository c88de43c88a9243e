// SPDX-License-Identifier: MIT
// A program that imports the module: the calls of every room with exact results, and a rejection.

#include <Eigen/Core>
#include <cstdio>
#include <stdexcept>

import batchnorm;

namespace {

int failed = 0;

void expect(bool holds, const char* what) {
  if (holds) return;
  std::printf("wrong: %s\n", what);
  ++failed;
}

}  // namespace

int main() {
  const Eigen::RowVector2d x(1, 5);  // mean 3, population variance 4
  batchnorm::Options options = batchnorm::Options::keras();
  options.epsilon = 0;
  options.running = batchnorm::RunningUpdate::take_new(1);
  batchnorm::BatchNorm<double> layer(1, options);

  const auto [y, batch] = layer.train(x);
  expect(y == Eigen::RowVector2d(-1, 1), "train");
  // gamma: sum of dy xhat; beta: sum of dy; a gradient in the span of 1 and xhat has none for x.
  const auto gradients = layer.backward(batch, x, Eigen::RowVector2d(1, 3));
  expect(gradients.gamma[0] == 2 && gradients.beta[0] == 4, "backward");
  expect(layer.freeze()(Eigen::RowVector2d(7, 3)) == Eigen::RowVector2d(2, 0), "freeze");

  double memory[] = {1, 5};
  layer.infer(batchnorm::channels_last(memory, 2, 1, 1), batchnorm::channels_last(memory, 2, 1, 1));
  expect(memory[0] == -1 && memory[1] == 1, "a view, in place");
  const Eigen::Matrix<bool, 1, 3> counts(true, true, false);
  const Eigen::RowVector3d padded(1, 5, 1000);
  expect(batchnorm::moments_of(batchnorm::masked(padded, counts)).mean[0] == 3, "masked");

  Eigen::MatrixXd weight{{1, 2}};
  Eigen::VectorXd bias;
  batchnorm::fold_after(batchnorm::linear(weight), bias, layer.state(), options);
  expect(weight == Eigen::MatrixXd{{0.5, 1}} && bias[0] == -1.5, "fold_after");

  const auto report =
      batchnorm::reestimate(layer, {2, 2}, [&](batchnorm::Index first, batchnorm::Index count) {
        return (x.middleCols(first, count).array() + 10).matrix();
      });
  expect(report.completed && layer.state().running_mean[0] == 13, "reestimate");

  const auto moments = batchnorm::moments_of(x);
  const auto bytes = batchnorm::to_bytes(moments);
  expect(batchnorm::moments_from_bytes<double>(bytes).sum_of_squares[0] == 8, "to_bytes");

  bool refused = false;
  try {
    layer.train(Eigen::MatrixXd::Zero(2, 2));
  } catch (const std::invalid_argument&) {
    refused = true;
  }
  expect(refused, "two features for a layer of one");
  return failed;
}
