// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_ONNX_LAYER_HPP
#define BATCHNORM_IO_ONNX_LAYER_HPP

#include <onnx/onnx_pb.h>

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/fold/weights.hpp"
#include "batchnorm/io/dtype.hpp"
#include "batchnorm/io/onnx_constant.hpp"
#include "batchnorm/io/onnx_graph.hpp"
#include "batchnorm/io/onnx_model.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/version.hpp"

// A node with weights that a norm can be folded into: Conv, ConvTranspose, Gemm, MatMul.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

inline std::string onnx_words(const onnx::NodeProto& node) {
  return text(in_line(node.op_type()), " ", in_quotes(onnx_label(node)));
}

/// A layer of a graph, or why a node is none. Points into the model.
struct OnnxWeightLayer {
  const onnx::NodeProto* node = nullptr;
  LayerKind kind = LayerKind::linear;
  WeightSizes sizes{1, 1, 1, 1};
  WeightStrides strides{0, 0, 0, 0};
  OnnxConstant weights;
  OnnxConstant bias;  ///< only where has_bias
  bool has_bias = false;
  bool takes_bias = true;  ///< a MatMul has none; an Add behind it has
  std::string fault;       ///< empty: a layer that can be folded into

  Index out_channels() const { return sizes.groups * sizes.out_per_group; }
  Index in_channels() const { return sizes.groups * sizes.in_per_group; }

  /// Its weights, as they lie in memory from `data` on.
  template <class T>
  WeightView<T> view(T* data) const {
    return WeightView<T>(data, kind, sizes, strides);
  }
};

inline bool is_weight_layer(const onnx::NodeProto& node) {
  const auto is = [&](const char* type) { return is_onnx_op(node, type); };
  return is("Conv") || is("ConvTranspose") || is("Gemm") || is("MatMul");
}

/// Looks at a node of one of those four types.
class OnnxLayerReader {
 public:
  OnnxLayerReader(const OnnxModel& model, const OnnxScope& scope, const onnx::NodeProto& node)
      : model_(model), scope_(scope) {
    layer_.node = &node;
  }

  OnnxWeightLayer read() {
    if (read_weights() && read_sizes()) read_bias();
    if (!layer_.fault.empty()) layer_.fault = onnx_words(*layer_.node) + ": " + layer_.fault;
    return std::move(layer_);
  }

 private:
  bool fail(std::string fault) {
    layer_.fault = std::move(fault);
    return false;
  }

  std::string input(int place) const { return onnx_value_at(layer_.node->input(), place); }

  bool read_weights() {
    layer_.weights = find_onnx_constant(model_, scope_, input(1));
    const OnnxConstant& weights = layer_.weights;
    if (!weights.found()) {
      const bool quantised = weights.fault.find("uant") != std::string::npos;
      return fail(text(quantised ? "its weights are quantised: " : "its weights are no constant: ",
                       weights.fault));
    }
    if (!is_real_dtype(weights.tensor.dtype)) {
      return fail("its weights are " + weights.tensor.dtype);
    }
    if (weights.scope != &scope_) return fail("its weights belong to another graph");
    for (const std::string& name : weights.chain) {
      if (scope_.is_output(name))
        return fail(text("its weights ", in_quotes(name), " are an output"));
      if (scope_.users(name).size() > 1) {
        return fail(text("its weights ", in_quotes(name), " are used ", scope_.users(name).size(),
                         " times"));
      }
    }
    return true;
  }

  bool read_sizes() {
    const std::vector<Index>& shape = layer_.weights.tensor.shape;
    const std::string& type = layer_.node->op_type();
    const bool convolution = type == "Conv" || type == "ConvTranspose";
    const bool empty = std::find(shape.begin(), shape.end(), 0) != shape.end();
    if (empty || (convolution ? shape.size() < 3 : shape.size() != 2)) {
      return fail("its weights have the shape " + shape_text(shape));
    }
    return convolution ? read_convolution(shape, type == "Conv") : read_linear(shape);
  }

  bool read_convolution(const std::vector<Index>& shape, bool forward) {
    const Index groups = onnx_int(*layer_.node, "group", 1);
    Index taps = 1;
    for (std::size_t axis = 2; axis < shape.size(); ++axis) taps *= shape[axis];
    if (groups < 1 || shape[0] % groups != 0) return fail(text("its number of groups is ", groups));
    if (forward) {
      layer_.kind = LayerKind::convolution;
      layer_.sizes = {groups, shape[0] / groups, shape[1], taps};
      layer_.strides = {shape[0] / groups * shape[1] * taps, shape[1] * taps, taps, 1};
    } else {
      layer_.kind = LayerKind::transposed_convolution;
      layer_.sizes = {groups, shape[1], shape[0] / groups, taps};
      layer_.strides = {shape[0] / groups * shape[1] * taps, taps, shape[1] * taps, 1};
    }
    return true;
  }

  bool read_linear(const std::vector<Index>& shape) {
    const bool gemm = layer_.node->op_type() == "Gemm";
    const bool rows_are_outputs = gemm && onnx_int(*layer_.node, "transB", 0) != 0;
    layer_.takes_bias = gemm;
    layer_.sizes = {1, shape[rows_are_outputs ? 0 : 1], shape[rows_are_outputs ? 1 : 0], 1};
    layer_.strides =
        rows_are_outputs ? WeightStrides{0, shape[1], 1, 0} : WeightStrides{0, 1, shape[1], 0};
    if (!gemm) return true;
    for (const char* name : {"alpha", "beta"}) {
      const onnx::AttributeProto* factor = onnx_attribute(*layer_.node, name);
      if (factor == nullptr || (factor->f() >= 1 && factor->f() <= 1)) continue;
      return fail(text("its ", name, " is ", factor->f(), ", and not 1"));
    }
    return true;
  }

  void read_bias() {
    const std::string name = input(2);
    if (!layer_.takes_bias || name.empty()) return;
    layer_.has_bias = true;
    layer_.bias = find_onnx_constant(model_, scope_, name);
    if (!layer_.bias.found()) {
      fail("its bias is no constant: " + layer_.bias.fault);
      return;
    }
    const Tensor& bias = layer_.bias.tensor;
    const bool row =
        bias.shape.size() == 2 && bias.shape[0] == 1 && layer_.kind == LayerKind::linear;
    const bool fits = (bias.shape.size() == 1 || row) && bias.shape.back() == layer_.out_channels();
    if (!fits || bias.dtype != layer_.weights.tensor.dtype) {
      fail(text("its bias is ", bias.dtype, " ", shape_text(bias.shape), " for ",
                layer_.out_channels(), " channels of ", layer_.weights.tensor.dtype));
    }
  }

  const OnnxModel& model_;
  const OnnxScope& scope_;
  OnnxWeightLayer layer_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_ONNX_LAYER_HPP
