// SPDX-License-Identifier: MIT
// What training.cpp compiles, and with it a residual, backward_frozen and infer.
#include <batchnorm/batchnorm.hpp>

Eigen::MatrixXf fine_tune(batchnorm::BatchNorm<float>& layer, const Eigen::MatrixXf& x,
                          const Eigen::MatrixXf& shortcut, const Eigen::MatrixXf& target) {
  using batchnorm::with_residual;
  Eigen::MatrixXf y(x.rows(), x.cols()), dx(x.rows(), x.cols()), dshortcut(x.rows(), x.cols());
  const auto batch = layer.train(with_residual(x, shortcut), y);
  y -= target;
  layer.backward(batch, with_residual(x, shortcut), y, with_residual(dx, dshortcut));
  layer.backward_frozen(x, dx, dshortcut);
  layer.freeze()(dshortcut, y);
  return layer.infer(y);
}
