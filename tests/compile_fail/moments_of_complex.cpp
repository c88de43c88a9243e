// SPDX-License-Identifier: MIT
// expected: batchnorm: data must be of a real scalar with fractions
#include <complex>

#include "batchnorm/math/moments.hpp"

auto use(const Eigen::MatrixXcf& x) {
#ifdef WRONG
  return batchnorm::moments_of(x);
#else
  return batchnorm::moments_of(x.real());
#endif
}
