// SPDX-License-Identifier: MIT
// A network of two norms, h = W relu(norm(x)), y = norm(h), for the library and for the oracle:
// which statistics the second norm gets depends on what the first one normalises with.
#ifndef BATCHNORM_TESTS_SUPPORT_TWO_NORMS_HPP
#define BATCHNORM_TESTS_SUPPORT_TWO_NORMS_HPP

#include <algorithm>
#include <vector>

#include "batchnorm/layer.hpp"
#include "support/bounds.hpp"
#include "support/generators.hpp"
#include "support/reference_batch_norm.hpp"
#include "support/reference_running.hpp"

namespace batchnorm_test {

struct TwoNorms {
  static constexpr batchnorm::Index inputs = 3, outputs = 2;

  batchnorm::BatchNorm<double> first{inputs};
  batchnorm::BatchNorm<double, 2> second;
  Eigen::MatrixXd weight{{0.5, -1, 2}, {1.5, 1, -0.5}};

  TwoNorms() {
    first.state().gamma << 1.5, -2, 0.5;
    first.state().beta << 0.25, 1, -0.5;
    first.state().running_mean << 7, 8, 9;
    second.state().running_variance << 0.1, 25;
  }

  /// What the second norm gets.
  Eigen::MatrixXd hidden(const Eigen::MatrixXd& normalised) const {
    return weight * normalised.cwiseMax(0.0);
  }
};

/// Features x examples, each feature about its own mean, drifting so that minibatches differ.
inline Eigen::MatrixXd drifting_examples(batchnorm::Index examples) {
  Random random(17);
  Eigen::MatrixXd x(TwoNorms::inputs, examples);
  for (batchnorm::Index i = 0; i < examples; ++i) {
    const double drift = 2.0 * static_cast<double>(i) / static_cast<double>(examples);
    x.col(i) << random.normal() + drift, 100 + 3 * random.normal(), drift - 0.1 * random.normal();
  }
  return x;
}

/// The same for the oracle: statistics of both norms, in long double.
struct ReferenceStatistics {
  PerChannel mean, variance;
};

inline Batch columns(const Eigen::MatrixXd& x, batchnorm::Index begin, batchnorm::Index count) {
  Batch batch{static_cast<Size>(count), static_cast<Size>(x.rows()), 1};
  batch.each([&](Size n, Size c, Size) {
    batch.at(n, c, 0) =
        x(static_cast<batchnorm::Index>(c), begin + static_cast<batchnorm::Index>(n));
  });
  return batch;
}

/// All values pooled, or averages over minibatches with m / (m - 1).
inline ReferenceStatistics statistics_of(const std::vector<Batch>& batches, bool pooled) {
  ReferenceStatistics result;
  for (Size c = 0; c < batches[0].channels; ++c) {
    reference::History means, variances;
    for (const Batch& batch : batches) {
      const PerChannel mu = reference::mean(batch);
      means.push_back(mu[c]);
      variances.push_back(reference::variance(batch, mu)[c] * batch.count() / (batch.count() - 1));
    }
    const reference::Pooled all = reference::pool(batches, c);
    result.mean.push_back(pooled ? all.mean : reference::average(means));
    result.variance.push_back(pooled ? all.squares / (all.count - 1)
                                     : reference::average(variances));
  }
  return result;
}

/// The inputs of the second norm, the first normalising with each minibatch, or with `given`.
inline std::vector<Batch> reference_hidden(const TwoNorms& net, const std::vector<Batch>& batches,
                                           const ReferenceStatistics* given) {
  std::vector<Batch> all;
  for (const Batch& x : batches) {
    reference::Layer layer = plain_layer(x, static_cast<Real>(net.first.options().epsilon));
    if (given != nullptr) layer.mu = given->mean, layer.sigma2 = given->variance;
    for (Size c = 0; c < x.channels; ++c) {
      layer.gamma[c] = net.first.state().gamma[static_cast<batchnorm::Index>(c)];
      layer.beta[c] = net.first.state().beta[static_cast<batchnorm::Index>(c)];
    }
    layer.slope = 0;
    const Batch y = reference::forward(layer, x);
    Batch hidden{x.samples, static_cast<Size>(TwoNorms::outputs), 1};
    hidden.each([&](Size n, Size out, Size) {
      for (Size in = 0; in < x.channels; ++in) {
        hidden.at(n, out, 0) +=
            net.weight(static_cast<batchnorm::Index>(out), static_cast<batchnorm::Index>(in)) *
            y.at(n, in, 0);
      }
    });
    all.push_back(hidden);
  }
  return all;
}

/// Empty when a state has these statistics to 1e-12 of a deviation.
template <int Channels>
std::string differs(const batchnorm::State<double, Channels>& state,
                    const ReferenceStatistics& expected) {
  const std::string mean = beyond_channels(state.running_mean, expected.mean, [&](Size c) {
    return 1e-12L * (std::sqrt(expected.variance[c]) + std::fabs(expected.mean[c]));
  });
  const std::string variance =
      beyond_channels(state.running_variance, expected.variance,
                      [&](Size c) { return 1e-12L * expected.variance[c]; });
  return mean.empty() ? variance : mean;
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_TWO_NORMS_HPP
