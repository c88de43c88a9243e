// SPDX-License-Identifier: MIT
#include "batchnorm/io/onnx_edit.hpp"

#include <string>
#include <vector>

#include "batchnorm/io/onnx_constant.hpp"
#include "batchnorm/io/onnx_graph.hpp"
#include "batchnorm/io/onnx_write.hpp"
#include "support/catch.hpp"
#include "support/onnx_models.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

/// x -> Neg -> a -> Abs -> b -> Relu -> y
ModelMaker chain() {
  ModelMaker maker;
  maker.input("x", {2});
  maker.output("y", {2});
  maker.node("Neg", "neg", {"x"}, {"a"});
  maker.node("Abs", "abs", {"a"}, {"b"});
  maker.node("Relu", "relu", {"b"}, {"y"});
  return maker;
}

std::string wiring(const OnnxModel& model) {
  CHECK_NOTHROW(check_onnx(model));
  std::string lines;
  for (const auto& node : model.proto.graph().node()) {
    lines += node.op_type() + "(";
    for (const auto& input : node.input()) lines += input + " ";
    lines.back() = ')';
    lines += "=" + node.output(0) + " ";
  }
  return lines;
}

Tensor tensor(const std::vector<float>& values) {
  Tensors tensors;
  tensors.set("t", {static_cast<Index>(values.size())}, values);
  return tensors.tensor("t");
}

}  // namespace

TEST_CASE("a node goes, and its output comes from the maker of its input") {
  ModelMaker maker = chain();
  ModelMaker::describe(*maker.graph().add_value_info(), "a", {2});
  ModelMaker::describe(*maker.graph().add_value_info(), "b", {2});
  detail::OnnxGraphEditor(maker.model).merge_into_maker("b", "a");
  CHECK(wiring(maker.model) == "Neg(x)=b Relu(b)=y ");
  REQUIRE(maker.graph().value_info_size() == 1);
  CHECK(maker.graph().value_info(0).name() == "b");
}

TEST_CASE("a node is passed by") {
  ModelMaker maker = chain();
  detail::OnnxGraphEditor(maker.model).bypass("b", "y", "a");
  CHECK(wiring(maker.model) == "Neg(x)=a Relu(a)=y ");
}

TEST_CASE("a sum takes the place of a node, or stands behind it") {
  ModelMaker maker = chain();
  detail::OnnxGraphEditor editor(maker.model);
  const std::string name = editor.add_initialiser("c", tensor({1, 2}));
  editor.turn_into_add("b", "a", name);
  CHECK(wiring(maker.model) == "Neg(x)=a Add(a c)=b Relu(b)=y ");
  editor.add_behind("a", name);
  CHECK(wiring(maker.model) ==
        "Neg(x)=a_without_bias Add(a_without_bias c)=a Add(a c)=b Relu(b)=y ");
  CHECK(maker.graph().node(1).name() == "neg_bias");
}

TEST_CASE("a new initialiser has a name that nothing has, in graphs inside too") {
  ModelMaker maker = chain();
  onnx::NodeProto& node = maker.node("If", "if", {"x"}, {"i"});
  add_node(*add_attribute(node, "then_branch").mutable_g(), "Neg", "", {"x"}, {"inner"});
  detail::OnnxGraphEditor editor(maker.model);
  CHECK(editor.add_initialiser("w", tensor({1})) == "w");
  CHECK(editor.add_initialiser("w", tensor({1})) == "w_2");
  CHECK(editor.add_initialiser("inner", tensor({1})) == "inner_2");
}

TEST_CASE("what nothing uses is dropped, with what it was made of") {
  ModelMaker maker = chain();
  maker.floats("w", {2}, {1, 2});
  maker.input("w", {2});
  maker.floats("kept", {2}, {1, 2});
  maker.node("Identity", "", {"w"}, {"i"});
  maker.node("Identity", "", {"i"}, {"j"});
  maker.node("Add", "", {"x", "kept"}, {"end"});
  detail::OnnxGraphEditor(maker.model).drop_unused({"j", "kept", "x", "y", ""});
  CHECK(wiring(maker.model) == "Neg(x)=a Abs(a)=b Relu(b)=y Add(x kept)=end ");
  CHECK(maker.graph().initializer_size() == 1);
  CHECK(maker.graph().input_size() == 1);
}

TEST_CASE("a constant changes where it lies when nobody else sees it, or in a copy") {
  for (const bool is_free : {true, false}) {
    ModelMaker maker = chain();
    maker.floats("w", {2}, {1, 2});
    maker.node("Add", "add", {"x", "w"}, {"sum"});
    const detail::OnnxScope scope(maker.graph(), nullptr, "", 15);
    const auto constant = detail::find_onnx_constant(maker.model, scope, "w");
    detail::OnnxGraphEditor(maker.model).set_constant("sum", 1, constant, is_free, tensor({7, 8}));
    const auto& constants = maker.graph().initializer();
    REQUIRE(constants.size() == (is_free ? 1 : 2));
    CHECK(maker.graph().node(3).input(1) == (is_free ? "w" : "w_folded"));
    const auto find = [&](const std::string& name) {
      const detail::OnnxScope now(maker.graph(), nullptr, "", 15);
      Tensors tensors;
      tensors.set("t", detail::find_onnx_constant(maker.model, now, name).tensor);
      return tensors.values<float>("t");
    };
    CHECK(find(maker.graph().node(3).input(1)) == std::vector<float>{7, 8});
    if (!is_free) CHECK(find("w") == std::vector<float>{1, 2});
  }
}
