// SPDX-License-Identifier: MIT
// Checkpoints for the test of 07_fold_checkpoint, and a look at what it made of them that asks
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
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/random.hpp"

namespace {

using batchnorm::Index;
using batchnorm::Tensors;
using Shape = std::vector<Index>;
using Numbers = std::vector<double>;

/// Where the channel of an element stands: an axis that has the channels, or the last two together
/// (depthwise), or the second axis with as many groups of it (transposed, PyTorch).
struct ChannelOf {
  std::size_t axis;
  bool with_next = false;
  Index groups = 1;
};

/// gamma, beta, mean and variance of a layer, by name.
struct NormKeys {
  std::string gamma, beta, mean, variance;
};

NormKeys pytorch(const std::string& prefix) {
  return {prefix + "weight", prefix + "bias", prefix + "running_mean", prefix + "running_var"};
}
NormKeys keras(const std::string& prefix) {
  return {prefix + "gamma", prefix + "beta", prefix + "moving_mean", prefix + "moving_variance"};
}
NormKeys flax(const std::string& name) {
  return {"params/" + name + "/scale", "params/" + name + "/bias", "batch_stats/" + name + "/mean",
          "batch_stats/" + name + "/var"};
}

/// One layer of a test file and the norms around it.
struct Case {
  std::string file;
  std::string weight, bias;
  Shape shape;
  ChannelOf output, input;
  bool has_bias;
  std::vector<NormKeys> behind;
  std::vector<NormKeys> front;
  std::string dtype = "F32";
};

std::vector<Case> cases() {
  const ChannelOf first{0}, second{1}, third{2}, fourth{3};
  return {
      {"resnet",
       "conv1.weight",
       "conv1.bias",
       {4, 3, 3, 3},
       first,
       second,
       false,
       {pytorch("bn1.")},
       {}},
      {"resnet",
       "layer1.0.conv1.weight",
       "layer1.0.conv1.bias",
       {4, 4, 3, 3},
       first,
       second,
       true,
       {pytorch("layer1.0.bn1.")},
       {}},
      {"resnet",
       "layer1.0.downsample.0.weight",
       "layer1.0.downsample.0.bias",
       {4, 4, 1, 1},
       first,
       second,
       false,
       {pytorch("layer1.0.downsample.1.")},
       {}},
      {"chain",
       "0.weight",
       "0.bias",
       {4, 6},
       first,
       second,
       true,
       {pytorch("1."), pytorch("2.")},
       {}},
      {"chain",
       "5.weight",
       "5.bias",
       {3, 4},
       first,
       second,
       false,
       {pytorch("6.")},
       {pytorch("4.")}},
      {"front", "1.weight", "1.bias", {4, 3, 3, 3}, first, second, true, {}, {pytorch("0.")}},
      {"keras",
       "conv1/kernel",
       "conv1/bias",
       {3, 2, 2, 4},
       fourth,
       third,
       true,
       {keras("conv1_bn/")},
       {}},
      {"keras",
       "dense1/kernel",
       "dense1/bias",
       {4, 5},
       second,
       first,
       false,
       {keras("norm1/")},
       {}},
      {"keras",
       "dw/depthwise_kernel",
       "dw/bias",
       {3, 3, 2, 2},
       {2, true},
       {2, true},
       false,
       {keras("dw_bn/")},
       {}},
      {"flax",
       "params/conv1/kernel",
       "params/conv1/bias",
       {3, 3, 2, 4},
       fourth,
       third,
       true,
       {flax("bn1")},
       {}},
      {"transposed",
       "up.0.weight",
       "up.0.bias",
       {4, 2, 2, 2},
       {1, false, 2},
       first,
       false,
       {pytorch("up.1.")},
       {}},
      {"transposed",
       "deconv1.weight",
       "deconv1.bias",
       {3, 4, 2, 2},
       second,
       first,
       true,
       {pytorch("deconv1_bn.")},
       {}},
      {"half",
       "conv1.weight",
       "conv1.bias",
       {4, 3, 3, 3},
       first,
       second,
       true,
       {pytorch("bn1.")},
       {},
       "F16"},
      {"bfloat",
       "conv1.weight",
       "conv1.bias",
       {4, 3, 3, 3},
       first,
       second,
       false,
       {pytorch("bn1.")},
       {},
       "BF16"},
      {"double",
       "conv1.weight",
       "conv1.bias",
       {4, 3, 3, 3},
       first,
       second,
       true,
       {pytorch("bn1.")},
       {},
       "F64"},
  };
}

Index count_of(const Shape& shape) {
  Index count = 1;
  for (const Index extent : shape) count *= extent;
  return count;
}

Index channel_of(const ChannelOf& where, const Shape& shape, Index element) {
  Shape places(shape.size());
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    places[axis] = element % shape[axis];
    element /= shape[axis];
  }
  if (where.with_next) return places[where.axis] * shape[where.axis + 1] + places[where.axis + 1];
  if (where.groups == 1) return places[where.axis];
  return places[0] / (shape[0] / where.groups) * shape[1] + places[1];
}

Index channels_of(const ChannelOf& where, const Shape& shape) {
  const Index own = shape[where.axis];
  return where.with_next ? own * shape[where.axis + 1] : own * where.groups;
}

// ---- making

Numbers drawn(example::Random& random, Index count, double low, double high) {
  Numbers numbers;
  for (Index i = 0; i < count; ++i) numbers.push_back(random.between(low, high));
  return numbers;
}

template <class T>
void set_as(Tensors& tensors, const std::string& key, const Shape& shape, const Numbers& numbers) {
  std::vector<T> elements;
  for (const double number : numbers) elements.push_back(static_cast<T>(number));
  tensors.set(key, shape, elements);
}

void set(Tensors& tensors, const std::string& key, const Shape& shape, const Numbers& numbers,
         const std::string& dtype) {
  if (dtype == "F64") return set_as<double>(tensors, key, shape, numbers);
  if (dtype == "F16") return set_as<Eigen::half>(tensors, key, shape, numbers);
  if (dtype == "BF16") return set_as<Eigen::bfloat16>(tensors, key, shape, numbers);
  set_as<float>(tensors, key, shape, numbers);
}

void add_norm(Tensors& tensors, const NormKeys& keys, Index channels, example::Random& random) {
  set(tensors, keys.gamma, {channels}, drawn(random, channels, -2.0, 2.0), "F32");
  set(tensors, keys.beta, {channels}, drawn(random, channels, -1.0, 1.0), "F32");
  set(tensors, keys.mean, {channels}, drawn(random, channels, -1.0, 1.0), "F32");
  set(tensors, keys.variance, {channels}, drawn(random, channels, 0.1, 4.0), "F32");
}

void add_layer(Tensors& tensors, const std::string& prefix, const Shape& shape,
               example::Random& random) {
  set(tensors, prefix + "weight", shape, drawn(random, count_of(shape), -1.0, 1.0), "F32");
}

/// Files in which something cannot be folded, or is wrong.
void make_others(const std::string& folder, example::Random& random) {
  Tensors preactivation;
  for (const std::string block : {"a.", "b."}) {
    add_norm(preactivation, pytorch(block + "bn1."), 4, random);
    add_layer(preactivation, block + "conv1.", {block == "a." ? 4 : 8, 4, 3, 3}, random);
  }
  batchnorm::write_safetensors(folder + "/preactivation.safetensors", preactivation);

  Tensors lonely;
  add_norm(lonely, pytorch("head.bn."), 4, random);
  add_layer(lonely, "body.", {4, 3}, random);
  batchnorm::write_safetensors(folder + "/lonely.safetensors", lonely);

  Tensors several;
  add_norm(several, pytorch("x.bn1."), 4, random);
  add_layer(several, "x.conv1.", {4, 3, 1, 1}, random);
  add_layer(several, "x.fc1.", {4, 3}, random);
  batchnorm::write_safetensors(folder + "/several.safetensors", several);

  Tensors negative;
  add_layer(negative, "conv1.", {2, 3, 1, 1}, random);
  add_norm(negative, pytorch("bn1."), 2, random);
  negative.set("bn1.running_var", {2}, Numbers{1.0, -0.5});
  batchnorm::write_safetensors(folder + "/negative.safetensors", negative);

  Tensors upwards;
  add_layer(upwards, "deconv.", {4, 4, 2, 2}, random);
  add_norm(upwards, pytorch("deconv_bn."), 4, random);
  batchnorm::write_safetensors(folder + "/upwards.safetensors", upwards);

  Tensors ours;
  add_layer(ours, "0.", {2, 3}, random);
  batchnorm::save_state(ours, "1.", batchnorm::State<float>(2), batchnorm::Options::keras());
  batchnorm::write_safetensors(folder + "/ours.safetensors", ours);

  Tensors plain;
  add_layer(plain, "fc.", {2, 3}, random);
  batchnorm::write_safetensors(folder + "/plain.safetensors", plain);

  // The first network again, in two shards.
  const Tensors whole = batchnorm::read_safetensors(folder + "/resnet.safetensors");
  Tensors shards[2];
  std::string map;
  std::size_t next = 0;
  for (const std::string& key : whole.keys()) {
    const std::size_t shard = next++ % 2;
    shards[shard].set(key, whole.tensor(key));
    map += (map.empty() ? "\"" : ",\"") + key + "\":\"shard-" + std::to_string(shard) + "\"";
  }
  for (int shard = 0; shard < 2; ++shard) {
    batchnorm::write_safetensors(folder + "/shard-" + std::to_string(shard), shards[shard]);
  }
  std::ofstream(folder + "/sharded.index.json") << "{\"weight_map\":{" << map << "}}";
}

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
      set(tensors, layer.bias, {outputs}, drawn(random, outputs, -1.0, 1.0), layer.dtype);
    }
    for (const NormKeys& norm : layer.behind) add_norm(tensors, norm, outputs, random);
    for (const NormKeys& norm : layer.front) add_norm(tensors, norm, inputs, random);
  }
  for (auto& [name, tensors] : files) {
    tensors.metadata()["format"] = "pt";
    if (name == "resnet") tensors.set_value("bn1.num_batches_tracked", std::int64_t{10});
    batchnorm::write_safetensors(folder + "/" + name + ".safetensors", tensors);
  }
  make_others(folder, random);
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
  const double unit = layer.dtype == "F64"   ? 1e-14
                      : layer.dtype == "F32" ? 1e-6
                      : layer.dtype == "F16" ? 1e-3
                                             : 8e-3;
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
      after.dtype(layer.bias) != layer.dtype) {
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
