// SPDX-License-Identifier: MIT
// The single header between other headers of the tree: each name is defined once. A second unit of
// the program, so that the linker would find what is not inline.

#include <batchnorm/io/safetensors.hpp>

// The one file: its folder is searched first.
#include <batchnorm/batchnorm.hpp>

// What needs more than the file has.
#include <batchnorm/view/eigen_tensor.hpp>

batchnorm::Index channels_beside() {
  return batchnorm::BatchNorm<float>(3).channels();
}
