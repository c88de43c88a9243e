// SPDX-License-Identifier: MIT
#include "batchnorm/io/load_state.hpp"

#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/instances.hpp"
#include "support/layer_files.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

template <class T>
void check_example(const State<T>& state) {
  CHECK(state.gamma == Eigen::Vector3f(1.5f, -2.0f, 0.5f).cast<typename State<T>::Scalar>());
  CHECK(state.beta == Eigen::Vector3f(0.25f, 0.0f, -1.0f).cast<typename State<T>::Scalar>());
  CHECK(state.running_mean == Eigen::Vector3d(-1.0, 3.0, 0.5));
  CHECK(state.running_variance == Eigen::Vector3d(4.0, 0.25, 2.0));
}

LoadedState<float> loaded(const LayerKeys& keys, const LayerPrefix& prefix) {
  Tensors tensors("net");
  add_layer(tensors, keys);
  return load_state<float>(tensors, prefix, Epsilon(0.01));
}

}  // namespace

TEST_CASE("layers of all systems are loaded, with the epsilon given and their update rule") {
  const LoadedState<float> pytorch = load_state<float>(pytorch_layer(), "bn.", Epsilon(0.01));
  check_example(pytorch.state);
  CHECK(pytorch.state.batches_seen == 460);
  CHECK(pytorch.options.epsilon == 0.01);
  CHECK(pytorch.options.running == RunningUpdate::take_new(0.1));
  CHECK(pytorch.found.naming == Naming::pytorch());

  const auto keras = loaded({"k/gamma", "k/beta", "k/moving_mean", "k/moving_variance"}, "k/");
  check_example(keras.state);
  CHECK(keras.options.epsilon == 0.01);
  CHECK(keras.options.running == RunningUpdate::keep_old(0.99));
  CHECK(keras.options.running_variance == VarianceEstimator::population);
  check_example(
      loaded({"params/f/scale", "params/f/bias", "batch_stats/f/mean", "batch_stats/f/var"}, "f/")
          .state);
  check_example(loaded({"o.scale", "o.B", "o.input_mean", "o.input_var"}, "o.").state);
  check_example(loaded({"r.0", "r.1", "r.2", "r.3"}, "r.").state);
  check_example(loaded({"p/1.weight", "p/1.bias", "s/1.running_mean", "s/1.running_var"},
                       LayerPrefix("p/1.", "s/1."))
                    .state);
}

TEST_CASE("the report says what was done") {
  Tensors tensors = pytorch_layer();
  tensors.set("bn.bias", {3}, std::vector<double>{0.25, 0.0, -1.0});
  tensors.erase("bn.num_batches_tracked");
  tensors.set_value("bn.note", 1.0f);
  CHECK(load_state<float>(tensors, "bn.", Epsilon(1e-5)).report.text() ==
        "layer \"bn.\" of \"pt\"\n"
        "  options     names of PyTorch\n"
        "  options     epsilon 1e-05 as given, update rule of PyTorch\n"
        "  used        tensor \"bn.weight\": gamma, F32 [3]\n"
        "  used        tensor \"bn.bias\": beta, F64 [3]\n"
        "  converted   tensor \"bn.bias\": F64 -> F32\n"
        "  used        tensor \"bn.running_mean\": running mean, F32 [3]\n"
        "  used        tensor \"bn.running_var\": running variance, F32 [3]\n"
        "  missing     tensor \"bn.num_batches_tracked\": minibatches seen are 0\n"
        "  unexpected  tensor \"bn.note\": not read, F32 []\n");
}

TEST_CASE("the epsilon that was given is the one that is used") {
  const FrozenBatchNorm<double> frozen =
      load_state<double>(pytorch_layer(), "bn.", Epsilon(0.25)).freeze();
  // gamma / sqrt(variance + 1/4)
  CHECK_THAT(frozen.scale()[0], Catch::Matchers::WithinRel(1.5 / std::sqrt(4.25), 1e-15));
  CHECK_THAT(frozen.scale()[1], Catch::Matchers::WithinRel(-2.0 / std::sqrt(0.5), 1e-15));
}

TEST_CASE("scale and shift are recognised from the tensors that are there") {
  Tensors tensors = pytorch_layer();
  tensors.erase("bn.bias");
  LoadedState<float> layer = load_state<float>(tensors, "bn.", Epsilon(1e-5));
  CHECK(layer.options.scale);
  CHECK_FALSE(layer.options.shift);
  CHECK(layer.state.beta == Eigen::Vector3f(0, 0, 0));
  tensors.erase("bn.weight");
  layer = load_state<float>(tensors, "bn.", Epsilon(1e-5));
  CHECK_FALSE(layer.options.scale);
  CHECK(layer.state.gamma == Eigen::Vector3f(1, 1, 1));
  CHECK(layer.layer().options().scale == false);
}

TEST_CASE("without statistics nothing can be frozen, and training starts anew") {
  Tensors tensors = pytorch_layer();
  tensors.erase("bn.running_mean");
  tensors.erase("bn.running_var");
  tensors.erase("bn.num_batches_tracked");
  const LoadedState<float> layer = load_state<float>(tensors, "bn.", Epsilon(1e-5));
  CHECK_FALSE(layer.has_statistics());
  CHECK(std::isnan(layer.state.running_mean[0]));
  CHECK(std::isnan(layer.state.running_variance[2]));
  CHECK(layer.report.has(Finding::missing));
  CHECK_THROWS_MATCHES(layer.freeze(), std::domain_error,
                       says("LoadedState::freeze: inference needs running statistics: expected a "
                            "layer that has them, got layer \"bn.\" of \"pt\" without any"));
  CHECK_THROWS_AS(FrozenBatchNorm<float>(layer.state, layer.options), std::domain_error);
  BatchNorm<float> training = layer.layer();
  CHECK(training.state().gamma == Eigen::Vector3f(1.5f, -2.0f, 0.5f));
  CHECK(training.state().running_variance == Eigen::Vector3d(1, 1, 1));
  CHECK_THROWS_AS(training.freeze(), std::domain_error);
  training.train(Eigen::MatrixXf::Random(3, 4));
  CHECK_NOTHROW(training.freeze());
}

TEST_CASE("inplace_abn multiplies by |weight| + epsilon, when asked") {
  const LoadOptions options = LoadOptions(Epsilon(0.125)).from_inplace_abn();
  const LoadedState<float> layer = load_state<float>(pytorch_layer(), "bn.", options);
  CHECK(layer.state.gamma == Eigen::Vector3f(1.625f, 2.125f, 0.625f));
  CHECK(layer.state.beta == Eigen::Vector3f(0.25f, 0.0f, -1.0f));
  CHECK_THAT(layer.report.text(), contains_text("gamma is |weight| + 0.125"));
  Tensors saved("ours");
  save_state(saved, "bn.", layer.state, layer.options);
  CHECK_THROWS_MATCHES(load_state<float>(saved, "bn.", options), std::runtime_error,
                       says("weights of inplace_abn: expected a file of that package"));
  Tensors plain = pytorch_layer();
  plain.erase("bn.weight");
  CHECK(load_state<float>(plain, "bn.", options).state.gamma == Eigen::Vector3f(1, 1, 1));
}

TEST_CASE("our own files need no epsilon, others do") {
  State<double> state(2);
  state.gamma << 0.5, 2.0;
  state.running_variance << 3.0, 4.0;
  state.batches_seen = 7;
  state.samples_seen = 70;
  Options options = Options::dlib();
  Tensors tensors("net");
  save_state(tensors, "1.", state, options);
  const LoadedState<double> layer = load_state<double>(tensors, "1.", LoadOptions::saved());
  CHECK(layer.options.epsilon == 1e-4);
  CHECK(layer.options.running == RunningUpdate::windowed(100));
  CHECK(layer.state.samples_seen == 70);
  CHECK_THAT(layer.report.text(), contains_text("epsilon 0.0001 and all else in the file"));
  CHECK_NOTHROW(load_state<double>(tensors, "1.", Epsilon(1e-4)));
  CHECK_THROWS_MATCHES(load_state<double>(tensors, "1.", Epsilon(1e-5)), std::runtime_error,
                       says("load_state: \"net\": epsilon: expected that of the file, 0.0001, got "
                            "1e-05"));
  CHECK_THROWS_MATCHES(load_state<double>(pytorch_layer(), "bn.", LoadOptions::saved()),
                       std::runtime_error,
                       says("layer \"bn.\": epsilon is needed, and most files do not carry it"));
}

TEST_CASE("a layer that is not there is named, with those that are") {
  CHECK_THROWS_MATCHES(load_state<float>(pytorch_layer(), "bn1.", Epsilon(1e-5)),
                       std::runtime_error,
                       says("load_state: \"pt\": tensor \"bn1.running_mean\": tensors of a batch "
                            "norm layer: expected this one, got none; prefixes of such layers "
                            "here: \"bn.\""));
  const LoadOptions keras = LoadOptions(Epsilon(1e-3)).named(Naming::keras());
  CHECK_THROWS_MATCHES(load_state<float>(pytorch_layer(), "bn.", keras), std::runtime_error,
                       says("tensor \"bn.moving_mean\""));
}

TEST_CASE("all that is wrong is said at once, and nothing is loaded") {
  Tensors tensors = pytorch_layer();
  tensors.set("bn.weight", {2}, std::vector<float>(2));
  tensors.set("bn.running_var", {3}, std::vector<float>{1.0f, -1.0f, 1.0f});
  CHECK_THROWS_MATCHES(
      load_state<float>(tensors, "bn.", Epsilon(1e-5)), std::runtime_error,
      says("load_state: \"pt\": tensor \"bn.weight\": shape: expected [3], got [2]; "
           "tensor \"bn.running_var\": channel 1"));
  tensors.erase("bn.weight");
  CHECK_THROWS_AS(load_state<float>(tensors, "bn.", Epsilon(1e-5)), std::domain_error);
}

TEST_CASE("fixed channels and numbers out of range are errors") {
  const Tensors tensors = pytorch_layer();
  const LoadOptions options = Epsilon(1e-5);
  CHECK(load_state<double, 3>(tensors, "bn.", options).state.gamma[1] == -2.0);
  CHECK_THROWS_MATCHES((load_state<double, 4>(tensors, "bn.", options)), std::runtime_error,
                       says("number of channels is fixed by the type: expected 4, got 3"));
  Tensors large = pytorch_layer();
  large.set("bn.bias", {3}, std::vector<double>{0.0, 1e39, 0.0});
  CHECK_THROWS_AS(load_state<float>(large, "bn.", options), std::domain_error);
  CHECK_NOTHROW(load_state<double>(large, "bn.", options));
}

TEST_CASE("states are written under the names of every system and come back") {
  State<float> state(3);
  state.gamma << 1.5f, -2.0f, 0.5f;
  state.beta << 0.25f, 0.0f, -1.0f;
  state.running_mean << -1.0f, 3.0f, 0.5f;
  state.running_variance << 4.0f, 0.25f, 2.0f;
  state.batches_seen = 460;
  state.samples_seen = 46000;
  const LayerPrefix trees("params/bn/", "batch_stats/bn/");
  for (const Naming& naming : Naming::known()) {
    INFO(naming.system());
    const bool pair = naming == Naming::flax();
    Tensors tensors;
    save_state(tensors, pair ? trees : LayerPrefix("bn/"), state, Options::keras(), naming);
    const auto layer = load_state<float>(tensors, "bn/", LoadOptions::saved());
    check_example(layer.state);
    CHECK(layer.found.naming == naming);
    CHECK(layer.state.batches_seen == 460);
    CHECK(layer.state.samples_seen == 46000);
    CHECK(layer.options.epsilon == 1e-3);
    CHECK(layer.report.warnings().empty());
    CHECK(find_batch_norms(tensors).size() == 1);
  }
}

TEST_CASE("what is written has the names of the system") {
  Tensors tensors;
  save_state(tensors, {"params/bn/", "batch_stats/bn/"}, State<float>(2), Options::flax(),
             Naming::flax());
  CHECK(tensors.keys() == std::vector<std::string>{"batch_stats/bn/mean", "batch_stats/bn/var",
                                                   "params/bn/bias", "params/bn/scale"});
  Tensors onnx;
  save_state(onnx, "bn.", State<float>(2), Options::onnx(), Naming::onnx());
  CHECK(onnx.keys() ==
        std::vector<std::string>{"bn.B", "bn.input_mean", "bn.input_var", "bn.scale"});
}

TEST_CASE("RTNeural's list has four arrays or two") {
  State<float> state(2);
  state.running_mean << 3.0f, 4.0f;
  state.running_variance << 5.0f, 6.0f;
  Options options = Options::keras();
  options.scale = false;
  Tensors tensors;
  CHECK_THROWS_MATCHES(save_state(tensors, "bn.", state, options, Naming::rtneural()),
                       std::invalid_argument,
                       says("save_state: arrays of RTNeural: expected a layer with scale and "
                            "shift, or none, got one of the two"));
  CHECK(tensors.size() == 0);
  options.shift = false;
  save_state(tensors, "bn.", state, options, Naming::rtneural());
  CHECK(tensors.keys() == std::vector<std::string>{"bn.0", "bn.1"});
  CHECK(tensors.values<float>("bn.1") == std::vector<float>{5.0f, 6.0f});
  const auto layer = load_state<float>(tensors, "bn.", LoadOptions::saved());
  CHECK(layer.state.running_mean == Eigen::Vector2d(3.0f, 4.0f));
}

TEST_CASE("saving a layer again leaves nothing of the old one") {
  Tensors tensors;
  save_state(tensors, "bn.", State<float>(2), Options::keras(), Naming::keras());
  Options plain = Options::keras();
  plain.scale = false;
  plain.shift = false;
  save_state(tensors, "bn.", State<float>(3), plain, Naming::keras());
  CHECK(tensors.keys() == std::vector<std::string>{"bn.moving_mean", "bn.moving_variance"});
}
