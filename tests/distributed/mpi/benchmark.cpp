// SPDX-License-Identifier: MIT
// What synchronising costs: mpirun -n P mpi_benchmark [--smoke]. For numbers of channels C, prints
// the time of train on few examples without other ranks and with them, the two ways of reducing,
// and what latency and bytes alone take: two exchanges, of 64 and of 8 (2 C + 3) bytes per rank, by
// MPI_Allgather. Median of repetitions, slowest rank. On one rank: the overhead of Synchronize.
#include <mpi.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "batchnorm/compiled.hpp"
#include "batchnorm/distributed/mpi.hpp"

namespace {

using batchnorm::BatchNorm;
using batchnorm::Execution;
using batchnorm::Index;
using batchnorm::MpiOptions;
using batchnorm::MpiSynchronize;

constexpr Index examples = 4;

/// Microseconds of one call: the median over repetitions, of the slowest rank.
template <class Call>
double microseconds(int repetitions, const Call& call) {
  std::vector<double> times;
  for (int k = 0; k < repetitions + 3; ++k) {
    const double start = MPI_Wtime();
    call();
    if (k >= 3) times.push_back(1e6 * (MPI_Wtime() - start));
  }
  std::nth_element(times.begin(), times.begin() + repetitions / 2, times.end());
  double median = times[static_cast<std::size_t>(repetitions / 2)];
  MPI_Allreduce(MPI_IN_PLACE, &median, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  return median;
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

double exchange(int repetitions, int ranks, Index channels) {
  const std::size_t bytes = 8 * (2 * static_cast<std::size_t>(channels) + 3);
  std::vector<char> mine(bytes), all(bytes * static_cast<std::size_t>(ranks));
  return microseconds(repetitions, [&] {
    for (const std::size_t length : {std::size_t{64}, bytes}) {
      MPI_Allgather(mine.data(), static_cast<int>(length), MPI_BYTE, all.data(),
                    static_cast<int>(length), MPI_BYTE, MPI_COMM_WORLD);
    }
  });
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0, ranks = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  const bool smoke = argc > 1 && std::string(argv[1]) == "--smoke";
  const int repetitions = smoke ? 3 : 301;
  {
    MpiOptions options;
    options.synchronize.gather_at_most = 1000000000;
    MpiSynchronize gathering(MPI_COMM_WORLD, options);
    options.synchronize.gather_at_most = 0;
    MpiSynchronize summing(MPI_COMM_WORLD, options);
    if (rank == 0) {
      std::printf("ranks %d; microseconds per call of train on %d examples\n", ranks,
                  static_cast<int>(examples));
      std::printf("channels     alone  gathering    summing  MPI alone\n");
    }
    for (const Index channels : {16, 64, 256, 1024, 4096, 16384, 65536}) {
      if (smoke && channels > 64) break;
      Layer layer(channels);
      const double alone = layer.train(repetitions, {});
      const double gathered = layer.train(repetitions, gathering);
      const double summed = layer.train(repetitions, summing);
      const double mpi = exchange(repetitions, ranks, channels);
      if (rank == 0) {
        std::printf("%8d %9.2f %10.2f %10.2f %10.2f\n", static_cast<int>(channels), alone, gathered,
                    summed, mpi);
      }
    }
  }
  MPI_Finalize();
  return 0;
}
