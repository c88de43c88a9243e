// SPDX-License-Identifier: MIT
// expected: batchnorm: the bias is read-only
#include "batchnorm/fold/fold.hpp"

void use(Eigen::MatrixXf& weight, const Eigen::VectorXf& bias,
         const batchnorm::InferenceMap& norm) {
#ifdef WRONG
  batchnorm::fold_before(batchnorm::linear(weight), bias, norm);
#else
  Eigen::VectorXf own = bias;
  batchnorm::fold_before(batchnorm::linear(weight), own, norm);
#endif
}
