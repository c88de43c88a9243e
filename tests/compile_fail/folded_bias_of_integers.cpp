// SPDX-License-Identifier: MIT
// expected: batchnorm: a bias holds float, double, half or bfloat16
#include <vector>

#include "batchnorm/fold/fold.hpp"

void use(Eigen::MatrixXf& weight, const batchnorm::InferenceMap& norm) {
#ifdef WRONG
  std::vector<int> bias;
#else
  std::vector<float> bias;
#endif
  batchnorm::fold_after(batchnorm::linear(weight), bias, norm);
}
