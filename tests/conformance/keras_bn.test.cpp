// SPDX-License-Identifier: MIT
// Keras 3's BatchNormalization: channel last, weight of the old average, population variance. Cases
// with masks are left to the issue that brings masks.
#include "batchnorm/layer.hpp"

#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/conformance.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

const Group& keras_bn() {
  static const Group group = load_group(reference_dir(), "keras_bn");
  return group;
}

bool has_mask(const nlohmann::json& test_case) {
  for (const nlohmann::json& step : test_case.at("steps")) {
    if (step.contains("mask")) return true;
  }
  return false;
}

template <class T>
BatchNorm<T> make_layer(const nlohmann::json& test_case) {
  const Tensors& tensors = keras_bn().tensors;
  const std::string id = test_case.at("id").get<std::string>() + "/";
  Options options = Options::keras();
  options.epsilon = test_case.at("epsilon").get<double>();
  options.running = RunningUpdate::keep_old(test_case.at("momentum").get<double>());
  options.scale = test_case.at("scale").get<bool>();
  options.shift = test_case.at("center").get<bool>();

  State<T> state(test_case.at("channels").get<Index>());
  if (options.scale) state.gamma = channel_vector<T>(tensors, id + "gamma");
  if (options.shift) state.beta = channel_vector<T>(tensors, id + "beta");
  state.running_mean = channel_vector<T>(tensors, id + "init_moving_mean");
  state.running_variance = channel_vector<T>(tensors, id + "init_moving_var");
  return BatchNorm<T>(state, options);
}

template <class T>
void run_step(BatchNorm<T>& layer, const nlohmann::json& test_case, const nlohmann::json& step) {
  const Tensors& tensors = keras_bn().tensors;
  const std::string name =
      test_case.at("id").get<std::string>() + "/" + step.at("prefix").get<std::string>() + "/";
  INFO(name << " " << dtype_suffix<T>());
  const Shape shape(test_case.at("layout").get<std::string>(),
                    step.at("shape").get<std::vector<Index>>());
  const Tolerance tolerance(test_case.at("tol").at(dtype_suffix<T>()));
  const auto check = [&](const char* what, const Numbers& result) {
    INFO(what);
    const Numbers expected = tensors.values<double>(name + what + ".f64");
    CHECK(outside(result, expected, tolerance, [](std::size_t) { return std::size_t{0}; }) == "");
  };

  const std::vector<T> x_data = tensors.values<T>(name + "x");
  const BatchView<const T> x = shape.view(x_data.data());
  std::vector<T> y_data(shape.size());
  if (step.at("mode") == "eval") {
    layer.infer(x, shape.view(y_data.data()));
    check("y", as_numbers(y_data));
    return;
  }
  const std::vector<T> dy_data = tensors.values<T>(name + "dy");
  std::vector<T> dx_data(shape.size());
  const auto batch = layer.train(x, shape.view(y_data.data()));
  const Gradients<T> gradients =
      layer.backward(batch, x, shape.view(dy_data.data()), shape.view(dx_data.data()));
  CHECK(batch.count == step.at("count").get<Index>());
  check("mean", as_numbers(batch.mean));
  check("var", as_numbers(batch.population_variance()));
  check("y", as_numbers(y_data));
  check("dx", as_numbers(dx_data));
  if (layer.options().scale) check("dgamma", as_numbers(gradients.gamma));
  if (layer.options().shift) check("dbeta", as_numbers(gradients.beta));
  check("moving_mean", as_numbers(layer.state().running_mean));
  check("moving_var", as_numbers(layer.state().running_variance));
}

template <class T>
int run_all() {
  int steps = 0;
  for (const nlohmann::json& test_case : keras_bn().cases()) {
    if (has_mask(test_case)) continue;
    BatchNorm<T> layer = make_layer<T>(test_case);
    for (const nlohmann::json& step : test_case.at("steps")) {
      run_step(layer, test_case, step);
      ++steps;
    }
  }
  return steps;
}

}  // namespace

TEST_CASE("Keras in double: 11 cases without masks") {
  CHECK(run_all<double>() == 34);
}

TEST_CASE("Keras in float: 11 cases without masks") {
  CHECK(run_all<float>() == 34);
}
