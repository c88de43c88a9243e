// SPDX-License-Identifier: MIT
#include "batchnorm/io/stored_form.hpp"

#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "batchnorm/io/checkpoint.hpp"
#include "support/catch.hpp"
#include "support/layer_files.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

/// A layer of two channels: gamma 2, 1; beta 0, 1; mean 1, -1; and what stands for the variance.
Tensors layer_with(const LayerKeys& keys, const std::vector<double>& variance) {
  Tensors tensors("net");
  if (!keys.gamma.empty()) tensors.set(keys.gamma, {2}, std::vector<float>{2, 1});
  if (!keys.beta.empty()) tensors.set(keys.beta, {2}, std::vector<float>{0, 1});
  tensors.set(keys.mean, {2}, std::vector<float>{1, -1});
  tensors.set(keys.variance, {2}, variance);
  return tensors;
}

Eigen::Vector2d variance_of(const Tensors& tensors, const LayerPrefix& prefix,
                            const LoadOptions& options) {
  return load_state<double>(tensors, prefix, options).state.running_variance;
}

const LayerKeys lasagne_keys = {"l.gamma", "l.beta", "l.mean", "l.inv_std"};
const LayerKeys ncnn_keys = {"bn/slope", "bn/bias", "bn/mean", "bn/var"};
const LayerKeys keras1_keys = {"bn1/bn1_gamma", "bn1/bn1_beta", "bn1/bn1_running_mean",
                               "bn1/bn1_running_std"};

}  // namespace

TEST_CASE("variances of every form, there and back") {
  using S = StoredVariance;
  CHECK(detail::variance_from(S::variance, 4.0, 0.25) == 4.0);
  CHECK(detail::variance_from(S::variance_with_epsilon, 4.25, 0.25) == 4.0);
  CHECK(detail::variance_from(S::deviation, 2.0, 0.25) == 4.0);
  CHECK(detail::variance_from(S::deviation_with_epsilon, 1.5, 0.25) == 2.0);
  CHECK(detail::variance_from(S::inverse_deviation, 0.5, 0.25) == 3.75);
  CHECK(detail::stored_from(S::variance, 4.0, 0.25) == 4.0);
  CHECK(detail::stored_from(S::variance_with_epsilon, 4.0, 0.25) == 4.25);
  CHECK(detail::stored_from(S::deviation, 4.0, 0.25) == 2.0);
  CHECK(detail::stored_from(S::deviation_with_epsilon, 2.0, 0.25) == 1.5);
  CHECK(detail::stored_from(S::inverse_deviation, 3.75, 0.25) == 0.5);
}

TEST_CASE("Lasagne stores the inverse deviation, from which epsilon is taken off again") {
  const Tensors tensors = layer_with(lasagne_keys, {0.5, 1.0});
  CHECK(variance_of(tensors, "l.", Epsilon(0.25)) == Eigen::Vector2d(3.75, 0.75));
  CHECK(variance_of(tensors, "l.", Epsilon(0.0)) == Eigen::Vector2d(4, 1));
  // (3 - 1) * 2 * 0.5 + 0 and (3 + 1) * 1 * 1 + 1, whatever epsilon is given.
  for (const double epsilon : {0.0, 0.25, 1.0}) {
    const auto loaded = load_state<double>(tensors, "l.", Epsilon(epsilon));
    CHECK(loaded.freeze()(Eigen::Vector2d(3, 3)) == Eigen::Vector2d(2, 5));
  }
  CHECK_THROWS_MATCHES(variance_of(tensors, "l.", Epsilon(1.5)), std::domain_error,
                       says("tensor \"l.inv_std\": channel 1: expected 1 / sqrt(variance + "
                            "epsilon) with epsilon 1.5, got 1, which leaves the variance -0.5"));
  CHECK_THROWS_AS(variance_of(layer_with(lasagne_keys, {0.5, 0.0}), "l.", Epsilon(0.25)),
                  std::domain_error);
}

TEST_CASE("a constant channel of a rounded inverse deviation has variance 0") {
  Tensors tensors = layer_with(lasagne_keys, {1.0, 1.0});
  const float rounded = static_cast<float>(1.0 / std::sqrt(1e-4));
  tensors.set("l.inv_std", {2}, std::vector<float>{rounded, std::nextafter(rounded, 200.0f)});
  const Eigen::Vector2d variance = variance_of(tensors, "l.", Epsilon(1e-4));
  CHECK(variance.minCoeff() >= 0.0);
  CHECK(variance.maxCoeff() < 1e-9);
}

TEST_CASE("how far a rounded inverse deviation may be off depends on its type") {
  // 31.625^-2 is 1.4e-7 below 1e-3: a rounding of half or bfloat16, and none of float.
  Tensors tensors = layer_with(lasagne_keys, {1.0, 1.0});
  tensors.set("l.inv_std", {2}, std::vector<Eigen::half>(2, Eigen::half(31.625f)));
  CHECK(variance_of(tensors, "l.", Epsilon(1e-3)) == Eigen::Vector2d(0, 0));
  tensors.set("l.inv_std", {2}, std::vector<Eigen::bfloat16>(2, Eigen::bfloat16(31.625f)));
  CHECK(variance_of(tensors, "l.", Epsilon(1e-3)) == Eigen::Vector2d(0, 0));
  tensors.set("l.inv_std", {2}, std::vector<float>(2, 31.625f));
  CHECK_THROWS_AS(variance_of(tensors, "l.", Epsilon(1e-3)), std::domain_error);
  tensors.set("l.inv_std", {2}, std::vector<Eigen::half>(2, Eigen::half(32.0f)));
  CHECK_THROWS_AS(variance_of(tensors, "l.", Epsilon(1e-3)), std::domain_error);
}

TEST_CASE("ncnn has added epsilon to the variance, so that none may be added again") {
  const Tensors tensors = layer_with(ncnn_keys, {4.0, 0.0});
  CHECK_THROWS_MATCHES(variance_of(tensors, "bn/", Epsilon(1e-5)), std::runtime_error,
                       says("epsilon of ncnn: expected Epsilon(0)"));
  // A deviation of 0 is replaced by 1e-4.
  const auto loaded = load_state<double>(tensors, "bn/", Epsilon(0.0));
  CHECK(loaded.state.running_variance == Eigen::Vector2d(4, 1e-8));
  CHECK(loaded.report.text().find("variance 0 counts as 1e-8") != std::string::npos);
  const LoadOptions plain = LoadOptions(Epsilon(0.25)).storing(StoredVariance::variance);
  CHECK(variance_of(layer_with(ncnn_keys, {4.0, 1.0}), "bn/", plain) == Eigen::Vector2d(4, 1));
}

TEST_CASE("Keras 1 stores a deviation or a variance, and the caller has to say which") {
  const Tensors tensors = layer_with(keras1_keys, {2.0, 1.0});
  const LoadOptions given = Epsilon(0.25);
  CHECK_THROWS_MATCHES(variance_of(tensors, "bn1/bn1_", given), std::domain_error,
                       says("variance of Keras 1: expected the word of the caller"));
  CHECK(variance_of(tensors, "bn1/bn1_", given.storing(StoredVariance::variance)) ==
        Eigen::Vector2d(2, 1));
  CHECK(variance_of(tensors, "bn1/bn1_", given.storing(StoredVariance::deviation_with_epsilon)) ==
        Eigen::Vector2d(3.75, 0.75));
  CHECK(variance_of(tensors, "bn1/bn1_", given.storing(StoredVariance::deviation)) ==
        Eigen::Vector2d(4, 1));
  for (const char* ending : {":0", "_1:0"}) {
    LayerKeys keys = keras1_keys;
    for (std::string* key : {&keys.gamma, &keys.beta, &keys.mean, &keys.variance}) *key += ending;
    const auto layers = find_batch_norms(layer_with(keys, {2.0, 1.0}));
    REQUIRE(layers.size() == 1);
    CHECK(layers[0].naming == Naming::keras1());
  }
}

TEST_CASE("MatConvNet has mean and deviation in one tensor, however it was turned") {
  for (const bool in_columns : {true, false}) {
    Tensors tensors("mat");
    tensors.set("bn1_g", {3}, std::vector<float>{1, 2, 3});
    tensors.set("bn1_b", {3}, std::vector<float>{0, 1, 2});
    const std::vector<double> columns = {1, 2, -1, 1, 0, 1.5}, rows = {1, -1, 0, 2, 1, 1.5};
    tensors.set("bn1_m", in_columns ? std::vector<Index>{3, 2} : std::vector<Index>{2, 3},
                in_columns ? columns : rows);
    const auto layers = find_batch_norms(tensors);
    REQUIRE(layers.size() == 1);
    CHECK(layers[0].naming == Naming::matconvnet());
    const auto loaded = load_state<double>(tensors, "bn1_", Epsilon(0.25));
    CHECK(loaded.state.running_mean == Eigen::Vector3d(1, -1, 0));
    CHECK(loaded.state.running_variance == Eigen::Vector3d(3.75, 0.75, 2));
  }
  Tensors square("mat");
  square.set("bn1_g", {2}, std::vector<float>{1, 2});
  square.set("bn1_b", {2}, std::vector<float>{0, 1});
  square.set("bn1_m", {2, 2}, std::vector<double>{1, 2, 3, 4});
  CHECK_THROWS_AS(load_state<float>(square, "bn1_", Epsilon(0.25)), std::runtime_error);
}

TEST_CASE("Leela Zero adds the bias of the convolution in front, Leela Chess Zero too") {
  Tensors tensors("lz");
  tensors.set("0.conv_biases", {2}, std::vector<float>{3, 4});
  tensors.set("0.bn_means", {2}, std::vector<float>{1, -1});
  tensors.set("0.bn_variances", {2}, std::vector<float>{3.75, 0.75});
  const LoadOptions given = Epsilon(0.25);
  const auto loaded = load_state<double>(tensors, "0.", given);
  CHECK(loaded.found.naming == Naming::leela_zero());
  // (3 + 3 - 1) / 2 and (3 + 4 + 1) / 1
  CHECK(loaded.freeze()(Eigen::Vector2d(3, 3)) == Eigen::Vector2d(2.5, 8));
  Tensors chess("lc0");
  chess.set("i.bn_gammas", {2}, std::vector<float>{2, 1});
  chess.set("i.bn_betas", {2}, std::vector<float>{0, 1});
  chess.set("i.bn_means", {2}, std::vector<float>{1, -1});
  chess.set("i.bn_stddivs", {2}, std::vector<float>{3.75, 0.75});
  chess.set("i.biases", {2}, std::vector<float>{3, 4});
  const auto with_bias = load_state<double>(chess, "i.", given);
  CHECK(with_bias.state.running_mean == Eigen::Vector2d(-2, -5));
  CHECK(with_bias.freeze()(Eigen::Vector2d(3, 3)) == Eigen::Vector2d(5, 9));
  chess.set("i.biases", {3}, std::vector<float>{3, 4, 5});
  CHECK_THROWS_AS(load_state<double>(chess, "i.", given), std::runtime_error);
}

TEST_CASE("Caffe keeps sums, to be divided by their factor") {
  Tensors tensors("caffe");
  tensors.set("bn1/0", {2}, std::vector<float>{4, -8});
  tensors.set("bn1/1", {2}, std::vector<float>{16, 4});
  tensors.set("bn1/2", {1}, std::vector<float>{4});
  tensors.set("scale1/0", {2}, std::vector<float>{2, 3});
  tensors.set("scale1/1", {2}, std::vector<float>{0, 1});
  const auto layers = find_batch_norms(tensors);
  REQUIRE(layers.size() == 1);
  CHECK(layers[0].naming == Naming::caffe());
  CHECK(layers[0].prefix == LayerPrefix("scale1/", "bn1/"));
  const auto loaded = load_state<double>(tensors, layers[0].prefix, Epsilon(1e-5));
  CHECK(loaded.state.gamma == Eigen::Vector2d(2, 3));
  CHECK(loaded.state.running_mean == Eigen::Vector2d(1, -2));
  CHECK(loaded.state.running_variance == Eigen::Vector2d(4, 1));
  const std::string lines = loaded.report.text();
  CHECK(lines.find("tensor \"bn1/0\": divided by the factor 4") != std::string::npos);
  CHECK(lines.find("tensor \"bn1/1\": divided by the factor 4") != std::string::npos);
  CHECK(load_state<double>(tensors, "bn1/", Epsilon(1e-5)).state.gamma == Eigen::Vector2d(2, 3));
  tensors.set("bn1/2", {1}, std::vector<float>{0});
  CHECK_THROWS_MATCHES(load_state<double>(tensors, "bn1/", Epsilon(1e-5)), std::runtime_error,
                       says("expected a number above 0, got 0: never trained"));
}

TEST_CASE("MXNet counts gamma as 1 unless it is told otherwise") {
  Tensors tensors("mxnet");
  add_layer(tensors,
            {"arg:bn0_gamma", "arg:bn0_beta", "aux:bn0_moving_mean", "aux:bn0_moving_var"});
  const LayerPrefix prefix("arg:bn0_", "aux:bn0_");
  const LoadOptions given = Epsilon(1e-3);
  const auto fixed = load_state<float>(tensors, prefix, given);
  CHECK(fixed.found.naming == Naming::mxnet());
  CHECK(fixed.state.gamma == Eigen::Vector3f(1, 1, 1));
  REQUIRE(fixed.report.of(Finding::suspicious).size() == 1);
  CHECK(load_state<float>(tensors, prefix, given.without_fixed_gamma()).state.gamma ==
        Eigen::Vector3f(1.5f, -2.0f, 0.5f));
  tensors.set("arg:bn0_gamma", {3}, std::vector<float>{1, 1, 1});
  CHECK_FALSE(load_state<float>(tensors, "bn0_", given).report.has(Finding::suspicious));
}

TEST_CASE("an epsilon outside of the root becomes part of the variance") {
  const Tensors tensors =
      layer_with({"0/scales", "0/biases", "0/rolling_mean", "0/rolling_variance"}, {4.0, 1.0});
  const auto loaded =
      load_state<double>(tensors, "0/", LoadOptions(Epsilon(0.5)).epsilon_outside_root());
  CHECK(loaded.options.epsilon == 0.0);
  CHECK(loaded.state.running_variance == Eigen::Vector2d(6.25, 2.25));
  // 2 (6 - 1) / (2 + 0.5) and (2 + 1) / (1 + 0.5) + 1
  CHECK(loaded.freeze()(Eigen::Vector2d(6, 2)) == Eigen::Vector2d(4, 3));
}

TEST_CASE("gamma that is stored as gamma - 1 becomes gamma") {
  const Tensors tensors = layer_with(pytorch_keys("bn."), {4.0, 1.0});
  const auto loaded =
      load_state<float>(tensors, "bn.", LoadOptions(Epsilon(1e-5)).adding_one_to_gamma());
  CHECK(loaded.state.gamma == Eigen::Vector2f(3, 2));
}

TEST_CASE("Core ML means 1e-5 by an epsilon of 0") {
  const Tensors tensors = layer_with({"c.gamma", "c.beta", "c.mean", "c.variance"}, {4.0, 1.0});
  const auto loaded = load_state<double>(tensors, "c.", Epsilon(0.0));
  CHECK(loaded.options.epsilon == 1e-5);
  CHECK(loaded.report.text().find("epsilon 0 counts as 1e-5, as Core ML has it") !=
        std::string::npos);
}

TEST_CASE("a converted number that the scalar cannot hold is an error") {
  const Tensors tensors = layer_with({"bn/slope", "bn/bias", "bn/mean", "bn/var"}, {4.0, 1.0});
  Tensors huge = tensors;
  huge.set("bn/var", {2}, std::vector<double>{1e-200, 1.0});
  CHECK_NOTHROW(load_state<double>(huge, "bn/", Epsilon(0.0)));
  Tensors lasagne = layer_with(lasagne_keys, {1e-200, 1.0});
  CHECK_THROWS_AS(load_state<double>(lasagne, "l.", Epsilon(0.0)), std::domain_error);
}
