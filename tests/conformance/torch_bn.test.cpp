// SPDX-License-Identifier: MIT
// PyTorch's BatchNorm1d, 2d and 3d, step by step: forward, backward, running statistics,
// evaluation. All precisions that a case has; the bounds are those of the file, about the float64
// reference.
#include "batchnorm/layer.hpp"

#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/conformance.hpp"
#include "support/paths.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

const Group& torch_bn() {
  static const Group group = load_group(reference_dir(), "torch_bn");
  return group;
}

template <class T>
BatchNorm<T> make_layer(const nlohmann::json& test_case) {
  const Tensors& tensors = torch_bn().tensors;
  const std::string id = test_case.at("id").get<std::string>() + "/";
  const nlohmann::json& momentum = test_case.at("momentum");

  Options options = Options::pytorch();
  options.epsilon = test_case.at("eps").get<double>();
  options.running = momentum.is_null() ? RunningUpdate::cumulative()
                                       : RunningUpdate::take_new(momentum.get<double>());
  options.scale = options.shift = test_case.at("affine").get<bool>();
  if (has(test_case.at("tags"), "nan")) options.non_finite = NonFinite::propagate;

  State<T> state(test_case.at("channels").get<Index>());
  if (options.scale) {
    state.gamma = channel_vector<T>(tensors, id + "gamma");
    state.beta = channel_vector<T>(tensors, id + "beta");
  }
  if (test_case.at("track_running_stats").get<bool>()) {
    state.running_mean = channel_vector<T>(tensors, id + "init_running_mean");
    state.running_variance = channel_vector<T>(tensors, id + "init_running_var");
    state.batches_seen = test_case.at("init_num_batches_tracked").get<Index>();
  }
  return BatchNorm<T>(state, options);
}

/// Where a step's input lies: densely packed, or spread over a wider buffer.
template <class T>
struct Input {
  std::vector<T> memory;
  BatchView<const T> view;

  static Input of(const nlohmann::json& step, const std::string& name, const Shape& shape) {
    const Tensors& tensors = torch_bn().tensors;
    if (!step.contains("storage")) {
      std::vector<T> memory = tensors.values<T>(name + "x");
      const BatchView<const T> view = shape.view<const T>(memory.data());
      return {std::move(memory), view};
    }
    const nlohmann::json& storage = step.at("storage");
    std::vector<T> memory = tensors.values<T>(name + storage.at("tensor").get<std::string>());
    const auto strides = storage.at("strides").get<std::vector<Index>>();
    const BatchView<const T> view(memory.data() + storage.at("offset").get<Index>(), shape.samples,
                                  shape.channels, shape.positions, strides[0], strides[1], 1);
    return {std::move(memory), view};
  }
};

template <class T>
void run_step(BatchNorm<T>& layer, const nlohmann::json& test_case, const nlohmann::json& step) {
  const Group& group = torch_bn();
  const std::string name =
      test_case.at("id").get<std::string>() + "/" + step.at("prefix").get<std::string>() + "/";
  INFO(name << " " << dtype_suffix<T>());
  const Shape shape(test_case.at("layout").get<std::string>(),
                    step.at("shape").get<std::vector<Index>>());
  const ToleranceTable tolerance(group, name + "tol." + dtype_suffix<T>());
  const auto expected = [&](const char* what) {
    return group.tensors.values<double>(name + what + ".f64");
  };

  const Input<T> input = Input<T>::of(step, name, shape);
  const BatchView<const T> x = input.view;
  const std::vector<T> dy_data = group.tensors.values<T>(name + "dy");
  const BatchView<const T> dy = shape.view(dy_data.data());
  std::vector<T> y_data(shape.size()), dx_data(shape.size());
  const BatchView<T> y = shape.view(y_data.data()), dx = shape.view(dx_data.data());

  const bool tracked = test_case.at("track_running_stats").get<bool>();
  const bool training = step.at("mode") == "train";
  Gradients<T> gradients(shape.channels);
  if (training || !tracked) {
    const auto batch = tracked ? layer.train(x, y) : layer.normalize(x, y);
    gradients = layer.backward(batch, x, dy, dx);
    const Numbers variance = as_numbers(batch.population_variance());
    CHECK(outside(as_numbers(batch.mean), expected("mean"), tolerance["mean"]) == "");
    CHECK(outside(inverse_roots(variance, layer.options().epsilon), expected("invstd"),
                  tolerance["invstd"]) == "");
  } else {
    layer.infer(x, y);
    gradients = layer.backward_frozen(x, dy, dx);
  }

  CHECK(outside(as_numbers(y_data), expected("y"), tolerance["y"], shape) == "");
  CHECK(outside(as_numbers(dx_data), expected("dx"), tolerance["dx"], shape) == "");
  if (test_case.at("affine").get<bool>()) {
    CHECK(outside(as_numbers(gradients.gamma), expected("dgamma"), tolerance["dgamma"]) == "");
    CHECK(outside(as_numbers(gradients.beta), expected("dbeta"), tolerance["dbeta"]) == "");
  }
  if (tracked) {
    const State<T>& state = layer.state();
    CHECK(outside(as_numbers(state.running_mean), expected("running_mean"),
                  tolerance["running_mean"]) == "");
    CHECK(outside(as_numbers(state.running_variance), expected("running_var"),
                  tolerance["running_var"]) == "");
    CHECK(state.batches_seen == step.at("num_batches_tracked").get<Index>());
  }
}

struct Count {
  int cases = 0, steps = 0;
};

template <class T>
Count run_all() {
  Count count;
  for (const nlohmann::json& test_case : torch_bn().cases()) {
    if (test_case.at("informative").get<bool>()) continue;
    if (!has(test_case.at("dtypes"), dtype_suffix<T>())) continue;
    BatchNorm<T> layer = make_layer<T>(test_case);
    for (const nlohmann::json& step : test_case.at("steps")) {
      run_step(layer, test_case, step);
      ++count.steps;
    }
    ++count.cases;
  }
  return count;
}

}  // namespace

TEST_CASE("PyTorch in float64") {
  const Count count = run_all<double>();
  CHECK(count.cases == 59);
  CHECK(count.steps == 198);
}

TEST_CASE("PyTorch in float32") {
  CHECK(run_all<float>().cases == 56);
}

TEST_CASE("PyTorch in bfloat16, with float parameters and statistics") {
  CHECK(run_all<Eigen::bfloat16>().cases == 3);
}
