// SPDX-License-Identifier: MIT
// expected: batchnorm: the bias is a temporary, the folded one would be lost
#include <vector>

#include "batchnorm/fold/fold.hpp"

void use(Eigen::MatrixXf& weight, const batchnorm::InferenceMap& norm) {
#ifdef WRONG
  batchnorm::fold_after(batchnorm::linear(weight), std::vector<float>(), norm);
#else
  std::vector<float> bias;
  batchnorm::fold_after(batchnorm::linear(weight), bias, norm);
#endif
}
