// SPDX-License-Identifier: MIT
// What synchronising costs: mpirun -n P mpi_benchmark [--smoke]. Prints, for numbers of channels C,
// the time of train on a few examples without other ranks and with them, by the two ways of
// reducing, and what latency and bytes alone take:
//
//     formula = two exchanges of 64 bytes + P 8 (2C + 3) bytes / rate
//
// both measured with MPI_Allgather, the rate on the longest message; then C P from which on summing
// was the faster way (SynchronizeOptions::gather_at_most). On one rank: what a Synchronize costs
// that has nobody to talk to, beside 1 us + C 2 ns, and what merging two sets of moments costs.
//
// mpi_benchmark --paper measures nothing: it prints what a network with a latency of 1.5 us and
// 12 GB/s would take, with 15 ns for merging a channel.
#include <mpi.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "batchnorm/compiled.hpp"
#include "batchnorm/distributed/mpi.hpp"
#include "batchnorm/distributed/share_tree.hpp"

namespace {

using batchnorm::BatchNorm;
using batchnorm::Execution;
using batchnorm::Index;
using batchnorm::MpiOptions;
using batchnorm::MpiSynchronize;

constexpr Index examples = 4;
constexpr std::size_t header_bytes = 64;

/// Microseconds of one call, of the slowest rank: the first decile of repetitions, as what else a
/// machine does only adds to them.
template <class Call>
double microseconds(int repetitions, const Call& call) {
  std::vector<double> times;
  for (int k = 0; k < repetitions + 3; ++k) {
    const double start = MPI_Wtime();
    call();
    if (k >= 3) times.push_back(1e6 * (MPI_Wtime() - start));
  }
  const auto decile = times.begin() + repetitions / 10;
  std::nth_element(times.begin(), decile, times.end());
  double most = *decile;
  MPI_Allreduce(MPI_IN_PLACE, &most, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  return most;
}

struct Layer {
  explicit Layer(Index channels)
      : norm(channels), x(Eigen::MatrixXf::Random(channels, examples)), y(channels, examples) {}

  double train(int repetitions, const Execution& execution) {
    return microseconds(repetitions, [&] { norm.train(x, y, execution); });
  }

  BatchNorm<float> norm;
  Eigen::MatrixXf x, y;
};

std::size_t message_bytes(Index channels) {
  return sizeof(double) * static_cast<std::size_t>(batchnorm::detail::share_length(channels));
}

double exchange(int repetitions, int ranks, std::size_t bytes) {
  std::vector<char> mine(bytes), all(bytes * static_cast<std::size_t>(ranks));
  return microseconds(repetitions, [&] {
    MPI_Allgather(mine.data(), static_cast<int>(bytes), MPI_BYTE, all.data(),
                  static_cast<int>(bytes), MPI_BYTE, MPI_COMM_WORLD);
  });
}

struct Run {
  int rank, ranks, repetitions;
  std::vector<Index> channels;
};

void time_one_rank(const Run& run) {
  MpiSynchronize together(MPI_COMM_WORLD);
  std::printf("microseconds per call of train on %d examples\n", static_cast<int>(examples));
  std::printf("channels     alone  one rank  overhead     limit\n");
  for (const Index channels : run.channels) {
    Layer layer(channels);
    // In turns, so that what else the machine does meets both.
    double alone = 1e30, with = 1e30;
    for (int turn = 0; turn < 5; ++turn) {
      alone = std::min(alone, layer.train(run.repetitions, {}));
      with = std::min(with, layer.train(run.repetitions, together));
    }
    std::printf("%8d %9.2f %9.2f %9.2f %9.2f\n", static_cast<int>(channels), alone, with,
                with - alone, 1.0 + 0.002 * static_cast<double>(channels));
  }
  constexpr Index merged = 1024;
  const std::vector<double> other(message_bytes(merged) / sizeof(double), 2.0);
  std::vector<double> moments(other.size(), 3.0);
  const double merging = microseconds(run.repetitions, [&] {
    batchnorm::detail::merge_shares(true, merged, moments.data(), other.data());
  });
  std::printf("merging two sets of moments: %.1f ns per channel\n",
              1e3 * merging / static_cast<double>(merged));
}

/// Microseconds of a call of train on `ranks` ranks, on paper: an exchange of m bytes per rank
/// takes log2 P latencies + m P / rate to gather, and twice log2 P latencies + 2 m / rate to sum.
double on_paper(double ranks, double channels, bool sum) {
  constexpr double latency = 1.5, rate = 12000.0, merging = 0.015;
  const double rounds = latency * std::log2(ranks);
  const auto gather = [&](double bytes) { return rounds + bytes * ranks / rate; };
  const auto add = [&](double bytes) { return 2 * rounds + 2 * bytes / rate; };
  const double header = gather(static_cast<double>(header_bytes));
  if (sum) return header + add(8 * (channels + 3)) + add(8 * 2 * channels);
  return header + gather(8 * (2 * channels + 3)) + merging * channels * ranks;
}

void print_paper() {
  std::printf("microseconds per call of train, gathering / summing\n");
  std::printf("   ranks        C = 64       C = 256      C = 1024  meet at C\n");
  for (const double ranks : {8.0, 64.0, 512.0, 10000.0}) {
    std::printf("%8.0f", ranks);
    for (const double channels : {64.0, 256.0, 1024.0}) {
      std::printf(" %7.0f / %3.0f", on_paper(ranks, channels, false),
                  on_paper(ranks, channels, true));
    }
    double meet = 1;
    while (on_paper(ranks, meet, false) < on_paper(ranks, meet, true)) ++meet;
    std::printf(" %10.0f\n", meet);
  }
}

void time_many_ranks(const Run& run) {
  MpiOptions options;
  options.synchronize.gather_at_most = 1000000000;
  MpiSynchronize gathering(MPI_COMM_WORLD, options);
  options.synchronize.gather_at_most = 0;
  MpiSynchronize summing(MPI_COMM_WORLD, options);
  const double latency = exchange(run.repetitions, run.ranks, header_bytes);
  const std::size_t longest = message_bytes(run.channels.back());
  const double rate = static_cast<double>(longest) * run.ranks /
                      std::max(exchange(run.repetitions, run.ranks, longest) - latency, 1e-3);
  if (run.rank == 0) {
    std::printf("%d ranks, latency %.2f us, %.2f GB/s\n", run.ranks, latency, rate / 1e3);
    std::printf("microseconds per call of train on %d examples\n", static_cast<int>(examples));
    std::printf("channels     alone gathering   summing   formula\n");
  }
  Index meet = 0;  // the least C from which on summing was faster
  for (const Index channels : run.channels) {
    Layer layer(channels);
    const double alone = layer.train(run.repetitions, {});
    const double gathered = layer.train(run.repetitions, gathering);
    const double summed = layer.train(run.repetitions, summing);
    const double bytes = static_cast<double>(message_bytes(channels)) * run.ranks;
    if (summed >= gathered) meet = 0;
    if (summed < gathered && meet == 0) meet = channels;
    if (run.rank != 0) continue;
    std::printf("%8d %9.2f %9.2f %9.2f %9.2f\n", static_cast<int>(channels), alone, gathered,
                summed, 2 * latency + bytes / rate);
  }
  if (run.rank != 0) return;
  if (meet == 0) {
    std::printf("gathering was faster up to the end\n");
  } else {
    std::printf("summing was faster from C P = %d on\n", static_cast<int>(meet) * run.ranks);
  }
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  Run run{0, 1, 301, {16, 64, 256, 1024, 4096, 16384, 65536}};
  MPI_Comm_rank(MPI_COMM_WORLD, &run.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &run.ranks);
  if (argc > 1 && std::string(argv[1]) == "--smoke") {
    run.repetitions = 3;
    run.channels.resize(2);
  }
  if (argc > 1 && std::string(argv[1]) == "--paper") {
    print_paper();
  } else if (run.ranks == 1) {
    time_one_rank(run);
  } else {
    time_many_ranks(run);
  }
  MPI_Finalize();
  return 0;
}
