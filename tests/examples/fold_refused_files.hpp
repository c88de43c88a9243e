// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_TESTS_EXAMPLES_FOLD_REFUSED_FILES_HPP
#define BATCHNORM_TESTS_EXAMPLES_FOLD_REFUSED_FILES_HPP

#include <batchnorm/io/safetensors.hpp>
#include <cstddef>
#include <fstream>
#include <string>

#include "fold_files.hpp"

namespace fold_test {

/// Files in which something cannot be folded, or is wrong.
inline void make_refused(const std::string& folder, example::Random& random) {
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

  Tensors burn;
  add_layer(burn, "fc1.", {4, 4}, random);
  add_norm(burn, {"bn1.gamma", "bn1.beta", "bn1.running_mean", "bn1.running_var"}, 4, random);
  add_layer(burn, "conv2.", {4, 4, 1, 1}, random);
  add_norm(burn, {"bn2.gamma", "bn2.beta", "bn2.running_mean", "bn2.running_var"}, 4, random);
  batchnorm::write_safetensors(folder + "/burn.safetensors", burn);

  Tensors keras1;
  add_layer(keras1, "a/conv1_.", {4, 4, 1, 1}, random);
  add_norm(keras1, {"bn1/bn1_gamma", "bn1/bn1_beta", "bn1/bn1_running_mean", "bn1/bn1_running_std"},
           4, random);
  batchnorm::write_safetensors(folder + "/keras1.safetensors", keras1);

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

}  // namespace fold_test

#endif  // BATCHNORM_TESTS_EXAMPLES_FOLD_REFUSED_FILES_HPP
