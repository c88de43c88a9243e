// SPDX-License-Identifier: MIT
// The digits network, trained by several processes at once: each has a part of every minibatch, and
// batch norm takes the statistics of all parts together, so that it makes no difference how many
// processes there are. Start it with MPI:
//
//   mpirun -n 4 13_distributed_digits [--group K] [--save FILE]
//
// Parts are uneven: of four processes the last has five times what the first has. Rank 0 then
// trains alone, on whole minibatches, and compares the losses of all steps. With --group K
// statistics are those of K neighbouring ranks, and there is nothing to compare with.
//
// The network is in support/parallel_network.hpp.
//
// Prints, as one rank (another compiler or processor may change the last digits),
//
//   digits   1437 to train, 360 to test: drawn by this program, seed 1
//   ranks    1 with 48 of 48 images, statistics over 1
//   losses   from 2.5744 to 0.0237, the same as those of one process to 1e-5
//   test accuracy: 98.1 % (353 of 360)

#include <mpi.h>

#include <algorithm>
#include <batchnorm/distributed/mpi.hpp>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <numeric>
#include <string>
#include <vector>

#include "support/checks.hpp"
#include "support/drawn_digits.hpp"
#include "support/parallel_network.hpp"
#include "support/progress.hpp"
#include "support/usage_error.hpp"

namespace {

using namespace example;
using batchnorm::Execution;
using batchnorm::MpiSynchronize;
using Eigen::Index;

constexpr Index batch_size = 48;
constexpr int epochs = 12;
constexpr double first_rate = 0.3;

struct Arguments {
  int group = 0;  ///< 0: all ranks
  std::string save;
};

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  for (int k = 1; k < argc; k += 2) {
    const std::string option = argv[k];
    if (k + 1 == argc) throw UsageError(option + " needs a value");
    if (option == "--group") {
      arguments.group = static_cast<int>(parse_number(option, argv[k + 1], 1, 1000000));
    } else if (option == "--save") {
      arguments.save = argv[k + 1];
    } else {
      throw UsageError("unknown option " + option);
    }
  }
  return arguments;
}

/// The first image of a rank among `images`: later ranks have more.
Index first_of(int rank, int ranks, Index images) {
  return images * rank * (rank + 1) / (Index(ranks) * (ranks + 1));
}

/// Trains a new network.
/// @return the loss of every step
std::vector<double> train(ParallelNetwork& network, const Digits& digits, int rank, int ranks,
                          const Ranks& others) {
  Random random(7);
  std::vector<Index> order(static_cast<std::size_t>(digits.count()));
  std::iota(order.begin(), order.end(), 0);
  std::vector<double> losses;
  ProgressLine progress;
  for (int epoch = 0; epoch < epochs; ++epoch) {
    const double rate = first_rate * (1.0 - epoch / double(epochs));
    random.shuffle(order);  // in the same way on all ranks
    for (Index begin = 0; begin < digits.count(); begin += batch_size) {
      const Index images = std::min(batch_size, digits.count() - begin);
      const auto from = order.begin() + begin;
      const Digits shard = digits.pick(from + first_of(rank, ranks, images),
                                       from + first_of(rank + 1, ranks, images));
      losses.push_back(network.train(shard, images, rate, others));
    }
    if (rank == 0) progress.show(epoch + 1, epochs, static_cast<float>(losses.back()));
  }
  return losses;
}

void print_ranks(int ranks, int group) {
  std::printf("ranks    %d with ", ranks);
  for (int rank = 0; rank < ranks; ++rank) {
    const Index images = first_of(rank + 1, ranks, batch_size) - first_of(rank, ranks, batch_size);
    std::printf("%s%d",
                rank == 0           ? ""
                : rank + 1 == ranks ? " and "
                                    : ", ",
                static_cast<int>(images));
  }
  std::printf(" of %d images, statistics over %d\n", static_cast<int>(batch_size), group);
}

/// What rank 0 has to say and to check at the end.
int conclude(const Arguments& arguments, const ParallelNetwork& network, const DigitsData& data,
             const std::vector<double>& losses, bool whole) {
  Checks checks;
  if (whole) {
    Random random(1);
    ParallelNetwork alone(random);
    const std::vector<double> expected = train(alone, data.training, 0, 1, Ranks());
    double most = 0;
    for (std::size_t step = 0; step < losses.size(); ++step) {
      most = std::max(most, std::fabs(losses[step] - expected[step]));
    }
    checks.expect(most <= 1e-5,
                  "the losses of one process, to 1e-5; off by " + std::to_string(most));
  }
  std::printf("losses   from %.4f to %.4f%s\n", losses.front(), losses.back(),
              whole ? ", the same as those of one process to 1e-5" : "");
  if (!arguments.save.empty()) {
    // All ranks have the same network (with --group, and statistics of their own group): one
    // writes.
    network.save(arguments.save);
    std::printf("saved %s\n", arguments.save.c_str());
  }
  const Index right = network.count_right(data.test);
  checks.expect(right >= 324, "a test accuracy of at least 90 %");
  std::printf("test accuracy: %.1f %% (%d of %d)\n", 100.0 * double(right) / double(test_rows),
              static_cast<int>(right), static_cast<int>(test_rows));
  return checks.exit_code();
}

int run(const Arguments& arguments) {
  int rank = 0, ranks = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  const int group = arguments.group == 0 ? ranks : std::min(arguments.group, ranks);
  const DigitsData data = draw_digits(1);
  if (rank == 0) {
    std::printf("digits   %d to train, %d to test: %s\n", static_cast<int>(data.training.count()),
                static_cast<int>(data.test.count()), data.origin.c_str());
    print_ranks(ranks, group);
  }

  // Statistics over groups: the communicator of a group. Gradients go over all ranks.
  MPI_Comm group_communicator = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, rank / group, rank, &group_communicator);
  MpiSynchronize together(group_communicator);
  MPI_Comm_free(&group_communicator);
  Ranks others;
  others.layer = [&](int number) {
    return Execution().with(together, static_cast<std::uint64_t>(number));
  };
  others.sum = [](double* numbers, Index count) {
    MPI_Allreduce(MPI_IN_PLACE, numbers, static_cast<int>(count), MPI_DOUBLE, MPI_SUM,
                  MPI_COMM_WORLD);
  };

  Random random(1);
  ParallelNetwork network(random);
  const std::vector<double> losses = train(network, data.training, rank, ranks, others);
  return rank == 0 ? conclude(arguments, network, data, losses, group == ranks) : 0;
}

}  // namespace

int main(int argc, char** argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  int exit_code = 2;
  try {
    exit_code = run(parse(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "13_distributed_digits: %s\n", error.what());
    MPI_Abort(MPI_COMM_WORLD, 2);  // the others may wait for this rank
  }
  MPI_Finalize();
  return exit_code;
}
