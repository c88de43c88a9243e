// SPDX-License-Identifier: MIT
#include "batchnorm/io/batch_norms.hpp"

#include <cstdint>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/layer_files.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

/// "PyTorch bn. gbmv 3 F32": system, prefix (both when they differ), what is there, channels,
/// dtype.
std::string described(const FoundBatchNorm& layer) {
  std::string line = layer.naming.system() + " " + layer.prefix.parameters;
  if (layer.prefix.is_pair()) line += "|" + layer.prefix.statistics;
  line += " ";
  const std::string letters = "gbmvcewfi";
  for (std::size_t role = 0; role < roles; ++role) {
    if (layer.has(static_cast<Role>(role))) line += letters[role];
  }
  return line + " " + std::to_string(layer.channels) + " " + layer.dtype;
}

std::vector<std::string> found(const Tensors& tensors) {
  std::vector<std::string> lines;
  for (const FoundBatchNorm& layer : find_batch_norms(tensors)) lines.push_back(described(layer));
  return lines;
}

std::string located(const Tensors& tensors, const LayerPrefix& prefix) {
  const auto layer = detail::locate(tensors, prefix, std::nullopt);
  return layer ? described(*layer) : "nothing";
}

using Texts = std::vector<std::string>;

Tensors with(const std::vector<LayerKeys>& layers) {
  Tensors tensors;
  for (const LayerKeys& keys : layers) add_layer(tensors, keys);
  return tensors;
}

}  // namespace

TEST_CASE("layers of every system are found, with what they have") {
  CHECK(found(pytorch_layer("layer1.0.bn2.")) == Texts{"PyTorch layer1.0.bn2. gbmvc 3 F32"});
  CHECK(found(with({{"bn/gamma", "bn/beta", "bn/moving_mean", "bn/moving_variance"}})) ==
        Texts{"Keras bn/ gbmv 3 F32"});
  CHECK(found(with({{"bn/gamma:0", "bn/beta:0", "bn/moving_mean:0", "bn/moving_variance:0"}})) ==
        Texts{"Keras bn/ gbmv 3 F32"});
  CHECK(found(with({{"bn.scale", "bn.bias", "bn.mean", "bn.var"}})) ==
        Texts{"Flax bn. gbmv 3 F32"});
  CHECK(found(with({{"bn.scale", "bn.B", "bn.input_mean", "bn.input_var"}})) ==
        Texts{"ONNX bn. gbmv 3 F32"});
  CHECK(found(with({{"bn.scale", "bn.B", "bn.mean", "bn.var"}})) == Texts{"ONNX bn. gbmv 3 F32"});
  CHECK(found(with({{"bn/vars/0", "bn/vars/1", "bn/vars/2", "bn/vars/3"}})) ==
        Texts{"Keras 3 bn/vars/ gbmv 3 F32"});
}

TEST_CASE("mean and deviation may be the two columns, or rows, of one tensor") {
  const auto moments = [](const std::vector<Index>& shape) {
    Tensors tensors = with({{"b_g", "b_b", "", ""}});
    std::size_t size = 1;
    for (const Index extent : shape) size *= static_cast<std::size_t>(extent);
    tensors.set("b_m", shape, std::vector<float>(size, 1.0f));
    return found(tensors);
  };
  CHECK(moments({3, 2}) == Texts{"MatConvNet b_ gbmv 3 F32"});
  CHECK(moments({2, 3}) == Texts{"MatConvNet b_ gbmv 3 F32"});
  CHECK(moments({3}).empty());
  CHECK(moments({4, 2}).empty());
  Tensors columns = with({{"b_g", "b_b", "", ""}});
  columns.set("b_m", {3, 2}, std::vector<float>(6, 1.0f));
  columns.set("b_g", {3, 2}, std::vector<float>(6, 1.0f));
  CHECK(found(columns).empty());
}

TEST_CASE("the roles are not mixed up") {
  const Tensors tensors = with({{"bn.vars.0", "bn.vars.1", "bn.vars.2", "bn.vars.3"}});
  const FoundBatchNorm layer = find_batch_norms(tensors).at(0);
  CHECK(layer.key(Role::gamma) == "bn.vars.0");
  CHECK(layer.key(Role::beta) == "bn.vars.1");
  CHECK(layer.key(Role::mean) == "bn.vars.2");
  CHECK(layer.key(Role::variance) == "bn.vars.3");
  const FoundBatchNorm other = find_batch_norms(pytorch_layer("")).at(0);
  CHECK(other.key(Role::gamma) == "weight");
  CHECK(other.key(Role::beta) == "bias");
  CHECK(other.key(Role::mean) == "running_mean");
  CHECK(other.key(Role::variance) == "running_var");
  CHECK(other.key(Role::counter) == "num_batches_tracked");
}

TEST_CASE("Flax's two trees make one layer") {
  CHECK(found(with({{"params/a/bn/scale", "params/a/bn/bias", "batch_stats/a/bn/mean",
                     "batch_stats/a/bn/var"}})) ==
        Texts{"Flax params/a/bn/|batch_stats/a/bn/ gbmv 3 F32"});
  CHECK(found(with({{"params.bn.scale", "params.bn.bias", "batch_stats.bn.mean",
                     "batch_stats.bn.var"}})) ==
        Texts{"Flax params.bn.|batch_stats.bn. gbmv 3 F32"});
  CHECK(found(with({{"", "", "batch_stats/bn/mean", "batch_stats/bn/var"}})) ==
        Texts{"Flax params/bn/|batch_stats/bn/ mv 3 F32"});
}

TEST_CASE("layers come in the order of their numbers") {
  Tensors tensors = with({pytorch_keys("10."),
                          pytorch_keys("9."),
                          pytorch_keys("1."),
                          {"bn/gamma", "bn/beta", "bn/moving_mean", "bn/moving_variance"}});
  CHECK(found(tensors) == Texts{"PyTorch 1. gbmv 3 F32", "PyTorch 9. gbmv 3 F32",
                                "PyTorch 10. gbmv 3 F32", "Keras bn/ gbmv 3 F32"});
}

TEST_CASE("layers without scale, shift or statistics are recognised") {
  CHECK(found(with({{"", "", "x.running_mean", "x.running_var"}})) == Texts{"PyTorch x. mv 3 F32"});
  CHECK(found(with({{"x.weight", "", "x.running_mean", "x.running_var"}})) ==
        Texts{"PyTorch x. gmv 3 F32"});
  CHECK(found(with({{"", "x/beta", "x/moving_mean", "x/moving_variance"}})) ==
        Texts{"Keras x/ bmv 3 F32"});
  CHECK(found(with({{"net.bn1.weight", "net.bn1.bias", "", ""}})) ==
        Texts{"PyTorch net.bn1. gb 3 F32"});
  CHECK(found(with({{"BatchNorm_0/scale", "BatchNorm_0/bias", "", ""}})) ==
        Texts{"Flax BatchNorm_0/ gb 3 F32"});
}

TEST_CASE("other layers are no batch norm") {
  CHECK(found(with({{"norm.weight", "norm.bias", "", ""}})).empty());
  CHECK(found(with({{"subnet.weight", "subnet.bias", "", ""}})).empty());
  CHECK(found(with({{"", "", "reward.mean", ""}})).empty());
  Tensors linear;
  linear.set("bn.weight", {2, 3}, std::vector<float>(6));
  linear.set("bn.bias", {2}, std::vector<float>(2));
  CHECK(found(linear).empty());
  Tensors counts;
  counts.set("x.mean", {2}, std::vector<std::int32_t>(2));
  counts.set("x.var", {2}, std::vector<std::int32_t>(2));
  CHECK(found(counts).empty());
  Tensors images;
  images.set("x.mean", {3, 1, 1}, std::vector<float>(3));
  images.set("x.var", {3, 1, 1}, std::vector<float>(3));
  CHECK(found(images).empty());
  CHECK(found(Tensors()).empty());
}

TEST_CASE("four vectors of one size are a layer only when something says their order") {
  CHECK(found(with({{"list.0", "list.1", "list.2", "list.3"}})).empty());
  CHECK(found(with({{"bn/0", "bn/1", "bn/2", "bn/3"}})).empty());
  CHECK(found(with({{"vars/0", "vars/1", "vars/2", "vars/3"}})).empty());
  CHECK(found(with({{"dense/vars/0", "dense/vars/1", "dense/vars/2", "dense/vars/3"}})).empty());
  CHECK(located(with({{"list.0", "list.1", "list.2", "list.3"}}), "list.") == "nothing");
  const std::string bn = "layers/batch_normalization/vars/";
  const std::string line = "Keras 3 " + bn + " gbmv 3 F32";
  Tensors list = with({{bn + "0", bn + "1", bn + "2", bn + "3"}});
  CHECK(found(list) == Texts{line});
  CHECK(located(list, bn) == line);
  list.set(bn + "4", {3}, std::vector<float>(3));
  CHECK(found(list).empty());
  // Of three, nobody knows whether the first is gamma or beta.
  CHECK(found(with({{bn + "0", bn + "1", bn + "2", ""}})) == Texts{"Keras 3 " + bn + " gmv 3 F32"});
  CHECK(found(with({{bn + "0", bn + "1", "", ""}})) == Texts{"Keras 3 " + bn + " mv 3 F32"});
  CHECK(found(with({{bn + "0", "", "", ""}})).empty());
  Tensors saved = with({{"list.0", "list.1", "list.2", "list.3"}});
  saved.metadata()["batchnorm:list."] = "{}";
  CHECK(found(saved) == Texts{"RTNeural list. gbmv 3 F32"});
}

TEST_CASE("what an optimizer keeps is no layer") {
  for (const std::string slot :
       {"optimizer_weights/Adam/m/batch_normalization/", "opt_state/0/mu/bn/", "optimizer/bn1/",
        "optim.m.bn1.", "optimizer_state_dict.bn1.", "bn/gamma/.OPTIMIZER_SLOT/optimizer/m/bn/"}) {
    INFO(slot);
    CHECK(found(with({{slot + "gamma:0", slot + "beta:0", "", ""}})).empty());
    CHECK(found(with({{slot + "weight", slot + "bias", "", ""}})).empty());
    CHECK(located(with({{slot + "gamma", slot + "beta", "", ""}}), slot) == "nothing");
  }
  const std::string list = "optimizer/batch_normalization/vars/";
  CHECK(found(with({{list + "0", list + "1", list + "2", list + "3"}})).empty());
  CHECK(located(with({{list + "0", list + "1", list + "2", list + "3"}}), list) == "nothing");
  // An optimizer has no statistics, so this is a layer of a network that is called so.
  CHECK(found(with({pytorch_keys("optimizer.bn.")})) == Texts{"PyTorch optimizer.bn. gbmv 3 F32"});
  Tensors keras = with({{"bn/gamma", "bn/beta", "bn/moving_mean", "bn/moving_variance"},
                        {"bn/gamma/Adam", "bn/beta/Adam", "", ""},
                        {"bn/gamma/Adam_1", "bn/beta/Adam_1", "", ""}});
  CHECK(found(keras) == Texts{"Keras bn/ gbmv 3 F32"});
}

TEST_CASE("an averaged copy of a network is not listed beside the network") {
  for (const std::string ema : {"ema.", "state_dict_ema.", "model_ema.module."}) {
    INFO(ema);
    CHECK(found(with({pytorch_keys("bn1."), pytorch_keys(ema + "bn1.")})) ==
          Texts{"PyTorch bn1. gbmv 3 F32"});
    CHECK(found(with({pytorch_keys("model.bn1."), pytorch_keys(ema + "bn1.")})) ==
          Texts{"PyTorch model.bn1. gbmv 3 F32"});
    CHECK(found(with({pytorch_keys("bn2."), pytorch_keys(ema + "bn1.")})).size() == 2);
    CHECK(found(with({pytorch_keys(ema + "bn1.")})) == Texts{"PyTorch " + ema + "bn1. gbmv 3 F32"});
  }
}

TEST_CASE("a block that is called ema is no copy of a network") {
  // Attention blocks are called so, and have norms with the names of others.
  CHECK(found(with({pytorch_keys("a.bn1."), pytorch_keys("b.ema.bn1.")})).size() == 2);
  CHECK(found(with({pytorch_keys("b.bn1."), pytorch_keys("b.bn2."), pytorch_keys("b.ema.bn1.")}))
            .size() == 3);
  // A copy has all layers of its network; others may stand beside.
  CHECK(found(with({pytorch_keys("x.net.bn1."), pytorch_keys("x.net.bn2."), pytorch_keys("y.bn1."),
                    pytorch_keys("x.ema.bn1."), pytorch_keys("x.ema.bn2.")})) ==
        Texts{"PyTorch x.net.bn1. gbmv 3 F32", "PyTorch x.net.bn2. gbmv 3 F32",
              "PyTorch y.bn1. gbmv 3 F32"});
}

TEST_CASE("averaged parameters of Flax are no layer") {
  const Tensors tensors =
      with({{"params/bn/scale", "params/bn/bias", "batch_stats/bn/mean", "batch_stats/bn/var"},
            {"ema_params/bn/scale", "ema_params/bn/bias", "", ""}});
  REQUIRE(find_batch_norms(tensors).size() == 1);
  CHECK(find_batch_norms(tensors)[0].prefix == LayerPrefix("params/bn/", "batch_stats/bn/"));
}

TEST_CASE("Haiku keeps the axes of an image in its vectors") {
  const std::string bn = "net/~/bn/";
  Tensors tensors;
  for (const char* name : {"scale", "offset", "~/mean_ema/average", "~/var_ema/average"}) {
    const std::string tree = name[0] == '~' ? "state/" : "params/";
    tensors.set(tree + bn + name, {1, 1, 1, 3}, std::vector<float>(3, 1.0f));
  }
  REQUIRE(find_batch_norms(tensors).size() == 1);
  const FoundBatchNorm layer = find_batch_norms(tensors)[0];
  CHECK(layer.naming == Naming::haiku());
  CHECK(layer.prefix == LayerPrefix("params/net/~/bn/", "state/net/~/bn/"));
  CHECK(layer.channels == 3);
}

TEST_CASE("tensors that are only counted are a layer when it is called batch norm") {
  const auto counted = [](const std::string& prefix) {
    return with({{prefix + "w_0", prefix + "b_0", prefix + "w_1", prefix + "w_2"}});
  };
  CHECK(found(counted("batch_norm_0.")) == Texts{"Paddle, static batch_norm_0. gbmv 3 F32"});
  CHECK(found(counted("batch_norm2d_7.")) == Texts{"Paddle, static batch_norm2d_7. gbmv 3 F32"});
  CHECK(found(counted("gru_0.")).empty());
  CHECK(located(counted("gru_0."), "gru_0.") == "Caffe2 gru_0. b 3 F32");  // refused: no statistics
}

TEST_CASE("vectors of different sizes are no layer, unless their names say so") {
  const auto with_four_variances = [](const LayerKeys& keys) {
    Tensors tensors = with({keys});
    tensors.set(keys.variance, {4}, std::vector<float>{1, 2, 3, 4});
    return found(tensors);
  };
  CHECK(with_four_variances({"x.scale", "x.bias", "x.mean", "x.var"}).empty());
  CHECK(with_four_variances({"x.weight", "x.bias", "x.running_mean", "x.running_var"}) ==
        Texts{"PyTorch x. gbmv 3 F32"});
}

TEST_CASE("what a quantiser has observed is no layer") {
  for (const std::string prefix :
       {"conv1.weight_fake_quant.", "act_Quant.", "x.observer.", "x.activation_post_process."}) {
    INFO(prefix);
    CHECK(found(with({{"", "", prefix + "running_mean", prefix + "running_var"}})).empty());
    CHECK(found(with({{"", "", prefix + "mean", prefix + "var"}})).empty());
  }
  CHECK(found(with({pytorch_keys("quantized_block.bn.")})) ==
        Texts{"PyTorch quantized_block.bn. gbmv 3 F32"});
}

TEST_CASE("a prefix is listed once, under the system that it is loaded as") {
  for (const auto& second : {LayerKeys{"x.gamma", "x.beta", "x.moving_mean", "x.moving_variance"},
                             LayerKeys{"x.scale", "x.shift", "x.mean", "x.var"},
                             LayerKeys{"x.scale", "x.B", "x.input_mean", "x.input_var"}}) {
    const Tensors tensors = with({pytorch_keys("x."), second});
    CHECK(found(tensors) == Texts{"PyTorch x. gbmv 3 F32"});
    CHECK(located(tensors, "x.") == "PyTorch x. gbmv 3 F32");
  }
  const Tensors mixed = with({{"x.weight", "", "x.running_mean", "x.running_var"},
                              {"x.gamma", "x.beta", "x.moving_mean", "x.moving_variance"}});
  CHECK(found(mixed) == Texts{"MindSpore x. gbmv 3 F32"});
  CHECK(located(mixed, "x.") == "MindSpore x. gbmv 3 F32");
}

TEST_CASE("vectors with axes of one have their channels") {
  Tensors tensors = pytorch_layer();
  for (const char* name : {"bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"}) {
    tensors.set(name, {1, 3, 1, 1}, std::vector<float>(3, 1.0f));
  }
  CHECK(found(tensors) == Texts{"PyTorch bn. gbmvc 3 F32"});
  Tensors single;
  single.set_value("bn.running_mean", 1.0f);
  single.set_value("bn.running_var", 1.0f);
  CHECK(found(single) == Texts{"PyTorch bn. mv 1 F32"});
}

TEST_CASE("names that mean nothing else are listed although something is wrong") {
  CHECK(found(with({{"", "", "x.running_mean", ""}})) == Texts{"PyTorch x. m 3 F32"});
  CHECK(found(with({{"", "", "", "x/moving_variance"}})) == Texts{"Keras x/ v 3 F32"});
  Tensors tensors = pytorch_layer();
  tensors.set("bn.running_var", {2, 1}, std::vector<float>(2));
  CHECK(found(tensors) == Texts{"PyTorch bn. gbmvc 3 F32"});
}

TEST_CASE("the number of channels is that of the first vector, statistics first") {
  Tensors tensors = pytorch_layer();
  tensors.set("bn.weight", {2}, std::vector<float>(2));
  CHECK(found(tensors) == Texts{"PyTorch bn. gbmvc 3 F32"});
  tensors.set("bn.running_mean", {7, 2}, std::vector<float>(14));
  CHECK(found(tensors) == Texts{"PyTorch bn. gbmvc 3 F32"});
}

TEST_CASE("the dtype is that of the statistics") {
  Tensors tensors = pytorch_layer();
  tensors.set("bn.weight", {3}, std::vector<Eigen::bfloat16>(3, Eigen::bfloat16(1.0f)));
  tensors.set("bn.running_mean", {3}, std::vector<double>(3));
  CHECK(found(tensors) == Texts{"PyTorch bn. gbmvc 3 F64"});
}

TEST_CASE("a prefix finds its layer under whatever names there are") {
  CHECK(located(pytorch_layer("1."), "1.") == "PyTorch 1. gbmvc 3 F32");
  CHECK(located(pytorch_layer("1."), "2.") == "nothing");
  const Tensors flax =
      with({{"params/bn/scale", "params/bn/bias", "batch_stats/bn/mean", "batch_stats/bn/var"}});
  const std::string both = "Flax params/bn/|batch_stats/bn/ gbmv 3 F32";
  CHECK(located(flax, "bn/") == both);
  CHECK(located(flax, "params/bn/") == both);
  CHECK(located(flax, "batch_stats/bn/") == both);
  CHECK(located(flax, LayerPrefix("params/bn/", "batch_stats/bn/")) == both);
  const Tensors apart =
      with({{"param/1.weight", "param/1.bias", "before/1.running_mean", "before/1.running_var"}});
  CHECK(located(apart, LayerPrefix("param/1.", "before/1.")) ==
        "PyTorch param/1.|before/1. gbmv 3 F32");
  CHECK(located(with({{"x.weight", "x.bias", "", ""}}), "x.") == "PyTorch x. gb 3 F32");
}

TEST_CASE("a list of two arrays holds the statistics") {
  const auto layer = detail::locate(with({{"", "", "bn/0", "bn/1"}}), "bn/", Naming::rtneural());
  REQUIRE(layer);
  CHECK(layer->naming == Naming::rtneural());
  CHECK(layer->key(Role::mean) == "bn/0");
  CHECK(layer->key(Role::variance) == "bn/1");
  CHECK_FALSE(layer->has(Role::gamma));
}

TEST_CASE("a system that was asked for is the only one tried") {
  Tensors tensors =
      with({pytorch_keys("x."), {"x.gamma", "x.beta", "x.moving_mean", "x.moving_variance"}});
  CHECK(described(*detail::locate(tensors, "x.", Naming::keras())) == "Keras x. gbmv 3 F32");
  CHECK(described(*detail::locate(tensors, "x.", Naming::pytorch())) == "PyTorch x. gbmv 3 F32");
  CHECK_FALSE(detail::locate(tensors, "x.", Naming::onnx()));
}
