// SPDX-License-Identifier: MIT
// A layer at one input whose derivatives can be worked out by hand.
#ifndef BATCHNORM_TESTS_SUPPORT_EXACT_LAYER_HPP
#define BATCHNORM_TESTS_SUPPORT_EXACT_LAYER_HPP

#include "batchnorm/math/linearized.hpp"
#include "support/catch.hpp"

namespace batchnorm_test {

/// Mean 3 and variance 4 of four values of one channel; epsilon 0, so that r = 1/2; gamma = 2.
struct ExactLayer {
  Eigen::RowVectorXd x{(Eigen::RowVectorXd(4) << 1, 1, 5, 5).finished()};
  batchnorm::Options options;
  batchnorm::State<double> state{1};
  batchnorm::Moments<double> batch = batchnorm::moments_of(x);
  double u = 3, t = 5;  // changes of gamma and beta

  ExactLayer() {
    options.epsilon = 0;
    state.gamma[0] = 2;
  }

  batchnorm::detail::LinearizedNorm<double> norm(bool fixed = false) const {
    batchnorm::detail::MinibatchDivisor<double> divisor(batch);
    divisor.fixed = fixed;
    return {options, state, batchnorm::detail::statistics_of(batch), divisor, {&u, &t}};
  }
};

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_EXACT_LAYER_HPP
