// SPDX-License-Identifier: MIT
#ifndef DOWNSTREAM_HPP
#define DOWNSTREAM_HPP

#include <batchnorm/batchnorm.hpp>

namespace downstream {

/// A layer that has seen one minibatch of three channels: a type of ours in the interface of
/// another library.
batchnorm::BatchNorm<float> trained_layer();

}  // namespace downstream

#endif  // DOWNSTREAM_HPP
