// SPDX-License-Identifier: MIT
// The measuring instruments: oracle, closed forms, generators and bounds, against numbers that were
// worked out by hand.
#include <cmath>
#include <string>
#include <vector>

#include "support/bounds.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"
#include "support/reference_convolution.hpp"
#include "support/reference_running.hpp"

using namespace batchnorm_test;
using Catch::Matchers::WithinAbs;
using reference::History;

namespace {

double off(Real a, Real b) {
  return static_cast<double>(a - b);
}

/// One channel: 1 2 3 6, of mean 3 and variance 14 / 4.
Batch small_batch() {
  Batch x{2, 1, 2};
  x.values = {1, 2, 3, 6};
  return x;
}

}  // namespace

TEST_CASE("the oracle's statistics are per channel, over samples and positions") {
  const PerChannel mu = reference::mean(small_batch());
  CHECK(mu == PerChannel{3});
  CHECK(reference::variance(small_batch(), mu) == PerChannel{3.5L});
  Batch two{2, 2, 2};
  two.values = {1, 2, 10, 20, 3, 6, 30, 60};
  CHECK(reference::mean(two) == PerChannel{3, 30});
  CHECK(reference::variance(two, {3, 30}) == PerChannel{3.5L, 350});
}

TEST_CASE("the oracle's output") {
  const reference::Layer layer{{2}, {10}, {3}, {3.5L}, 0.5L};  // the root is 2
  CHECK(reference::forward(layer, small_batch()).values == std::vector<Real>{8, 9, 10, 13});
}

TEST_CASE("the oracle's gradients, by hand") {
  const reference::Layer layer{{2}, {10}, {3}, {3.5L}, 0.5L};
  Batch dy = small_batch();
  dy.values = {1, 0, 0, 0};
  const reference::Gradients frozen = reference::backward(layer, small_batch(), dy, false);
  CHECK(frozen.x.values == std::vector<Real>{1, 0, 0, 0});
  CHECK(frozen.gamma == PerChannel{-1});
  CHECK(frozen.beta == PerChannel{1});
  // dx = gamma / root (dy - mean(dy) - xhat mean(dy xhat)), with xhat = -1 -0.5 0 1.5:
  const reference::Gradients through = reference::backward(layer, small_batch(), dy, true);
  CHECK(through.x.values == std::vector<Real>{0.5L, -0.375L, -0.25L, 0.125L});
  CHECK(through.gamma == PerChannel{-1});
  CHECK(through.beta == PerChannel{1});
}

TEST_CASE("closed forms of the running statistics, two minibatches by hand") {
  const History s = {4, 8};
  CHECK_THAT(off(reference::weight_of_new(0.25L, 16, s), 9 + 0.75L + 2), WithinAbs(0, 1e-15));
  CHECK_THAT(off(reference::weight_of_old(0.75L, 16, s), 9 + 0.75L + 2), WithinAbs(0, 1e-15));
  CHECK(reference::average(s) == 6);
  CHECK_THAT(off(reference::haiku(0.5L, s), (1 + 4) / 0.75L), WithinAbs(0, 1e-15));
  CHECK(reference::dlib(100, s) == 6);
  CHECK(reference::dlib(1, {4, 8, 2}) == 4);  // weights 1, 1/2, 1/2
  const reference::Pooled all = reference::pool({small_batch(), small_batch()}, 0);
  CHECK(all.count == 8);
  CHECK(all.mean == 3);
  CHECK(all.squares == 28);
}

TEST_CASE("the generator gives the published numbers of SplitMix64") {
  Random random(1234567);
  CHECK(random.bits() == 6457827717110365317u);
  CHECK(random.bits() == 3203168211198807973u);
  CHECK(random.bits() == 9817491932198370423u);
}

TEST_CASE("normal numbers have mean 0 and deviation 1") {
  Random random(1);
  Batch sample{20000, 1, 1};
  for (Real& value : sample.values) value = random.normal();
  const PerChannel mu = reference::mean(sample);
  CHECK_THAT(off(mu[0], 0), WithinAbs(0, 0.03));
  CHECK_THAT(off(reference::variance(sample, mu)[0], 1), WithinAbs(0, 0.05));
}

TEST_CASE("exact batches are what they claim, in every type") {
  Random random(2);
  const ExactBatch exact = exact_batch(random, 16, 6, 2);
  CHECK(stored_as<Eigen::bfloat16>(exact.values).values == exact.values.values);
  CHECK(stored_as<Eigen::half>(exact.values).values == exact.values.values);
  CHECK(reference::mean(exact.values) == exact.mean);
  CHECK(reference::variance(exact.values, exact.mean) == exact.variance);
  for (Size c = 0; c < 6; ++c) CHECK(exact.deviation[c] * exact.deviation[c] == exact.variance[c]);
}

TEST_CASE("splitting loses and doubles nothing") {
  Random random(3);
  const Batch x = normal_batch(random, 40, 1, 1);
  Size samples = 0;
  Real sum = 0, expected = 0;
  for (const Batch& part : split(random, x, 6)) {
    samples += part.samples;
    for (const Real value : part.values) sum += value;
  }
  for (const Real value : x.values) expected += value;
  CHECK(samples == 40);
  CHECK_THAT(off(sum, expected), WithinAbs(0, 1e-15));
}

TEST_CASE("layouts hold every element once, and see a write between them") {
  Random random(4);
  const Batch x = stored_as<float>(normal_batch(random, 3, 4, 5));
  for (const Layout layout : all_layouts) {
    INFO(name_of(layout));
    Stored<float> stored(x, layout, 2);
    CHECK(stored.read().values == x.values);
    CHECK(stored.gaps_are_untouched());
    stored.view()(2, 1, 3) = 99.0f;
    CHECK(stored.read().at(2, 1, 3) == 99);
    CHECK(stored.gaps_are_untouched());
  }
  Stored<float> padded(x, Layout::padded);
  padded.view().data()[1] = 0.0f;
  CHECK_FALSE(padded.gaps_are_untouched());
}

TEST_CASE("bounds notice one element that is off, and NaN") {
  const Batch expected = small_batch();
  Batch result = expected;
  const auto tenth = [](Size, Size, Size) { return 0.1L; };
  CHECK(beyond(result, expected, tenth).empty());
  result.at(1, 0, 0) += 0.2L;
  CHECK_THAT(beyond(result, expected, tenth), contains_text("sample 1, channel 0, position 0"));
  result.at(1, 0, 0) = std::nanl("");
  CHECK_FALSE(beyond(result, expected, tenth).empty());
  const auto hundredth = [](Size) { return 0.01L; };
  CHECK(beyond_channels(Eigen::Vector2d(1, 2), {1, 2.001L}, hundredth).empty());
  CHECK_THAT(beyond_channels(Eigen::Vector2d(1, 2), {1, 2.1L}, hundredth),
             contains_text("channel 1"));
  CHECK_FALSE(beyond_channels(Eigen::Vector2d(1, 2), {1}, hundredth).empty());
}

TEST_CASE("the oracle's convolution: zeros around, strides, dilation, channels") {
  using reference::Axis;
  const auto row = [](const Axis& axis, bool transposed, const std::vector<Real>& kernel,
                      const std::vector<Real>& x) {
    reference::Convolution layer{1, 1, 1, {Axis{}, Axis{}, axis}, transposed};
    layer.weights = kernel;
    layer.bias = {1000};
    return reference::convolve(layer, {1, layer.input(), x}).values;
  };
  // input, kernel, stride, before, after, dilation, extra
  CHECK(row({3, 2}, false, {1, 10}, {1, 2, 3}) == std::vector<Real>{1021, 1032});
  CHECK(row({3, 2, 1, 1, 0}, false, {1, 10}, {1, 2, 3}) == std::vector<Real>{1010, 1021, 1032});
  CHECK(row({3, 2, 2, 0, 1}, false, {1, 10}, {1, 2, 3}) == std::vector<Real>{1021, 1003});
  CHECK(row({3, 2, 1, 0, 0, 2}, false, {1, 10}, {1, 2, 3}) == std::vector<Real>{1031});
  CHECK(row({2, 2}, true, {1, 10}, {1, 2}) == std::vector<Real>{1001, 1012, 1020});
  CHECK(row({2, 2, 3}, true, {1, 10}, {1, 2}) == std::vector<Real>{1001, 1010, 1000, 1002, 1020});
  CHECK(row({2, 3, 1, 1, 1}, true, {1, 10, 100}, {1, 2}) == std::vector<Real>{1012, 1120});
  CHECK(row({2, 2, 2, 0, 0, 1, 1}, true, {1, 10}, {1, 2}) ==
        std::vector<Real>{1001, 1010, 1002, 1020, 1000});
  // A kernel of rows (1 10) and (100 1000) on one 2 x 2 plane, and on another one times 2.
  reference::Convolution square{1, 2, 1, {Axis{}, Axis{2, 2}, Axis{2, 2}}};
  square.weights = {1, 10, 100, 1000, 2, 20, 200, 2000};
  const reference::Planes x{2, square.input(), {1, 2, 3, 4, 1, 0, 0, 1}};
  CHECK(reference::convolve(square, x).values == std::vector<Real>{4321 + 2002});
  const reference::Layer norm{{2, 1}, {10, 0}, {3, 0}, {3.5L, 1}, 0.5L};
  CHECK(reference::forward(norm, {1, {1, 1, 2}, {1, 3}}).values == std::vector<Real>{8, 10});
}
