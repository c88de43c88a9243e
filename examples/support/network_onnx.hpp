// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_NETWORK_ONNX_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_NETWORK_ONNX_HPP

// The network as an ONNX model: Gemm, BatchNormalization, Relu, twice, and Gemm. `images` has one
// image per row, 64 pixels from 0 to 1, and `logits` one row of ten numbers for each.

#include <stdexcept>
#include <string>

#include "support/network.hpp"

#ifdef BATCHNORM_EXAMPLES_WITH_ONNX
#include <batchnorm/io/onnx.hpp>
#endif

namespace example {

inline bool is_onnx_name(const std::string& path) {
  const std::string ending = ".onnx";
  return path.size() >= ending.size() &&
         path.compare(path.size() - ending.size(), ending.size(), ending) == 0;
}

#ifdef BATCHNORM_EXAMPLES_WITH_ONNX

inline void check_has_onnx(const std::string&) {}

/// A graph under construction, whose nodes stand one behind the other.
class OnnxChain {
 public:
  OnnxChain() {
    model_.proto.set_ir_version(8);
    model_.proto.add_opset_import()->set_version(15);
    model_.proto.mutable_graph()->set_name("digits");
    describe(*model_.proto.mutable_graph()->add_input(), "images", pixels);
    describe(*model_.proto.mutable_graph()->add_output(), "logits", classes);
  }

  void add(const std::string& name, const Dense& dense, const std::string& output) {
    onnx::NodeProto& node = add_node("Gemm", name, output);
    onnx::AttributeProto& turned = *node.add_attribute();
    turned.set_name("transB");
    turned.set_type(onnx::AttributeProto::INT);
    turned.set_i(1);
    node.add_input(add_numbers(name + ".weight", dense.weight));
    if (dense.bias.size() > 0) node.add_input(add_numbers(name + ".bias", dense.bias));
  }

  void add(const std::string& name, const HiddenLayer& layer) {
    add(name + ".dense", layer.dense, name + ".weighted");
    const auto& norm = layer.norm;
    batchnorm::add_batch_norm(model_, name + ".norm", last_, name + ".normalised", norm.state(),
                              norm.options());
    last_ = name + ".normalised";
    add_node("Relu", name + ".relu", name);
  }

  const batchnorm::OnnxModel& model() const { return model_; }

 private:
  static void describe(onnx::ValueInfoProto& value, const char* name, Eigen::Index columns) {
    value.set_name(name);
    auto& type = *value.mutable_type()->mutable_tensor_type();
    type.set_elem_type(onnx::TensorProto::FLOAT);
    type.mutable_shape()->add_dim()->set_dim_param("examples");
    type.mutable_shape()->add_dim()->set_dim_value(columns);
  }

  onnx::NodeProto& add_node(const char* type, const std::string& name, const std::string& output) {
    onnx::NodeProto& node = *model_.proto.mutable_graph()->add_node();
    node.set_op_type(type);
    node.set_name(name);
    node.add_input(last_);
    node.add_output(output);
    last_ = output;
    return node;
  }

  std::string add_numbers(const std::string& name, const Eigen::MatrixXf& numbers) {
    onnx::TensorProto& tensor = *model_.proto.mutable_graph()->add_initializer();
    tensor.set_name(name);
    tensor.set_data_type(onnx::TensorProto::FLOAT);
    tensor.add_dims(numbers.rows());
    if (numbers.cols() > 1) tensor.add_dims(numbers.cols());
    for (Eigen::Index row = 0; row < numbers.rows(); ++row) {
      for (Eigen::Index column = 0; column < numbers.cols(); ++column) {
        tensor.add_float_data(numbers(row, column));
      }
    }
    return name;
  }

  batchnorm::OnnxModel model_;
  std::string last_ = "images";
};

inline void save_network_onnx(const std::string& path, const Network& network) {
  OnnxChain chain;
  chain.add("first", network.first);
  chain.add("second", network.second);
  chain.add("last", network.last, "logits");
  batchnorm::write_onnx(path, chain.model());
}

#else

/// Said before the training, not behind it.
inline void check_has_onnx(const std::string& path) {
  if (!is_onnx_name(path)) return;
  throw std::runtime_error("cannot save " + path +
                           ": this program was built without ONNX (Debian: libonnx-dev)");
}

inline void save_network_onnx(const std::string& path, const Network&) {
  check_has_onnx(path);
}

#endif

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_NETWORK_ONNX_HPP
