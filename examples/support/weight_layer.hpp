// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_WEIGHT_LAYER_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_WEIGHT_LAYER_HPP

#include <batchnorm/fold/fold.hpp>
#include <batchnorm/io/tensors.hpp>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace example {

using batchnorm::Index;
using batchnorm::Tensors;

/// A prefix without the separator at its end: what a person calls a layer.
inline std::string name_of_prefix(const std::string& prefix) {
  return prefix.empty() ? prefix : prefix.substr(0, prefix.size() - 1);
}

/// A linear or convolutional layer of a checkpoint.
struct WeightLayer {
  /// PyTorch and ONNX count the output channels first, Keras and Flax last.
  enum class Order { out_first, out_last };

  std::string prefix;
  std::string weight, bias;  ///< names of the tensors; the bias need not be there
  Order order = Order::out_first;
  bool is_transposed = false;
  bool is_separable = false;  ///< its first kernel is another tensor
  Index out = 0, in = 0, taps = 1, groups = 1;

  std::string name() const { return name_of_prefix(prefix); }
  bool is_linear() const { return is_linear_; }

  /// What a flatten in front of a linear layer made of channels and positions: all positions of the
  /// first channel, then of the next (NCHW), or all channels of the first position (NHWC).
  enum class Flatten { nchw, nhwc };

  /// The weights, read row by row, as the folds take them.
  template <class T>
  batchnorm::WeightView<T> view(T* data) const {
    const bool first = order == Order::out_first;
    if (is_transposed) {
      return first ? batchnorm::transposed_iohw(data, out, in, taps, groups)
                   : batchnorm::transposed_hwoi(data, out, in, taps);
    }
    if (is_linear_) {  // in steps of 1 along the inputs of a row, or along the outputs
      const Index step = first ? 1 : out;
      const bool channels_first = flatten_ == Flatten::nchw;
      return {data,
              batchnorm::LayerKind::linear,
              {1, out, in, taps},
              {out * in * taps, first ? in * taps : Index{1}, channels_first ? taps * step : step,
               channels_first ? step : in * step}};
    }
    return first ? batchnorm::convolution_oihw(data, out, in, taps)
                 : batchnorm::convolution_hwio(data, out, in, taps);
  }

  /// Sets the counts from the shape. Groups do not matter to a norm behind a convolution, so they
  /// are counted as one: `in` is what one output is made of.
  void set_shape(const std::vector<Index>& shape) {
    const std::size_t rank = shape.size();
    is_linear_ = rank == 2;
    const bool first = order == Order::out_first;
    out = first ? shape[0] : shape[rank - 1];
    in = first ? shape[1] : shape[rank - 2];
    taps = 1;
    for (std::size_t axis = 2; axis < rank; ++axis) taps *= shape[first ? axis : axis - 2];
  }

  /// The same tensor as in Paddle, whose linear layers count the inputs first.
  void count_inputs_first(const std::vector<Index>& shape) {
    if (!is_linear_) return;
    order = Order::out_last;
    set_shape(shape);
  }

  /// The same tensor as the weights of a transposed convolution with so many output channels, whose
  /// groups follow from them. False when it cannot be one.
  bool transpose(Index channels) {
    const Index inputs = out, outputs_per_group = in;
    if (is_linear_ || channels % outputs_per_group != 0) return false;
    groups = channels / outputs_per_group;
    if (inputs % groups != 0 || (groups != 1 && order == Order::out_last)) return false;
    in = inputs;
    out = channels;
    is_transposed = true;
    return true;
  }

  /// The same linear layer with its inputs as so many channels at several positions. False when it
  /// is not linear, or has no whole number of inputs for each channel.
  bool flatten(Index channels, Flatten flatten_order) {
    if (!is_linear_ || channels < 1 || in % channels != 0) return false;
    taps = in / channels;
    in = channels;
    flatten_ = flatten_order;
    return true;
  }

 private:
  bool is_linear_ = false;
  Flatten flatten_ = Flatten::nchw;
};

/// The layer with weights under a prefix, if there is one.
inline std::optional<WeightLayer> find_weight_layer(const Tensors& tensors,
                                                    const std::string& prefix) {
  constexpr std::size_t highest_rank = 5;
  for (const std::string name : {"weight", "kernel", "pointwise_kernel", "depthwise_kernel"}) {
    const std::string key = prefix + name;
    if (!tensors.contains(key)) continue;
    std::vector<Index> shape = tensors.shape(key);
    if (shape.size() < 2 || shape.size() > highest_rank) continue;
    WeightLayer layer;
    layer.prefix = prefix;
    layer.weight = key;
    layer.bias = prefix + "bias";
    if (name != "weight") layer.order = WeightLayer::Order::out_last;
    layer.is_separable = name == "pointwise_kernel";
    if (name == "depthwise_kernel" && shape.size() > 2) {
      // taps x channels x multiplier: every output is made of one input
      const Index channels = shape[shape.size() - 2] * shape.back();
      shape[shape.size() - 2] = 1;
      shape.back() = channels;
    }
    layer.set_shape(shape);
    if (layer.out > 0 && layer.in > 0 && layer.taps > 0) return layer;
  }
  return std::nullopt;
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_WEIGHT_LAYER_HPP
