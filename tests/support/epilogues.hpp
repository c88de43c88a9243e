// SPDX-License-Identifier: MIT
// Problems with an epilogue and a residual, and the calls of a layer with and without one as one.
#ifndef BATCHNORM_TESTS_SUPPORT_EPILOGUES_HPP
#define BATCHNORM_TESTS_SUPPORT_EPILOGUES_HPP

#include <cmath>
#include <vector>

#include "support/layers.hpp"

namespace batchnorm_test {

/// One batch, what is added to it, the gradient that comes back, and the layer of the oracle.
struct EpilogueProblem {
  Batch x, residual, dy;
  reference::Layer layer;
  bool has_residual;

  batchnorm::Options options() const {
    batchnorm::Options options;
    options.epilogue = batchnorm::Epilogue::leaky_relu(static_cast<double>(layer.slope));
    return options;
  }
};

/// The slopes of ReLU, two leaky ReLUs (one of a slope that is no binary fraction), and none.
inline const std::vector<Real>& all_slopes() {
  static const std::vector<Real> slopes = {0, 0.25L, 0.01, 1};
  return slopes;
}

/// Where z is so small that rounding could decide its sign, dy is 0: at the kink of the epilogue
/// there is no right answer to compare with.
template <class T>
EpilogueProblem epilogue_problem(Random& random, const Batch& values, Real slope,
                                 bool has_residual) {
  const auto random_batch = [&](Real mean) {
    return stored_as<T>(
        normal_batch(random, values.samples, values.channels, values.positions, mean));
  };
  const Batch x = stored_as<T>(values);
  EpilogueProblem problem{x, has_residual ? random_batch(-1) : reference::zeros_like(x),
                          random_batch(0), random_layer<T>(random, x, 1e-3), has_residual};
  problem.layer.slope = slope;
  const Bounds<T> bounds(problem.layer, problem.x);
  const Batch z = reference::before_epilogue(problem.layer, problem.x, problem.residual);
  z.each([&](Size n, Size c, Size p) {
    if (std::fabs(z.at(n, c, p)) <= bounds.y(n, c, p, problem.residual.at(n, c, p))) {
      problem.dy.at(n, c, p) = 0;
    }
  });
  return problem;
}

/// layer.train, normalize or infer, or a frozen layer, with or without the residual.
template <class T, class Layer>
auto call_train(Layer& layer, bool has_residual, const batchnorm::BatchView<const T>& x,
                const batchnorm::BatchView<const T>& residual, const batchnorm::BatchView<T>& out) {
  return has_residual ? layer.train(batchnorm::with_residual(x, residual), out)
                      : layer.train(x, out);
}

template <class T, class Layer>
auto call_normalize(const Layer& layer, bool has_residual, const batchnorm::BatchView<const T>& x,
                    const batchnorm::BatchView<const T>& residual,
                    const batchnorm::BatchView<T>& out) {
  return has_residual ? layer.normalize(batchnorm::with_residual(x, residual), out)
                      : layer.normalize(x, out);
}

template <class T, class Layer>
void call_infer(const Layer& layer, bool has_residual, const batchnorm::BatchView<const T>& x,
                const batchnorm::BatchView<const T>& residual, const batchnorm::BatchView<T>& out) {
  has_residual ? layer.infer(batchnorm::with_residual(x, residual), out) : layer.infer(x, out);
}

template <class T, class Frozen>
void call_frozen(const Frozen& frozen, bool has_residual, const batchnorm::BatchView<const T>& x,
                 const batchnorm::BatchView<const T>& residual,
                 const batchnorm::BatchView<T>& out) {
  has_residual ? frozen(batchnorm::with_residual(x, residual), out) : frozen(x, out);
}

/// backward with the moments of a minibatch, backward_frozen without; dr is left alone when there
/// is no residual.
template <class T>
batchnorm::Gradients<T> call_backward(const batchnorm::BatchNorm<T>& layer, bool has_residual,
                                      const typename batchnorm::BatchNorm<T>::BatchMoments* batch,
                                      const batchnorm::BatchView<const T>& x,
                                      const batchnorm::BatchView<const T>& residual,
                                      const batchnorm::BatchView<const T>& dy,
                                      const batchnorm::BatchView<T>& dx,
                                      const batchnorm::BatchView<T>& dr) {
  if (batch != nullptr) {
    return has_residual ? layer.backward(*batch, batchnorm::with_residual(x, residual), dy,
                                         batchnorm::with_residual(dx, dr))
                        : layer.backward(*batch, x, dy, dx);
  }
  return has_residual ? layer.backward_frozen(batchnorm::with_residual(x, residual), dy,
                                              batchnorm::with_residual(dx, dr))
                      : layer.backward_frozen(x, dy, dx);
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_EPILOGUES_HPP
