// SPDX-License-Identifier: MIT
// expected: batchnorm: data must be of a real scalar with fractions
#include <complex>

#include "batchnorm/layer.hpp"

#ifdef WRONG
using Layer = batchnorm::BatchNorm<std::complex<double>>;
#else
using Layer = batchnorm::BatchNorm<double>;
#endif

batchnorm::Index use() {
  return Layer(3).channels();
}
