// SPDX-License-Identifier: MIT
// Laws of the statistics, for every scalar: layouts agree, parts merge into the whole in any tree,
// nothing is neutral, order does not matter; and the accuracy that is promised.
#include "batchnorm/math/moments.hpp"

#include <cmath>
#include <utility>
#include <vector>

#include "support/bounds.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

template <class T>
using MomentsOf = Moments<accumulator_t<T>>;

template <class T>
MomentsOf<T> moments_in(const Batch& batch, Layout layout) {
  const Stored<T> stored(batch, layout);
  return moments_of(stored.view());
}

/// @param parts  how many moments were merged into one. The mean of each merge is rounded, and the
///               distance d of two means enters the variance squared: 2 |d| times that rounding,
///               where d is a deviation in the mean (Cauchy and Schwarz).
template <class T>
void check_moments(const MomentsOf<T>& moments, const Batch& x, Size parts = 1) {
  const reference::Layer layer = plain_layer(x, 0);
  const Bounds<T> bounds(layer, x);
  const PerChannel most = largest(x);
  const auto rounding = [&](Size c) {
    return static_cast<Real>(parts - 1) * unit<accumulator_t<T>>() * most[c];
  };
  const auto variance = moments.population_variance();
  CHECK(moments.count == static_cast<Index>(x.samples * x.positions));
  CHECK((variance.array() >= accumulator_t<T>(0)).all());
  CHECK(beyond_channels(moments.mean, layer.mu,
                        [&](Size c) { return bounds.mean(c) + rounding(c); }) == "");
  CHECK(beyond_channels(variance, layer.sigma2, [&](Size c) {
          return bounds.variance(c) + 2 * rounding(c) * std::sqrt(layer.sigma2[c]);
        }) == "");
}

/// Merges two random ones until one is left.
template <class M>
M merge_in_any_tree(Random& random, std::vector<M> parts) {
  while (parts.size() > 1) {
    random.shuffle(parts);
    const M last = parts.back();
    parts.pop_back();
    parts.back().merge(last);
  }
  return parts.front();
}

template <class M>
bool same_bits(const M& a, const M& b) {
  return a.count == b.count && a.mean == b.mean && a.sum_of_squares == b.sum_of_squares;
}

}  // namespace

TEMPLATE_TEST_CASE("moments are right in every layout, for data of every kind", "", float, double,
                   long double, Eigen::bfloat16) {
  for (const Named& named : adversarial_batches<TestType>(1)) {
    for (const Layout layout : all_layouts) {
      INFO(named.name << ", " << name_of(layout));
      check_moments<TestType>(moments_in<TestType>(named.values, layout), named.values);
    }
  }
}

TEMPLATE_TEST_CASE("exact data gives exact moments in every layout", "", float, double, long double,
                   Eigen::half, Eigen::bfloat16) {
  Random random(2);
  for (const Size samples : {16u, 48u, 112u}) {
    const ExactBatch exact = exact_batch(random, samples, 5, 3);
    for (const Layout layout : all_layouts) {
      INFO(samples << " samples, " << name_of(layout));
      const auto moments = moments_in<TestType>(exact.values, layout);
      const auto variance = moments.population_variance();
      for (Index c = 0; c < 5; ++c) {
        CHECK(moments.mean[c] == exact.mean[static_cast<Size>(c)]);
        CHECK(variance[c] == exact.variance[static_cast<Size>(c)]);
      }
    }
  }
}

TEMPLATE_TEST_CASE("parts merge into the whole, in any tree", "", float, double, long double) {
  for (const Named& named : adversarial_batches<TestType>(3)) {
    Random random(4);
    for (int repetition = 0; repetition < 4; ++repetition) {
      INFO(named.name << ", repetition " << repetition);
      std::vector<MomentsOf<TestType>> parts;
      for (const Batch& part : split(random, named.values, 2 + random.below(7))) {
        parts.push_back(moments_in<TestType>(part, all_layouts[random.below(all_layouts.size())]));
      }
      const Size count = parts.size();
      check_moments<TestType>(merge_in_any_tree(random, std::move(parts)), named.values, count);
    }
  }
}

TEMPLATE_TEST_CASE("exact parts of equal size merge exactly", "", float, double, long double) {
  Random random(5);
  const ExactBatch exact = exact_batch(random, 32, 4, 2);
  const Batch& x = exact.values;
  Batch other = x;
  for (Real& value : other.values)
    value += 8;  // means 8 apart: each contributes 4^2 to the variance
  auto merged = moments_in<TestType>(x, Layout::channels_first);
  merged.merge(moments_in<TestType>(other, Layout::channels_last));
  const auto variance = merged.population_variance();
  CHECK(merged.count == 128);
  for (Index c = 0; c < 4; ++c) {
    CHECK(merged.mean[c] == exact.mean[static_cast<Size>(c)] + 4);
    CHECK(variance[c] == exact.variance[static_cast<Size>(c)] + 16);
  }
}

TEMPLATE_TEST_CASE("merging with nothing changes no bit", "", float, double, long double) {
  using M = MomentsOf<TestType>;
  const auto nothing_of_three = moments_in<TestType>(Batch{0, 3, 4}, Layout::channels_last);
  REQUIRE(nothing_of_three.count == 0);
  REQUIRE(nothing_of_three.channels() == 3);
  Random random(6);
  for (const Real mean : {0.0L, 1e6L, -0.1L}) {
    const M some = moments_in<TestType>(normal_batch(random, 7, 3, 4, mean), Layout::padded);
    for (const M& nothing : {M(), M(3), nothing_of_three}) {
      M left = some;
      left.merge(nothing);
      CHECK(same_bits(left, some));
      M right = nothing;
      right.merge(some);
      CHECK(same_bits(right, some));
    }
  }
  M none;
  none.merge(M());
  CHECK(none.count == 0);
}

TEMPLATE_TEST_CASE("merging is symmetric within rounding, and adds counts", "", float, double) {
  Random random(7);
  const Batch a = stored_as<TestType>(normal_batch(random, 5, 3, 1, 100));
  const Batch b = stored_as<TestType>(normal_batch(random, 90, 3, 1, -3, 10));
  const auto moments_a = moments_in<TestType>(a, Layout::channels_first);
  const auto moments_b = moments_in<TestType>(b, Layout::channels_first);
  auto ab = moments_a, ba = moments_b;
  ab.merge(moments_b);
  ba.merge(moments_a);
  Batch both{95, 3, 1};
  both.each([&](Size n, Size c, Size p) {
    both.at(n, c, p) = n < 5 ? a.at(n, c, p) : b.at(n - 5, c, p);
  });
  check_moments<TestType>(ab, both, 2);
  check_moments<TestType>(ba, both, 2);
}

TEMPLATE_TEST_CASE("the order of the examples does not matter", "", float, double) {
  for (const Named& named : adversarial_batches<TestType>(8)) {
    INFO(named.name);
    Random random(9);
    std::vector<Size> order = indices(named.values.samples);
    random.shuffle(order);
    const Batch shuffled = pick(named.values, order);
    check_moments<TestType>(moments_in<TestType>(shuffled, Layout::channels_last), named.values);
    check_moments<TestType>(moments_in<TestType>(shuffled, Layout::channels_first), named.values);
  }
}

TEST_CASE("denormal floats have moments") {
  Random random(10);
  const Batch x = denormal_batch<float>(random, 40, 3, 2);
  REQUIRE(reference::mean(x)[0] > 0);
  for (const Layout layout : all_layouts) {
    INFO(name_of(layout));
    check_moments<float>(moments_in<float>(x, layout), x);
  }
}
