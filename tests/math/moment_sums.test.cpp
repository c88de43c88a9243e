// SPDX-License-Identifier: MIT
#include "batchnorm/math/moment_sums.hpp"

#include <Eigen/Core>
#include <limits>
#include <type_traits>

#include "support/catch.hpp"

using namespace batchnorm;

TEST_CASE("moments are summed about a pivot, and shifted from it") {
  const detail::FormulaOptions<double> options{1.0, 1.0};
  const double pivot = 2.0;
  double sums[2] = {0, 0};
  for (const double x : {1.0, 4.0, 7.0}) {
    detail::MomentSums::add<true>(sums, &x, &pivot, options);
  }
  CHECK(sums[0] == 6.0);   // -1 + 2 + 5
  CHECK(sums[1] == 30.0);  // 1 + 4 + 25
  double offset = 0, lost = 0;
  detail::MomentAlgebra<double>{3.0, false}.about_pivot(offset, lost, sums[0]);
  CHECK(pivot + offset == 4.0);
  CHECK(sums[1] - lost == 18.0);
}

namespace {

/// What becomes of the sums S1 and S2 of 4 values about a pivot.
template <class T>
struct Finished {
  double mean, squares;
  batchnorm::parameter_t<T> pivot;
  batchnorm::detail::Outcome outcome;

  Finished(double pivot_before, double sum, double square_sum, int tried, bool in_accumulator)
      : mean(sum),
        squares(square_sum),
        pivot(static_cast<batchnorm::parameter_t<T>>(pivot_before)),
        outcome(batchnorm::detail::MomentsReduction<T>(4, &mean, &squares, &pivot)
                    .finish(0, tried, in_accumulator)) {}
};

}  // namespace

TEMPLATE_TEST_CASE("sums about a good pivot are finished, those about a bad one made again",
                   "[moments]", float, double) {
  using Done = Finished<TestType>;
  using batchnorm::detail::Outcome;
  const bool narrow = std::is_same<TestType, float>::value;
  for (const int tried : {0, 1, 2, 3}) {
    INFO(tried);
    for (const bool in_accumulator : {false, true}) {
      const Done good(2.5, 0, 5, tried, in_accumulator);  // 1, 2, 3 and 4 about their mean
      CHECK(good.outcome == Outcome::done);
      CHECK(good.mean == 2.5);
      CHECK(good.squares == 5.0);
      const Done nearly(2.0, 2, 6, tried, in_accumulator);
      CHECK(nearly.outcome == Outcome::done);
      CHECK(nearly.mean == 2.5);
      CHECK(nearly.squares == 5.0);
    }
    const Done bad(1.0, 6, 14, tried, false);  // 9 of 14 would be lost
    if (tried < 3) {
      CHECK(bad.outcome == Outcome::retry);
      CHECK(bad.pivot == TestType(2.5));
    } else {
      CHECK(bad.outcome == Outcome::done);
      CHECK(bad.mean == 2.5);
      CHECK(bad.squares == 5.0);
    }
    // In double nothing of floats is lost by that, but by a pivot 10000 deviations away.
    const Done wide(1.0, 6, 14, tried, true);
    CHECK((wide.outcome == Outcome::done) == (narrow || tried == 3));
    const Done far(0.0, 4e4, 4e8 + 4, tried, true);
    if (tried < 3) {
      CHECK(far.outcome == (narrow ? Outcome::retry_in_accumulator : Outcome::retry));
      CHECK(far.pivot == TestType(1e4));
    } else {
      CHECK(far.outcome == Outcome::done);
      CHECK(far.mean == 1e4);
      CHECK(far.squares == 4.0);
    }
  }
  const Done negative(1.0, 6, 8.5, 3, true);  // less than nothing is left by rounding alone
  CHECK(negative.squares == 0.5);
}

TEST_CASE("sums beyond float are made again in double, those beyond double are final",
          "[moments]") {
  using Done = Finished<float>;
  using batchnorm::detail::Outcome;
  const double infinity = std::numeric_limits<double>::infinity();
  const double largest = std::numeric_limits<double>::max();
  CHECK(Done(0, infinity, 1, 0, false).outcome == Outcome::retry_in_accumulator);
  CHECK(Done(0, 1, infinity, 0, false).outcome == Outcome::retry_in_accumulator);
  CHECK(Done(0, infinity, infinity, 0, true).outcome == Outcome::done);
  CHECK(Done(0, largest, infinity, 0, true).outcome == Outcome::done);
  // A mean that is no float cannot be a pivot.
  const Done large(0, 4e39, 4e78, 0, true);
  CHECK(large.outcome == Outcome::done);
  CHECK(large.mean == 1e39);
  // Squares below 1e-30 each may have lost digits, or all of them, unless the values are a pivot.
  CHECK(Done(0, 0, 4 * 0.5e-30, 0, false).outcome == Outcome::retry_in_accumulator);
  CHECK(Done(0, 0, 4 * 2e-30, 0, false).outcome == Outcome::done);
  CHECK(Done(0, 0, 0, 0, false).outcome == Outcome::retry_in_accumulator);
  CHECK(Done(0, 0, 0, 0, true).outcome == Outcome::done);
  CHECK(Done(-1e-11, 0, 0, 0, false).outcome == Outcome::done);
  CHECK(Done(1e-11, 1e-20, 0, 0, false).outcome == Outcome::retry_in_accumulator);
}

TEST_CASE("channels are finished together as far as their pivots are good", "[moments]") {
  using batchnorm::detail::MomentsReduction;
  // Of each channel what 4 values leave behind about 1: S1, S2, and the results.
  const double sums[] = {2, -2, 0, 4, 2, 2, 2};
  const double squares[] = {8, 9, 5, 8, 4, 6, 7};
  for (const Index bad : {0, 1, 3, 4, 6, 7}) {
    INFO("channel " << bad << " of 7 loses more than half");
    double mean[7], square[7], pivots[7];
    for (Index c = 0; c < 7; ++c) {
      mean[c] = sums[c];
      square[c] = squares[c];
      pivots[c] = 1;
    }
    if (bad < 7) {
      mean[bad] = 4;
      square[bad] = 7.5;  // 4 * 4 / 4 of 7.5 would be lost
    }
    const Index reached = MomentsReduction<double>(4, mean, square, pivots).finish_many(0, 7);
    // Those before it in the same vector may be left to be finished one by one.
    CHECK(reached <= bad);
    CHECK(reached > bad - 8);
    CHECK((bad < 7 || reached == 7));
    for (Index c = 0; c < reached; ++c) {
      CHECK(mean[c] == 1 + sums[c] / 4);
      CHECK(square[c] == squares[c] - sums[c] * sums[c] / 4);
    }
    for (Index c = reached; c < 7; ++c) CHECK(mean[c] == (c == bad ? 4 : sums[c]));
  }
}

TEST_CASE("pivots are sampled from the values of their channels", "[moments]") {
  const Eigen::MatrixXd x{{10, 11, 12}, {-5, -4, -3}, {1e6, 1e6 + 1, 1e6 + 2}};
  const BatchView<const double> view(x.data(), 3, 3, 1, 3, 1, 1);
  detail::Operands<double> data;
  data.from[0] = view.data();
  data.inputs = 1;
  const detail::ViewShape shape(view);
  double mean[3], squares[3], pivots[] = {0, 0, 0};
  detail::MomentsReduction<double>(3, mean, squares, pivots)
      .prepare(detail::plan_of(data, nullptr, &shape), data, InstructionSet::baseline, 0, 3);
  for (Index c = 0; c < 3; ++c) {
    CHECK(pivots[c] >= x(c, 0));
    CHECK(pivots[c] <= x(c, 2));
  }
}
