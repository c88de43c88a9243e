// SPDX-License-Identifier: MIT
// Checkpoints for the test of 08_fold_checkpoint, and a look at what it made of them that asks
// neither the library's folds nor the example: element by element, by the formula.
//
//   fold_checkpoints make FOLDER
//   fold_checkpoints check FOLDER    every NAME.folded.safetensors against NAME.safetensors

#include <batchnorm/io/safetensors.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "fold_cases.hpp"
#include "fold_files.hpp"
#include "fold_refused_files.hpp"
#include "fold_shared_files.hpp"
#include "support/random.hpp"

namespace {

using namespace fold_test;

// ---- making

void make(const std::string& folder) {
  example::Random random(3);
  std::map<std::string, Tensors> files;
  for (const Case& layer : cases()) {
    Tensors& tensors = files[layer.file];
    set(tensors, layer.weight, layer.shape, drawn(random, count_of(layer.shape), -1.0, 1.0),
        layer.dtype);
    const Index outputs = channels_of(layer.output, layer.shape);
    const Index inputs = channels_of(layer.input, layer.shape);
    if (layer.has_bias) {
      set(tensors, layer.bias, {outputs}, drawn(random, outputs, -1.0, 1.0), bias_dtype(layer));
    }
    for (const NormKeys& norm : layer.behind) add_norm(tensors, norm, outputs, random);
    for (const NormKeys& norm : layer.front) add_norm(tensors, norm, inputs, random);
  }
  set(files["separable"], "sep/depthwise_kernel", {3, 3, 2, 2}, drawn(random, 36, -1.0, 1.0),
      "F32");
  for (auto& [name, tensors] : files) {
    tensors.metadata()["format"] = "pt";
    if (name == "resnet") tensors.set_value("bn1.num_batches_tracked", std::int64_t{10});
    batchnorm::write_safetensors(folder + "/" + name + ".safetensors", tensors);
  }
  make_refused(folder, random);
  make_shared(folder, random);
}

// ---- checking

constexpr double epsilon = 1e-5;

/// y = (x - mean) gamma / sqrt(variance + epsilon) + beta as y = x scale + shift.
struct Affine {
  Numbers scale, shift;

  Affine(const Tensors& tensors, const std::vector<NormKeys>& norms, Index channels)
      : scale(static_cast<std::size_t>(channels), 1.0),
        shift(static_cast<std::size_t>(channels), 0.0) {
    for (const NormKeys& keys : norms) {
      const Numbers gamma = tensors.values<double>(keys.gamma);
      const Numbers beta = tensors.values<double>(keys.beta);
      const Numbers mean = tensors.values<double>(keys.mean);
      const Numbers variance = tensors.values<double>(keys.variance);
      for (std::size_t i = 0; i < scale.size(); ++i) {
        const double gain = gamma[i] / std::sqrt(variance[i] + epsilon);
        scale[i] *= gain;
        shift[i] = (shift[i] - mean[i]) * gain + beta[i];
      }
    }
  }
};

void require_near(double result, double expected, const Case& layer, const std::string& key) {
  const std::string dtype = key == layer.bias ? bias_dtype(layer) : layer.dtype;
  const double unit = dtype == "F64" ? 1e-14 : dtype == "F32" ? 1e-6 : dtype == "F16" ? 1e-3 : 8e-3;
  if (std::fabs(result - expected) <= unit * (1.0 + std::fabs(expected))) return;
  throw std::runtime_error(layer.file + " " + key + ": got " + std::to_string(result) +
                           ", expected " + std::to_string(expected));
}

void check(const Case& layer, const Tensors& before, const Tensors& after) {
  const Affine behind(before, layer.behind, channels_of(layer.output, layer.shape));
  const Affine front(before, layer.front, channels_of(layer.input, layer.shape));
  const Numbers weights = before.values<double>(layer.weight);
  const Numbers folded = after.values<double>(layer.weight);
  if (after.shape(layer.weight) != layer.shape || after.dtype(layer.weight) != layer.dtype ||
      after.dtype(layer.bias) != bias_dtype(layer)) {
    throw std::runtime_error(layer.weight + ": another shape or type");
  }
  Numbers bias(behind.scale.size(), 0.0);
  if (layer.has_bias) bias = before.values<double>(layer.bias);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const Index element = static_cast<Index>(i);
    const auto out = static_cast<std::size_t>(channel_of(layer.output, layer.shape, element));
    const auto in = static_cast<std::size_t>(channel_of(layer.input, layer.shape, element));
    require_near(folded[i], weights[i] * behind.scale[out] * front.scale[in], layer, layer.weight);
    bias[out] += weights[i] * front.shift[in];
  }
  const Numbers folded_bias = after.values<double>(layer.bias);
  for (std::size_t out = 0; out < bias.size(); ++out) {
    require_near(folded_bias.at(out), bias[out] * behind.scale[out] + behind.shift[out], layer,
                 layer.bias);
  }
  for (const auto& norms : {layer.front, layer.behind}) {
    for (const NormKeys& keys : norms) {
      for (const std::string& key : {keys.gamma, keys.beta, keys.mean, keys.variance}) {
        if (after.contains(key)) throw std::runtime_error(key + " is still there");
      }
    }
  }
}

void check(const std::string& folder) {
  int checked = 0;
  for (const Case& layer : cases()) {
    const std::string folded = folder + "/" + layer.file + ".folded.safetensors";
    const Tensors before = batchnorm::read_safetensors(folder + "/" + layer.file + ".safetensors");
    const Tensors after = batchnorm::read_safetensors(folded);
    if (after.contains("bn1.num_batches_tracked")) throw std::runtime_error("a counter is left");
    if (after.metadata().at("format") != "pt") throw std::runtime_error("metadata are lost");
    check(layer, before, after);
    ++checked;
  }
  std::printf("checked %d layers\n", checked);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const std::string command = argc == 3 ? argv[1] : "";
    if (command == "make") {
      make(argv[2]);
    } else if (command == "check") {
      check(argv[2]);
    } else {
      throw std::invalid_argument("usage: fold_checkpoints make|check FOLDER");
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fold_checkpoints: %s\n", error.what());
    return 1;
  }
}
