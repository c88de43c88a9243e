// SPDX-License-Identifier: MIT
#include "batchnorm/math/together.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <set>
#include <vector>

#include "batchnorm/detail/collective.hpp"
#include "batchnorm/options.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"

using batchnorm::Index;
using batchnorm::Options;
using batchnorm::detail::ChannelShare;
using batchnorm::detail::Collective;
using batchnorm::detail::CollectiveCall;
using batchnorm::detail::CollectivePiece;
using namespace batchnorm_test;

namespace {

/// Takes what a layer has to say in pieces of two samples, and gives back the last of them.
class LastPiece : public Collective {
 public:
  void combine(std::uint64_t layer, const CollectiveCall& call, const CollectivePiece& piece,
               ChannelShare&, ChannelShare& all) override {
    seen_layer = layer;
    seen = call;
    Index first = 0;
    do {
      piece(first, std::min<Index>(2, call.samples - first), all);
      first += 2;
    } while (first < call.samples);
  }
  Index samples() const override { return seen.samples; }
  bool sums_parameter_gradients() const override { return false; }

  std::uint64_t seen_layer = 0;
  CollectiveCall seen;
};

}  // namespace

TEST_CASE("some samples of a view are the same memory in every layout") {
  Random random(1);
  const Batch batch = normal_batch(random, 7, 3, 4);
  for (const Layout layout : all_layouts) {
    const Stored<double> stored(batch, layout);
    const auto some = batchnorm::detail::some_samples(stored.view(), 2, 3);
    CHECK(some.samples() == 3);
    CHECK(some.channels() == 3);
    CHECK(some.positions() == 4);
    CHECK(&some(0, 1, 3) == &stored.view()(2, 1, 3));
    CHECK(&some(2, 0, 0) == &stored.view()(4, 0, 0));
    CHECK(batchnorm::detail::some_samples(stored.view(), 0, 0).empty());
  }
}

TEST_CASE("options that make results differ have other fingerprints") {
  std::vector<Options> all(9);
  all[1].epsilon = 2e-5;
  all[2].running = batchnorm::RunningUpdate::take_new(0.2);
  all[3].running = batchnorm::RunningUpdate::windowed(7);
  all[4].running_variance = batchnorm::VarianceEstimator::population;
  all[5].scale = false;
  all[6].shift = false;
  all[7].epilogue = batchnorm::Epilogue::relu();
  all[8].non_finite = batchnorm::NonFinite::propagate;
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

TEST_CASE("moments are taken of the pieces that are asked for, after one check") {
  Random random(2);
  const Batch batch = stored_as<float>(normal_batch(random, 5, 3, 2));
  const Stored<float> stored(batch, Layout::channels_first);
  LastPiece ranks;
  CollectiveCall call;
  call.channels = 3;
  int checks = 0;
  ChannelShare own;
  batchnorm::Moments<double> last(3);
  ChannelShare all = batchnorm::detail::share_of(last);
  const auto piece = [&](Index first, Index samples, ChannelShare& to) {
    if (first == 0) ++checks;
    batchnorm::detail::give(batchnorm::detail::moments_of_view<Eigen::Dynamic, float>(
                                batchnorm::detail::some_samples(stored.view(), first, samples), {}),
                            to);
  };
  call.samples = 5;
  ranks.combine(9, call, CollectivePiece(piece), own, all);
  CHECK(checks == 1);
  CHECK(all.count == 2);  // the fifth sample alone, at two positions
  const Real expected = (batch.at(4, 1, 0) + batch.at(4, 1, 1)) / 2;
  CHECK(std::fabs(last.mean[1] - expected) < 1e-12L);
}
