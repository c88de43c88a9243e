// SPDX-License-Identifier: MIT
#include "batchnorm/math/shares.hpp"

#include <cstdint>
#include <set>
#include <vector>

#include "batchnorm/detail/collective.hpp"
#include "batchnorm/math/masked.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/options.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"

using batchnorm::Index;
using batchnorm::Options;
using batchnorm::detail::ChannelShare;
using batchnorm::detail::InputPiece;
using namespace batchnorm_test;

TEST_CASE("options that make results differ have other fingerprints") {
  std::vector<Options> all(16);
  all[1].epsilon = 2e-5;
  all[2].running = batchnorm::RunningUpdate::take_new(0.2);
  all[3].running = batchnorm::RunningUpdate::windowed(7);
  all[4].running_variance = batchnorm::VarianceEstimator::population;
  all[5].scale = false;
  all[6].shift = false;
  all[7].epilogue = batchnorm::Epilogue::relu();
  all[8].non_finite = batchnorm::NonFinite::propagate;
  // Pairs that differ in one number.
  all[9].running = batchnorm::RunningUpdate::windowed(8);
  all[10].running = batchnorm::RunningUpdate::take_new(0.3);
  all[11].epilogue = batchnorm::Epilogue::leaky_relu(0.125);
  all[12].epilogue = batchnorm::Epilogue::leaky_relu(0.25);
  all[13].single_value = batchnorm::SingleValue::use_running_statistics;
  all[14].running = batchnorm::RunningUpdate::cumulative();
  all[15].running = batchnorm::RunningUpdate::population();
  std::set<std::uint64_t> prints;
  for (const Options& options : all) prints.insert(batchnorm::detail::fingerprint_of(options));
  CHECK(prints.size() == all.size());
  CHECK(batchnorm::detail::fingerprint_of(Options()) ==
        batchnorm::detail::fingerprint_of(Options::pytorch()));
}

TEST_CASE("moments of other minibatches have other fingerprints") {
  batchnorm::Moments<double> a(2);
  a.count = 4;
  batchnorm::Moments<double> b = a, c = a, d = a;
  b.mean[1] = 1e-300;
  c.count = 5;
  d.set_weight(3.0, 3.0);
  std::set<std::uint64_t> prints;
  for (const auto& moments : {a, b, c, d}) {
    prints.insert(batchnorm::detail::fingerprint_of(moments));
  }
  CHECK(prints.size() == 4);
}

TEST_CASE("a piece of a masked input has its part of the mask") {
  Random random(2);
  const Batch batch = normal_batch(random, 4, 2, 3);
  Eigen::Array<bool, 4, 3> mask;
  mask << 1, 1, 0,  //
      0, 0, 0,      //
      1, 1, 1,      //
      0, 0, 1;
  for (const Layout layout : all_layouts) {
    CAPTURE(name_of(layout));
    const Stored<double> stored(batch, layout);
    const auto masked = batchnorm::masked(stored.view(), mask);
    const batchnorm::Input<double> in(masked);
    const auto whole = batchnorm::detail::selected_of("test", in);
    const auto count = [&](Index first, Index samples) {
      return InputPiece<double>("test", in, first, samples, whole).count();
    };
    CHECK(count(0, 4) == 6);
    CHECK(count(0, 1) == 2);
    CHECK(count(1, 1) == 0);
    CHECK(count(1, 3) == 4);
    CHECK(count(4, 0) == 0);
    const InputPiece<double> last("test", in, 3, 1, whole);
    const auto moments = batchnorm::detail::moments_of_view<Eigen::Dynamic, double>(
        last.view(), last.selected(), {});
    CHECK(moments.count == 1);
    CHECK(moments.mean[1] == static_cast<double>(batch.at(3, 1, 2)));
  }
}

TEST_CASE("a piece of a weighted vector of examples, and of one with a residual") {
  Eigen::MatrixXd x(1, 5), r(1, 5);
  x << 1, 2, 4, 8, 16;
  r << 5, 6, 7, 8, 9;
  const Eigen::VectorXd weights = (Eigen::VectorXd(5) << 1, 1, 0, 0.5, 4).finished();
  const auto weighted =
      batchnorm::weighted(batchnorm::with_residual(x, r), weights, batchnorm::Weights::importance);
  const batchnorm::Input<double> in(weighted);
  const auto whole = batchnorm::detail::selected_of("test", in);
  const InputPiece<double> end("test", in, 2, 3, whole);
  CHECK(end.count() == 2);
  CHECK(end.selected()->what().weight == 4.5);
  CHECK(end.selected()->what().squared_weight == 16.25);
  CHECK(&(*end.views().residual)(0, 0, 0) == &r(0, 2));
  // Of a piece whose weights are all 1 nothing has to be said.
  CHECK(InputPiece<double>("test", in, 0, 2, whole).selected() == nullptr);
}

TEST_CASE("a share says what its weights are, unless every value counts once") {
  batchnorm::Moments<double> moments(1);
  moments.count = 3;
  const auto weights = [&] { return batchnorm::detail::share_of(moments).weights; };
  CHECK(weights() == 0);
  moments.set_weight(3.0, 3.0, batchnorm::Weights::reliability);
  CHECK(weights() == 0);
  moments.set_weight(3.0, 4.5, batchnorm::Weights::frequency);  // 2, 0.5, 0.5
  CHECK(weights() == 1);
  moments.set_weight(1.5, 0.75, batchnorm::Weights::reliability);
  CHECK(weights() == 2);
  moments.set_weight(6.0, 12.0, batchnorm::Weights::importance);
  CHECK(weights() == 3);
}

TEST_CASE("shares are copied with all their numbers") {
  batchnorm::Moments<double> moments(2);
  moments.count = 3;
  moments.mean << 1, 2;
  moments.sum_of_squares << 3, 4;
  moments.set_weight(6.0, 14.0, batchnorm::Weights::reliability);
  double first[2], second[2];
  ChannelShare to;
  to.first = first;
  to.second = second;
  batchnorm::detail::give(moments, to);
  CHECK((to.count == 3 && to.weight == 6.0 && to.squared_weight == 14.0 && to.weights == 2));
  CHECK((first[0] == 1 && first[1] == 2 && second[0] == 3 && second[1] == 4));

  batchnorm::GradientSums<double> sums(2);
  sums.count = 5;
  sums.output_gradient << 7, 8;
  sums.normalized << 9, 10;
  batchnorm::detail::give(sums, to);
  CHECK((to.count == 5 && to.weights == 0 && to.first == first));
  CHECK((first[0] == 7 && first[1] == 8 && second[0] == 9 && second[1] == 10));
}
