// SPDX-License-Identifier: MIT
#include "batchnorm/io/inspect.hpp"

#include <string>
#include <vector>

#include "batchnorm/io/load_state.hpp"
#include "batchnorm/io/safetensors_state.hpp"
#include "support/catch.hpp"

using namespace batchnorm;

namespace {

void set(Tensors& tensors, const std::string& name, std::vector<float> values) {
  tensors.set(name, {static_cast<Index>(values.size())}, values);
}

Tensors one_layer() {
  Tensors tensors("net");
  set(tensors, "bn.weight", {1, -2});
  set(tensors, "bn.bias", {0.5f, 0});
  set(tensors, "bn.running_mean", {-0.5f, 3});
  set(tensors, "bn.running_var", {0.25f, 4});
  return tensors;
}

const std::string title =
    "batch norm  names    channels  type  epsilon  mean       variance   parameters\n";

}  // namespace

TEST_CASE("a checkpoint becomes a table, with epsilon where the file has it") {
  Tensors tensors = one_layer();
  CHECK(inspect(tensors) ==
        title +
            "bn          PyTorch  2         F32   -        -0.5 to 3  0.25 to 4  gamma, beta\n");
  Options options;
  options.epsilon = 0.001;
  const auto loaded = load_state<float>(tensors, "bn.", Epsilon(0.001));
  Tensors saved("saved");
  save_state(saved, "bn.", loaded.state, options);
  CHECK_THAT(inspect(saved), Catch::Matchers::Contains("F64   0.001    -0.5 to 3"));
}

TEST_CASE("an epsilon beside the vectors is shown, too") {
  Tensors tensors("net");
  set(tensors, "bn.scale", {1, -2});
  set(tensors, "bn.bias", {0.5f, 0});
  set(tensors, "bn.running_mean", {-0.5f, 3});
  set(tensors, "bn.running_var", {0.25f, 4});
  tensors.set_value("bn.epsilon", 0.25);
  tensors.set_value("bn.momentum", 0.1);
  CHECK_THAT(inspect(tensors), Catch::Matchers::Contains("dfdx   2         F32   0.25"));
}

TEST_CASE("below the table stands what is wrong, and what was left out") {
  Tensors tensors = one_layer();
  set(tensors, "bn.running_var", {0.25f, -4});
  set(tensors, "optimizer.exp_avg", {1, 2});
  CHECK_THAT(inspect(tensors),
             Catch::Matchers::EndsWith(
                 "gamma, beta\n\n"
                 "bn: error: tensor \"bn.running_var\": channel 1: expected a finite number, zero "
                 "or larger, got a negative number\n"
                 "left out: 1 tensors of an optimizer, such as \"optimizer.exp_avg\": numbers that "
                 "it keeps for parameters\n"));
}

TEST_CASE("a checkpoint without batch norm has an empty table") {
  CHECK(inspect(Tensors("empty")) ==
        "batch norm  names  channels  type  epsilon  mean  variance  parameters\n");
}
