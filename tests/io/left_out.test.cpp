// SPDX-License-Identifier: MIT
#include "batchnorm/io/left_out.hpp"

#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace batchnorm;

namespace {

void add(Tensors& tensors, const std::vector<std::string>& names) {
  float number = 1;
  for (const std::string& name : names) {
    tensors.set(name, {2}, std::vector<float>{number, number + 0.5f});
    number += 1;
  }
}

void add_layer(Tensors& tensors, const std::string& prefix) {
  add(tensors,
      {prefix + "weight", prefix + "bias", prefix + "running_mean", prefix + "running_var"});
}

std::vector<std::string> lines_about(const Tensors& tensors) {
  std::vector<std::string> lines;
  for (const LeftOut& kind : find_left_out(tensors, find_batch_norms(tensors))) {
    lines.push_back(kind.text());
  }
  return lines;
}

}  // namespace

TEST_CASE("a network alone leaves nothing out") {
  Tensors tensors("net");
  add_layer(tensors, "bn1.");
  add(tensors, {"fc.bias", "layers.0", "layers.1"});
  CHECK(lines_about(tensors).empty());
  CHECK(lines_about(Tensors("empty")).empty());
}

TEST_CASE("every kind of what is left out has one line with its number and the first of it") {
  Tensors tensors("net");
  add_layer(tensors, "net.bn1.");
  add_layer(tensors, "net.bn2.");
  add_layer(tensors, "ema.module.bn1.");
  add_layer(tensors, "ema.module.bn2.");
  add(tensors, {"optimizer.state.exp_avg", "optimizer.state.exp_avg_sq"});
  add(tensors, {"net.bn1.weight/ExponentialMovingAverage"});
  add(tensors, {"net.act_quant.running_mean", "net.act_quant.running_var"});
  add(tensors, {"block.norm.0", "block.norm.1", "block.norm.2", "block.norm.3"});
  REQUIRE(find_batch_norms(tensors).size() == 2);
  CHECK(lines_about(tensors) ==
        std::vector<std::string>{
            "left out: 2 layers of an averaged copy of the network, such as \"ema.module.bn1.\": "
            "those of the network itself are listed; load_state reads either",
            "left out: 1 averages of single tensors, such as "
            "\"net.bn1.weight/ExponentialMovingAverage\": a network may be meant to run with them",
            "left out: 2 tensors of an optimizer, such as \"optimizer.state.exp_avg\": numbers "
            "that it keeps for parameters",
            "left out: 2 tensors of quantisers, such as \"net.act_quant.running_mean\": what they "
            "have observed, no statistics of a layer",
            "left out: 1 lists of four vectors of one size, such as \"block.norm.\": nothing says "
            "that they are batch norm, nor in which order; LoadOptions::named can"});
}

TEST_CASE("an averaged copy without the dots of its names is one, too") {
  Tensors tensors("net");
  add_layer(tensors, "model.block.bn1.");
  add(tensors, {"model_ema.blockbn1running_mean", "model_ema.blockbn1running_var",
                "model_ema.otherrunning_mean"});
  const auto lines = lines_about(tensors);
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].find("left out: 1 layers of an averaged copy of the network, such as "
                      "\"model_ema.blockbn1\"") == 0);
}

TEST_CASE("an averaged copy may have the whole name of the layer, without its dot") {
  Tensors tensors("net");
  add_layer(tensors, "bn1.");
  add(tensors, {"model_ema.bn1running_mean"});
  REQUIRE(lines_about(tensors).size() == 1);
  CHECK(lines_about(tensors)[0].find("such as \"model_ema.bn1\"") != std::string::npos);
}

TEST_CASE("what ends like the name of a mean is no copy of a layer") {
  Tensors tensors("net");
  add_layer(tensors, "bn1.");
  add(tensors, {"head.old_running_mean"});
  REQUIRE(find_batch_norms(tensors).size() == 1);
  CHECK(lines_about(tensors).empty());
}

TEST_CASE("an average that is all there is, is listed and not left out") {
  Tensors tensors("net");
  add_layer(tensors, "ema.bn1.");
  CHECK(find_batch_norms(tensors).size() == 1);
  CHECK(lines_about(tensors).empty());
}

TEST_CASE("what is no list of four vectors is not spoken of") {
  Tensors five("net");
  add(five, {"a.0", "a.1", "a.2", "a.3", "a.4", "b.0", "b.1", "b.2"});
  CHECK(lines_about(five).empty());
  Tensors unequal("net");
  add(unequal, {"a.0", "a.1", "a.2"});
  unequal.set("a.3", {3}, std::vector<float>{1, 2, 3});
  CHECK(lines_about(unequal).empty());
  Tensors listed("net");
  add(listed, {"layers/batch_normalization/vars/0", "layers/batch_normalization/vars/1",
               "layers/batch_normalization/vars/2", "layers/batch_normalization/vars/3"});
  CHECK(find_batch_norms(listed).size() == 1);
  CHECK(lines_about(listed).empty());
}

TEST_CASE("an example from a file cannot move the cursor") {
  Tensors tensors("net");
  add(tensors, {"optimizer.\x1b[2J"});
  REQUIRE(lines_about(tensors).size() == 1);
  CHECK(lines_about(tensors)[0].find('\x1b') == std::string::npos);
}

TEST_CASE("nothing is left out until it is counted") {
  CHECK(LeftOut().count == 0);
}
