// SPDX-License-Identifier: MIT
// Layers as systems name and store them, written out by hand: each is found under its system, and
// computes what that system computes.
#include "batchnorm/io/systems.hpp"

#include <cmath>
#include <cstdint>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "batchnorm/io/checkpoint.hpp"
#include "support/catch.hpp"
#include "support/layer_files.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

struct RealLayer {
  std::string system;
  LayerKeys keys;
  LayerPrefix prefix;
};

/// Systems that store gamma, beta, mean and variance as they are.
std::vector<RealLayer> plain_layers() {
  const std::string value = "/.ATTRIBUTES/VARIABLE_VALUE";
  const std::string fx = "L_self_modules_features_modules_0_modules_1_";
  const std::string fused = "m/bn/FusedBatchNormV3/";
  const std::string keras3 = "layers/functional/layers/batch_normalization_4/vars/";
  const std::string haiku = "net/~/batch_norm/";
  const std::string slim = "MobileFaceNet/conv/BatchNorm/";
  return {
      {"PyTorch", pytorch_keys("bn."), "bn."},
      {"PyTorch",
       {"bn.weight", "bn.bias", "bn.running_mean", "bn.running_variance"},
       "bn."},  // LibTorch 1.0
      {"torch.fx",
       {fx + "parameters_weight_", fx + "parameters_bias_", fx + "buffers_running_mean_",
        fx + "buffers_running_var_"},
       fx},
      {"torch.fx",
       {"p_bn1_weight", "p_bn1_bias", "b_bn1_running_mean", "b_bn1_running_var"},
       {"p_bn1_", "b_bn1_"}},
      {"Keras", {"bn/gamma", "bn/beta", "bn/moving_mean", "bn/moving_variance"}, "bn/"},
      {"Keras",
       {"w/bn/bn/gamma:0", "w/bn/bn/beta:0", "w/bn/bn/moving_mean:0", "w/bn/bn/moving_variance:0"},
       "w/bn/bn/"},
      {"Keras 3", {keras3 + "0", keras3 + "1", keras3 + "2", keras3 + "3"}, keras3},
      {"MindSpore", {"b.gamma", "b.beta", "b.moving_mean", "b.moving_variance"}, "b."},
      {"TF-slim",
       {slim + "gamma", slim + "beta", slim + "moving_mean", slim + "moving_variance"},
       slim},
      {"TF-slim, frozen",
       {"n/bn/Const", "n/bn/beta", "n/bn/moving_mean", "n/bn/moving_variance"},
       "n/bn/"},
      {"TensorFlow 2",
       {"l-1/gamma" + value, "l-1/beta" + value, "l-1/moving_mean" + value,
        "l-1/moving_variance" + value},
       "l-1/"},
      {"tf2onnx",
       {"m/bn/ReadVariableOp:0", "m/bn/ReadVariableOp_1:0", fused + "ReadVariableOp:0",
        fused + "ReadVariableOp_1:0"},
       "m/bn/"},
      {"Flax",
       {"params/bn/scale", "params/bn/bias", "batch_stats/bn/mean", "batch_stats/bn/var"},
       {"params/bn/", "batch_stats/bn/"}},
      {"Flax", {"bn.scale.value", "bn.bias.value", "bn.mean.value", "bn.var.value"}, "bn."},  // nnx
      {"Haiku",
       {haiku + "scale", haiku + "offset", haiku + "~/mean_ema/average",
        haiku + "~/var_ema/average"},
       haiku},
      {"ONNX", {"bn.scale", "bn.B", "bn.input_mean", "bn.input_var"}, "bn."},
      {"Gluon or burn", {"f.1.gamma", "f.1.beta", "f.1.running_mean", "f.1.running_var"}, "f.1."},
      {"Gluon or burn",
       {"arg:bn0_gamma", "arg:bn0_beta", "aux:bn0_running_mean", "aux:bn0_running_var"},
       {"arg:bn0_", "aux:bn0_"}},
      {"dfdx", {"bn.scale", "bn.bias", "bn.running_mean", "bn.running_var"}, "bn."},
      {"Lux",
       {"ps.l2.scale", "ps.l2.bias", "st.l2.running_mean", "st.l2.running_var"},
       {"ps.l2.", "st.l2."}},
      {"Paddle", {"norm.weight", "norm.bias", "norm._mean", "norm._variance"}, "norm."},
      {"Paddle, static",
       {"batch_norm2d_37.w_0", "batch_norm2d_37.b_0", "batch_norm2d_37.w_1", "batch_norm2d_37.w_2"},
       "batch_norm2d_37."},
      {"Chainer", {"bn1/gamma", "bn1/beta", "bn1/avg_mean", "bn1/avg_var"}, "bn1/"},
      {"Caffe2",
       {"res_conv1_bn_s_0", "res_conv1_bn_b_0", "res_conv1_bn_rm_0", "res_conv1_bn_riv_0"},
       "res_conv1_bn_"},
      {"Darknet", {"0/scales", "0/biases", "0/rolling_mean", "0/rolling_variance"}, "0/"},
      {"Core ML", {"c.gamma", "c.beta", "c.mean", "c.variance"}, "c."},
      {"Leela Chess Zero",
       {"input.bn_gammas", "input.bn_betas", "input.bn_means", "input.bn_stddivs"},
       "input."},
      {"Stable Baselines", {"bn.scale", "bn.bias", "bn.ra_mean", "bn.ra_var"}, "bn."},
  };
}

/// gamma (2 - mean) / sqrt(variance + 0.25) + beta of the numbers of add_layer.
Eigen::Vector3d expected_at_two() {
  return {1.5 * 3.0 / std::sqrt(4.25) + 0.25, -2.0 * -1.0 / std::sqrt(0.5) + 0.0,
          0.5 * 1.5 / std::sqrt(2.25) - 1.0};
}

void check_loads(const Tensors& tensors, const LayerPrefix& prefix, const LoadOptions& options) {
  const auto loaded = load_state<double>(tensors, prefix, options);
  const Eigen::Vector3d y = loaded.freeze()(Eigen::Vector3d(2, 2, 2));
  for (Index channel = 0; channel < 3; ++channel) {
    INFO(loaded.report.text());
    CHECK(y[channel] == Approx(expected_at_two()[channel]).epsilon(1e-14));
  }
}

std::string found_in(const Tensors& tensors, const LayerPrefix& prefix) {
  const auto layers = find_batch_norms(tensors);
  if (layers.size() != 1 || layers[0].prefix != prefix) return "something else";
  return layers[0].naming.system();
}

const LoadOptions quarter = Epsilon(0.25);

}  // namespace

TEST_CASE("layers of real systems are found under their names and compute the same") {
  for (const RealLayer& real : plain_layers()) {
    INFO(real.system << ": " << real.keys.mean);
    Tensors tensors(real.system);
    add_layer(tensors, real.keys);
    CHECK(found_in(tensors, real.prefix) == real.system);
    check_loads(tensors, real.prefix, quarter);
    for (const FoundBatchNorm& layer : find_batch_norms(tensors)) {
      CHECK(examine_batch_norm(tensors, layer).errors() == 0);
    }
  }
}

TEST_CASE("none of them loads when one of its statistics has another name") {
  for (const RealLayer& real : plain_layers()) {
    INFO(real.system << ": " << real.keys.mean);
    for (const bool is_mean : {true, false}) {
      Tensors tensors(real.system);
      LayerKeys keys = real.keys;
      (is_mean ? keys.mean : keys.variance) += "_x";
      add_layer(tensors, keys);
      CHECK_THROWS_AS(load_state<float>(tensors, real.prefix, Epsilon(1e-5)), std::runtime_error);
    }
  }
}

TEST_CASE("an epsilon in the file is the one that is used") {
  for (const std::string name : {"epsilon", "eps"}) {
    for (const LayerKeys& keys :
         {pytorch_keys("bn."),
          LayerKeys{"bn.scale", "bn.bias", "bn.running_mean", "bn.running_var"},
          LayerKeys{"bn.gamma", "bn.beta", "bn.running_mean", "bn.running_var"}}) {
      if (name == "eps" && keys.gamma == "bn.scale") continue;
      Tensors tensors("with epsilon");
      add_layer(tensors, keys);
      tensors.set_value("bn." + name, 0.25);
      check_loads(tensors, "bn.", LoadOptions::saved());
      check_loads(tensors, "bn.", quarter);
      CHECK_THROWS_MATCHES(load_state<float>(tensors, "bn.", Epsilon(1e-3)), std::runtime_error,
                           says("epsilon: expected that of the file, 0.25, got 0.001"));
      tensors.set_value("bn." + name, -1.0);
      CHECK_THROWS_AS(load_state<float>(tensors, "bn.", quarter), std::runtime_error);
    }
  }
}

TEST_CASE("dfdx keeps the weight of a minibatch in the file") {
  Tensors tensors("dfdx");
  add_layer(tensors, {"bn.scale", "bn.bias", "bn.running_mean", "bn.running_var"});
  tensors.set_value("bn.epsilon", 0.25);
  tensors.set_value("bn.momentum", 0.375);
  const auto loaded = load_state<float>(tensors, "bn.", LoadOptions::saved());
  CHECK(loaded.options.running == RunningUpdate::take_new(0.375));
  CHECK_FALSE(loaded.report.has(Finding::unexpected));
}

TEST_CASE("KataGo is told by its epsilon") {
  Tensors tensors("katago");
  add_layer(tensors, {"n.gamma", "n.beta", "n.mean", "n.variance"});
  tensors.set_value("n.epsilon", 0.25f);
  CHECK(found_in(tensors, "n.") == "KataGo");
  check_loads(tensors, "n.", LoadOptions::saved());
}

TEST_CASE("Haiku has a counter, and numbers that nothing needs") {
  Tensors tensors("haiku");
  add_layer(tensors, {"bn/scale", "", "bn/~/mean_ema/average", "bn/~/var_ema/average"});
  for (const char* key : {"bn/~/mean_ema/hidden", "bn/~/var_ema/hidden"}) {
    tensors.set(key, {3}, std::vector<float>{1, 2, 3});
  }
  tensors.set_value("bn/~/mean_ema/counter", std::int32_t{40});
  tensors.set_value("bn/~/var_ema/counter", std::int32_t{40});
  const auto loaded = load_state<float>(tensors, "bn/", Epsilon(1e-5));
  CHECK(loaded.state.batches_seen == 40);
  CHECK(loaded.state.running_mean == Eigen::Vector3d(-1, 3, 0.5));
}

namespace {

/// What a system does by default, and how its files differ from a layer as it is.
struct Documented {
  const char* system;
  double epsilon;
  RunningUpdate running;
  VarianceEstimator estimator;
  std::string peculiar;
};

/// The peculiarities of a naming in words, in the order of this function.
std::string peculiar(const Naming& naming) {
  const std::pair<bool, const char*> words[] = {{naming.is_telling(), "telling"},
                                                {naming.is_list(), "list"},
                                                {naming.list_shrinks(), "shrinks"},
                                                {naming.has_scale_layer(), "scale_layer"},
                                                {naming.has_fixed_gamma(), "fixed_gamma"},
                                                {naming.needs_stored_variance(), "unsaid"},
                                                {naming.has_moments(), "moments"},
                                                {naming.has_scaled_beta(), "scaled_beta"},
                                                {naming.replaces_zero_deviation(), "no_zero"},
                                                {naming.replaces_zero_epsilon(), "epsilon_1e-5"},
                                                {naming.needs_epsilon(), "with_epsilon"},
                                                {naming.must_be_called(), "called"}};
  std::string text;
  for (const auto& [applies, word] : words) {
    if (applies) text += (text.empty() ? "" : " ") + std::string(word);
  }
  return text;
}

const auto takes = &RunningUpdate::take_new;
const auto keeps = &RunningUpdate::keep_old;
const auto debiased = &RunningUpdate::keep_old_debiased;
constexpr VarianceEstimator sample = VarianceEstimator::sample;
constexpr VarianceEstimator pop = VarianceEstimator::population;

/// Defaults of the layers in the documentation of their systems, in the order in which the systems
/// are tried.
const std::vector<Documented> documented = {
    {"PyTorch", 1e-5, takes(0.1), sample, "telling"},
    {"TF-slim", 1e-3, keeps(0.999), sample, "telling"},
    {"Keras", 1e-3, keeps(0.99), pop, "telling"},
    {"MindSpore", 1e-5, keeps(0.9), sample, "telling"},
    {"TF-slim, frozen", 1e-3, keeps(0.999), sample, ""},
    {"TensorFlow 2", 1e-3, keeps(0.99), pop, "telling"},
    {"Keras 3", 1e-3, keeps(0.99), pop, "list shrinks"},
    {"Keras 1", 1e-3, keeps(0.99), pop, "unsaid"},
    {"Flax", 1e-5, keeps(0.99), pop, ""},
    {"Haiku", 1e-5, debiased(0.99), pop, "telling"},
    {"ONNX", 1e-5, keeps(0.9), pop, ""},
    {"tf2onnx", 1e-3, keeps(0.99), pop, ""},
    {"torch.fx", 1e-5, takes(0.1), sample, ""},
    {"MXNet Module", 1e-3, keeps(0.9), pop, "fixed_gamma"},
    {"Gluon or burn", 1e-5, keeps(0.9), pop, ""},
    {"dfdx", 1e-5, takes(0.1), sample, ""},
    {"Lux", 1e-5, takes(0.1), sample, ""},
    {"Paddle", 1e-5, keeps(0.9), pop, ""},
    {"Paddle, static", 1e-5, keeps(0.9), pop, "called"},
    {"Chainer", 2e-5, keeps(0.9), sample, "telling"},
    {"Caffe", 1e-5, debiased(0.999), sample, "list scale_layer"},
    {"Caffe2", 1e-5, keeps(0.9), sample, ""},
    {"Darknet", 1e-5, keeps(0.99), sample, "telling"},
    {"ncnn", 0.0, keeps(0.99), pop, "no_zero"},
    {"Lasagne", 1e-4, takes(0.1), pop, ""},
    {"MatConvNet", 1e-4, takes(0.1), pop, "moments"},
    {"KataGo", 1e-20, takes(0.001), pop, "with_epsilon"},
    {"Core ML", 1e-5, keeps(0.9), pop, "epsilon_1e-5"},
    {"KataGo, PyTorch", 1e-4, takes(0.001), pop, "unsaid"},
    {"Leela Zero", 1e-5, keeps(0.99), pop, "scaled_beta"},
    {"Leela Chess Zero", 1e-5, keeps(0.99), pop, ""},
    {"Stable Baselines", 1e-3, keeps(0.99), pop, ""},
    {"RTNeural", 1e-3, keeps(0.99), pop, "list"},
    {"NAM", 1e-5, takes(0.1), sample, "list"},
    {"MLX", 1e-5, takes(0.1), sample, ""},
    {"tinygrad", 1e-5, takes(0.1), sample, ""},
    {"candle", 1e-5, takes(0.1), sample, ""}};

}  // namespace

TEST_CASE("every row has the defaults of its system, in the order in which they are tried") {
  REQUIRE(Naming::all().size() == documented.size());
  for (std::size_t row = 0; row < documented.size(); ++row) {
    const Documented& expected = documented[row];
    const Naming& naming = Naming::all()[row];
    INFO(expected.system);
    CHECK(naming.system() == expected.system);
    CHECK(naming.options().epsilon == expected.epsilon);
    CHECK(naming.options().running == expected.running);
    CHECK(naming.options().running_variance == expected.estimator);
    CHECK(peculiar(naming) == expected.peculiar);
  }
}

TEST_CASE("what stands in the place of a variance is one in all systems but four") {
  const std::map<std::string, StoredVariance> others = {
      {"ncnn", StoredVariance::variance_with_epsilon},
      {"Lasagne", StoredVariance::inverse_deviation},
      {"MatConvNet", StoredVariance::deviation_with_epsilon},
      {"KataGo, PyTorch", StoredVariance::deviation_with_epsilon}};
  for (const Naming& naming : Naming::all()) {
    INFO(naming.system());
    const auto other = others.find(naming.system());
    CHECK(naming.stored_variance() ==
          (other == others.end() ? StoredVariance::variance : other->second));
  }
}

TEST_CASE("systems with the names of others are tried only when they are asked for") {
  std::vector<std::string> left_out;
  std::size_t place = 0;
  for (const Naming& naming : Naming::all()) {
    const bool known = place < Naming::known().size() && Naming::known()[place] == naming;
    if (known) {
      ++place;
    } else {
      left_out.push_back(naming.system());
    }
  }
  CHECK(place == Naming::known().size());
  CHECK(left_out == std::vector<std::string>{"NAM", "MLX", "tinygrad", "candle"});
}

TEST_CASE("every row of the table is whole, and names differ") {
  std::set<std::string> names;
  for (const detail::System& system : detail::systems) {
    INFO(system.name);
    CHECK(names.insert(system.name).second);
    CHECK(std::string(system.mean) != "");
    CHECK(std::string(system.variance) != "");
    CHECK(std::string(system.separators) != "");
    CHECK(system.epsilon >= 0.0);
    CHECK(system.epsilon <= 1e-2);
    CHECK(system.update.weight > 0.0);
    CHECK(system.update.weight < 1.0);
  }
  for (const char* wanted :
       {"PyTorch",       "torch.fx", "Keras",        "Keras 1", "Keras 3",        "TensorFlow 2",
        "TF-slim",       "Flax",     "Haiku",        "MLX",     "tinygrad",       "candle",
        "Gluon or burn", "dfdx",     "MXNet Module", "Paddle",  "Paddle, static", "MindSpore",
        "Chainer",       "Caffe",    "Caffe2",       "Darknet", "ncnn",           "Lasagne",
        "MatConvNet",    "KataGo",   "Leela Zero",   "NAM",     "RTNeural"}) {
    CHECK(names.count(wanted) == 1);
  }
}
