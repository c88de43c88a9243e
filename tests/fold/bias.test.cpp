// SPDX-License-Identifier: MIT
#include "batchnorm/fold/bias.hpp"

#include <cstddef>
#include <stdexcept>
#include <string>
#include <type_traits>
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

TEST_CASE("a bias lies nowhere between the first and the last of the weights", "[fold]") {
  using Map = Eigen::Map<Eigen::VectorXf, 0, Eigen::InnerStride<>>;
  std::vector<float> memory(80);
  float* const middle = memory.data() + 40;
  const auto free = [](float* bias, Index size, Index step, const WeightView<float>& weights) {
    try {
      detail::BiasArgument<Map>::check_disjoint("f", Map(bias, size, Eigen::InnerStride<>(step)),
                                                weights);
    } catch (const std::invalid_argument& error) {
      CHECK(std::string(error.what()) ==
            "f: bias and weights must be disjoint: expected no overlap, got memory that overlaps");
      return false;
    }
    return true;
  };
  // Two groups of two outputs, three inputs and two taps, in all three orders of axes.
  for (const auto& weights :
       {convolution_oihw(middle, 4, 6, 2, 2), convolution_hwio(middle, 4, 6, 2, 2),
        WeightView<float>(middle + 23, LayerKind::convolution, {2, 2, 3, 2}, {-12, -6, -2, -1})}) {
    for (Index place = -3; place < 27; ++place) {
      INFO(place);
      CHECK(free(middle + place, 1, 1, weights) == (place < 0 || place >= 24));
      CHECK(free(middle + place, 2, 1, weights) == (place < -1 || place >= 24));
      CHECK(free(middle + place, 0, 1, weights));
    }
    CHECK(free(middle - 3, 3, 1, weights));
    CHECK_FALSE(free(middle - 3, 4, 1, weights));
    CHECK_FALSE(free(middle + 24, 3, -1, weights));
    CHECK(free(middle + 26, 3, -1, weights));
  }
  // Two columns of three, with a bias in the third.
  const WeightView<float> columns(middle, LayerKind::linear, {1, 8, 2, 1}, {0, 3, 1, 0});
  CHECK(free(middle + 2, 8, 3, columns));
  CHECK_FALSE(free(middle + 1, 8, 3, columns));
  CHECK_FALSE(free(middle + 2, 8, 2, columns));
}

TEST_CASE("a bias and weights of two types are apart to the byte", "[fold]") {
  std::vector<double> memory(6);
  const auto* const bytes = reinterpret_cast<unsigned char*>(memory.data());
  const auto weight_at = [&](std::size_t place) {
    return WeightView<float>(reinterpret_cast<float*>(memory.data()) + place, LayerKind::linear,
                             {1, 1, 1, 1}, {0, 0, 0, 0});
  };
  const auto free = [&](const auto& bias, std::size_t place) {
    using Map = std::decay_t<decltype(bias)>;
    try {
      detail::BiasArgument<const Map>::check_disjoint("f", bias, weight_at(place));
    } catch (const std::invalid_argument&) {
      return false;
    }
    return true;
  };
  const Eigen::Map<const Eigen::VectorXd> wide(memory.data() + 2, 1);  // bytes 16 to 23
  for (std::size_t place = 3; place < 7; ++place)
    CHECK(free(wide, place) == (place == 3 || place == 6));
  for (std::size_t half = 6; half < 12; ++half) {  // bytes 12 to 24
    const Eigen::Map<const Eigen::Matrix<Eigen::half, Eigen::Dynamic, 1>> narrow(
        reinterpret_cast<const Eigen::half*>(bytes) + half, 1);
    CHECK(free(narrow, 4) == (half < 8 || half >= 10));
  }
}

TEST_CASE("a bias that cannot grow is not empty", "[fold]") {
  using Map = Eigen::Map<Eigen::VectorXf>;
  float numbers[] = {1, 2};
  CHECK_THROWS_WITH(detail::BiasArgument<Map>::check_writable("f", Map(nullptr, 0)),
                    "f: bias that comes into being: expected a vector that can be resized, got a "
                    "map, ref, block or fixed vector of size 0");
  CHECK_NOTHROW(detail::BiasArgument<Map>::check_writable("f", Map(numbers, 2)));
  CHECK_NOTHROW(detail::BiasArgument<Eigen::VectorXf>::check_writable("f", {}));
  CHECK_NOTHROW(detail::BiasArgument<std::vector<float>>::check_writable("f", {}));
  CHECK(detail::BiasArgument<Map>::read("f", Map(nullptr, 0), 3) == Eigen::Vector3d::Zero());
  CHECK(detail::BiasArgument<Map>::read("f", Map(numbers, 2), 2) == Eigen::Vector2d(1, 2));
}
