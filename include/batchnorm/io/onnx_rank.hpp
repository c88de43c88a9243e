// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_ONNX_RANK_HPP
#define BATCHNORM_IO_ONNX_RANK_HPP

#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/io/onnx_constant.hpp"
#include "batchnorm/io/onnx_graph.hpp"
#include "batchnorm/io/onnx_model.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/version.hpp"

// How many axes a value has, and where its channels are before it was transposed, squeezed or
// unsqueezed. BatchNormalization has its channels on axis 1, the layers that can take it elsewhere.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Whether a list of names has one.
inline bool is_one_of(const std::string& name, const std::vector<const char*>& names) {
  return std::any_of(names.begin(), names.end(), [&](const char* one) { return name == one; });
}

/// The axes of a Squeeze or Unsqueeze: an attribute before opset 13, an input from there on.
/// @return nothing where they are absent or computed
inline std::optional<std::vector<Index>> onnx_axes(const OnnxModel& model, const OnnxScope& scope,
                                                   const onnx::NodeProto& node) {
  if (const onnx::AttributeProto* axes = onnx_attribute(node, "axes")) {
    return std::vector<Index>(axes->ints().begin(), axes->ints().end());
  }
  if (node.input_size() < 2) return std::nullopt;
  const OnnxConstant axes = find_onnx_constant(model, scope, node.input(1));
  if (!axes.found() || axes.tensor.dtype != "I64") return std::nullopt;
  Tensors tensors;
  tensors.set("axes", axes.tensor);
  return tensors.values<Index>("axes");
}

/// Finds numbers of axes, from what the file says of shapes, or from the operators in front.
class OnnxRanks {
 public:
  OnnxRanks(const OnnxModel& model, const OnnxScope& scope) : model_(model), scope_(scope) {
    if (scope.graph() == nullptr) return;
    for (const auto& value : scope.graph()->input()) take(value);
    for (const auto& value : scope.graph()->value_info()) take(value);
    for (const auto& value : scope.graph()->output()) take(value);
  }

  /// -1 where nobody knows.
  Index of(const std::string& name) { return of(name, 0); }

 private:
  void take(const onnx::ValueInfoProto& value) {
    if (!value.type().has_tensor_type() || !value.type().tensor_type().has_shape()) return;
    known_[value.name()] = static_cast<Index>(value.type().tensor_type().shape().dim_size());
  }

  Index of(const std::string& name, int depth) {
    constexpr int deepest = 200;
    const auto entry = known_.find(name);
    if (entry != known_.end()) return entry->second;
    Index rank = -1;
    if (const onnx::TensorProto* tensor = scope_.initialiser(name)) {
      rank = static_cast<Index>(tensor->dims_size());
    } else if (const onnx::NodeProto* node = scope_.maker(name)) {
      if (depth < deepest) rank = made_by(*node, name, depth + 1);
    }
    return known_[name] = rank;
  }

  Index of_input(const onnx::NodeProto& node, int place, int depth) {
    return place < node.input_size() ? of(node.input(place), depth) : -1;
  }

  Index made_by(const onnx::NodeProto& node, const std::string& name, int depth) {
    static const std::vector<const char*> same = {
        "Relu",         "LeakyRelu",      "PRelu",
        "Sigmoid",      "Tanh",           "Elu",
        "Selu",         "Identity",       "Dropout",
        "Softmax",      "LogSoftmax",     "BatchNormalization",
        "Clip",         "Cast",           "Quant",
        "MaxPool",      "AveragePool",    "GlobalAveragePool",
        "Pad",          "Transpose",      "LRN",
        "Neg",          "QuantizeLinear", "DequantizeLinear",
        "BipolarQuant", "MultiThreshold", "Abs",
        "Softplus",     "HardSigmoid",    "HardSwish"};
    const std::string& type = node.op_type();
    if (node.output_size() == 0 || node.output(0) != name) return -1;
    if (is_one_of(type, same)) return of_input(node, 0, depth);
    if (is_one_of(type, {"Gemm", "Flatten"})) return 2;
    if (is_one_of(type, {"Conv", "ConvTranspose"})) return of_input(node, 1, depth);
    if (is_one_of(type, {"Add", "Sub", "Mul", "Div"})) return of_pair(node, depth);
    if (type == "MatMul" && of_input(node, 1, depth) == 2) return of_input(node, 0, depth);
    if (type == "Reshape") return of_reshape(node);
    if (type == "Constant" || type == "ConstantOfShape") return of_constant(name);
    if (!is_one_of(type, {"Squeeze", "Unsqueeze"})) return -1;
    const auto axes = onnx_axes(model_, scope_, node);
    const Index before = of_input(node, 0, depth);
    if (!axes || before < 0) return -1;
    const Index count = static_cast<Index>(axes->size());
    return type == "Squeeze" ? (std::max)(before - count, Index{0}) : before + count;
  }

  Index of_pair(const onnx::NodeProto& node, int depth) {
    const Index first = of_input(node, 0, depth);
    const Index second = of_input(node, 1, depth);
    return first < 0 || second < 0 ? -1 : (std::max)(first, second);
  }

  Index of_reshape(const onnx::NodeProto& node) const {
    if (const onnx::AttributeProto* shape = onnx_attribute(node, "shape")) {
      return static_cast<Index>(shape->ints_size());
    }
    const OnnxConstant shape = find_onnx_constant(model_, scope_, onnx_value_at(node.input(), 1));
    return shape.found() && shape.tensor.shape.size() == 1 ? shape.tensor.shape[0] : -1;
  }

  Index of_constant(const std::string& name) const {
    const OnnxConstant constant = find_onnx_constant(model_, scope_, name);
    return constant.found() ? static_cast<Index>(constant.tensor.shape.size()) : -1;
  }

  const OnnxModel& model_;
  const OnnxScope& scope_;
  std::map<std::string, Index> known_;
};

/// Where an axis of the output of a node was in its input.
struct OnnxAxisStep {
  bool known = false;
  Index axis = 0;   ///< in the input
  Index rank = -1;  ///< of the input; -1 where nobody knows
};

/// Counts axes from the front. @return false where an axis is out of range, or counted from behind
/// an end that nobody knows.
inline bool count_from_front(std::vector<Index>& axes, Index rank) {
  for (Index& axis : axes) {
    if (axis < 0 && rank >= 0) axis += rank;
    if (axis < 0 || (rank >= 0 && axis >= rank)) return false;
  }
  return true;
}

/// Follows an axis of the output of Identity, Transpose, Squeeze or Unsqueeze to the input; not
/// known where a node is none of them or moves the axis in a way that the file does not fix.
inline OnnxAxisStep axis_before(const OnnxModel& model, const OnnxScope& scope, OnnxRanks& ranks,
                                const onnx::NodeProto& node, Index axis) {
  OnnxAxisStep step;
  const bool moves = is_one_of(node.op_type(), {"Identity", "Transpose", "Squeeze", "Unsqueeze"});
  if (!moves || !is_onnx_domain(node.domain()) || node.input_size() == 0) return step;
  step.rank = ranks.of(node.input(0));
  if (node.op_type() == "Identity") return {true, axis, step.rank};
  if (node.op_type() == "Transpose") {
    const onnx::AttributeProto* perm = onnx_attribute(node, "perm");
    if (perm == nullptr) return {step.rank > axis, step.rank - 1 - axis, step.rank};
    const Index size = static_cast<Index>(perm->ints_size());
    if (axis >= size) return step;
    const Index before = static_cast<Index>(perm->ints(static_cast<int>(axis)));
    return {before >= 0 && before < size, before, size};
  }
  std::optional<std::vector<Index>> axes = onnx_axes(model, scope, node);
  if (!axes) return step;
  const auto is_named = [&](Index one) {
    return std::find(axes->begin(), axes->end(), one) != axes->end();
  };
  if (node.op_type() == "Unsqueeze") {
    const Index after = step.rank < 0 ? -1 : step.rank + static_cast<Index>(axes->size());
    if (!count_from_front(*axes, after) || is_named(axis)) return step;
    const auto in_front = [&](Index one) { return one < axis; };
    return {true, axis - std::count_if(axes->begin(), axes->end(), in_front), step.rank};
  }
  if (!count_from_front(*axes, step.rank)) return step;
  Index before = 0;
  for (Index left = axis;; ++before) {
    if (is_named(before)) continue;
    if (left-- == 0) break;
  }
  return {step.rank < 0 || before < step.rank, before, step.rank};
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_ONNX_RANK_HPP
