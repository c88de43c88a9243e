// SPDX-License-Identifier: MIT
// Laws of the statistics, for every scalar: layouts agree, parts merge into the whole in any tree,
// nothing is neutral, order does not matter; and the accuracy that is promised.
#include "batchnorm/math/moments.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "batchnorm/kernels/pivot.hpp"
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

TEMPLATE_TEST_CASE("merging is symmetric to the bit, and adds counts", "", float, double) {
  Random random(7);
  const Batch a = stored_as<TestType>(normal_batch(random, 5, 3, 1, 100));
  const Batch b = stored_as<TestType>(normal_batch(random, 90, 3, 1, -3, 10));
  const auto moments_a = moments_in<TestType>(a, Layout::channels_first);
  const auto moments_b = moments_in<TestType>(b, Layout::channels_first);
  auto ab = moments_a, ba = moments_b;
  ab.merge(moments_b);
  ba.merge(moments_a);
  CHECK(same_bits(ab, ba));
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

TEMPLATE_TEST_CASE("the promised accuracy where a pivot is hard to guess", "", float, double) {
  for (const auto& [samples, channels, positions] :
       {std::array<Size, 3>{1500, 6, 1}, {3, 2, 1100}, {170, 3, 13}}) {
    for (const Named& named : pivot_batches<TestType>(11, samples, channels, positions)) {
      for (const Layout layout : all_layouts) {
        INFO(named.name << ", " << name_of(layout) << ", " << positions << " positions");
        check_moments<TestType>(moments_in<TestType>(named.values, layout), named.values);
      }
    }
  }
}

// All values that are looked at for a pivot tell another story than the rest: the pivot is several
// deviations away from the mean. The rest has few values, whose rounding errors about that pivot
// would not cancel.
TEST_CASE("a sample that misleads about the mean costs no accuracy") {
  constexpr Size count = 12000, channels = 34;
  for (const Layout layout : {Layout::channels_last, Layout::channels_outermost, Layout::padded}) {
    INFO(name_of(layout));
    Batch x{count, channels, 1};
    x.each([&](Size n, Size c, Size) { x.at(n, c, 0) = n % 3 == 0 ? 0.1L : 0.3L; });
    // Along a channel a unit at each of 16 spots is looked at, across channels 64 rows.
    const bool along = layout == Layout::channels_outermost;
    const detail::SampledRows sampled(count, along ? 16 : 64);
    for (Index sample = 0; sample < sampled.count(); ++sample) {
      const Size row = static_cast<Size>(sampled.row(sample));
      for (Size n = row; n < (std::min)(count, row + (along ? 16 : 1)); ++n) {
        for (Size c = 0; c < channels; ++c) x.at(n, c, 0) = 1e4L + static_cast<Real>(c);
      }
    }
    x = stored_as<float>(x);
    const Stored<float> stored(x, layout);
    const BatchView<const float> view = stored.view();
    std::vector<float> pivots(channels);
    const detail::ViewShape input(view);
    const detail::Plan plan(nullptr, 0, &input, 1);
    detail::PivotSampler<float>(detail::reduce_kernels<detail::MomentSums, float>, plan,
                                detail::operands_of<float>(view))
        .sample(detail::usable_instruction_set(InstructionSet::best), 0, view.channels(),
                pivots.data());
    REQUIRE(*std::min_element(pivots.begin(), pivots.end()) > 9999.0f);
    check_moments<float>(moments_in<float>(x, layout), x);
  }
}

TEST_CASE("400 000 floats per channel, channels last") {
  Random random(13);
  const Batch x = stored_as<float>(normal_batch(random, 4, 3, 100000, 1000, 1));
  check_moments<float>(moments_in<float>(x, Layout::channels_last), x);
  Batch late = x;  // as if another camera had taken the second half
  late.each([&](Size n, Size c, Size p) { late.at(n, c, p) += n < 2 ? 0 : 5000; });
  late = stored_as<float>(late);
  check_moments<float>(moments_in<float>(late, Layout::channels_last), late);
}

TEMPLATE_TEST_CASE("a constant channel has no variance, in any layout", "", float, double,
                   Eigen::bfloat16) {
  Batch x{300, 9, 2};
  x.each([&](Size n, Size c, Size p) { x.at(n, c, p) = 0.1L * static_cast<Real>(c) - 0.3L; });
  x = stored_as<TestType>(x);
  for (const Layout layout : all_layouts) {
    INFO(name_of(layout));
    const auto moments = moments_in<TestType>(x, layout);
    CHECK((moments.sum_of_squares.array() == 0.0).all());
    for (Index c = 0; c < 9; ++c) CHECK(moments.mean[c] == x.at(0, static_cast<Size>(c), 0));
  }
}
