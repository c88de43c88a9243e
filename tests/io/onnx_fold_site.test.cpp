// SPDX-License-Identifier: MIT
#include "batchnorm/io/onnx_fold_site.hpp"

#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/onnx_models.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
using Catch::Matchers::Contains;

// What is found is tried by the folds (onnx_fold.test.cpp); here is what they do not show.

namespace {

detail::OnnxFoldSite in_front(ModelMaker& maker, Index opset = 15) {
  const detail::OnnxScope scope(maker.graph(), nullptr, "", opset);
  return detail::OnnxSiteInFront(maker.model, scope, *scope.maker("y")).find(2);
}

}  // namespace

TEST_CASE("the number of axes of the norm is counted through what moves them") {
  ModelMaker maker;
  maker.input("x", {-1, 3});
  maker.floats("w", {3, 2}, std::vector<float>(6, 1));
  maker.node("MatMul", "mm", {"x", "w"}, {"h"});
  set_ints(maker.node("Unsqueeze", "", {"h"}, {"u"}), "axes", {2, 3});
  maker.norm("u", "y");
  const detail::OnnxFoldSite site = in_front(maker);
  INFO(site.fault);
  REQUIRE(site.found());
  CHECK(site.norm_rank == 4);
  CHECK(site.layer.node->name() == "mm");
  CHECK(site.adder == nullptr);
  CHECK(site.adder_place == 0);
}

TEST_CASE("an Add that is no bias stands in the way") {
  const auto fault = [](const Extents& shape, const Names& inputs) {
    ModelMaker maker;
    maker.input("x", {-1, 3});
    maker.floats("w", {3, 2}, std::vector<float>(6, 1));
    std::int64_t count = 1;
    for (const auto extent : shape) count *= extent;
    maker.floats("c", shape, std::vector<float>(static_cast<std::size_t>(count), 1));
    maker.node("MatMul", "mm", {"x", "w"}, {"h"});
    maker.node("Add", "add", inputs, {"a"});
    maker.norm("a", "y");
    return in_front(maker).fault;
  };
  CHECK(fault({2}, {"h", "c"}).empty());
  CHECK(fault({1, 2}, {"c", "h"}).empty());
  CHECK_THAT(fault({4, 2}, {"h", "c"}), Contains("more than one number per channel"));
  CHECK_THAT(fault({1}, {"h", "c"}), Contains("Add \"add\" stands in front"));
  CHECK_THAT(fault({}, {"h", "c"}), Contains("Add \"add\" stands in front"));
  CHECK_THAT(fault({2}, {"x", "c"}), Contains("Add \"add\" stands in front"));
  CHECK_THAT(fault({2}, {"h", "h"}), Contains("Add \"add\" stands in front"));
}

TEST_CASE("an operator of another domain is none of those that are known") {
  ModelMaker maker;
  maker.input("x", {-1, 2});
  maker.node("Conv", "own", {"x", "w"}, {"h"}).set_domain("own");
  maker.norm("h", "y");
  CHECK_THAT(in_front(maker).fault, Contains("Conv \"own\" stands in front"));
}

TEST_CASE("a node with a second output stands in the way") {
  ModelMaker maker;
  maker.input("x", {-1, 3});
  maker.floats("w", {3, 2}, std::vector<float>(6, 1));
  maker.node("MatMul", "mm", {"x", "w"}, {"", "h"});
  maker.norm("h", "y");
  CHECK_THAT(in_front(maker).fault, Contains("MatMul \"mm\" has several outputs"));
}

TEST_CASE("a norm behind a long way or its own output has no layer") {
  ModelMaker maker;
  maker.norm("y", "y");
  CHECK_THAT(in_front(maker).fault, Contains("BatchNormalization \"bn\" stands in front"));
  ModelMaker far;
  std::string value = "x";
  for (int i = 0; i < 20; ++i) {
    far.node("Identity", "", {value}, {value + "i"});
    value += "i";
  }
  far.norm(value, "y");
  CHECK_THAT(in_front(far).fault, Contains("more than 16 nodes"));
}

TEST_CASE("padding is zero or it is named") {
  onnx::NodeProto node;
  CHECK(detail::padding_of(node).empty());
  set_ints(node, "pads", {0, 0, 0, 0});
  onnx::AttributeProto& automatic = add_attribute(node, "auto_pad");
  for (const char* none : {"", "NOTSET", "VALID"}) {
    automatic.set_s(none);
    CHECK(detail::padding_of(node).empty());
  }
  automatic.set_s("SAME_LOWER");
  CHECK_THAT(detail::padding_of(node), Contains("auto_pad"));
  node.mutable_attribute(0)->set_ints(3, 1);
  CHECK_THAT(detail::padding_of(node), Contains("pads with zeros"));
}

TEST_CASE("the bias of a MatMul is the constant that is added, on either side") {
  for (const int place : {0, 1}) {
    ModelMaker maker;
    maker.input("x", {-1, 3});
    maker.floats("w", {3, 2}, std::vector<float>(6, 1));
    maker.floats("c", {2}, {4, 5});
    maker.node("MatMul", "mm", {"x", "w"}, {"h"});
    maker.node("Add", "add", place == 1 ? Names{"h", "c"} : Names{"c", "h"}, {"a"});
    maker.norm("a", "y");
    const detail::OnnxFoldSite site = in_front(maker);
    REQUIRE(site.found());
    REQUIRE(site.layer.node != nullptr);
    CHECK(site.layer.node->name() == "mm");
    REQUIRE(site.adder != nullptr);
    CHECK(site.adder->name() == "add");
    CHECK(site.adder_place == place);
    CHECK(site.added.name == "c");
    CHECK(site.norm_rank == 2);
  }
}

TEST_CASE("a Transpose says how many axes there are where the input does not") {
  ModelMaker maker;
  maker.floats("w", {3, 2}, std::vector<float>(6, 1));
  maker.node("MatMul", "mm", {"x", "w"}, {"h"});
  set_ints(maker.node("Transpose", "", {"h"}, {"t"}), "perm", {0, 2, 1});
  maker.norm("t", "y");
  const detail::OnnxFoldSite site = in_front(maker);
  INFO(site.fault);
  REQUIRE(site.found());
  CHECK(site.norm_rank == 3);
}

TEST_CASE("the layer behind a norm takes its output as input, as it is") {
  const auto behind = [](const char* type, const Names& inputs, const Extents& weights,
                         const Extents& shape = {-1, 2}) {
    ModelMaker maker;
    maker.input("x", shape);
    std::int64_t count = 1;
    for (const auto extent : weights) count *= extent;
    maker.floats("w", weights, std::vector<float>(static_cast<std::size_t>(count), 1));
    maker.norm();
    maker.node(type, "layer", inputs, {"z"});
    const detail::OnnxScope scope(maker.graph(), nullptr, "", 15);
    return detail::find_site_behind(maker.model, scope, *scope.maker("y"), 2).fault;
  };
  CHECK(behind("Gemm", {"y", "w"}, {2, 3}).empty());
  CHECK(behind("MatMul", {"y", "w"}, {2, 3}).empty());
  CHECK(behind("Conv", {"y", "w"}, {3, 2, 1, 1}, {-1, 2, 4, 4}).empty());
  CHECK_THAT(behind("Gemm", {"y", "w"}, {3, 3}), Contains("has 3 inputs for 2 channels"));
  CHECK_THAT(behind("Gemm", {"w", "y"}, {2, 3}), Contains("takes it for its weights"));
  CHECK_THAT(behind("Gemm", {"y"}, {2, 3}), Contains("takes it for its weights"));
  CHECK_THAT(behind("MatMul", {"y", "w"}, {2, 3}, {-1, 2, 2}), Contains("another axis"));
  CHECK_THAT(behind("ConvTranspose", {"y", "w"}, {2, 3, 1, 1}), Contains("another bias"));
  CHECK_THAT(behind("Relu", {"y"}, {1}), Contains("Relu \"layer\" stands behind it"));
  CHECK_THAT(behind("Neg", {"x"}, {1}), Contains("nothing uses \"y\""));
}

TEST_CASE("a Gemm that turns its input is no layer behind a norm") {
  ModelMaker maker;
  maker.input("x", {-1, 2});
  maker.floats("w", {2, 3}, std::vector<float>(6, 1));
  maker.norm();
  set_int(maker.node("Gemm", "layer", {"y", "w"}, {"z"}), "transA", 1);
  const detail::OnnxScope scope(maker.graph(), nullptr, "", 15);
  CHECK_THAT(detail::find_site_behind(maker.model, scope, *scope.maker("y"), 2).fault,
             Contains("turns its input"));
}

TEST_CASE("before opset 7 no Add is a bias, and a MatMul can get none") {
  const auto fault = [](bool has_add, Index opset) {
    ModelMaker maker;
    maker.input("x", {-1, 3});
    maker.floats("w", {3, 2}, std::vector<float>(6, 1));
    maker.floats("c", {2}, {4, 5});
    maker.node("MatMul", "mm", {"x", "w"}, {"h"});
    if (has_add) maker.node("Add", "add", {"h", "c"}, {"a"});
    maker.norm(has_add ? "a" : "h", "y");
    return in_front(maker, opset).fault;
  };
  CHECK(fault(true, 7).empty());
  CHECK(fault(true, 6) == "Add \"add\" stands in front of it");
  CHECK(fault(false, 7).empty());
  CHECK(fault(false, 6) == "adding a bias is another operator before opset 7");
}

TEST_CASE("an Add of one value, or of three, stands in the way") {
  for (const Names& inputs : {Names{"c"}, Names{"h", "c", "c"}}) {
    ModelMaker maker;
    maker.input("x", {-1, 3});
    maker.floats("w", {3, 2}, std::vector<float>(6, 1));
    maker.floats("c", {2}, {4, 5});
    maker.node("MatMul", "mm", {"x", "w"}, {"h"});
    maker.node("Add", "add", inputs, {"a"});
    maker.norm("a", "y");
    CHECK(in_front(maker).fault == "Add \"add\" stands in front of it");
  }
}

TEST_CASE("what is between layer and norm is seen by nobody else") {
  const auto fault = [](const std::string& what) {
    ModelMaker maker;
    maker.input("x", {-1, 3});
    maker.floats("w", {3, 2}, std::vector<float>(6, 1));
    if (what != "no layer") maker.node("MatMul", "mm", {"x", "w"}, {"h"});
    if (what == "an output") maker.output("h", {-1, 2});
    if (what == "a user") maker.node("Neg", "neg", {"h"}, {"n"});
    maker.norm("h", "y");
    if (what == "twice") maker.graph().mutable_node(1)->set_input(1, "h");
    return in_front(maker).fault;
  };
  CHECK(fault("").empty());
  CHECK(fault("no layer") == "no layer makes \"h\"");
  CHECK(fault("an output") == "\"h\" is an output of the model");
  CHECK(fault("a user") == "\"h\" is used by Neg \"neg\", too");
  CHECK(fault("twice") == "\"h\" is used by BatchNormalization \"bn\", too");
}

TEST_CASE("sixteen nodes may stand between layer and norm") {
  const auto fault = [](int count) {
    ModelMaker maker;
    maker.input("x", {-1, 3});
    maker.floats("w", {3, 2}, std::vector<float>(6, 1));
    std::string value = "h";
    maker.node("MatMul", "mm", {"x", "w"}, {value});
    for (int i = 0; i < count; ++i, value += "i")
      maker.node("Identity", "", {value}, {value + "i"});
    maker.norm(value, "y");
    return in_front(maker).fault;
  };
  CHECK(fault(15).empty());  // the sixteenth is the layer
  CHECK(fault(16) == "more than 16 nodes stand between it and a layer");
}

TEST_CASE("the channels of the norm are the outputs of the layer") {
  const auto linear = [](const Extents& shape, std::int64_t outputs) {
    ModelMaker maker;
    if (!shape.empty()) maker.input("x", shape);
    const auto size = static_cast<std::size_t>(3 * outputs);
    maker.floats("w", {3, outputs}, std::vector<float>(size, 1));
    maker.node("MatMul", "mm", {"x", "w"}, {"h"});
    maker.norm("h", "y");
    return in_front(maker).fault;
  };
  CHECK(linear({-1, 3}, 2).empty());
  CHECK(linear({-1, 3}, 4) == "MatMul \"mm\" has 4 outputs for 2 channels");
  CHECK(linear({-1, 2, 3}, 2) == "the channels are not those of MatMul \"mm\"");
  CHECK(linear({}, 2) ==
        "nobody knows how many axes MatMul \"mm\" gives, and so which of them are "
        "the channels");
  const auto turned = [](const Extents& order) {
    ModelMaker maker;
    maker.input("x", {-1, 3, 4, 4});
    maker.floats("w", {2, 3, 1, 1}, std::vector<float>(6, 1));
    maker.node("Conv", "conv", {"x", "w"}, {"h"});
    set_ints(maker.node("Transpose", "", {"h"}, {"t"}), "perm", order);
    maker.norm("t", "y");
    return in_front(maker).fault;
  };
  CHECK(turned({0, 1, 3, 2}).empty());
  CHECK(turned({0, 2, 1, 3}) == "the channels are not those of Conv \"conv\"");
}

TEST_CASE("the output of a norm is seen by one layer behind it, of one output") {
  const auto behind = [](const std::string& what, Index opset) {
    ModelMaker maker;
    maker.input("x", {-1, 2});
    maker.floats("w", {2, 3}, std::vector<float>(6, 1));
    maker.norm();
    maker.node("MatMul", "layer", {"y", "w"}, what == "outputs" ? Names{"z", "zz"} : Names{"z"});
    if (what == "an output") maker.output("y", {-1, 2});
    if (what == "a user") maker.node("Neg", "neg", {"y"}, {"n"});
    if (what == "no name") maker.graph().mutable_node(1)->set_output(0, "");
    const detail::OnnxScope scope(maker.graph(), nullptr, "", opset);
    return detail::find_site_behind(maker.model, scope, *scope.maker("y"), 2).fault;
  };
  CHECK(behind("", 7).empty());
  CHECK(behind("", 6) == "adding a bias is another operator before opset 7");
  CHECK(behind("an output", 15) == "\"y\" is an output of the model");
  CHECK(behind("a user", 15) == "\"y\" is used by Neg \"neg\", too");
  CHECK(behind("outputs", 15) == "MatMul \"layer\" has several outputs");
  CHECK(behind("no name", 15) == "MatMul \"layer\" has several outputs");
}
