// SPDX-License-Identifier: MIT
// Fine-tuning with frozen statistics. A layer has been trained on plenty of data. Now it is to
// learn something else from examples that come in one at a time: a single example has no variance
// to be normalised with, and one user's data should not move the statistics of all. So forward is
// infer(), backward is backward_frozen(), and only gamma, beta and the weights behind them learn.
//
// Prints
//
//   mean squared error on new examples: 0.2892 before, 0.0000 after fine-tuning

#include <batchnorm/batchnorm.hpp>
#include <cstdio>

#include "support/checks.hpp"
#include "support/random.hpp"

namespace {

constexpr Eigen::Index features = 6;

/// Features of very different size, as they come out of sensors.
Eigen::VectorXf measure(example::Random& random) {
  Eigen::VectorXf z(features);
  float scale = 0.01f;
  for (float& value : z) {
    value = scale * static_cast<float>(3 + random.normal());
    scale *= 10;
  }
  return z;
}

/// The layer behind batch norm: a weighted sum of ReLU(y).
float predict(const Eigen::VectorXf& weights, const Eigen::VectorXf& y) {
  return weights.dot(y.cwiseMax(0.0f));
}

/// The new task: what the fourth feature is above its usual 30, and nothing below that.
float target(const Eigen::VectorXf& z) {
  return z[3] > 30.0f ? (z[3] - 30.0f) / 10.0f : 0.0f;
}

float mean_squared_error(const batchnorm::BatchNorm<float>& layer, const Eigen::VectorXf& weights,
                         const Eigen::MatrixXf& examples) {
  float sum = 0;
  for (const Eigen::VectorXf z : examples.colwise()) {
    const float error = predict(weights, layer.infer(z)) - target(z);
    sum += error * error;
  }
  return sum / static_cast<float>(examples.cols());
}

Eigen::MatrixXf measure_many(Eigen::Index count, example::Random& random) {
  Eigen::MatrixXf examples(features, count);
  for (auto z : examples.colwise()) z = measure(random);
  return examples;
}

/// Gradient descent, one example at a time.
void finetune(batchnorm::BatchNorm<float>& layer, Eigen::VectorXf& weights,
              example::Random& random) {
  constexpr float rate = 0.02f;
  Eigen::VectorXf y_gradient(features), z_gradient(features);  // the latter is for layers before
  for (int step = 0; step < 2000; ++step) {
    const Eigen::VectorXf z = measure(random);
    const Eigen::VectorXf y = layer.infer(z);
    const float error = predict(weights, y) - target(z);
    y_gradient = (y.array() > 0.0f).select(2 * error * weights, 0.0f);
    const auto gradients = layer.backward_frozen(z, y_gradient, z_gradient);
    layer.state().gamma -= rate * gradients.gamma;
    layer.state().beta -= rate * gradients.beta;
    weights -= rate * 2 * error * y.cwiseMax(0.0f);
  }
}

}  // namespace

int main() {
  example::Random random(1);
  batchnorm::BatchNorm<float> layer(features);
  for (int step = 0; step < 100; ++step) layer.train(measure_many(64, random));
  const batchnorm::State<float> before = layer.state();

  Eigen::VectorXf weights = Eigen::VectorXf::Constant(features, 0.2f);
  const Eigen::MatrixXf unseen = measure_many(64, random);
  const float first_loss = mean_squared_error(layer, weights, unseen);
  finetune(layer, weights, random);
  const float last_loss = mean_squared_error(layer, weights, unseen);
  const batchnorm::State<float>& after = layer.state();
  std::printf("mean squared error on new examples: %.4f before, %.4f after fine-tuning\n",
              static_cast<double>(first_loss), static_cast<double>(last_loss));

  example::Checks checks;
  checks.expect(last_loss < 0.1f * first_loss, "the error to fall to less than a tenth");
  checks.expect(after.running_mean == before.running_mean &&
                    after.running_variance == before.running_variance &&
                    after.batches_seen == before.batches_seen,
                "the statistics not to move");
  checks.expect(after.gamma != before.gamma && after.beta != before.beta,
                "gamma and beta to learn");
  return checks.exit_code();
}
