// SPDX-License-Identifier: MIT
// Folded weights and outputs against PyTorch's: a checkpoint without biases, an exported
// convolution with padding, and one of two linear layers whose norms differ in epsilon.
#include <string>
#include <vector>

#include "batchnorm/fold/fold.hpp"
#include "batchnorm/fold/inference_map.hpp"
#include "support/catch.hpp"
#include "support/conformance.hpp"
#include "support/reference_convolution.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

template <class T>
using Vector = Eigen::Matrix<T, Eigen::Dynamic, 1>;

template <class T>
Vector<T> vector_of(const Tensors& tensors, const std::string& name) {
  return channel_vector<T>(tensors, name);
}

Options with_epsilon(double epsilon) {
  Options options = Options::pytorch();
  options.epsilon = epsilon;
  return options;
}

/// A norm of onnx_model: parameters and statistics stand under two prefixes.
template <class T>
State<T> exported_state(const Group& group, const std::string& id, const std::string& layer) {
  const std::string parameters = id + "/param/" + layer + ".";
  const std::string statistics = id + "/before/" + layer + ".";
  State<T> state(group.tensors.shape(parameters + "weight").at(0));
  state.gamma = vector_of<T>(group.tensors, parameters + "weight");
  state.beta = vector_of<T>(group.tensors, parameters + "bias");
  state.running_mean = vector_of<T>(group.tensors, statistics + "running_mean");
  state.running_variance = vector_of<T>(group.tensors, statistics + "running_var");
  return state;
}

const nlohmann::json& case_of(const Group& group, const std::string& id) {
  for (const auto& entry : group.cases()) {
    if (entry.at("id") == id) return entry;
  }
  throw std::runtime_error("no case " + id);
}

template <class T>
Tolerance tolerance_of(const Group& group, const std::string& id) {
  return Tolerance(case_of(group, id).at("tol").at(dtype_suffix<T>()));
}

template <class T>
void check_certificate(const FoldCertificate& certificate) {
  CHECK(certificate.probes_agree());
  CHECK(certificate.bound_ulps < (sizeof(T) == 4 ? 0.501 : 4.0));
}

template <class T>
void check_convolution(const Group& group) {
  const std::string id = "conv_bn_relu";
  std::vector<T> weight = group.tensors.values<T>(id + "/param/0.weight");
  Vector<T> bias = vector_of<T>(group.tensors, id + "/param/0.bias");
  const Tolerance tolerance = tolerance_of<T>(group, id);
  check_certificate<T>(fold_after(convolution_oihw(weight.data(), 6, 3, 9), bias,
                                  exported_state<T>(group, id, "1"), with_epsilon(1e-5)));
  CHECK(outside(as_numbers(weight), group.tensors.values<double>(id + "/folded.0.weight.f64"),
                tolerance) == "");
  CHECK(outside(as_numbers(bias), group.tensors.values<double>(id + "/folded.0.bias.f64"),
                tolerance) == "");

  using reference::Axis;
  reference::Convolution layer{6, 3, 1, {Axis{}, Axis{6, 3, 1, 1, 1}, Axis{5, 3, 1, 1, 1}}};
  layer.weights.assign(weight.begin(), weight.end());
  layer.bias.assign(bias.begin(), bias.end());
  const Numbers x = group.tensors.values<double>(id + "/x");
  Numbers output;
  for (std::size_t image = 0; image < 2; ++image) {
    reference::Planes planes{3, layer.input()};
    for (std::size_t i = 0; i < 90; ++i) planes.values[i] = x[image * 90 + i];
    for (const reference::Real value : reference::convolve(layer, planes).values) {
      output.push_back(static_cast<double>(value));
    }
  }
  CHECK(outside(output, group.tensors.values<double>(id + "/layer1.f64"), tolerance) == "");
}

template <class T>
void check_linear(const Group& group, const std::string& layer, const std::string& norm,
                  double epsilon) {
  const std::string id = "gemm_bn";
  auto weight = group.tensors.matrix<T>(id + "/param/" + layer + ".weight");
  Vector<T> bias = vector_of<T>(group.tensors, id + "/param/" + layer + ".bias");
  check_certificate<T>(
      fold_after(linear(weight), bias, exported_state<T>(group, id, norm), with_epsilon(epsilon)));
  const Tolerance tolerance = tolerance_of<T>(group, id);
  const auto expected = group.tensors.matrix<double>(id + "/folded." + layer + ".weight.f64");
  CHECK(outside(as_numbers(Eigen::MatrixXd(weight.template cast<double>())),
                as_numbers(Eigen::MatrixXd(expected)), tolerance) == "");
  CHECK(outside(as_numbers(bias),
                group.tensors.values<double>(id + "/folded." + layer + ".bias.f64"),
                tolerance) == "");
  const std::string in_name = layer == "0" ? "/x" : "/layer2.f64";
  const auto in = group.tensors.matrix<double>(id + in_name);
  const Eigen::MatrixXd out = (in * weight.template cast<double>().transpose()).rowwise() +
                              bias.template cast<double>().transpose();
  const auto reference = group.tensors.matrix<double>(id + "/layer" + norm + ".f64");
  CHECK(outside(as_numbers(out), as_numbers(Eigen::MatrixXd(reference)), tolerance) == "");
}

template <class T>
void check_digits(const Group& group) {
  const Tensors file = read_safetensors(reference_dir() + "/digits_mlp.safetensors");
  auto weight = file.matrix<T>("0.weight");
  Vector<T> bias;  // the layer has none
  const FoldCertificate certificate = fold_after(
      linear(weight), bias, load_state<T>(file, "1.", Options::pytorch()), with_epsilon(1e-5));
  check_certificate<T>(certificate);
  const Tolerance tolerance(group.cases().at(0).at("tol").at(dtype_suffix<T>()));
  const auto expected = group.tensors.matrix<double>("folded.weight.f64");
  CHECK(outside(as_numbers(Eigen::MatrixXd(weight.template cast<double>())),
                as_numbers(Eigen::MatrixXd(expected)), tolerance) == "");
  CHECK(outside(as_numbers(bias), group.tensors.values<double>("folded.bias.f64"), tolerance) ==
        "");
  const auto x = group.tensors.matrix<T>("x");
  const auto hidden = ((x * weight.transpose()).rowwise() + bias.transpose()).eval();
  const Eigen::MatrixXd logits =
      ((hidden.cwiseMax(T(0)) * file.matrix<T>("3.weight").transpose()).rowwise() +
       vector_of<T>(file, "3.bias").transpose())
          .template cast<double>();
  CHECK(outside(as_numbers(logits),
                as_numbers(Eigen::MatrixXd(group.tensors.matrix<double>("logits.f64"))),
                tolerance) == "");
}

}  // namespace

TEST_CASE("an exported convolution with padding folds to PyTorch's weights and outputs") {
  const Group group = load_group(reference_dir(), "onnx_model");
  check_convolution<float>(group);
  check_convolution<double>(group);
}

TEST_CASE("exported linear layers fold, each with the epsilon of its own norm") {
  const Group group = load_group(reference_dir(), "onnx_model");
  check_linear<float>(group, "0", "1", 1e-5);
  check_linear<double>(group, "0", "1", 1e-5);
  check_linear<float>(group, "3", "4", 1e-3);
  check_linear<double>(group, "3", "4", 1e-3);
}

TEST_CASE("the digits checkpoint folds to PyTorch's weights and logits") {
  if (is_left_out("digits_mlp", 1)) return;
  const Group group = load_group(conformance_dir(), "digits_mlp");
  check_digits<float>(group);
  check_digits<double>(group);
}
