// SPDX-License-Identifier: MIT
#include "batchnorm/recalibrate/adaptation.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "support/catch.hpp"
#include "support/generators.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

struct Statistics {
  long double mean, variance;
};

/// Mean and population variance of some numbers, by their definition.
Statistics statistics_of(const std::vector<double>& numbers) {
  long double mean = 0, variance = 0;
  for (const double number : numbers) mean += number;
  mean /= static_cast<long double>(numbers.size());
  for (const double number : numbers) variance += (number - mean) * (number - mean);
  return {mean, variance / static_cast<long double>(numbers.size())};
}

std::vector<double> draw(Random& random, Size count, double mean, double deviation) {
  std::vector<double> numbers;
  for (Size i = 0; i < count; ++i) numbers.push_back(mean + deviation * random.normal());
  return numbers;
}

}  // namespace

TEST_CASE("the mixture is that of all values of both sets together") {
  Random random(4);
  for (const Size source_count : {1u, 3u, 16u, 500u}) {
    for (const Size target_count : {1u, 2u, 7u, 64u}) {
      INFO(source_count << " and " << target_count);
      std::vector<double> all = draw(random, source_count, 3, 2);
      const std::vector<double> target = draw(random, target_count, -50, 0.5);
      const Statistics of_source = statistics_of(all), of_target = statistics_of(target);
      all.insert(all.end(), target.begin(), target.end());
      const Statistics expected = statistics_of(all);
      const double share = detail::common_share(
          Adaptation::prior(static_cast<double>(source_count)), static_cast<double>(target_count));
      double mean = static_cast<double>(of_source.mean);
      double variance = static_cast<double>(of_source.variance);
      detail::mix_statistics<double>(mean, variance, static_cast<double>(of_target.mean),
                                     static_cast<double>(of_target.variance), share, true);
      CHECK(std::fabs(mean - static_cast<double>(expected.mean)) <= 1e-13);
      CHECK(std::fabs(variance - static_cast<double>(expected.variance)) <=
            1e-13 * static_cast<double>(expected.variance));
    }
  }
}

TEST_CASE("the mixture of the papers lacks what lies between the means") {
  // (3 * 2 + 1 * 10) / 4 and (3 * 4 + 1 * 8) / 4; the exact variance has 3 * 1 / 16 * 8^2 more
  double mean = 2, variance = 4;
  detail::mix_statistics<double>(mean, variance, 10, 8, 0.25, false);
  CHECK(mean == 4);
  CHECK(variance == 5);
  mean = 2, variance = 4;
  detail::mix_statistics<double>(mean, variance, 10, 8, 0.25, true);
  CHECK(mean == 4);
  CHECK(variance == 17);
}

TEST_CASE("both ends are exact, whatever is at the other") {
  double mean = 0.1, variance = 0.7;
  detail::mix_statistics<double>(mean, variance, 1e300, 1e300, 0, true);
  CHECK(mean == 0.1);
  CHECK(variance == 0.7);
  mean = 1e300, variance = 1e300;
  detail::mix_statistics<double>(mean, variance, 0.1, 0.7, 1, true);
  CHECK(mean == 0.1);
  CHECK(variance == 0.7);
}

TEST_CASE("a mixed variance is never negative") {
  Random random(11);
  for (int trial = 0; trial < 2000; ++trial) {
    double mean = 0, variance = std::exp2(random.uniform(-60, 60));
    const double other = trial % 3 == 0 ? 0.0 : std::exp2(random.uniform(-60, 60));
    const double share = 1 - std::exp2(random.uniform(-53, -1));
    detail::mix_statistics<double>(mean, variance, 0, other, share, false);
    REQUIRE(variance >= 0);
  }
}

TEST_CASE("shares by the rules that look at no channel") {
  CHECK(detail::common_share(Adaptation::prior(16), 16) == 0.5);
  CHECK(detail::common_share(Adaptation::prior(3), 1) == 0.25);
  CHECK(detail::common_share(Adaptation::source(), 1e300) == 0);
  CHECK(detail::common_share(Adaptation::target(), 1) == 1);
  CHECK(detail::common_share(Adaptation::share(0.3), 5) == 0.3);
}

TEST_CASE("the automatic share, worked out by hand") {
  // D = 4 - 1/4, error (1 + 1/4) / 4
  CHECK(detail::automatic_share(2, 1, 1, 4) == 3.75 / (3.75 + 0.3125));
  CHECK(detail::automatic_share(-2, 1, 1, 4) == 3.75 / (3.75 + 0.3125));
  // one value has no variance; that of the source stands in: D = 9 - 4, error 4
  CHECK(detail::automatic_share(3, 4, 0, 1) == 5.0 / 9.0);
  // a shift that chance explains
  CHECK(detail::automatic_share(0.5, 1, 1, 4) == 0);
  CHECK(detail::automatic_share(0, 0, 0, 4) == 0);
  // a channel that was constant, and is constant at another place
  CHECK(detail::automatic_share(1, 0, 0, 4) == 1);
}

TEST_CASE("the automatic share errs less than the worse of source and target, for any shift") {
  Random random(5);
  constexpr int trials = 20000;
  for (const double n : {1.0, 8.0, 64.0}) {
    for (const double shift : {0.0, 0.25, 1.0, 4.0}) {
      double of_mixed = 0, of_source = 0, of_target = 0;
      for (int trial = 0; trial < trials; ++trial) {
        const double target = shift + random.normal() / std::sqrt(n);
        const double share = detail::automatic_share(target, 1, n > 1 ? 1 - 1 / n : 0, n);
        of_mixed += (share * target - shift) * (share * target - shift) / trials;
        of_source += shift * shift / trials;
        of_target += (target - shift) * (target - shift) / trials;
      }
      INFO(n << " values, shifted by " << shift << ": " << of_mixed << ", source " << of_source
             << ", target " << of_target);
      CHECK(of_mixed < (std::max)(of_source, of_target));
      if (shift == 0) CHECK(of_mixed < 0.6 * of_target);
      if (shift * std::sqrt(n) > 7) CHECK(of_mixed < 1.2 * of_target);
    }
  }
}

TEST_CASE("rules say what they are") {
  CHECK(Adaptation::source().prior_values() == infinity);
  CHECK(Adaptation::target().prior_values() == 0);
  CHECK(Adaptation::prior(16).rule() == Adaptation::Rule::prior);
  CHECK(Adaptation::share(0.25).target_share() == 0.25);
  CHECK(Adaptation::automatic().rule() == Adaptation::Rule::automatic);
  const Adaptation plain = Adaptation::prior(4).plain_mix().values_alike(64);
  CHECK_FALSE(plain.is_exact());
  CHECK(Adaptation::prior(4).is_exact());
  CHECK(plain.values_alike() == 64);
  CHECK(plain.prior_values() == 4);
}

TEST_CASE("numbers that are no prior, share or number of values") {
  CHECK_NOTHROW(Adaptation::prior(infinity));
  for (const double wrong : {-1.0, -infinity, std::nan("")}) {
    CHECK_THROWS_MATCHES(Adaptation::prior(wrong), std::invalid_argument,
                         says("Adaptation::prior: the source counts as a number of values: "
                              "expected zero or more, or infinity"));
  }
  for (const double wrong : {-0.1, 1.1, infinity, std::nan("")}) {
    CHECK_THROWS_MATCHES(Adaptation::share(wrong), std::invalid_argument,
                         says("Adaptation::share: the share of the target"));
  }
  CHECK_THROWS_MATCHES(Adaptation::automatic().values_alike(0.5), std::invalid_argument,
                       says("Adaptation::values_alike"));
}
