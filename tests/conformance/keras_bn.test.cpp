// SPDX-License-Identifier: MIT
// Keras 3's BatchNormalization: channel last, weight of the old average, population variance, and
// masks, whose counts are exact here: what Keras adds to them (1e-7) is left out of the expected
// numbers.
#include "batchnorm/layer.hpp"

#include <cstdint>
#include <string>
#include <vector>

#include "batchnorm/math/masked.hpp"
#include "support/catch.hpp"
#include "support/conformance.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

const Group& keras_bn() {
  static const Group group = load_group(reference_dir(), "keras_bn");
  return group;
}

using Mask = Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Mask mask_of(const std::string& name, const Shape& shape) {
  const std::vector<std::uint8_t> values = keras_bn().tensors.values<std::uint8_t>(name + "mask");
  Mask mask(shape.samples, shape.positions);
  for (Index i = 0; i < mask.size(); ++i) {
    mask.data()[i] = values.at(static_cast<std::size_t>(i)) != 0;
  }
  return mask;
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
  const auto y = shape.view(y_data.data());
  const auto dy = shape.view(dy_data.data());
  const auto dx = shape.view(dx_data.data());
  const bool has_mask = step.contains("mask");
  const Mask mask = has_mask ? mask_of(name, shape) : Mask();
  const State<T> before = layer.state();
  const auto batch = has_mask ? layer.train(masked(x, mask), y) : layer.train(x, y);
  const Gradients<T> gradients =
      has_mask ? layer.backward(batch, masked(x, mask), dy, dx) : layer.backward(batch, x, dy, dx);
  CHECK(batch.count == step.at("count").get<Index>());
  if (step.contains("exact_undefined")) {
    // Keras moves its averages towards 0; here nothing happens.
    CHECK(layer.state().running_mean == before.running_mean);
    CHECK(layer.state().running_variance == before.running_variance);
    CHECK(layer.state().batches_seen == before.batches_seen);
    CHECK(y_data == std::vector<T>(shape.size(), T(0)));
    CHECK(dx_data == std::vector<T>(shape.size(), T(0)));
    return;
  }
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
    BatchNorm<T> layer = make_layer<T>(test_case);
    for (const nlohmann::json& step : test_case.at("steps")) {
      run_step(layer, test_case, step);
      ++steps;
    }
  }
  return steps;
}

}  // namespace

TEST_CASE("Keras in double: 17 cases") {
  CHECK(run_all<double>() == 47);
}

TEST_CASE("Keras in float: 17 cases") {
  CHECK(run_all<float>() == 47);
}
