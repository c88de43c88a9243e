// SPDX-License-Identifier: MIT
// What the calls of a layer return. That a residual as an argument of its own is refused when
// compiled is tested in compile_fail.
#include "batchnorm/view/calls.hpp"

#include <cmath>

#include "batchnorm/layer.hpp"
#include "support/catch.hpp"

using batchnorm::BatchNorm;

TEST_CASE("train and backward without an output return everything by name", "[calls]") {
  BatchNorm<double> layer(1);
  const Eigen::RowVector4d x(1, 3, 1, 3);
  const auto [output, batch] = layer.train(x);
  CHECK(batch.count == 4);
  CHECK(batch.mean[0] == 2.0);
  CHECK(output.cols() == 4);
  const auto [in_gradient, gamma, beta] =
      layer.backward(batch, x, Eigen::RowVector4d(1, 1, 1, 1).eval());
  CHECK(beta[0] == 4.0);
  CHECK(std::abs(gamma[0]) < 1e-12);
  CHECK(in_gradient.cwiseAbs().maxCoeff() < 1e-12);
}
