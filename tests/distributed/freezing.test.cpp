// SPDX-License-Identifier: MIT
// Running statistics that follow the minibatch of several ranks, while they normalise it.
#include "batchnorm/recalibrate/freezing.hpp"

#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "batchnorm/distributed/synchronize.hpp"
#include "support/catch.hpp"
#include "support/rank_threads.hpp"

using batchnorm::BatchNorm;
using batchnorm::Synchronize;
using Eigen::RowVectorXd;
using namespace batchnorm_test;

namespace {

/// 1 3 on rank 0, 5 7 on rank 1: mean 4, sample variance 20 / 3.
RowVectorXd part_of(int rank) {
  return rank == 0 ? RowVectorXd{{1, 3}} : RowVectorXd{{5, 7}};
}

}  // namespace

TEST_CASE("running statistics follow the minibatch of all ranks") {
  batchnorm::Options options;
  options.running = batchnorm::RunningUpdate::take_new(0.5);
  options.epsilon = 0;
  std::vector<batchnorm::State<double>> states(2, batchnorm::State<double>(1));
  std::vector<RowVectorXd> y(2, RowVectorXd(2));
  const auto errors = run_together(2, {}, [&](int rank, Synchronize& together) {
    const auto own = static_cast<std::size_t>(rank);
    BatchNorm<double> layer(1, options);
    layer.state().batches_seen = 1;
    batchnorm::forward(layer, part_of(rank), y[own], batchnorm::NormalizeWith::running,
                       batchnorm::Running::update, together);
    states[own] = layer.state();
  });
  CHECK(errors == std::vector<std::string>(2));
  for (int rank = 0; rank < 2; ++rank) {
    const auto own = static_cast<std::size_t>(rank);
    CHECK(states[own].running_mean[0] == 2);
    CHECK(states[own].running_variance[0] == Approx(0.5 + 10.0 / 3));
    CHECK(states[own].samples_seen == 4);
    CHECK(y[own] == part_of(rank));  // mean 0 and variance 1 before the step
  }
}

TEST_CASE("ranks compare what they look at, and refuse it together") {
  struct Rank {
    batchnorm::Options options = {};
    RowVectorXd x = RowVectorXd::Ones(2);
    bool trains = false;
  };
  const auto error_of = [](const Rank& last) {
    const auto errors = run_together(2, {}, [&](int number, Synchronize& together) {
      const Rank rank = number == 1 ? last : Rank();
      BatchNorm<double> layer(1, rank.options);
      layer.state().batches_seen = 1;
      RowVectorXd y(2);
      if (rank.trains) {
        layer.train(rank.x, y, together);
      } else {
        batchnorm::forward(layer, rank.x, y, batchnorm::NormalizeWith::running,
                           batchnorm::Running::update, together);
      }
    });
    CHECK(errors[0] == errors[1]);
    return errors[0];
  };
  Rank options, kind, data;
  options.options.epsilon = 0.5;
  CHECK_THAT(error_of(options), contains_text("with other options of layer"));
  kind.trains = true;
  CHECK_THAT(error_of(kind), contains_text("that of rank 0: the moments of an input,") &&
                                 contains_text("from rank 1: train,"));
  data.x[1] = std::numeric_limits<double>::infinity();
  CHECK_THAT(error_of(data), contains_text("a refusal by rank 1: NaN, infinity or overflow"));
}

TEST_CASE("an output that one rank refuses moves the statistics of none") {
  const auto errors = run_together(2, {}, [&](int rank, Synchronize& together) {
    BatchNorm<double> layer(1);
    layer.state().batches_seen = 1;
    RowVectorXd y = RowVectorXd::Zero(rank == 1 ? 3 : 2);
    try {
      batchnorm::forward(layer, part_of(rank), y, batchnorm::NormalizeWith::running,
                         batchnorm::Running::update, together);
    } catch (const std::invalid_argument&) {
      if (layer.state().batches_seen == 1 && layer.state().running_mean[0] == 0) throw;
    }
  });
  CHECK(errors[0] == errors[1]);
  CHECK_THAT(errors[0], contains_text("a refusal by rank 1: forward: "));
}
