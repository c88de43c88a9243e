// SPDX-License-Identifier: MIT
// What including costs with it.
#include <batchnorm/batchnorm.hpp>
