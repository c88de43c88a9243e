// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_ONNX_CONSTANT_HPP
#define BATCHNORM_IO_ONNX_CONSTANT_HPP

#include <onnx/onnx_pb.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/io/dtype.hpp"
#include "batchnorm/io/file_bytes.hpp"
#include "batchnorm/io/onnx_graph.hpp"
#include "batchnorm/io/onnx_model.hpp"
#include "batchnorm/io/onnx_tensor.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/version.hpp"

// Which numbers a value of a model is, when it always is the same: an initialiser, or what the
// nodes Constant, ConstantOfShape and Identity make of one.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

struct OnnxConstant {
  Tensor tensor;
  std::string fault;  ///< why there are no numbers; empty when there are
  std::string name;   ///< of the value that holds the numbers: behind all Identity nodes
  /// Where they lie; nullptr for a ConstantOfShape and for the short forms of a Constant.
  const onnx::TensorProto* proto = nullptr;
  const OnnxScope* scope = nullptr;  ///< of proto
  bool is_graph_input = false;       ///< an initialiser that the caller may replace
  /// Every value between the one that was asked for and `name`, both included.
  std::vector<std::string> chain;

  bool found() const { return fault.empty(); }
};

class OnnxConstantFinder {
 public:
  explicit OnnxConstantFinder(const OnnxModel& model) : model_(model) {}

  OnnxConstant find(const OnnxScope& scope, const std::string& name) {
    OnnxConstant constant;
    search(&scope, name, constant);
    if (!constant.found()) constant.tensor = Tensor();
    return constant;
  }

 private:
  static constexpr int most_steps = 64;
  /// A few bytes can ask for any number of equal elements.
  static constexpr std::uint64_t most_equal_elements = std::uint64_t{1} << 24;

  void search(const OnnxScope* scope, std::string name, OnnxConstant& constant) {
    for (; steps_ < most_steps; ++steps_) {
      if (name.empty()) return fail(constant, "it is left out");
      constant.name = name;
      constant.scope = scope;
      constant.chain.push_back(name);
      if (const onnx::TensorProto* proto = scope->initialiser(name)) {
        constant.is_graph_input = scope->is_input(name);
        return read(*proto, constant);
      }
      if (scope->is_sparse(name)) return fail(constant, "it is a sparse initialiser");
      if (const onnx::NodeProto* node = scope->maker(name)) {
        if (!is_onnx_op(*node, "Identity") || node->input_size() != 1) {
          return from_node(*scope, *node, constant);
        }
        name = node->input(0);
      } else if (scope->is_input(name) && scope->call() != nullptr) {
        const int place = static_cast<int>(scope->input_place(name));
        name = onnx_value_at(scope->call()->input(), place);
        scope = scope->caller();
      } else if (scope->is_input(name)) {
        return fail(constant, text("it is the graph input ", in_quotes(name), ", without a value"));
      } else if (scope->outer() != nullptr) {
        scope = scope->outer();
      } else {
        return fail(constant, text("nothing makes ", in_quotes(name)));
      }
    }
    fail(constant, text("it comes through more than ", most_steps, " nodes"));
  }

  static void fail(OnnxConstant& constant, std::string fault) { constant.fault = std::move(fault); }

  void read(const onnx::TensorProto& proto, OnnxConstant& constant) {
    constant.proto = &proto;
    OnnxTensorReader reader(proto, model_);
    if (!reader.read(constant.tensor)) fail(constant, "it has " + reader.fault());
  }

  void from_node(const OnnxScope& scope, const onnx::NodeProto& node, OnnxConstant& constant) {
    if (is_onnx_op(node, "ConstantOfShape")) return fill(scope, node, constant);
    if (is_onnx_op(node, "Constant")) return from_constant(node, constant);
    fail(constant,
         text("it is computed by ", in_line(node.op_type()), " ", in_quotes(onnx_label(node))));
  }

  void from_constant(const onnx::NodeProto& node, OnnxConstant& constant) {
    if (const onnx::AttributeProto* value = onnx_attribute(node, "value")) {
      if (value->has_t()) return read(value->t(), constant);
    }
    if (const onnx::AttributeProto* value = onnx_attribute(node, "value_float")) {
      constant.tensor = of_floats({}, {value->f()});
    } else if (const onnx::AttributeProto* values = onnx_attribute(node, "value_floats")) {
      constant.tensor = of_floats({static_cast<Index>(values->floats_size())},
                                  {values->floats().begin(), values->floats().end()});
    } else {
      fail(constant, text("it is made by Constant ", in_quotes(onnx_label(node)),
                          ", which has no dense tensor"));
    }
  }

  static Tensor of_floats(std::vector<Index> shape, const std::vector<float>& numbers) {
    Tensors tensors;
    tensors.set("", shape, numbers);
    return tensors.tensor("");
  }

  /// As many equal elements as a constant shape says; float zeros where no value is given.
  void fill(const OnnxScope& scope, const onnx::NodeProto& node, OnnxConstant& constant) {
    const std::string label = in_quotes(onnx_label(node));
    OnnxConstant shape;
    ++steps_;
    search(&scope, onnx_value_at(node.input(), 0), shape);
    if (!shape.found()) {
      return fail(constant, text("the shape of ConstantOfShape ", label, ": ", shape.fault));
    }
    Tensors shapes;
    shapes.set("shape", shape.tensor);
    if (shape.tensor.dtype != "I64" || shape.tensor.shape.size() > 1) {
      return fail(constant, text("ConstantOfShape ", label, " has a shape of ", shape.tensor.dtype,
                                 " ", shape_text(shape.tensor.shape)));
    }
    Tensor element = of_floats({1}, {0.0f});
    if (const onnx::AttributeProto* value = onnx_attribute(node, "value")) {
      OnnxTensorReader reader(value->t(), model_);
      if (!reader.read(element)) return fail(constant, "it has " + reader.fault());
    }
    repeat(element, shapes.values<Index>("shape"), constant);
  }

  static void repeat(const Tensor& element, const std::vector<Index>& shape,
                     OnnxConstant& constant) {
    bool valid = element.size > 0 && element.size <= 8;
    std::uint64_t count = 1;
    for (const Index extent : shape) {
      valid = valid && extent >= 0 && count <= most_equal_elements;
      if (valid) valid = extent <= static_cast<Index>(most_equal_elements);
      if (valid) count *= static_cast<std::uint64_t>(extent);
    }
    if (!valid || count > most_equal_elements) {
      return fail(constant, text("it has ", shape_text(shape), " equal elements; at most ",
                                 most_equal_elements, " are made"));
    }
    const std::size_t size = static_cast<std::size_t>(count) * element.size;
    const std::shared_ptr<unsigned char> bytes = allocate_bytes(size);
    for (std::size_t place = 0; place < size; ++place) {
      bytes.get()[place] = element.bytes.get()[place % element.size];
    }
    constant.tensor = Tensor{element.dtype, shape, bytes, size};
  }

  const OnnxModel& model_;
  int steps_ = 0;
};

inline OnnxConstant find_onnx_constant(const OnnxModel& model, const OnnxScope& scope,
                                       const std::string& name) {
  return OnnxConstantFinder(model).find(scope, name);
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_ONNX_CONSTANT_HPP
