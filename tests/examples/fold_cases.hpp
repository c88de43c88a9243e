// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_TESTS_EXAMPLES_FOLD_CASES_HPP
#define BATCHNORM_TESTS_EXAMPLES_FOLD_CASES_HPP

#include <cstddef>
#include <string>
#include <vector>

#include "fold_files.hpp"

// The layers that 08_fold_checkpoint has to fold, and where their channels are.

namespace fold_test {

/// Where the channel of an element stands: an axis that has the channels, or the last two together
/// (depthwise), or the second axis with as many groups of it (transposed, PyTorch), or an axis of
/// so many flattened positions, side by side for a channel or each behind the channels before.
struct ChannelOf {
  std::size_t axis;
  bool with_next = false;
  Index groups = 1;
  Index nchw_positions = 1;
  Index nhwc_positions = 1;
};

/// One layer of a test file and the norms around it.
struct Case {
  std::string file;
  std::string weight, bias;
  Shape shape;
  ChannelOf output, input;
  bool has_bias;
  std::vector<NormKeys> behind;
  std::vector<NormKeys> front;
  std::string dtype = "F32";
  std::string bias_dtype = "";  ///< that of the weights, when not given
};

inline std::vector<Case> cases() {
  const ChannelOf first{0}, second{1}, third{2}, fourth{3};
  return {
      {"resnet",
       "conv1.weight",
       "conv1.bias",
       {4, 3, 3, 3},
       first,
       second,
       false,
       {pytorch("bn1.")},
       {}},
      {"resnet",
       "layer1.0.conv1.weight",
       "layer1.0.conv1.bias",
       {4, 4, 3, 3},
       first,
       second,
       true,
       {pytorch("layer1.0.bn1.")},
       {}},
      {"resnet",
       "layer1.0.downsample.0.weight",
       "layer1.0.downsample.0.bias",
       {4, 4, 1, 1},
       first,
       second,
       false,
       {pytorch("layer1.0.downsample.1.")},
       {}},
      {"chain",
       "0.weight",
       "0.bias",
       {4, 6},
       first,
       second,
       true,
       {pytorch("1."), pytorch("2.")},
       {}},
      {"chain",
       "5.weight",
       "5.bias",
       {3, 4},
       first,
       second,
       false,
       {pytorch("6.")},
       {pytorch("4.")}},
      {"front", "1.weight", "1.bias", {4, 3, 3, 3}, first, second, true, {}, {pytorch("0.")}},
      {"keras",
       "conv1/kernel",
       "conv1/bias",
       {3, 2, 2, 4},
       fourth,
       third,
       true,
       {keras("conv1_bn/")},
       {}},
      {"keras",
       "dense1/kernel",
       "dense1/bias",
       {4, 5},
       second,
       first,
       false,
       {keras("norm1/")},
       {}},
      {"keras",
       "dw/depthwise_kernel",
       "dw/bias",
       {3, 3, 2, 2},
       {2, true},
       {2, true},
       false,
       {keras("dw_bn/")},
       {}},
      {"capitals",
       "conv1.weight",
       "conv1.bias",
       {4, 3, 3, 3},
       first,
       second,
       true,
       {pytorch("conv1_BN.")},
       {}},
      {"capitals",
       "Conv2.weight",
       "Conv2.bias",
       {4, 3, 3, 3},
       first,
       second,
       false,
       {pytorch("bn_Conv2.")},
       {}},
      {"capitals",
       "conv3.weight",
       "conv3.bias",
       {4, 3},
       first,
       second,
       true,
       {pytorch("BN3.")},
       {}},
      {"paddle", "fc1.weight", "fc1.bias", {4, 4}, second, first, true, {paddle("bn1.")}, {}},
      {"paddle",
       "conv2.weight",
       "conv2.bias",
       {4, 3, 3, 3},
       first,
       second,
       false,
       {paddle("norm2.")},
       {}},
      {"flax",
       "params/conv1/kernel",
       "params/conv1/bias",
       {3, 3, 2, 4},
       fourth,
       third,
       true,
       {flax("bn1")},
       {}},
      {"transposed",
       "up.0.weight",
       "up.0.bias",
       {4, 2, 2, 2},
       {1, false, 2},
       first,
       false,
       {pytorch("up.1.")},
       {}},
      {"transposed",
       "deconv1.weight",
       "deconv1.bias",
       {3, 4, 2, 2},
       second,
       first,
       true,
       {pytorch("deconv1_bn.")},
       {}},
      {"half",
       "conv1.weight",
       "conv1.bias",
       {4, 3, 3, 3},
       first,
       second,
       true,
       {pytorch("bn1.")},
       {},
       "F16"},
      {"bfloat",
       "conv1.weight",
       "conv1.bias",
       {4, 3, 3, 3},
       first,
       second,
       false,
       {pytorch("bn1.")},
       {},
       "BF16"},
      {"double",
       "conv1.weight",
       "conv1.bias",
       {4, 3, 3, 3},
       first,
       second,
       true,
       {pytorch("bn1.")},
       {},
       "F64"},
      {"half_float",
       "0.weight",
       "0.bias",
       {4, 6},
       first,
       second,
       true,
       {pytorch("1.")},
       {},
       "F16",
       "F32"},
      {"half_float",
       "5.weight",
       "5.bias",
       {3, 4},
       first,
       second,
       true,
       {},
       {pytorch("4.")},
       "BF16",
       "F32"},
      {"half_float",
       "6.weight",
       "6.bias",
       {4, 3},
       first,
       second,
       true,
       {pytorch("7.")},
       {},
       "F32",
       "F16"},
      {"half_float",
       "8.weight",
       "8.bias",
       {4, 4},
       first,
       second,
       true,
       {pytorch("9.")},
       {},
       "F64",
       "BF16"},
      {"flat",
       "fc.weight",
       "fc.bias",
       {3, 12},
       first,
       {1, false, 1, 3, 1},
       true,
       {},
       {pytorch("last_norm.")}},
      {"flat",
       "more.weight",
       "more.bias",
       {5, 12},
       first,
       {1, false, 1, 3, 1},
       false,
       {pytorch("behind.")},
       {pytorch("front.")}},
      {"flat_keras",
       "fc/kernel",
       "fc/bias",
       {12, 3},
       second,
       {0, false, 1, 1, 3},
       true,
       {},
       {keras("last_norm/")}},
      {"separable",
       "sep/pointwise_kernel",
       "sep/bias",
       {1, 1, 4, 4},
       fourth,
       third,
       false,
       {keras("sep_bn/")},
       {}},
  };
}

inline std::string bias_dtype(const Case& layer) {
  return layer.bias_dtype.empty() ? layer.dtype : layer.bias_dtype;
}

inline Index channel_of(const ChannelOf& where, const Shape& shape, Index element) {
  Shape places(shape.size());
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    places[axis] = element % shape[axis];
    element /= shape[axis];
  }
  if (where.with_next) return places[where.axis] * shape[where.axis + 1] + places[where.axis + 1];
  if (where.nhwc_positions != 1) {
    return places[where.axis] % (shape[where.axis] / where.nhwc_positions);
  }
  if (where.groups == 1) return places[where.axis] / where.nchw_positions;
  return places[0] / (shape[0] / where.groups) * shape[1] + places[1];
}

inline Index channels_of(const ChannelOf& where, const Shape& shape) {
  const Index own = shape[where.axis] / where.nchw_positions / where.nhwc_positions;
  return where.with_next ? own * shape[where.axis + 1] : own * where.groups;
}

}  // namespace fold_test

#endif  // BATCHNORM_TESTS_EXAMPLES_FOLD_CASES_HPP
