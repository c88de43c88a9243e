// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_FOLD_WEIGHTS_HPP
#define BATCHNORM_FOLD_WEIGHTS_HPP

#include <Eigen/Core>
#include <type_traits>
#include <utility>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/rounding.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/eigen.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// What a layer does with its weights w, bias b and input x, for an output channel o and the input
/// channels i of its group.
enum class LayerKind {
  linear,                 ///< y[o] = b[o] + sum_i w[o,i] x[i]
  convolution,            ///< y[o,p] = b[o] + sum_ik w[o,i,k] x[i,q], where q = p stride + k ...
  transposed_convolution  ///< the same sum, where p = q stride + k ... (fold/geometry.hpp)
};

/// Counts of a weight tensor. A tap is one place of a kernel, whatever its number of axes: a kernel
/// of 3 x 3 has 9 taps.
struct WeightSizes {
  Index groups;         ///< number of groups; 1 where every output sees every input
  Index out_per_group;  ///< output channels of a group
  Index in_per_group;   ///< input channels of a group
  Index taps;           ///< number of places of the kernel
};

/// Steps in memory, in elements, along the same four.
struct WeightStrides {
  Index group;  ///< elements from one group to the next
  Index out;    ///< elements from one output channel to the next
  Index in;     ///< elements from one input channel to the next
  Index tap;    ///< elements from one tap to the next
};

/// The weights of a linear or convolutional layer as a strided (group, output channel, input
/// channel, tap) array. Every order that frameworks store weights in is this view with other
/// strides, so that the folds know none of them. Output channel o of group g is channel
/// g out_per_group + o of the layer, and so for input channels.
///
/// Does not own its memory, which must outlive it. Made by the functions below; the constructor is
/// there for orders that none of them makes. Shapes: groups x output channels of a group x input
/// channels of a group x taps. Cost: constant, but for each. Errors: none, unless a maker says so.
/// Thread safety: immutable; the weights are as safe as the memory that they lie in.
/// @tparam T  float, double, Eigen::half or Eigen::bfloat16
template <class T>
class WeightView {
  static_assert(std::is_same<T, float>::value || std::is_same<T, double>::value ||
                    detail::is_narrow_float<T>(),
                "batchnorm: weights are folded in place, and are float, double, half or bfloat16");

 public:
  using Scalar = T;  ///< of the weights

  /// From the first weight at `data`, the kind of the layer, sizes and strides.
  /// @throws std::invalid_argument when a count is not positive, there are no data, or a stride of
  ///         0 would scale one element twice
  WeightView(T* data, LayerKind kind, const WeightSizes& sizes, const WeightStrides& strides)
      : data_(data), kind_(kind), sizes_(sizes), strides_(strides) {
    const Part parts[] = {{"groups", sizes.groups, strides.group},
                          {"output channels per group", sizes.out_per_group, strides.out},
                          {"input channels per group", sizes.in_per_group, strides.in},
                          {"taps", sizes.taps, strides.tap}};
    for (const Part& part : parts) check_count(part);
    for (const Part& part : parts) check_stride(part);
    if (data == nullptr) {
      detail::fail_argument("WeightView", "data of a weight tensor", "a pointer to them",
                            "a null pointer");
    }
  }

  T* data() const { return data_; }                          ///< the first weight
  const WeightStrides& strides() const { return strides_; }  ///< where the others lie
  LayerKind kind() const { return kind_; }                   ///< what they are used for
  const WeightSizes& sizes() const { return sizes_; }        ///< how many there are
  /// Output channels of all groups.
  Index out_channels() const { return sizes_.groups * sizes_.out_per_group; }
  /// Input channels of all groups.
  Index in_channels() const { return sizes_.groups * sizes_.in_per_group; }
  /// Number of taps of a kernel.
  Index taps() const { return sizes_.taps; }
  /// Number of weights that one output is the sum of.
  Index terms() const { return sizes_.in_per_group * sizes_.taps; }

  /// Calls body(weight, output channel, input channel, tap) for every weight; channels are counted
  /// through all groups. The one loop over weights.
  template <class Body>
  void each(const Body& body) const {
    for (Index out = 0; out < out_channels(); ++out) {
      const Index group = out / sizes_.out_per_group;
      const Index first = group * sizes_.in_per_group;
      T* row = data_ + group * strides_.group + out % sizes_.out_per_group * strides_.out;
      for (Index in = 0; in < sizes_.in_per_group; ++in) {
        for (Index tap = 0; tap < sizes_.taps; ++tap) {
          body(row[in * strides_.in + tap * strides_.tap], out, first + in, tap);
        }
      }
    }
  }

 private:
  struct Part {
    const char* name;
    Index count, stride;
  };

  static void check_count(const Part& part) {
    if (part.count >= 1) return;
    detail::fail_argument("WeightView", detail::text("number of ", part.name), "at least 1",
                          detail::text(part.count));
  }

  static void check_stride(const Part& part) {
    if (part.count == 1 || part.stride != 0) return;
    detail::fail_argument("WeightView",
                          detail::text("stride of ", part.name, " must tell them apart"),
                          "any number but 0", "0");
  }

  T* data_;
  LayerKind kind_;
  WeightSizes sizes_;
  WeightStrides strides_;
};

namespace detail {

/// Counts of a grouped layer, checked before they are divided.
inline WeightSizes grouped_sizes(const char* function, Index out_channels, Index in_channels,
                                 Index taps, Index groups) {
  const auto divided = [&](const char* name, Index channels) {
    if (groups < 1 || channels < 1 || channels % groups != 0) {
      fail_argument(function, text(name, " channels are shared out among the groups"),
                    "a multiple of the number of groups, both at least 1",
                    text(channels, " channels and ", groups, " groups"));
    }
    return channels / groups;
  };
  return {groups, divided("output", out_channels), divided("input", in_channels), taps};
}

}  // namespace detail

/// The weights of a linear layer y = W x + b, a matrix of out x in in either storage order:
/// PyTorch's `weight`, and the transpose of a Keras or Flax `kernel` (pass kernel.transpose()).
///
/// Takes anything of Eigen's that has memory: Matrix, Map, Ref, Block, transpose(). A temporary
/// matrix and an expression without memory are refused when compiled. Shapes: `weight` is outputs x
/// inputs. Cost: constant.
/// @throws std::invalid_argument for a matrix without outputs or inputs
template <class Matrix>
auto linear(Matrix&& weight) {
  const auto view = examples_in_columns(std::forward<Matrix>(weight));
  using T = typename decltype(view)::Element;
  static_assert(!std::is_const<T>::value,
                "batchnorm: weights are folded in place, and these are read-only");
  if constexpr (!std::is_const<T>::value) {
    return WeightView<T>(view.data(), LayerKind::linear, {1, view.channels(), view.samples(), 1},
                         {0, view.channel_stride(), view.sample_stride(), 0});
  }
}

namespace detail {

/// The taps of such a view are the positions that were flattened: all of them are seen by each
/// output, as those of a kernel that is as large as its input.
template <class T>
WeightView<T> flattened(const char* function, const WeightView<T>& linear, Index channels,
                        bool channels_first) {
  const WeightSizes sizes = linear.sizes();
  if (linear.kind() != LayerKind::linear || sizes.taps != 1) {
    fail_argument(function, "layer behind the flatten", "linear(...)", "another one");
  }
  if (channels < 1 || sizes.in_per_group % channels != 0) {
    fail_argument(function, "channels must divide the inputs of the layer",
                  text("a divisor of ", sizes.in_per_group), text(channels));
  }
  const Index positions = sizes.in_per_group / channels;
  const WeightStrides strides = linear.strides();
  return {linear.data(),
          LayerKind::linear,
          {1, sizes.out_per_group, channels, positions},
          {strides.group, strides.out, channels_first ? positions * strides.in : strides.in,
           channels_first ? strides.in : channels * strides.in}};
}

}  // namespace detail

/// A linear layer behind a flatten of channels x positions, channel by channel as PyTorch flattens
/// NCHW: with P positions, input c P + p of the layer is position p of channel c. A norm in front
/// of the flatten then has as many channels as this view. Shapes: outputs x channels P. Cost:
/// constant.
/// @param linear  made by linear(...)
/// @throws std::invalid_argument when the channels do not divide the inputs of the layer
template <class T>
WeightView<T> flattened_channels_first(const WeightView<T>& linear, Index channels) {
  return detail::flattened("flattened_channels_first", linear, channels, true);
}

/// The same behind a flatten of positions x channels, position by position as Keras and Flax
/// flatten NHWC: with C channels, input p C + c of the linear layer is position p of channel c.
/// Shapes: outputs x P channels. Cost: constant.
/// @throws as flattened_channels_first
template <class T>
WeightView<T> flattened_channels_last(const WeightView<T>& linear, Index channels) {
  return detail::flattened("flattened_channels_last", linear, channels, false);
}

/// Weights of a convolution with any number of spatial axes in PyTorch's and ONNX' order, dense:
/// out_channels x (in_channels / groups) x taps. A depthwise convolution has as many groups as
/// input channels.
/// @param data         the first weight of out_channels x (in_channels / groups) x taps of them
/// @param in_channels  of the layer, all groups together
/// Shapes: as said. Cost: constant.
/// @throws std::invalid_argument when the groups do not divide the channels, or a count is not
///         positive
template <class T>
WeightView<T> convolution_oihw(T* data, Index out_channels, Index in_channels, Index taps,
                               Index groups = 1) {
  const WeightSizes sizes =
      detail::grouped_sizes("convolution_oihw", out_channels, in_channels, taps, groups);
  const Index out = sizes.in_per_group * taps;
  return {data, LayerKind::convolution, sizes, {sizes.out_per_group * out, out, taps, 1}};
}

/// The same in the order of Keras, Flax and TensorFlow. Shapes: `data` is taps x (in_channels /
/// groups) x out_channels. Cost: constant.
/// @throws as convolution_oihw
template <class T>
WeightView<T> convolution_hwio(T* data, Index out_channels, Index in_channels, Index taps,
                               Index groups = 1) {
  const WeightSizes sizes =
      detail::grouped_sizes("convolution_hwio", out_channels, in_channels, taps, groups);
  const Index tap = sizes.in_per_group * out_channels;
  return {data, LayerKind::convolution, sizes, {sizes.out_per_group, 1, out_channels, tap}};
}

/// Weights of a Keras DepthwiseConv; output channel c multiplier + m is made of input channel c
/// alone. Shapes: `data` is taps x channels x multiplier. Cost: constant.
/// @throws std::invalid_argument when a count is not positive
template <class T>
WeightView<T> depthwise_hwim(T* data, Index channels, Index multiplier, Index taps) {
  return {data,
          LayerKind::convolution,
          {channels, multiplier, 1, taps},
          {multiplier, 1, 1, channels * multiplier}};
}

/// Weights of a transposed convolution in PyTorch's and ONNX' order, dense. Shapes: `data` is
/// in_channels x (out_channels / groups) x taps. Cost: constant.
/// @throws as convolution_oihw
template <class T>
WeightView<T> transposed_iohw(T* data, Index out_channels, Index in_channels, Index taps,
                              Index groups = 1) {
  const WeightSizes sizes =
      detail::grouped_sizes("transposed_iohw", out_channels, in_channels, taps, groups);
  const Index in = sizes.out_per_group * taps;
  return {data, LayerKind::transposed_convolution, sizes, {sizes.in_per_group * in, taps, in, 1}};
}

/// Weights of a Keras ConvTranspose. Shapes: `data` is taps x out_channels x in_channels. Cost:
/// constant.
/// @throws std::invalid_argument when a count is not positive
template <class T>
WeightView<T> transposed_hwoi(T* data, Index out_channels, Index in_channels, Index taps) {
  return {data,
          LayerKind::transposed_convolution,
          {1, out_channels, in_channels, taps},
          {out_channels * in_channels * taps, in_channels, 1, out_channels * in_channels}};
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_FOLD_WEIGHTS_HPP
