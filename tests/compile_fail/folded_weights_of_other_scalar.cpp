// SPDX-License-Identifier: MIT
// expected: batchnorm: weights are folded in place, and are float, double, half or bfloat16
#include "batchnorm/fold/fold.hpp"

#ifdef WRONG
using Scalar = long double;
#else
using Scalar = double;
#endif

batchnorm::Index use(Scalar* weight) {
  return batchnorm::convolution_oihw(weight, 8, 4, 9).taps();
}
