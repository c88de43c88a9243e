// SPDX-License-Identifier: MIT
// expected: batchnorm: a bare number does not say which weight it is
#include "batchnorm/options.hpp"

void choose(batchnorm::Options& options) {
#ifdef WRONG
  options.running = 0.1;
#else
  options.running = batchnorm::RunningUpdate::take_new(0.1);
#endif
}
