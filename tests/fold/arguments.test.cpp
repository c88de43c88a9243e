// SPDX-License-Identifier: MIT
// What a fold can be given, with results worked out by hand.
#include <limits>
#include <vector>

#include "batchnorm/fold/fold.hpp"
#include "support/catch.hpp"

using namespace batchnorm;

namespace {

Options with_epsilon(double epsilon) {
  Options options;
  options.epsilon = epsilon;
  return options;
}

}  // namespace

TEST_CASE("a norm in front of a linear layer, which has no padding to be asked for", "[fold]") {
  State<float> state(2);
  state.gamma << 2, -1;
  state.beta << 3, 0;
  state.running_mean << 0, 10;
  Eigen::Matrix2f weight;
  weight << 1, 10, 100, 1000;
  Eigen::VectorXf bias;
  fold_before(linear(weight), bias, state, with_epsilon(0));
  CHECK(weight == (Eigen::Matrix2f() << 2, -10, 200, -1000).finished());
  CHECK(bias == Eigen::Vector2f(103, 10300));
}

TEST_CASE("options leave gamma or beta out, whatever the state holds", "[fold]") {
  State<float> state(1);
  state.gamma[0] = std::numeric_limits<float>::quiet_NaN();
  state.beta[0] = std::numeric_limits<float>::infinity();
  state.running_mean[0] = 3;
  state.running_variance[0] = 4;
  Options plain = with_epsilon(0);
  plain.scale = plain.shift = false;
  Eigen::MatrixXf weight = Eigen::MatrixXf::Constant(1, 2, 8);
  Eigen::VectorXf bias = Eigen::VectorXf::Constant(1, 5);
  fold_after(linear(weight), bias, state, plain);
  CHECK(weight == Eigen::RowVector2f(4, 4));
  CHECK(bias[0] == 1.0f);
}

TEST_CASE("a fold takes matrices of either order, maps, blocks and transposes", "[fold]") {
  using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  State<float> state(2);
  state.gamma << 2, -3;
  state.beta << 10, 20;
  const Options options = with_epsilon(0);
  const Eigen::MatrixXf start = (Eigen::MatrixXf(2, 3) << 1, 2, 3, 4, 5, 6).finished();
  const Eigen::MatrixXf folded = (Eigen::MatrixXf(2, 3) << 2, 4, 6, -12, -15, -18).finished();
  const auto result = [&](auto weights) {
    Eigen::VectorXf bias;
    fold_after(weights, bias, state, options);
    CHECK(bias == Eigen::Vector2f(10, 20));
  };
  Eigen::MatrixXf column_major = start;
  result(linear(column_major));
  CHECK(column_major == folded);
  RowMajor row_major = start;
  result(linear(row_major));
  CHECK(row_major == folded);
  Eigen::MatrixXf kernel = start.transpose();  // Keras and Flax: in x out
  result(linear(kernel.transpose()));
  CHECK(kernel == folded.transpose());
  Eigen::MatrixXf large = Eigen::MatrixXf::Constant(4, 5, 7);
  large.block(1, 1, 2, 3) = start;
  result(linear(large.block(1, 1, 2, 3)));
  CHECK(large.block(1, 1, 2, 3) == folded);
  CHECK(large.sum() == folded.sum() + 14 * 7);
  column_major = start;
  result(linear(Eigen::Map<Eigen::MatrixXf>(column_major.data(), 2, 3)));
  CHECK(column_major == folded);
  column_major = start;
  Eigen::Ref<Eigen::MatrixXf> ref = column_major;
  result(linear(ref));
  CHECK(column_major == folded);
}

TEST_CASE("a bias may be a map, a block, a row, or of another type than the weights", "[fold]") {
  State<float> state(2);
  state.gamma << 2, -3;
  state.running_mean << 1, 1;
  const Options options = with_epsilon(0);
  const Eigen::Vector2f folded(4, -9);
  Eigen::MatrixXf weight = Eigen::MatrixXf::Ones(2, 3);
  std::vector<float> memory = {3, 4};
  fold_after(linear(weight), Eigen::Map<Eigen::VectorXf>(memory.data(), 2), state, options);
  CHECK(memory == std::vector<float>{4, -9});
  Eigen::MatrixXf table(2, 2);
  table << 3, 0, 4, 0;
  fold_after(linear(weight), table.col(0), state, options);
  CHECK(table.col(0) == folded);
  CHECK(table.col(1) == Eigen::Vector2f::Zero());
  Eigen::RowVectorXd wide(2);
  wide << 3, 4;
  fold_after(linear(weight), wide, state, options);
  CHECK(wide == folded.cast<double>().transpose());
  Eigen::Vector2f fixed(3, 4);
  fold_after(linear(weight), fixed, state, options);
  CHECK(fixed == folded);
}

TEST_CASE("a state may have a fixed number of channels and another type than the weights",
          "[fold]") {
  State<float, 2> state;
  state.gamma << 2, -3;
  state.running_mean << 1, 1;
  Eigen::MatrixXd weight = Eigen::MatrixXd::Constant(2, 1, 5);
  Eigen::VectorXd bias;
  fold_after(linear(weight), bias, state, with_epsilon(0));
  CHECK(weight == Eigen::Vector2d(10, -15));
  CHECK(bias == Eigen::Vector2d(-2, 3));

  State<double, 2> wide;
  wide.gamma << 2, -3;
  Eigen::MatrixXf narrow = Eigen::MatrixXf::Constant(3, 2, 5);
  Eigen::VectorXf none;
  fold_before(linear(narrow), none, wide, with_epsilon(0));
  CHECK(narrow == Eigen::RowVector2f(10, -15).replicate(3, 1));
}
