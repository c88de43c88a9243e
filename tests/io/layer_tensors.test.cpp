// SPDX-License-Identifier: MIT
#include "batchnorm/io/layer_tensors.hpp"

#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace batchnorm;

TEST_CASE("a vector has at most one axis of more than one") {
  using Shape = std::vector<Index>;
  CHECK(detail::vector_size(Shape{5}) == 5);
  CHECK(detail::vector_size(Shape{}) == 1);
  CHECK(detail::vector_size(Shape{1}) == 1);
  CHECK(detail::vector_size(Shape{1, 1, 1, 1}) == 1);
  CHECK(detail::vector_size(Shape{1, 5}) == 5);
  CHECK(detail::vector_size(Shape{5, 1}) == 5);
  CHECK(detail::vector_size(Shape{1, 5, 1, 1}) == 5);
  CHECK(detail::vector_size(Shape{1, 1, 1, 5}) == 5);
  CHECK(detail::vector_size(Shape{5, 5}) == 0);
  CHECK(detail::vector_size(Shape{5, 1, 2}) == 0);
  CHECK(detail::vector_size(Shape{0}) == 0);
  CHECK(detail::vector_size(Shape{0, 5}) == 0);
  CHECK(detail::vector_size(Shape{5, 0}) == 0);
}

TEST_CASE("numbers of optimizers are known by a part of their name") {
  for (const char* key :
       {"optimizer_weights/Adam/m/batch_normalization/gamma:0", "optimizer/vars/0",
        "layer/gamma/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE",
        "net/bn/beta/Momentum", "net/bn/beta/Adam_1", "net/bn/moving_mean/ExponentialMovingAverage",
        "opt_state.0.mu.bn.scale", "optimizer.state.3.exp_avg", "optimizer"}) {
    INFO(key);
    CHECK(detail::is_optimizer_slot(key));
  }
  for (const char* key : {"", "bn.weight", "my_optimizer.bn.weight", "optimizers/bn/gamma",
                          "adam.bn.weight", "bn.Adams", "momentum_encoder.bn.weight", "..//:"}) {
    INFO(key);
    CHECK_FALSE(detail::is_optimizer_slot(key));
  }
}

TEST_CASE("a tensor of two numbers for each channel has its channels on the other axis") {
  CHECK(detail::moments_size(std::vector<Index>{5, 2}) == 5);
  CHECK(detail::moments_size(std::vector<Index>{2, 5}) == 5);
  CHECK(detail::moments_size(std::vector<Index>{2, 2}) == 0);
  CHECK(detail::moments_size(std::vector<Index>{5, 3}) == 0);
  CHECK(detail::moments_size(std::vector<Index>{2}) == 0);
  CHECK(detail::moments_size(std::vector<Index>{1, 2}) == 1);
}

TEST_CASE("layers of averaged copies are known by a part of their prefix") {
  CHECK(detail::name_in_average("ema.bn1.") == "bn1.");
  CHECK(detail::name_in_average("a/state_dict_ema/net/bn/") == "net/bn/");
  CHECK(detail::name_in_average("model_ema.module.bn1.") == "bn1.");
  CHECK(detail::name_in_average("emanuel.bn1.") == "");
  CHECK(detail::name_in_average("bn1.") == "");
  CHECK(detail::name_in_average("") == "");
}

TEST_CASE("prefixes that speak of quantisation") {
  for (const char* prefix :
       {"conv.weight_fake_quant.", "act_Quant.", "a.observer.x.", "x/activation_post_process/"}) {
    CHECK(detail::is_of_quantiser(prefix));
  }
  for (const char* prefix : {"", "bn.", "quality.bn."})
    CHECK_FALSE(detail::is_of_quantiser(prefix));
}
