// SPDX-License-Identifier: MIT
// expected: batchnorm: data must be of a real scalar with fractions
#include "batchnorm/layer.hpp"

#ifdef WRONG
using Layer = batchnorm::BatchNorm<int>;
#else
using Layer = batchnorm::BatchNorm<float>;
#endif

batchnorm::Index use() {
  return Layer(3).channels();
}
