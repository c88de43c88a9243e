// SPDX-License-Identifier: MIT
#include "batchnorm/view/input.hpp"

#include <type_traits>
#include <utility>
#include <vector>

#include "support/catch.hpp"

using namespace batchnorm;

namespace {

using Matrix = Eigen::MatrixXf;
using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// What a call of the layer does with an input: the sum over (feature, example) of value times a
/// weight of its own, so that a transposed reading gives another number.
float weighted_sum(const Input<float>& in) {
  const BatchView<const float>& view = in.view();
  float sum = 0;
  for (Index n = 0; n < view.samples(); ++n) {
    for (Index c = 0; c < view.channels(); ++c) {
      sum += view(n, c, 0) * static_cast<float>(1 + c + 10 * n);
    }
  }
  return sum;
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
  CHECK(Input<float>(matrix).view().data() == matrix.data());
  CHECK(Input<float>(matrix.col(1)).view().data() == matrix.data() + 3);
  CHECK(Input<float>(matrix.transpose()).view().data() == matrix.data());
  CHECK(Input<float>(examples_in_rows(matrix)).view().data() == matrix.data());
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
  const Input<float> held(counted);
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

TEST_CASE("an input alone is one view, with a residual it is two") {
  const Matrix x = three_by_two(), r = x * 10;
  const Input<float> alone(x);
  CHECK(alone.residual() == nullptr);
  const Input<float> both(with_residual(x, r));
  CHECK(both.view().data() == x.data());
  REQUIRE(both.residual() != nullptr);
  CHECK(both.residual()->data() == r.data());
}

TEST_CASE("expressions and views of any kind can be either part") {
  const Matrix& x = three_by_two();
  const auto parts = [](const Input<float>& in) {
    return in.view()(1, 2, 0) + 100 * (*in.residual())(1, 1, 0);
  };
  CHECK(parts(with_residual(x, x)) == 506);
  CHECK(parts(with_residual(x * 2.0f, examples_in_columns(x))) == 512);
  CHECK(parts(with_residual(examples_in_columns(x), x.array() + 1.0f)) == 606);
}

TEST_CASE("gradients go where the parts of the output are") {
  Matrix dx = three_by_two(), dr = dx;
  const GradientOutput<float> alone(dx);
  CHECK(alone.view().data() == dx.data());
  CHECK(alone.residual() == nullptr);
  const auto check = [&](const GradientOutput<float>& both) {
    CHECK(both.view().data() == dx.data());
    REQUIRE(both.residual() != nullptr);
    CHECK(both.residual()->data() == dr.data() + 3);
    CHECK(both.residual()->samples() == 1);
  };
  check(with_residual(dx, dr.rightCols(1)));
  check(with_residual(examples_in_columns(dx), examples_in_columns(dr.rightCols(1))));
}

TEST_CASE("an output is a view that writes, or an Eigen object with memory") {
  Matrix y = Matrix::Zero(3, 2);
  const auto write = [](const Output<float>& out) { out.view()(1, 2, 0) = 7.0f; };
  write(y);
  CHECK(y(2, 1) == 7.0f);
  write(Eigen::Map<Matrix>(y.data(), 3, 2));
  RowMajor rows = RowMajor::Zero(2, 3);
  write(examples_in_rows(rows));
  CHECK(rows(1, 2) == 7.0f);
}

TEST_CASE("an execution is no operand") {
  CHECK(std::is_convertible<const Matrix&, Input<float>>::value);
  CHECK_FALSE(std::is_convertible<Execution, Input<float>>::value);
  CHECK_FALSE(std::is_convertible<Execution, Output<float>>::value);
  CHECK_FALSE(std::is_convertible<Execution, GradientOutput<float>>::value);
}
