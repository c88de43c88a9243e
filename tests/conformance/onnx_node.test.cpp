// SPDX-License-Identifier: MIT
// The ONNX project's backend tests of BatchNormalization, in inference and in training mode.
#include "batchnorm/layer.hpp"

#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/conformance.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

void run_case(const Group& group, const nlohmann::json& test_case) {
  const Tensors& tensors = group.tensors;
  const std::string id = test_case.at("id").get<std::string>() + "/";
  INFO(id);
  Options options = Options::onnx();
  options.epsilon = test_case.at("epsilon").get<double>();
  options.running = RunningUpdate::keep_old(test_case.at("momentum").get<double>());
  State<float> state(test_case.at("channels").get<Index>());
  state.gamma = channel_vector<float>(tensors, id + "scale");
  state.beta = channel_vector<float>(tensors, id + "bias");
  state.running_mean = channel_vector<float>(tensors, id + "input_mean");
  state.running_variance = channel_vector<float>(tensors, id + "input_var");
  BatchNorm<float> layer(state, options);

  const Shape shape(test_case.at("layout").get<std::string>(),
                    test_case.at("shape").get<std::vector<Index>>());
  const Tolerance tolerance(test_case.at("tol"));
  const auto check = [&](const char* what, const Numbers& result) {
    INFO(what);
    const Numbers expected = tensors.values<double>(id + what + ".f32");
    CHECK(outside(result, expected, tolerance) == "");
  };
  const std::vector<float> x = tensors.values<float>(id + "x");
  std::vector<float> y(shape.size());
  if (test_case.at("training_mode") == 0) {
    layer.infer(shape.view(x.data()), shape.view(y.data()));
    check("y", as_numbers(y));
  } else {
    layer.train(shape.view(x.data()), shape.view(y.data()));
    check("y", as_numbers(y));
    check("running_mean", as_numbers(layer.state().running_mean));
    check("running_var", as_numbers(layer.state().running_variance));
  }
}

}  // namespace

TEST_CASE("ONNX backend tests of BatchNormalization") {
  if (is_left_out("onnx_node", 9)) return;
  const Group group = load_group(conformance_dir(), "onnx_node");
  CHECK(group.cases().size() == 9);
  for (const nlohmann::json& test_case : group.cases()) run_case(group, test_case);
}
