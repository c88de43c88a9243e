// SPDX-License-Identifier: MIT
#include "batchnorm/math/streaming_moments.hpp"

#include <array>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "batchnorm/math/moments_bytes.hpp"
#include "support/bounds.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"
#include "support/reference_running.hpp"

using namespace batchnorm_test;
using batchnorm::exchange;
using batchnorm::Index;
using batchnorm::Moments;
using batchnorm::moments_of;
using batchnorm::StreamingMoments;

namespace {

constexpr Size parties = 4, channels = 3;

bool same_bits(const Moments<double>& a, const Moments<double>& b) {
  return a.count == b.count && a.mean == b.mean && a.sum_of_squares == b.sum_of_squares;
}

Moments<double> moments_in(const Batch& batch) {
  return moments_of(Stored<double>(batch, Layout::channels_last).view());
}

}  // namespace

TEST_CASE("rounds of exchange count every value once, at every party") {
  Random random(3);
  std::vector<StreamingMoments<double>> workers(parties, StreamingMoments<double>(channels));
  std::vector<Moments<double>> totals(parties, Moments<double>(channels));  // what others do
  std::vector<Batch> seen;
  Index count = 0, multiplied = 0;
  for (int round = 0; round < 6; ++round) {
    Moments<double> sum(channels);
    for (Size w = 0; w < parties; ++w) {
      for (Size part = 0; part <= w; ++part) {
        seen.push_back(stored_as<double>(normal_batch(random, 1 + part, channels, 2, 100)));
        workers[w].add(moments_in(seen.back()));
        totals[w].merge(moments_in(seen.back()));
      }
      const Index own =
          static_cast<Index>((w + 1) * (w + 2));  // 2 positions times 1 + ... + (w + 1)
      CHECK(workers[w].own().count == own);
      count += own;
      multiplied += own;
      sum.merge(totals[w]);
    }
    exchange(workers);
    for (Size w = 0; w < parties; ++w) {
      CHECK(workers[w].own().count == 0);
      CHECK(workers[w].shared().count == count);
      CHECK(same_bits(workers[w].total(), workers[0].shared()));
      totals[w] = sum;
    }
    // Merging totals instead counts what is common once for every party, in every round.
    CHECK(sum.count == multiplied);
    multiplied *= static_cast<Index>(parties);
  }
  CHECK(multiplied > 500 * count);
  const auto variance = workers[0].total().population_variance();
  for (Size c = 0; c < channels; ++c) {
    const reference::Pooled all = reference::pool(seen, c);
    const auto i = static_cast<Index>(c);
    CHECK(std::fabs(workers[0].total().mean[i] - all.mean) <= 1e-12L * 100);
    CHECK(std::fabs(variance[i] - all.squares / all.count) <= 1e-12L * variance[i]);
  }
}

TEST_CASE("an exchange through messages is the one in memory") {
  std::array<StreamingMoments<double>, 2> here, there;
  const Moments<double> first = moments_of(Eigen::MatrixXd{{0.1, 0.7}, {5, 9}});
  const Moments<double> second = moments_of(Eigen::MatrixXd{{1.3, 8, 0.2}, {-4, 1, 1}});
  here[0].add(first), there[0].add(first);
  here[1].add(second), there[1].add(second);
  exchange(here);
  Moments<double> round;
  for (const auto& party : there) {
    round.merge(batchnorm::moments_from_bytes(batchnorm::to_bytes(party.own())));
  }
  for (auto& party : there) party.share(round);
  for (Size w = 0; w < 2; ++w) CHECK(same_bits(here[w].total(), there[w].total()));
  CHECK(here[0].total().count == 5);
}

TEST_CASE("what was seen since joins the total, not what is shared") {
  std::vector<StreamingMoments<double>> workers(2);
  workers[0].add(moments_of(Eigen::RowVectorXd{{1, 3}}));
  exchange(workers);
  CHECK(workers[1].total().count == 2);  // a party that has seen nothing learns what others saw
  CHECK(workers[1].own().channels() == 1);
  workers[1].add(moments_of(Eigen::RowVectorXd{{8}}));
  CHECK(workers[1].own().mean[0] == 8.0);
  CHECK(workers[1].shared().mean[0] == 2.0);
  CHECK(workers[1].total().mean[0] == 4.0);
  CHECK(workers[0].total().count == 2);
  const StreamingMoments<double> resumed(workers[1].shared(), workers[1].own());
  CHECK(same_bits(resumed.total(), workers[1].total()));
  const StreamingMoments<double> fresh(Moments<double>(), workers[1].own());
  CHECK(fresh.shared().channels() == 1);
}

TEST_CASE("a stream of a fixed number of channels") {
  std::array<StreamingMoments<double, 2>, 2> workers;
  Moments<double, 2> seen;
  seen.count = 1;
  seen.mean << 3, 4;
  workers[0].add(seen);
  exchange(workers);
  CHECK(workers[1].total().mean[1] == 4.0);
}

TEST_CASE("a round without this party, and other channels, are refused and change nothing") {
  StreamingMoments<double> worker(2);
  worker.add(moments_of(Eigen::MatrixXd::Ones(2, 5)));
  CHECK_THROWS_MATCHES(worker.share(moments_of(Eigen::MatrixXd::Ones(2, 4))), std::invalid_argument,
                       says("StreamingMoments::share: what everybody has told includes what this "
                            "party has seen: expected moments of at least 5 values, got 4"));
  CHECK_THROWS_AS(worker.share(moments_of(Eigen::MatrixXd::Ones(3, 9))), std::invalid_argument);
  CHECK_THROWS_AS(worker.add(moments_of(Eigen::MatrixXd::Ones(3, 9))), std::invalid_argument);
  CHECK_THROWS_AS(StreamingMoments<double>(Moments<double>(2), Moments<double>(3)),
                  std::invalid_argument);
  std::vector<StreamingMoments<double>> workers{worker, StreamingMoments<double>(3)};
  CHECK_THROWS_AS(exchange(workers), std::invalid_argument);
  CHECK(workers[0].own().count == 5);
  CHECK(workers[0].shared().count == 0);
  CHECK(worker.own().count == 5);
}

TEST_CASE("an exchange that one party cannot take is taken by none") {
  std::vector<StreamingMoments<double>> workers(2);
  workers[0].add(moments_of(Eigen::MatrixXd::Ones(2, 5)));
  Moments<double> full(2);
  full.count = (std::numeric_limits<Index>::max)() - 4;
  workers[1] = StreamingMoments<double>(full, Moments<double>(2));
  CHECK_THROWS_MATCHES(exchange(workers), std::invalid_argument,
                       says("number of values, all together: expected at most"));
  CHECK(workers[0].own().count == 5);
  CHECK(workers[0].shared().count == 0);
  CHECK_THROWS_MATCHES(StreamingMoments<double>(-1), std::invalid_argument,
                       says("StreamingMoments: number of channels: expected zero or more, got -1"));
}

TEST_CASE("what is not finite is refused before it reaches anybody") {
  Eigen::MatrixXd good = Eigen::MatrixXd::Constant(2, 3, 1.5), bad = good;
  bad(1, 2) = std::numeric_limits<double>::quiet_NaN();
  std::vector<StreamingMoments<double>> workers(2);
  workers[0].add(moments_of(good));
  CHECK_THROWS_MATCHES(workers[1].add(moments_of(bad)), std::domain_error,
                       says("StreamingMoments::add: mean and sum of squares of channel 1: expected "
                            "finite numbers"));
  CHECK(workers[1].total().count == 0);
  exchange(workers);
  CHECK(workers[1].total().mean == Eigen::Vector2d(1.5, 1.5));

  Moments<double> round = moments_of(good);
  round.sum_of_squares[0] = std::numeric_limits<double>::infinity();
  CHECK_THROWS_AS(workers[0].share(round), std::domain_error);
  CHECK_THROWS_AS(StreamingMoments<double>(round, {}), std::domain_error);
  CHECK_THROWS_AS(StreamingMoments<double>({}, round), std::domain_error);
  CHECK(workers[0].total().count == 3);
}
