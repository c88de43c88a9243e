// SPDX-License-Identifier: MIT
// expected: batchnorm: a bare number is not read as epsilon; write Options options
#include "batchnorm/layer.hpp"

batchnorm::BatchNorm<float> make() {
#ifdef WRONG
  return batchnorm::BatchNorm<float>(64, 1e-5);
#else
  batchnorm::Options options;
  options.epsilon = 1e-5;
  return batchnorm::BatchNorm<float>(64, options);
#endif
}
