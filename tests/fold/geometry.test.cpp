// SPDX-License-Identifier: MIT
#include "batchnorm/fold/geometry.hpp"

#include <stdexcept>
#include <vector>

#include "support/catch.hpp"
#include "support/fold_cases.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
using detail::TapReach;
using reference::Axis;

namespace {

TapReach reach(LayerKind kind, const std::vector<ConvolutionAxis>& axes) {
  return TapReach("test", kind, axes);
}

Index output(LayerKind kind, const ConvolutionAxis& axis) {
  return reach(kind, {axis}).outputs().at(0);
}

constexpr LayerKind forwards = LayerKind::convolution;
constexpr LayerKind backwards = LayerKind::transposed_convolution;

/// The taps that the oracle's convolution of ones with a kernel that is 1 at one tap only shows at
/// a place.
std::vector<std::vector<Index>> seen_by_oracle(const reference::Axes& axes, bool transposed) {
  reference::Convolution layer{1, 1, 1, axes, transposed};
  reference::Planes ones{1, layer.input()};
  for (Real& value : ones.values) value = 1;
  std::vector<std::vector<Index>> seen;
  for (int k = 0; k < layer.taps(); ++k) {
    for (int j = 0; j < layer.taps(); ++j) layer.weight(0, 0, j) = j == k ? 1 : 0;
    const reference::Planes y = reference::convolve(layer, ones);
    seen.resize(static_cast<Size>(y.places()));
    for (int p = 0; p < y.places(); ++p)
      if (y.at(0, p) > 0) seen[static_cast<Size>(p)].push_back(k);
  }
  return seen;
}

}  // namespace

TEST_CASE("sizes of outputs are PyTorch's", "[fold]") {
  // input, kernel, stride, before, after, dilation, output_padding
  CHECK(output(forwards, {224, 7, 2, 3, 3}) == 112);
  CHECK(output(forwards, {5, 3}) == 3);
  CHECK(output(forwards, {5, 3, 1, 1, 1}) == 5);
  CHECK(output(forwards, {5, 3, 2}) == 2);
  CHECK(output(forwards, {6, 3, 2}) == 2);
  CHECK(output(forwards, {6, 3, 2, 0, 1}) == 3);
  CHECK(output(forwards, {9, 3, 1, 0, 0, 4}) == 1);
  CHECK(output(backwards, {112, 2, 2}) == 224);
  CHECK(output(backwards, {4, 3, 2, 1, 1}) == 7);
  CHECK(output(backwards, {4, 3, 2, 1, 1, 1, 1}) == 8);
  CHECK(output(backwards, {4, 3, 2, 0, 0, 2}) == 11);
  CHECK(output(backwards, {1, 1}) == 1);
}

TEST_CASE("the taps that see the input are those of the naive convolution", "[fold]") {
  const std::vector<reference::Axes> all = {
      {Axis{}, Axis{}, Axis{5, 3, 1, 1, 1}},
      {Axis{}, Axis{4, 3, 2, 2, 0}, Axis{3, 2, 1, 0, 3, 2}},
      {Axis{3, 2, 2, 1, 1}, Axis{4, 1, 1, 2, 1}, Axis{4, 3, 1, 0, 2}},
      {Axis{}, Axis{2, 2, 3}, Axis{3, 3, 2, 1, 0, 2, 1}}};
  for (const reference::Axes& axes : all) {
    for (const bool transposed : {false, true}) {
      reference::Axes own = axes;
      if (!transposed) {
        for (Axis& axis : own) axis.extra = 0;
      }
      if (!transposed && own[1].stride == 3) continue;  // for transposed ones, where taps miss
      const TapReach taps = reach(transposed ? backwards : forwards, library_axes(own));
      const auto expected = seen_by_oracle(own, transposed);
      REQUIRE(static_cast<Size>(taps.positions()) == expected.size());
      for (Index p = 0; p < taps.positions(); ++p) {
        CHECK(taps.taps_at(p) == expected[static_cast<Size>(p)]);
      }
    }
  }
}

TEST_CASE("without a border there is one place, and every tap sees", "[fold]") {
  const TapReach all(4);
  CHECK(all.positions() == 1);
  CHECK(all.taps() == 4);
  CHECK(all.taps_at(0) == std::vector<Index>{0, 1, 2, 3});
  CHECK(reach(forwards, {}).taps_at(0) == std::vector<Index>{0});
}

TEST_CASE("axes that cannot be are refused", "[fold]") {
  const auto message = [](LayerKind kind, const std::vector<ConvolutionAxis>& axes) {
    try {
      reach(kind, axes);
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const auto range = [&](const ConvolutionAxis& axis) { return message(forwards, {{3, 3}, axis}); };
  CHECK(range({0, 1}) == "test: input of axis 1: expected a number from 1 to 1073741824, got 0");
  CHECK(range({1, 0}) == "test: kernel of axis 1: expected a number from 1 to 1073741824, got 0");
  CHECK(range({1, 1, 0}) ==
        "test: stride of axis 1: expected a number from 1 to 1073741824, got 0");
  CHECK(range({1, 1, 1, -1}) ==
        "test: padding_before of axis 1: expected a number from 0 to 1073741824, got -1");
  CHECK(range({1, 1, 1, 0, -2}) ==
        "test: padding_after of axis 1: expected a number from 0 to 1073741824, got -2");
  CHECK(range({1, 1, 1, 0, 0, 0}) ==
        "test: dilation of axis 1: expected a number from 1 to 1073741824, got 0");
  CHECK(range({1, 1, 1, 0, 0, 1, 1}) ==
        "test: output_padding of axis 1: expected 0, since only a transposed convolution has it, "
        "got 1");
  CHECK(message(backwards, {{3, 3, 1, 0, 0, 1, -1}}) ==
        "test: output_padding of axis 0: expected a number from 0 to 1073741824, got -1");
  CHECK(range({(Index{1} << 30) + 1, 1}) ==
        "test: input of axis 1: expected a number from 1 to 1073741824, got 1073741825");
  CHECK(range({2, 3}) ==
        "test: size of the output along axis 1: expected at least 1, got a kernel that does not "
        "fit into input and padding");
  CHECK(message(backwards, {{1, 2, 1, 1, 1}}) ==
        "test: size of the output along axis 0: expected at least 1, got a kernel that does not "
        "fit into input and padding");
  const ConvolutionAxis huge{Index{1} << 30, 1, 1, 0, 0};
  CHECK(message(forwards, {huge, huge, huge}) ==
        "test: number of places of the output: expected at most 9223372036854775807, got more");
}

TEST_CASE("an axis that says nothing has steps of 1 and no padding, and is refused without sizes",
          "[fold]") {
  const ConvolutionAxis axis;
  CHECK(axis.input == 0);
  CHECK(axis.kernel == 0);
  CHECK(axis.stride == 1);
  CHECK(axis.padding_before == 0);
  CHECK(axis.padding_after == 0);
  CHECK(axis.dilation == 1);
  CHECK(axis.output_padding == 0);
  CHECK_THROWS_WITH(reach(forwards, {axis}),
                    "test: input of axis 0: expected a number from 1 to 1073741824, got 0");
}
