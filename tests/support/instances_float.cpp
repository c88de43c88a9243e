// SPDX-License-Identifier: MIT
#include "support/instances.hpp"

BATCHNORM_TEST_INSTANCES(, float)
