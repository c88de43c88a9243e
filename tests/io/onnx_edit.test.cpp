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

TEST_CASE("a name is taken wherever it stands in the graph") {
  ModelMaker maker;
  maker.input("input", {2});
  maker.output("output", {2});
  ModelMaker::describe(*maker.graph().add_value_info(), "shape", {2});
  maker.floats("constant", {1}, {1});
  maker.graph().add_sparse_initializer()->mutable_values()->set_name("sparse");
  maker.node("Neg", "", {"used"}, {"made"});
  detail::OnnxGraphEditor editor(maker.model);
  for (const std::string name :
       {"input", "output", "shape", "constant", "sparse", "used", "made"}) {
    CHECK(editor.add_initialiser(name, tensor({1})) == name + "_2");
    CHECK(editor.add_initialiser(name, tensor({1})) == name + "_3");
  }
}

TEST_CASE("before version 4 of the format an initialiser is an input, too") {
  for (const int version : {3, 4}) {
    ModelMaker maker(8, version);
    detail::OnnxGraphEditor(maker.model).add_initialiser("c", tensor({1, 2}));
    REQUIRE(maker.graph().input_size() == (version == 3 ? 1 : 0));
    if (version == 4) continue;
    CHECK(maker.graph().input(0).name() == "c");
    const auto& type = maker.graph().input(0).type().tensor_type();
    CHECK(type.elem_type() == onnx::TensorProto::FLOAT);
    REQUIRE(type.shape().dim_size() == 1);
    CHECK(type.shape().dim(0).dim_value() == 2);
  }
}

TEST_CASE("a node gets an input that it did not have") {
  ModelMaker maker;
  maker.node("Conv", "", {"x", "w"}, {"y"});
  detail::OnnxGraphEditor editor(maker.model);
  const auto inputs = [&] {
    Names names;
    for (const auto& name : maker.graph().node(0).input()) names.push_back(name);
    return names;
  };
  editor.add_input("y", 3, "c");
  CHECK(inputs() == Names{"x", "w", "", "c"});
  editor.add_input("y", 2, "b");
  CHECK(inputs() == Names{"x", "w", "b", "c"});
}

TEST_CASE("the node of a value is found by any of its outputs") {
  ModelMaker maker = chain();
  maker.node("Split", "", {"x"}, {"first", "second"});
  const detail::OnnxGraphEditor editor(maker.model);
  CHECK(editor.place_of("a") == 0);
  CHECK(editor.place_of("first") == 3);
  CHECK(editor.place_of("second") == 3);
  CHECK(editor.place_of("x") == -1);
}

TEST_CASE("a constant of a node changes in the node") {
  ModelMaker maker = chain();
  onnx::AttributeProto& value = add_attribute(maker.node("Constant", "", {}, {"w"}), "value");
  set_floats(*value.mutable_t(), {2}, {1, 2});
  maker.node("Add", "add", {"x", "w"}, {"sum"});
  const detail::OnnxScope scope(maker.graph(), nullptr, "", 15);
  const auto constant = detail::find_onnx_constant(maker.model, scope, "w");
  detail::OnnxGraphEditor(maker.model).set_constant("sum", 1, constant, true, tensor({7, 8}));
  CHECK(maker.graph().initializer_size() == 0);
  const detail::OnnxScope now(maker.graph(), nullptr, "", 15);
  Tensors tensors;
  tensors.set("t", detail::find_onnx_constant(maker.model, now, "w").tensor);
  CHECK(tensors.values<float>("t") == std::vector<float>{7, 8});
}

TEST_CASE("what is dropped loses its shape, and a node goes only with its only output") {
  ModelMaker maker = chain();
  maker.node("Neg", "", {"x"}, {"one"});
  maker.node("Split", "", {"x"}, {"first", "second"});
  for (const char* name : {"one", "first", "b"}) {
    ModelMaker::describe(*maker.graph().add_value_info(), name, {2});
  }
  detail::OnnxGraphEditor editor(maker.model);
  editor.drop_unused({"one", "first"});
  CHECK(maker.graph().node_size() == 4);
  CHECK(maker.graph().node(3).op_type() == "Split");
  REQUIRE(maker.graph().value_info_size() == 2);
  CHECK(maker.graph().value_info(0).name() == "first");
  editor.bypass("b", "y", "a");
  REQUIRE(maker.graph().value_info_size() == 1);
  CHECK(maker.graph().value_info(0).name() == "first");
}

TEST_CASE("the sum behind a node without a name has none") {
  ModelMaker maker = chain();
  maker.graph().mutable_node(1)->clear_name();
  detail::OnnxGraphEditor(maker.model).add_behind("b", "c");
  REQUIRE(maker.graph().node_size() == 4);
  CHECK(maker.graph().node(2).op_type() == "Add");
  CHECK(maker.graph().node(2).name().empty());
}
