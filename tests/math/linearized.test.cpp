// SPDX-License-Identifier: MIT
#include "batchnorm/math/linearized.hpp"

#include <limits>

#include "support/catch.hpp"
#include "support/exact_layer.hpp"

using namespace batchnorm;
using batchnorm_test::ExactLayer;

TEST_CASE("a layer at an input: pivot, inverse deviation and gamma") {
  ExactLayer exact;
  auto norm = exact.norm();
  CHECK(norm.tables.pivot()[0] == 3);
  CHECK(norm.tables.wide_inverse()[0] == 0.5);
  CHECK(norm.tables.inverse()[0] == 0.5);
  CHECK(norm.tables.pivot_error()[0] == 0);
  CHECK(norm.tables.k(1)[0] == 1);  // gamma r
  CHECK(norm.parameters.gamma[0] == 2);
  exact.options.scale = false;
  CHECK(exact.norm().parameters.gamma == nullptr);
}

TEST_CASE("a table that is not there has one number for all") {
  const float numbers[] = {4, 5};
  double read = 0;
  detail::load_or<double, 1, float>(read, nullptr, {1}, 7);
  CHECK(read == 7);
  detail::load_or<double, 1>(read, numbers, {1}, 7);
  CHECK(read == 5);
}

TEST_CASE("sums lose what the rounding of the pivot has put there") {
  const ExactLayer exact;
  auto norm = exact.norm();
  norm.tables.pivot_error()[0] = 0.5;
  detail::ProductReduction<double> reduction(norm, 5, nullptr);
  reduction.sums << 4, 10, 6, 20, 7;
  CHECK(reduction.finish_many(0, 1) == 1);
  CHECK(reduction.sums(0, 1) == 8);
  CHECK(reduction.sums(0, 3) == 17);
  CHECK(reduction.sums(0, 4) == 7);
}

TEST_CASE("sums of float that are not finite are made again in double") {
  Options options;
  State<float> state(1);
  const Eigen::RowVectorXf x = Eigen::RowVectorXf::LinSpaced(4, 0, 3);
  const auto batch = moments_of(x);
  detail::LinearizedNorm<float> norm(options, state, detail::statistics_of(batch),
                                     detail::MinibatchDivisor<double>(batch), {});
  detail::ProductReduction<float> reduction(norm, 5, nullptr);
  reduction.sums.setOnes();
  reduction.sums(0, 4) = std::numeric_limits<double>::infinity();
  CHECK(reduction.finish_many(0, 1) == 0);
  CHECK(reduction.finish(0, 0, false) == detail::Outcome::retry_in_accumulator);
  CHECK(reduction.finish(0, 1, true) == detail::Outcome::done);
}
