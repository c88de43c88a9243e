// SPDX-License-Identifier: MIT
// The program of every consumer: trains on one minibatch whose statistics are exact, and infers.

#include <batchnorm/batchnorm.hpp>

int main() {
  Eigen::MatrixXd minibatch(1, 2);
  minibatch << 1, 5;  // mean 3, population variance 4
  batchnorm::Options options = batchnorm::Options::keras();
  options.epsilon = 0.0;
  options.running = batchnorm::RunningUpdate::take_new(1.0);

  batchnorm::BatchNorm<double> layer(1, options);
  const auto [output, batch] = layer.train(minibatch);
  if (output(0, 0) != -1.0 || output(0, 1) != 1.0 || batch.count != 2) return 1;

  const Eigen::MatrixXd one = Eigen::MatrixXd::Constant(1, 1, 7.0);
  return layer.freeze()(one)(0, 0) == 2.0 ? 0 : 1;
}
