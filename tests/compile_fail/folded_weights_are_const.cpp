// SPDX-License-Identifier: MIT
// expected: batchnorm: weights are folded in place, and these are read-only
#include "batchnorm/fold/fold.hpp"

batchnorm::Index use(const Eigen::MatrixXf& weight) {
#ifdef WRONG
  return batchnorm::linear(weight).taps();
#else
  Eigen::MatrixXf own = weight;
  return batchnorm::linear(own).taps();
#endif
}
