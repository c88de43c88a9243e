// SPDX-License-Identifier: MIT
#include "batchnorm/io/places.hpp"

#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace batchnorm;

TEST_CASE("a layer of Flax may be called by its tree, by the other tree, or by neither") {
  const auto places = [](const LayerPrefix& prefix) {
    return detail::places_of(prefix, Naming::flax());
  };
  const LayerPrefix pair("params/bn/", "batch_stats/bn/");
  CHECK(places("params/bn/") == std::vector<LayerPrefix>{"params/bn/", pair});
  CHECK(places("batch_stats/bn/") == std::vector<LayerPrefix>{"batch_stats/bn/", pair});
  CHECK(places("bn/") == std::vector<LayerPrefix>{"bn/", pair,
                                                  LayerPrefix("params.bn/", "batch_stats.bn/"),
                                                  LayerPrefix("params:bn/", "batch_stats:bn/")});
  CHECK(places(pair) == std::vector<LayerPrefix>{pair});
  CHECK(detail::places_of("params/bn/", Naming::pytorch()).size() == 1);
}

TEST_CASE("the tree of a tensor tells where both parts of its layer lie") {
  const auto place = [](const std::string& beginning, const Naming& naming) {
    return detail::place_before(beginning + "name", beginning.size(), naming);
  };
  const LayerPrefix flax("params/bn/", "batch_stats/bn/");
  CHECK(place("params/bn/", Naming::flax()) == flax);
  CHECK(place("batch_stats/bn/", Naming::flax()) == flax);
  CHECK(place("a/batch_stats/bn/", Naming::flax()) ==
        LayerPrefix("a/params/bn/", "a/batch_stats/bn/"));
  CHECK(place("arg:bn_", Naming::mxnet()) == LayerPrefix("arg:bn_", "aux:bn_"));
  CHECK(place("p_bn_", Naming::torch_fx()) == LayerPrefix("p_bn_", "b_bn_"));
  CHECK(place("params/bn/", Naming::pytorch()) == LayerPrefix("params/bn/"));
}
