// SPDX-License-Identifier: MIT
#include "batchnorm/view/eigen_tensor.hpp"

#include <array>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "batchnorm/view/check.hpp"
#include "support/catch.hpp"

using namespace batchnorm;

namespace {

template <int Rank, int Order>
using Tensor = Eigen::Tensor<float, Rank, Order>;
template <int Rank>
using Sizes = std::array<Index, static_cast<std::size_t>(Rank)>;

template <int Rank, int Order>
Tensor<Rank, Order> filled(const Sizes<Rank>& sizes) {
  Eigen::DSizes<Index, Rank> dimensions;
  for (std::size_t axis = 0; axis < sizes.size(); ++axis) dimensions[axis] = sizes[axis];
  Tensor<Rank, Order> tensor(dimensions);
  for (Index i = 0; i < tensor.size(); ++i) tensor.data()[i] = static_cast<float>(i);
  return tensor;
}

/// Index p of the positions as one index per spatial axis, counted in the order given.
std::vector<Index> spatial_indices(Index p, const std::vector<Index>& sizes, PositionOrder order) {
  std::vector<Index> indices(sizes.size());
  for (std::size_t step = 0; step < sizes.size(); ++step) {
    const bool last = order == PositionOrder::last_fastest;
    const std::size_t axis = last ? sizes.size() - 1 - step : step;
    indices[axis] = p % sizes[axis];
    p /= sizes[axis];
  }
  return indices;
}

/// Compares every element of a view with the element that the tensor itself has there.
template <bool ChannelFirst, int Rank, class AnyTensor>
int misplaced(const AnyTensor& tensor, const BatchView<const float>& view) {
  constexpr std::size_t first_space = ChannelFirst ? 2 : 1;
  constexpr std::size_t channel_axis = ChannelFirst ? 1 : Rank - 1;
  std::vector<Index> space;
  Index positions = 1;
  for (std::size_t axis = 0; axis + 2 < Rank; ++axis) {
    space.push_back(tensor.dimension(first_space + axis));
    positions *= space.back();
  }
  if (view.samples() != tensor.dimension(0) || view.positions() != positions) return -1;
  if (view.channels() != tensor.dimension(channel_axis)) return -2;
  int wrong = 0;
  for (Index n = 0; n < view.samples(); ++n) {
    for (Index c = 0; c < view.channels(); ++c) {
      for (Index p = 0; p < positions; ++p) {
        const std::vector<Index> at = spatial_indices(p, space, view.position_order());
        Eigen::array<Index, Rank> where{};
        where[0] = n;
        where[channel_axis] = c;
        for (std::size_t axis = 0; axis < at.size(); ++axis) where[first_space + axis] = at[axis];
        const bool right = view(n, c, p) == tensor(where) &&
                           &view(n, c, p) == tensor.data() + static_cast<Index>(tensor(where));
        wrong += right ? 0 : 1;
      }
    }
  }
  return wrong;
}

template <int Rank, int Order>
void check_rank(const Sizes<Rank>& sizes) {
  const Tensor<Rank, Order> tensor = filled<Rank, Order>(sizes);
  CHECK(misplaced<true, Rank>(tensor, channels_first(tensor)) == 0);
  CHECK(misplaced<false, Rank>(tensor, channels_last(tensor)) == 0);
}

template <int Order>
void check_all_ranks() {
  check_rank<2, Order>({3, 5});
  check_rank<3, Order>({3, 5, 4});
  check_rank<4, Order>({2, 3, 4, 5});
  check_rank<5, Order>({2, 3, 2, 4, 3});
  // An axis of length 1 has a stride like any other, which must not become that of the positions.
  check_rank<4, Order>({2, 3, 1, 5});
  check_rank<4, Order>({2, 3, 5, 1});
  check_rank<4, Order>({2, 1, 4, 3});
  check_rank<5, Order>({2, 1, 4, 1, 3});
  check_rank<5, Order>({1, 3, 1, 1, 2});
}

template <class View, class Element>
constexpr bool elements_are = std::is_same<typename View::Element, Element>::value;

template <class A, class B>
void same_shape(const A& a, const B& b) {
  const BatchView<const float> first = a;
  const BatchView<const float> second = b;
  detail::check_same_shape("train", "input", first, "output", second);
}

}  // namespace

TEST_CASE("row-major tensors of rank 2 to 5") {
  check_all_ranks<Eigen::RowMajor>();
}

TEST_CASE("column-major tensors of rank 2 to 5") {
  check_all_ranks<Eigen::ColMajor>();
}

TEST_CASE("maps, also temporary ones") {
  using Map = Eigen::TensorMap<Tensor<4, Eigen::RowMajor>>;
  using ConstMap = Eigen::TensorMap<const Tensor<4, Eigen::ColMajor>>;
  auto row_major = filled<4, Eigen::RowMajor>({2, 3, 4, 5});
  const auto column_major = filled<4, Eigen::ColMajor>({2, 3, 4, 5});
  const auto writes = channels_first(Map(row_major.data(), 2, 3, 4, 5));
  CHECK(misplaced<true, 4>(row_major, writes) == 0);
  const auto reads = channels_last(ConstMap(column_major.data(), 2, 3, 4, 5));
  CHECK(misplaced<false, 4>(column_major, reads) == 0);
  CHECK(elements_are<decltype(writes), float>);
  CHECK(elements_are<decltype(reads), const float>);
}

TEST_CASE("the view writes where the tensor may be written") {
  auto tensor = filled<3, Eigen::RowMajor>({2, 3, 4});
  const auto& constant = tensor;
  CHECK(elements_are<decltype(channels_first(tensor)), float>);
  CHECK(elements_are<decltype(channels_first(constant)), const float>);
  channels_last(tensor)(1, 3, 2) = -1;
  CHECK(tensor(1, 2, 3) == -1);
}

TEST_CASE("a new owner of a tensor has the shape, the type and the storage order of the viewed") {
  const auto tensor = filled<4, Eigen::RowMajor>({2, 3, 4, 5});
  const auto view = channels_last(tensor);
  auto owner = view.make_owner();
  CHECK(std::is_same<decltype(owner), Tensor<4, Eigen::RowMajor>>::value);
  for (std::size_t axis = 0; axis < 4; ++axis) {
    CHECK(owner.dimension(axis) == tensor.dimension(axis));
  }
  owner = tensor;
  CHECK(misplaced<false, 4>(owner, view.view_of(owner)) == 0);
  CHECK(view.view_of(owner).data() == owner.data());
  CHECK(elements_are<decltype(view.view_of(owner)), float>);
}

TEST_CASE("several spatial axes of different storage orders are not mixed") {
  const auto row_major = filled<4, Eigen::RowMajor>({2, 3, 4, 5});
  const auto column_major = filled<4, Eigen::ColMajor>({2, 3, 4, 5});
  const std::string refusal =
      "train: positions of output must be counted as those of input: expected tensors of one "
      "storage order, got a row-major and a column-major tensor";
  CHECK_THROWS_MATCHES(same_shape(channels_first(row_major), channels_first(column_major)),
                       std::invalid_argument, batchnorm_test::says(refusal));
  CHECK_THROWS_AS(same_shape(channels_last(column_major), channels_last(row_major)),
                  std::invalid_argument);
  CHECK_NOTHROW(same_shape(channels_first(column_major), channels_first(column_major)));
  // A pointer is counted as a row-major tensor is.
  CHECK_NOTHROW(same_shape(channels_first(row_major), channels_first(row_major.data(), 2, 3, 20)));
}

TEST_CASE("with one spatial axis both storage orders mean the same") {
  const auto row_major = filled<3, Eigen::RowMajor>({2, 3, 4});
  Tensor<3, Eigen::ColMajor> column_major(2, 3, 4);
  column_major = row_major.swap_layout().shuffle(Eigen::array<int, 3>{2, 1, 0});
  const auto a = channels_first(row_major);
  const auto b = channels_first(column_major);
  CHECK_NOTHROW(same_shape(a, b));
  for (Index n = 0; n < 2; ++n) {
    for (Index c = 0; c < 3; ++c) {
      for (Index p = 0; p < 4; ++p) CHECK(a(n, c, p) == b(n, c, p));
    }
  }
  // So is an image of one row or one column.
  const auto row_image = filled<4, Eigen::RowMajor>({2, 3, 4, 1});
  const auto column_image = filled<4, Eigen::ColMajor>({2, 3, 4, 1});
  CHECK_NOTHROW(same_shape(channels_first(row_image), channels_first(column_image)));
}
