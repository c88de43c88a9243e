// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_WEB_NUMBERS_HPP
#define BATCHNORM_EXAMPLES_WEB_NUMBERS_HPP

#include <Eigen/Core>
#include <batchnorm/batchnorm.hpp>
#include <vector>

// What questions to a trained network are made of: numbers go in and numbers come out, so that the
// page and a native program can ask the same.

namespace example {

using Numbers = std::vector<double>;
using Norm = batchnorm::BatchNorm<float>;
using FrozenNorm = batchnorm::FrozenBatchNorm<float>;

template <class Values>
void append(Numbers& to, const Values& values) {
  for (Eigen::Index k = 0; k < values.size(); ++k) to.push_back(static_cast<double>(values(k)));
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_WEB_NUMBERS_HPP
