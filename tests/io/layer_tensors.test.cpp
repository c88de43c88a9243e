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
