// SPDX-License-Identifier: MIT
// expected: batchnorm: data must be of a real scalar with fractions
#include "batchnorm/math/moments.hpp"

template <class T>
auto use(const batchnorm::BatchView<const T>& view) {
  return batchnorm::moments_of(view);
}

#ifdef WRONG
using Scalar = int;
#else
using Scalar = double;
#endif
template auto use(const batchnorm::BatchView<const Scalar>&);
