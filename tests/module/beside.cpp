// SPDX-License-Identifier: MIT
// A file of the same program that has the headers as well as the module: they are the same types.

#include <batchnorm/batchnorm.hpp>
#include <cstdlib>
#include <type_traits>

namespace of_header {
using Layer = batchnorm::BatchNorm<double>;
}  // namespace of_header

import batchnorm;

static_assert(std::is_same_v<of_header::Layer, batchnorm::BatchNorm<double>>);

namespace {

/// Before main: the same functions as in the other file, which the linker has to take as one.
const bool trained = [] {
  batchnorm::BatchNorm<double> layer(1);
  layer.train(Eigen::RowVector2d(1, 5));
  if (layer.state().batches_seen != 1) std::abort();
  return true;
}();

}  // namespace
