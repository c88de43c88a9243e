// SPDX-License-Identifier: MIT
// expected: batchnorm: the bias is a temporary, the folded one would be lost
#include "batchnorm/fold/fold.hpp"

void use(Eigen::MatrixXf& weight, const batchnorm::InferenceMap& norm) {
#ifdef WRONG
  batchnorm::fold_after(batchnorm::linear(weight), Eigen::VectorXf(), norm);
#else
  Eigen::VectorXf bias;
  batchnorm::fold_after(batchnorm::linear(weight), bias, norm);
#endif
}
