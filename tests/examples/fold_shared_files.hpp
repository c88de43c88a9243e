// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_TESTS_EXAMPLES_FOLD_SHARED_FILES_HPP
#define BATCHNORM_TESTS_EXAMPLES_FOLD_SHARED_FILES_HPP

#include <batchnorm/io/safetensors.hpp>
#include <string>

#include "fold_files.hpp"

// Files in which something is used twice, or in which something may stand between a layer and the
// norm whose name goes with it.

namespace fold_test {

inline void write(const std::string& folder, const std::string& name, const Tensors& tensors) {
  batchnorm::write_safetensors(folder + "/" + name + ".safetensors", tensors);
}

/// Sets the running means of a norm.
inline void set_means(Tensors& tensors, const std::string& prefix, const Numbers& means) {
  set(tensors, prefix + "running_mean", {static_cast<Index>(means.size())}, means, "F32");
}

/// What feeds several, or is fed by several.
inline void make_forks(const std::string& folder, example::Random& random) {
  Tensors shared;
  add_layer(shared, "conv.", {4, 3, 3, 3}, random);
  add_layer(shared, "other.", {4, 3, 3, 3}, random);
  add_norm(shared, pytorch("bn_a."), 4, random);
  add_norm(shared, pytorch("bn_b."), 4, random);
  write(folder, "shared", shared);

  Tensors namesakes;
  add_layer(namesakes, "conv1.", {4, 3, 3, 3}, random);
  add_layer(namesakes, "other.", {4, 3, 3, 3}, random);
  for (const std::string norm : {"bn1.", "norm1."}) {
    add_norm(namesakes, pytorch(norm), 4, random);
    set_means(namesakes, norm, {-1, 1, 1, 1});
  }
  write(folder, "namesakes", namesakes);

  Tensors without_statistics;
  add_layer(without_statistics, "conv1.", {4, 3, 3, 3}, random);
  add_norm(without_statistics, pytorch("head."), 4, random);
  without_statistics.set("bn1.weight", {4}, Numbers(4, 1.0));
  without_statistics.set("bn1.bias", {4}, Numbers(4, 0.0));
  write(folder, "without_statistics", without_statistics);

  Tensors sequence;
  add_layer(sequence, "0.", {4, 3}, random);
  add_norm(sequence, pytorch("1."), 4, random);
  set_means(sequence, "1.", {-1, 1, 1, 1});
  add_layer(sequence, "2.", {3, 4}, random);
  add_layer(sequence, "tail.", {3, 4}, random);
  add_norm(sequence, pytorch("head."), 4, random);
  write(folder, "sequence", sequence);

  Tensors broken;
  add_layer(broken, "0.", {2, 3}, random);
  add_norm(broken, pytorch("1."), 2, random);
  broken.set("1.running_var", {2}, Numbers{1.0, -0.5});
  add_norm(broken, pytorch("2."), 2, random);
  write(folder, "broken", broken);
}

/// One tensor under two names.
inline void make_tied(const std::string& folder, example::Random& random) {
  Tensors tied;
  add_layer(tied, "a.conv1.", {4, 3, 3, 3}, random);
  add_norm(tied, pytorch("a.bn1."), 4, random);
  set_means(tied, "a.bn1.", {-1, 1, 1, 1});
  Tensors copied = tied;
  // How PyTorch's writers of safetensors keep the name of a tensor that is there once for two.
  tied.metadata()["b.conv1.weight"] = "a.conv1.weight";
  write(folder, "tied", tied);
  tied.metadata() = {{"b.bn1.weight", "a.bn1.weight"}};
  write(folder, "tied_norm", tied);

  add_norm(copied, pytorch("b.bn1."), 4, random);
  set_means(copied, "b.bn1.", {-1, 1, 1, 1});
  copied.set("b.conv1.weight", copied.tensor("a.conv1.weight"));
  write(folder, "copied", copied);
}

/// Names that fit, and something that speaks against them.
inline void make_hazards(const std::string& folder, example::Random& random) {
  const auto pair = [&](Index channels, const Numbers& means) {
    Tensors tensors;
    add_layer(tensors, "conv1.", {channels, 3, 1, 1}, random);
    add_norm(tensors, pytorch("bn1."), channels, random);
    set_means(tensors, "bn1.", means);
    return tensors;
  };
  write(folder, "rectified", pair(8, {0.5, 0, 1, 2, 0.25, 3, 0, 1}));
  write(folder, "rectified_few", pair(4, {0.5, 0, 1, 2}));
  write(folder, "one_negative", pair(8, {0.5, 0, 1, 2, 0.25, 3, 0, -0.125}));
  write(folder, "all_zero", pair(8, Numbers(8, 0.0)));

  Tensors sequence;
  add_layer(sequence, "0.", {8, 3}, random);
  add_norm(sequence, pytorch("1."), 8, random);
  set_means(sequence, "1.", {-1, 1, 1, 1, 1, 1, 1, 1});
  add_norm(sequence, pytorch("2."), 8, random);
  set_means(sequence, "2.", Numbers(8, 0.5));
  write(folder, "rectified_chain", sequence);

  Tensors adapted = pair(4, {-1, 1, 1, 1});
  adapted.set("conv1.lora_A.weight", {1, 3}, Numbers(3, 0.0));
  write(folder, "adapted", adapted);

  Tensors quantised = pair(4, {-1, 1, 1, 1});
  quantised.set("input.act_Quant.scale", {1}, Numbers(1, 0.5));
  write(folder, "quantised", quantised);

  Tensors counted;
  set(counted, "dense_1/kernel", {3, 4}, drawn(random, 12, -1.0, 1.0), "F32");
  add_norm(counted, keras("batch_normalization_1/"), 4, random);
  set(counted, "dense/kernel", {3, 4}, drawn(random, 12, -1.0, 1.0), "F32");
  add_norm(counted, keras("bn/"), 4, random);
  set(counted, "stem/kernel", {3, 4}, drawn(random, 12, -1.0, 1.0), "F32");
  add_norm(counted, keras("stem_batch_normalization/"), 4, random);
  write(folder, "counted", counted);

  // Weights that are denormal already, beside a bias of ordinary size.
  Tensors denormal = pair(4, {-1, 1, 1, 1});
  denormal.set("conv1.weight", {4, 3, 1, 1}, std::vector<float>(12, 0x1p-149f));
  set(denormal, "bn1.weight", {4}, Numbers(4, 0.25), "F32");
  write(folder, "denormal", denormal);
}

inline void make_shared(const std::string& folder, example::Random& random) {
  make_forks(folder, random);
  make_tied(folder, random);
  make_hazards(folder, random);
}

}  // namespace fold_test

#endif  // BATCHNORM_TESTS_EXAMPLES_FOLD_SHARED_FILES_HPP
