// SPDX-License-Identifier: MIT
// The short way of small matrices, against the oracle: what goes it, and that it writes no more.
#include "batchnorm/math/normalize_few.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "batchnorm/math/masked.hpp"
#include "batchnorm/view/residual.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"

using batchnorm::BatchView;
using batchnorm::Index;
namespace detail = batchnorm::detail;
using namespace batchnorm_test;

namespace {

constexpr float mark = -12345.0f;

/// Memory with a batch in it, whose channels are neighbours in every row, or are not, and a margin
/// of marks around it.
template <class T>
struct Placed {
  struct Strides {
    Index sample, channel, position;
  };
  static constexpr int ways = 6;
  static constexpr Index margin = 100;

  static Strides strides_of(const Batch& batch, int way) {
    const auto channels = static_cast<Index>(batch.channels);
    const auto positions = static_cast<Index>(batch.positions);
    const Index wide = positions * (channels + 3) + 7;
    switch (way) {
      case 0:
        return {channels * positions, 1, channels};
      case 1:
        return {wide, 1, channels + 3};
      case 2:
        return {-wide, 1, -(channels + 3)};
      case 3:
        return {channels * positions, positions, 1};
      case 4:
        return {2 * channels * positions + 1, 2, 2 * channels};
      default:
        return {channels * positions, -1, channels};
    }
  }

  Placed(const Batch& batch, int way)
      : shape(batch), strides(strides_of(batch, way)), data(room(), T(mark)) {}

  static Placed holding(const Batch& batch, int way) {
    Placed placed(batch, way);
    batch.each([&](Size n, Size c, Size p) {
      placed.data[placed.place(n, c, p)] = static_cast<T>(batch.at(n, c, p));
    });
    return placed;
  }

  /// Rows of neighbouring channels, at one distance.
  bool is_matrix() const {
    return strides.channel == 1 && (shape.samples == 1 || shape.positions == 1);
  }
  template <class U = T>
  BatchView<U> view() {
    return BatchView<U>(data.data() + place(0, 0, 0), static_cast<Index>(shape.samples),
                        static_cast<Index>(shape.channels), static_cast<Index>(shape.positions),
                        strides.sample, strides.channel, strides.position);
  }
  Real worst(const Batch& expected) const {
    Real largest = 0;
    expected.each([&](Size n, Size c, Size p) {
      const Real got = static_cast<Real>(data[place(n, c, p)]);
      largest = std::max(largest, std::fabs(got - expected.at(n, c, p)));
    });
    return largest;
  }
  bool rest_is_untouched() const {
    std::vector<T> rest = data;
    shape.each([&](Size n, Size c, Size p) { rest[place(n, c, p)] = T(mark); });
    return is_marked(rest);
  }
  bool is_untouched() const { return is_marked(data); }

 private:
  static bool is_marked(const std::vector<T>& numbers) {
    return std::all_of(numbers.begin(), numbers.end(), [](const T& x) { return x == T(mark); });
  }
  Index least(Size size, Index stride) const {
    return stride < 0 ? stride * (static_cast<Index>(size) - 1) : 0;
  }
  Index most(Size size, Index stride) const {
    return stride > 0 ? stride * (static_cast<Index>(size) - 1) : 0;
  }
  Index first() const {
    return margin - least(shape.samples, strides.sample) - least(shape.channels, strides.channel) -
           least(shape.positions, strides.position);
  }
  Size room() const {
    return static_cast<Size>(first() + most(shape.samples, strides.sample) +
                             most(shape.channels, strides.channel) +
                             most(shape.positions, strides.position) + 1 + margin);
  }
  Size place(Size n, Size c, Size p) const {
    return static_cast<Size>(first() + static_cast<Index>(n) * strides.sample +
                             static_cast<Index>(c) * strides.channel +
                             static_cast<Index>(p) * strides.position);
  }

 public:
  Batch shape;
  Strides strides;
  std::vector<T> data;
};

/// Tables of a layer, and the oracle's view of it.
template <class T>
struct TabledLayer {
  std::vector<T> pivot, scale, shift;
  reference::Layer oracle;

  TabledLayer(Random& random, Size channels, Real slope) : oracle{{}, {}, {}, {}, 0.0L, slope} {
    for (Size c = 0; c < channels; ++c) {
      pivot.push_back(static_cast<T>(random.uniform(-2, 2)));
      scale.push_back(static_cast<T>(random.uniform(-2, 2)));
      shift.push_back(static_cast<T>(random.uniform(-2, 2)));
    }
    oracle.gamma.assign(scale.begin(), scale.end());
    oracle.beta.assign(shift.begin(), shift.end());
    oracle.mu.assign(pivot.begin(), pivot.end());
    oracle.sigma2.assign(channels, 1.0L);
  }

  /// normalize_few, and where it declines, the way for all sizes.
  bool run(const batchnorm::Input<T>& in, Placed<T>& out) const {
    const bool has_residual = in.residual() != nullptr;
    const auto epilogue = oracle.slope < 1
                              ? batchnorm::Epilogue::leaky_relu(static_cast<double>(oracle.slope))
                              : batchnorm::Epilogue::none();
    const auto options = detail::formula_options<T>(epilogue, has_residual);
    const detail::Tables<T> k{pivot.data(), scale.data(), shift.data()};
    const auto view = out.view();
    if (detail::normalize_few<T>({}, options, k, in, view)) return true;
    CHECK(out.is_untouched());
    detail::normalize_view<T>({}, options, detail::TableSource<T>{k[0], k[1], k[2]},
                              {in.view(), in.residual()}, view);
    return false;
  }
};

template <class T>
Size least_channels_of_few() {
  const auto set = detail::usable_instruction_set(batchnorm::Execution().instruction_set());
  return static_cast<Size>(detail::map_kernels<detail::Forward, T>.width_of(set));
}

}  // namespace

TEST_CASE("a matrix is rows of neighbouring channels at one distance", "[normalize]") {
  std::vector<float> memory(200);
  const auto view = [&](Index samples, Index positions, Index channel_stride) {
    return BatchView<float>(memory.data() + 100, samples, 3, positions, 20, channel_stride, 5);
  };
  for (const Index samples : {1, 2, 3}) {
    for (const Index positions : {1, 2, 3}) {
      INFO(samples << " samples, " << positions << " positions");
      CHECK(detail::is_matrix(view(samples, positions, 1)) == (samples == 1 || positions == 1));
      for (const Index stride : {-1, 0, 2}) {
        CHECK_FALSE(detail::is_matrix(view(samples, positions, stride)));
      }
    }
    if (samples == 1) continue;
    CHECK(detail::row_stride(view(samples, 1, 1)) == 20);
    CHECK(detail::row_stride(view(1, samples, 1)) == 5);
  }
}

TEMPLATE_TEST_CASE(
    "few examples in every layout agree with the oracle, and only matrices go the "
    "short way",
    "[normalize]", float, double) {
  const Size width = least_channels_of_few<TestType>();
  const Real tolerance = 256 * static_cast<Real>(std::numeric_limits<TestType>::epsilon());
  using Memory = Placed<TestType>;
  constexpr int none = Memory::ways;
  struct Shape {
    Size samples, channels, positions;
  };
  Random random(12);
  for (const Shape& shape :
       {Shape{1, width, 1}, Shape{3, width + 1, 1}, Shape{1, width + 5, 2}, Shape{2, width, 1},
        Shape{2, width, 2}, Shape{1, 2 * width + 3, 3}, Shape{3, width - 1, 1}}) {
    const Batch x =
        stored_as<TestType>(normal_batch(random, shape.samples, shape.channels, shape.positions));
    const Batch r =
        stored_as<TestType>(normal_batch(random, shape.samples, shape.channels, shape.positions));
    const TabledLayer<TestType> layer(random, shape.channels, random.below(2) == 0 ? 1 : 0.25L);
    const Batch plain = reference::forward(layer.oracle, x);
    const Batch added = reference::forward(layer.oracle, x, r);
    for (int way = 0; way < Memory::ways * Memory::ways * (none + 1); ++way) {
      const int of_x = way % Memory::ways, of_y = way / Memory::ways % Memory::ways;
      const int of_r = way / Memory::ways / Memory::ways;
      Memory in = Memory::holding(x, of_x), out(x, of_y);
      Memory residual = Memory::holding(r, of_r == none ? 0 : of_r);
      const auto in_view = in.template view<const TestType>();
      bool matrices = in.is_matrix() && out.is_matrix() && shape.channels >= width;
      bool taken = false;
      if (of_r == none) {
        taken = layer.run(in_view, out);
      } else {
        const auto residual_view = residual.template view<const TestType>();
        taken = layer.run(batchnorm::with_residual(in_view, residual_view), out);
        matrices = matrices && residual.is_matrix();
      }
      const Real worst = out.worst(of_r == none ? plain : added);
      if (taken == matrices && worst <= tolerance && out.rest_is_untouched()) continue;
      INFO(shape.samples << " x " << shape.channels << " x " << shape.positions << ", layouts "
                         << of_x << " to " << of_y << ", residual " << of_r);
      CHECK(taken == matrices);
      CHECK(worst <= tolerance);
      CHECK(out.rest_is_untouched());
    }
  }
}

TEST_CASE("few elements are up to a number of them", "[normalize]") {
  const auto most = static_cast<Size>(detail::max_few_elements);
  struct Shape {
    Size samples, channels;
    bool few;
  };
  Random random(3);
  for (const Shape& shape :
       {Shape{255, most / 256, true}, Shape{256, most / 256, true}, Shape{257, most / 256, false},
        Shape{1, most - 1, true}, Shape{1, most, true}, Shape{1, most + 1, false}}) {
    Batch x{shape.samples, shape.channels, 1};
    for (Real& value : x.values) value = static_cast<Real>(random.below(1000));
    TabledLayer<float> layer(random, shape.channels, 1);
    layer.pivot.assign(shape.channels, 3.0f);
    layer.scale.assign(shape.channels, 2.0f);
    layer.shift.assign(shape.channels, 0.5f);
    Batch expected = x, added = x;
    for (Real& value : expected.values) value = 2 * (value - 3) + 0.5L;
    for (Size i = 0; i < x.values.size(); ++i) added.values[i] += expected.values[i];
    Placed<float> in = Placed<float>::holding(x, 1), out(x, 1), again(x, 0);
    const auto view = in.view<const float>();
    INFO(shape.samples << " x " << shape.channels);
    CHECK(layer.run(view, out) == shape.few);
    CHECK(out.worst(expected) == 0);
    CHECK(out.rest_is_untouched());
    CHECK(layer.run(batchnorm::with_residual(view, view), again) == shape.few);
    CHECK(again.worst(added) == 0);
    CHECK(again.rest_is_untouched());
  }
}

TEMPLATE_TEST_CASE("one example goes the shortest way where nothing has to be looked at twice",
                   "[normalize]", float, double) {
  const auto width = static_cast<Index>(least_channels_of_few<TestType>());
  Random random(4);
  for (const Index channels : {width - 1, width, width + 3}) {
    INFO(channels << " channels");
    TabledLayer<TestType> layer(random, static_cast<Size>(channels), 0.25L);
    layer.pivot.assign(static_cast<Size>(channels), 3);
    layer.scale.assign(static_cast<Size>(channels), 2);
    layer.shift.assign(static_cast<Size>(channels), TestType(0.5));
    std::vector<TestType> x(static_cast<Size>(channels) + 1, 4), y(x.size(), 7);
    x[0] = 1;
    const TestType* const k[] = {layer.pivot.data(), layer.scale.data(), layer.shift.data()};
    const auto options =
        detail::formula_options<TestType>(batchnorm::Epilogue::leaky_relu(0.25), false);
    const BatchView<const TestType> in(x.data(), 1, channels, 1, channels, 1, 1);
    const BatchView<TestType> out(y.data(), 1, channels, 1, channels, 1, 1);
    const auto taken = [&](const batchnorm::Input<TestType>& input, Index of_layer,
                           const BatchView<TestType>& to) {
      return detail::normalize_example<TestType>({}, options, k, of_layer, input, to);
    };
    const Eigen::Array<bool, 1, 1> mask = Eigen::Array<bool, 1, 1>::Constant(true);
    const std::vector<TestType> before = y;
    CHECK_FALSE(taken(in, channels + 1, out));
    CHECK_FALSE(taken(batchnorm::with_residual(in, in), channels, out));
    CHECK_FALSE(taken(batchnorm::masked(in, mask), channels, out));
    CHECK_FALSE(taken(in, channels, {y.data(), 1, channels, 1, channels, -1, 1}));
    CHECK_FALSE(taken({in}, channels, {x.data() + 1, 1, channels, 1, channels, 1, 1}));
    CHECK(y == before);
    CHECK(taken(in, channels, out) == (channels >= width));
    if (channels < width) continue;
    std::vector<TestType> expected(y.size(), TestType(2.5));
    expected.front() = TestType(-0.875);  // (1 - 3) 2 + 0.5 = -3.5, a quarter of it
    expected.back() = 7;
    CHECK(y == expected);
  }
}
