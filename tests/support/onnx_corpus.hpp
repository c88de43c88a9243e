// SPDX-License-Identifier: MIT
// What the fuzz target of ONNX models starts from. The files in tests/fuzz/corpus/onnx are these
// bytes.
#ifndef BATCHNORM_TESTS_SUPPORT_ONNX_CORPUS_HPP
#define BATCHNORM_TESTS_SUPPORT_ONNX_CORPUS_HPP

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "support/onnx_models.hpp"

namespace batchnorm_test {

/// x -> layer -> h -> norm -> y, with weights w of that shape.
inline ModelMaker corpus_layer(const std::string& type, const Extents& shape, int rank) {
  ModelMaker maker(13);
  Extents extents = {-1, 2};
  while (static_cast<int>(extents.size()) < rank) extents.push_back(4);
  maker.input("x", extents);
  maker.output("y", extents);
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count *= extent;
  maker.floats("w", shape, std::vector<float>(static_cast<std::size_t>(count), 0.5f));
  maker.node(type, "layer", {"x", "w"}, {"h"});
  maker.two_channels();
  maker.norm("h", "y");
  return maker;
}

/// The norm in a branch and in a function, its statistics through Identity and ConstantOfShape.
inline ModelMaker corpus_inner() {
  ModelMaker maker = norm_alone(13);
  onnx::TensorProto& shape = *maker.graph().add_initializer();
  shape.set_name("shape");
  shape.set_data_type(onnx::TensorProto::INT64);
  shape.add_dims(1);
  shape.add_int64_data(2);
  maker.node("ConstantOfShape", "fill", {"shape"}, {"f"});
  maker.node("Identity", "same", {"f"}, {"i"});
  onnx::NodeProto& branch = maker.node("If", "if", {"c"}, {"e"});
  add_node(*add_attribute(branch, "then_branch").mutable_g(), "BatchNormalization", "inner",
           {"y", "s", "b", "i", "v"}, {"z"});
  onnx::FunctionProto& function = *maker.model.proto.add_functions();
  function.set_name("f");
  function.add_input("a");
  add_node(function, "BatchNormalization", "deep", {"a", "a", "a", "a", "a"}, {"r"});
  maker.node("f", "call", {"s"}, {"g"});
  return maker;
}

/// Name and bytes.
inline std::map<std::string, std::string> onnx_corpus() {
  ModelMaker training = norm_alone(9);
  training.graph().mutable_node(0)->add_output("mean");
  ModelMaker external = norm_alone();
  external.graph().mutable_initializer(0)->set_data_location(onnx::TensorProto::EXTERNAL);
  external.graph().mutable_initializer(0)->add_external_data()->set_key("location");
  external.graph().mutable_initializer(0)->mutable_external_data(0)->set_value("../w.bin");
  ModelMaker behind = norm_alone();
  behind.floats("w", {2, 2}, {1, 2, 3, 4});
  behind.graph().mutable_node(0)->set_output(0, "h");
  behind.node("Gemm", "fc", {"h", "w"}, {"y"});
  std::map<std::string, std::string> files;
  const auto add = [&](const char* name, const ModelMaker& maker) {
    files[name] = maker.model.proto.SerializeAsString();
  };
  add("norm-alone", norm_alone());
  add("norm-of-opset-6", norm_alone(6));
  add("norm-that-trains", training);
  add("external-data", external);
  add("gemm-behind", behind);
  add("conv", corpus_layer("Conv", {2, 2, 1}, 3));
  add("conv-transpose", corpus_layer("ConvTranspose", {2, 2, 1}, 3));
  add("gemm", corpus_layer("Gemm", {2, 2}, 2));
  add("matmul", corpus_layer("MatMul", {2, 2}, 2));
  add("inner", corpus_inner());
  files["cut"] = files["conv"].substr(0, files["conv"].size() / 2);
  files["empty"] = "";
  return files;
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_ONNX_CORPUS_HPP
