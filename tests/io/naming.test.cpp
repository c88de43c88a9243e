// SPDX-License-Identifier: MIT
#include "batchnorm/io/naming.hpp"

#include <algorithm>
#include <iterator>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

std::vector<std::string> written_names(const Naming& naming) {
  return {naming.name(Role::gamma), naming.name(Role::beta), naming.name(Role::mean),
          naming.name(Role::variance), naming.name(Role::counter)};
}

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("the names are those of the systems") {
  CHECK(written_names(Naming::pytorch()) ==
        Texts{"weight", "bias", "running_mean", "running_var", "num_batches_tracked"});
  CHECK(written_names(Naming::keras()) ==
        Texts{"gamma", "beta", "moving_mean", "moving_variance", ""});
  CHECK(written_names(Naming::flax()) == Texts{"scale", "bias", "mean", "var", ""});
  CHECK(written_names(Naming::onnx()) == Texts{"scale", "B", "input_mean", "input_var", ""});
  CHECK(written_names(Naming::rtneural()) == Texts{"0", "1", "2", "3", ""});
  CHECK(Naming::onnx().names(Role::mean) == Texts{"input_mean", "mean"});
  CHECK(Naming::onnx().names(Role::variance) == Texts{"input_var", "var"});
  CHECK(Naming::keras().names(Role::variance) ==
        Texts{"moving_variance", "moving_variance:0", "moving_variance_1:0"});
}

TEST_CASE("each system brings its update rule") {
  CHECK(Naming::pytorch().options().running == RunningUpdate::take_new(0.1));
  CHECK(Naming::keras().options().running == RunningUpdate::keep_old(0.99));
  CHECK(Naming::flax().options().running_variance == VarianceEstimator::population);
  CHECK(Naming::onnx().options().running == RunningUpdate::keep_old(0.9));
  CHECK(Naming::rtneural().options().running == RunningUpdate::keep_old(0.99));
}

TEST_CASE("systems differ, and are the same as themselves") {
  std::set<std::string> systems;
  for (const Naming& one : Naming::all()) {
    CHECK(systems.insert(one.system()).second);
    int same = 0;
    for (const Naming& other : Naming::all()) same += one == other ? 1 : 0;
    CHECK(same == 1);
    CHECK_FALSE(one != one);
  }
  CHECK(systems.size() == std::size(detail::systems));
}

TEST_CASE("other systems can be named") {
  const Naming mine("Gluon", {{{"gamma"}, {"beta"}, {"running_mean"}, {"running_var"}, {}}});
  CHECK(mine.name(Role::variance) == "running_var");
  CHECK(mine.name(Role::counter).empty());
  CHECK_FALSE(mine.is_list());
}

TEST_CASE("every system can be asked for by its name, and is the one that its maker makes") {
  for (const Naming& naming : Naming::all()) CHECK(Naming::of(naming.system()) == naming);
  CHECK(Naming::mxnet().system() == "MXNet Module");
  CHECK(Naming::gluon() == Naming::burn());
  CHECK(Naming::leela_chess_zero().name(Role::input_bias) == "biases");
  CHECK_THROWS_MATCHES(Naming::of("Torch7"), std::invalid_argument,
                       says("Naming::of: name of a system: expected one of \"PyTorch\", "));
}

TEST_CASE("systems that nothing but the caller can tell are not tried") {
  std::set<std::string> known;
  for (const Naming& naming : Naming::known()) known.insert(naming.system());
  for (const char* asked_for : {"MLX", "tinygrad", "candle", "NAM"}) {
    CHECK(known.count(asked_for) == 0);
  }
  CHECK(known.size() + 4 == Naming::all().size());
}

TEST_CASE(
    "an epsilon beside the vectors is read under either name, and written where it is usual") {
  CHECK(Naming::keras().names(Role::epsilon) == Texts{"epsilon", "eps"});
  CHECK_FALSE(Naming::keras().saves_epsilon());
  CHECK(Naming::dfdx().saves_epsilon());
  CHECK(Naming::katago().saves_epsilon());
  CHECK(Naming::rtneural().names(Role::epsilon).empty());
}

namespace {

/// The systems of which something is true, in the order of the table.
template <class Predicate>
Texts systems_where(const Predicate& is_true) {
  Texts systems;
  for (const Naming& naming : Naming::all()) {
    if (is_true(naming)) systems.push_back(naming.system());
  }
  return systems;
}

}  // namespace

TEST_CASE("what is peculiar to a system is true of it and of no other") {
  const auto where = [](bool (Naming::*is_true)() const) {
    return systems_where([&](const Naming& naming) { return (naming.*is_true)(); });
  };
  CHECK(where(&Naming::is_list) == Texts{"Keras 3", "Caffe", "RTNeural", "NAM"});
  CHECK(where(&Naming::list_shrinks) == Texts{"Keras 3"});
  CHECK(where(&Naming::has_scale_layer) == Texts{"Caffe"});
  CHECK(where(&Naming::has_fixed_gamma) == Texts{"MXNet Module"});
  CHECK(where(&Naming::needs_stored_variance) == Texts{"Keras 1", "KataGo, PyTorch"});
  CHECK(where(&Naming::has_moments) == Texts{"MatConvNet"});
  CHECK(where(&Naming::has_scaled_beta) == Texts{"Leela Zero"});
  CHECK(where(&Naming::replaces_zero_deviation) == Texts{"ncnn"});
  CHECK(where(&Naming::replaces_zero_epsilon) == Texts{"Core ML"});
  CHECK(where(&Naming::saves_epsilon) == Texts{"dfdx", "KataGo", "NAM"});
  CHECK(where(&Naming::needs_epsilon) == Texts{"KataGo"});
  CHECK(where(&Naming::must_be_called) == Texts{"Paddle, static"});
  CHECK(where(&Naming::is_telling) == Texts{"PyTorch", "TF-slim", "Keras", "MindSpore",
                                            "TensorFlow 2", "Haiku", "Chainer", "Darknet"});
  CHECK(systems_where([](const Naming& naming) { return !naming.is_exact(); }) ==
        Texts{"ncnn", "Lasagne", "MatConvNet", "KataGo, PyTorch", "Leela Zero"});
}

TEST_CASE("where layers of a system lie, and what stands there besides") {
  CHECK(Naming::flax().parameters_tree() == "params");
  CHECK(Naming::flax().statistics_tree() == "batch_stats");
  CHECK(Naming::keras().parameters_tree().empty());
  CHECK(Naming::slim().parameters_tree().empty());
  CHECK(Naming::keras().statistics_tree().empty());
  CHECK(systems_where([](const Naming& naming) { return !naming.parameters_tree().empty(); }) ==
        Texts{"Flax", "Haiku", "torch.fx", "MXNet Module", "Gluon or burn", "Lux"});
  CHECK(Naming::slim().folder() == "BatchNorm");
  CHECK(Naming::flax().folder().empty());
  CHECK(systems_where([](const Naming& naming) { return !naming.folder().empty(); }) ==
        Texts{"TF-slim", "Keras 3"});
  CHECK(Naming::keras().separators() == "/");
  CHECK(Naming::pytorch().separators() == "./");
  CHECK(Naming::caffe2().separators() == "_");
  CHECK(Naming::haiku().idle_names() ==
        Texts{"~/mean_ema/hidden", "~/var_ema/hidden", "~/var_ema/counter"});
  CHECK(systems_where([](const Naming& naming) { return !naming.idle_names().empty(); }) ==
        Texts{"Haiku", "Lux", "Chainer"});
}

TEST_CASE("what a system stores, and with which options, unless a file says so") {
  CHECK(Naming::pytorch().stored_variance() == StoredVariance::variance);
  CHECK(Naming::ncnn().stored_variance() == StoredVariance::variance_with_epsilon);
  CHECK(Naming::matconvnet().stored_variance() == StoredVariance::deviation_with_epsilon);
  CHECK(Naming::lasagne().stored_variance() == StoredVariance::inverse_deviation);
  CHECK(Naming::keras().options().epsilon == 1e-3);
  CHECK(Naming::chainer().options().epsilon == 2e-5);
  CHECK(Naming::katago().options().running == RunningUpdate::take_new(0.001));
  CHECK(Naming::haiku().options().running == RunningUpdate::keep_old_debiased(0.99));
  CHECK(Naming::haiku().names(Role::counter) == Texts{"~/mean_ema/counter"});
  CHECK(Naming::dfdx().names(Role::new_weight) == Texts{"momentum"});
  CHECK(Naming::caffe().names(Role::factor) == Texts{"2"});
  CHECK(Naming::leela_chess_zero().names(Role::input_bias) == Texts{"biases"});
}
