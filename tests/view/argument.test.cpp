// SPDX-License-Identifier: MIT
#include "batchnorm/view/argument.hpp"

#include <type_traits>
#include <utility>
#include <vector>

#include "support/catch.hpp"

using namespace batchnorm;
using detail::as_input;
using detail::as_output;
using detail::knows_owner;

namespace {

using Matrix = Eigen::MatrixXf;
using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// What a call of the layer does with an input: the sum over (feature, example) of value times a
/// weight of its own, so that a transposed reading gives another number.
template <class In>
float weighted_sum(const In& in) {
  const auto held = as_input<float>(in);
  const BatchView<const float> view = held.view();
  float sum = 0;
  for (Index n = 0; n < view.samples(); ++n) {
    for (Index c = 0; c < view.channels(); ++c) {
      sum += view(n, c, 0) * static_cast<float>(1 + c + 10 * n);
    }
  }
  return sum;
}

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
// Columns are examples: 1 * 1 + 2 * 2 + 3 * 3 + 4 * 11 + 5 * 12 + 6 * 13.
constexpr float expected_sum = 196;

}  // namespace

TEST_CASE("a matrix as input is read as features x examples, whatever its storage order") {
  CHECK(weighted_sum(three_by_two()) == expected_sum);
  CHECK(weighted_sum(RowMajor(three_by_two())) == expected_sum);
  CHECK(weighted_sum(Eigen::Matrix<float, 3, 2>(three_by_two())) == expected_sum);
  CHECK(weighted_sum(three_by_two().array()) == expected_sum);
  CHECK(weighted_sum(three_by_two().block(0, 0, 3, 2)) == expected_sum);
  CHECK(weighted_sum(Eigen::Ref<const RowMajor>(three_by_two())) == expected_sum);
  const std::vector<float> memory = {1, 2, 3, 4, 5, 6};
  CHECK(weighted_sum(Eigen::Map<const Matrix>(memory.data(), 3, 2)) == expected_sum);
}

TEST_CASE("a view as input is read as it is") {
  const Matrix examples_by_features = three_by_two().transpose();
  CHECK(weighted_sum(examples_in_rows(examples_by_features)) == expected_sum);
  CHECK(weighted_sum(examples_in_columns(three_by_two())) == expected_sum);
  CHECK(weighted_sum(channels_last(three_by_two().data(), 2, 3, 1)) == expected_sum);
}

TEST_CASE("an input with memory is not copied") {
  const Matrix& matrix = three_by_two();
  CHECK(as_input<float>(matrix).view().data() == matrix.data());
  CHECK(as_input<float>(matrix.col(1)).view().data() == matrix.data() + 3);
  CHECK(as_input<float>(matrix.transpose()).view().data() == matrix.data());
  CHECK(as_input<float>(examples_in_rows(matrix)).view().data() == matrix.data());
}

TEST_CASE("expressions are inputs") {
  const Matrix weights = (Matrix(3, 2) << 1, 0, 0, 1, 1, 1).finished();
  const Matrix hidden = (Matrix(2, 2) << 1, 4, 2, 5).finished();
  // The product is 1 4, 2 5, 3 9: its last element is 3 larger than that of three_by_two().
  CHECK(weighted_sum(weights * hidden) == expected_sum + 3 * 13);
  CHECK(weighted_sum(2 * three_by_two()) == 2 * expected_sum);
  CHECK(weighted_sum(three_by_two().array() + 0.0f) == expected_sum);
  CHECK(weighted_sum(three_by_two().cast<double>().cast<float>()) == expected_sum);
}

TEST_CASE("an expression is evaluated once") {
  int evaluations = 0;
  const auto counted = three_by_two().unaryExpr([&evaluations](float value) {
    ++evaluations;
    return value;
  });
  const auto held = as_input<float>(counted);
  CHECK(evaluations == 6);
  float sum = 0;
  for (int pass = 0; pass < 2; ++pass) {
    const auto view = held.view();
    for (Index n = 0; n < 2; ++n) {
      for (Index c = 0; c < 3; ++c) sum += view(n, c, 0);
    }
  }
  CHECK(evaluations == 6);
  CHECK(sum == 2 * 21);
}

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
  const auto held = as_input<float>(row_major);
  auto owner = detail::make_owner_like(held.view());
  CHECK(std::is_same<decltype(owner), RowMajor>::value);
  CHECK(owner.rows() == 3);
  CHECK(owner.cols() == 2);
  write_weights(detail::view_of_owner(held.view(), owner));
  CHECK(owner(2, 1) == 13);

  const auto rows = as_input<float>(examples_in_rows(row_major));
  write_weights(detail::view_of_owner(rows.view(), owner));
  CHECK(owner(2, 1) == 22);

  const auto evaluated = as_input<float>(three_by_two() * 2);
  CHECK(std::is_same<decltype(detail::make_owner_like(evaluated.view())), Matrix>::value);
}

TEST_CASE("only views of bare pointers do not know an owner") {
  Matrix matrix(3, 2);
  CHECK(knows_owner<decltype(examples_in_columns(matrix))>);
  CHECK(knows_owner<decltype(examples_in_rows(matrix.row(1)))>);
  CHECK(knows_owner<std::decay_t<decltype(as_input<float>(matrix).view())>>);
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
