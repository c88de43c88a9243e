// SPDX-License-Identifier: MIT
#include "batchnorm/io/onnx_fold_site.hpp"

#include <string>

#include "support/catch.hpp"
#include "support/onnx_models.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
using Catch::Matchers::Contains;

// What is found is tried by the folds (onnx_fold.test.cpp); here is what they do not show.

namespace {

detail::OnnxFoldSite in_front(ModelMaker& maker) {
  const detail::OnnxScope scope(maker.graph(), nullptr, "", 15);
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
