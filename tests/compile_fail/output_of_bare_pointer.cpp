// SPDX-License-Identifier: MIT
// expected: batchnorm: a view of a bare pointer has no type that could own a new output
#include "batchnorm/layer.hpp"

void use(batchnorm::BatchNorm<float>& layer, const float* x, float* y) {
#ifdef WRONG
  layer.train(batchnorm::channels_first(x, 2, 3, 4));
#else
  layer.train(batchnorm::channels_first(x, 2, 3, 4), batchnorm::channels_first(y, 2, 3, 4));
#endif
}
