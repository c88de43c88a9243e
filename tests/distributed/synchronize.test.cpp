// SPDX-License-Identifier: MIT
// What ranks do when something is wrong.
#include "batchnorm/distributed/synchronize.hpp"

#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "batchnorm/math/masked.hpp"
#include "batchnorm/variants/conditional.hpp"
#include "batchnorm/variants/ghost.hpp"
#include "batchnorm/variants/renormalize.hpp"
#include "support/catch.hpp"
#include "support/rank_threads.hpp"
#include "support/shards.hpp"

using batchnorm::BatchNorm;
using batchnorm::Execution;
using batchnorm::Index;
using batchnorm::NonFinite;
using batchnorm::Options;
using batchnorm::Synchronize;
using batchnorm::SynchronizeOptions;
using Eigen::MatrixXd;
using namespace batchnorm_test;

namespace {

constexpr int ranks = 3;
constexpr double nan_value = std::numeric_limits<double>::quiet_NaN();

/// Two channels, four examples.
MatrixXd examples(int rank) {
  MatrixXd x(2, 4);
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = static_cast<double>((i * 7 + rank) % 11);
  return x;
}

/// A rank with a layer that counts, to see what changes.
struct Rank {
  int number;
  Synchronize& together;
  BatchNorm<double> layer{2};
  MatrixXd x = examples(number);
  MatrixXd y = MatrixXd::Zero(2, 4);
};

/// Runs body(rank) on all of them.
template <class Body>
std::vector<std::string> try_ranks(const Body& body, const SynchronizeOptions& options = {}) {
  return run_together(ranks, options, [&](int number, Synchronize& together) {
    Rank rank{number, together};
    body(rank);
  });
}

bool is_untouched(const BatchNorm<double>& layer) {
  return layer.state().batches_seen == 0 && layer.state().running_mean == Eigen::Vector2d::Zero() &&
         layer.state().running_variance == Eigen::Vector2d::Ones();
}

/// All ranks fail with one message.
std::string the_error(const std::vector<std::string>& errors) {
  for (const std::string& error : errors) CHECK(error == errors[0]);
  return errors[0];
}

/// What body(rank) fails with on every rank, after which the layer is as before and the next call
/// works.
template <class Body>
std::string refusal_of(const Body& body, const SynchronizeOptions& options = {}) {
  std::vector<char> good(ranks, 0);
  const auto errors = try_ranks(
      [&](Rank& rank) {
        std::string error;
        try {
          body(rank);
        } catch (const std::exception& caught) {
          error = caught.what();
        }
        const bool untouched = is_untouched(rank.layer) && rank.y == MatrixXd::Zero(2, 4);
        rank.x = examples(rank.number);
        rank.layer.train(rank.x, rank.y, rank.together);
        good[static_cast<Size>(rank.number)] =
            untouched && rank.layer.state().samples_seen == 4 * ranks;
        if (!error.empty()) throw std::runtime_error(error);
      },
      options);
  CHECK(good == std::vector<char>(ranks, 1));
  return the_error(errors);
}

}  // namespace

TEST_CASE("NaN on one rank refuses the minibatch of all") {
  for (const Index block : {0, 1}) {
    SynchronizeOptions options;
    options.block = block;
    const std::string error = refusal_of(
        [](Rank& rank) {
          if (rank.number == 1) rank.x(1, 3) = nan_value;
          rank.layer.train(rank.x, rank.y, rank.together);
        },
        options);
    CHECK(error ==
          "BatchNorm::train: a minibatch is accepted by all ranks or by none: expected all 3 ranks "
          "to accept their parts, got a refusal by rank 1: NaN, infinity or overflow in channel 1");
  }
}

TEST_CASE("squares that overflow on one rank refuse the minibatch of all") {
  const std::string error = refusal_of([](Rank& rank) {
    if (rank.number == 2) rank.x(1, 0) = 1e200;
    rank.layer.train(rank.x, rank.y, rank.together);
  });
  CHECK_THAT(error, contains_text("by rank 2: NaN, infinity or overflow in channel 1"));
}

TEST_CASE("NaN that is let through goes to all ranks") {
  Options options;
  options.non_finite = NonFinite::skip_update;
  std::vector<Eigen::Vector2d> means(ranks);
  const auto errors = try_ranks([&](Rank& rank) {
    if (rank.number == 2) rank.x(0, 0) = nan_value;
    BatchNorm<double> layer(2, options);
    means[static_cast<Size>(rank.number)] = layer.train(rank.x, rank.y, rank.together).mean;
    if (!is_untouched(layer)) throw std::runtime_error("moved");
  });
  CHECK(the_error(errors) == "");
  for (const Eigen::Vector2d& mean : means) {
    CHECK(std::isnan(mean[0]));
    CHECK(mean[1] == means[0][1]);
  }
}

TEST_CASE("an argument that one rank refuses is refused by all, and the reason travels") {
  const std::string shape = refusal_of([](Rank& rank) {
    if (rank.number != 2) return void(rank.layer.train(rank.x, rank.y, rank.together));
    MatrixXd narrow(2, 3);
    rank.layer.train(rank.x, narrow, rank.together);
  });
  CHECK_THAT(shape,
             contains_text("BatchNorm::train: a minibatch is accepted by all ranks or by none"));
  CHECK_THAT(shape, contains_text("a refusal by rank 2: BatchNorm::train:"));

  const std::string state = refusal_of([](Rank& rank) {
    const double before = rank.layer.state().running_variance[0];
    if (rank.number == 0) rank.layer.state().running_variance[0] = -1.0;
    try {
      rank.layer.train(rank.x, rank.y, rank.together);
    } catch (...) {
      rank.layer.state().running_variance[0] = before;
      throw;
    }
  });
  CHECK_THAT(state, contains_text("rank 0: BatchNorm::train: running variance of channel 0"));
}

TEST_CASE("the kind of exception is the same on all ranks") {
  std::vector<int> kinds(ranks, 0);
  try_ranks([&](Rank& rank) {
    int& kind = kinds[static_cast<Size>(rank.number)];
    MatrixXd narrow(2, 3);
    try {
      rank.layer.train(rank.x, rank.number == 1 ? narrow : rank.y, rank.together);
    } catch (const std::invalid_argument&) {
      kind += 1;
    }
    if (rank.number == 2) rank.x(0, 0) = nan_value;
    try {
      rank.layer.train(rank.x, rank.y, rank.together);
    } catch (const std::domain_error&) {
      kind += 2;
    }
  });
  CHECK(kinds == std::vector<int>(ranks, 3));
}

TEST_CASE("an exception that has no message refuses the minibatch of all") {
  const std::string error = refusal_of([](Rank& rank) {
    const auto loop = [](Index, batchnorm::Task) { throw 7; };
    const Execution broken = Execution::parallel_for(loop, 2).with(rank.together);
    const MatrixXd x = MatrixXd::Random(2, 100000);  // too many for one thread
    MatrixXd y = x;
    rank.layer.train(x, y, rank.number == 1 ? broken : Execution(rank.together));
  });
  CHECK_THAT(error, contains_text("a refusal by rank 1: an exception that is no std::exception"));
}

TEST_CASE("a rank that cannot call refuses, and the others say why") {
  const auto errors = try_ranks([](Rank& rank) {
    std::string error;
    try {
      if (rank.number == 1) {
        rank.together.refuse("the file of this rank cannot be read");
      } else {
        rank.layer.train(rank.x, rank.y, rank.together);
      }
    } catch (const std::exception& caught) {
      error = caught.what();
    }
    rank.layer.train(rank.x, rank.y, rank.together);  // all have made as many calls
    if (!error.empty()) throw std::runtime_error(error);
  });
  CHECK(errors[1] == "");
  CHECK(errors[0] == errors[2]);
  CHECK_THAT(errors[0], contains_text("a refusal by rank 1: the file of this rank cannot be read"));
}

TEST_CASE("reasons of any length arrive, cut off") {
  const auto errors = try_ranks([](Rank& rank) {
    if (rank.number == 0) return rank.together.refuse(std::string(1000, 'a'));
    rank.layer.train(rank.x, rank.y, rank.together);
  });
  CHECK_THAT(errors[1], contains_text(std::string(255, 'a')));
  CHECK_THAT(errors[1], !contains_text(std::string(256, 'a')));
}

TEST_CASE("ranks that call different things find out") {
  const auto mismatch = [](auto other) {
    return refusal_of([&](Rank& rank) {
      if (rank.number == 1) {
        other(rank);
      } else {
        rank.layer.train(rank.x, rank.y, rank.together);
      }
    });
  };
  const std::string expected =
      "Synchronize: all ranks make the same calls in the same order: expected that of rank 0: "
      "train, call 1, of layer 0 with 2 channels of double, got from rank 1: ";
  CHECK(mismatch([](Rank& rank) { rank.layer.normalize(rank.x, rank.y, rank.together); }) ==
        expected + "normalize, call 1, of layer 0 with 2 channels of double");
  CHECK(mismatch([](Rank& rank) {
          BatchNorm<double> wider(3);
          MatrixXd x = MatrixXd::Random(3, 4);
          wider.train(x, x, rank.together);
        }) == expected + "train, call 1, of layer 0 with 3 channels of double");
  CHECK(mismatch([](Rank& rank) {
          BatchNorm<float> layer(2);
          Eigen::MatrixXf x = Eigen::MatrixXf::Random(2, 4);
          layer.train(x, x, rank.together);
        }) == expected + "train, call 1, of layer 0 with 2 channels of float");
  CHECK(mismatch([](Rank& rank) {
          rank.layer.train(rank.x, rank.y, Execution().with(rank.together, 7));
        }) == expected + "train, call 1, of layer 7 with 2 channels of double");
  CHECK(mismatch([](Rank& rank) {
          BatchNorm<double> layer(2, Options::keras());
          layer.train(rank.x, rank.y, rank.together);
          rank.y.setZero();
        }) == expected +
                  "train, call 1, of layer 0 with 2 channels of double, with other options of "
                  "layer or Synchronize");
  CHECK(mismatch([](Rank& rank) {
          BatchNorm<double> layer(2);
          layer.state().batches_seen = 5;
          layer.train(rank.x, rank.y, rank.together);
        }) == expected +
                  "train, call 1, of layer 0 with 2 channels of double, after 5 minibatches "
                  "and not 0");
}

TEST_CASE("ranks with other options of Synchronize find out") {
  for (int option = 0; option < 3; ++option) {
    Meeting meeting(2);
    const auto errors = run_ranks(2, [&](int number) {
      SynchronizeOptions options;
      if (number == 1 && option == 0) options.block = 4;
      if (number == 1 && option == 1) options.gather_at_most = 7;
      if (number == 1 && option == 2) {
        options.parameter_gradients = batchnorm::ParameterGradients::of_all_ranks;
      }
      ThreadExchange exchange(meeting, number);
      Synchronize together(exchange, number, 2, options);
      Rank rank{number, together};
      rank.layer.train(rank.x, rank.y, together);
    });
    CHECK_THAT(the_error(errors), contains_text("with other options of layer or Synchronize"));
  }
}

TEST_CASE("sums go over ranks from more numbers on than are gathered, and never with blocks") {
  for (const auto& [at_most, block, sums] :
       {std::tuple(Index(6), Index(0), 0), std::tuple(Index(5), Index(0), 2),
        std::tuple(Index(0), Index(2), 0)}) {
    CAPTURE(at_most, block);
    std::vector<int> seen(ranks, -1);
    Meeting meeting(ranks);
    const auto errors = run_ranks(ranks, [&, limit = at_most, size = block](int number) {
      SynchronizeOptions options;
      options.gather_at_most = limit;  // of 2 channels on 3 ranks
      options.block = size;
      SummingExchange exchange(meeting, number);
      Synchronize together(exchange, number, ranks, options);
      Rank rank{number, together};
      rank.layer.train(rank.x, rank.y, together);
      seen[static_cast<Size>(number)] = exchange.sums;
    });
    CHECK(the_error(errors) == "");
    CHECK(seen == std::vector<int>(ranks, sums));
  }
}

TEST_CASE("ranks that have made different numbers of calls find out") {
  Meeting meeting(2);
  const auto errors = run_ranks(2, [&](int number) {
    bool alone = false;  // as if the other rank did the same
    auto exchange = [&](const void* mine, std::size_t bytes, void* all) {
      if (!alone) return meeting.gather(number, mine, bytes, all, std::chrono::seconds(60));
      std::memcpy(all, mine, bytes);
      std::memcpy(static_cast<char*>(all) + bytes, mine, bytes);
    };
    Synchronize together(exchange, number, 2);
    Rank rank{number, together};
    alone = true;
    if (number == 1) rank.layer.normalize(rank.x, rank.y, together);
    alone = false;
    rank.layer.normalize(rank.x, rank.y, together);
  });
  CHECK_THAT(the_error(errors), contains_text("rank 0: normalize, call 1,") &&
                                    contains_text("rank 1: normalize, call 2,"));
}

TEST_CASE("backward with the moments of another minibatch is found out") {
  const auto errors = try_ranks([](Rank& rank) {
    const auto first = rank.layer.train(rank.x, rank.y, rank.together);
    const auto own = rank.layer.normalize(rank.x, rank.y);
    rank.layer.backward(rank.number == 2 ? own : first, rank.x, rank.x, rank.y, rank.together);
  });
  CHECK_THAT(the_error(errors), contains_text("with the moments of another minibatch"));
}

TEST_CASE("backward of a layer with other options is found out") {
  const auto errors = try_ranks([](Rank& rank) {
    const auto batch = rank.layer.train(rank.x, rank.y, rank.together);
    const BatchNorm<double> other(2, Options::keras());
    (rank.number == 1 ? other : rank.layer).backward(batch, rank.x, rank.x, rank.y, rank.together);
  });
  CHECK_THAT(the_error(errors), contains_text("rank 1: backward, call 2,") &&
                                    contains_text("with other options of layer"));
}

TEST_CASE("weights of two kinds on two ranks are refused by all") {
  const Eigen::Vector4d weights(1, 2, 0, 4);
  const std::string error = refusal_of([&](Rank& rank) {
    const auto kind =
        rank.number == 2 ? batchnorm::Weights::importance : batchnorm::Weights::reliability;
    // Weights of 1 on a rank say nothing, and go with any.
    const Eigen::Vector4d own = rank.number == 0 ? Eigen::Vector4d::Ones() : weights;
    rank.layer.train(batchnorm::weighted(rank.x, own, kind), rank.y, rank.together);
  });
  CHECK(error ==
        "Synchronize: what the weights of all ranks say: expected as on rank 1, weights of "
        "reliability, got weights of importance on rank 2");
}

TEST_CASE("a mask that does not fit on one rank is refused by all") {
  const std::string error = refusal_of([](Rank& rank) {
    const Eigen::Index entries = rank.number == 1 ? 3 : 4;
    const Eigen::Array<bool, Eigen::Dynamic, 1> mask =
        Eigen::Array<bool, Eigen::Dynamic, 1>::Constant(entries, true);
    rank.layer.train(batchnorm::masked(rank.x, mask), rank.y, rank.together);
  });
  CHECK_THAT(error, contains_text("a refusal by rank 1: BatchNorm::train: shape of a mask"));
}

TEST_CASE("NaN under the mask of a rank is nobody's business") {
  std::vector<Eigen::Vector2d> means(ranks);
  const auto errors = try_ranks([&](Rank& rank) {
    const Eigen::Array<bool, 4, 1> mask(true, true, rank.number != 1, true);
    if (rank.number == 1) rank.x(0, 2) = nan_value;
    const auto batch = rank.layer.train(batchnorm::masked(rank.x, mask), rank.y, rank.together);
    means[static_cast<Size>(rank.number)] = batch.mean;
    if (batch.count != 4 * ranks - 1) throw std::runtime_error("count");
  });
  CHECK(the_error(errors) == "");
  for (const Eigen::Vector2d& mean : means) CHECK((mean == means[0] && std::isfinite(mean[0])));
}

TEST_CASE("after an exchange that failed, every call says so") {
  std::vector<std::string> again(2), first(2);
  Meeting meeting(2);
  run_ranks(2, [&](int number) {
    if (number == 1) return;  // never comes
    ThreadExchange exchange(meeting, number, std::chrono::milliseconds(20));
    Synchronize together(exchange, number, 2);
    Rank rank{number, together};
    for (std::string* error : {&first[0], &again[0], &again[1]}) {
      try {
        rank.layer.train(rank.x, rank.y, together);
      } catch (const std::runtime_error& caught) {
        *error = caught.what();
      }
    }
    if (!is_untouched(rank.layer)) first[0] = "moved";
  });
  CHECK(first[0] == "a rank did not come");
  CHECK(again[0] ==
        "Synchronize: after an exchange that failed, ranks no longer agree: expected another "
        "Synchronize, with an exchange (an MPI communicator) of its own, got a call after the "
        "exchange of call 1 has failed");
  CHECK(again[1] == again[0]);
}

TEST_CASE("one rank exchanges nothing and computes what there is without ranks") {
  int exchanges = 0;
  auto exchange = [&](const void*, std::size_t, void*) { ++exchanges; };
  Synchronize together(exchange, 0, 1);
  BatchNorm<double> layer(2), plain(2);
  MatrixXd x = examples(0), y(2, 4), z(2, 4);
  const auto batch = layer.train(x, y, together);
  CHECK(batch.mean == plain.train(x, z).mean);
  CHECK(y == z);
  CHECK(layer.state().running_variance == plain.state().running_variance);
  together.refuse("nobody listens");
  CHECK(exchanges == 0);
  x(1, 2) = nan_value;
  CHECK_THROWS_MATCHES(layer.train(x, y, together), std::domain_error,
                       says("NaN, infinity or overflow in channel 1"));
}

TEST_CASE("ranks, blocks and scalars that cannot be are refused") {
  auto exchange = [](const void*, std::size_t, void*) {};
  CHECK_THROWS_AS(Synchronize(exchange, 2, 2), std::invalid_argument);
  CHECK_THROWS_AS(Synchronize(exchange, -1, 2), std::invalid_argument);
  SynchronizeOptions options;
  options.block = -1;
  CHECK_THROWS_AS(Synchronize(exchange, 0, 1, options), std::invalid_argument);
  options.block = 0;
  options.gather_at_most = -1;
  CHECK_THROWS_AS(Synchronize(exchange, 0, 1, options), std::invalid_argument);
  Synchronize together(exchange, 0, 2);
  BatchNorm<long double> layer(2);
  Eigen::Matrix<long double, 2, 3> x = Eigen::Matrix<long double, 2, 3>::Random();
  CHECK_THROWS_AS(layer.train(x, x, together), std::invalid_argument);
}

TEST_CASE("calls that need no statistics of a minibatch do not exchange any") {
  auto exchange = [](const void*, std::size_t, void*) { throw std::runtime_error("exchanged"); };
  Synchronize together(exchange, 0, 2);
  BatchNorm<double> layer(2);
  const MatrixXd x = examples(0);
  MatrixXd y(2, 4);
  const auto batch = layer.train(x, y);
  CHECK_NOTHROW(layer.infer(x, y, together));
  CHECK_NOTHROW(layer.normalize(batch, x, y, together));
  CHECK_NOTHROW(layer.backward_frozen(x, x, y, together));
  const auto sums = layer.backward_sums(batch, x, x, together);
  CHECK_NOTHROW(layer.backward(batch, sums, x, x, y, together));
}

TEST_CASE("calls with statistics of their own refuse ranks") {
  auto exchange = [](const void*, std::size_t, void*) { throw std::runtime_error("exchanged"); };
  Synchronize together(exchange, 0, 2);
  BatchNorm<double> layer(2);
  const MatrixXd x = examples(0);
  MatrixXd y = MatrixXd::Zero(2, 4);
  const MatrixXd gamma = MatrixXd::Ones(2, 4), beta = MatrixXd::Zero(2, 4);
  CHECK_THROWS_MATCHES(batchnorm::train_renormalized(layer, {}, x, y, together),
                       std::invalid_argument, says("got one with a Synchronize"));
  CHECK_THROWS_MATCHES(batchnorm::train_conditional(layer, {gamma, beta}, x, y, together),
                       std::invalid_argument, says("got one with a Synchronize"));
  CHECK_THROWS_MATCHES(batchnorm::train_ghosts(layer, batchnorm::GhostBatches{2}, x, y, together),
                       std::invalid_argument, says("got one with a Synchronize"));
  CHECK(is_untouched(layer));
  CHECK(y.isZero(0));
}
