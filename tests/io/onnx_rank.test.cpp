// SPDX-License-Identifier: MIT
#include "batchnorm/io/onnx_rank.hpp"

#include <cstdint>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/onnx_models.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

void add_integers(ModelMaker& maker, const std::string& name, const Extents& values) {
  onnx::TensorProto& tensor = *maker.graph().add_initializer();
  tensor.set_name(name);
  tensor.set_data_type(onnx::TensorProto::INT64);
  tensor.add_dims(static_cast<std::int64_t>(values.size()));
  for (const auto value : values) tensor.add_int64_data(value);
}

Index rank(ModelMaker& maker, const std::string& value) {
  const detail::OnnxScope scope(maker.graph(), nullptr, "", 15);
  return detail::OnnxRanks(maker.model, scope).of(value);
}

/// Where axis 1 of the output of the last node was; -1 where that is not known.
Index before(ModelMaker& maker, Index axis = 1) {
  const detail::OnnxScope scope(maker.graph(), nullptr, "", 15);
  detail::OnnxRanks ranks(maker.model, scope);
  const onnx::NodeProto& node = maker.graph().node(maker.graph().node_size() - 1);
  const detail::OnnxAxisStep step = detail::axis_before(maker.model, scope, ranks, node, axis);
  return step.known ? step.axis : -1;
}

}  // namespace

TEST_CASE("the file says how many axes a value has, or operators do") {
  ModelMaker maker;
  maker.input("x", {-1, 3, 8, 8});
  maker.input("rows", {-1, 3});
  maker.floats("w", {4, 3, 1, 1}, std::vector<float>(12, 1));
  maker.floats("m", {3, 5}, std::vector<float>(15, 1));
  maker.node("Conv", "", {"x", "w"}, {"c"});
  maker.node("Relu", "", {"c"}, {"r"});
  maker.node("Flatten", "", {"r"}, {"f"});
  maker.node("MatMul", "", {"rows", "m"}, {"p"});
  maker.node("Add", "", {"p", "rows"}, {"sum"});
  add_integers(maker, "shape", {0, -1, 2});
  maker.node("Reshape", "", {"r", "shape"}, {"q"});
  maker.node("Unknown", "", {"r"}, {"u"});
  CHECK(rank(maker, "x") == 4);
  CHECK(rank(maker, "w") == 4);
  CHECK(rank(maker, "r") == 4);
  CHECK(rank(maker, "f") == 2);
  CHECK(rank(maker, "p") == 2);
  CHECK(rank(maker, "sum") == 2);
  CHECK(rank(maker, "q") == 3);
  CHECK(rank(maker, "u") == -1);
  CHECK(rank(maker, "nowhere") == -1);
}

TEST_CASE("Squeeze and Unsqueeze change the number of axes, by attribute and by input") {
  ModelMaker maker;
  maker.input("x", {-1, 3});
  set_ints(maker.node("Unsqueeze", "", {"x"}, {"a"}), "axes", {2, 3});
  add_integers(maker, "last", {-1});
  maker.node("Squeeze", "", {"a", "last"}, {"b"});
  maker.node("Squeeze", "", {"a"}, {"c"});
  CHECK(rank(maker, "a") == 4);
  CHECK(rank(maker, "b") == 3);
  CHECK(rank(maker, "c") == -1);
}

TEST_CASE("a circle of nodes has no rank") {
  ModelMaker maker;
  maker.node("Relu", "", {"b"}, {"a"});
  maker.node("Relu", "", {"a"}, {"b"});
  CHECK(rank(maker, "a") == -1);
}

TEST_CASE("the channels are followed through Transpose") {
  const auto transposed = [](const Extents& perm, Index axis) {
    ModelMaker maker;
    maker.input("x", {-1, 3, 4});
    onnx::NodeProto& node = maker.node("Transpose", "", {"x"}, {"y"});
    if (!perm.empty()) set_ints(node, "perm", perm);
    return before(maker, axis);
  };
  CHECK(transposed({0, 2, 1}, 1) == 2);
  CHECK(transposed({2, 0, 1}, 1) == 0);
  CHECK(transposed({}, 0) == 2);
  CHECK(transposed({0, 9, 1}, 1) == -1);
  CHECK(transposed({0}, 1) == -1);
}

TEST_CASE("the channels are followed through Unsqueeze and Squeeze") {
  const auto through = [](const char* type, const Extents& shape, const Extents& axes) {
    ModelMaker maker;
    if (!shape.empty()) maker.input("x", shape);
    set_ints(maker.node(type, "", {"x"}, {"y"}), "axes", axes);
    return before(maker);
  };
  CHECK(through("Unsqueeze", {-1, 3}, {2}) == 1);
  CHECK(through("Unsqueeze", {-1, 3}, {-1}) == 1);
  CHECK(through("Unsqueeze", {3, -1}, {0}) == 0);
  CHECK(through("Unsqueeze", {-1, 3}, {1}) == -1);  // the channels are an axis that it makes
  CHECK(through("Unsqueeze", {}, {2}) == 1);
  CHECK(through("Unsqueeze", {}, {-1}) == -1);  // counted from an end that nobody knows
  CHECK(through("Squeeze", {-1, 3, 1}, {2}) == 1);
  CHECK(through("Squeeze", {-1, 1, 3}, {1}) == 2);
  CHECK(through("Squeeze", {1, -1, 3}, {0}) == 2);
  CHECK(through("Squeeze", {-1, 3, 1}, {-1}) == 1);
  CHECK(through("Squeeze", {-1, 3}, {1}) == -1);
  CHECK(through("Relu", {-1, 3}, {}) == -1);
  CHECK(through("Identity", {-1, 3}, {}) == 1);
}

TEST_CASE("an axis that an output cannot have was nowhere") {
  ModelMaker maker;
  maker.input("x", {-1, 3, 4});
  const onnx::NodeProto& node = maker.node("Transpose", "", {"x"}, {"y"});
  const detail::OnnxScope scope(maker.graph(), nullptr, "", 15);
  detail::OnnxRanks ranks(maker.model, scope);
  CHECK(detail::axis_before(maker.model, scope, ranks, node, 2).known);
  CHECK_FALSE(detail::axis_before(maker.model, scope, ranks, node, 3).known);
}

TEST_CASE("shapes of inputs, outputs and values in between count, where there are any") {
  ModelMaker maker;
  maker.input("in", {1, 2, 3});
  maker.output("out", {});
  ModelMaker::describe(*maker.graph().add_value_info(), "between", {1, 2, 3, 4, 5});
  maker.graph().add_input()->set_name("untyped");
  onnx::ValueInfoProto& unshaped = *maker.graph().add_input();
  unshaped.set_name("unshaped");
  unshaped.mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::FLOAT);
  onnx::ValueInfoProto& list = *maker.graph().add_input();
  list.set_name("list");
  list.mutable_type()->mutable_sequence_type();
  CHECK(rank(maker, "in") == 3);
  CHECK(rank(maker, "out") == 0);
  CHECK(rank(maker, "between") == 5);
  CHECK(rank(maker, "untyped") == -1);
  CHECK(rank(maker, "unshaped") == -1);
  CHECK(rank(maker, "list") == -1);
}

TEST_CASE("operators of two values need both, and the larger one counts") {
  ModelMaker maker;
  maker.input("x", {1, 2, 3});
  maker.input("b", {3});
  maker.input("m", {3, 4});
  maker.node("Add", "", {"x", "b"}, {"a"});
  maker.node("Mul", "", {"b", "x"}, {"c"});
  maker.node("Sub", "", {"x", "nowhere"}, {"d"});
  maker.node("Div", "", {"nowhere", "x"}, {"e"});
  maker.node("Add", "", {"x"}, {"f"});
  maker.node("MatMul", "", {"x", "m"}, {"p"});
  maker.node("MatMul", "", {"m", "x"}, {"q"});
  maker.node("ConvTranspose", "", {"nowhere", "x"}, {"t"});
  maker.node("Conv", "", {"x"}, {"u"});
  maker.node("Gemm", "", {}, {"g"});
  maker.node("Relu", "", {}, {"r"});
  CHECK(rank(maker, "a") == 3);
  CHECK(rank(maker, "c") == 3);
  CHECK(rank(maker, "d") == -1);
  CHECK(rank(maker, "e") == -1);
  CHECK(rank(maker, "f") == -1);
  CHECK(rank(maker, "p") == 3);
  CHECK(rank(maker, "q") == -1);
  CHECK(rank(maker, "t") == 3);
  CHECK(rank(maker, "u") == -1);
  CHECK(rank(maker, "g") == 2);
  CHECK(rank(maker, "r") == -1);
}

TEST_CASE("of a node with several outputs the first is known") {
  ModelMaker maker;
  maker.input("x", {1, 2, 3});
  maker.node("Dropout", "", {"x"}, {"y", "mask"});
  CHECK(rank(maker, "y") == 3);
  CHECK(rank(maker, "mask") == -1);
}

TEST_CASE("a Reshape has as many axes as its shape has numbers, where these are known") {
  ModelMaker maker;
  maker.input("x", {1, 2, 3});
  maker.input("computed", {2});
  set_ints(maker.node("Reshape", "", {"x"}, {"a"}), "shape", {0, -1, 2, 2});
  add_integers(maker, "shape", {6, 1});
  maker.node("Reshape", "", {"x", "shape"}, {"b"});
  maker.node("Reshape", "", {"x", "computed"}, {"c"});
  maker.node("Reshape", "", {"x"}, {"d"});
  maker.floats("square", {2, 2}, {1, 1, 1, 1});
  maker.node("Reshape", "", {"x", "square"}, {"e"});
  onnx::NodeProto& constant = maker.node("Constant", "", {}, {"f"});
  set_floats(*add_attribute(constant, "value").mutable_t(), {2, 1, 1}, {1, 2});
  maker.node("Constant", "", {}, {"g"});
  CHECK(rank(maker, "a") == 4);
  CHECK(rank(maker, "b") == 2);
  CHECK(rank(maker, "c") == -1);
  CHECK(rank(maker, "d") == -1);
  CHECK(rank(maker, "e") == -1);
  CHECK(rank(maker, "f") == 3);
  CHECK(rank(maker, "g") == -1);
}

TEST_CASE("axes are an attribute or constant numbers of 64 bits") {
  ModelMaker maker;
  maker.input("x", {1, 2, 3});
  maker.input("computed", {1});
  maker.floats("real", {1}, {0});
  add_integers(maker, "two", {0, 1});
  maker.node("Unsqueeze", "", {"x", "two"}, {"a"});
  maker.node("Unsqueeze", "", {"x", "computed"}, {"b"});
  maker.node("Unsqueeze", "", {"x", "real"}, {"c"});
  maker.node("Unsqueeze", "", {"nowhere", "two"}, {"d"});
  maker.node("Squeeze", "", {"x", "two"}, {"e"});
  set_ints(maker.node("Squeeze", "", {"x"}, {"f"}), "axes", {0, 1, 2, 3});
  CHECK(rank(maker, "a") == 5);
  CHECK(rank(maker, "b") == -1);
  CHECK(rank(maker, "c") == -1);
  CHECK(rank(maker, "d") == -1);
  CHECK(rank(maker, "e") == 1);
  CHECK(rank(maker, "f") == 0);
}

TEST_CASE("200 nodes are followed, and no more") {
  ModelMaker maker;
  maker.input("v0", {1, 2, 3});
  for (int i = 1; i <= 201; ++i) {
    maker.node("Relu", "", {"v" + std::to_string(i - 1)}, {"v" + std::to_string(i)});
  }
  CHECK(rank(maker, "v200") == 3);
  CHECK(rank(maker, "v201") == -1);
}

TEST_CASE("a step says how many axes there were in front of it") {
  const auto step = [](ModelMaker& maker, Index axis) {
    const detail::OnnxScope scope(maker.graph(), nullptr, "", 15);
    detail::OnnxRanks ranks(maker.model, scope);
    const onnx::NodeProto& node = maker.graph().node(maker.graph().node_size() - 1);
    return detail::axis_before(maker.model, scope, ranks, node, axis);
  };
  const detail::OnnxAxisStep nothing;
  CHECK_FALSE(nothing.known);
  CHECK(nothing.axis == 0);
  CHECK(nothing.rank == -1);
  const auto through = [&](const char* type, const Extents& shape, const Extents& axes,
                           Index axis) {
    ModelMaker maker;
    if (!shape.empty()) maker.input("x", shape);
    const bool is_transpose = std::string(type) == "Transpose";
    onnx::NodeProto& node = maker.node(type, "", {"x"}, {"y"});
    if (!axes.empty()) set_ints(node, is_transpose ? "perm" : "axes", axes);
    const detail::OnnxAxisStep found = step(maker, axis);
    return found.known ? std::to_string(found.axis) + " of " + std::to_string(found.rank) : "";
  };
  CHECK(through("Identity", {1, 2}, {}, 1) == "1 of 2");
  CHECK(through("Identity", {}, {}, 1) == "1 of -1");
  CHECK(through("Transpose", {1, 2, 3}, {}, 0) == "2 of 3");
  CHECK(through("Transpose", {1, 2, 3}, {}, 2) == "0 of 3");
  CHECK(through("Transpose", {}, {}, 0) == "");
  CHECK(through("Transpose", {}, {1, 0}, 1) == "0 of 2");
  CHECK(through("Transpose", {}, {1, 0}, 0) == "1 of 2");
  CHECK(through("Transpose", {}, {1, 0}, 2) == "");
  CHECK(through("Transpose", {}, {1, -1}, 1) == "");
  CHECK(through("Transpose", {}, {1, 2}, 1) == "");
  CHECK(through("Unsqueeze", {1, 2}, {0, 3}, 1) == "0 of 2");
  CHECK(through("Unsqueeze", {1, 2}, {0, 3}, 2) == "1 of 2");
  CHECK(through("Unsqueeze", {1, 2}, {-1, 0}, 3) == "");
  CHECK(through("Unsqueeze", {1, 2}, {-4, -1}, 2) == "1 of 2");
  CHECK(through("Unsqueeze", {1, 2}, {4}, 1) == "");
  CHECK(through("Unsqueeze", {1, 2}, {2}, 1) == "1 of 2");
  CHECK(through("Unsqueeze", {1, 2}, {3}, 1) == "");
  CHECK(through("Unsqueeze", {1, 2}, {-4}, 1) == "");
  CHECK(through("Unsqueeze", {}, {0}, 1) == "0 of -1");
  CHECK(through("Squeeze", {1, 1, 3}, {0, 1}, 0) == "2 of 3");
  CHECK(through("Squeeze", {1, 1, 3}, {0, 1}, 1) == "");
  CHECK(through("Squeeze", {1, 1, 3}, {3}, 1) == "");
  CHECK(through("Squeeze", {1, 1, 3}, {-3}, 1) == "2 of 3");
  CHECK(through("Squeeze", {1, 1, 3}, {-4}, 1) == "");
  CHECK(through("Squeeze", {}, {0}, 1) == "2 of -1");
  CHECK(through("Squeeze", {}, {-1}, 1) == "");
  CHECK(through("Squeeze", {1, 1, 3}, {}, 1) == "");
  ModelMaker without_input;
  without_input.node("Identity", "", {}, {"y"});
  CHECK_FALSE(step(without_input, 1).known);
  ModelMaker other_domain;
  other_domain.input("x", {1, 2});
  other_domain.node("Identity", "", {"x"}, {"y"}).set_domain("com.example");
  CHECK_FALSE(step(other_domain, 1).known);
}
