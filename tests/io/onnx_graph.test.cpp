// SPDX-License-Identifier: MIT
#include "batchnorm/io/onnx_graph.hpp"

#include <set>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/onnx_models.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
using Catch::Matchers::Contains;

namespace {

/// An If whose branch uses `a` of the graph around it, and makes its own `b`.
void add_if(ModelMaker& maker) {
  onnx::NodeProto& node = maker.node("If", "if", {"c"}, {"y"});
  onnx::GraphProto& branch = *add_attribute(node, "then_branch").mutable_g();
  add_node(branch, "Neg", "neg", {"a"}, {"b"});
  add_node(branch, "Abs", "abs", {"b"}, {"z"});
  branch.add_output()->set_name("z");
}

/// What a walk comes by: path and operator set of every scope.
std::vector<std::string> scopes_of(const OnnxModel& model) {
  std::vector<std::string> scopes;
  detail::OnnxWalk({"test", model.name}, model).run([&](const detail::OnnxScope& scope) {
    scopes.push_back(scope.path() + " " + std::to_string(scope.opset()));
  });
  return scopes;
}

onnx::FunctionProto& add_function(OnnxModel& model, const std::string& name) {
  onnx::FunctionProto& function = *model.proto.add_functions();
  function.set_name(name);
  function.set_domain("own");
  return function;
}

void add_call(google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes, const std::string& name,
              const std::string& function) {
  onnx::NodeProto& node = *nodes.Add();
  node.set_name(name);
  node.set_op_type(function);
  node.set_domain("own");
}

}  // namespace

TEST_CASE("a scope knows who makes and who uses a value, in graphs inside it too") {
  ModelMaker maker;
  maker.input("x", {1});
  maker.node("Relu", "relu", {"x"}, {"a"});
  maker.node("Add", "add", {"a", "a"}, {"c"});
  add_if(maker);
  maker.output("y", {1});
  const detail::OnnxScope scope(maker.graph(), nullptr, "", 15);
  CHECK(scope.maker("a")->name() == "relu");
  CHECK(scope.maker("x") == nullptr);
  CHECK(scope.maker("b") == nullptr);
  CHECK(scope.is_input("x"));
  CHECK(scope.is_output("y"));
  std::vector<std::string> users;
  for (const onnx::NodeProto* user : scope.users("a")) users.push_back(user->name());
  CHECK(users == std::vector<std::string>{"add", "add", "if"});
  CHECK(scope.users("b").empty());
  CHECK(scope.users("z").empty());
}

TEST_CASE("operators of other domains are others") {
  onnx::NodeProto node;
  node.set_op_type("Conv");
  CHECK(detail::is_onnx_op(node, "Conv"));
  CHECK_FALSE(detail::is_onnx_op(node, "Gemm"));
  node.set_domain("ai.onnx");
  CHECK(detail::is_onnx_op(node, "Conv"));
  node.set_domain("com.microsoft.nchwc");
  CHECK_FALSE(detail::is_onnx_op(node, "Conv"));
}

TEST_CASE("a walk comes by every graph, and by a function once for every call") {
  ModelMaker maker(14);
  add_if(maker);
  onnx::FunctionProto& twice = add_function(maker.model, "twice");
  twice.add_opset_import()->set_version(17);
  add_call(*twice.mutable_node(), "inner", "leaf");
  add_function(maker.model, "leaf");
  add_call(*maker.graph().mutable_node(), "first", "twice");
  add_call(*maker.graph().mutable_node(), "second", "leaf");
  CHECK(scopes_of(maker.model) ==
        std::vector<std::string>{" 14", "if/ 14", "first/ 17", "first/inner/ 17", "second/ 14"});
}

TEST_CASE("a model without operator sets is one of version 1") {
  ModelMaker maker;
  maker.model.proto.clear_opset_import();
  CHECK(scopes_of(maker.model) == std::vector<std::string>{" 1"});
}

TEST_CASE("functions that call themselves, or too many others, are refused") {
  ModelMaker maker;
  add_call(*add_function(maker.model, "again").mutable_node(), "self", "again");
  add_call(*maker.graph().mutable_node(), "start", "again");
  CHECK_THROWS_WITH(scopes_of(maker.model),
                    Contains("\"made.onnx\"") && Contains("functions and graphs inside graphs"));
  // 30 functions of two calls each: 2^30 calls in all.
  ModelMaker wide;
  for (int level = 0; level < 30; ++level) {
    onnx::FunctionProto& function = add_function(wide.model, "f" + std::to_string(level));
    for (const char* name : {"left", "right"}) {
      add_call(*function.mutable_node(), name, "f" + std::to_string(level + 1));
    }
  }
  add_call(*wide.graph().mutable_node(), "start", "f0");
  CHECK_THROWS_WITH(scopes_of(wide.model), Contains("1000000 nodes"));
}

namespace {

/// What a graph takes from the one around it, in the order of the letters.
std::vector<std::string> captured_by(const onnx::GraphProto& graph) {
  std::set<std::string> captured;
  detail::collect_captured(graph, captured);
  return {captured.begin(), captured.end()};
}

}  // namespace

TEST_CASE("an attribute is found by its name, and a number has a default") {
  onnx::NodeProto node;
  set_int(node, "first", 3);
  set_int(node, "second", 4);
  CHECK(detail::onnx_attribute(node, "first") == &node.attribute(0));
  CHECK(detail::onnx_attribute(node, "second") == &node.attribute(1));
  CHECK(detail::onnx_attribute(node, "third") == nullptr);
  CHECK(detail::onnx_int(node, "second", 9) == 4);
  CHECK(detail::onnx_int(node, "third", 9) == 9);
}

TEST_CASE("a value has a place among the inputs of a node, or no name") {
  onnx::NodeProto node;
  node.add_input("a");
  node.add_input("b");
  CHECK(detail::onnx_value_at(node.input(), 0) == "a");
  CHECK(detail::onnx_value_at(node.input(), 1) == "b");
  CHECK(detail::onnx_value_at(node.input(), 2).empty());
}

TEST_CASE("the operator set is that of ONNX, whatever else is imported") {
  onnx::ModelProto model;
  CHECK(detail::onnx_opset(model.opset_import(), 7) == 7);
  onnx::OperatorSetIdProto& other = *model.add_opset_import();
  other.set_domain("com.example");
  other.set_version(3);
  CHECK(detail::onnx_opset(model.opset_import(), 7) == 7);
  onnx::OperatorSetIdProto& own = *model.add_opset_import();
  own.set_domain("ai.onnx");
  own.set_version(13);
  CHECK(detail::onnx_opset(model.opset_import(), 7) == 13);
}

TEST_CASE("a graph captures what it uses and does not make, of any kind") {
  onnx::GraphProto graph;
  graph.add_input()->set_name("input");
  graph.add_initializer()->set_name("tensor");
  graph.add_sparse_initializer()->mutable_values()->set_name("sparse");
  add_node(graph, "Sum", "", {"input", "tensor", "sparse", "made", "outer"}, {"made"});
  graph.add_output()->set_name("made");
  graph.add_output()->set_name("passed");
  CHECK(captured_by(graph) == std::vector<std::string>{"outer", "passed"});
  // What a graph inside takes is taken from further out, unless it is made in between.
  onnx::NodeProto& branches = add_node(graph, "If", "", {}, {});
  add_node(*add_attribute(branches, "then_branch").mutable_g(), "Neg", "", {"far"}, {"near"});
  add_node(*add_attribute(branches, "graphs").add_graphs(), "Neg", "", {"made", "farther"}, {"x"});
  CHECK(captured_by(graph) == std::vector<std::string>{"far", "farther", "outer", "passed"});
}

TEST_CASE("a scope knows its tensors, sparse ones too, and the places of its inputs") {
  ModelMaker maker;
  maker.input("x", {1});
  maker.input("y", {1});
  maker.output("z", {1});
  maker.floats("w", {1}, {2});
  maker.graph().add_sparse_initializer()->mutable_values()->set_name("s");
  const detail::OnnxScope scope(maker.graph(), nullptr, "at/", 13);
  CHECK(scope.graph() == &maker.graph());
  CHECK(&scope.nodes() == &maker.graph().node());
  CHECK(scope.outer() == nullptr);
  CHECK(scope.caller() == nullptr);
  CHECK(scope.call() == nullptr);
  CHECK(scope.path() == "at/");
  CHECK(scope.opset() == 13);
  CHECK(scope.initialiser("w") == &maker.graph().initializer(0));
  CHECK(scope.initialiser("x") == nullptr);
  CHECK(scope.is_sparse("s"));
  CHECK_FALSE(scope.is_sparse("w"));
  CHECK(scope.input_place("x") == 0);
  CHECK(scope.input_place("y") == 1);
  CHECK_FALSE(scope.is_input("w"));
  CHECK_FALSE(scope.is_output("x"));
  const detail::OnnxScope inner(maker.graph(), &scope, "", 13);
  CHECK(inner.outer() == &scope);
}

TEST_CASE("a call of a function has inputs and outputs by place, and no graph") {
  ModelMaker maker(12);
  onnx::FunctionProto& function = add_function(maker.model, "f");
  function.add_input("a");
  function.add_input("b");
  function.add_output("c");
  add_node(function, "Add", "add", {"a", "b"}, {"c"});
  add_call(*maker.graph().mutable_node(), "call", "f");
  const detail::OnnxScope outer(maker.graph(), nullptr, "", 12);
  const detail::OnnxScope scope(function, outer, maker.graph().node(0), "call/");
  CHECK(scope.graph() == nullptr);
  CHECK(&scope.nodes() == &function.node());
  CHECK(scope.caller() == &outer);
  CHECK(scope.call() == &maker.graph().node(0));
  CHECK(scope.outer() == nullptr);
  CHECK(scope.opset() == 12);
  CHECK(scope.path() == "call/");
  CHECK(scope.input_place("b") == 1);
  CHECK(scope.is_output("c"));
  CHECK(scope.maker("c")->name() == "add");
  CHECK(scope.users("a").size() == 1);
  function.add_opset_import()->set_version(17);
  CHECK(detail::OnnxScope(function, outer, maker.graph().node(0), "").opset() == 17);
}

TEST_CASE("inputs and outputs without a name are no values") {
  ModelMaker maker;
  maker.node("Clip", "clip", {"x", "", "high"}, {"", "y"});
  const detail::OnnxScope scope(maker.graph(), nullptr, "", 15);
  CHECK(scope.maker("") == nullptr);
  CHECK(scope.users("").empty());
  CHECK(scope.users("high").size() == 1);
  CHECK(scope.maker("y")->name() == "clip");
}

TEST_CASE("32 graphs may be inside each other, of a million nodes") {
  const auto scopes = [](int depth) {
    ModelMaker maker;
    onnx::GraphProto* graph = &maker.graph();
    for (int i = 0; i < depth; ++i) {
      graph = add_attribute(add_node(*graph, "If", "", {}, {}), "then_branch").mutable_g();
    }
    return scopes_of(maker.model).size();
  };
  CHECK(scopes(32) == 33);
  CHECK_THROWS_WITH(scopes(33), Contains("at most 32 inside each other and 1000000 nodes"));
  // A thousand calls of a function of 999 nodes: with the calls that are a million.
  const auto nodes = [](int more) {
    ModelMaker maker;
    onnx::FunctionProto& function = add_function(maker.model, "f");
    for (int i = 0; i < 999; ++i) add_node(function, "Neg", "", {}, {});
    for (int i = 0; i < 1000; ++i) add_call(*maker.graph().mutable_node(), "", "f");
    for (int i = 0; i < more; ++i) maker.node("Neg", "", {}, {});
    return scopes_of(maker.model).size();
  };
  CHECK(nodes(0) == 1001);
  CHECK_THROWS_WITH(nodes(1), Contains("1000000 nodes"));
}
