// SPDX-License-Identifier: MIT
#include "batchnorm/view/eigen.hpp"

#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/catch.hpp"

using namespace batchnorm;

namespace {

using ColumnMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor>;
using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Every element holds its distance from the first, so that a value says where it was read.
template <class Owner>
Owner filled(Index rows, Index columns) {
  Owner owner;
  owner.resize(rows, columns);
  for (Index i = 0; i < owner.size(); ++i) owner.data()[i] = static_cast<float>(i);
  return owner;
}

/// The elements that a view has in the wrong place, `matrix` being part of filled memory that
/// begins at `memory`. The matrix is read through Eigen alone.
template <class M>
int misplaced_in_columns(const M& matrix, BatchView<const float> view, const float* memory) {
  if (view.samples() != matrix.cols() || view.channels() != matrix.rows()) return -1;
  if (view.positions() != 1) return -2;
  int wrong = 0;
  for (Index row = 0; row < matrix.rows(); ++row) {
    for (Index column = 0; column < matrix.cols(); ++column) {
      const float* const element = &view(column, row, 0);
      const bool right = *element == matrix(row, column) && element == memory + int(*element);
      wrong += right ? 0 : 1;
    }
  }
  return wrong;
}

template <class M>
int misplaced_in_rows(const M& matrix, BatchView<const float> view, const float* memory) {
  if (view.samples() != matrix.rows() || view.channels() != matrix.cols()) return -1;
  if (view.positions() != 1) return -2;
  int wrong = 0;
  for (Index row = 0; row < matrix.rows(); ++row) {
    for (Index column = 0; column < matrix.cols(); ++column) {
      const float* const element = &view(row, column, 0);
      const bool right = *element == matrix(row, column) && element == memory + int(*element);
      wrong += right ? 0 : 1;
    }
  }
  return wrong;
}

/// Both makers on one object with memory.
template <class M>
void check_both_makers(M&& matrix, const float* memory) {
  REQUIRE(matrix.size() > 0);
  CHECK(misplaced_in_columns(matrix, examples_in_columns(matrix), memory) == 0);
  CHECK(misplaced_in_rows(matrix, examples_in_rows(matrix), memory) == 0);
}

/// Whole objects, and the parts of them that Eigen can point into.
template <class Owner>
void check_owner_and_parts() {
  Owner owner = filled<Owner>(5, 7);
  const float* const memory = owner.data();
  check_both_makers(owner, memory);
  check_both_makers(static_cast<const Owner&>(owner), memory);
  check_both_makers(owner.block(1, 2, 3, 4), memory);
  check_both_makers(owner.topRows(2), memory);
  check_both_makers(owner.rightCols(3), memory);
  check_both_makers(owner.col(3), memory);
  check_both_makers(owner.row(2), memory);
  check_both_makers(owner.transpose(), memory);
  check_both_makers(owner.block(1, 2, 3, 4).transpose(), memory);
}

template <class View, class Element>
constexpr bool elements_are = std::is_same<typename View::Element, Element>::value;

}  // namespace

TEST_CASE("matrices and their parts, column-major") {
  check_owner_and_parts<ColumnMajor>();
}

TEST_CASE("matrices and their parts, row-major") {
  check_owner_and_parts<RowMajor>();
}

TEST_CASE("arrays, and matrices seen as arrays") {
  auto array = filled<Eigen::Array<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>(4, 6);
  check_both_makers(array, array.data());
  check_both_makers(array.matrix(), array.data());
  check_both_makers(array.block(1, 1, 2, 3), array.data());
  ColumnMajor matrix = filled<ColumnMajor>(4, 6);
  check_both_makers(matrix.array(), matrix.data());
  check_both_makers(matrix.array().bottomRows(2), matrix.data());
}

TEST_CASE("fixed sizes") {
  auto column_major = filled<Eigen::Matrix<float, 3, 4>>(3, 4);
  auto row_major = filled<Eigen::Matrix<float, 3, 4, Eigen::RowMajor>>(3, 4);
  check_both_makers(column_major, column_major.data());
  check_both_makers(row_major, row_major.data());
  check_both_makers(row_major.leftCols<2>(), row_major.data());
}

TEST_CASE("vectors are one example or one feature") {
  Eigen::VectorXf column = filled<Eigen::VectorXf>(6, 1);
  Eigen::RowVectorXf row = filled<Eigen::RowVectorXf>(1, 6);
  check_both_makers(column, column.data());
  check_both_makers(row, row.data());
  check_both_makers(column.head(4), column.data());
  check_both_makers(row.tail(4), row.data());
  check_both_makers(column.transpose(), column.data());
  CHECK(examples_in_columns(column).samples() == 1);
  CHECK(examples_in_columns(column).channels() == 6);
  CHECK(examples_in_columns(row).samples() == 6);
  ColumnMajor matrix = filled<ColumnMajor>(4, 4);
  check_both_makers(matrix.diagonal(), matrix.data());
}

TEST_CASE("maps with inner and outer strides") {
  using AnyStride = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
  const std::vector<float> memory = [] {
    const RowMajor all = filled<RowMajor>(1, 200);
    return std::vector<float>(all.data(), all.data() + 200);
  }();
  const float* const first = memory.data();
  check_both_makers(Eigen::Map<const ColumnMajor>(first + 3, 4, 5), first);
  check_both_makers(Eigen::Map<const RowMajor>(first + 3, 4, 5), first);
  check_both_makers(Eigen::Map<const ColumnMajor, 0, AnyStride>(first + 1, 4, 5, AnyStride(20, 3)),
                    first);
  check_both_makers(Eigen::Map<const RowMajor, 0, AnyStride>(first + 1, 4, 5, AnyStride(31, 2)),
                    first);
  // The strides of the other storage order: a view that guesses the order from them is wrong.
  check_both_makers(Eigen::Map<const ColumnMajor, 0, AnyStride>(first, 4, 5, AnyStride(1, 7)),
                    first);
  check_both_makers(
      Eigen::Map<const ColumnMajor, 0, Eigen::OuterStride<>>(first, 4, 5, Eigen::OuterStride<>(9)),
      first);
  check_both_makers(
      Eigen::Map<const ColumnMajor, 0, Eigen::InnerStride<3>>(first, 4, 5, Eigen::InnerStride<3>()),
      first);
  check_both_makers(Eigen::Map<const Eigen::VectorXf, 0, Eigen::InnerStride<>>(
                        first + 5, 6, Eigen::InnerStride<>(4)),
                    first);
  check_both_makers(Eigen::Map<const Eigen::RowVectorXf, 0, Eigen::InnerStride<>>(
                        first + 5, 6, Eigen::InnerStride<>(4)),
                    first);
}

TEST_CASE("refs") {
  ColumnMajor matrix = filled<ColumnMajor>(5, 7);
  const float* const memory = matrix.data();
  Eigen::Ref<ColumnMajor> writes = matrix.block(1, 1, 3, 4);
  const Eigen::Ref<const ColumnMajor> reads = matrix.block(1, 1, 3, 4);
  check_both_makers(writes, memory);
  check_both_makers(reads, memory);
  Eigen::Ref<Eigen::VectorXf, 0, Eigen::InnerStride<>> row = matrix.row(2).transpose();
  check_both_makers(row, memory);
}

TEST_CASE("the view writes where the matrix may be written, and nowhere else") {
  ColumnMajor matrix = filled<ColumnMajor>(3, 4);
  const ColumnMajor& constant = matrix;
  const auto writes = examples_in_rows(matrix);
  writes(2, 3, 0) = -1;
  CHECK(matrix(2, 3) == -1);
  examples_in_columns(matrix.row(1))(2, 0, 0) = -2;
  CHECK(matrix(1, 2) == -2);

  CHECK(elements_are<decltype(examples_in_columns(matrix)), float>);
  CHECK(elements_are<decltype(examples_in_columns(constant)), const float>);
  CHECK(elements_are<decltype(examples_in_rows(matrix.block(0, 0, 1, 1))), float>);
  CHECK(elements_are<decltype(examples_in_rows(constant.block(0, 0, 1, 1))), const float>);
  CHECK(elements_are<decltype(examples_in_rows(matrix.transpose())), float>);
  CHECK(elements_are<decltype(examples_in_rows(constant.transpose())), const float>);
  using MapOfConst = Eigen::Map<const ColumnMajor>;
  CHECK(elements_are<decltype(examples_in_rows(std::declval<MapOfConst>())), const float>);
  CHECK(elements_are<decltype(examples_in_rows(std::declval<Eigen::Map<RowMajor>>())), float>);
  using RefOfConst = Eigen::Ref<const ColumnMajor>;
  CHECK(elements_are<decltype(examples_in_rows(std::declval<RefOfConst&>())), const float>);
  CHECK(elements_are<decltype(examples_in_rows(std::declval<Eigen::Ref<RowMajor>>())), float>);
}

TEST_CASE("an empty matrix is an empty view, a matrix without features is refused") {
  ColumnMajor no_examples(3, 0);
  CHECK(examples_in_columns(no_examples).empty());
  CHECK(examples_in_columns(no_examples).channels() == 3);
  CHECK_THROWS_MATCHES(examples_in_rows(no_examples), std::invalid_argument,
                       batchnorm_test::says("number of channels: expected at least 1, got 0"));
}

TEST_CASE("a new owner has the shape, the type and the storage order of the viewed") {
  RowMajor matrix = filled<RowMajor>(3, 5);
  const auto rows = examples_in_rows(static_cast<const RowMajor&>(matrix));
  auto owner = rows.make_owner();
  CHECK(std::is_same<decltype(owner), RowMajor>::value);
  CHECK(owner.rows() == 3);
  CHECK(owner.cols() == 5);
  owner = matrix;
  const auto view = rows.view_of(owner);
  CHECK(elements_are<decltype(rows.view_of(owner)), float>);
  CHECK(misplaced_in_rows(owner, view, owner.data()) == 0);

  Eigen::Array<double, 4, 2> array;
  CHECK(std::is_same<decltype(examples_in_columns(array).make_owner()), decltype(array)>::value);
  ColumnMajor large(9, 9);
  const auto part = examples_in_columns(large.block(0, 0, 2, 6)).make_owner();
  CHECK(std::is_same<decltype(part), const ColumnMajor>::value);
  CHECK(part.rows() == 2);
  CHECK(part.cols() == 6);
  Eigen::VectorXf vector(5);
  CHECK(examples_in_columns(vector).make_owner().size() == 5);
}
