// SPDX-License-Identifier: MIT
// Folds of layers as they are, without their states and options.
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "batchnorm/fold/fold.hpp"
#include "batchnorm/frozen.hpp"
#include "batchnorm/layer.hpp"
#include "support/catch.hpp"

using namespace batchnorm;

namespace {

/// (x - 5) 3 + 7, with an epsilon that is part of it: 6 / sqrt(3 + 1).
template <class T, int Channels = Eigen::Dynamic>
BatchNorm<T, Channels> triple(Epilogue epilogue = Epilogue::none()) {
  Options options;
  options.epsilon = 1;
  options.epilogue = epilogue;
  State<T, Channels> state(1);
  state.gamma[0] = 6;
  state.beta[0] = 7;
  state.running_mean[0] = 5;
  state.running_variance[0] = 3;
  return {state, options};
}

}  // namespace

TEMPLATE_TEST_CASE("a layer folds with its state and options, and frozen as well", "[fold]", float,
                   double, Eigen::half) {
  const auto layer = triple<TestType>();
  const auto fold = [](const auto& norm) {
    Eigen::MatrixXd weight = Eigen::MatrixXd::Constant(1, 2, 2);
    std::vector<double> bias = {4};
    fold_after(linear(weight), bias, norm);
    CHECK(weight == Eigen::RowVector2d(6, 6));
    CHECK(bias == std::vector<double>{4});  // (4 - 5) 3 + 7
  };
  fold(layer);
  fold(layer.freeze());
  fold(triple<TestType, 1>());
  const auto fold_front = [](const auto& norm) {
    Eigen::MatrixXd weight = Eigen::MatrixXd::Constant(2, 1, 2);
    std::vector<double> bias;
    fold_before(linear(weight), bias, norm);
    CHECK(weight == Eigen::Vector2d(6, 6));
    CHECK(bias == std::vector<double>{-16, -16});  // 2 (7 - 5 3)
  };
  fold_front(layer);
  fold_front(layer.freeze());
}

TEST_CASE("options of a layer count: no gamma, no beta", "[fold]") {
  Options options;
  options.epsilon = 1;
  options.scale = options.shift = false;
  State<float> state(1);
  state.gamma[0] = 100;
  state.beta[0] = 100;
  state.running_mean[0] = 5;
  state.running_variance[0] = 3;
  Eigen::MatrixXf weight = Eigen::MatrixXf::Constant(1, 1, 8);
  Eigen::VectorXf bias;
  const BatchNorm<float> layer(state, options);
  fold_after(linear(weight), bias, layer, FoldOptions());
  CHECK(weight(0, 0) == 4.0f);
  CHECK(bias[0] == -2.5f);
}

TEST_CASE("layers in a row, and padded with zeros, are taken as they are", "[fold]") {
  const auto layer = triple<float>();
  const InferenceMap two = InferenceMap(layer).then(layer);
  CHECK(two.scale()[0] == 9.0);
  CHECK(two.shift()[0] == 13.0);  // (7 - 5) 3 + 7
  std::vector<float> memory = {1};
  ConvolutionAxis axis;
  axis.input = axis.kernel = 1;
  axis.padding_before = 1;
  const Eigen::VectorXf none;
  const auto padded =
      fold_before_padded(convolution_oihw(memory.data(), 1, 1, 1), none, layer, {axis});
  CHECK(padded.bias == Eigen::RowVector2f(0, -8));  // nothing at the border; 7 - 5 3
}

TEST_CASE("what stands behind a layer is asked of the layer, and of the frozen one", "[fold]") {
  const auto layer = triple<float>(Epilogue::relu());
  Eigen::MatrixXf weight = Eigen::MatrixXf::Ones(1, 1);
  Eigen::VectorXf bias;
  CHECK_THROWS_AS(fold_before(linear(weight), bias, layer), std::invalid_argument);
  CHECK_THROWS_AS(fold_before(linear(weight), bias, layer.freeze()), std::invalid_argument);
  CHECK(weight(0, 0) == 1.0f);
  fold_after(linear(weight), bias, layer.freeze());
  CHECK(weight(0, 0) == 3.0f);
}

TEST_CASE("a frozen layer of float is rounded to float, the layer itself is not", "[fold]") {
  State<float> state(1);
  state.running_variance[0] = 2;
  Options options;
  options.epsilon = 0;
  const BatchNorm<float> layer(state, options);
  const double exact = 1 / std::sqrt(2.0);
  CHECK(std::fabs(InferenceMap(layer).scale()[0] - exact) <= 0x1p-52);
  CHECK(InferenceMap(layer.freeze()).scale()[0] == static_cast<double>(static_cast<float>(exact)));
}

TEST_CASE("numbers of a layer that are not finite are refused", "[fold]") {
  State<float> state(1);
  state.beta[0] = std::numeric_limits<float>::quiet_NaN();
  const BatchNorm<float> layer(state, Options());
  Eigen::MatrixXf weight = Eigen::MatrixXf::Ones(1, 1);
  Eigen::VectorXf bias;
  CHECK_THROWS_AS(fold_after(linear(weight), bias, layer), std::domain_error);
  CHECK(weight(0, 0) == 1.0f);
  CHECK(bias.size() == 0);
}

TEST_CASE("a layer that has no statistics is not folded, in any form", "[fold]") {
  Eigen::MatrixXf weight(2, 2);
  weight << 1, 2, 3, 4;
  const Eigen::MatrixXf before = weight;
  Eigen::VectorXf bias;
  const auto refused = [&](const auto& call) {
    CHECK_THROWS_MATCHES(call(), std::domain_error,
                         batchnorm_test::says("InferenceMap: the running statistics must come from "
                                              "data: expected a layer that has trained"));
    CHECK(weight == before);
    CHECK(bias.size() == 0);
  };
  BatchNorm<float> layer(2);
  CHECK_FALSE(layer.has_statistics());
  refused([&] { fold_after(linear(weight), bias, layer); });
  refused([&] { fold_before(linear(weight), bias, layer); });
  refused([&] {
    fold_before_padded(convolution_oihw(weight.data(), 2, 2, 1), bias, layer, {{1, 1}});
  });
  refused([&] { InferenceMap::identity(2).then(layer); });
  refused([&] { InferenceMap map(layer); });
  // Those of a state that was given are meant, whatever they are; and those of data are there.
  CHECK(BatchNorm<float>(State<float>(2), Options()).has_statistics());
  fold_after(linear(weight), bias, BatchNorm<float>(State<float>(2), Options()));
  weight = before;
  Eigen::MatrixXf x(2, 2);
  x << 1, 3, 2, 6;
  layer.train(x);
  CHECK(layer.has_statistics());
  fold_after(linear(weight), bias, layer);
  CHECK(weight != before);
}
