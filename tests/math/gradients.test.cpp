// SPDX-License-Identifier: MIT
#include "batchnorm/math/gradients.hpp"

#include <vector>

#include "batchnorm/layer.hpp"
#include "support/catch.hpp"

using batchnorm::BatchNorm;
using batchnorm::Epilogue;
using batchnorm::Index;
using batchnorm::Options;
using batchnorm::State;
using batchnorm::with_residual;
namespace detail = batchnorm::detail;

namespace {

/// g = 2 dy, and the centred value x - pivot; one coefficient of its own, which is 2.
struct Doubled {
  [[maybe_unused]] static constexpr int coefficients = 1;
  [[maybe_unused]] static constexpr int inputs = 2;
  template <bool, class V>
  static void split(V& g, V& centred, const V* x, const V& pivot, const V* k,
                    const detail::FormulaOptions<V>&) {
    g = x[0] * k[0];
    centred = x[1] - pivot;
  }
};

}  // namespace

TEST_CASE("the terms of the sums are g and g xhat", "[gradients]") {
  const double x[] = {3.0, 10.0};
  const double k[] = {8.0, 0.25, 2.0};  // pivot, r, and that of the source
  double sums[] = {100.0, 1000.0};
  detail::GradientTerms<Doubled>::add<false>(sums, x, k, {1.0, 1.0});
  CHECK(sums[0] == 106.0);
  CHECK(sums[1] == 1003.0);  // 6 (10 - 8) / 4
}

TEST_CASE("the map is a (g + centred b + c), with fixed statistics a g; and g for the residual",
          "[gradients]") {
  const double x[] = {3.0, 10.0};
  const double k[] = {8.0, 0.5, -2.0, 6.0, 2.0};  // pivot, a, b, c, and that of the source
  detail::FormulaOptions<double> options{1.0, 1.0};
  double gradients[] = {0.0, 0.0};
  detail::Backward<Doubled>::apply<false>(gradients, x, k, options);
  CHECK(gradients[0] == 4.0);  // (6 - 4 + 6) / 2
  CHECK(gradients[1] == 6.0);
  options.fixed_statistics = true;
  detail::Backward<Doubled>::apply<false>(gradients, x, k, options);
  CHECK(gradients[0] == 3.0);
  CHECK(gradients[1] == 6.0);
}

TEST_CASE("parameters that are left out have no gradient, whatever the sums", "[gradients]") {
  batchnorm::GradientSums<double, 2> sums(2);
  sums.normalized << 1.5, -2.0;
  sums.output_gradient << 3.0, 4.0;
  Options options;
  const auto written = [&] { return detail::gradients_of<float>(options, sums); };
  CHECK(written().gamma == Eigen::Vector2f(1.5f, -2.0f));
  CHECK(written().beta == Eigen::Vector2f(3.0f, 4.0f));
  options.scale = false;
  CHECK(written().gamma == Eigen::Vector2f(0, 0));
  CHECK(written().beta == Eigen::Vector2f(3.0f, 4.0f));
  options.shift = false;
  CHECK(written().beta == Eigen::Vector2f(0, 0));
}

TEST_CASE("sums of floats that overflow on their way are summed in double", "[gradients]") {
  // Of 8 neighbours the first 4 have +3e38 each, the next 4 the same below zero. A mean of zero and
  // a variance of 4 keep xhat simple: 1 and -1 by turns.
  State<float> state(1);
  state.running_variance[0] = 4.0f;
  Options options;
  options.epsilon = 0.0;
  for (const Epilogue& epilogue : {Epilogue::none(), Epilogue::relu()}) {
    options.epilogue = epilogue;
    const BatchNorm<float> layer(state, options);
    for (const Index count : {8, 64, 4096}) {
      Eigen::RowVectorXf x(count), dy(count), dx(count);
      for (Index i = 0; i < count; ++i) {
        x[i] = i % 2 == 0 ? 2.0f : -2.0f;
        dy[i] = i % 8 < 4 ? 3e38f : -3e38f;
      }
      const auto gradients = layer.backward_frozen(x, dy, dx);
      CHECK(gradients.beta[0] == 0.0f);
      CHECK(gradients.gamma[0] == 0.0f);
      CHECK(dx[0] == 1.5e38f);
    }
  }
}

TEST_CASE("a product that overflows beside a sum that does not is seen", "[gradients]") {
  // Channels side by side, whose values lanes add up in their order: dy changes its sign from one
  // example to the next, dy xhat after every 8. So many channels that examples are not joined.
  const Index channels = 35;
  State<float> state(channels);
  state.running_variance.setConstant(4.0f);
  Options options;
  options.epsilon = 0.0;
  const BatchNorm<float> layer(state, options);
  Eigen::MatrixXf x(channels, 64), dy(channels, 64), dx(channels, 64);
  for (Index i = 0; i < x.cols(); ++i) {
    const float sign = i % 2 == 0 ? 1.0f : -1.0f;
    x.col(i).setConstant(i % 16 < 8 ? 2 * sign : -2 * sign);
    dy.col(i).setConstant(3e38f * sign);
  }
  const auto gradients = layer.backward_frozen(x, dy, dx);
  for (Index c = 0; c < channels; ++c) {
    CHECK(gradients.beta[c] == 0.0f);
    CHECK(gradients.gamma[c] == 0.0f);
  }
}

TEST_CASE("an empty minibatch has no gradient", "[gradients]") {
  const BatchNorm<double> layer(State<double>(2), Options());
  Eigen::MatrixXd none(2, 0);
  const auto gradients =
      layer.backward_frozen(with_residual(none, none), none, with_residual(none, none));
  CHECK(gradients.gamma == Eigen::Vector2d(0, 0));
  CHECK(gradients.beta == Eigen::Vector2d(0, 0));
}

namespace {

/// Channels of the examples 9, 5, 9 and 5, so that xhat is 1, -1, 1, -1 and r 1/2, with a gamma of
/// 3; those of other rows are `row` times what is said of the first one.
template <class T>
struct ByHand {
  using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;

  explicit ByHand(Index rows) : channels(rows), x(of(9, 5, 9, 5, false)) {}

  Matrix of(double a, double b, double c, double d, bool multiplied = true) const {
    Matrix all(channels, 4);
    for (Index row = 0; row < channels; ++row) {
      all.row(row) << static_cast<T>(a), static_cast<T>(b), static_cast<T>(c), static_cast<T>(d);
      if (multiplied) all.row(row) *= static_cast<T>(row + 1);
    }
    return all;
  }
  BatchNorm<T> layer(const Epilogue& epilogue) const {
    State<T> state(channels);
    state.gamma.setConstant(3);
    Options options;
    options.epsilon = 0.0;
    options.epilogue = epilogue;
    return BatchNorm<T>(state, options);
  }

  Index channels;
  Matrix x;
};

template <class Vector>
bool is_multiple(const Vector& numbers, double of_first) {
  for (Index c = 0; c < numbers.size(); ++c) {
    if (static_cast<double>(numbers[c]) != of_first * static_cast<double>(c + 1)) return false;
  }
  return true;
}

}  // namespace

TEMPLATE_TEST_CASE("gradients of four values, by hand", "[gradients]", float, double) {
  for (const Index channels : {1, 2, 7, 16, 37}) {
    INFO(channels);
    const ByHand<TestType> data(channels);
    auto y = data.x, dx = data.x, dr = data.x;
    const auto plain = data.layer(Epilogue::none());
    const auto batch = plain.normalize(data.x, y);
    // S1 = 10 and r S2 = 2: dx = 3/2 (dy - 10/4 - xhat 2/4).
    const auto gradients = plain.backward(batch, data.x, data.of(1, 2, 5, 2), dx);
    CHECK(dx == data.of(-3, 0, 3, 0));
    CHECK(is_multiple(gradients.beta, 10));
    CHECK(is_multiple(gradients.gamma, 2));

    // z = 3 xhat + residual is 2, 2, 3 and -2: g = 1, 2, 5 and 0, S1 = 8 and r S2 = 4.
    const auto rectified = data.layer(Epilogue::relu());
    const auto residual = data.of(-1, 5, 0, 1, false);
    const auto of_residual = rectified.backward(batch, with_residual(data.x, residual),
                                                data.of(1, 2, 5, 2), with_residual(dx, dr));
    CHECK(dx == data.of(-3, 1.5, 3, -1.5));
    CHECK(dr == data.of(1, 2, 5, 0));
    CHECK(is_multiple(of_residual.beta, 8));
    CHECK(is_multiple(of_residual.gamma, 4));

    // The same in two steps: the sums of all examples, then dx from them.
    const auto sums =
        rectified.backward_sums(batch, with_residual(data.x, residual), data.of(1, 2, 5, 2));
    CHECK(sums.count == 4);
    CHECK(is_multiple(sums.output_gradient, 8));
    CHECK(is_multiple(sums.normalized, 4));
    auto from_sums = data.x, of_r = data.x;
    rectified.backward(batch, sums, with_residual(data.x, residual), data.of(1, 2, 5, 2),
                       with_residual(from_sums, of_r));
    CHECK(from_sums == dx);
    CHECK(of_r == dr);
  }
}
