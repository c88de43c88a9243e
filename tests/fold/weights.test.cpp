// SPDX-License-Identifier: MIT
#include "batchnorm/fold/weights.hpp"

#include <map>
#include <stdexcept>
#include <tuple>
#include <type_traits>
#include <vector>

#include "batchnorm/fold/fold.hpp"
#include "support/catch.hpp"
#include "support/fold_cases.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

using Places = std::map<std::tuple<int, int, int>, Size>;

/// Where a view finds each weight (o, i, k), counted from the start of its memory.
template <class T>
Places found(const WeightView<T>& view, const T* start) {
  Places places;
  view.each([&](const T& weight, Index out, Index in, Index tap) {
    const auto key =
        std::make_tuple(static_cast<int>(out), static_cast<int>(in), static_cast<int>(tap));
    CHECK(places.count(key) == 0);
    places[key] = static_cast<Size>(&weight - start);
  });
  return places;
}

/// Where the documentation of the framework has them.
Places documented(const FoldCase& test, int taps) {
  Places places;
  for (int o = 0; o < test.out; ++o)
    for (int i = 0; i < test.in; ++i)
      for (int k = 0; k < taps; ++k)
        if (o / (test.out / test.groups) == i / (test.in / test.groups))
          places[std::make_tuple(o, i, k)] = place_of(test, taps, o, i, k);
  return places;
}

}  // namespace

TEST_CASE("every order finds the weights where frameworks put them", "[fold]") {
  const std::vector<FoldCase> cases = {{"OIHW", Order::oihw, 3, 4, 1, {}},
                                       {"OIHW, 2 groups", Order::oihw, 4, 6, 2, {}},
                                       {"OIHW, depthwise", Order::oihw, 6, 3, 3, {}},
                                       {"HWIO", Order::hwio, 3, 4, 1, {}},
                                       {"HWIO, 3 groups", Order::hwio, 6, 9, 3, {}},
                                       {"HWIM", Order::hwim, 6, 3, 3, {}},
                                       {"IOHW", Order::iohw, 3, 4, 1, {}},
                                       {"IOHW, 2 groups", Order::iohw, 6, 4, 2, {}},
                                       {"HWOI", Order::hwoi, 3, 4, 1, {}}};
  for (const FoldCase& test : cases) {
    INFO(test.name);
    const int taps = 5;
    std::vector<float> memory(Size(test.out * test.in / test.groups * taps));
    const auto view = view_of_weights(test, taps, memory);
    CHECK(view.out_channels() == test.out);
    CHECK(view.in_channels() == test.in);
    CHECK(view.taps() == taps);
    CHECK(view.terms() == test.in / test.groups * taps);
    CHECK((view.kind() == LayerKind::transposed_convolution) == is_transposed(test));
    const Places places = found(view, memory.data());
    CHECK(places.size() == memory.size());
    CHECK(places == documented(test, taps));
  }
}

TEST_CASE("linear weights are out x in in either storage order", "[fold]") {
  Eigen::MatrixXd column_major(2, 3);
  Eigen::Matrix<double, 2, 3, Eigen::RowMajor> row_major;
  const Places columns = found(linear(column_major), column_major.data());
  const Places rows = found(linear(row_major), row_major.data());
  const Places transposed = found(linear(column_major.transpose()), column_major.data());
  CHECK(columns.size() == 6);
  CHECK(columns.at(std::make_tuple(1, 2, 0)) == 5);
  CHECK(columns.at(std::make_tuple(1, 0, 0)) == 1);
  CHECK(rows.at(std::make_tuple(1, 0, 0)) == 3);
  CHECK(rows.at(std::make_tuple(0, 2, 0)) == 2);
  CHECK(transposed.at(std::make_tuple(2, 1, 0)) == 5);
  CHECK(transposed.at(std::make_tuple(2, 0, 0)) == 4);
  CHECK(linear(column_major).kind() == LayerKind::linear);
  CHECK(linear(column_major).out_channels() == 2);
  CHECK(linear(column_major.transpose()).out_channels() == 3);
  using View = decltype(linear(column_major));
  static_assert(std::is_same<View, WeightView<double>>::value, "one type for all orders");
  static_assert(std::is_trivially_copyable<View>::value, "a view is a few numbers");
}

TEST_CASE("a flatten puts the positions of a channel side by side, or apart", "[fold]") {
  Eigen::Matrix<float, 2, 6, Eigen::RowMajor> weight;
  const auto first = flattened_channels_first(linear(weight), 2);  // channels x 3 positions
  const auto last = flattened_channels_last(linear(weight), 2);    // 3 positions x channels
  for (const auto& view : {first, last}) {
    CHECK(view.kind() == LayerKind::linear);
    CHECK(view.out_channels() == 2);
    CHECK(view.in_channels() == 2);
    CHECK(view.taps() == 3);
    CHECK(found(view, weight.data()).size() == 12);
  }
  // Row 1, channel 1, position 2, and row 0, channel 1, position 0.
  CHECK(found(first, weight.data()).at(std::make_tuple(1, 1, 2)) == 6 + 1 * 3 + 2);
  CHECK(found(first, weight.data()).at(std::make_tuple(0, 1, 0)) == 3);
  CHECK(found(last, weight.data()).at(std::make_tuple(1, 1, 2)) == 6 + 2 * 2 + 1);
  CHECK(found(last, weight.data()).at(std::make_tuple(0, 1, 0)) == 1);
}

TEST_CASE("all inputs of a layer may be positions of one channel", "[fold]") {
  Eigen::Matrix<float, 2, 6, Eigen::RowMajor> weight;
  for (const auto& view :
       {flattened_channels_first(linear(weight), 1), flattened_channels_last(linear(weight), 1)}) {
    CHECK(view.in_channels() == 1);
    CHECK(view.taps() == 6);
    CHECK(found(view, weight.data()).at(std::make_tuple(1, 0, 4)) == 6 + 4);
  }
}

TEST_CASE("a norm in front of a flatten folds into the linear layer behind it", "[fold]") {
  // Channel 0 becomes 2 x + 1, channel 1 becomes -x + 10.
  State<float> state(2);
  state.gamma << 2, -1;
  state.beta << 1, 10;
  Options options;
  options.epsilon = 0;
  Eigen::MatrixXf weight(1, 4);
  weight << 1, 10, 100, 1000;
  Eigen::MatrixXf same = weight;
  Eigen::VectorXf bias, same_bias;
  fold_before(flattened_channels_first(linear(weight), 2), bias, state, options);
  CHECK(weight == (Eigen::MatrixXf(1, 4) << 2, 20, -100, -1000).finished());
  CHECK(bias[0] == 11.0f + 11000.0f);
  fold_before(flattened_channels_last(linear(same), 2), same_bias, state, options);
  CHECK(same == (Eigen::MatrixXf(1, 4) << 2, -10, 200, -1000).finished());
  CHECK(same_bias[0] == 101.0f + 10100.0f);
}

TEST_CASE("a flatten that cannot be is refused", "[fold]") {
  Eigen::MatrixXf weight(2, 6);
  std::vector<float> memory(6);
  CHECK_THROWS_WITH(flattened_channels_first(linear(weight), 4),
                    "flattened_channels_first: channels must divide the inputs of the layer: "
                    "expected a divisor of 6, got 4");
  CHECK_THROWS_WITH(flattened_channels_last(linear(weight), 0),
                    "flattened_channels_last: channels must divide the inputs of the layer: "
                    "expected a divisor of 6, got 0");
  CHECK_THROWS_WITH(flattened_channels_first(convolution_oihw(memory.data(), 1, 6, 1), 2),
                    "flattened_channels_first: layer behind the flatten: expected linear(...), got "
                    "another one");
  CHECK_THROWS_WITH(flattened_channels_first(flattened_channels_last(linear(weight), 2), 2),
                    "flattened_channels_first: layer behind the flatten: expected linear(...), got "
                    "another one");
}

TEST_CASE("an order of one's own is four strides", "[fold]") {
  // Taps outermost and backwards, rows of 8 with 5 in use.
  std::vector<float> memory(2 * 3 * 8);
  const WeightView<float> view(memory.data() + 24, LayerKind::convolution, {1, 3, 5, 2},
                               {0, 8, 1, -24});
  const Places places = found(view, memory.data());
  CHECK(places.size() == 30);
  CHECK(places.at(std::make_tuple(2, 4, 0)) == 44);
  CHECK(places.at(std::make_tuple(2, 4, 1)) == 20);
}

TEST_CASE("weights that cannot be are refused", "[fold]") {
  std::vector<float> memory(64);
  float* data = memory.data();
  CHECK_THROWS_WITH(convolution_oihw(data, 4, 6, 1, 4),
                    "convolution_oihw: input channels are shared out among the groups: expected a "
                    "multiple of the number of groups, both at least 1, got 6 channels and 4 "
                    "groups");
  CHECK_THROWS_WITH(convolution_hwio(data, 3, 6, 1, 2),
                    "convolution_hwio: output channels are shared out among the groups: expected a "
                    "multiple of the number of groups, both at least 1, got 3 channels and 2 "
                    "groups");
  CHECK_THROWS_WITH(transposed_iohw(data, 4, 4, 1, 0),
                    "transposed_iohw: output channels are shared out among the groups: expected a "
                    "multiple of the number of groups, both at least 1, got 4 channels and 0 "
                    "groups");
  CHECK_THROWS_WITH(convolution_oihw(data, 4, 4, 0),
                    "WeightView: number of taps: expected at least 1, got 0");
  CHECK_THROWS_WITH(depthwise_hwim(data, 4, -1, 2),
                    "WeightView: number of output channels per group: expected at least 1, got -1");
  CHECK_THROWS_WITH(transposed_hwoi(data, 4, 0, 2),
                    "WeightView: number of input channels per group: expected at least 1, got 0");
  CHECK_THROWS_WITH(transposed_hwoi(static_cast<float*>(nullptr), 1, 1, 1),
                    "WeightView: data of a weight tensor: expected a pointer to them, got a null "
                    "pointer");
  CHECK_THROWS_WITH(WeightView<float>(data, LayerKind::linear, {1, 2, 3, 1}, {0, 0, 1, 1}),
                    "WeightView: stride of output channels per group must tell them apart: "
                    "expected any number but 0, got 0");
}
