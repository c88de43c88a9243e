// SPDX-License-Identifier: MIT
#include "batchnorm/io/onnx_attributes.hpp"

#include <limits>
#include <string>

#include "support/catch.hpp"
#include "support/onnx_models.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
using Catch::Matchers::Contains;

namespace {

/// What the node of norm_alone says once `change` has changed it.
template <class Change>
detail::OnnxNormAttributes read(std::int64_t opset, const Change& change) {
  ModelMaker maker = norm_alone(opset);
  onnx::NodeProto& node = *maker.graph().mutable_node(0);
  change(node);
  const detail::OnnxScope scope(maker.graph(), nullptr, "", opset);
  return detail::OnnxNormReader(scope, node).read();
}

const auto nothing = [](onnx::NodeProto&) {};

}  // namespace

TEST_CASE("without attributes epsilon and momentum are the defaults of the operator, as float") {
  for (const int opset : {1, 6, 7, 9, 13, 14, 15, 21}) {
    const detail::OnnxNormAttributes found = read(opset, nothing);
    CHECK(found.fault.empty());
    CHECK(found.options.epsilon == 9.9999997473787516e-06);  // double(1e-5f)
    CHECK(found.options.running == RunningUpdate::keep_old(0.89999997615814209));
    CHECK(found.options.running_variance == VarianceEstimator::population);
  }
}

TEST_CASE("epsilon and momentum are the float numbers of the file") {
  const auto found = read(9, [](onnx::NodeProto& node) {
    set_float(node, "epsilon", 1e-3f);
    set_float(node, "momentum", 0.25f);
  });
  CHECK(found.options.epsilon == 0.0010000000474974513);
  CHECK(found.options.running == RunningUpdate::keep_old(0.25));
}

TEST_CASE("an epsilon that is none is a fault, a momentum that is none a note") {
  const auto epsilon = [](float value) {
    return read(15, [&](onnx::NodeProto& node) { set_float(node, "epsilon", value); }).fault;
  };
  CHECK_THAT(epsilon(-1e-5f), Contains("epsilon is -9.99999975e-06"));
  CHECK_THAT(epsilon(std::numeric_limits<float>::infinity()), Contains("epsilon is inf"));
  CHECK(epsilon(0).empty());
  CHECK_THAT(read(15, [](onnx::NodeProto& node) { set_int(node, "epsilon", 1); }).fault,
             Contains("epsilon is no float"));
  const auto found = read(15, [](onnx::NodeProto& node) { set_float(node, "momentum", 1.5f); });
  CHECK(found.fault.empty());
  CHECK_THAT(found.note, Contains("momentum 1.5"));
  CHECK(found.options.running == Options::onnx().running);
}

TEST_CASE("before opset 14 a second output that has a name is training") {
  const auto with_outputs = [](int opset, const Names& more) {
    return read(opset, [&](onnx::NodeProto& node) {
      for (const std::string& name : more) node.add_output(name);
    });
  };
  for (const int opset : {1, 6, 7, 9, 13}) {
    CHECK(with_outputs(opset, {"rm", "rv"}).trains);
    CHECK_THAT(with_outputs(opset, {"rm", "rv", "sm", "sv"}).note,
               Contains("fifth output is 1 / sqrt(variance + epsilon)"));
    CHECK_FALSE(with_outputs(opset, {"", "", "", ""}).trains);
    CHECK(with_outputs(opset, {"", "", "", ""}).fault.empty());
  }
  const auto late = with_outputs(14, {"rm", "rv"});
  CHECK_FALSE(late.trains);
  CHECK_THAT(late.fault, Contains("no valid model"));
}

TEST_CASE("training_mode counts from opset 14 on, is_test before opset 7, spatial before 9") {
  const auto with = [](int opset, const char* name, int value) {
    return read(opset, [&](onnx::NodeProto& node) { set_int(node, name, value); });
  };
  CHECK(with(14, "training_mode", 1).trains);
  CHECK_FALSE(with(14, "training_mode", 0).trains);
  CHECK(with(9, "training_mode", 1).fault.empty());
  CHECK(with(6, "is_test", 0).trains);
  CHECK(with(6, "is_test", 1).fault.empty());
  CHECK(with(6, "is_test", 1).note.empty());
  CHECK_THAT(read(6, nothing).note, Contains("is_test is absent"));
  CHECK(with(7, "is_test", 0).fault.empty());
  CHECK_THAT(with(8, "spatial", 0).fault, Contains("spatial is 0"));
  CHECK(with(8, "spatial", 1).fault.empty());
  CHECK(with(9, "spatial", 0).fault.empty());
}

TEST_CASE("a function takes epsilon from its call") {
  ModelMaker maker;
  onnx::FunctionProto function;
  onnx::NodeProto& node = add_node(function, "BatchNormalization", "bn", {}, {"y"});
  add_attribute(node, "epsilon").set_ref_attr_name("eps");
  onnx::NodeProto& call = maker.node("own", "call", {}, {"y"});
  const detail::OnnxScope outer(maker.graph(), nullptr, "", 15);
  {
    const detail::OnnxScope body(function, outer, call, "call/");
    CHECK(detail::OnnxNormReader(body, node).read().options.epsilon == 9.9999997473787516e-06);
  }
  set_float(call, "eps", 0.5f);
  const detail::OnnxScope body(function, outer, call, "call/");
  CHECK(detail::OnnxNormReader(body, node).read().options.epsilon == 0.5);
}
