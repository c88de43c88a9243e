// SPDX-License-Identifier: MIT
// Sixty steps of gradient descent that PyTorch took in float64, replayed from its initial weights:
// Linear 64-16, BatchNorm, ReLU, Linear 16-10, mean softmax cross-entropy.
#include "batchnorm/layer.hpp"

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/conformance.hpp"
#include "support/digits.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
using Eigen::MatrixXd;

namespace {

struct Network {
  MatrixXd first, last, last_bias;
  BatchNorm<double> norm;

  static Network load(const Tensors& file, const std::string& prefix) {
    return {file.matrix<double>(prefix + "0.weight"), file.matrix<double>(prefix + "3.weight"),
            file.matrix<double>(prefix + "3.bias"),
            BatchNorm<double>(load_state<double>(file, prefix + "1.", Options::pytorch()),
                              Options::pytorch())};
  }
};

struct NetworkGradients {
  double loss;
  MatrixXd first, last, last_bias;
  Gradients<double> norm;
};

/// Softmax of each column.
MatrixXd softmax(const MatrixXd& logits) {
  const MatrixXd shifted = logits.rowwise() - logits.colwise().maxCoeff();
  const MatrixXd powers = shifted.array().exp();
  return powers.array().rowwise() / powers.colwise().sum().array();
}

NetworkGradients differentiate(Network& network, const MatrixXd& images,
                               const std::vector<Index>& labels) {
  const Index count = images.cols();
  const MatrixXd hidden = network.first * images;
  MatrixXd normalised(hidden.rows(), count);
  const auto batch = network.norm.train(hidden, normalised);
  const MatrixXd active = normalised.cwiseMax(0.0);
  const MatrixXd logits = (network.last * active).colwise() + network.last_bias.col(0);

  MatrixXd logits_gradient = softmax(logits);
  double loss = 0;
  for (Index image = 0; image < count; ++image) {
    double& probability = logits_gradient(labels[static_cast<std::size_t>(image)], image);
    loss -= std::log(probability) / static_cast<double>(count);
    probability -= 1.0;
  }
  logits_gradient /= static_cast<double>(count);

  const MatrixXd positive = (normalised.array() > 0.0).cast<double>();
  const MatrixXd normalised_gradient =
      (network.last.transpose() * logits_gradient).cwiseProduct(positive);
  MatrixXd hidden_gradient(hidden.rows(), count);
  const Gradients<double> norm =
      network.norm.backward(batch, hidden, normalised_gradient, hidden_gradient);
  return {loss, hidden_gradient * images.transpose(), logits_gradient * active.transpose(),
          logits_gradient.rowwise().sum(), norm};
}

void descend(Network& network, const NetworkGradients& gradients, double rate) {
  network.first -= rate * gradients.first;
  network.last -= rate * gradients.last;
  network.last_bias -= rate * gradients.last_bias;
  network.norm.state().gamma -= rate * gradients.norm.gamma;
  network.norm.state().beta -= rate * gradients.norm.beta;
}

double distance(const MatrixXd& result, const Tensors& tensors, const std::string& name) {
  const MatrixXd expected = tensors.matrix<double>(name);
  REQUIRE(expected.rows() == result.rows());
  REQUIRE(expected.cols() == result.cols());
  const MatrixXd difference = result - expected;
  REQUIRE(difference.allFinite());
  return difference.cwiseAbs().maxCoeff();
}

constexpr double bound = 1e-9;

void check_states(const Network& network, const Tensors& tensors, const std::string& prefix) {
  INFO(prefix);
  const State<double>& state = network.norm.state();
  CHECK(distance(network.first, tensors, prefix + "0.weight") <= bound);
  CHECK(distance(state.gamma, tensors, prefix + "1.weight") <= bound);
  CHECK(distance(state.beta, tensors, prefix + "1.bias") <= bound);
  CHECK(distance(state.running_mean, tensors, prefix + "1.running_mean") <= bound);
  CHECK(distance(state.running_variance, tensors, prefix + "1.running_var") <= bound);
  CHECK(state.batches_seen == tensors.value<std::int64_t>(prefix + "1.num_batches_tracked"));
  CHECK(distance(network.last, tensors, prefix + "3.weight") <= bound);
  CHECK(distance(network.last_bias, tensors, prefix + "3.bias") <= bound);
}

}  // namespace

TEST_CASE("sixty training steps of PyTorch, replayed") {
  if (is_left_out("digits_trace", 1)) return;
  if (digits_csv().empty()) {
    WARN("left out: 1 case of digits_trace, because BATCHNORM_DIGITS_CSV names no file");
    return;
  }
  const Group group = load_group(conformance_dir(), "digits_trace");
  const Tensors& tensors = group.tensors;
  const nlohmann::json& trace = group.cases().at(0);
  const Digits digits = read_digits(digits_csv());
  const std::vector<Index> order = tensors.values<Index>("order");
  const std::vector<Index> batch_sizes = tensors.values<Index>("batch_sizes");
  const Numbers losses = tensors.values<double>("losses.f64");
  REQUIRE(batch_sizes.size() == trace.at("steps").get<std::size_t>());
  REQUIRE(losses.size() == batch_sizes.size());

  Network network = Network::load(tensors, "initial/");
  std::size_t next = 0, snapshots = 0;
  for (std::size_t step = 0; step < batch_sizes.size(); ++step) {
    MatrixXd images(64, batch_sizes[step]);
    std::vector<Index> labels;
    for (Index image = 0; image < images.cols(); ++image, ++next) {
      images.col(image) = digits.images.col(order.at(next));
      labels.push_back(digits.labels.at(static_cast<std::size_t>(order[next])));
    }
    const NetworkGradients gradients = differentiate(network, images, labels);
    CHECK(std::fabs(gradients.loss - losses[step]) <= bound);
    if (step == 0) {
      CHECK(distance(gradients.first, tensors, "step1_grad/0.weight") <= bound);
      CHECK(distance(gradients.norm.gamma, tensors, "step1_grad/1.weight") <= bound);
      CHECK(distance(gradients.norm.beta, tensors, "step1_grad/1.bias") <= bound);
      CHECK(distance(gradients.last, tensors, "step1_grad/3.weight") <= bound);
      CHECK(distance(gradients.last_bias, tensors, "step1_grad/3.bias") <= bound);
    }
    descend(network, gradients, trace.at("lr").get<double>());
    if (has(trace.at("snapshots"), step + 1)) {
      check_states(network, tensors, "after" + std::to_string(step + 1) + "/");
      ++snapshots;
    }
  }
  CHECK(next == order.size());
  CHECK(snapshots == trace.at("snapshots").size());

  const FrozenBatchNorm<double> frozen = network.norm.freeze();
  MatrixXd logits(10, Digits::test_rows);
  for (Index image = 0; image < Digits::test_rows; ++image) {
    const MatrixXd hidden = network.first * digits.test_images().col(image);
    logits.col(image) = network.last * frozen(hidden).cwiseMax(0.0) + network.last_bias;
  }
  CHECK(distance(logits.transpose(), tensors, "test_logits.f64") <= bound);
  CHECK(predictions(logits) == tensors.values<Index>("test_predictions"));
}
