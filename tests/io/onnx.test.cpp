// SPDX-License-Identifier: MIT
// Models of PyTorch and of others, and what the checker of ONNX says of the models that are
// written.
#include "batchnorm/io/onnx.hpp"

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/conformance.hpp"
#include "support/onnx_checker.hpp"
#include "support/onnx_models.hpp"
#include "support/paths.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

/// What is expected of a file: BatchNormalization nodes, those that can be frozen, those that fold.
struct Expected {
  const char* file;
  std::size_t nodes, frozen, folded;
};

// Counted by hand in what `protoc --decode=onnx.ModelProto` prints.
const Expected real_models[] = {{"burn_onnx_deduplicated.onnx", 2, 2, 0},
                                {"burn_onnx_opset_01.onnx", 1, 0, 0},
                                {"burn_onnx_opset_06.onnx", 1, 0, 0},
                                {"burn_onnx_opset_07.onnx", 1, 0, 0},
                                {"burn_onnx_opset_09.onnx", 1, 1, 0},
                                {"burn_onnx_opset_14.onnx", 1, 1, 0},
                                {"burn_onnx_opset_15.onnx", 1, 1, 0},
                                {"burn_onnx_statistics_are_graph_inputs.onnx", 1, 0, 0},
                                {"finn_unsqueeze_bn_squeeze.onnx", 3, 3, 0},
                                {"marabou_gemm_bn_gemm.onnx", 1, 1, 1},
                                {"onnx2c_mnist_matmul_bn_constants.onnx", 2, 2, 2},
                                {"onnx_light_shufflenet_eps_absent.onnx", 49, 49, 49},
                                {"onnx_node_training_mode.onnx", 1, 0, 0},
                                {"onnx_pytorch03_opset6_bn1d.onnx", 1, 1, 0},
                                {"onnx_pytorch03_opset6_eps1e-3.onnx", 1, 1, 0},
                                {"qonnx_quant_conv_bn.onnx", 3, 3, 0}};

bool is_valid(const OnnxModel& model) {
  try {
    onnx::checker::check_model(model.proto);
  } catch (const std::exception& error) {
    WARN(model.name << ": " << error.what());
    return false;
  }
  return true;
}

/// The largest difference of an initialiser from numbers in double, in units of the last place of
/// the largest.
double ulps(const OnnxModel& model, const std::string& name, const std::vector<double>& expected) {
  const detail::OnnxScope scope(model.proto.graph(), nullptr, "", 15);
  const detail::OnnxConstant found = detail::find_onnx_constant(model, scope, name);
  INFO(name << " " << found.fault);
  REQUIRE(found.found());
  Tensors tensors;
  tensors.set("t", found.tensor);
  const std::vector<double> values = tensors.values<double>("t");
  REQUIRE(values.size() == expected.size());
  double most = 0, largest = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    most = std::max(most, std::fabs(values[i] - expected[i]));
    largest = std::max(largest, std::fabs(expected[i]));
  }
  return most / (largest * 0x1p-23);
}

}  // namespace

TEST_CASE("weights of PyTorch's exports fold to the numbers of another implementation") {
  if (is_left_out("onnx_model as ONNX files", 2)) return;
  const Group group = load_group(conformance_dir(), "onnx_model");
  for (const std::string id : {"conv_bn_relu", "gemm_bn"}) {
    const OnnxFoldResult result =
        fold_batch_norms(read_onnx(conformance_dir() + "/" + id + ".onnx"));
    INFO(result.text());
    CHECK(result.left.empty());
    CHECK(is_valid(result.model));
    for (const std::string layer : {"0", "3"}) {
      const std::string key = id + "/folded." + layer;
      if (!group.tensors.contains(key + ".weight.f64")) continue;
      for (const std::string part : {".weight", ".bias"}) {
        CHECK(ulps(result.model, layer + part, group.tensors.values<double>(key + part + ".f64")) <=
              0.51);
      }
    }
  }
}

TEST_CASE("a model that trains is read as where its training starts") {
  if (is_left_out("onnx_model as ONNX files", 1)) return;
  const Group group = load_group(conformance_dir(), "onnx_model");
  const auto norms = find_batch_norms(read_onnx(conformance_dir() + "/gemm_bn_training.onnx"));
  REQUIRE(norms.size() == 1);
  CHECK(norms[0].trains);
  const auto loaded = load_state<double>(norms[0], OnnxTraining::accept);
  const std::vector<double> before =
      group.tensors.values<double>("gemm_bn_training/before/1.running_var");
  for (std::size_t c = 0; c < before.size(); ++c) {
    CHECK(loaded.state.running_variance[static_cast<Index>(c)] == before[c]);
  }
}

TEST_CASE("every norm of models of others is found, and every fold gives a valid model") {
  const std::string folder = environment("BATCHNORM_ONNX_MODELS_DIR");
  if (folder.empty()) {
    WARN("left out: models of others, because BATCHNORM_ONNX_MODELS_DIR names no folder");
    return;
  }
  for (const Expected& expected : real_models) {
    INFO(expected.file);
    const std::string path = folder + "/" + expected.file;
    if (!std::filesystem::exists(path)) {
      WARN("left out: " << expected.file << " is not there");
      continue;
    }
    const OnnxModel model = read_onnx(path);
    const std::vector<OnnxBatchNorm> norms = find_batch_norms(model);
    CHECK(norms.size() == expected.nodes);
    std::size_t frozen = 0;
    for (const OnnxBatchNorm& norm : norms) {
      CHECK(norm.can_be_frozen() == norm.reason.empty());
      frozen += norm.can_be_frozen() ? 1 : 0;
      if (norm.can_be_frozen()) CHECK_NOTHROW(load_state<float>(norm).freeze());
    }
    CHECK(frozen == expected.frozen);
    FoldOptions quick;
    quick.probes = 1;
    const OnnxFoldResult result = fold_batch_norms(model, quick);
    CHECK(result.folds.size() == expected.folded);
    CHECK(result.folds.size() + result.left.size() == norms.size());
    CHECK_NOTHROW(check_onnx(result.model));
    // The checker does not know the operators of other domains.
    if (expected.folded > 0) CHECK(is_valid(result.model));
  }
}

TEST_CASE("layers as models are valid for the checker of ONNX") {
  State<float> state(3);
  state.batches_seen = State<float>::unknown;
  Options options;
  options.epilogue = Epilogue::leaky_relu(0.5);
  CHECK(is_valid(onnx_of(state, options)));
  CHECK(is_valid(onnx_of(state, options, 5)));
  CHECK(is_valid(onnx_of(FrozenBatchNorm<double>(state.cast<double>(), Options()), 4)));
  CHECK(is_valid(onnx_of(state.cast<Eigen::half>(), Options())));
}

TEST_CASE("folds of a MatMul give models that are valid for the checker of ONNX") {
  ModelMaker maker(11);
  maker.input("x", {1, 2});
  maker.two_channels();
  maker.floats("w", {2, 2}, {1, 2, 3, 4});
  maker.norm("x", "n");
  maker.node("MatMul", "mm", {"n", "w"}, {"h"});
  maker.node("BatchNormalization", "bn2", {"h", "s", "b", "m", "v"}, {"y"});
  maker.output("y", {1, 2});
  CHECK(is_valid(maker.model));
  const OnnxFoldResult result = fold_batch_norms(maker.model);
  CHECK(result.folds.size() == 2);
  CHECK(is_valid(result.model));
}
