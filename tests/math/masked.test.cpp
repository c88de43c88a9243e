// SPDX-License-Identifier: MIT
#include "batchnorm/math/masked.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>

#include "batchnorm/layer.hpp"
#include "batchnorm/math/moments_bytes.hpp"
#include "batchnorm/recalibrate/reestimate.hpp"
#include "support/catch.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

using Mask = Eigen::Array<bool, Eigen::Dynamic, 1>;
using MaskMatrix = Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic>;

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

Mask mask_of(std::initializer_list<int> entries) {
  Mask mask(static_cast<Index>(entries.size()));
  Index i = 0;
  for (const int entry : entries) mask[i++] = entry != 0;
  return mask;
}

/// Two channels: 1, 2, 4, 8, 16 and their negatives.
Eigen::MatrixXd powers() {
  Eigen::MatrixXd x(2, 5);
  x << 1, 2, 4, 8, 16, -1, -2, -4, -8, -16;
  return x;
}

Options sample_options() {
  Options options;
  options.running = RunningUpdate::keep_old(0.0);
  options.running_variance = VarianceEstimator::sample;
  return options;
}

}  // namespace

TEST_CASE("a mask says which examples count") {
  Eigen::MatrixXd x = powers();
  x.col(1).setConstant(not_a_number);
  x.col(3).setConstant(infinity);
  const Mask mask = mask_of({1, 0, 1, 0, 1});
  const auto moments = moments_of(masked(x, mask));  // of 1, 4 and 16
  CHECK(moments.count == 3);
  CHECK(moments.weight() == 3);
  CHECK(moments.squared_weight() == 3);
  CHECK(moments.mean == Eigen::Vector2d(7, -7));
  CHECK(moments.sum_of_squares == Eigen::Vector2d(126, 126));

  BatchNorm<double> layer(2, sample_options());
  Eigen::MatrixXd y(2, 5);
  const auto batch = layer.train(masked(x, mask), y);
  CHECK(batch.mean == moments.mean);
  CHECK(layer.state().running_mean == Eigen::Vector2d(7, -7));
  CHECK(layer.state().running_variance == Eigen::Vector2d(63, 63));
  CHECK(layer.state().samples_seen == 3);
  CHECK(y.col(0).allFinite());
  CHECK(std::isnan(y(0, 1)));
  CHECK(y(0, 0) == Approx(-6 / std::sqrt(42 + 1e-5)).epsilon(1e-14));
}

TEST_CASE("NaN under a mask changes nothing, forward or backward") {
  const Mask mask = mask_of({1, 0, 1, 1, 0});
  Eigen::MatrixXd dy(2, 5);
  dy << 1, 0.5, -2, 3, 0, 2, -1, 1, 0.25, 7;
  for (const MaskedOutput output :
       {MaskedOutput::normalize, MaskedOutput::zero, MaskedOutput::keep}) {
    // Without a gradient under the mask, NaN there is not looked at; with one it is left out.
    for (const bool gradient : {false, true}) {
      Eigen::MatrixXd x = powers(), dirty = x, clean_dy = dy, dirty_dy = dy;
      dirty.col(1).setConstant(not_a_number);
      dirty(1, 4) = infinity;
      clean_dy.col(1).setZero();
      clean_dy(1, 4) = 0;
      dirty_dy.col(1).setConstant(gradient ? 1.0 : 0.0);
      if (!gradient) dirty_dy(1, 4) = 0;
      const BatchNorm<double> layer(2);
      Eigen::MatrixXd y(2, 5), y_clean(2, 5), dx(2, 5), dx_clean(2, 5);
      const auto batch = layer.normalize(masked(dirty, mask, output), y);
      const auto clean = layer.normalize(masked(x, mask, output), y_clean);
      CHECK(batch.mean == clean.mean);
      CHECK(batch.sum_of_squares == clean.sum_of_squares);
      const auto gradients = layer.backward(batch, masked(dirty, mask, output), dirty_dy, dx);
      const auto expected = layer.backward(clean, masked(x, mask, output), clean_dy, dx_clean);
      CHECK(gradients.gamma == expected.gamma);
      CHECK(gradients.beta == expected.beta);
      for (const Index i : {0, 2, 3}) {
        CHECK(y.col(i) == y_clean.col(i));
        CHECK(dx.col(i) == dx_clean.col(i));
      }
      CHECK(y(0, 4) == y_clean(0, 4));
      CHECK(dx.allFinite());
    }
  }
}

TEST_CASE("a gradient under the mask that is not finite stays where it is") {
  const Mask mask = mask_of({1, 0, 1, 1, 1});
  const Eigen::MatrixXd x = powers();
  Eigen::MatrixXd dy = Eigen::MatrixXd::Ones(2, 5), clean = dy, y(2, 5), dx(2, 5), expected(2, 5);
  dy(0, 1) = not_a_number;
  clean(0, 1) = 0;
  const BatchNorm<double> layer(2);
  const auto batch = layer.normalize(masked(x, mask), y);
  const auto gradients = layer.backward(batch, masked(x, mask), dy, dx);
  const auto without = layer.backward(batch, masked(x, mask), clean, expected);
  // A channel without one is summed as ever; the others one by one, in another order.
  CHECK(gradients.gamma[1] == without.gamma[1]);
  CHECK(gradients.beta[1] == without.beta[1]);
  CHECK(gradients.gamma[0] == Approx(without.gamma[0]).margin(1e-15));
  CHECK(gradients.beta[0] == Approx(without.beta[0]).margin(1e-15));
  CHECK(std::isnan(dx(0, 1)));
  CHECK(dx(1, 1) == expected(1, 1));
  for (const Index i : {0, 2, 3, 4}) CHECK(dx.col(i) == expected.col(i));
}

TEST_CASE("what is masked is normalised, zero, or kept; in place, too") {
  const Mask mask = mask_of({1, 0, 1, 0, 1});
  const Eigen::MatrixXd x = powers();
  const BatchNorm<double> layer(2);
  Eigen::MatrixXd normalized(2, 5), zero(2, 5), kept(2, 5);
  const auto batch = layer.normalize(masked(x, mask), normalized);
  layer.normalize(masked(x, mask, MaskedOutput::zero), zero);
  layer.normalize(masked(x, mask, MaskedOutput::keep), kept);
  for (Index i = 0; i < 5; ++i) {
    if (mask[i]) {
      CHECK(zero.col(i) == normalized.col(i));
      CHECK(kept.col(i) == normalized.col(i));
    } else {
      CHECK(normalized(0, i) == Approx((x(0, i) - 7) / std::sqrt(42 + 1e-5)).epsilon(1e-14));
      CHECK(zero.col(i) == Eigen::Vector2d::Zero());
      CHECK(kept.col(i) == x.col(i));
    }
  }
  for (const auto& [output, expected] : {std::make_pair(MaskedOutput::normalize, normalized),
                                         {MaskedOutput::zero, zero},
                                         {MaskedOutput::keep, kept}}) {
    Eigen::MatrixXd in_place = x;
    layer.normalize(masked(in_place, mask, output), in_place);
    CHECK(in_place == expected);

    Eigen::MatrixXd dy(2, 5), dx(2, 5);
    dy << 1, 0.5, -2, 3, 1, 2, -1, 1, 0.25, 7;
    layer.backward(batch, masked(x, mask, output), dy, dx);
    if (output == MaskedOutput::zero) CHECK(dx.col(1) == Eigen::Vector2d::Zero());
    if (output == MaskedOutput::keep) CHECK(dx.col(1) == dy.col(1));
    Eigen::MatrixXd over_dy = dy, over_x = x;
    layer.backward(batch, masked(x, mask, output), over_dy, over_dy);
    CHECK(over_dy == dx);
    layer.backward(batch, masked(over_x, mask, output), dy, over_x);
    CHECK(over_x == dx);
    // The residual's gradient may lie where dy lay.
    Eigen::MatrixXd r = Eigen::MatrixXd::Ones(2, 5), dr(2, 5), dx_r(2, 5), dr_over = dy;
    layer.backward(batch, masked(with_residual(x, r), mask, output), dy, with_residual(dx_r, dr));
    CHECK(dx_r == dx);
    layer.backward(batch, masked(with_residual(x, r), mask, output), dr_over,
                   with_residual(dx_r, dr_over));
    CHECK(dr_over == dr);
    CHECK(dx_r == dx);
    CHECK(dr.col(0) == dy.col(0));
    if (output == MaskedOutput::normalize) CHECK(dr == dy);
    if (output != MaskedOutput::normalize) CHECK(dr.col(1) == Eigen::Vector2d::Zero());
  }
}

TEST_CASE("a wholly masked minibatch updates nothing, and the moments say so") {
  const Mask none = mask_of({0, 0, 0, 0, 0});
  Eigen::MatrixXd x = powers();
  x(0, 0) = not_a_number;
  BatchNorm<double> layer(2);
  const State<double> before = layer.state();
  Eigen::MatrixXd y(2, 5), dx(2, 5);
  const Eigen::MatrixXd dy = Eigen::MatrixXd::Ones(2, 5);
  for (const bool keep : {false, true}) {
    const MaskedOutput output = keep ? MaskedOutput::keep : MaskedOutput::normalize;
    const auto batch = layer.train(masked(x, none, output), y);
    CHECK(batch.count == 0);
    CHECK(batch.weight() == 0);
    CHECK(batch.mean == Eigen::Vector2d::Zero());
    CHECK(layer.state().batches_seen == before.batches_seen);
    CHECK(layer.state().running_mean == before.running_mean);
    CHECK(layer.state().running_variance == before.running_variance);
    CHECK(y(1, 1) == (keep ? -2.0 : 0.0));
    const auto gradients = layer.backward(batch, masked(x, none, output), dy, dx);
    CHECK(dx == (keep ? dy : Eigen::MatrixXd::Zero(2, 5)));
    CHECK(gradients.gamma == Eigen::Vector2d::Zero());
    CHECK(gradients.beta == Eigen::Vector2d::Zero());
    const auto sums = layer.backward_sums(batch, masked(x, none, output), dy);
    CHECK(sums.count == 0);
    layer.backward(batch, sums, masked(x, none, output), dy, dx);
    CHECK(dx == (keep ? dy : Eigen::MatrixXd::Zero(2, 5)));
    layer.commit(batch);
    CHECK(layer.state().batches_seen == before.batches_seen);
  }
  const Eigen::VectorXd nothing = Eigen::VectorXd::Zero(5);
  CHECK(moments_of(weighted(x, nothing, Weights::frequency)).count == 0);
}

TEST_CASE("one value that counts is one value per channel") {
  const Mask one = mask_of({0, 1, 0, 0, 0});
  const Eigen::MatrixXd x = powers();
  BatchNorm<double> layer(2);
  Eigen::MatrixXd y(2, 5);
  CHECK_THROWS_MATCHES(layer.train(masked(x, one), y), std::invalid_argument,
                       says("at least 2 values per channel"));
}

TEST_CASE("weights decide mean and variance, and their kind the sample variance") {
  const Eigen::MatrixXd x = powers();
  Eigen::VectorXd w(5);
  w << 2, 0, 1, 0, 0.5;  // of 1, 4 and 16: W = 3.5, sum w^2 = 5.25, mean 4
  for (const Weights kind : {Weights::frequency, Weights::reliability, Weights::importance}) {
    const auto moments = moments_of(weighted(x, w, kind));
    CHECK(moments.count == 3);
    CHECK(moments.weight() == 3.5);
    CHECK(moments.squared_weight() == 5.25);
    CHECK(moments.weights() == kind);
    CHECK(moments.mean == Eigen::Vector2d(4, -4));
    CHECK(moments.sum_of_squares == Eigen::Vector2d(90, 90));  // 2 * 9 + 0 + 0.5 * 144
    const double divisor = kind == Weights::frequency     ? 2.5
                           : kind == Weights::reliability ? 2.0  // 3.5 - 5.25 / 3.5
                                                          : 3.5;
    CHECK(moments.sample_variance()[0] == 90 / divisor);
    CHECK(moments.population_variance()[0] == 90 / 3.5);
    BatchNorm<double> layer(2, sample_options());
    Eigen::MatrixXd y(2, 5);
    layer.train(weighted(x, w, kind), y);
    CHECK(layer.state().running_variance[0] == Approx(90 / divisor).epsilon(1e-15));

    // They travel with their kind.
    const auto again = moments_from_bytes(to_bytes(moments));
    CHECK(again.weights() == kind);
    CHECK(again.sample_variance() == moments.sample_variance());
    auto both = moments;
    both.merge(moments);
    CHECK(both.weights() == kind);
    CHECK(both.divisor(0) == 7);
  }
  auto frequencies = moments_of(weighted(x, w, Weights::frequency));
  CHECK_THROWS_MATCHES(frequencies.merge(moments_of(weighted(x, w, Weights::importance))),
                       std::invalid_argument, says("what the weights of both say"));
}

TEST_CASE("weights beside a residual: both gradients are those of the formula") {
  Eigen::RowVectorXd x(5), r(5), w(5), dy(5), dx(5), dr(5);
  x << 1, 4, -2, 7, 3;
  r << 2, -1, 0.5, 3, -4;
  w << 1, 0.5, 2, 0.25, 0;
  dy << 1, -2, 0.5, 3, -1;
  BatchNorm<double> layer(1);
  layer.state().gamma[0] = 1.5;
  Eigen::RowVectorXd y(5);
  const auto batch = layer.normalize(weighted(with_residual(x, r), w, Weights::importance), y);
  layer.backward(batch, weighted(with_residual(x, r), w, Weights::importance), dy,
                 with_residual(dx, dr));
  const double total = w.sum();
  const double mean = x.dot(w) / total;
  const double root =
      std::sqrt(((x.array() - mean).square() * w.array()).sum() / total + layer.options().epsilon);
  const Eigen::ArrayXd h = (x.array() - mean).transpose() / root;
  const double sum = dy.sum(), product = (dy.transpose().array() * h).sum();
  for (Index i = 0; i < 5; ++i) {
    const double share = w[i] / total;
    CHECK(dx[i] ==
          Approx(1.5 / root * (dy[i] - share * sum - share * h[i] * product)).epsilon(1e-12));
    CHECK(dr[i] == dy[i]);
  }
}

TEST_CASE("weights that are all 1 give the bits of none") {
  const Eigen::MatrixXd x = powers();
  const Eigen::VectorXd ones = Eigen::VectorXd::Ones(5);
  for (const Weights kind : {Weights::frequency, Weights::reliability, Weights::importance}) {
    const auto plain = moments_of(x), weighed = moments_of(weighted(x, ones, kind));
    CHECK(weighed.mean == plain.mean);
    CHECK(weighed.sum_of_squares == plain.sum_of_squares);
    CHECK(weighed.sample_variance() == plain.sample_variance());
  }
  // With some of them 0 they are a mask.
  Eigen::VectorXf some = Eigen::VectorXf::Ones(5);
  some[2] = 0;
  const auto weighed = moments_of(weighted(x, some, Weights::importance));
  const auto without = moments_of(masked(x, mask_of({1, 1, 0, 1, 1})));
  CHECK(weighed.mean == without.mean);
  CHECK(weighed.sum_of_squares == without.sum_of_squares);
}

TEST_CASE("whole frequencies are examples that are there so often") {
  const Eigen::MatrixXd x = powers();
  Eigen::Vector<int, 5> w;
  w << 3, 1, 0, 2, 1;
  Eigen::MatrixXd repeated(2, 7), y(2, 5), y_repeated(2, 7);
  repeated << x.col(0), x.col(0), x.col(0), x.col(1), x.col(3), x.col(3), x.col(4);
  Options options = sample_options();
  options.running = RunningUpdate::population();
  BatchNorm<double> layer(2, options), other(2, options);
  for (int step = 0; step < 2; ++step) {
    const auto batch = layer.train(weighted(x, w.cast<double>().eval(), Weights::frequency), y);
    const auto expected = other.train(repeated, y_repeated);
    CHECK(batch.weight() == 7);
    CHECK((batch.mean - expected.mean).norm() < 1e-14);
    CHECK((batch.sample_variance() - expected.sample_variance()).norm() < 1e-13);
    CHECK((y.col(0) - y_repeated.col(0)).norm() < 1e-14);
    CHECK(layer.state().samples_seen == other.state().samples_seen);
    CHECK((layer.state().running_variance - other.state().running_variance).norm() < 1e-13);
  }
  // Parts of an example have no number.
  CHECK_THROWS_MATCHES(
      layer.train(weighted(x, Eigen::VectorXd::Constant(5, 0.75), Weights::frequency), y),
      std::domain_error, says("sum is a whole number"));
}

TEST_CASE("a mask may be a vector, a matrix, an expression or a view") {
  std::vector<float> memory(2 * 3 * 4);
  for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<float>(i * i % 17);
  const auto x = channels_first(memory.data(), 2, 3, 4);
  MaskMatrix mask(2, 4);
  mask << 1, 1, 0, 1, 1, 0, 0, 1;
  const auto expected = moments_of(masked(x, mask));
  CHECK(expected.count == 5);
  const auto same = [&](const Moments<double>& moments) {
    return moments.count == 5 && moments.mean == expected.mean &&
           moments.sum_of_squares == expected.sum_of_squares;
  };
  const Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> by_rows = mask;
  CHECK(same(moments_of(masked(x, by_rows))));
  CHECK(same(moments_of(masked(x, by_rows.matrix()))));
  MaskMatrix larger = MaskMatrix::Constant(5, 9, true);
  larger.block(2, 3, 2, 4) = mask;
  CHECK(same(moments_of(masked(x, larger.block(2, 3, 2, 4)))));
  Eigen::ArrayXXi lengths = mask.cast<int>();
  CHECK(same(moments_of(masked(x, lengths > 0))));
  CHECK(same(moments_of(masked(x, BatchView<const bool>(by_rows.data(), 2, 1, 4, 4, 4, 1)))));
  CHECK(same(moments_of(weighted(x, mask.cast<float>(), Weights::frequency))));
  const MaskMatrix backwards = mask.rowwise().reverse();
  CHECK(same(moments_of(masked(x, BatchView<const bool>(&backwards(0, 3), 2, 1, 4, 1, 1, -2)))));
  // One sample: a vector of its positions.
  const auto one = channels_first(memory.data(), 1, 3, 4);
  CHECK(moments_of(masked(one, mask_of({1, 0, 0, 1}))).count == 2);
  CHECK(moments_of(masked(one, mask_of({1, 0, 0, 1}).transpose())).count == 2);
}

TEST_CASE("masks of another shape and weights that are none are refused, and change nothing") {
  const Eigen::MatrixXd x = powers();
  BatchNorm<double> layer(2);
  Eigen::MatrixXd y = Eigen::MatrixXd::Constant(2, 5, 77);
  CHECK_THROWS_MATCHES(layer.train(masked(x, mask_of({1, 1})), y), std::invalid_argument,
                       says("BatchNorm::train: shape of a mask or of weights must be that of the "
                            "input: expected 5 samples x 1 positions, got a vector of 2"));
  const MaskMatrix turned = MaskMatrix::Constant(1, 5, true);
  CHECK_THROWS_MATCHES(moments_of(masked(x, turned)), std::invalid_argument,
                       says("got 1 samples x 5 positions"));
  std::vector<double> memory(12, 1.0);
  CHECK_THROWS_MATCHES(moments_of(masked(channels_first(memory.data(), 2, 3, 2), mask_of({1, 1}))),
                       std::invalid_argument, says("give a matrix of samples x positions"));
  const bool bits[4] = {};
  CHECK_THROWS_MATCHES(masked(x, BatchView<const bool>(bits, 2, 2, 1, 2, 1, 1)),
                       std::invalid_argument, says("channels of a view that is a mask"));
  Eigen::VectorXd w = Eigen::VectorXd::Ones(5);
  for (const double wrong : {not_a_number, infinity, -infinity, -1.0}) {
    w[3] = wrong;
    CHECK_THROWS_MATCHES(layer.train(weighted(x, w, Weights::frequency), y), std::domain_error,
                         says("weight of sample 3, position 0: expected zero or more, and finite"));
  }
  w[3] = 1e200;
  CHECK_THROWS_MATCHES(layer.train(weighted(x, w, Weights::frequency), y), std::domain_error,
                       says("the squares of weights are summed"));
  // W - 1 <= 0, where a running variance is divided by it.
  w.setConstant(0.125);
  CHECK_THROWS_MATCHES(layer.train(weighted(x, w, Weights::frequency), y), std::domain_error,
                       says("the sum W of the weights less 1"));
  CHECK_THROWS_MATCHES(moments_of(weighted(x, w, Weights::frequency)).sample_variance(),
                       std::domain_error, says("expected a number larger than 0, got -0.375"));
  CHECK(y == Eigen::MatrixXd::Constant(2, 5, 77));
  CHECK(layer.state().batches_seen == 0);
  CHECK_NOTHROW(layer.normalize(weighted(x, w, Weights::frequency), y));
  CHECK_NOTHROW(layer.train(weighted(x, w, Weights::reliability), y));
  const Mask mask = mask_of({1, 1, 1, 1, 0});
  const auto batch = layer.normalize(masked(x, mask), y);
  Eigen::MatrixXd dx(2, 5);
  CHECK_THROWS_MATCHES(layer.backward(batch, masked(x, mask), masked(y, mask), dx),
                       std::invalid_argument, says("said at the input"));
  CHECK_THROWS_MATCHES(layer.backward(batch, x, y, dx), std::invalid_argument,
                       says("expected moments of 5 values per channel, got moments of 4"));
}

TEST_CASE("running statistics: a mask decides what becomes of outputs, and weights nothing") {
  const Eigen::MatrixXd x = powers();
  BatchNorm<double> layer(2);
  layer.train(x);
  const Eigen::MatrixXd expected = layer.infer(x);
  const Mask mask = mask_of({1, 0, 1, 1, 1});
  Eigen::MatrixXd y(2, 5), frozen(2, 5);
  layer.infer(masked(x, mask), y);
  CHECK(y == expected);
  layer.infer(masked(x, mask, MaskedOutput::zero), y);
  layer.freeze()(masked(x, mask, MaskedOutput::zero), frozen);
  CHECK(frozen == y);
  CHECK(y.col(1) == Eigen::Vector2d::Zero());
  CHECK(y.col(2) == expected.col(2));
  const Eigen::MatrixXd dy = Eigen::MatrixXd::Ones(2, 5);
  Eigen::MatrixXd dx(2, 5);
  const auto gradients = layer.backward_frozen(masked(x, mask, MaskedOutput::zero), dy, dx);
  CHECK(gradients.beta == Eigen::Vector2d(4, 4));
  CHECK(dx.col(1) == Eigen::Vector2d::Zero());
}

TEST_CASE("calls that return their output take masks and weights") {
  const Eigen::MatrixXd x = powers(), dy = Eigen::MatrixXd::Ones(2, 5);
  const Mask mask = mask_of({1, 0, 1, 1, 1});
  BatchNorm<double> layer(2);
  const auto [y, batch] = layer.train(masked(x, mask));
  CHECK(batch.count == 4);
  CHECK(y.cols() == 5);
  const auto result = layer.backward(batch, masked(x, mask), dy);
  CHECK(result.in_gradient.cols() == 5);
  CHECK(layer.infer(masked(x, mask)).cols() == 5);
  CHECK(layer.freeze()(masked(x, mask)).cols() == 5);
}

TEST_CASE("backward from the output leaves out what a mask leaves out") {
  const Eigen::MatrixXd x = powers();
  Eigen::MatrixXd dy(2, 5), y(2, 5), dx(2, 5), expected(2, 5);
  dy << 1, 0.5, -2, 3, 1, 2, -1, 1, 0.25, 7;
  const Mask mask = mask_of({1, 0, 1, 1, 1});
  const BatchNorm<double> layer(2);
  for (const MaskedOutput output :
       {MaskedOutput::normalize, MaskedOutput::zero, MaskedOutput::keep}) {
    const auto batch = layer.normalize(masked(x, mask, output), y);
    layer.backward(batch, masked(x, mask, output), dy, expected);
    layer.backward_from_output(batch, masked(y, mask, output), dy, dx);
    CHECK((dx - expected).norm() < 1e-13);
  }
}

TEST_CASE("statistics of a training set are taken with masks and weights") {
  Eigen::MatrixXd x(1, 8);
  x << 1, 100, 3, 5, 100, 7, 9, 100;
  const Mask mask = x.row(0).transpose().array() < 50;
  BatchNorm<double> layer(1, sample_options());
  const auto report =
      reestimate<double>({&layer}, {8, 4}, [&](Index first, Index count, auto& pass) {
        Eigen::MatrixXd y(1, count);
        pass(layer, masked(x.middleCols(first, count), mask.segment(first, count)), y);
      });
  CHECK(report.completed);
  CHECK(layer.state().running_mean[0] == 5);
  CHECK(layer.state().running_variance[0] == 10);  // of 1, 3, 5, 7, 9
  CHECK(layer.state().samples_seen == 5);
  const Eigen::VectorXd w = mask.cast<double>() * 0.5;
  reestimate<double>({&layer}, {8, 4}, [&](Index first, Index count, auto& pass) {
    pass.see(layer,
             weighted(x.middleCols(first, count), w.segment(first, count), Weights::reliability));
  });
  CHECK(layer.state().running_mean[0] == 5);
  CHECK(layer.state().running_variance[0] == Approx(10).epsilon(1e-15));
}
