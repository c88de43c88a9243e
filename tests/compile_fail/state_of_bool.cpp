// SPDX-License-Identifier: MIT
// expected: batchnorm: data must be of a real scalar with fractions
#include "batchnorm/state.hpp"

#ifdef WRONG
using State = batchnorm::State<bool>;
#else
using State = batchnorm::State<Eigen::bfloat16>;
#endif

batchnorm::Index use(const State& state) {
  return state.channels();
}
