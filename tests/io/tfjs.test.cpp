// SPDX-License-Identifier: MIT
#include "batchnorm/io/tfjs.hpp"

#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "batchnorm/io/checkpoint.hpp"
#include "support/catch.hpp"
#include "support/paths.hpp"
#include "support/temporary_folder.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
using Catch::Matchers::Contains;
using nlohmann::json;

namespace {

std::string float_bytes(const std::vector<float>& values) {
  std::string bytes(values.size() * sizeof(float), '\0');
  detail::copy_little_endian(&bytes[0], values.data(), values.size(), sizeof(float));
  return bytes;
}

/// A model of one layer "bn" of two channels, whose weights lie in two files, cut within a number.
struct Model {
  TemporaryFolder folder;
  json manifest = json::array();
  json layers = json::array();
  std::string bytes = float_bytes({4, 0.25f, 0.5f, -1, 2, 3, 1, -2});
  bool old_form = false;

  Model() {
    json weights = json::array();
    for (const char* name : {"moving_variance", "beta", "gamma", "moving_mean"}) {
      weights.push_back(
          {{"name", std::string("bn/") + name}, {"shape", {2}}, {"dtype", "float32"}});
    }
    manifest.push_back({{"paths", {"a.bin", "b.bin"}}, {"weights", weights}});
    add_layer({{"name", "bn"}, {"epsilon", 0.01}, {"momentum", 0.75}});
  }

  void add_layer(const json& config) {
    layers.push_back({{"class_name", "BatchNormalization"}, {"config", config}});
  }

  json& weight(std::size_t place) { return manifest[0]["weights"][place]; }

  Tensors open() {
    json topology = {{"class_name", "Model"}, {"config", {{"layers", layers}}}};
    if (old_form) topology = {{"model_config", {{"class_name", "Sequential"}, {"config", layers}}}};
    write({{"format", "layers-model"}, {"modelTopology", topology}, {"weightsManifest", manifest}});
    return open_tfjs(folder.file("model.json"));
  }

  void write(const json& model) {
    write_bytes(folder.file("model.json"), model.dump());
    const std::size_t cut = std::min<std::size_t>(bytes.size(), 6);
    write_bytes(folder.file("a.bin"), bytes.substr(0, cut));
    write_bytes(folder.file("b.bin"), bytes.substr(cut));
  }
};

}  // namespace

TEST_CASE("a layer comes with its weights by name, and with epsilon and update rule") {
  for (const bool old_form : {false, true}) {
    Model model;
    model.old_form = old_form;
    const Tensors tensors = model.open();
    const auto norms = find_batch_norms(tensors);
    REQUIRE(norms.size() == 1);
    const auto loaded = load_state<float>(tensors, norms[0].prefix, LoadOptions::saved());
    CHECK(loaded.options.epsilon == 0.01);
    CHECK(loaded.options.running == RunningUpdate::keep_old(0.75));
    CHECK(loaded.options.running_variance == VarianceEstimator::population);
    CHECK(loaded.state.gamma == Eigen::Vector2f(2, 3));
    CHECK(loaded.state.beta == Eigen::Vector2f(0.5f, -1));
    CHECK(loaded.state.running_mean == Eigen::Vector2d(1, -2));
    CHECK(loaded.state.running_variance == Eigen::Vector2d(4, 0.25));
    CHECK_THROWS_WITH(load_state<float>(tensors, "bn/", Epsilon(1e-3)), Contains("0.01"));
  }
}

TEST_CASE("files are named with ./ in front by browsers") {
  Model model;
  model.manifest[0]["paths"] = {"./a.bin", "b.bin"};
  CHECK(load_options(model.open(), "bn/").epsilon == 0.01);
  model.manifest[0]["paths"] = {"./../a.bin", "b.bin"};
  CHECK_THROWS_WITH(model.open(), Contains("a way out of the folder"));
}

TEST_CASE("layers of models inside the model are found, wrapped ones too") {
  Model model;
  json inner = model.layers;
  model.layers = json::array();
  model.layers.push_back(
      {{"class_name", "Functional"},
       {"config",
        {{"layers", {{{"class_name", "TimeDistributed"}, {"config", {{"layer", inner[0]}}}}}}}}});
  CHECK(load_options(model.open(), "bn/").epsilon == 0.01);
}

TEST_CASE("without epsilon, or with two for one name, the caller has to say it") {
  Model none;
  none.layers[0]["config"].erase("epsilon");
  CHECK_FALSE(has_options(none.open(), "bn/"));
  Model two;
  two.add_layer({{"name", "bn"}, {"epsilon", 0.5}, {"momentum", 0.75}});
  const Tensors tensors = two.open();
  CHECK_FALSE(has_options(tensors, "bn/"));
  CHECK(load_state<float>(tensors, "bn/", Epsilon(1e-3)).options.epsilon == 1e-3);
}

TEST_CASE(
    "layers of one name are told by the models around them, in groups of weights of their own") {
  Model model;
  json other = model.manifest[0];
  for (std::size_t i = 0; i < 4; ++i) {
    for (json* group : {&model.manifest[0], &other}) {
      json& name = (*group)["weights"][i]["name"];
      name = (group == &other ? "dec/" : "enc/") + name.get<std::string>();
    }
  }
  other["paths"] = {"c.bin"};
  model.manifest.push_back(other);
  write_bytes(model.folder.file("c.bin"), float_bytes({9, 1, 0, 0, 1, 1, 7, 8}));
  const auto named = [&](const char* name, double epsilon) {
    json norm = model.layers[0];
    norm["config"]["epsilon"] = epsilon;
    return json{{"class_name", "Functional"}, {"config", {{"name", name}, {"layers", {norm}}}}};
  };
  model.layers = {named("enc", 0.25), named("dec", 0.5)};
  const Tensors tensors = model.open();
  CHECK(load_options(tensors, "enc/bn/").epsilon == 0.25);
  const auto second = load_state<float>(tensors, "dec/bn/", LoadOptions::saved());
  CHECK(second.options.epsilon == 0.5);
  CHECK(second.state.running_variance == Eigen::Vector2d(9, 1));
  CHECK(second.state.running_mean == Eigen::Vector2d(7, 8));
}

TEST_CASE("a layer without scale has none") {
  Model model;
  model.manifest[0]["weights"].erase(2);
  model.bytes = float_bytes({4, 0.25f, 0.5f, -1, 1, -2});
  model.layers[0]["config"]["scale"] = false;
  const auto loaded = load_state<float>(model.open(), "bn/", LoadOptions::saved());
  CHECK_FALSE(loaded.options.scale);
  CHECK(loaded.state.gamma == Eigen::Vector2f(1, 1));
}

TEST_CASE("quantised weights are q scale + min, and zero is zero") {
  Model model;
  // Variances 200 and 0; 67 is what stands for zero: 67 * 0.3 = 20.1 misses it by a rounding.
  model.weight(0)["quantization"] = {{"dtype", "uint8"}, {"scale", 0.3}, {"min", -0.3 * 67}};
  model.weight(1)["quantization"] = {{"dtype", "uint16"}, {"scale", 0.5}, {"min", 1}};
  model.weight(3)["quantization"] = {{"dtype", "float16"}};
  model.bytes = std::string("\xc8\x43", 2) + std::string("\x01\x00\x00\x02", 4) +
                float_bytes({2, 3}) + std::string("\x00\x3c\x00\xc0", 4);  // half: 1, -2
  const Tensors tensors = model.open();
  CHECK(tensors.values<float>("bn/moving_variance") ==
        std::vector<float>{static_cast<float>(200 * 0.3 - 0.3 * 67), 0});
  CHECK(tensors.values<float>("bn/beta") == std::vector<float>{1.5f, 257});
  CHECK(tensors.values<float>("bn/moving_mean") == std::vector<float>{1, -2});
  CHECK_NOTHROW(load_state<float>(tensors, "bn/", LoadOptions::saved()));
}

TEST_CASE("what stands for zero is zero, although the sum misses it") {
  Model model;
  // In double, 3 * 0.1 - 0.3 is 5.6e-17.
  model.weight(0)["quantization"] = {{"dtype", "uint8"}, {"scale", 0.1}, {"min", -0.3}};
  model.bytes = std::string("\x03\x04", 2) + float_bytes({0.5f, -1, 2, 3, 1, -2});
  CHECK(model.open().values<float>("bn/moving_variance") == std::vector<float>{0, 0.1f});
}

TEST_CASE("integers without min and scale are no statistics") {
  Model model;
  model.weight(0)["dtype"] = "uint8";
  model.bytes = std::string("\x04\x01", 2) + float_bytes({0.5f, -1, 2, 3, 1, -2});
  const Tensors tensors = model.open();
  CHECK_THROWS_WITH(load_state<float>(tensors, "bn/", LoadOptions::saved()),
                    Contains("bn/moving_variance") && Contains("U8"));
  model.weight(0)["quantization"] = {{"dtype", "uint8"}, {"scale", 0.3}};
  CHECK_THROWS_WITH(model.open(), Contains("model.json\"") &&
                                      Contains("tensor \"bn/moving_variance\": quantization"));
}

TEST_CASE("texts among the weights are passed over") {
  Model model;
  json words = {{"name", "vocabulary"}, {"shape", {2}}, {"dtype", "string"}};
  model.manifest[0]["weights"].insert(model.manifest[0]["weights"].begin(), words);
  const std::string texts("\x02\0\0\0ab\0\0\0\0", 10);
  const std::string numbers = model.bytes;
  model.bytes = texts + numbers;
  CHECK(model.open().values<float>("bn/moving_variance") == std::vector<float>{4, 0.25f});
  CHECK_FALSE(model.open().contains("vocabulary"));
  model.weight(0)["shape"] = {1000000000000};
  CHECK_THROWS_WITH(model.open(), Contains("tensor \"vocabulary\"") && Contains("truncated"));
  model.weight(0)["shape"] = {4294967296u, 4294967296u};
  CHECK_THROWS_WITH(model.open(), Contains("tensor \"vocabulary\""));
  // A text that is longer than the file.
  model.weight(0)["shape"] = {1};
  model.bytes = "\xff\xff\xff\xff" + numbers;
  CHECK_THROWS_WITH(model.open(), Contains("tensor \"vocabulary\""));
}

TEST_CASE("a graph-model says that nothing is left to read") {
  Model model;
  model.write({{"format", "graph-model"}, {"modelTopology", {{"node", json::array()}}}});
  CHECK_THROWS_WITH(open_tfjs(model.folder.file("model.json")), Contains("graph-model"));
  model.write({{"modelTopology", {{"node", json::array()}}}});
  CHECK_THROWS_WITH(open_tfjs(model.folder.file("model.json")), Contains("/Scaled"));
}

TEST_CASE("a manifest that does not fit its files is refused with the names") {
  const auto complaint = [](const auto& change) {
    Model model;
    change(model);
    try {
      model.open();
    } catch (const std::runtime_error& error) {
      CHECK_THAT(error.what(), Contains("open_tfjs: \""));
      return std::string(error.what());
    }
    return std::string("none");
  };
  CHECK(complaint([](Model&) {}) == "none");
  CHECK_THAT(complaint([](Model& m) { m.bytes.pop_back(); }),
             Contains("tensor \"bn/moving_mean\"") && Contains("truncated"));
  CHECK_THAT(complaint([](Model& m) { m.bytes += "x"; }), Contains("expected 32, got 33"));
  CHECK_THAT(complaint([](Model& m) { m.manifest[0]["paths"][1] = "../b.bin"; }),
             Contains("a way out of the folder"));
  CHECK_THAT(complaint([](Model& m) { m.manifest[0]["paths"][1] = "c.bin"; }), Contains("c.bin"));
  CHECK_THAT(complaint([](Model& m) { m.manifest[0]["paths"] = 1; }), Contains("paths"));
  CHECK_THAT(complaint([](Model& m) { m.manifest[0]["weights"] = 1; }), Contains("weights"));
  CHECK_THAT(complaint([](Model& m) { m.manifest = 1; }), Contains("weightsManifest"));
  CHECK_THAT(complaint([](Model& m) { m.weight(1)["name"] = "bn/moving_variance"; }),
             Contains("one of its own"));
  CHECK_THAT(complaint([](Model& m) { m.weight(0)["shape"] = {-1}; }), Contains("shape"));
  CHECK_THAT(complaint([](Model& m) {
               m.weight(0)["shape"] = {4294967296u, 4294967296u};
             }),
             Contains("truncated"));
  CHECK_THAT(complaint([](Model& m) { m.weight(0)["dtype"] = "string"; }), Contains("string"));
  CHECK_THAT(complaint([](Model& m) { m.layers[0]["config"]["epsilon"] = -1; }),
             Contains("layer \"bn\": epsilon"));
  CHECK_THAT(complaint([](Model& m) { m.layers[0]["config"]["momentum"] = 2; }),
             Contains("layer \"bn\": momentum"));
}

TEST_CASE("what is no model is refused") {
  const TemporaryFolder folder;
  for (const char* text : {"", "[]", "{", "7"}) {
    write_bytes(folder.file("model.json"), text);
    CHECK_THROWS_AS(open_tfjs(folder.file("model.json")), std::runtime_error);
  }
  CHECK_THROWS_WITH(open_tfjs(folder.file("no.json")), Contains("no.json"));
}

TEST_CASE("a quantisation of a kind that TensorFlow.js has not is refused") {
  Model model;
  const auto refusal =
      "tensor \"bn/moving_variance\": quantization: expected an object with dtype "
      "uint8, uint16 or float16, got ";
  for (const char* const type : {"int32", "float32", "string", "bool"}) {
    INFO(type);
    model.weight(0)["quantization"] = {{"dtype", type}, {"scale", 2}, {"min", 1}};
    CHECK_THROWS_WITH(model.open(), Contains(std::string(refusal) + "\"" + type + "\""));
  }
  model.weight(0)["quantization"] = json::array({1});
  CHECK_THROWS_WITH(model.open(), Contains(std::string(refusal) + "something else"));
  model.weight(0)["quantization"] = nullptr;
  CHECK(model.open().values<float>("bn/moving_variance") == std::vector<float>{4, 0.25f});
}
