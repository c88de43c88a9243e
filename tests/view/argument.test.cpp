// SPDX-License-Identifier: MIT
#include "batchnorm/view/argument.hpp"

#include <type_traits>
#include <utility>
#include <vector>

#include "support/catch.hpp"

using namespace batchnorm;
using detail::as_output;
using detail::knows_owner;

namespace {

using Matrix = Eigen::MatrixXf;
using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// What a call does with an output: writes 1 + feature + 10 example.
template <class Out>
void write_weights(Out&& out) {
  const BatchView<float> view = as_output<float>(std::forward<Out>(out));
  for (Index n = 0; n < view.samples(); ++n) {
    for (Index c = 0; c < view.channels(); ++c) view(n, c, 0) = static_cast<float>(1 + c + 10 * n);
  }
}

const Matrix& three_by_two() {
  static const Matrix matrix = (Matrix(3, 2) << 1, 4, 2, 5, 3, 6).finished();
  return matrix;
}

}  // namespace

TEST_CASE("temporaries that point into memory are outputs") {
  const Matrix expected = (Matrix(3, 2) << 1, 11, 2, 12, 3, 13).finished();
  Matrix matrix = Matrix::Zero(5, 4);
  write_weights(matrix.block(1, 2, 3, 2));
  CHECK(matrix.block(1, 2, 3, 2) == expected);
  CHECK(matrix.sum() == expected.sum());

  std::vector<float> memory(6);
  write_weights(Eigen::Map<RowMajor>(memory.data(), 3, 2));
  CHECK(memory == std::vector<float>{1, 11, 2, 12, 3, 13});

  Matrix other = Matrix::Zero(3, 2);
  write_weights(Eigen::Ref<Matrix>(other));
  CHECK(other == expected);

  RowMajor turned = RowMajor::Zero(2, 3);
  write_weights(turned.transpose());
  CHECK(turned.transpose() == expected);
  write_weights(examples_in_rows(turned));
  CHECK(turned.transpose() == expected);
}

TEST_CASE("named outputs of every kind") {
  const Matrix expected = (Matrix(3, 2) << 1, 11, 2, 12, 3, 13).finished();
  RowMajor matrix = RowMajor::Zero(3, 2);
  write_weights(matrix);
  CHECK(matrix == expected);
  Eigen::Array<float, 3, 2> array = Eigen::Array<float, 3, 2>::Zero();
  write_weights(array);
  CHECK(array.matrix() == expected);
  Matrix under_view = Matrix::Zero(3, 2);
  const auto view = examples_in_columns(under_view);
  write_weights(view);
  CHECK(under_view == expected);
}

TEST_CASE("a result is of the kind that the input is") {
  const RowMajor row_major = three_by_two();
  auto owner = detail::make_owner_like(row_major);
  CHECK(std::is_same<decltype(owner), RowMajor>::value);
  CHECK(owner.rows() == 3);
  CHECK(owner.cols() == 2);
  write_weights(detail::view_of_owner(row_major, owner));
  CHECK(owner(2, 1) == 13);
  write_weights(detail::view_of_owner(examples_in_rows(row_major), owner));
  CHECK(owner(2, 1) == 22);

  const auto product = three_by_two() * 2;
  Matrix evaluated = detail::make_owner_like(product);
  CHECK(std::is_same<decltype(detail::make_owner_like(product)), Matrix>::value);
  write_weights(detail::view_of_owner(product, evaluated));
  CHECK(evaluated(2, 1) == 13);
}

TEST_CASE("only views of bare pointers do not know an owner") {
  Matrix matrix(3, 2);
  CHECK(knows_owner<decltype(examples_in_columns(matrix))>);
  CHECK(knows_owner<decltype(examples_in_rows(matrix.row(1)))>);
  CHECK_FALSE(knows_owner<BatchView<float>>);
  CHECK_FALSE(knows_owner<decltype(channels_first(matrix.data(), 1, 3, 2))>);
}

TEST_CASE("arguments are views and Eigen objects") {
  CHECK(detail::is_batch_view<BatchView<const float>>);
  CHECK(detail::is_batch_view<MatrixView<float, Matrix, Examples::in_rows>>);
  CHECK_FALSE(detail::is_batch_view<Matrix>);
  CHECK(detail::is_argument<Matrix>);
  CHECK(detail::is_argument<decltype(Matrix() * Matrix())>);
  CHECK_FALSE(detail::is_argument<float*>);
  CHECK_FALSE(detail::is_argument<std::vector<float>>);
}
