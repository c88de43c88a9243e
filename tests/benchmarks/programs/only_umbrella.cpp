// SPDX-License-Identifier: MIT
// What including costs with it. No layer is compiled here: training.cpp is what users write.
#include <batchnorm/batchnorm.hpp>
