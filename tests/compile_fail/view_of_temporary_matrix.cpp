// SPDX-License-Identifier: MIT
// expected: batchnorm: a view must not bind to a temporary matrix
#include "batchnorm/view/eigen.hpp"

batchnorm::Index use(const Eigen::MatrixXf& x) {
#ifdef WRONG
  return batchnorm::examples_in_rows(Eigen::MatrixXf(x)).channels();
#else
  return batchnorm::examples_in_rows(x).channels();
#endif
}
