// SPDX-License-Identifier: MIT
// Networks that PyTorch made, with parameters and statistics under different prefixes: loaded, they
// give PyTorch's outputs, with batch norm as it is and folded into the layer before it.
#include <cstddef>
#include <string>
#include <vector>

#include "batchnorm/fold/fold.hpp"
#include "batchnorm/io/checkpoint.hpp"
#include "support/catch.hpp"
#include "support/conformance.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

const Group& models() {
  static const Group group = load_group(reference_dir(), "onnx_model");
  return group;
}

const nlohmann::json& case_of(const std::string& id) {
  for (const auto& entry : models().cases()) {
    if (entry.at("id") == id) return entry;
  }
  throw std::runtime_error("no case " + id);
}

template <class T>
LoadedState<T> norm_of(const std::string& id, const std::string& layer, double epsilon) {
  return load_state<T>(models().tensors, {id + "/param/" + layer, id + "/before/" + layer},
                       Epsilon(epsilon));
}

template <class T>
using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;

template <class T>
Matrix<T> tensor(const std::string& name) {
  return models().tensors.matrix<T>(name);
}

template <class T>
void check_output(const Matrix<T>& features_by_examples, const std::string& id) {
  INFO(id << " in " << dtype_suffix<T>());
  const Eigen::MatrixXd expected = tensor<double>(id + "/y.f64").transpose();
  const Tolerance tolerance(case_of(id).at("tol").at(dtype_suffix<T>()));
  CHECK(outside(as_numbers(features_by_examples), as_numbers(expected), tolerance) == "");
}

/// Sequential(Linear, BatchNorm1d, ReLU, Linear, BatchNorm1d).
template <class T>
struct TwoLinears {
  Matrix<T> first = tensor<T>("gemm_bn/param/0.weight");
  Matrix<T> second = tensor<T>("gemm_bn/param/3.weight");
  Eigen::Matrix<T, Eigen::Dynamic, 1> first_bias = tensor<T>("gemm_bn/param/0.bias");
  Eigen::Matrix<T, Eigen::Dynamic, 1> second_bias = tensor<T>("gemm_bn/param/3.bias");

  template <class Norm>
  Matrix<T> output(const Norm& first_norm, const Norm& second_norm) const {
    const Matrix<T> x = tensor<T>("gemm_bn/x").transpose();
    const Matrix<T> hidden = first_norm(Matrix<T>((first * x).colwise() + first_bias));
    return second_norm(Matrix<T>((second * hidden.cwiseMax(T(0))).colwise() + second_bias));
  }
};

template <class T>
void check_two_linears() {
  const LoadedState<T> first = norm_of<T>("gemm_bn", "1.", 1e-5);
  const LoadedState<T> second = norm_of<T>("gemm_bn", "4.", 1e-3);
  TwoLinears<T> network;
  check_output<T>(network.output(first.freeze(), second.freeze()), "gemm_bn");
  fold_after(linear(network.first), network.first_bias, first.state, first.options);
  fold_after(linear(network.second), network.second_bias, second.state, second.options);
  const auto nothing = [](const Matrix<T>& in) { return in; };
  check_output<T>(network.output(nothing, nothing), "gemm_bn");
}

/// Conv2d(3, 6, 3, padding=1) in plain loops: images of 3 x 6 x 5 become 6 x 6 x 5.
template <class T>
std::vector<T> convolve(const std::vector<T>& x, const std::vector<T>& weights,
                        const std::vector<T>& bias) {
  constexpr int inputs = 3, outputs = 6, rows = 6, columns = 5;
  std::vector<T> y;
  for (int image = 0; image < 2; ++image) {
    for (int out = 0; out < outputs; ++out) {
      for (int place = 0; place < rows * columns; ++place) {
        double sum = static_cast<double>(bias[static_cast<std::size_t>(out)]);
        for (int in = 0; in < inputs; ++in) {
          for (int tap = 0; tap < 9; ++tap) {
            const int row = place / columns + tap / 3 - 1;
            const int column = place % columns + tap % 3 - 1;
            if (row < 0 || row >= rows || column < 0 || column >= columns) continue;
            const int from = ((image * inputs + in) * rows + row) * columns + column;
            const int weight = (out * inputs + in) * 9 + tap;
            sum += static_cast<double>(x[static_cast<std::size_t>(from)]) *
                   static_cast<double>(weights[static_cast<std::size_t>(weight)]);
          }
        }
        y.push_back(static_cast<T>(sum));
      }
    }
  }
  return y;
}

template <class T>
void check_convolution() {
  const Tensors& tensors = models().tensors;
  const std::string id = "conv_bn_relu";
  const std::vector<T> x = tensors.values<T>(id + "/x");
  std::vector<T> weights = tensors.values<T>(id + "/param/0.weight");
  std::vector<T> bias = tensors.values<T>(id + "/param/0.bias");
  const LoadedState<T> norm = norm_of<T>(id, "1.", 1e-5);
  const auto check = [&](std::vector<T> y) {
    for (T& value : y) value = (std::max)(value, T(0));
    const Tolerance tolerance(case_of(id).at("tol").at(dtype_suffix<T>()));
    CHECK(outside(as_numbers(y), tensors.values<double>(id + "/y.f64"), tolerance) == "");
  };
  std::vector<T> y = convolve(x, weights, bias);
  const BatchView<T> view = channels_first(y.data(), 2, 6, 30);
  norm.freeze()(view, view);
  check(y);
  Eigen::Map<Eigen::Matrix<T, Eigen::Dynamic, 1>> folded_bias(bias.data(), 6);
  fold_after(convolution_oihw(weights.data(), 6, 3, 9), folded_bias, norm.state, norm.options);
  check(convolve(x, weights, bias));
}

}  // namespace

TEST_CASE("two linear layers with norms give PyTorch's outputs, unfolded and folded") {
  check_two_linears<float>();
  check_two_linears<double>();
}

TEST_CASE("a padded convolution with its norm gives PyTorch's outputs, unfolded and folded") {
  check_convolution<float>();
  check_convolution<double>();
}
