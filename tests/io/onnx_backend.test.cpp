// SPDX-License-Identifier: MIT
// The tests that ONNX has for its own BatchNormalization, as published (Debian: libonnx-testdata):
// the nodes are read with their inputs as initialisers, and give the published outputs.

#include <cmath>
#include <fstream>
#include <string>
#include <vector>

#include "batchnorm/io/onnx.hpp"
#include "batchnorm/layer.hpp"
#include "support/catch.hpp"
#include "support/paths.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

onnx::TensorProto read_tensor(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  onnx::TensorProto tensor;
  REQUIRE(tensor.ParseFromIstream(&file));
  return tensor;
}

Tensor numbers_of(const std::string& path) {
  const OnnxModel none;
  Tensor tensor;
  REQUIRE(detail::OnnxTensorReader(read_tensor(path), none).read(tensor));
  return tensor;
}

std::vector<float> floats_of(const Tensor& tensor) {
  Tensors tensors;
  tensors.set("t", tensor);
  return tensors.values<float>("t");
}

/// The published tolerance of the backend tests: rtol 1e-3, atol 1e-7.
void check_near(const std::vector<float>& values, const std::vector<float>& expected) {
  REQUIRE(values.size() == expected.size());
  std::size_t outside = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float allowed = 1e-7f + 1e-3f * std::fabs(expected[i]);
    outside += std::fabs(values[i] - expected[i]) <= allowed ? 0 : 1;
  }
  CHECK(outside == 0);
}

void check_backend_test(const std::string& folder) {
  INFO(folder);
  OnnxModel model = read_onnx(folder + "/model.onnx");
  const std::string data = folder + "/test_data_set_0/";
  onnx::GraphProto& graph = *model.proto.mutable_graph();
  for (int place = 1; place <= 4; ++place) {
    onnx::TensorProto& tensor = *graph.add_initializer();
    tensor = read_tensor(data + "input_" + std::to_string(place) + ".pb");
    tensor.set_name(graph.node(0).input(place));
  }
  const std::vector<OnnxBatchNorm> norms = find_batch_norms(model);
  REQUIRE(norms.size() == 1);
  const auto loaded = load_state<float>(norms[0], OnnxTraining::accept);
  const Tensor x = numbers_of(data + "input_0.pb");
  REQUIRE(x.shape.size() == 4);
  const std::vector<float> in = floats_of(x);
  std::vector<float> out(in.size());
  const auto from = channels_first(in.data(), x.shape[0], x.shape[1], x.shape[2] * x.shape[3]);
  const auto to = channels_first(out.data(), x.shape[0], x.shape[1], x.shape[2] * x.shape[3]);
  if (!norms[0].trains) {
    loaded.freeze()(from, to);
    check_near(out, floats_of(numbers_of(data + "output_0.pb")));
    return;
  }
  BatchNorm<float> layer(loaded.state, loaded.options);
  layer.train(from, to);
  check_near(out, floats_of(numbers_of(data + "output_0.pb")));
  std::vector<float> mean, variance;
  for (Index channel = 0; channel < layer.state().channels(); ++channel) {
    mean.push_back(static_cast<float>(layer.state().running_mean[channel]));
    variance.push_back(static_cast<float>(layer.state().running_variance[channel]));
  }
  check_near(mean, floats_of(numbers_of(data + "output_1.pb")));
  check_near(variance, floats_of(numbers_of(data + "output_2.pb")));
}

}  // namespace

TEST_CASE("the backend tests of ONNX give their outputs and running statistics") {
  const std::string folder = environment("BATCHNORM_ONNX_BACKEND_DIR");
  if (folder.empty()) {
    WARN("left out: 4 backend tests of ONNX, because BATCHNORM_ONNX_BACKEND_DIR names no folder");
    return;
  }
  for (const char* name :
       {"example", "epsilon", "example_training_mode", "epsilon_training_mode"}) {
    check_backend_test(folder + "/node/test_batchnorm_" + name);
  }
}
