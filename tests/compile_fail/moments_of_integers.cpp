// SPDX-License-Identifier: MIT
// expected: batchnorm: data must be of a real scalar with fractions
#include "batchnorm/math/moments.hpp"

double use(const Eigen::Matrix<unsigned char, 1, 4>& x) {
#ifdef WRONG
  return batchnorm::moments_of(x).mean[0];
#else
  return batchnorm::moments_of(x.cast<float>()).mean[0];
#endif
}
