// SPDX-License-Identifier: MIT
// A network trained and saved by PyTorch (Linear 64-32, BatchNorm, ReLU, Linear 32-10): the
// checkpoint loads, and gives PyTorch's numbers, many images at once or one alone.
#include "batchnorm/io/checkpoint.hpp"

#include <cstdint>
#include <string>
#include <vector>

#include "batchnorm/fold/fold.hpp"
#include "batchnorm/layer.hpp"
#include "support/catch.hpp"
#include "support/conformance.hpp"
#include "support/digits.hpp"
#include "support/instances.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

Tensors checkpoint() {
  return read_safetensors(reference_dir() + "/digits_mlp.safetensors");
}

template <class T>
struct Network {
  using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;

  Matrix first, last, last_bias;
  FrozenBatchNorm<T> norm;

  static Network load(const Tensors& file) {
    Options options = Options::pytorch();  // PyTorch's epsilon, which its files do not carry
    return {file.matrix<T>("0.weight"), file.matrix<T>("3.weight"), file.matrix<T>("3.bias"),
            BatchNorm<T>(load_state<T>(file, "1.", options), options).freeze()};
  }

  Matrix normalised(const Matrix& images) const { return norm(Matrix(first * images)); }
  Matrix logits(const Matrix& images) const {
    return (last * normalised(images).cwiseMax(T(0))).colwise() + last_bias.col(0);
  }
};

/// A stored batch (one example per row) as features x examples.
template <class T>
typename Network<T>::Matrix columns(const Tensors& tensors, const std::string& name) {
  return tensors.matrix<T>(name).transpose();
}

template <class T>
void check_against_pytorch(const Group& group) {
  const auto network = Network<T>::load(checkpoint());
  const auto x = columns<T>(group.tensors, "x");
  const Tolerance tolerance(group.cases().at(0).at("tol").at(dtype_suffix<T>()));
  const auto check = [&](const typename Network<T>::Matrix& result, const char* reference) {
    INFO(reference << " in " << dtype_suffix<T>());
    const Eigen::MatrixXd expected = columns<double>(group.tensors, reference);
    CHECK(outside(as_numbers(result), as_numbers(expected), tolerance) == "");
  };
  check(network.first * x, "bn_in.f64");
  check(network.normalised(x), "bn_out.f64");
  check(network.logits(x), "logits.f64");

  typename Network<T>::Matrix alone(10, x.cols());
  for (Index image = 0; image < x.cols(); ++image) {
    alone.col(image) = network.logits(x.col(image));
  }
  check(alone, "logits.f64");
  // The same with the norm folded into the first layer, opened and found as a stranger's file.
  const Tensors file = open_checkpoint(reference_dir() + "/digits_mlp.safetensors");
  const FoundBatchNorm found = find_batch_norms(file).at(0);
  const LoadedState<T> norm = load_state<T>(file, found.prefix, Epsilon(1e-5));
  auto folded = network;
  Eigen::Matrix<T, Eigen::Dynamic, 1> bias;
  fold_after(linear(folded.first), bias, norm.state, norm.options);
  const typename Network<T>::Matrix hidden = ((folded.first * x).colwise() + bias).cwiseMax(T(0));
  check((folded.last * hidden).colwise() + folded.last_bias.col(0), "logits.f64");

  const Tolerance float_tolerance(group.cases().at(0).at("tol").at("f32"));
  CHECK(outside(as_numbers(alone),
                as_numbers(columns<double>(group.tensors, "logits_batch_of_one.f32")),
                float_tolerance) == "");
}

}  // namespace

TEST_CASE("PyTorch's checkpoint loads under PyTorch's names") {
  const Tensors file = checkpoint();
  const State<float> state = load_state<float>(file, "1.", Options::pytorch());
  REQUIRE(state.channels() == 32);
  CHECK(state.batches_seen == file.value<std::int64_t>("1.num_batches_tracked"));
  CHECK(as_numbers(state.gamma) == file.values<double>("1.weight"));
  CHECK(as_numbers(state.beta) == file.values<double>("1.bias"));
  CHECK(as_numbers(state.running_mean) == file.values<double>("1.running_mean"));
  CHECK(as_numbers(state.running_variance) == file.values<double>("1.running_var"));
  CHECK(file.shape("0.weight") == std::vector<Index>{32, 64});
}

TEST_CASE("a batch of one through the checkpoint has the bits it has in company") {
  const auto network = Network<float>::load(checkpoint());
  const Eigen::MatrixXf hidden = Eigen::MatrixXf::NullaryExpr(
      32, 7, [](Index feature, Index image) { return static_cast<float>(feature * image) / 7; });
  const Eigen::MatrixXf together = network.norm(hidden);
  for (Index image = 0; image < hidden.cols(); ++image) {
    const Eigen::MatrixXf alone = hidden.col(image);
    CHECK(network.norm(alone) == together.col(image));
  }
}

TEST_CASE("the checkpoint gives PyTorch's logits, and its predictions on all test images") {
  if (is_left_out("digits_mlp", 1)) return;
  const Group group = load_group(conformance_dir(), "digits_mlp");
  check_against_pytorch<float>(group);
  check_against_pytorch<double>(group);
  if (digits_csv().empty()) {
    WARN("left out: the predictions of digits_mlp, because BATCHNORM_DIGITS_CSV names no file");
    return;
  }
  const Digits digits = read_digits(digits_csv());
  const auto network = Network<float>::load(checkpoint());
  std::vector<Index> predicted;
  Index correct = 0;
  for (Index image = Digits::training_rows; image < Digits::rows; ++image) {
    const Eigen::MatrixXf one = digits.images.col(image).cast<float>();
    predicted.push_back(predictions(network.logits(one)).front());
    correct += predicted.back() == digits.labels[static_cast<std::size_t>(image)] ? 1 : 0;
  }
  CHECK(predicted == group.tensors.values<Index>("test_predictions"));
  CHECK(correct == group.cases().at(0).at("test_correct").get<Index>());
}
