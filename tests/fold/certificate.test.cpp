// SPDX-License-Identifier: MIT
// What a certificate says of folds whose result is known.
#include "batchnorm/fold/certificate.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "batchnorm/fold/fold.hpp"
#include "support/catch.hpp"
#include "support/fold_cases.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
using reference::Axis;

namespace {

Options with_epsilon(double epsilon) {
  Options options;
  options.epsilon = epsilon;
  return options;
}

}  // namespace

TEST_CASE("channels of gamma zero and below are named, and folded", "[fold]") {
  State<float> state(4);
  state.gamma << 0.5f, 0, -8, 0;
  state.beta << 1, 2, 3, 4;
  state.running_mean << 1, 1, 1, 1;
  Eigen::MatrixXf weight = Eigen::MatrixXf::Ones(4, 2);
  Eigen::VectorXf bias = Eigen::VectorXf::Constant(4, 3);
  const FoldCertificate certificate = fold_after(linear(weight), bias, state, with_epsilon(0));
  CHECK(certificate.zero_gamma == std::vector<Index>{1, 3});
  CHECK(certificate.negative_gamma == std::vector<Index>{2});
  CHECK(certificate.largest_gain == 8.0);
  CHECK(certificate.largest_gain_channel == 2);
  CHECK(certificate.bound_ulps < 0.501);
  CHECK(certificate.probes_agree());
  CHECK(weight.col(1) == Eigen::Vector4f(0.5f, 0, -8, 0));
  CHECK(bias == Eigen::Vector4f(2, 2, -13, 4));
}

TEST_CASE("subnormal weights and biases are counted, and flushed on request", "[fold]") {
  const float tiny = (std::numeric_limits<float>::min)();
  State<float> state(2);
  state.gamma << 0x1p-3f, 1;
  state.beta << tiny / 4, 1;
  const Eigen::MatrixXf start =
      (Eigen::MatrixXf(2, 3) << 1, tiny, std::numeric_limits<float>::denorm_min() * 3, 1, 1, 1)
          .finished();
  const auto run = [&](bool flush, Eigen::MatrixXf& weight, Eigen::VectorXf& bias) {
    FoldOptions options;
    options.flush_subnormal = flush;
    return fold_after(linear(weight), bias, state, with_epsilon(0), options);
  };
  Eigen::MatrixXf weight = start;
  Eigen::VectorXf bias;
  const FoldCertificate kept = run(false, weight, bias);
  CHECK(kept.subnormal_weights == 1);
  CHECK(kept.subnormal_biases == 1);
  CHECK(kept.vanished_weights == 1);  // 3/8 of the smallest number
  CHECK(weight(0, 1) == tiny / 8);
  CHECK(weight(0, 2) == 0.0f);
  CHECK(bias[0] == tiny / 4);
  CHECK(kept.bound_ulps < 0.501);

  Eigen::MatrixXf flushed_weight = start;
  Eigen::VectorXf flushed_bias;
  const FoldCertificate flushed = run(true, flushed_weight, flushed_bias);
  CHECK(flushed.subnormal_weights == 1);
  CHECK(flushed.subnormal_biases == 1);
  CHECK(flushed_weight(0, 0) == 0.125f);
  CHECK(flushed_weight(0, 1) == 0.0f);
  CHECK(flushed_bias[0] == 0.0f);
  CHECK(flushed_bias[1] == 1.0f);
  // The whole bias of channel 0 is lost, which is all there is of it: 100 %, 2^23 units.
  CHECK(flushed.bound_ulps >= 0x1p23);
  CHECK(flushed.bound_ulps < 0x1p23 + 1);
  // For an input of 0 the bias is all there is, however large others may be.
  CHECK(flushed.bound_within_ulps >= 0x1p23);
  CHECK(flushed.bound_within_ulps < 0x1p23 + 1);
  CHECK(flushed.probes_agree());
}

TEST_CASE("weights that vanish beside a bias matter to large inputs only", "[fold]") {
  State<float> state(1);
  state.gamma[0] = 0.25f;
  state.beta[0] = 1;
  const auto run = [&](double largest_input) {
    Eigen::RowVector2f weight = Eigen::RowVector2f::Constant(0x1p-149f);
    Eigen::VectorXf bias;
    FoldOptions options;
    if (largest_input > 0) options.largest_input = largest_input;
    const FoldCertificate certificate =
        fold_after(linear(weight), bias, state, with_epsilon(0), options);
    CHECK(weight == Eigen::RowVector2f::Zero());
    CHECK(bias[0] == 1.0f);
    return certificate;
  };
  const FoldCertificate ordinary = run(0);
  CHECK(ordinary.vanished_weights == 2);
  CHECK(ordinary.largest_input == 0x1p20);
  // All of what a huge input gives is lost, and 2^-130 of what one of 2^20 gives; what is left are
  // roundings of the computation in double.
  CHECK(ordinary.bound_ulps >= 0x1p23);
  CHECK(ordinary.bound_ulps < 0x1p23 + 1);
  CHECK(ordinary.bound_within_ulps < 1e-7);
  CHECK(ordinary.probes_agree());
  // Two weights of 2^-151 were to add 2^-20 to the bias of 1.
  CHECK_THAT(run(0x1p130).bound_within_ulps, Catch::Matchers::WithinRel(8 / (1 + 0x1p-20), 1e-6));
}

TEST_CASE("half weights that fold to subnormals lose what the bound says", "[fold]") {
  // 2^-14 is the smallest normal half; times 0.3 it keeps 8 bits.
  State<Eigen::half> state(1);
  state.gamma[0] = 0.3f;
  Eigen::Matrix<Eigen::half, 1, 2> weight(Eigen::half(0x1p-14f), Eigen::half(-0x1p-14f));
  Eigen::Matrix<Eigen::half, Eigen::Dynamic, 1> bias;
  const FoldCertificate certificate = fold_after(linear(weight), bias, state, with_epsilon(0));
  const double exact = 0x1p-14 * static_cast<double>(0.3f);
  const double lost = std::fabs(static_cast<double>(static_cast<float>(weight[0])) - exact);
  CHECK(certificate.subnormal_weights == 2);
  CHECK_THAT(certificate.bound_ulps, Catch::Matchers::WithinRel(lost / exact * 0x1p10, 1e-9));
  CHECK(certificate.measured_ulps > 0.0);
  CHECK(certificate.probes_agree());
}

TEST_CASE("the same seed measures the same, another seed does not", "[fold]") {
  const auto measured = [](std::uint64_t seed, int probes) {
    Random random(35);
    const FoldCase test{"", Order::oihw, 3, 4, 1, {Axis{}, Axis{3, 2}, Axis{3, 2}}};
    StoredLayer<float> layer(test, random, true);
    FoldOptions options;
    options.seed = seed;
    options.probes = probes;
    return fold_after(layer.weights(), layer.bias, random_state<float>(random, 3), Options(),
                      options);
  };
  CHECK(measured(1, 3).measured_ulps == measured(1, 3).measured_ulps);
  CHECK(measured(1, 3).measured_ulps != measured(2, 3).measured_ulps);
  CHECK(measured(1, 9).measured_ulps >= measured(1, 3).measured_ulps);
  CHECK(measured(1, 9).probes == 9);
  CHECK(measured(1, 0).measured_ulps == 0.0);
  CHECK(measured(1, 0).evaluation_ulps == 0.0);
}

TEST_CASE("unless told otherwise, subnormal weights are kept and probes start at seed 1",
          "[fold]") {
  State<float> state(1);
  state.gamma[0] = 0x1p-3f;
  Eigen::MatrixXf weight = Eigen::MatrixXf::Constant(1, 2, 0x1p-125f);
  Eigen::VectorXf bias = Eigen::VectorXf::Ones(1);
  const FoldCertificate kept = fold_after(linear(weight), bias, state, with_epsilon(0));
  CHECK(weight(0, 0) == 0x1p-128f);
  const auto measured = [](const auto&... seed) {
    Random random(36);
    Eigen::MatrixXf some(4, 5);
    for (float& each : some.reshaped()) each = static_cast<float>(random.normal());
    Eigen::VectorXf none;
    FoldOptions options;
    ((options.seed = seed), ...);
    return fold_after(linear(some), none, random_state<float>(random, 4), Options(), options)
        .measured_ulps;
  };
  CHECK(measured() == measured(1u));
  CHECK(measured() != measured(2u));
  CHECK(kept.probes_agree());
}

TEST_CASE("gains of a chain are those of the product", "[fold]") {
  State<float> first(2);
  first.gamma << 4, -3;
  State<float> second(2);
  second.gamma << -0.5f, -2;
  const InferenceMap one(first, with_epsilon(0));
  const InferenceMap two(second, with_epsilon(0));
  CHECK(detail::certify_gains(one).negative_gamma == std::vector<Index>{1});
  const FoldCertificate both = detail::certify_gains(one.then(two));
  CHECK(both.negative_gamma == std::vector<Index>{0});
  CHECK(both.zero_gamma.empty());
  CHECK(both.largest_gain == 6.0);
  CHECK(both.largest_gain_channel == 1);
}

TEST_CASE("of equal gains the first channel is named", "[fold]") {
  State<float> state(3);
  state.gamma << 1, -2, 2;
  CHECK(detail::certify_gains(InferenceMap(state, with_epsilon(0))).largest_gain_channel == 1);
  state.gamma << 0, 0, 0;
  CHECK(detail::certify_gains(InferenceMap(state, with_epsilon(0))).largest_gain_channel == 0);
}

TEST_CASE("probes agree within the bound and their own roundings", "[fold]") {
  FoldCertificate certificate;
  certificate.bound_ulps = 0.5;
  certificate.evaluation_ulps = 0.25;
  certificate.measured_ulps = 0.75;
  CHECK(certificate.probes_agree());
  certificate.measured_ulps = 0.76;
  CHECK(!certificate.probes_agree());
  certificate.measured_ulps = std::numeric_limits<double>::quiet_NaN();
  CHECK(!certificate.probes_agree());
}

TEST_CASE("a certificate begins with nothing that agrees, options with their defaults", "[fold]") {
  const FoldCertificate nothing;
  CHECK(nothing.largest_gain == 0.0);
  CHECK(nothing.largest_gain_channel == 0);
  CHECK(nothing.subnormal_weights == 0);
  CHECK(nothing.subnormal_biases == 0);
  CHECK(nothing.vanished_weights == 0);
  CHECK(nothing.bound_ulps == 0.0);
  CHECK(nothing.bound_within_ulps == 0.0);
  CHECK(nothing.largest_input == 0.0);
  CHECK(nothing.measured_ulps == 0.0);
  CHECK(nothing.evaluation_ulps == 0.0);
  CHECK(nothing.probes == 0);
  CHECK(nothing.probes_agree());
  const FoldOptions options;
  CHECK(options.padding == Padding::unstated);
  CHECK_FALSE(options.flush_subnormal);
  CHECK(options.probes == 4);
  CHECK(options.largest_input == 0x1p20);
  CHECK(options.seed == 1);
}
