// SPDX-License-Identifier: MIT
#include "batchnorm/io/naming.hpp"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace batchnorm;

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
  CHECK(Naming::keras().names(Role::variance) == Texts{"moving_variance", "moving_variance:0"});
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
  for (const Naming& one : Naming::known()) {
    CHECK(systems.insert(one.system()).second);
    int same = 0;
    for (const Naming& other : Naming::known()) same += one == other ? 1 : 0;
    CHECK(same == 1);
    CHECK_FALSE(one != one);
  }
  CHECK(systems.size() == 5);
}

TEST_CASE("other systems can be named") {
  const Naming mine("Gluon", {{{"gamma"}, {"beta"}, {"running_mean"}, {"running_var"}, {}}});
  CHECK(mine.name(Role::variance) == "running_var");
  CHECK(mine.name(Role::counter).empty());
  CHECK_FALSE(mine.is_list());
}

TEST_CASE("a prefix is one text or a pair") {
  const LayerPrefix one = "bn1.";
  CHECK(one.of(Role::gamma) == "bn1.");
  CHECK(one.of(Role::counter) == "bn1.");
  CHECK_FALSE(one.is_pair());
  const LayerPrefix two("params/bn1/", "batch_stats/bn1/");
  CHECK(two.of(Role::beta) == "params/bn1/");
  CHECK(two.of(Role::mean) == "batch_stats/bn1/");
  CHECK(two.is_pair());
  CHECK(one != two);
  CHECK(two == LayerPrefix("params/bn1/", "batch_stats/bn1/"));
}

TEST_CASE("parts of a path are replaced whole, the first that fits") {
  const auto replaced = [](std::string path) {
    const bool done = detail::replace_part(path, "params", "stats");
    return done ? path : "no: " + path;
  };
  CHECK(replaced("params/bn/") == "stats/bn/");
  CHECK(replaced("model.params.bn.") == "model.stats.bn.");
  CHECK(replaced("params/params/") == "stats/params/");
  CHECK(replaced("my_params/bn/") == "no: my_params/bn/");
  CHECK(replaced("params2.bn.") == "no: params2.bn.");
  CHECK(replaced("params") == "stats");
  CHECK(replaced("") == "no: ");
}

TEST_CASE("a layer of Flax may be called by its tree, by the other tree, or by neither") {
  const auto places = [](const LayerPrefix& prefix) {
    return detail::places_of(prefix, Naming::flax());
  };
  const LayerPrefix pair("params/bn/", "batch_stats/bn/");
  CHECK(places("params/bn/") == std::vector<LayerPrefix>{"params/bn/", pair});
  CHECK(places("batch_stats/bn/") == std::vector<LayerPrefix>{"batch_stats/bn/", pair});
  CHECK(places("bn/") ==
        std::vector<LayerPrefix>{"bn/", pair, LayerPrefix("params.bn/", "batch_stats.bn/")});
  CHECK(places(pair) == std::vector<LayerPrefix>{pair});
  CHECK(detail::places_of("params/bn/", Naming::pytorch()).size() == 1);
}

TEST_CASE("numbers in names count as numbers") {
  const std::vector<std::string> sorted = {"",     "1", "01",    "2.",     "9.bn", "10.",
                                           "10.a", "a", "a1.b2", "a1.b10", "a2",   "b"};
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    for (std::size_t k = 0; k < sorted.size(); ++k) {
      INFO(sorted[i] << " and " << sorted[k]);
      // "1" and "01" are one number; then the order is that of the texts.
      const bool leading_zero = sorted[i] == "1" || sorted[i] == "01";
      const bool both = leading_zero && (sorted[k] == "1" || sorted[k] == "01");
      const bool expected = both ? sorted[i] < sorted[k] : i < k;
      CHECK(detail::natural_less(sorted[i], sorted[k]) == expected);
    }
  }
}
