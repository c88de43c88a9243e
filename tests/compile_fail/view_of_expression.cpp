// SPDX-License-Identifier: MIT
// expected: batchnorm: an expression has no memory to view
#include "batchnorm/view/eigen.hpp"

batchnorm::Index use(const Eigen::MatrixXf& x) {
#ifdef WRONG
  return batchnorm::examples_in_columns(x * x).channels();
#else
  return batchnorm::examples_in_columns(x.transpose()).channels();
#endif
}
