// SPDX-License-Identifier: MIT
// expected: batchnorm: a bare number does not say that it is epsilon
#include <string>

#include "batchnorm/io/checkpoint.hpp"

float load(const std::string& path, const std::string& prefix) {
#ifdef WRONG
  const auto loaded = batchnorm::load_state<float, 3>(path, prefix, 1e-5f);
#else
  const auto loaded = batchnorm::load_state<float, 3>(path, prefix, batchnorm::Epsilon(1e-5));
#endif
  return loaded.freeze().scale()[0];
}
