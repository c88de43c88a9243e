// SPDX-License-Identifier: MIT
// expected: batchnorm: a bare number does not say that it is epsilon
#include "batchnorm/io/checkpoint.hpp"

float load(const batchnorm::Tensors& tensors) {
#ifdef WRONG
  const auto loaded = batchnorm::load_state<float>(tensors, "bn.", 1e-5);
#else
  const auto loaded = batchnorm::load_state<float>(tensors, "bn.", batchnorm::Epsilon(1e-5));
#endif
  return loaded.state.gamma[0];
}
