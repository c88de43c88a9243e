// SPDX-License-Identifier: MIT
#include "batchnorm/fold/plan.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/fold_cases.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

/// A norm x -> (x - mean) scale + shift of one channel.
InferenceMap map(float mean, float scale, float shift) {
  State<float> state(1);
  state.gamma[0] = scale;
  state.beta[0] = shift;
  state.running_mean[0] = mean;
  Options options;
  options.epsilon = 0;
  return {state, options};
}

constexpr double u = 0x1p-53;

}  // namespace

TEST_CASE("subnormal numbers of every type", "[fold]") {
  CHECK(detail::is_subnormal(0x1p-127f));
  CHECK(detail::is_subnormal(-0x1p-149f));
  CHECK(!detail::is_subnormal(0x1p-126f));
  CHECK(!detail::is_subnormal(0.0f));
  CHECK(detail::is_subnormal(0x1p-1023));
  CHECK(!detail::is_subnormal(0x1p-1022));
  CHECK(detail::is_subnormal(Eigen::half(0x1p-15f)));
  CHECK(!detail::is_subnormal(Eigen::half(0x1p-14f)));
  CHECK(detail::is_subnormal(Eigen::bfloat16(0x1p-127f)));
  CHECK(!detail::is_subnormal(Eigen::bfloat16(0x1p-126f)));
}

TEST_CASE("numbers are stored in one rounding, and flushed on request", "[fold]") {
  CHECK(detail::stored<float>(0x1p-127, false) == 0x1p-127f);
  CHECK(detail::stored<float>(0x1p-127, true) == 0.0f);
  CHECK(detail::stored<float>(0x1p-126, true) == 0x1p-126f);
  // Rounds up to the smallest normal number, which is not flushed.
  CHECK(detail::stored<float>(0x1p-126 - 0x1p-151, true) == 0x1p-126f);
  // By way of float this would be a tie, and end at 1.
  CHECK(static_cast<float>(detail::stored<Eigen::half>(1 + 0x1p-11 + 0x1p-40, false)) ==
        1 + 0x1p-10f);
}

TEST_CASE("a plan with numbers that are not finite, or grow too large, is refused", "[fold]") {
  const auto refusal = [](float weight, double bias, float before, float after) {
    Eigen::Matrix<float, 1, 1> matrix(weight);
    const auto weights = linear(matrix);
    const Eigen::VectorXd biases = Eigen::VectorXd::Constant(1, bias);
    const InferenceMap first = map(0, before, 0), second = map(0, after, 0);
    std::string message = "accepted";
    try {
      const detail::FoldPlan<float> plan("test", weights, biases, first, second, {});
      static_cast<void>(plan.folded_bias<float>(detail::TapReach(1)));
    } catch (const std::domain_error& error) {
      message = error.what();
    }
    return message;
  };
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const std::string got = "expected a finite number, got NaN, infinity or overflow";
  CHECK(refusal(1, 1, 1, 1) == "accepted");
  CHECK(refusal(infinity, 1, 0, 1) == "test: weight of output channel 0: " + got);
  CHECK(refusal(std::nanf(""), 1, 1, 1) == "test: weight of output channel 0: " + got);
  CHECK(refusal(1, double(infinity), 1, 1) == "test: bias of output channel 0: " + got);
  CHECK(refusal(0x1p64f, 1, 0x1p32f, 0x1p32f) ==
        "test: folded weight of output channel 0: expected a magnitude of at most 3.40282347e+38 "
        "in its type, got 3.40282367e+38");
  CHECK(refusal(1, 1e30, 1, 1e10f).find("magnitude of at most 3.40282347e+38") !=
        std::string::npos);
  // Either is a number of double, and their sum is not.
  Eigen::Matrix<double, 1, 2> large(1e308, 5e307);
  const Eigen::VectorXd bias = Eigen::VectorXd::Constant(1, 1e308);
  const InferenceMap nothing = map(0, 1, 0);
  State<float> two(2);
  Options exact;
  exact.epsilon = 0;
  CHECK_THROWS_MATCHES((detail::FoldPlan<double>("test", linear(large), bias,
                                                 InferenceMap(two, exact), nothing, {})),
                       std::domain_error, says("test: sum of the terms of output channel 0"));
}

TEST_CASE("norms on both sides of a layer fold at once", "[fold]") {
  // ((x - 1) 2 + 3 becomes 2 x + 1; times 5, plus 7; (y - 4) 0.5 + 6.
  Eigen::Matrix<float, 1, 1> weight(5.0f);
  const auto weights = linear(weight);
  const Eigen::VectorXd bias = Eigen::VectorXd::Constant(1, 7);
  const InferenceMap before = map(1, 2, 3);
  const InferenceMap after = map(4, 0.5f, 6);
  const detail::FoldPlan<float> plan("test", weights, bias, before, after, {});
  CHECK(plan.folded(weight(0), 0, 0) == 5.0f);
  const auto folded = plan.folded_bias<float>(detail::TapReach(1));
  CHECK(folded.map(0, 0) == 10.0f);  // (5 + 7 - 4) / 2 + 6
  // B = (7 + 5 (2 + 3) + 4) / 2 + 6, and X times 5.
  CHECK(plan.terms(0, 0.0) == 24.0);
  CHECK(plan.terms(0, 3.0) == 39.0);
}

TEST_CASE("the bound is the rounding that happened, and that of double", "[fold]") {
  // Only rounding to float changes anything: 0.1 of the norm is a float, its squares are not.
  Eigen::Matrix<float, 1, 2> weight(0.1f, 0.7f);
  const auto weights = linear(weight);
  const Eigen::VectorXd bias = Eigen::VectorXd::Zero(1);
  const InferenceMap before = InferenceMap::identity(2);
  const InferenceMap after = map(0, 0.1f, 0);
  const detail::FoldPlan<float> plan("test", weights, bias, before, after, {});
  FoldCertificate certificate;
  plan.certify(plan.folded_bias<float>(detail::TapReach(1)), certificate);
  Real error = 0, terms = 0;
  for (const float w : {0.1f, 0.7f}) {
    const Real exact = static_cast<Real>(w) * static_cast<Real>(0.1f);
    error += std::fabs(static_cast<Real>(static_cast<float>(exact)) - exact);
    terms += exact;
  }
  const double share = static_cast<double>(error / terms);
  CHECK(certificate.bound_ulps >= share * 0x1p23);
  CHECK(certificate.bound_ulps <= (share + 7 * u) * 0x1p23);
}

TEST_CASE("a double layer is bound by the roundings of double", "[fold]") {
  Eigen::Matrix<double, 1, 2> weight(0.1, 0.7);
  const auto weights = linear(weight);
  const Eigen::VectorXd bias = Eigen::VectorXd::Zero(1);
  const InferenceMap before = InferenceMap::identity(2);
  const InferenceMap after = map(0, 0.1f, 0);
  const detail::FoldPlan<double> plan("test", weights, bias, before, after, {});
  FoldCertificate certificate;
  plan.certify(plan.folded_bias<double>(detail::TapReach(1)), certificate);
  CHECK(certificate.bound_ulps >= 3.0);  // four of the scale, two products: 6 / 2
  CHECK(certificate.bound_ulps <= 3.0001);
}

TEST_CASE("where terms of a bias cancel the unit is that of the terms", "[fold]") {
  // mean s and beta cancel: the bias is next to nothing, what it is made of is 100 twice.
  Eigen::Matrix<double, 1, 1> weight(1.0);
  const auto weights = linear(weight);
  const Eigen::VectorXd bias = Eigen::VectorXd::Zero(1);
  const InferenceMap before = InferenceMap::identity(1);
  const InferenceMap after = map(1000, 0.1f, 100);
  const detail::FoldPlan<double> plan("test", weights, bias, before, after, {});
  const auto folded = plan.folded_bias<double>(detail::TapReach(1));
  CHECK(std::fabs(folded.map(0, 0)) < 1e-5);
  CHECK(plan.terms(0, 0.0) > 199.99);
  FoldCertificate certificate;
  plan.certify(folded, certificate);
  CHECK(certificate.bound_ulps >= 3.5);  // four of the scale, difference, product and sum: 7 / 2
  CHECK(certificate.bound_ulps <= 3.5001);
}

TEST_CASE("a norm in front of many double weights is bound by the length of the sum", "[fold]") {
  Eigen::Matrix<double, 1, 8> weight = Eigen::Matrix<double, 1, 8>::LinSpaced(0.1, 0.8);
  const auto weights = linear(weight);
  const Eigen::VectorXd bias = Eigen::VectorXd::Zero(1);
  State<float> state(8);
  state.running_mean.setConstant(0.3f);
  const InferenceMap before(state, Options());
  const InferenceMap after = InferenceMap::identity(1);
  const detail::FoldPlan<double> plan("test", weights, bias, before, after, {});
  FoldCertificate certificate;
  plan.certify(plan.folded_bias<double>(detail::TapReach(1)), certificate);
  // Four of the scale, 8 terms, 4 around them, and 3 of the identity behind.
  CHECK(certificate.bound_ulps >= 9.5);
  CHECK(certificate.bound_ulps <= 9.5001);
}

TEST_CASE("relative errors", "[fold]") {
  CHECK(detail::relative(1.0, 4.0) == 0.25);
  CHECK(detail::relative(0.0, 0.0) == 0.0);
  CHECK(detail::relative(1e-300, 0.0) == std::numeric_limits<double>::infinity());
}

TEST_CASE("what is subnormal or vanishes is counted, and what was zero before is not", "[fold]") {
  const float tiny = 0x1p-30f;
  // Of the row that is kept: zero, normal, subnormal, lost; the last meets a gamma of zero.
  Eigen::Matrix<float, 2, 5> weight;
  weight << 0, 1, 0x1p-100f, 0x1p-149f, 1,  //
      0, 1, 0x1p-100f, 0x1p-149f, 1;
  const auto weights = linear(weight);
  const Eigen::VectorXd bias = Eigen::VectorXd::Constant(2, 0x1p-100);
  State<float> inputs(5), outputs(2);
  inputs.gamma << 1, 1, 1, 1, 0;
  outputs.gamma << tiny, 0;
  Options options;
  options.epsilon = 0;
  const InferenceMap before(inputs, options), after(outputs, options);
  for (const bool flush : {false, true}) {
    FoldOptions how;
    how.flush_subnormal = flush;
    how.largest_input = 3.0;
    const detail::FoldPlan<float> plan("test", weights, bias, before, after, how);
    CHECK(plan.folded(1.0f, 0, 0) == tiny);
    CHECK(plan.folded(0x1p-100f, 0, 0) == (flush ? 0.0f : 0x1p-130f));
    CHECK(plan.folded(0x1p-149f, 0, 0) == 0.0f);
    FoldCertificate certificate;
    plan.certify(plan.folded_bias<float>(detail::TapReach(1)), certificate);
    CHECK(certificate.subnormal_weights == 1);
    CHECK(certificate.subnormal_biases == 1);
    CHECK(certificate.vanished_weights == 1);
    CHECK(certificate.largest_input == 3.0);
  }
}

TEST_CASE("a plan refers to what it was made of", "[fold]") {
  Eigen::Matrix<float, 1, 1> weight(5.0f);
  const auto weights = linear(weight);
  const Eigen::VectorXd bias = Eigen::VectorXd::Constant(1, 7);
  const InferenceMap before = map(1, 2, 3), after = map(4, 0.5f, 6);
  const detail::FoldPlan<float> plan("test", weights, bias, before, after, {});
  CHECK(&plan.weights() == &weights);
  CHECK(&plan.bias() == &bias);
  CHECK(&plan.before() == &before);
  CHECK(&plan.after() == &after);
}

TEST_CASE("at every place a bias has what the taps that see the input make of a shift", "[fold]") {
  // Three taps over three values with a zero at either end; 1 is added to the values.
  std::vector<float> data = {1, 2, 4, 8, 16, 32};
  const WeightView<float> weights(data.data(), LayerKind::convolution, {1, 2, 1, 3}, {6, 3, 3, 1});
  const Eigen::VectorXd bias = Eigen::VectorXd::Zero(2);
  const InferenceMap before = map(0, 1, 1), after = InferenceMap::identity(2);
  const detail::TapReach reach("test", LayerKind::convolution, {{3, 3, 1, 1, 1}});
  const detail::FoldPlan<float> plan("test", weights, bias, before, after, {});
  const auto folded = plan.folded_bias<float>(reach);
  CHECK(folded.map == (Eigen::MatrixXf(2, 3) << 6, 7, 3, 48, 56, 24).finished());
  CHECK(folded.error == Eigen::Vector2d::Zero());
}

TEST_CASE("the error of a bias is that of the place where it is largest", "[fold]") {
  // The last tap is lost beside the others, at the first two places.
  std::vector<float> data = {1, 1, 0x1p-30f};
  const WeightView<float> weights(data.data(), LayerKind::convolution, {1, 1, 1, 3}, {3, 3, 3, 1});
  const Eigen::VectorXd bias = Eigen::VectorXd::Zero(1);
  const InferenceMap before = map(0, 1, 1), after = InferenceMap::identity(1);
  const detail::TapReach reach("test", LayerKind::convolution, {{3, 3, 1, 1, 1}});
  const detail::FoldPlan<float> plan("test", weights, bias, before, after, {});
  const auto folded = plan.folded_bias<float>(reach);
  CHECK(folded.map == Eigen::RowVector3f(1, 2, 2));
  CHECK(folded.error[0] == 0x1p-30);
}

TEST_CASE("within a largest input the bound is that of weights and bias together", "[fold]") {
  const auto rounding = [](Real exact) {
    return static_cast<double>(std::fabs(static_cast<Real>(static_cast<float>(exact)) - exact));
  };
  const Real scale = static_cast<Real>(0.1f);
  int of_both = 0;
  for (const double shift : {0.0, 0.1, 0.3, 0.9, 1.7, 2.3, 4.1, 6.7, 30.3}) {
    for (const float value : {0.7f, 1.0f}) {
      Eigen::Matrix<float, 1, 1> weight(value);
      const auto weights = linear(weight);
      const Eigen::VectorXd bias = Eigen::VectorXd::Constant(1, shift);
      const InferenceMap before = InferenceMap::identity(1), after = map(0, 0.1f, 0);
      FoldOptions options;
      options.largest_input = 3.0;
      const detail::FoldPlan<float> plan("test", weights, bias, before, after, options);
      FoldCertificate certificate;
      plan.certify(plan.folded_bias<float>(detail::TapReach(1)), certificate);
      const double of_weight = rounding(static_cast<Real>(value) * scale);
      const double of_bias = rounding(static_cast<Real>(shift) * scale);
      const double weight_terms = static_cast<double>(static_cast<Real>(value) * scale);
      const double bias_terms = shift * static_cast<double>(scale);
      const double at_zero = shift > 0 ? of_bias / bias_terms : 0.0;
      const double at_largest = (3 * of_weight + of_bias) / (3 * weight_terms + bias_terms);
      of_both += of_bias > 0.0 && at_largest > 1.01 * at_zero ? 1 : 0;
      // What double itself rounds is a few parts in 1e16.
      CHECK(certificate.bound_within_ulps ==
            Approx(std::max(at_zero, at_largest) * 0x1p23).epsilon(1e-6).margin(1e-7));
      CHECK(
          certificate.bound_ulps ==
          Approx(std::max(at_zero, of_weight / weight_terms) * 0x1p23).epsilon(1e-6).margin(1e-7));
    }
  }
  CHECK(of_both > 0);
}

TEST_CASE("a product that double cannot hold is bound by nothing", "[fold]") {
  Eigen::Matrix<double, 1, 1> weight(std::numeric_limits<double>::denorm_min());
  const auto weights = linear(weight);
  const Eigen::VectorXd bias = Eigen::VectorXd::Zero(1);
  const InferenceMap before = InferenceMap::identity(1), after = map(0, 0.5f, 0);
  const detail::FoldPlan<double> plan("test", weights, bias, before, after, {});
  FoldCertificate certificate;
  plan.certify(plan.folded_bias<double>(detail::TapReach(1)), certificate);
  CHECK(certificate.bound_ulps == std::numeric_limits<double>::infinity());
}

TEST_CASE("norms in a row have the roundings of both, in front of a layer and behind it",
          "[fold]") {
  State<float> state(8);
  state.running_mean.setConstant(0.3f);
  const InferenceMap norm(state, Options());
  const InferenceMap chain = norm.then(norm);
  Eigen::Matrix<double, 1, 8> weight = Eigen::Matrix<double, 1, 8>::LinSpaced(0.1, 0.8);
  const Eigen::VectorXd bias = Eigen::VectorXd::Zero(1);
  const auto bound = [&](const InferenceMap& before, const InferenceMap& after) {
    const auto weights = linear(weight);
    const detail::FoldPlan<double> plan("test", weights, bias, before, after, {});
    FoldCertificate certificate;
    plan.certify(plan.folded_bias<double>(detail::TapReach(1)), certificate);
    return certificate.bound_ulps;
  };
  // Two of u are one unit. In front: 9 of the scale, 7 of the shift, 8 terms and 4 around them; and
  // 3 of the identity behind.
  CHECK(bound(chain, InferenceMap::identity(1)) == Approx(31 / 2.0).epsilon(1e-4));
  // In front of one weight 1 and a bias of 1/2, adding 1: (4 + 4 + 1) 1 + 1/2, and 3 of the sum
  // 3/2.
  Eigen::Matrix<double, 1, 1> one(1.0);
  const auto weights = linear(one);
  const Eigen::VectorXd half = Eigen::VectorXd::Constant(1, 0.5);
  const InferenceMap adds_one = map(0, 1, 1), none = InferenceMap::identity(1);
  const detail::FoldPlan<double> plan("test", weights, half, adds_one, none, {});
  FoldCertificate certificate;
  plan.certify(plan.folded_bias<double>(detail::TapReach(1)), certificate);
  CHECK(certificate.bound_ulps == Approx(14 / 1.5 / 2.0).epsilon(1e-4));
  // Around a norm in front with 4, 8 and 4, all times a quarter: 4 and 3 of the norm behind.
  CHECK(bound(norm, map(0, 0.25f, 0)) == Approx(23 / 2.0).epsilon(1e-4));
  // Behind, on a bias of 0: 9 of the scale, 7 of the shift and 3 operations.
  const InferenceMap single = map(1, 2, 0.5f);
  CHECK(bound(InferenceMap::identity(8), single.then(single)) == Approx(19 / 2.0).epsilon(1e-4));
}
