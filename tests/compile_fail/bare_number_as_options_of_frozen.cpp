// SPDX-License-Identifier: MIT
// expected: batchnorm: a bare number is not read as epsilon; write Options options
#include "batchnorm/frozen.hpp"

batchnorm::FrozenBatchNorm<float> make(const batchnorm::State<float>& state) {
#ifdef WRONG
  return batchnorm::FrozenBatchNorm<float>(state, 1e-5);
#else
  batchnorm::Options options;
  options.epsilon = 1e-5;
  return batchnorm::FrozenBatchNorm<float>(state, options);
#endif
}
