// SPDX-License-Identifier: MIT
#include "batchnorm/fold/bias.hpp"

#include <vector>

#include "batchnorm/fold/fold.hpp"
#include "support/catch.hpp"

using namespace batchnorm;

namespace {

/// Doubles channel 0 and triples channel 1 with a turned sign, after 1 is taken away.
InferenceMap two_gains() {
  State<float> state(2);
  state.gamma << 2, -3;
  state.running_mean << 1, 1;
  Options options;
  options.epsilon = 0;
  return {state, options};
}

}  // namespace

TEMPLATE_TEST_CASE("a bias may be a std::vector, which grows when it is empty", "[fold]", float,
                   double, Eigen::half, Eigen::bfloat16) {
  Eigen::Matrix2f weight = Eigen::Matrix2f::Ones();
  std::vector<TestType> bias = {TestType(3), TestType(4)};
  fold_after(linear(weight), bias, two_gains());
  CHECK(bias == std::vector<TestType>{TestType(4), TestType(-9)});
  std::vector<TestType> none;
  weight.setOnes();
  fold_after(linear(weight), none, two_gains());
  CHECK(none == std::vector<TestType>{TestType(-2), TestType(3)});
  CHECK(weight == (Eigen::Matrix2f() << 2, 2, -3, -3).finished());
  std::vector<TestType> front;
  weight << 1, 10, 100, 1000;
  fold_before(linear(weight), front, two_gains());
  CHECK(front == std::vector<TestType>{TestType(28), TestType(2800)});
}

TEST_CASE("a std::vector of the wrong size is refused, and nothing is changed", "[fold]") {
  Eigen::Matrix2f weight = Eigen::Matrix2f::Ones();
  std::vector<float> bias = {1, 2, 3};
  CHECK_THROWS_WITH(fold_after(linear(weight), bias, two_gains()),
                    "fold_after: size of the bias must be the number of output channels, or 0: "
                    "expected 2 or 0, got 3");
  CHECK(bias == std::vector<float>{1, 2, 3});
  CHECK(weight == Eigen::Matrix2f::Ones());
}

TEST_CASE("a padded fold reads the bias of a std::vector", "[fold]") {
  // One input channel and two output channels, three taps on a line of two places.
  std::vector<float> memory = {1, 2, 4, 8, 16, 32};
  const std::vector<float> bias = {100, 1000};
  State<float> state(1);
  state.beta[0] = 1;
  Options options;
  options.epsilon = 0;
  ConvolutionAxis axis;
  axis.input = 2;
  axis.kernel = 3;
  axis.padding_before = axis.padding_after = 1;
  const auto fold =
      fold_before_padded(convolution_oihw(memory.data(), 2, 1, 3), bias, state, options, {axis});
  // At the first place the taps 1 and 2 see the input, at the second 0 and 1.
  CHECK(fold.bias == (Eigen::Matrix2f() << 106, 103, 1048, 1024).finished());
}
