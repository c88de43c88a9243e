// SPDX-License-Identifier: MIT
// Folds that are refused: with which words, and that nothing has been written then.
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "batchnorm/fold/fold.hpp"
#include "support/catch.hpp"

using namespace batchnorm;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

/// A convolution of 3 output and 2 input channels with 4 taps, and norms that fit both sides.
struct Fixture {
  std::vector<float> memory = std::vector<float>(24, 1.5f);
  Eigen::VectorXf bias = Eigen::VectorXf::Constant(3, 2.5f);
  State<float> behind = State<float>(3);
  State<float> in_front = State<float>(2);
  Options options;
  FoldOptions fold;
  std::vector<ConvolutionAxis> axes = {{5, 4}};

  Fixture() { fold.padding = Padding::none; }

  WeightView<float> weights() { return convolution_oihw(memory.data(), 3, 2, 4); }

  std::string after() {
    return message([&] { fold_after(weights(), bias, behind, options, fold); });
  }
  std::string before() {
    return message([&] { fold_before(weights(), bias, in_front, options, fold); });
  }
  std::string padded() {
    return message([&] { fold_before_padded(weights(), bias, in_front, options, axes, fold); });
  }

  /// The text of the error; a prefix says when numbers have changed before it came.
  template <class Call>
  std::string message(const Call& call) const {
    const std::vector<float> weights_before = memory;
    const std::vector<float> bias_before(bias.data(), bias.data() + bias.size());
    const auto told = [&](const char* kind, const std::exception& error) {
      const std::vector<float> bias_now(bias.data(), bias.data() + bias.size());
      const bool same = bits(weights_before) == bits(memory) && bits(bias_before) == bits(bias_now);
      return std::string(same ? "" : "CHANGED ") + kind + error.what();
    };
    try {
      call();
    } catch (const std::invalid_argument& error) {
      return told("argument ", error);
    } catch (const std::domain_error& error) {
      return told("domain ", error);
    }
    return "folded";
  }

  static std::string bits(const std::vector<float>& values) {
    return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
  }
};

}  // namespace

TEST_CASE("the fixture folds as it is", "[fold]") {
  CHECK(Fixture().after() == "folded");
  CHECK(Fixture().before() == "folded");
  CHECK(Fixture().padded() == "folded");
}

TEST_CASE("zero padding behind a norm is refused with the reason", "[fold]") {
  Fixture fixture;
  fixture.fold.padding = Padding::zeros;
  CHECK(fixture.before() ==
        "argument fold_before: the layer behind the norm needs one bias for all places: expected "
        "a convolution without padding, or padded from_input, got padding with zeros, which are "
        "not what the norm makes of zeros, so that the border needs other biases; "
        "fold_before_padded gives the bias of every place");
  CHECK(fixture.after() == "folded");  // behind the layer any padding will do
  Fixture unstated;
  unstated.fold.padding = Padding::unstated;
  CHECK(unstated.before() ==
        "argument fold_before: FoldOptions::padding of a convolution behind the norm: expected "
        "none, zeros or from_input, got unstated");
  Fixture reflected;
  reflected.fold.padding = Padding::from_input;
  CHECK(reflected.before() == "folded");
}

TEST_CASE("a transposed convolution behind a norm is refused with the reason", "[fold]") {
  Fixture fixture;
  const std::string message = fixture.message([&] {
    fold_before(transposed_iohw(fixture.memory.data(), 3, 2, 4), fixture.bias, fixture.in_front,
                fixture.options, fixture.fold);
  });
  CHECK(message ==
        "argument fold_before: the layer behind the norm needs one bias for all places: expected "
        "a linear layer or a convolution, got a transposed convolution, whose places are reached "
        "by different taps; fold_before_padded gives the bias of every place");
}

TEST_CASE("sizes that do not fit are refused", "[fold]") {
  Fixture fixture;
  fixture.behind = State<float>(2);
  CHECK(fixture.after() ==
        "argument fold_after: channels of the norm must be the layer's output channels: expected "
        "3, got 2");
  fixture.in_front = State<float>(3);
  CHECK(fixture.before() ==
        "argument fold_before: channels of the norm must be the layer's input channels: expected "
        "2, got 3");
  CHECK(fixture.padded() ==
        "argument fold_before_padded: channels of the norm must be the layer's input channels: "
        "expected 2, got 3");
  Fixture bias;
  bias.bias.setZero(2);
  const std::string rule =
      ": size of the bias must be the number of output channels, or 0: expected 3 or 0, got 2";
  CHECK(bias.after() == "argument fold_after" + rule);
  CHECK(bias.before() == "argument fold_before" + rule);
  CHECK(bias.padded() == "argument fold_before_padded" + rule);
  Fixture part;
  part.behind.beta.resize(1);
  CHECK(part.after() ==
        "argument fold_after: size of beta must be that of gamma: expected 3, got 1");
  Fixture probes;
  probes.fold.probes = -1;
  CHECK(probes.after() == "argument fold_after: number of probes: expected zero or more, got -1");
  CHECK(probes.padded() ==
        "argument fold_before_padded: number of probes: expected zero or more, got -1");
}

TEST_CASE("the inputs that a bound is asked for are a magnitude", "[fold]") {
  Fixture fixture;
  fixture.fold.largest_input = -1;
  CHECK(fixture.after() ==
        "argument fold_after: largest_input: expected a finite number, zero or more, got -1");
  fixture.fold.largest_input = std::numeric_limits<double>::infinity();
  CHECK(fixture.padded() ==
        "argument fold_before_padded: largest_input: expected a finite number, zero or more, got "
        "inf");
}

TEST_CASE("a norm in front of a flatten is told how to say so", "[fold]") {
  Eigen::MatrixXf weight = Eigen::MatrixXf::Ones(2, 6);
  Eigen::VectorXf bias;
  CHECK_THROWS_WITH(fold_before(linear(weight), bias, State<float>(3), Options()),
                    "fold_before: channels of the norm must be the layer's input channels: "
                    "expected 6, or flattened_channels_first or flattened_channels_last of the "
                    "layer when a flatten stands between them, got 3");
  CHECK(weight == Eigen::MatrixXf::Ones(2, 6));
  // No flatten makes six inputs of no channels, of four or of twelve.
  for (const Index channels : {0, 4, 12}) {
    CHECK_THROWS_WITH(fold_before(linear(weight), bias, InferenceMap::identity(channels)),
                      "fold_before: channels of the norm must be the layer's input channels: "
                      "expected 6, got " +
                          std::to_string(channels));
  }
  Fixture convolution;
  convolution.in_front = State<float>(1);
  CHECK(convolution.before() ==
        "argument fold_before: channels of the norm must be the layer's input channels: expected "
        "2, got 1");
}

TEST_CASE("a bias that cannot come into being is refused", "[fold]") {
  Fixture fixture;
  const std::string message = fixture.message([&] {
    fold_after(fixture.weights(), Eigen::Map<Eigen::VectorXf>(nullptr, 0), fixture.behind,
               fixture.options);
  });
  CHECK(message ==
        "argument fold_after: bias that comes into being: expected a vector that can be resized, "
        "got a map, ref, block or fixed vector of size 0");
}

TEST_CASE("axes that do not fit the weights are refused", "[fold]") {
  Fixture fixture;
  fixture.axes = {{5, 2}, {5, 3}};
  CHECK(fixture.padded() ==
        "argument fold_before_padded: taps of all axes must be those of the weights: expected 4, "
        "got 6");
  Eigen::MatrixXf matrix = Eigen::MatrixXf::Ones(3, 2);
  const std::string message = fixture.message([&] {
    fold_before_padded(linear(matrix), fixture.bias, fixture.in_front, fixture.options, {});
  });
  CHECK(message ==
        "argument fold_before_padded: layer behind the norm: expected a convolution or a "
        "transposed convolution, got a linear layer, which has no border; use fold_before");
}

TEST_CASE("statistics that no data can have are refused", "[fold]") {
  Fixture negative;
  negative.behind.running_variance[2] = -1;
  CHECK(negative.after() ==
        "domain fold_after: running variance of channel 2: expected zero or larger, got a "
        "negative number");
  Fixture variance;
  variance.in_front.running_variance[1] = infinity;
  CHECK(variance.before() ==
        "domain fold_before: running statistics of channel 1: expected finite numbers, got NaN, "
        "infinity or overflow");
  CHECK(variance.padded() ==
        "domain fold_before_padded: running statistics of channel 1: expected finite numbers, "
        "got NaN, infinity or overflow");
  Fixture mean;
  mean.options.non_finite = NonFinite::propagate;  // a fold has nothing to propagate it to
  mean.behind.running_mean[0] = not_a_number;
  CHECK(mean.after() ==
        "domain fold_after: running statistics of channel 0: expected finite numbers, got NaN, "
        "infinity or overflow");
  Fixture zero;
  zero.options.epsilon = 0;
  zero.behind.running_variance[1] = 0;
  CHECK(zero.after() ==
        "domain fold_after: variance + epsilon of channel 1 is divided by: expected a number "
        "larger than 0; choose an epsilon larger than 0, got 0");
  Fixture epsilon;
  epsilon.options.epsilon = -1e-5;
  CHECK(epsilon.after() ==
        "argument Options: epsilon is added to a variance: expected a finite number, zero or "
        "larger, got -1e-05");
}

TEST_CASE("parameters that are not finite are refused", "[fold]") {
  Fixture gamma;
  gamma.behind.gamma[1] = not_a_number;
  CHECK(gamma.after() ==
        "domain fold_after: gamma of channel 1: expected a finite number, got NaN, infinity or "
        "overflow");
  Fixture beta;
  beta.in_front.beta[0] = -infinity;
  CHECK(beta.before() ==
        "domain fold_before: beta of channel 0: expected a finite number, got NaN, infinity or "
        "overflow");
  Fixture weight;
  weight.memory[17] = not_a_number;
  CHECK(weight.after() ==
        "domain fold_after: weight of output channel 2: expected a finite number, got NaN, "
        "infinity or overflow");
  CHECK(weight.before() ==
        "domain fold_before: weight of output channel 2: expected a finite number, got NaN, "
        "infinity or overflow");
  Fixture bias;
  bias.bias[1] = infinity;
  CHECK(bias.padded() ==
        "domain fold_before_padded: bias of output channel 1: expected a finite number, got NaN, "
        "infinity or overflow");
}

TEST_CASE("folded numbers that overflow their type are refused", "[fold]") {
  Fixture fixture;
  fixture.options.epsilon = 0;
  fixture.behind.gamma[2] = 0x1p100f;
  fixture.behind.running_variance[2] = 0x1p-60f;
  CHECK(fixture.after() ==
        "domain fold_after: folded weight of output channel 2: expected a magnitude of at most "
        "3.40282347e+38 in its type, got 2.0416942e+39");
  Fixture bias;
  bias.memory.assign(24, 0.0f);
  bias.options.epsilon = 0;
  bias.behind.gamma[0] = 0x1p120f;
  bias.behind.running_mean[0] = -1024;
  bias.bias.resize(0);
  CHECK(bias.after() ==
        "domain fold_after: folded bias of output channel 0: expected a magnitude of at most "
        "3.40282347e+38 in its type, got 1.36112947e+39");
  CHECK(bias.bias.size() == 0);

  Eigen::Matrix<Eigen::half, 1, 1> weight(Eigen::half(60000.0f));
  Eigen::Matrix<Eigen::half, Eigen::Dynamic, 1> none;
  State<Eigen::half> state(1);
  Options options;
  options.epsilon = 0;
  state.gamma[0] = 1.0625f;
  fold_after(linear(weight), none, state, options);  // 63744, which half can hold
  CHECK(static_cast<float>(weight(0)) == 63744.0f);
  state.gamma[0] = 1.125f;
  const std::string message =
      fixture.message([&] { fold_after(linear(weight), none, state, options); });
  CHECK(message ==
        "domain fold_after: folded weight of output channel 0: expected a magnitude of at most "
        "65504 in its type, got 71712");
  CHECK(static_cast<float>(weight(0)) == 63744.0f);
}

TEST_CASE("a fold in double whose terms overflow is refused", "[fold]") {
  Eigen::Matrix2d weight = Eigen::Matrix2d::Constant(1.7e308);
  Eigen::VectorXd bias;
  CHECK_THROWS_WITH(fold_after(linear(weight), bias, State<double>(2), Options::flax()),
                    "fold_after: sum of the terms of output channel 0: expected a finite number, "
                    "got NaN, infinity or overflow");
  CHECK(weight == Eigen::Matrix2d::Constant(1.7e308));
}

TEST_CASE("a bias that shares memory with the weights is refused", "[fold]") {
  std::vector<float> memory(12, 2.0f);
  const std::vector<float> before = memory;
  FoldOptions none;
  none.padding = Padding::none;
  const Options options;
  const State<float> two(2);
  const std::string rule =
      ": bias and weights must be disjoint: expected no overlap, got memory that overlaps";
  const auto weights = [&] { return convolution_oihw(memory.data() + 2, 2, 2, 2); };
  for (const int first : {1, 2, 5, 9}) {
    Eigen::Map<Eigen::VectorXf> bias(memory.data() + first, 2);
    CHECK_THROWS_WITH(fold_after(weights(), bias, two, options, none), "fold_after" + rule);
    CHECK_THROWS_WITH(fold_before(weights(), bias, two, options, none), "fold_before" + rule);
    CHECK_THROWS_WITH(fold_before_padded(weights(), bias, two, options, {{5, 2}}, none),
                      "fold_before_padded" + rule);
    CHECK(memory == before);
  }
  for (const int first : {0, 10}) {
    Eigen::Map<Eigen::VectorXf> bias(memory.data() + first, 2);
    CHECK_NOTHROW(fold_after(weights(), bias, two, options, none));
  }
  // A column beside those of the weights, in rows that both share; and one of theirs.
  Eigen::Matrix<float, 2, 3, Eigen::RowMajor> rows;
  rows << 1, 2, 3, 4, 5, 6;
  CHECK_NOTHROW(fold_after(linear(rows.leftCols(2)), rows.col(2), two, options));
  CHECK_THROWS_WITH(fold_after(linear(rows.leftCols(2)), rows.col(1), two, options),
                    "fold_after" + rule);
}
