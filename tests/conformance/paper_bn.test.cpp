// SPDX-License-Identifier: MIT
// Ioffe and Szegedy 2015: algorithm 1 on each minibatch, the gradients of section 3, and algorithm
// 2, whose population statistics are plain averages over the minibatches.
#include "batchnorm/layer.hpp"

#include <limits>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/conformance.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

const Group& paper_bn() {
  static const Group group = load_group(reference_dir(), "paper_bn");
  return group;
}

template <class T>
void train_step(BatchNorm<T>& layer, const Shape& shape, const std::string& name) {
  const Tensors& tensors = paper_bn().tensors;
  const ToleranceTable tolerance(paper_bn(), name + "tol." + dtype_suffix<T>());
  const auto expected = [&](const char* what) {
    return tensors.values<double>(name + what + ".f64");
  };
  const double epsilon = layer.options().epsilon;

  const std::vector<T> x_data = tensors.values<T>(name + "x");
  const std::vector<T> dy_data = tensors.values<T>(name + "dy");
  std::vector<T> y_data(shape.size()), dx_data(shape.size());
  const BatchView<const T> x = shape.view(x_data.data()), dy = shape.view(dy_data.data());
  const auto batch = layer.train(x, shape.view(y_data.data()));
  const Gradients<T> gradients = layer.backward(batch, x, dy, shape.view(dx_data.data()));

  CHECK(outside(as_numbers(batch.mean), expected("mean"), tolerance["mean"]) == "");
  CHECK(outside(inverse_roots(as_numbers(batch.population_variance()), epsilon),
                inverse_roots(expected("var"), epsilon), tolerance["invstd"]) == "");
  CHECK(outside(as_numbers(y_data), expected("y"), tolerance["y"], shape) == "");
  CHECK(outside(as_numbers(dx_data), expected("dx"), tolerance["dx"], shape) == "");
  CHECK(outside(as_numbers(gradients.gamma), expected("dgamma"), tolerance["dgamma"]) == "");
  CHECK(outside(as_numbers(gradients.beta), expected("dbeta"), tolerance["dbeta"]) == "");
}

template <class T>
void check_population(const BatchNorm<T>& layer, const Tolerance& tolerance,
                      const std::string& id) {
  const Tensors& tensors = paper_bn().tensors;
  const State<T>& state = layer.state();
  CHECK(outside(as_numbers(state.running_mean), tensors.values<double>(id + "population_mean.f64"),
                tolerance) == "");
  CHECK(outside(as_numbers(state.running_variance),
                tensors.values<double>(id + "population_var.f64"), tolerance) == "");
}

/// The file gives bounds for the population statistics and none for what follows from them. The
/// state keeps its mean in T: two units in the mean's last place, times the slope of the map, are
/// allowed in addition.
template <class T>
void check_inference(const BatchNorm<T>& layer, const Tolerance& tolerance, const Shape& shape,
                     const std::string& name) {
  const Tensors& tensors = paper_bn().tensors;
  const FrozenBatchNorm<T> frozen = layer.freeze();
  const std::vector<T> x = tensors.values<T>(name + "x");
  std::vector<T> y(shape.size());
  frozen(shape.view(x.data()), shape.view(y.data()));
  const Numbers expected = tensors.values<double>(name + "y.f64");
  const Numbers slope = as_numbers(frozen.scale());
  const Numbers mean = as_numbers(layer.state().running_mean);
  const Numbers result = as_numbers(y);
  Numbers bounds(result.size());
  for (std::size_t i = 0; i < result.size(); ++i) {
    const std::size_t c = shape.channel_of(i);
    bounds[i] =
        tolerance.at(c, expected[i]) +
        2 * static_cast<double>(std::numeric_limits<T>::epsilon()) * std::fabs(slope[c] * mean[c]);
  }
  CHECK(outside(result, expected, Tolerance(bounds)) == "");
}

template <class T>
void run_case(const nlohmann::json& test_case) {
  const Tensors& tensors = paper_bn().tensors;
  const std::string id = test_case.at("id").get<std::string>() + "/";
  Options options = Options::paper();
  options.epsilon = test_case.at("eps").get<double>();
  State<T> state(test_case.at("channels").get<Index>());
  state.gamma = channel_vector<T>(tensors, id + "gamma");
  state.beta = channel_vector<T>(tensors, id + "beta");
  BatchNorm<T> layer(state, options);

  for (const nlohmann::json& step : test_case.at("steps")) {
    const std::string name = id + step.at("prefix").get<std::string>() + "/";
    INFO(name << " " << dtype_suffix<T>());
    const Shape shape(test_case.at("layout").get<std::string>(),
                      step.at("shape").get<std::vector<Index>>());
    if (step.at("mode") == "train") {
      train_step(layer, shape, name);
      continue;
    }
    check_population(layer, Tolerance(test_case.at("tol_population").at(dtype_suffix<T>())), id);
    check_inference(layer, Tolerance(test_case.at("tol_population").at(dtype_suffix<T>())), shape,
                    name);
  }
}

template <class T>
void run_all() {
  REQUIRE(paper_bn().cases().size() == 8);
  for (const nlohmann::json& test_case : paper_bn().cases()) run_case<T>(test_case);
}

}  // namespace

TEST_CASE("the paper's algorithms in double") {
  run_all<double>();
}

TEST_CASE("the paper's algorithms in float") {
  run_all<float>();
}
