// SPDX-License-Identifier: MIT
// Small ONNX models, made in memory.
#ifndef BATCHNORM_TESTS_SUPPORT_ONNX_MODELS_HPP
#define BATCHNORM_TESTS_SUPPORT_ONNX_MODELS_HPP

#include <onnx/onnx_pb.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "batchnorm/io/onnx_model.hpp"

namespace batchnorm_test {

using Names = std::vector<std::string>;
using Extents = std::vector<std::int64_t>;

inline void set_floats(onnx::TensorProto& tensor, const Extents& shape,
                       const std::vector<float>& values) {
  tensor.set_data_type(onnx::TensorProto::FLOAT);
  for (const std::int64_t extent : shape) tensor.add_dims(extent);
  for (const float value : values) tensor.add_float_data(value);
}

inline onnx::AttributeProto& add_attribute(onnx::NodeProto& node, const std::string& name) {
  onnx::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  return attribute;
}

inline void set_float(onnx::NodeProto& node, const std::string& name, float value) {
  onnx::AttributeProto& attribute = add_attribute(node, name);
  attribute.set_type(onnx::AttributeProto::FLOAT);
  attribute.set_f(value);
}

inline void set_int(onnx::NodeProto& node, const std::string& name, std::int64_t value) {
  onnx::AttributeProto& attribute = add_attribute(node, name);
  attribute.set_type(onnx::AttributeProto::INT);
  attribute.set_i(value);
}

inline void set_ints(onnx::NodeProto& node, const std::string& name, const Extents& values) {
  onnx::AttributeProto& attribute = add_attribute(node, name);
  attribute.set_type(onnx::AttributeProto::INTS);
  for (const std::int64_t value : values) attribute.add_ints(value);
}

/// What a graph and a function have in common.
template <class Body>
onnx::NodeProto& add_node(Body& body, const std::string& type, const std::string& name,
                          const Names& inputs, const Names& outputs) {
  onnx::NodeProto& node = *body.add_node();
  node.set_op_type(type);
  node.set_name(name);
  for (const std::string& input : inputs) node.add_input(input);
  for (const std::string& output : outputs) node.add_output(output);
  return node;
}

/// A model under construction: the graph of `model`, with what every valid model has.
struct ModelMaker {
  batchnorm::OnnxModel model;

  explicit ModelMaker(std::int64_t opset = 15, std::int64_t ir_version = 8) {
    model.name = "made.onnx";
    model.proto.set_ir_version(ir_version);
    model.proto.add_opset_import()->set_version(opset);
    graph().set_name("made");
  }

  onnx::GraphProto& graph() { return *model.proto.mutable_graph(); }

  onnx::NodeProto& node(const std::string& type, const std::string& name, const Names& inputs,
                        const Names& outputs) {
    return add_node(graph(), type, name, inputs, outputs);
  }

  /// An extent of -1 is one that nobody knows.
  static void describe(onnx::ValueInfoProto& value, const std::string& name, const Extents& shape) {
    value.set_name(name);
    auto& type = *value.mutable_type()->mutable_tensor_type();
    type.set_elem_type(onnx::TensorProto::FLOAT);
    type.mutable_shape();
    for (const std::int64_t extent : shape) {
      auto& dimension = *type.mutable_shape()->add_dim();
      if (extent >= 0) dimension.set_dim_value(extent);
    }
  }
  void input(const std::string& name, const Extents& shape) {
    describe(*graph().add_input(), name, shape);
  }
  void output(const std::string& name, const Extents& shape) {
    describe(*graph().add_output(), name, shape);
  }

  onnx::TensorProto& floats(const std::string& name, const Extents& shape,
                            const std::vector<float>& values) {
    onnx::TensorProto& tensor = *graph().add_initializer();
    tensor.set_name(name);
    set_floats(tensor, shape, values);
    return tensor;
  }

  /// gamma 2, 3; beta 0.5, -1; mean 1, -2; variance 4, 0.25, as s, b, m, v.
  void two_channels() {
    floats("s", {2}, {2, 3});
    floats("b", {2}, {0.5f, -1});
    floats("m", {2}, {1, -2});
    floats("v", {2}, {4, 0.25f});
  }

  onnx::NodeProto& norm(const std::string& input = "x", const std::string& output = "y") {
    return node("BatchNormalization", "bn", {input, "s", "b", "m", "v"}, {output});
  }
};

/// x -> BatchNormalization bn -> y with two channels.
inline ModelMaker norm_alone(std::int64_t opset = 15) {
  ModelMaker maker(opset);
  maker.input("x", {-1, 2});
  maker.output("y", {-1, 2});
  maker.two_channels();
  maker.norm();
  return maker;
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_ONNX_MODELS_HPP
