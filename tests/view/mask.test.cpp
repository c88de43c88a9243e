// SPDX-License-Identifier: MIT
#include "batchnorm/view/mask.hpp"

#include <stdexcept>
#include <vector>

#include "support/catch.hpp"

using namespace batchnorm;

TEST_CASE("a mask is pointed to where it lies, whatever it is") {
  Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic> matrix(4, 6);
  matrix.setConstant(true);
  detail::MaskArgument mask;
  detail::describe_mask<false>(mask, matrix.block(1, 2, 2, 3));
  CHECK(mask.data == &matrix(1, 2));
  CHECK(mask.samples == 2);
  CHECK(mask.positions == 3);
  CHECK(mask.sample_stride == 1);
  CHECK(mask.position_stride == 4);
  CHECK(mask.read == nullptr);
  CHECK(!mask.one_axis);
  CHECK(!mask.ordered);
  CHECK(mask.evaluated == nullptr);

  detail::MaskArgument row;
  detail::describe_mask<false>(row, matrix.row(2));
  CHECK(row.one_axis);
  CHECK(row.samples == 6);
  CHECK(row.sample_stride == 4);
}

TEST_CASE("a mask that is a view says how it counts positions") {
  const std::vector<char> memory(60);
  const auto* const entries = reinterpret_cast<const bool*>(memory.data());
  for (const PositionOrder order : {PositionOrder::last_fastest, PositionOrder::first_fastest}) {
    const BatchView<const bool> view(entries, 3, 1, 4, 20, 7, 5);
    detail::MaskArgument mask;
    detail::describe_mask<false>(mask, view.counted(order));
    CHECK(mask.ordered);
    CHECK(mask.last_fastest == (order == PositionOrder::last_fastest));
    CHECK(mask.data == entries);
    CHECK(mask.samples == 3);
    CHECK(mask.positions == 4);
    CHECK(mask.sample_stride == 20);
    CHECK(mask.position_stride == 5);
    CHECK(!mask.one_axis);
  }
  detail::MaskArgument mask;
  CHECK_THROWS_MATCHES(
      detail::describe_mask<false>(mask, BatchView<const bool>(entries, 3, 2, 4, 20, 7, 5)),
      std::invalid_argument,
      batchnorm_test::says("masked: channels of a view that is a mask or weights: expected 1, as "
                           "every element has one for all channels, got 2"));
}

TEST_CASE("rows of a matrix of either order are samples") {
  Eigen::Array<bool, 3, 5, Eigen::RowMajor> rows;
  rows.setConstant(true);
  detail::MaskArgument mask;
  detail::describe_mask<false>(mask, rows);
  CHECK(mask.samples == 3);
  CHECK(mask.positions == 5);
  CHECK(mask.sample_stride == 5);
  CHECK(mask.position_stride == 1);
  const Eigen::Array<bool, 4, 1> column = Eigen::Array<bool, 4, 1>::Constant(true);
  detail::describe_mask<false>(mask, column);
  CHECK(mask.one_axis);
  CHECK(mask.samples == 4);
  CHECK(mask.positions == 1);
  CHECK(mask.sample_stride == 1);
}

TEST_CASE("an expression is evaluated and kept") {
  const Eigen::ArrayXi lengths = Eigen::ArrayXi::LinSpaced(5, 0, 4);
  detail::MaskArgument mask;
  detail::describe_mask<false>(mask, lengths > 2);
  REQUIRE(mask.evaluated != nullptr);
  const bool* const entries = static_cast<const bool*>(mask.data);
  CHECK(!entries[2]);
  CHECK(entries[3]);
}

TEST_CASE("weights are read as double, in any type") {
  Eigen::ArrayXf weights(4);
  weights << 0.5f, 1, 2, 4;
  detail::MaskArgument mask;
  detail::describe_mask<true>(mask, weights);
  REQUIRE(mask.read != nullptr);
  double two[2];
  mask.read(mask.data, 1, 2, 2, two);
  CHECK(two[0] == 1.0);
  CHECK(two[1] == 4.0);
  const Eigen::Array<Eigen::half, 2, 1> halves(Eigen::half(0.25f), Eigen::half(3.0f));
  detail::describe_mask<true>(mask, halves);
  mask.read(mask.data, 0, 1, 2, two);
  CHECK(two[0] == 0.25);
  CHECK(two[1] == 3.0);
}
