// SPDX-License-Identifier: MIT
#define EIGEN_DEFAULT_TO_ROW_MAJOR
#define EIGEN_RUNTIME_NO_MALLOC
// Eigen as some programs set it up: row-major by default, and with an eye on the heap.
#include <type_traits>
#include <vector>

#include "batchnorm/view/argument.hpp"
#include "batchnorm/view/eigen.hpp"
#include "batchnorm/view/input.hpp"
#include "support/allocation_counter.hpp"
#include "support/catch.hpp"

using namespace batchnorm;
using batchnorm_test::allocations_during;

namespace {

using RowMajor = Eigen::MatrixXf;
using ColumnMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor>;

/// 0 1 2 3 / 4 5 6 7 / 8 9 10 11 by value, however it is stored.
template <class Matrix>
Matrix three_by_four() {
  Matrix matrix(3, 4);
  for (int i = 0; i < 12; ++i) matrix(i / 4, i % 4) = static_cast<float>(i);
  return matrix;
}

template <class M>
void check_both_makers(const M& matrix) {
  const BatchView<const float> columns = examples_in_columns(matrix);
  const BatchView<const float> rows = examples_in_rows(matrix);
  REQUIRE(columns.samples() == matrix.cols());
  REQUIRE(rows.samples() == matrix.rows());
  for (Index row = 0; row < matrix.rows(); ++row) {
    for (Index column = 0; column < matrix.cols(); ++column) {
      CHECK(columns(column, row, 0) == matrix(row, column));
      CHECK(rows(row, column, 0) == matrix(row, column));
    }
  }
}

float corner(const BatchView<const float>& view) {
  return view(view.samples() - 1, view.channels() - 1, 0);
}

}  // namespace

TEST_CASE("row-major by default") {
  REQUIRE(static_cast<bool>(RowMajor::IsRowMajor));
  check_both_makers(three_by_four<RowMajor>());
  check_both_makers(three_by_four<ColumnMajor>());
  check_both_makers(three_by_four<Eigen::ArrayXXf>());
  check_both_makers(three_by_four<Eigen::Matrix3Xf>());
  const RowMajor matrix = three_by_four<RowMajor>();
  check_both_makers(matrix.block(1, 1, 2, 2));
  check_both_makers(matrix.transpose());
  check_both_makers(matrix.row(1));
  check_both_makers(matrix.col(1));
  const Eigen::VectorXf vector = matrix.col(2);
  check_both_makers(vector);
  const std::vector<float> memory(matrix.data(), matrix.data() + 12);
  check_both_makers(Eigen::Map<const RowMajor>(memory.data(), 3, 4));
  CHECK(std::is_same<decltype(examples_in_columns(matrix).make_owner()), RowMajor>::value);
}

TEST_CASE("nothing is copied on the way in") {
  RowMajor matrix = three_by_four<RowMajor>();
  const ColumnMajor other = three_by_four<ColumnMajor>();
  const Eigen::Ref<const RowMajor> ref = matrix;
  float sum = 0;
  const long allocations = allocations_during([&] {
    sum += corner(examples_in_columns(matrix)) + corner(examples_in_rows(other));
    sum += corner(examples_in_columns(matrix.block(0, 0, 2, 3)));
    sum += corner(examples_in_rows(other.transpose())) + corner(examples_in_rows(ref));
    sum += corner(examples_in_columns(Eigen::Map<ColumnMajor>(matrix.data(), 3, 4)));
    sum += corner(channels_first(matrix.data(), 3, 4, 1));
    sum += corner(Input<float>(matrix).view());
    sum += corner(Input<float>(other.col(3)).view());
    sum += corner(detail::as_output<float>(matrix.topRows(3)));
  });
  CHECK(allocations == 0);
  CHECK(sum == 9 * 11 + 6);
}

TEST_CASE("the counter sees what would be a copy") {
  std::vector<float> kept;  // so that the compiler cannot leave the allocation out
  CHECK(allocations_during([&] { kept.assign(12, 1.0f); }) == 1);
  CHECK(kept.back() == 1.0f);
}
