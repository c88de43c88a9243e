// SPDX-License-Identifier: MIT
#include "batchnorm/io/keras_names.hpp"

#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace batchnorm;
using detail::find_keras_norm;
using detail::KerasBatchNorm;

namespace {

KerasBatchNorm norm(const std::string& name, const std::vector<std::string>& around, double epsilon,
                    bool is_wrapped = false) {
  KerasBatchNorm made{name, around, is_wrapped, "", {}};
  made.config.epsilon = epsilon;
  return made;
}

/// The epsilon of the norm that a prefix belongs to; -1 when there is none.
double epsilon_of(const std::string& prefix, const std::vector<KerasBatchNorm>& norms) {
  const KerasBatchNorm* const found = find_keras_norm(prefix, norms);
  return found == nullptr ? -1 : *found->config.epsilon;
}

}  // namespace

TEST_CASE("the last part of a path is the name of the layer") {
  const std::vector<KerasBatchNorm> norms = {norm("bn1", {}, 0.25), norm("bn2", {"inner"}, 0.5)};
  CHECK(epsilon_of("model_weights/bn1/bn1/", norms) == 0.25);
  CHECK(epsilon_of("bn1/bn1_", norms) == 0.25);
  CHECK(epsilon_of("bn2/", norms) == 0.5);
  CHECK(epsilon_of("model_weights/inner/bn2/", norms) == 0.5);
  CHECK(epsilon_of("bn3/", norms) == -1);
  CHECK(epsilon_of("inner/", norms) == -1);
  CHECK(epsilon_of("", norms) == -1);
}

TEST_CASE("of layers with one name the one whose models the path names") {
  const std::vector<KerasBatchNorm> norms = {norm("bn", {}, 0.125), norm("bn", {"enc"}, 0.25),
                                             norm("bn", {"dec"}, 0.5),
                                             norm("bn", {"dec", "head"}, 1)};
  CHECK(epsilon_of("model_weights/bn/bn/", norms) == 0.125);
  CHECK(epsilon_of("model_weights/enc/bn/", norms) == 0.25);
  CHECK(epsilon_of("model_weights/dec/bn/", norms) == 0.5);
  CHECK(epsilon_of("model_weights/dec/head/bn/", norms) == 1);
  // In the wrong order head counts, and dec does not.
  CHECK(epsilon_of("model_weights/head/dec/bn/", norms) == 0.5);
}

TEST_CASE("layers that nothing tells apart are unknown unless they are alike") {
  CHECK(epsilon_of("a/bn/", {norm("bn", {}, 0.25), norm("bn", {""}, 0.5)}) == -1);
  CHECK(epsilon_of("a/bn/", {norm("bn", {"x"}, 0.25), norm("bn", {"y"}, 0.5)}) == -1);
  CHECK(epsilon_of("a/bn/", {norm("bn", {"x"}, 0.25), norm("bn", {"y"}, 0.25)}) == 0.25);
  // A better one behind them ends the doubt.
  CHECK(epsilon_of("z/bn/",
                   {norm("bn", {"x"}, 0.25), norm("bn", {"y"}, 0.5), norm("bn", {"z"}, 1)}) == 1);
}

TEST_CASE("a wrapper stands for its layer") {
  const std::vector<KerasBatchNorm> norms = {norm("bn", {"td"}, 0.25, true),
                                             norm("bn2", {"model"}, 0.5)};
  CHECK(epsilon_of("model_weights/td/td/", norms) == 0.25);
  CHECK(epsilon_of("model_weights/td/td/bn/", norms) == 0.25);
  CHECK(epsilon_of("model_weights/model/", norms) == -1);
}
