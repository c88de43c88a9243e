// SPDX-License-Identifier: MIT
// Run without mpirun: one rank.
#include <batchnorm/batchnorm.hpp>
#include <batchnorm/distributed/mpi.hpp>

int main(int argc, char** argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  bool good = false;
  {
    batchnorm::MpiOptions options;
    options.synchronize.block = 2;
    batchnorm::MpiSynchronize together(MPI_COMM_WORLD, options);
    batchnorm::BatchNorm<double> layer(1);
    Eigen::RowVectorXd x(4);
    x << 1, 3, 5, 7;
    const auto batch = layer.train(x, x, together);
    good = together.ranks() == 1 && batch.count == 4 && batch.mean[0] == 4.0;
  }
  MPI_Finalize();
  return good ? 0 : 1;
}
