// SPDX-License-Identifier: MIT
#include "batchnorm/io/onnx_batch_norms.hpp"

#include <Eigen/Core>
#include <cmath>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/onnx_models.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
using Catch::Matchers::Contains;

namespace {

OnnxBatchNorm only(const OnnxModel& model) {
  const std::vector<OnnxBatchNorm> norms = find_batch_norms(model);
  REQUIRE(norms.size() == 1);
  return norms[0];
}

/// The layer of two_channels on x = (3, 0): (3 - 1) / sqrt(4 + e) 2 + 0.5, (0 + 2) / sqrt(0.25 + e)
/// 3 - 1.
void check_layer(const OnnxBatchNorm& norm, double epsilon) {
  INFO(norm.reason);
  REQUIRE(norm.can_be_frozen());
  const auto loaded = load_state<double>(norm);
  Eigen::MatrixXd x(2, 1);
  x << 3, 0;
  const Eigen::MatrixXd y = loaded.freeze()(x);
  CHECK(y(0) == Approx(4 / std::sqrt(4 + epsilon) + 0.5).epsilon(1e-12));
  CHECK(y(1) == Approx(6 / std::sqrt(0.25 + epsilon) - 1).epsilon(1e-12));
}

}  // namespace

TEST_CASE("a node becomes a layer by the places of its inputs, in every opset") {
  for (const int opset : {1, 6, 7, 8, 9, 13, 14, 15, 18, 22}) {
    const ModelMaker maker = norm_alone(opset);
    const OnnxBatchNorm norm = only(maker.model);
    CHECK(norm.node == "bn");
    CHECK(norm.opset == opset);
    CHECK(norm.found.key(Role::gamma) == "s");
    CHECK(norm.found.key(Role::variance) == "v");
    CHECK(norm.found.channels == 2);
    CHECK(norm.found.dtype == "F32");
    check_layer(norm, 1e-5);
  }
}

TEST_CASE("names that mislead do not count") {
  ModelMaker maker;
  maker.input("x", {-1, 2});
  maker.floats("running_var", {2}, {2, 3});
  maker.floats("running_mean", {2}, {0.5f, -1});
  maker.floats("bias", {2}, {1, -2});
  maker.floats("weight", {2}, {4, 0.25f});
  maker.node("BatchNormalization", "bn", {"x", "running_var", "running_mean", "bias", "weight"},
             {"y"});
  check_layer(only(maker.model), 1e-5);
}

TEST_CASE("numbers in half, bfloat16 and double are found, also in one node") {
  ModelMaker maker = norm_alone();
  auto& gamma = *maker.graph().mutable_initializer(0);
  gamma.clear_float_data();
  gamma.set_data_type(onnx::TensorProto::FLOAT16);
  for (const int bits : {0x4000, 0x4200}) gamma.add_int32_data(bits);  // 2, 3
  auto& mean = *maker.graph().mutable_initializer(2);
  mean.clear_float_data();
  mean.set_data_type(onnx::TensorProto::BFLOAT16);
  for (const int bits : {0x3f80, 0xc000}) mean.add_int32_data(bits);  // 1, -2
  auto& variance = *maker.graph().mutable_initializer(3);
  variance.clear_float_data();
  variance.set_data_type(onnx::TensorProto::DOUBLE);
  variance.add_double_data(4), variance.add_double_data(0.25);
  check_layer(only(maker.model), 1e-5);
}

TEST_CASE("a shared initialiser belongs to all layers that use it") {
  ModelMaker maker = norm_alone();
  maker.node("Relu", "relu", {"y"}, {"z"});
  maker.node("BatchNormalization", "second", {"z", "s", "b", "m", "v"}, {"end"});
  const std::vector<OnnxBatchNorm> norms = find_batch_norms(maker.model);
  REQUIRE(norms.size() == 2);
  check_layer(norms[0], 1e-5);
  check_layer(norms[1], 1e-5);
  CHECK(norms[0].before == std::vector<std::string>{"Relu relu", "output y"});
  CHECK(norms[1].behind == "Relu relu");
}

TEST_CASE("what stands beside a node is known") {
  ModelMaker maker = norm_alone();
  maker.node("Neg", "neg", {"x"}, {"n"});
  maker.output("x", {-1, 2});
  const OnnxBatchNorm norm = only(maker.model);
  CHECK(norm.behind == "input x");
  CHECK(norm.other_users == std::vector<std::string>{"Neg neg", "output x"});
}

TEST_CASE("nodes in branches and in functions are found, with their way") {
  ModelMaker maker;
  maker.input("x", {-1, 2});
  maker.two_channels();
  onnx::NodeProto& branch = maker.node("If", "if", {"c"}, {"y"});
  add_node(*add_attribute(branch, "else_branch").mutable_g(), "BatchNormalization", "bn",
           {"x", "s", "b", "m", "v"}, {"z"});
  onnx::FunctionProto& function = *maker.model.proto.add_functions();
  function.set_name("block");
  function.set_domain("own");
  function.add_opset_import()->set_version(15);
  // Arguments in another order, under names that mean something else outside.
  for (const char* name : {"v", "m", "b", "s", "x"}) function.add_input(name);
  onnx::NodeProto& inside =
      add_node(function, "BatchNormalization", "bn", {"x", "s", "b", "m", "v"}, {"y"});
  add_attribute(inside, "epsilon").set_ref_attr_name("eps");
  onnx::NodeProto& call = maker.node("block", "call", {"v", "m", "b", "s", "x"}, {"w"});
  call.set_domain("own");
  set_float(call, "eps", 0.125f);
  const std::vector<OnnxBatchNorm> norms = find_batch_norms(maker.model);
  REQUIRE(norms.size() == 2);
  CHECK(norms[0].node == "if/bn");
  check_layer(norms[0], 1e-5);
  CHECK(norms[1].node == "call/bn");
  check_layer(norms[1], 0.125);
}

TEST_CASE("what cannot be a frozen layer is listed with its reason") {
  const auto reason = [](const auto& change) {
    ModelMaker maker = norm_alone();
    change(maker.graph());
    const OnnxBatchNorm norm = only(maker.model);
    CHECK_THROWS_WITH(
        load_state<float>(norm),
        Contains("load_state: \"made.onnx\": node \"bn\": ") && Contains(norm.reason));
    return norm.reason;
  };
  using Graph = onnx::GraphProto;
  CHECK_THAT(reason([](Graph& graph) { graph.mutable_initializer()->DeleteSubrange(2, 1); }),
             Contains("input 3") && Contains("nothing makes \"m\""));
  CHECK_THAT(reason([](Graph& graph) { graph.mutable_node(0)->mutable_input()->RemoveLast(); }),
             Contains("input 4") && Contains("left out"));
  CHECK_THAT(reason([](Graph& graph) {
               graph.mutable_initializer(0)->clear_dims();
               graph.mutable_initializer(0)->add_dims(1);
               graph.mutable_initializer(0)->add_dims(2);
             }),
             Contains("shape: expected [channels], got [1, 2]"));
  CHECK_THAT(reason([](Graph& graph) {
               graph.mutable_initializer(1)->set_dims(0, 1);
               graph.mutable_initializer(1)->mutable_float_data()->RemoveLast();
             }),
             Contains("tensor \"b\": shape: expected [2], got [1]"));
  CHECK_THAT(reason([](Graph& graph) {
               auto& gamma = *graph.mutable_initializer(0);
               gamma.clear_float_data();
               gamma.set_data_type(onnx::TensorProto::UINT8);
               gamma.add_int32_data(1), gamma.add_int32_data(2);
             }),
             Contains("dtype: expected F64, F32, F16 or BF16, got U8"));
  CHECK_THAT(reason([](Graph& graph) { set_int(*graph.mutable_node(0), "training_mode", 1); }),
             Contains("training_mode is 1"));
}

TEST_CASE("numbers that no data can have are errors of their domain") {
  ModelMaker maker = norm_alone();
  maker.graph().mutable_initializer(3)->set_float_data(1, -1);
  const OnnxBatchNorm norm = only(maker.model);
  CHECK_THAT(norm.reason, Contains("\"v\"") && Contains("a negative number"));
  CHECK_THROWS_AS(load_state<float>(norm), std::domain_error);
}

TEST_CASE("a node that trains is loaded where training on is meant") {
  ModelMaker maker = norm_alone();
  set_int(*maker.graph().mutable_node(0), "training_mode", 1);
  const OnnxBatchNorm norm = only(maker.model);
  CHECK(norm.trains);
  CHECK_THROWS_AS(load_state<float>(norm), std::runtime_error);
  const auto loaded = load_state<float, 2>(norm, OnnxTraining::accept);
  CHECK(loaded.state.running_mean[1] == -2);
  CHECK(loaded.state.batches_seen == State<float>::unknown);
  BatchNorm<float, 2> layer(loaded.state, loaded.options);
  // x = 0, 4 and 1, 1: batch means 2 and 1, population variances 4 and 0; 0.9 of the old is kept.
  Eigen::MatrixXf x(2, 2), y(2, 2);
  x << 0, 4, 1, 1;
  layer.train(x, y);
  CHECK(layer.state().running_mean[0] == Approx(0.9 * 1 + 0.1 * 2).epsilon(1e-6));
  CHECK(layer.state().running_variance[0] == Approx(0.9 * 4 + 0.1 * 4).epsilon(1e-6));
  CHECK(layer.state().running_variance[1] == Approx(0.9 * 0.25).epsilon(1e-6));
}

TEST_CASE("a value may have the name that safetensors keep for metadata") {
  ModelMaker maker = norm_alone();
  maker.graph().mutable_initializer(2)->set_name("__metadata__");
  maker.graph().mutable_node(0)->set_input(3, "__metadata__");
  check_layer(only(maker.model), 1e-5);
}

TEST_CASE("one initialiser may be several inputs of a node") {
  ModelMaker maker = norm_alone();
  for (const int place : {3, 4}) maker.graph().mutable_node(0)->set_input(place, "s");
  const auto loaded = load_state<double>(only(maker.model));
  CHECK(loaded.state.running_mean[1] == 3);
  CHECK(loaded.state.running_variance[0] == 2);
}
