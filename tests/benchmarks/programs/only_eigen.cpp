// SPDX-License-Identifier: MIT
// What including costs without this library.
#include <Eigen/Core>
