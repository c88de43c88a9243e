// SPDX-License-Identifier: MIT
#include "batchnorm/io/load_state.hpp"

#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/catch.hpp"
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
  Tensors list("net");
  add_layer(list, {"r.0", "r.1", "r.2", "r.3"});
  const LoadOptions rtneural = LoadOptions(Epsilon(0.01)).named(Naming::rtneural());
  check_example(load_state<float>(list, "r.", rtneural).state);
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
        "  options     epsilon 1e-05 as given, update rule of PyTorch, assumed\n"
        "  used        tensor \"bn.weight\": gamma, F32 [3]\n"
        "  used        tensor \"bn.bias\": beta, F64 [3]\n"
        "  converted   tensor \"bn.bias\": F64 -> F32\n"
        "  used        tensor \"bn.running_mean\": running mean, F32 [3]\n"
        "  used        tensor \"bn.running_var\": running variance, F32 [3]\n"
        "  missing     tensor \"bn.num_batches_tracked\": the number of minibatches seen is "
        "unknown\n"
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
  layer = load_state<float>(tensors, "bn.", LoadOptions(Epsilon(1e-5)).without_scale_and_shift());
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
  CHECK(training.state().beta == Eigen::Vector3f(0.25f, 0.0f, -1.0f));
  CHECK(training.state().running_mean == Eigen::Vector3d(0, 0, 0));
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

TEST_CASE("an epsilon that was rounded to float is the same, and one that differs is not") {
  Options options;
  options.epsilon = 9.999999747378752e-06;  // what float makes of 1e-5
  Tensors tensors("net");
  save_state(tensors, "1.", State<float>(2), options);
  const LoadedState<float> layer = load_state<float>(tensors, "1.", Epsilon(1e-5));
  CHECK(layer.options.epsilon == 9.999999747378752e-06);
  CHECK_THAT(layer.report.text(), contains_text("differ by rounding to float"));
  CHECK_THROWS_AS(load_state<float>(tensors, "1.", Epsilon(1.0000001e-5)), std::runtime_error);
  CHECK_THROWS_AS(load_state<float>(tensors, "1.", Epsilon(0.0)), std::runtime_error);
  options.epsilon = 1e-3;
  save_state(tensors, "1.", State<float>(2), options);
  CHECK(load_state<float>(tensors, "1.", Epsilon(0.0010000000474974513)).options.epsilon == 1e-3);
  CHECK_FALSE(load_state<float>(tensors, "1.", Epsilon(1e-3)).report.has(Finding::converted));
}

TEST_CASE("vectors with axes of one are loaded in their order") {
  for (const std::vector<Index>& shape :
       std::vector<std::vector<Index>>{{1, 3}, {1, 3, 1, 1}, {1, 1, 1, 3}}) {
    Tensors tensors("net");
    add_layer(tensors, pytorch_keys("bn."));
    for (const std::string& key : tensors.keys()) {
      tensors.set(key, shape, tensors.values<float>(key));
    }
    const LoadedState<float> layer = load_state<float>(tensors, "bn.", Epsilon(1e-5));
    check_example(layer.state);
    CHECK(layer.report.of(Finding::converted).size() == 4);
    CHECK((load_state<float, 3>(tensors, "bn.", Epsilon(1e-5)).state.gamma[1]) == -2.0f);
  }
  Tensors single("net");
  single.set_value("bn.weight", 3.0f);
  single.set("bn.bias", {1, 1}, std::vector<float>{-1});
  single.set("bn.running_mean", {1}, std::vector<float>{2});
  single.set_value("bn.running_var", 4.0f);
  const LoadedState<float> layer = load_state<float>(single, "bn.", Epsilon(0.0));
  // 3 (6 - 2) / 2 - 1
  CHECK(layer.freeze()(Eigen::Matrix<float, 1, 1>(6.0f))(0) == 5.0f);
}

TEST_CASE("counts in floating numbers are counts") {
  Tensors tensors = pytorch_layer();
  tensors.set("bn.num_batches_tracked", {1}, std::vector<float>{12.0f});
  const LoadedState<float> layer = load_state<float>(tensors, "bn.", Epsilon(1e-5));
  CHECK(layer.state.batches_seen == 12);
  CHECK_THAT(layer.report.text(),
             contains_text("tensor \"bn.num_batches_tracked\": F32 -> a whole number"));
}

TEST_CASE("what a file does not count is unknown, and no rule takes it for zero") {
  Tensors tensors("k");
  add_layer(tensors, {"k/gamma", "k/beta", "k/moving_mean", "k/moving_variance"});
  LoadedState<float> layer = load_state<float>(tensors, "k/", Epsilon(1e-3));
  CHECK(layer.state.batches_seen == State<float>::unknown);
  CHECK(layer.state.samples_seen == State<float>::unknown);
  CHECK_THAT(layer.report.text(), contains_text("the number of minibatches seen is unknown"));
  Eigen::MatrixXf batch(3, 4);
  batch << -1, 0, 1, 0, -1, 0, 1, 0, -1, 0, 1, 0;
  for (const RunningUpdate& rule :
       {RunningUpdate::cumulative(), RunningUpdate::windowed(100),
        RunningUpdate::keep_old_debiased(0.9), RunningUpdate::population()}) {
    layer.options.running = rule;
    BatchNorm<float> training = layer.layer();
    CHECK_THROWS_AS(training.train(batch), std::domain_error);
    CHECK(training.state().running_mean[1] == 3.0);
  }
  layer.options.running = RunningUpdate::keep_old(0.75);
  BatchNorm<float> training = layer.layer();
  training.train(batch);
  CHECK(training.state().running_mean[1] == 2.25);  // 3/4 of 3
  CHECK(training.state().batches_seen == State<float>::unknown);
}

TEST_CASE("a new layer of PyTorch has seen nothing, and may count on") {
  Tensors tensors("pt");
  tensors.set("bn.weight", {2}, std::vector<float>{1, 1});
  tensors.set("bn.bias", {2}, std::vector<float>{0, 0});
  tensors.set("bn.running_mean", {2}, std::vector<float>{0, 0});
  tensors.set("bn.running_var", {2}, std::vector<float>{1, 1});
  tensors.set_value("bn.num_batches_tracked", std::int64_t{0});
  LoadedState<float> layer = load_state<float>(tensors, "bn.", Epsilon(1e-5));
  CHECK(layer.state.batches_seen == 0);
  CHECK(layer.state.samples_seen == 0);
  layer.options.running = RunningUpdate::population();
  BatchNorm<float> training = layer.layer();
  Eigen::MatrixXf batch(2, 2);
  batch << 1, 3, 10, 30;
  training.train(batch);
  CHECK(training.state().running_mean == Eigen::Vector2d(2, 20));
}

TEST_CASE("a list of arrays needs the word of the caller for its order") {
  Tensors tensors("net");
  add_layer(tensors, {"r.0", "r.1", "r.2", "r.3"});
  CHECK_THROWS_MATCHES(
      load_state<float>(tensors, "r.", Epsilon(1e-5)), std::runtime_error,
      says(
          "load_state: \"net\": tensor \"r.2\": list of arrays without names: expected the word of "
          "the caller for the order gamma, beta, mean, variance: "
          "LoadOptions::named(Naming::rtneural()), got none"));
  const LoadOptions named = LoadOptions(Epsilon(1e-5)).named(Naming::rtneural());
  check_example(load_state<float>(tensors, "r.", named).state);
  Tensors keras("net");
  add_layer(keras, {"layers/batch_normalization_2/vars/0", "layers/batch_normalization_2/vars/1",
                    "layers/batch_normalization_2/vars/2", "layers/batch_normalization_2/vars/3"});
  const std::string prefix = "layers/batch_normalization_2/vars/";
  check_example(load_state<float>(keras, prefix, Epsilon(1e-5)).state);
  keras.erase(prefix + "3");
  keras.set(prefix + "2", {3}, std::vector<float>{4.0f, 0.25f, 2.0f});
  CHECK_THROWS_MATCHES(
      load_state<float>(keras, prefix, Epsilon(1e-5)), std::runtime_error,
      says("first of three arrays: expected the word of the caller for what it is"));
  const LoadOptions options = Epsilon(1e-5);
  const State<float> shift = load_state<float>(keras, prefix, options.without_scale()).state;
  CHECK(shift.gamma == Eigen::Vector3f(1, 1, 1));
  CHECK(shift.beta == Eigen::Vector3f(1.5f, -2.0f, 0.5f));
  CHECK(shift.running_mean == Eigen::Vector3d(0.25, 0, -1));
}

TEST_CASE("the options of our own files are right against the caller who says less") {
  State<double> state(2);
  state.batches_seen = 7;
  state.samples_seen = 70;
  Tensors tensors("net");
  save_state(tensors, "1.", state, Options::dlib());
  const char* refused =
      "scale and shift: expected those of the options in the file, got the word of the caller that "
      "there are none";
  for (const LoadOptions& given :
       {LoadOptions::saved().without_scale(), LoadOptions::saved().without_shift(),
        LoadOptions::saved().without_scale_and_shift()}) {
    CHECK_THROWS_MATCHES(load_state<double>(tensors, "1.", given), std::runtime_error,
                         says(refused));
  }
  Options plain = Options::dlib();
  plain.scale = plain.shift = false;
  save_state(tensors, "2.", state, plain);
  CHECK_NOTHROW(load_state<double>(tensors, "2.", LoadOptions::saved().without_scale_and_shift()));
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
  for (const Naming& naming : Naming::all()) {
    INFO(naming.system());
    if (!naming.is_exact() || naming.has_scale_layer()) continue;  // see save_form.test.cpp
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
