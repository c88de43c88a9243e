// SPDX-License-Identifier: MIT
#include "batchnorm/io/onnx_constant.hpp"

#include <cstdint>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/onnx_models.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
using Catch::Matchers::Contains;

namespace {

detail::OnnxConstant find(ModelMaker& maker, const std::string& name) {
  const detail::OnnxScope scope(maker.graph(), nullptr, "", 15);
  return detail::find_onnx_constant(maker.model, scope, name);
}

std::vector<double> values(const detail::OnnxConstant& constant) {
  INFO(constant.fault);
  CHECK(constant.found());
  if (!constant.found()) return {};
  Tensors tensors;
  tensors.set("t", constant.tensor);
  return tensors.values<double>("t");
}

/// A ConstantOfShape `filled` whose shape is the initialiser `shape`.
onnx::NodeProto& add_filled(ModelMaker& maker, const Extents& shape) {
  onnx::TensorProto& tensor = *maker.graph().add_initializer();
  tensor.set_name("shape");
  tensor.set_data_type(onnx::TensorProto::INT64);
  tensor.add_dims(static_cast<std::int64_t>(shape.size()));
  for (const auto extent : shape) tensor.add_int64_data(extent);
  return maker.node("ConstantOfShape", "fill", {"shape"}, {"filled"});
}

}  // namespace

TEST_CASE("an initialiser is a constant, and one that is an input too says so") {
  ModelMaker maker;
  maker.floats("w", {2}, {1, 2});
  CHECK(values(find(maker, "w")) == std::vector<double>{1, 2});
  CHECK_FALSE(find(maker, "w").is_graph_input);
  maker.input("w", {2});
  CHECK(values(find(maker, "w")) == std::vector<double>{1, 2});
  CHECK(find(maker, "w").is_graph_input);
}

TEST_CASE("a Constant holds a tensor, a number or several") {
  ModelMaker maker;
  set_floats(*add_attribute(maker.node("Constant", "c", {}, {"t"}), "value").mutable_t(), {2},
             {3, 4});
  set_float(maker.node("Constant", "c", {}, {"f"}), "value_float", 5);
  onnx::AttributeProto& many =
      add_attribute(maker.node("Constant", "c", {}, {"fs"}), "value_floats");
  many.add_floats(6), many.add_floats(7);
  CHECK(values(find(maker, "t")) == std::vector<double>{3, 4});
  CHECK(values(find(maker, "f")) == std::vector<double>{5});
  CHECK(find(maker, "f").tensor.shape.empty());
  CHECK(values(find(maker, "fs")) == std::vector<double>{6, 7});
  set_int(maker.node("Constant", "strange", {}, {"s"}), "value_int", 1);
  CHECK_THAT(find(maker, "s").fault, Contains("\"strange\"") && Contains("no dense tensor"));
}

TEST_CASE("ConstantOfShape repeats one element, zero where none is given") {
  ModelMaker maker;
  add_filled(maker, {3});
  CHECK(values(find(maker, "filled")) == std::vector<double>{0, 0, 0});
  CHECK(find(maker, "filled").tensor.dtype == "F32");
  ModelMaker ones;
  onnx::NodeProto& node = add_filled(ones, {2, 2});
  onnx::TensorProto& one = *add_attribute(node, "value").mutable_t();
  one.set_data_type(onnx::TensorProto::DOUBLE);
  one.add_dims(1);
  one.add_double_data(0.25);
  CHECK(values(find(ones, "filled")) == std::vector<double>{0.25, 0.25, 0.25, 0.25});
  CHECK(find(ones, "filled").tensor.shape == std::vector<Index>{2, 2});
}

TEST_CASE("ConstantOfShape does not make what is larger than 2^24 elements") {
  for (const Extents& shape : {Extents{1 << 25}, Extents{1 << 13, 1 << 13}, Extents{-1},
                               Extents{std::int64_t{1} << 62, 4}}) {
    ModelMaker maker;
    add_filled(maker, shape);
    CHECK_THAT(find(maker, "filled").fault, Contains("at most 16777216"));
  }
  ModelMaker computed;
  computed.node("ConstantOfShape", "fill", {"nowhere"}, {"filled"});
  CHECK_THAT(find(computed, "filled").fault, Contains("the shape of ConstantOfShape \"fill\""));
  ModelMaker of_floats;
  of_floats.floats("shape", {1}, {2});
  of_floats.node("ConstantOfShape", "fill", {"shape"}, {"filled"});
  CHECK_THAT(find(of_floats, "filled").fault, Contains("a shape of F32 [1]"));
}

TEST_CASE("Identity nodes are looked through, and no circle of them") {
  ModelMaker maker;
  maker.floats("w", {1}, {8});
  maker.node("Identity", "", {"w"}, {"i"});
  maker.node("Identity", "", {"i"}, {"k"});
  const detail::OnnxConstant found = find(maker, "k");
  CHECK(values(found) == std::vector<double>{8});
  CHECK(found.name == "w");
  CHECK(found.chain == std::vector<std::string>{"k", "i", "w"});
  maker.node("Identity", "", {"q"}, {"p"});
  maker.node("Identity", "", {"p"}, {"q"});
  CHECK_THAT(find(maker, "q").fault, Contains("more than 64 nodes"));
}

TEST_CASE("what is no constant says where it comes from") {
  ModelMaker maker;
  maker.input("x", {2});
  maker.node("QuantizeLinear", "quant", {"x"}, {"q"});
  maker.graph().add_sparse_initializer()->mutable_values()->set_name("sparse");
  CHECK_THAT(find(maker, "x").fault, Contains("graph input \"x\""));
  CHECK_THAT(find(maker, "q").fault, Contains("computed by QuantizeLinear \"quant\""));
  CHECK_THAT(find(maker, "sparse").fault, Contains("sparse"));
  CHECK_THAT(find(maker, "nothing").fault, Contains("nothing makes \"nothing\""));
  CHECK_THAT(find(maker, "").fault, Contains("left out"));
}

TEST_CASE("a graph inside another one sees its constants, and a function its arguments") {
  ModelMaker maker;
  maker.floats("w", {1}, {8});
  onnx::GraphProto branch;
  const detail::OnnxScope outer(maker.graph(), nullptr, "", 15);
  const detail::OnnxScope inner(branch, &outer, "if/", 15);
  CHECK(values(detail::find_onnx_constant(maker.model, inner, "w")) == std::vector<double>{8});

  onnx::FunctionProto function;
  function.add_input("first");
  function.add_input("second");
  function.add_input("third");
  onnx::NodeProto& call = maker.node("own", "call", {"x", "w"}, {"y"});
  const detail::OnnxScope body(function, outer, call, "call/");
  CHECK(values(detail::find_onnx_constant(maker.model, body, "second")) == std::vector<double>{8});
  CHECK_THAT(detail::find_onnx_constant(maker.model, body, "third").fault, Contains("left out"));
  CHECK_THAT(detail::find_onnx_constant(maker.model, body, "w").fault, Contains("nothing makes"));
}

TEST_CASE("a constant knows in which graph it lies") {
  ModelMaker maker;
  maker.floats("w", {2}, {1, 2});
  onnx::GraphProto inner;
  onnx::TensorProto& tensor = *inner.add_initializer();
  tensor.set_name("own");
  set_floats(tensor, {1}, {3});
  const detail::OnnxScope outside(maker.graph(), nullptr, "", 15);
  const detail::OnnxScope inside(inner, &outside, "", 15);
  CHECK(detail::find_onnx_constant(maker.model, inside, "w").scope == &outside);
  CHECK(detail::find_onnx_constant(maker.model, inside, "own").scope == &inside);
}
