// SPDX-License-Identifier: MIT
#include "batchnorm/io/onnx_rank.hpp"

#include <cstdint>
#include <string>

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
