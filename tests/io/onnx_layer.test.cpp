// SPDX-License-Identifier: MIT
#include "batchnorm/io/onnx_layer.hpp"

#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/onnx_models.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
using Catch::Matchers::Contains;

namespace {

/// Reads the first node; what it returns points into `maker`.
detail::OnnxWeightLayer read(ModelMaker& maker) {
  const detail::OnnxScope scope(maker.graph(), nullptr, "", 15);
  return detail::OnnxLayerReader(maker.model, scope, maker.graph().node(0)).read();
}

/// The weight of an output channel, an input channel and a tap, when memory holds 0, 1, 2, ...
float weight(const detail::OnnxWeightLayer& layer, Index out, Index in, Index tap) {
  std::vector<float> memory(static_cast<std::size_t>(layer.weights.tensor.size / 4));
  for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<float>(i);
  float found = -1;
  layer.view(memory.data()).each([&](float& value, Index o, Index i, Index t) {
    if (o == out && i == in && t == tap) found = value;
  });
  return found;
}

std::vector<float> ones(std::size_t count) {
  return std::vector<float>(count, 1.0f);
}

}  // namespace

TEST_CASE("weights of a convolution are outputs x inputs of a group x taps") {
  ModelMaker maker;
  set_int(maker.node("Conv", "conv", {"x", "w", "b"}, {"y"}), "group", 2);
  maker.floats("w", {4, 3, 2}, ones(24));
  maker.floats("b", {4}, ones(4));
  const detail::OnnxWeightLayer layer = read(maker);
  CHECK(layer.fault.empty());
  CHECK(layer.kind == LayerKind::convolution);
  CHECK(layer.out_channels() == 4);
  CHECK(layer.in_channels() == 6);
  CHECK(layer.has_bias);
  CHECK(weight(layer, 3, 4, 1) == 3 * 6 + 1 * 2 + 1);  // input 4 is number 1 of group 1
}

TEST_CASE("weights of a transposed convolution are inputs x outputs of a group x taps") {
  ModelMaker maker;
  set_int(maker.node("ConvTranspose", "up", {"x", "w"}, {"y"}), "group", 2);
  maker.floats("w", {4, 3, 2}, ones(24));
  const detail::OnnxWeightLayer layer = read(maker);
  CHECK(layer.fault.empty());
  CHECK(layer.kind == LayerKind::transposed_convolution);
  CHECK(layer.out_channels() == 6);
  CHECK(layer.in_channels() == 4);
  CHECK_FALSE(layer.has_bias);
  CHECK(weight(layer, 4, 3, 1) == 3 * 6 + 1 * 2 + 1);  // output 4 is number 1 of group 1
}

TEST_CASE("weights of Gemm are turned by transB, those of MatMul never") {
  for (const bool turned : {false, true}) {
    ModelMaker maker;
    set_int(maker.node("Gemm", "fc", {"x", "w", "c"}, {"y"}), "transB", turned ? 1 : 0);
    maker.floats("w", turned ? Extents{2, 3} : Extents{3, 2}, ones(6));
    maker.floats("c", {1, 2}, ones(2));
    const detail::OnnxWeightLayer layer = read(maker);
    CHECK(layer.fault.empty());
    CHECK(layer.out_channels() == 2);
    CHECK(layer.in_channels() == 3);
    CHECK(weight(layer, 1, 2, 0) == (turned ? 1 * 3 + 2 : 2 * 2 + 1));
  }
  ModelMaker maker;
  maker.node("MatMul", "mm", {"x", "w"}, {"y"});
  maker.floats("w", {3, 2}, ones(6));
  CHECK(read(maker).out_channels() == 2);
  CHECK_FALSE(read(maker).takes_bias);
}

TEST_CASE("the type of a node is made safe to print, like its name") {
  onnx::NodeProto node;
  node.set_op_type("Conv\x1b[2J");
  node.set_name("a\x07");
  CHECK(detail::onnx_words(node) == "Conv\\x1b[2J \"a\\x07\"");
}

TEST_CASE("a layer that cannot be folded into says why, with its name") {
  const auto fault = [](const auto& change) {
    ModelMaker maker;
    maker.node("Gemm", "fc", {"x", "w", "c"}, {"y"});
    maker.floats("w", {3, 2}, ones(6));
    maker.floats("c", {2}, ones(2));
    change(maker);
    const std::string text = read(maker).fault;
    CHECK_THAT(text, Contains(maker.graph().node(0).op_type() + " \"fc\": "));
    return text;
  };
  CHECK_THAT(fault([](ModelMaker& m) { m.graph().mutable_node(0)->set_input(1, "x"); }),
             Contains("weights are no constant: nothing makes \"x\""));
  CHECK_THAT(fault([](ModelMaker& m) {
               m.node("DequantizeLinear", "dq", {"w8", "s"}, {"deq"});
               m.graph().mutable_node(0)->set_input(1, "deq");
             }),
             Contains("weights are quantised") && Contains("\"dq\""));
  CHECK_THAT(fault([](ModelMaker& m) { m.node("Neg", "neg", {"w"}, {"n"}); }),
             Contains("weights \"w\" are used 2 times"));
  CHECK_THAT(fault([](ModelMaker& m) { m.output("w", {3, 2}); }), Contains("are an output"));
  CHECK_THAT(fault([](ModelMaker& m) { set_float(*m.graph().mutable_node(0), "alpha", 0.5f); }),
             Contains("alpha is 0.5"));
  CHECK_THAT(fault([](ModelMaker& m) { set_float(*m.graph().mutable_node(0), "beta", 2); }),
             Contains("beta is 2"));
  CHECK_THAT(fault([](ModelMaker& m) { m.graph().mutable_node(0)->set_input(2, "x"); }),
             Contains("bias is no constant"));
  CHECK_THAT(fault([](ModelMaker& m) {
               m.graph().mutable_initializer(1)->set_dims(0, 1);
               m.graph().mutable_initializer(1)->mutable_float_data()->RemoveLast();
             }),
             Contains("bias is F32 [1] for 2 channels"));
  CHECK_THAT(fault([](ModelMaker& m) { m.graph().mutable_initializer(0)->add_dims(1); }),
             Contains("weights have the shape [3, 2, 1]"));
  CHECK_THAT(fault([](ModelMaker& m) {
               m.graph().mutable_node(0)->set_op_type("Conv");
               m.graph().mutable_initializer(0)->add_dims(1);
               set_int(*m.graph().mutable_node(0), "group", 2);
             }),
             Contains("number of groups is 2"));
  CHECK_THAT(fault([](ModelMaker& m) {
               auto& w = *m.graph().mutable_initializer(0);
               w.clear_float_data();
               w.set_data_type(onnx::TensorProto::INT8);
               for (int i = 0; i < 6; ++i) w.add_int32_data(i);
             }),
             Contains("weights are I8"));
}
