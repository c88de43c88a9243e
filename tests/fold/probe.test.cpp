// SPDX-License-Identifier: MIT
// The probes find what is wrong with a fold. Folds that are right are in fold.test.cpp.
#include "batchnorm/fold/probe.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "support/catch.hpp"
#include "support/fold_cases.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
using reference::Axis;

namespace {

/// A padded convolution behind a norm.
struct Fixture {
  Random random{51};
  reference::Axes axes = {Axis{}, Axis{4, 3, 1, 1, 1}, Axis{3, 2, 1, 1, 0}};
  StoredLayer<float> layer{{"", Order::oihw, 3, 2, 1, axes}, random, true};
  WeightView<float> weights = layer.weights();
  Eigen::VectorXd bias = layer.bias.cast<double>();
  InferenceMap before{random_state<float>(random, 2), Options()};
  InferenceMap after = InferenceMap::identity(3);
  detail::FoldPlan<float> plan{"test", weights, bias, before, after, {}};
  detail::TapReach border{"test", LayerKind::convolution, library_axes(axes)};
  detail::FoldedBias<float> folded = plan.folded_bias<float>(border);

  FoldCertificate measured(int count) const {
    FoldCertificate certificate;
    plan.certify(folded, certificate);
    detail::FoldProbe<float, float>(plan, folded.map, border).run(count, 7, certificate);
    return certificate;
  }
};

}  // namespace

TEST_CASE("SplitMix64 gives its published numbers", "[fold]") {
  detail::ProbeNumbers numbers(1234567);
  CHECK(numbers.bits() == 6457827717110365317u);
  CHECK(numbers.bits() == 3203168211198807973u);
  CHECK(numbers.bits() == 9817491932198370423u);
  double least = 1, most = -1;
  for (int i = 0; i < 1000; ++i) {
    const double value = numbers.uniform();
    least = std::min(least, value);
    most = std::max(most, value);
    const Index below = numbers.below(3);
    CHECK(below >= 0);
    CHECK(below < 3);
  }
  CHECK(least >= -1.0);
  CHECK(least < -0.99);
  CHECK(most > 0.99);
  CHECK(most < 1.0);
}

TEST_CASE("probes of a right fold stay within the bound, at the border too", "[fold]") {
  const FoldCertificate certificate = Fixture().measured(100);
  CHECK(certificate.probes == 100);
  CHECK(certificate.measured_ulps > 0.0);
  CHECK(certificate.measured_ulps <= certificate.bound_ulps + certificate.evaluation_ulps);
  // 12 terms: twice as many roundings to long double, and 8 of both sides, seen in ulps of float.
  const double expected =
      static_cast<double>(2 * (12 + 8) * std::numeric_limits<long double>::epsilon() /
                          static_cast<long double>(std::numeric_limits<float>::epsilon()));
  CHECK(certificate.evaluation_ulps == expected);
  CHECK(Fixture().measured(1).evaluation_ulps == expected);
}

TEST_CASE("without probes nothing is measured", "[fold]") {
  const FoldCertificate certificate = Fixture().measured(0);
  CHECK(certificate.probes == 0);
  CHECK(certificate.measured_ulps == 0.0);
  CHECK(certificate.evaluation_ulps == 0.0);
}

TEST_CASE("probes see a wrong bias, also when it is wrong at one place only", "[fold]") {
  Fixture everywhere;
  everywhere.folded.map.row(2).array() += 0.01f;
  CHECK(!everywhere.measured(1).probes_agree());
  Fixture corner;
  corner.folded.map(0, corner.folded.map.cols() - 1) *= 2;
  CHECK(!corner.measured(100).probes_agree());
}

TEST_CASE("probes see a border that was folded as if it were the inside", "[fold]") {
  Fixture fixture;
  const auto inside = fixture.plan.folded_bias<float>(detail::TapReach(6));
  fixture.folded.map = inside.map.replicate(1, fixture.border.positions());
  CHECK(!fixture.measured(20).probes_agree());
}

TEST_CASE("an error is measured in units of the largest magnitude of any input", "[fold]") {
  Eigen::Matrix<float, 1, 2> weight(2.0f, 3.0f);
  const auto weights = linear(weight);
  const Eigen::VectorXd bias = Eigen::VectorXd::Zero(1);
  const InferenceMap before = InferenceMap::identity(2), after = InferenceMap::identity(1);
  const detail::FoldPlan<float> plan("test", weights, bias, before, after, {});
  const detail::TapReach inside(1);
  const auto wrong = detail::BiasMap<float>::Constant(1, 1, 0.25f);
  int first_is_larger = 0;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    detail::ProbeNumbers numbers(seed);
    static_cast<void>(numbers.bits());  // tells the place
    const double a = std::fabs(std::ldexp(static_cast<double>(numbers.bits() >> 11), -52) - 1.0);
    const double b = std::fabs(std::ldexp(static_cast<double>(numbers.bits() >> 11), -52) - 1.0);
    first_is_larger += a > b ? 1 : 0;
    FoldCertificate certificate;
    detail::FoldProbe<float, float>(plan, wrong, inside).run(1, seed, certificate);
    CHECK(certificate.measured_ulps == Approx(0.25 / (5.0 * std::max(a, b)) * 0x1p23));
  }
  CHECK(first_is_larger > 0);
  CHECK(first_is_larger < 8);
}
