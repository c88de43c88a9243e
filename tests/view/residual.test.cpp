// SPDX-License-Identifier: MIT
#include "batchnorm/view/residual.hpp"

#include <Eigen/Core>

#include "support/catch.hpp"

using batchnorm::with_residual;

TEST_CASE("with_residual refers to its parts and copies nothing") {
  const Eigen::MatrixXf x = Eigen::MatrixXf::Ones(2, 3);
  Eigen::MatrixXf r = x;
  const auto pair = with_residual(x, r);
  CHECK(&pair.first == &x);
  CHECK(&pair.residual == &r);
}
