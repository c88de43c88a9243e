// SPDX-License-Identifier: MIT
#include "batchnorm/math/weighted_products.hpp"

#include <limits>

#include "batchnorm/math/backward.hpp"
#include "batchnorm/math/masked.hpp"
#include "support/catch.hpp"
#include "support/exact_layer.hpp"

using namespace batchnorm;
using batchnorm_test::ExactLayer;

TEST_CASE("weighted products one by one: sum w v and sum w v h, of what counts") {
  const ExactLayer exact;
  auto norm = exact.norm();
  Eigen::RowVectorXd v(4), w(4);
  v << 1, 10, 100, std::numeric_limits<double>::quiet_NaN();
  w << 2, 1, 0.5, 0;
  const auto in = weighted(exact.x, w, Weights::importance);
  const Input<double> input(in);
  const auto selected = detail::selected_of("test", input);
  detail::ProductReduction<double> reduction(norm, 2, nullptr);
  const auto view = examples_in_columns(v);
  const auto sum = [&](double scale) {
    detail::weighted_products<double>(*selected, input.view(), view, norm, reduction, {}, {0, 1},
                                      scale);
  };
  sum(1);
  CHECK(reduction.sums(0, 0) == 2 + 10 + 50);
  CHECK(reduction.sums(0, 1) == -2 - 10 + 50);  // h is -1, -1, 1, 1
  norm.tables.pivot_error()[0] = 0.25;
  sum(1);
  CHECK(reduction.sums(0, 1) == 38 - 0.25 * 62);
  sum(0.5);
  CHECK(reduction.sums(0, 0) == 31);
  CHECK(reduction.sums(0, 1) == 19 - 0.125 * 62);
}

namespace {

/// Sums over a layer's input with weights, by kernels, and what its weights are scaled by.
template <class T, class X, class W>
Eigen::Array<accumulator_t<T>, 1, 5> sums_by_kernels(const X& x, const X& g, const X& v, const W& w,
                                                     double& scale) {
  using C = parameter_t<T>;
  const auto in = weighted(x, w, Weights::importance);
  const Input<T> input(in);
  const auto selected = detail::selected_of("test", input);
  Options options;
  options.epsilon = 0;
  const State<T> state(1);
  const auto batch = moments_of(in);
  detail::LinearizedNorm<T> norm(options, state, detail::statistics_of(batch),
                                 detail::MinibatchDivisor<accumulator_t<T>>(batch), {});
  const detail::TableSource<C> source{norm.tables.pivot(), norm.tables.inverse()};
  const detail::FormulaCall<T> weighs(
      detail::reduce_kernels<detail::GradientTerms<detail::FromInput<C>>, T>, source, {C(1), C(1)});
  const detail::FormulaCall<T> plain(detail::reduce_kernels<detail::ProductTerms, T>, source,
                                     {C(1), C(1)});
  const BatchView<const T> view = examples_in_columns(v);
  detail::DerivativeOperands<T> operands;
  operands.read(input.view());
  operands.read(examples_in_columns(g));
  operands.read(view);
  const auto divisor = norm.divisor.divisor;
  const detail::WeightedProducts<T> products(*selected, norm, input.view(), view, operands,
                                             {weighs, &plain, 5});
  detail::ProductReduction<T> reduction(norm, 5, nullptr);
  products.sum({}, {0, 1}, reduction);
  scale = static_cast<double>(norm.divisor.divisor / divisor);
  return reduction.sums.row(0);
}

}  // namespace

TEST_CASE("weighted products by kernels: weights and their sum are scaled by a power of two") {
  // Mean 3, variance 4: h is -1, -1, 1, 1.
  Eigen::RowVectorXd x(4), g(4), v(4), w(4);
  x << 1, 1, 5, 5;
  g << 1, 2, 3, 4;
  v << 1, 10, 100, 1000;
  w << 4, 4, 6, 2;
  double scale = 0;
  const auto sums = sums_by_kernels<double>(x, g, v, w, scale);
  CHECK(scale == 0.125);
  CHECK(sums[0] == (4 + 40 + 600 + 2000) * scale);
  CHECK(sums[1] == (-4 - 40 + 600 + 2000) * scale);
  CHECK(sums[2] == 10);
  CHECK(sums[3] == -1 - 2 + 3 + 4);
  CHECK(sums[4] == 1 + 20 + 300 + 4000);
}

TEST_CASE("weighted products beyond the range of float are summed in double") {
  Eigen::RowVectorXf x(4), g(4), v(4);
  x << 1, 1, 5, 5;
  g << 1, 2, 3, 4;
  v.setConstant(2e38f);
  const Eigen::RowVectorXd w = Eigen::RowVectorXd::Constant(4, 0.75);
  double scale = 0;
  const auto sums = sums_by_kernels<float>(x, g, v, w, scale);
  const double of_v = static_cast<double>(2e38f);
  CHECK(scale == 1);
  CHECK(sums[0] == 3 * of_v);
  CHECK(sums[1] == 0);
  CHECK(sums[4] == 10 * of_v);
}
