// SPDX-License-Identifier: MIT
#include "batchnorm/batchnorm.hpp"

// Before anything else is included: the optional headers stay out.
#if defined(BATCHNORM_VIEW_EIGEN_TENSOR_HPP) || defined(BATCHNORM_IO_SAFETENSORS_HPP)
#error "the umbrella includes a header that needs more than Eigen and the standard library"
#endif

#include "support/catch.hpp"

TEST_CASE("one include gives the layer, its inference path and its statistics", "[umbrella]") {
  batchnorm::Options options = batchnorm::Options::onnx();
  options.epsilon = 0.0;
  batchnorm::BatchNorm<double> layer(1, options);
  const Eigen::RowVector4d z(1, 3, 1, 3);
  const auto [output, batch] = layer.train(z, batchnorm::Execution::serial());
  CHECK(output == Eigen::RowVector4d(-1, 1, -1, 1));
  CHECK(batchnorm::moments_of(z).mean == batch.mean);
  // R = 0.9 R + 0.1 s with s = 2 and 1: mean 0.2, variance 1.
  const batchnorm::FrozenBatchNorm<double> frozen = layer.freeze();
  CHECK_THAT(frozen(Eigen::RowVectorXd::Constant(1, 1.2))[0], Catch::Matchers::WithinULP(1.0, 4));
  const batchnorm::State<double>& state = layer.state();
  CHECK(state.batches_seen == 1);
  CHECK(state.samples_seen == 4);
}
