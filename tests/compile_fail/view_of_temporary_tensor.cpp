// SPDX-License-Identifier: MIT
// expected: batchnorm: a view must not bind to a temporary tensor
#include "batchnorm/view/eigen_tensor.hpp"

using Tensor = Eigen::Tensor<float, 4>;

batchnorm::Index use(Tensor& x) {
#ifdef WRONG
  return batchnorm::channels_first(Tensor(x)).channels();
#else
  return batchnorm::channels_first(x).channels();
#endif
}
