// SPDX-License-Identifier: MIT
// Layers of systems whose names are not known here. They may be refused or not be found; none may
// be loaded with less than what lies in the file.

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "batchnorm/io/checkpoint.hpp"
#include "support/catch.hpp"
#include "support/layer_files.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

struct ForeignLayer {
  std::string system;
  LayerKeys keys;
  LayerPrefix prefix;
};

std::vector<ForeignLayer> foreign_layers() {
  return {
      {"Keras, deviation", {"bn/gamma", "bn/beta", "bn/moving_mean", "bn/moving_stddev"}, "bn/"},
      {"renormalisation", {"bn.weight", "bn.bias", "bn.running_mean", "bn.running_std"}, "bn."},
      {"another order", {"bn.weight", "bn.bias", "bn.mu", "bn.sigma"}, "bn."},
      {"OnnxMLTools", {"scale", "bias", "mean5", "var5"}, ""},
      {"Deep Learning 4J", {"bn.gamma", "bn.beta", "bn.mean", "bn.log10stdev"}, "bn."},
      {"BigGAN", {"bn.gain", "bn.bias", "bn.stored_mean", "bn.stored_var"}, "bn."},
      {"MATLAB", {"bn.Scale", "bn.Offset", "bn.TrainedMean", "bn.TrainedVariance"}, "bn."},
      {"Torch7", {"bn.weight", "bn.bias", "bn.running_mean", "bn.running_sigma"}, "bn."},
      {"in upper case", {"bn.WEIGHT", "bn.BIAS", "bn.running_mean", "bn.running_var"}, "bn."},
      {"deeper", {"bn.affine.g", "bn.affine.b", "bn.running_mean", "bn.running_var"}, "bn."},
      {"Paddle, halves", {"bn.weight", "bn.bias", "bn._mean", "bn.w_2"}, "bn."},
  };
}

void check_refused(const Tensors& tensors, const LayerPrefix& prefix) {
  CHECK_THROWS_AS(load_state<float>(tensors, prefix, Epsilon(1e-5)), std::runtime_error);
  for (const Naming& naming : Naming::all()) {
    INFO(naming.system());
    const LoadOptions named = LoadOptions(Epsilon(1e-5)).named(naming);
    CHECK_THROWS_AS(load_state<float>(tensors, prefix, named), std::runtime_error);
  }
}

}  // namespace

TEST_CASE("a layer of an unknown system is never loaded in part") {
  for (const ForeignLayer& foreign : foreign_layers()) {
    INFO(foreign.system);
    Tensors tensors(foreign.system);
    add_layer(tensors, foreign.keys);
    check_refused(tensors, foreign.prefix);
    for (const FoundBatchNorm& layer : find_batch_norms(tensors)) {
      check_refused(tensors, layer.prefix);
      CHECK(examine_batch_norm(tensors, layer).errors() > 0);
    }
  }
}

TEST_CASE("nor is it when its vectors have axes of one") {
  for (const ForeignLayer& foreign : foreign_layers()) {
    INFO(foreign.system);
    Tensors tensors(foreign.system);
    add_layer(tensors, foreign.keys);
    for (const std::string& key : tensors.keys()) {
      tensors.set(key, {1, 3, 1, 1}, tensors.values<float>(key));
    }
    check_refused(tensors, foreign.prefix);
  }
}

TEST_CASE("nor is it when it has one channel") {
  for (const ForeignLayer& foreign : foreign_layers()) {
    INFO(foreign.system);
    for (const std::vector<Index>& shape : std::vector<std::vector<Index>>{{1}, {}}) {
      Tensors tensors(foreign.system);
      for (const std::string& key :
           {foreign.keys.gamma, foreign.keys.beta, foreign.keys.mean, foreign.keys.variance}) {
        tensors.set(key, shape, std::vector<float>{2.0f});
      }
      check_refused(tensors, foreign.prefix);
    }
  }
}

TEST_CASE("gamma and beta are not dropped, whatever separates them from the prefix") {
  for (const std::string prefix : {"bn_", "bn.", "net/bn/", "bn", "", "arg:bn0_"}) {
    // Right behind the prefix they are those of Gluon.
    Tensors gluon("x");
    add_layer(gluon,
              {prefix + "gamma", prefix + "beta", prefix + "running_mean", prefix + "running_var"});
    CHECK(load_state<float>(gluon, prefix, Epsilon(1e-5)).state.gamma ==
          Eigen::Vector3f(1.5f, -2.0f, 0.5f));
    for (const std::string below : {"affine.", "a/b/", "_buffers_"}) {
      INFO(prefix << " " << below);
      Tensors tensors("x");
      add_layer(tensors, {prefix + below + "gamma", prefix + below + "beta",
                          prefix + "running_mean", prefix + "running_var"});
      CHECK_THROWS_MATCHES(load_state<float>(tensors, prefix, Epsilon(1e-5)), std::runtime_error,
                           says("expected gamma and beta under them, or no other tensor of one "
                                "number per channel, got this one"));
      const LoadOptions bare = LoadOptions(Epsilon(0.0)).without_scale_and_shift();
      // (x - mean) / sqrt(variance) for x = 2, mean -1, variance 4
      CHECK(load_state<float>(tensors, prefix, bare).freeze()(Eigen::Vector3f(2, 2, 2))(0) == 1.5f);
    }
  }
}

TEST_CASE("the caller can say what a layer has not, and is contradicted by what is there") {
  const LoadOptions given = Epsilon(1e-5);
  Tensors tensors = pytorch_layer();
  CHECK_THROWS_MATCHES(load_state<float>(tensors, "bn.", given.without_scale()), std::runtime_error,
                       says("tensor \"bn.weight\": options of the layer: expected no such tensor"));
  CHECK_THROWS_MATCHES(load_state<float>(tensors, "bn.", given.without_shift()), std::runtime_error,
                       says("tensor \"bn.bias\": options of the layer: expected no such tensor"));
  CHECK_THROWS_MATCHES(load_state<float>(tensors, "bn.", given.without_statistics()),
                       std::runtime_error,
                       says("tensor \"bn.running_mean\": options of the layer"));
  tensors.set("bn.slope", {3}, std::vector<float>(3));
  tensors.erase("bn.bias");
  CHECK_THROWS_MATCHES(load_state<float>(tensors, "bn.", given), std::runtime_error,
                       says("tensor \"bn.slope\": names of PyTorch: expected beta under them"));
  CHECK_THROWS_AS(load_state<float>(tensors, "bn.", given.without_scale()), std::runtime_error);
  CHECK(load_state<float>(tensors, "bn.", given.without_shift()).state.beta ==
        Eigen::Vector3f(0, 0, 0));
  tensors = pytorch_layer();
  tensors.erase("bn.running_mean");
  tensors.erase("bn.running_var");
  tensors.set("bn.average", {1, 3}, std::vector<float>(3));
  CHECK_THROWS_MATCHES(
      load_state<float>(tensors, "bn.", given), std::runtime_error,
      says("tensor \"bn.average\": names of PyTorch: expected running mean and variance under"));
  CHECK_FALSE(load_state<float>(tensors, "bn.", given.without_statistics()).has_statistics());
  Tensors saved("ours");
  save_state(saved, "bn.", State<float>(3), Options());
  CHECK_THROWS_MATCHES(load_state<float>(saved, "bn.", given.without_scale()), std::runtime_error,
                       says("scale and shift: expected those of the options in the file"));
}

TEST_CASE("the statistics that lie beside a layer are all named") {
  Tensors tensors("x");
  add_layer(tensors, {"bn1/gamma", "bn1/beta", "bn1/mu", "bn1/sigma"});
  const std::string rule =
      ": names of Keras: expected running mean and variance under them, or no other tensor of one "
      "number per channel, got this one";
  CHECK_THROWS_MATCHES(
      load_state<float>(tensors, "bn1/", Epsilon(2e-5)), std::runtime_error,
      says("load_state: \"x\": tensor \"bn1/mu\"" + rule + "; tensor \"bn1/sigma\"" + rule));
}

TEST_CASE("numbers of an optimizer beside a layer do not keep it from being loaded") {
  Tensors tensors("keras");
  add_layer(tensors, {"bn/gamma", "", "bn/moving_mean", "bn/moving_variance"});
  for (const std::string slot : {"/Momentum", "/Adam", "/Adam_1", "/ExponentialMovingAverage",
                                 "/.OPTIMIZER_SLOT/optimizer/m"}) {
    tensors.set("bn/gamma" + slot, {3}, std::vector<float>(3));
  }
  CHECK(load_state<float>(tensors, "bn/", Epsilon(1e-3)).state.gamma ==
        Eigen::Vector3f(1.5f, -2.0f, 0.5f));
}
