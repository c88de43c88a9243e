// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_TESTS_SUPPORT_UNCHANGED_HPP
#define BATCHNORM_TESTS_SUPPORT_UNCHANGED_HPP

#include "batchnorm/layer.hpp"
#include "support/catch.hpp"

namespace batchnorm_test {

inline Eigen::MatrixXf ramp(batchnorm::Index channels, batchnorm::Index examples) {
  Eigen::MatrixXf x(channels, examples);
  for (batchnorm::Index i = 0; i < x.size(); ++i) x.data()[i] = static_cast<float>((i * 5) % 11);
  return x;
}

/// A trained layer that is compared with a copy of itself after every refusal.
class Unchanged {
 public:
  explicit Unchanged(const batchnorm::Options& options = {}) : layer(3, options) {
    layer.train(ramp(3, 8));
    before_ = layer.state();
  }

  template <class Error, class Call>
  void refuses(const Call& call, const char* text) {
    CHECK_THROWS_MATCHES(call(), Error, says(text));
    CHECK(layer.state().gamma == before_.gamma);
    CHECK(layer.state().beta == before_.beta);
    CHECK(layer.state().running_mean == before_.running_mean);
    CHECK(layer.state().running_variance == before_.running_variance);
    CHECK(layer.state().batches_seen == before_.batches_seen);
    CHECK(layer.state().samples_seen == before_.samples_seen);
  }

  void set(const batchnorm::State<float>& state) { layer.state() = before_ = state; }

  batchnorm::BatchNorm<float> layer;

 private:
  batchnorm::State<float> before_;
};

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_UNCHANGED_HPP
