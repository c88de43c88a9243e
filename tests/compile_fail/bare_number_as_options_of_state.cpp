// SPDX-License-Identifier: MIT
// expected: batchnorm: a bare number is not read as epsilon; write Options options
#include "batchnorm/layer.hpp"

batchnorm::BatchNorm<float> make(const batchnorm::State<float>& state) {
#ifdef WRONG
  return batchnorm::BatchNorm<float>(state, 1e-5f);
#else
  batchnorm::Options options;
  options.epsilon = 1e-5;
  return batchnorm::BatchNorm<float>(state, options);
#endif
}
