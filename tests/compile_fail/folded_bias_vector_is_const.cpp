// SPDX-License-Identifier: MIT
// expected: batchnorm: the bias is read-only
#include <vector>

#include "batchnorm/fold/fold.hpp"

void use(Eigen::MatrixXf& weight, const std::vector<float>& bias,
         const batchnorm::InferenceMap& norm) {
#ifdef WRONG
  batchnorm::fold_before(batchnorm::linear(weight), bias, norm);
#else
  std::vector<float> own = bias;
  batchnorm::fold_before(batchnorm::linear(weight), own, norm);
#endif
}
