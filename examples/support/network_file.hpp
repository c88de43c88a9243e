// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_NETWORK_FILE_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_NETWORK_FILE_HPP

// The network as a safetensors file, under the names that PyTorch gives to
// Sequential(Linear, BatchNorm1d, ReLU, Linear, BatchNorm1d, ReLU, Linear).

#include <batchnorm/io/safetensors.hpp>
#include <stdexcept>
#include <string>

#include "support/network.hpp"

namespace example {

inline void save_dense(batchnorm::Tensors& tensors, const std::string& prefix, const Dense& dense) {
  tensors.set(prefix + "weight", dense.weight);
  if (dense.bias.size() > 0) tensors.set(prefix + "bias", dense.bias);
}

inline void save_network(const std::string& path, const Network& network) {
  batchnorm::Tensors tensors;
  save_dense(tensors, "0.", network.first.dense);
  batchnorm::save_state(tensors, "1.", network.first.norm.state(), network.first.norm.options());
  save_dense(tensors, "3.", network.second.dense);
  batchnorm::save_state(tensors, "4.", network.second.norm.state(), network.second.norm.options());
  save_dense(tensors, "6.", network.last);
  batchnorm::write_safetensors(path, tensors);
}

/// Reads networks from one file; whatever it refuses, it refuses with the names of file and tensor.
class NetworkReader {
 public:
  explicit NetworkReader(const std::string& path)
      : path_(path), tensors_(batchnorm::read_safetensors(path)) {}

  HiddenLayer hidden(const std::string& dense_prefix, const std::string& norm_prefix,
                     Eigen::Index inputs, Eigen::Index outputs) const {
    // Files of PyTorch itself do not say which epsilon the network was trained with.
    const batchnorm::Options options = batchnorm::has_options(tensors_, norm_prefix)
                                           ? batchnorm::load_options(tensors_, norm_prefix)
                                           : batchnorm::Options::pytorch();
    batchnorm::State<float> state = batchnorm::load_state<float>(tensors_, norm_prefix, options);
    check(norm_prefix + "running_mean", state.channels() == outputs,
          std::to_string(outputs) + " channels");
    check(norm_prefix + "weight", state.gamma.allFinite(), "finite numbers");
    check(norm_prefix + "bias", state.beta.allFinite(), "finite numbers");
    return {dense(dense_prefix, inputs, outputs), batchnorm::BatchNorm<float>(state, options)};
  }

  Dense dense(const std::string& prefix, Eigen::Index inputs, Eigen::Index outputs) const {
    Dense layer{matrix(prefix + "weight", outputs, inputs), {}};
    if (tensors_.contains(prefix + "bias")) layer.bias = matrix(prefix + "bias", outputs, 1);
    return layer;
  }

 private:
  Eigen::MatrixXf matrix(const std::string& key, Eigen::Index rows, Eigen::Index cols) const {
    Eigen::MatrixXf values = tensors_.matrix<float>(key);
    check(key, values.rows() == rows && values.cols() == cols,
          std::to_string(rows) + " x " + std::to_string(cols) + " numbers");
    check(key, values.allFinite(), "finite numbers");
    return values;
  }

  void check(const std::string& key, bool fulfilled, const std::string& expected) const {
    if (!fulfilled) throw std::runtime_error(path_ + ": expected " + expected + " in " + key);
  }

  std::string path_;
  batchnorm::Tensors tensors_;
};

inline Network load_network(const std::string& path) {
  const NetworkReader reader(path);
  return {reader.hidden("0.", "1.", pixels, 48), reader.hidden("3.", "4.", 48, 32),
          reader.dense("6.", 32, classes)};
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_NETWORK_FILE_HPP
