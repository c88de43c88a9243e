// SPDX-License-Identifier: MIT
#include "batchnorm/io/onnx_graph.hpp"

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
