// SPDX-License-Identifier: MIT
// expected: batchnorm: data must be of a real scalar with fractions
#include "batchnorm/frozen.hpp"

#ifdef WRONG
using Layer = batchnorm::FrozenBatchNorm<signed char>;
#else
using Layer = batchnorm::FrozenBatchNorm<Eigen::half>;
#endif

batchnorm::Index use(const Layer& layer) {
  return layer.channels();
}
