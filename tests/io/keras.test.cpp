// SPDX-License-Identifier: MIT
#include "batchnorm/io/keras.hpp"

#include <cstddef>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "batchnorm/io/checkpoint.hpp"
#include "support/catch.hpp"
#include "support/hdf5_files.hpp"
#include "support/paths.hpp"
#include "support/temporary_folder.hpp"
#include "support/zip_bytes.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

std::string norm(const std::string& name, const std::string& epsilon,
                 const std::string& more = "") {
  return "{\"class_name\":\"BatchNormalization\",\"config\":{\"name\":\"" + name +
         "\",\"momentum\":0.75,\"epsilon\":" + epsilon + more + "}}";
}

std::string model(const std::string& layers) {
  return "{\"class_name\":\"Functional\",\"config\":{\"layers\":[" + layers + "]}}";
}

/// The vectors of a layer of two channels under these names, those that have one.
void add_norm(Hdf5File& file, const std::vector<std::string>& names) {
  const std::vector<std::vector<float>> numbers = {{2, 1}, {0, 1}, {1, -1}, {3.75f, 0.75f}};
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (!names[i].empty()) file.add(names[i], {2}, numbers[i]);
  }
}

void add_keras2(Hdf5File& file, const std::string& prefix) {
  add_norm(file, {prefix + "gamma:0", prefix + "beta:0", prefix + "moving_mean:0",
                  prefix + "moving_variance:0"});
}

/// A list of all four.
void add_list(Hdf5File& file, const std::string& prefix) {
  add_norm(file, {prefix + "0", prefix + "1", prefix + "2", prefix + "3"});
}

std::string wrapped(const std::string& kind, const std::string& field, const std::string& layer) {
  return "{\"class_name\":\"" + kind + "\",\"config\":{\"" + field + "\":" + layer + "}}";
}

Tensors parse_archive(const std::string& config, const std::string& weights) {
  const std::string bytes = zip_of({{"config.json", config}, {"model.weights.h5", weights}});
  return parse_keras(bytes.data(), bytes.size(), "model.keras");
}

/// The layers that are found, and the epsilon that the model has for each; -1 where it has none.
std::map<std::string, double> epsilons_of(const Tensors& tensors) {
  std::map<std::string, double> epsilons;
  for (const FoundBatchNorm& layer : find_batch_norms(tensors)) {
    const std::string& prefix = layer.prefix.parameters;
    epsilons[prefix] = has_options(tensors, prefix) ? load_options(tensors, prefix).epsilon : -1;
    if (epsilons[prefix] < 0) continue;
    const auto loaded = load_state<double>(tensors, layer.prefix, LoadOptions::saved());
    CHECK(loaded.state.running_variance == Eigen::Vector2d(3.75, 0.75));
  }
  return epsilons;
}

/// The weights of an archive: lists with and without gamma.
std::string keras3_weights(const TemporaryFolder& folder) {
  const std::string path = folder.file("model.weights.h5");
  {
    Hdf5File file(path);
    const std::string first = "layers/batch_normalization/vars/";
    const std::string second = "layers/batch_normalization_1/vars/";
    add_norm(file, {"", first + "0", first + "1", first + "2"});
    add_norm(file, {second + "0", second + "1", second + "2", second + "3"});
    add_norm(file,
             {"optimizer/vars/0", "optimizer/vars/1", "optimizer/vars/2", "optimizer/vars/3"});
  }
  return read_bytes(path);
}

}  // namespace

TEST_CASE("a model of Keras 2 brings the epsilon of each layer") {
  const TemporaryFolder folder;
  const std::string path = folder.file("model.h5");
  for (const bool is_variable : {true, false}) {
    {
      Hdf5File file(path);
      add_keras2(file, "model_weights/bn1/bn1/");
      add_keras2(file, "model_weights/inner/bn2/");
      add_norm(file,
               {"optimizer_weights/Adam/m/bn1/gamma:0", "optimizer_weights/Adam/m/bn1/beta:0"});
      file.add_text("", "model_config",
                    model(norm("bn1", "0.25") + "," + model(norm("bn2", "0.5"))), is_variable);
    }
    const Tensors tensors = read_keras(path);
    const auto layers = find_batch_norms(tensors);
    REQUIRE(layers.size() == 2);
    const auto first = load_state<double>(tensors, "model_weights/bn1/bn1/", LoadOptions::saved());
    CHECK(first.options.epsilon == 0.25);
    CHECK(first.options.running == RunningUpdate::keep_old(0.75));
    CHECK(first.freeze()(Eigen::Vector2d(3, 3)) == Eigen::Vector2d(2, 5));
    CHECK(load_state<double>(tensors, layers[1].prefix, LoadOptions::saved()).options.epsilon ==
          0.5);
    CHECK_THROWS_AS(load_state<float>(tensors, layers[1].prefix, Epsilon(1e-3)),
                    std::runtime_error);
  }
}

TEST_CASE("a file of weights alone has no epsilon, and names that are not unique none either") {
  const TemporaryFolder folder;
  const std::string path = folder.file("weights.h5");
  {
    Hdf5File file(path);
    add_keras2(file, "bn1/bn1/");
  }
  CHECK_THROWS_AS(load_state<float>(read_keras(path), "bn1/bn1/", LoadOptions::saved()),
                  std::runtime_error);
  CHECK_NOTHROW(load_state<float>(read_keras(path), "bn1/bn1/", Epsilon(1e-3)));
  {
    Hdf5File file(path);
    add_keras2(file, "a/bn1/");
    file.add_text("", "model_config", model(norm("bn1", "0.25") + "," + model(norm("bn1", "0.5"))));
  }
  CHECK_THROWS_AS(load_state<float>(read_keras(path), "a/bn1/", LoadOptions::saved()),
                  std::runtime_error);
}

TEST_CASE("Keras 1 brings epsilon, and still asks what is stored for the variance") {
  const TemporaryFolder folder;
  const std::string path = folder.file("keras1.h5");
  {
    Hdf5File file(path);
    const std::string prefix = "model_weights/bn1/bn1_";
    add_norm(file,
             {prefix + "gamma", prefix + "beta", prefix + "running_mean", prefix + "running_std"});
    file.add_text("", "model_config",
                  "{\"class_name\":\"Sequential\",\"config\":[" + norm("bn1", "0.25") + "]}");
  }
  const Tensors tensors = read_keras(path);
  CHECK_THROWS_AS(load_state<float>(tensors, "model_weights/bn1/bn1_", LoadOptions::saved()),
                  std::domain_error);
  const LoadOptions variance = LoadOptions::saved().storing(StoredVariance::variance);
  const auto loaded = load_state<double>(tensors, "model_weights/bn1/bn1_", variance);
  CHECK(loaded.options.epsilon == 0.25);
  CHECK(loaded.state.running_variance == Eigen::Vector2d(3.75, 0.75));
}

TEST_CASE("an archive of Keras 3 says which arrays a list lacks") {
  const TemporaryFolder folder;
  const std::string config = model("{\"class_name\":\"InputLayer\",\"config\":{}}," +
                                   norm("a", "0.25", ",\"scale\":false") + "," + norm("b", "0.5"));
  const std::string bytes = zip_of({{"metadata.json", "{}"},
                                    {"config.json", config},
                                    {"model.weights.h5", keras3_weights(folder)}});
  const Tensors tensors = parse_keras(bytes.data(), bytes.size(), "model.keras");
  const auto layers = find_batch_norms(tensors);
  REQUIRE(layers.size() == 2);
  const auto first = load_state<double>(tensors, layers[0].prefix, LoadOptions::saved());
  CHECK_FALSE(first.options.scale);
  CHECK(first.options.epsilon == 0.25);
  CHECK(first.state.beta == Eigen::Vector2d(0, 1));
  CHECK(first.freeze()(Eigen::Vector2d(3, 3)) == Eigen::Vector2d(1, 5));
  const auto second = load_state<double>(tensors, layers[1].prefix, LoadOptions::saved());
  CHECK(second.options.epsilon == 0.5);
  CHECK(second.state.gamma == Eigen::Vector2d(2, 1));
}

TEST_CASE("a layer in a wrapper has the epsilon of the wrapped layer") {
  const TemporaryFolder folder;
  const std::string path = folder.file("model.weights.h5");
  {
    Hdf5File file(path);
    add_list(file, "layers/time_distributed/layer/vars/");
    add_list(file, "layers/functional/layers/batch_normalization/vars/");
    add_list(file, "layers/bidirectional/backward_layer/cell/vars/");
    file.add("layers/time_distributed_1/layer/vars/0", {2, 3}, std::vector<float>(6, 1.0f));
  }
  const std::string dense = R"({"class_name":"Dense","config":{"name":"d"}})";
  const std::string config =
      model(wrapped("TimeDistributed", "layer", norm("a", "0.25")) + "," +
            wrapped("TimeDistributed", "layer", dense) + "," + model(norm("b", "0.5")) + "," +
            wrapped("Bidirectional", "layer", wrapped("RNN", "cell", norm("c", "0.125"))));
  const Tensors tensors = parse_archive(config, read_bytes(path));
  CHECK(epsilons_of(tensors) ==
        std::map<std::string, double>{{"layers/bidirectional/backward_layer/cell/vars/", 0.125},
                                      {"layers/functional/layers/batch_normalization/vars/", 0.5},
                                      {"layers/time_distributed/layer/vars/", 0.25}});
}

TEST_CASE(
    "Keras 2 calls the arrays in a wrapper by the wrapper, and models in models by the first") {
  const TemporaryFolder folder;
  const std::string path = folder.file("model.h5");
  {
    Hdf5File file(path);
    add_keras2(file, "model_weights/td/td/");
    add_keras2(file, "model_weights/enc/bn/");
    add_keras2(file, "model_weights/dec/bn/");
    const auto named = [](std::string json, const std::string& name) {
      return json.replace(json.find("\"config\":{"), 10, "\"config\":{\"name\":\"" + name + "\",");
    };
    file.add_text("", "model_config",
                  model(named(wrapped("TimeDistributed", "layer", norm("bn", "0.125")), "td") +
                        "," + named(model(norm("bn", "0.25")), "enc") + "," +
                        named(model(norm("bn", "0.5")), "dec")));
  }
  CHECK(epsilons_of(read_keras(path)) ==
        std::map<std::string, double>{{"model_weights/dec/bn/", 0.5},
                                      {"model_weights/enc/bn/", 0.25},
                                      {"model_weights/td/td/", 0.125}});
}

TEST_CASE("recent archives name their folders, and the name counts") {
  const TemporaryFolder folder;
  const std::string path = folder.file("model.weights.h5");
  {
    Hdf5File file(path);
    add_list(file, "layers/batch_normalization/vars/");
    file.add_text("layers/batch_normalization/vars", "name", "b");
    add_list(file, "layers/batch_normalization_1/vars/");
    file.add_text("layers/batch_normalization_1/vars", "name", "a");
    add_list(file, "block/norm/vars/");
    file.add_text("block/norm/vars", "name", "batch_normalization_7");
    add_list(file, "block/other/vars/");
    file.add_text("block/other/vars", "name", "dense");
  }
  const Tensors tensors =
      parse_archive(model(norm("a", "0.25") + "," + norm("b", "0.5")), read_bytes(path));
  CHECK(epsilons_of(tensors) ==
        std::map<std::string, double>{{"block/norm/vars/", -1},
                                      {"layers/batch_normalization/vars/", 0.5},
                                      {"layers/batch_normalization_1/vars/", 0.25}});
  CHECK_NOTHROW(load_state<float>(tensors, "block/norm/vars/", Epsilon(1e-3)));
}

TEST_CASE("a layer that two models share lies in the folder of the first") {
  const TemporaryFolder folder;
  const std::string path = folder.file("model.weights.h5");
  {
    Hdf5File file(path);
    add_list(file, "layers/batch_normalization/vars/");
    add_list(file, "layers/functional/layers/batch_normalization_1/vars/");
  }
  const std::string inner = model(norm("a", "0.25") + "," + norm("b", "0.5"));
  CHECK(
      epsilons_of(parse_archive(model(norm("a", "0.25") + "," + inner), read_bytes(path))) ==
      std::map<std::string, double>{{"layers/batch_normalization/vars/", 0.25},
                                    {"layers/functional/layers/batch_normalization_1/vars/", 0.5}});
}

TEST_CASE("TensorFlow 2.13 has another word for layers") {
  const TemporaryFolder folder;
  const std::string path = folder.file("model.weights.h5");
  {
    Hdf5File file(path);
    add_list(file, "_layer_checkpoint_dependencies/batch_normalization/vars/");
  }
  CHECK(epsilons_of(parse_archive(model(norm("a", "0.25")), read_bytes(path))) ==
        std::map<std::string, double>{
            {"_layer_checkpoint_dependencies/batch_normalization/vars/", 0.25}});
}

TEST_CASE("an archive whose JSON has another number of norms than its weights brings none") {
  const TemporaryFolder folder;
  const std::string bytes = zip_of({{"config.json", model(norm("a", "0.25", ",\"scale\":false"))},
                                    {"model.weights.h5", keras3_weights(folder)}});
  const Tensors tensors = parse_keras(bytes.data(), bytes.size(), "model.keras");
  const std::string prefix = "layers/batch_normalization/vars/";
  CHECK_THROWS_AS(load_state<float>(tensors, prefix, LoadOptions::saved()), std::runtime_error);
  CHECK_NOTHROW(load_state<float>(tensors, prefix, LoadOptions(Epsilon(1e-3)).without_scale()));
}

TEST_CASE("what is no model is refused with its name") {
  const TemporaryFolder folder;
  for (const std::string& bytes :
       {std::string("{}"), zip_of({{"a", "b"}}), zip_of({{"model.weights.h5", "no HDF5"}})}) {
    CHECK_THROWS_MATCHES(parse_keras(bytes.data(), bytes.size(), "x.keras"), std::runtime_error,
                         says("parse_keras: \"x.keras\""));
  }
  CHECK_THROWS_AS(parse_keras(nullptr, 1, "x"), std::invalid_argument);
  CHECK_THROWS_AS(read_keras(folder.file("none.h5")), std::runtime_error);
}
