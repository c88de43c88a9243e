// SPDX-License-Identifier: MIT
#include "batchnorm/io/onnx_node.hpp"

#include <Eigen/Core>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "batchnorm/io/onnx_batch_norms.hpp"
#include "batchnorm/io/onnx_write.hpp"
#include "batchnorm/layer.hpp"
#include "support/catch.hpp"
#include "support/onnx_models.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
using Catch::Matchers::Contains;

namespace {

State<float> two_channels() {
  State<float> state(2);
  state.gamma << 2, -3;
  state.beta << 0.5f, -1;
  state.running_mean << 1, -2;
  state.running_variance << 4, 0.3;
  state.batches_seen = State<float>::unknown;
  return state;
}

OnnxBatchNorm only(const OnnxModel& model) {
  CHECK_NOTHROW(check_onnx(model));
  const auto norms = find_batch_norms(model);
  REQUIRE(norms.size() == 1);
  CHECK(norms[0].can_be_frozen());
  return norms[0];
}

}  // namespace

TEST_CASE("a layer becomes a model of opset 15 that reads as the layer") {
  Options options = Options::keras();
  const OnnxModel model = onnx_of(two_channels(), options, 4);
  CHECK(model.proto.opset_import(0).version() == 15);
  const auto& shape = model.proto.graph().input(0).type().tensor_type().shape();
  CHECK(shape.dim_size() == 4);
  CHECK(shape.dim(1).dim_value() == 2);
  CHECK_FALSE(shape.dim(0).has_dim_value());
  const OnnxBatchNorm norm = only(model);
  const auto loaded = load_state<float>(norm);
  CHECK(loaded.options.epsilon == 0.0010000000474974513);
  CHECK(loaded.state.gamma == two_channels().gamma);
  CHECK(loaded.state.beta == two_channels().beta);
  CHECK(loaded.state.running_mean == two_channels().running_mean);
  CHECK(loaded.state.running_variance[0] == 4);
  CHECK(loaded.state.running_variance[1] == static_cast<double>(0.3f));
  CHECK(norm.found.dtype == "F32");
}

TEST_CASE("a frozen layer comes back with the bits of its output") {
  const FrozenBatchNorm<float> frozen(two_channels(), Options::pytorch());
  const auto loaded = load_state<float>(only(onnx_of(frozen)));
  CHECK(loaded.options.epsilon == 0);
  Eigen::MatrixXf x(2, 3);
  x << 1, 2.7f, -1e6f, 3, 1e-3f, 0;
  const Eigen::MatrixXf expected = frozen(x);
  const Eigen::MatrixXf y = loaded.freeze()(x);
  CHECK(y == expected);
}

TEST_CASE("the types of input and parameters are those of the layer") {
  const auto types = [](const OnnxModel& model) {
    return std::to_string(model.proto.graph().input(0).type().tensor_type().elem_type()) + " " +
           std::to_string(model.proto.graph().initializer(0).data_type());
  };
  CHECK(types(onnx_of(two_channels(), Options())) == "1 1");
  CHECK(types(onnx_of(two_channels().cast<double>(), Options())) == "11 11");
  CHECK(types(onnx_of(two_channels().cast<Eigen::half>(), Options())) == "10 1");
  CHECK(types(onnx_of(two_channels().cast<Eigen::bfloat16>(), Options())) == "16 1");
}

TEST_CASE("scale and shift that are off are 1 and 0, and an epilogue is a node") {
  Options options;
  options.scale = options.shift = false;
  options.epilogue = Epilogue::leaky_relu(0.25);
  const OnnxModel leaky = onnx_of(two_channels(), options);
  const auto loaded = load_state<float>(only(leaky));
  CHECK(loaded.state.gamma == Eigen::Vector2f(1, 1));
  CHECK(loaded.state.beta == Eigen::Vector2f(0, 0));
  REQUIRE(leaky.proto.graph().node_size() == 2);
  CHECK(leaky.proto.graph().node(1).op_type() == "LeakyRelu");
  CHECK(leaky.proto.graph().node(1).attribute(0).f() == 0.25f);
  CHECK(leaky.proto.graph().node(1).output(0) == "y");
  options.epilogue = Epilogue::relu();
  CHECK(onnx_of(two_channels(), options).proto.graph().node(1).op_type() == "Relu");
}

TEST_CASE("a node is added to a graph, under names that are free") {
  ModelMaker maker(13);
  maker.input("x", {-1, 2});
  maker.output("y", {-1, 2});
  maker.floats("bn.scale", {1}, {7});
  maker.node("Relu", "relu", {"x"}, {"r"});
  add_batch_norm(maker.model, "bn", "r", "h", two_channels(), Options());
  add_batch_norm(maker.model, "last", "h", "y", FrozenBatchNorm<float>(two_channels(), Options()));
  CHECK_NOTHROW(check_onnx(maker.model));
  const auto norms = find_batch_norms(maker.model);
  REQUIRE(norms.size() == 2);
  CHECK(norms[0].behind == "Relu relu");
  CHECK(norms[0].found.key(Role::gamma) == "bn.scale_2");
  CHECK(norms[1].found.key(Role::variance) == "last.input_var");
}

TEST_CASE("what cannot be written is refused, and the model stays as it was") {
  ModelMaker maker(13);
  maker.input("x", {-1, 2});
  const std::string before = maker.model.proto.SerializeAsString();
  const auto add = [&](const char* input, const char* output, const State<float>& state) {
    add_batch_norm(maker.model, "bn", input, output, state, Options());
  };
  CHECK_THROWS_WITH(add("nowhere", "y", two_channels()),
                    Contains("add_batch_norm: \"made.onnx\"") && Contains("\"nowhere\""));
  CHECK_THROWS_WITH(add("x", "x", two_channels()), Contains("a new name"));
  State<float> wrong = two_channels();
  wrong.gamma[1] = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_AS(add("x", "y", wrong), std::domain_error);
  State<float> stale = two_channels();
  stale.mark_stale(Staleness::weights_pruned);
  CHECK_THROWS_WITH(add("x", "y", stale), Contains("pruned"));
  CHECK_THROWS_AS(onnx_of(two_channels(), Options(), 1), std::invalid_argument);
  CHECK_THROWS_AS(onnx_of(FrozenBatchNorm<float>()), std::invalid_argument);
  CHECK(maker.model.proto.SerializeAsString() == before);
  ModelMaker old(8);
  old.input("x", {-1, 2});
  CHECK_THROWS_WITH(add_batch_norm(old.model, "bn", "x", "y", two_channels(), Options()),
                    Contains("9 or later"));
}

TEST_CASE("a name of the output that anything has is refused") {
  ModelMaker maker(13);
  maker.input("x", {-1, 2});
  maker.floats("w", {2}, {1, 2});
  maker.node("Neg", "", {"x"}, {"n"});
  for (const char* taken : {"", "x", "w", "n"}) {
    CHECK_THROWS_WITH(
        add_batch_norm(maker.model, "bn", "x", taken, two_channels(), Options()),
        Contains("output of the node: expected a new name, got \"" + std::string(taken) + "\""));
  }
  ModelMaker nine(9);
  nine.input("x", {-1, 2});
  CHECK_NOTHROW(add_batch_norm(nine.model, "bn", "x", "y", two_channels(), Options()));
}

TEST_CASE("an epsilon beyond the range of float, and parameters that are no numbers, are refused") {
  Options options;
  options.epsilon = 1e38;
  CHECK_NOTHROW(onnx_of(two_channels().cast<double>(), options));
  options.epsilon = 1e39;
  CHECK_THROWS_AS(onnx_of(two_channels().cast<double>(), options), std::invalid_argument);
  CHECK_THROWS_WITH(onnx_of(two_channels().cast<double>(), options),
                    "onnx_of: epsilon is a float in ONNX: expected one that fits, got 1e+39");
  State<float> infinite = two_channels();
  infinite.beta[1] = std::numeric_limits<float>::infinity();
  CHECK_THROWS_WITH(onnx_of(infinite, Options()), Contains("gamma and beta of channel 1"));
  infinite = two_channels();
  infinite.gamma[0] = std::numeric_limits<float>::infinity();
  CHECK_THROWS_WITH(onnx_of(infinite, Options()), Contains("gamma and beta of channel 0"));
}

TEST_CASE("a model has two to eight axes") {
  for (const Index rank : {2, 8}) {
    const OnnxModel model = onnx_of(two_channels(), Options(), rank);
    CHECK(model.proto.graph().input(0).type().tensor_type().shape().dim_size() == rank);
  }
  for (const Index rank : {1, 9}) {
    CHECK_THROWS_WITH(onnx_of(two_channels(), Options(), rank),
                      Contains("number of axes: expected 2 (examples x channels) to 8, got " +
                               std::to_string(rank)));
  }
}

TEST_CASE("a model of one norm names the axes that its caller chooses") {
  const OnnxModel model = onnx_of(two_channels(), Options(), 4);
  const auto names = [](const onnx::ValueInfoProto& value) {
    std::vector<std::string> result;
    for (const auto& dimension : value.type().tensor_type().shape().dim()) {
      result.push_back(dimension.has_dim_value() ? std::to_string(dimension.dim_value())
                                                 : dimension.dim_param());
    }
    return result;
  };
  const std::vector<std::string> expected{"examples", "2", "positions_1", "positions_2"};
  CHECK(names(model.proto.graph().input(0)) == expected);
  CHECK(names(model.proto.graph().output(0)) == expected);
}
