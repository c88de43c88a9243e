// SPDX-License-Identifier: MIT
#include "batchnorm/io/audio_json.hpp"

#include <stdexcept>
#include <string>
#include <vector>

#include "batchnorm/io/checkpoint.hpp"
#include "support/catch.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

LoadedState<double> load(const std::string& json, const std::string& prefix) {
  return load_state<double>(parse_audio_json(json, "net.json"), prefix, LoadOptions::saved());
}

const char* const nam =
    R"({"version": "0.5.0", "architecture": "ConvNet",
        "config": {"channels": 2, "dilations": [1, 2], "batchnorm": true, "activation": "Tanh"},
        "weights": [)";

std::string numbers(int count) {
  std::string list;
  for (int i = 1; i <= count; ++i) list += (i == 1 ? "" : ",") + std::to_string(i);
  return list;
}

// 2 x 1 x 2 weights, norm of 9; 2 x 2 x 2 weights, norm of 9; head of 2 weights and a bias.
constexpr int nam_count = 4 + 9 + 8 + 9 + 3;

}  // namespace

TEST_CASE("a list of layers, as RTNeural exports it from Keras") {
  const std::string json =
      R"({"in_shape": [null, 2], "layers": [
            {"type": "dense", "weights": [[[1, 2], [3, 4]], [0, 1]]},
            {"type": "batchnorm", "epsilon": 0.25, "weights": [[2, 1], [0, 1], [1, -1], [3.75, 0.75]]},
            {"type": "batchnorm2d", "epsilon": 0.5, "weights": [[1, -1], [3.5, 0.5]]}]})";
  const Tensors tensors = parse_audio_json(json, "net.json");
  const auto layers = find_batch_norms(tensors);
  REQUIRE(layers.size() == 2);
  CHECK(layers[0].prefix == "layers.1.weights.");
  const auto first = load(json, "layers.1.weights.");
  CHECK(first.found.naming == Naming::rtneural());
  CHECK(first.options.epsilon == 0.25);
  // 2 (3 - 1) / 2 and (3 + 1) / 1 + 1
  CHECK(first.freeze()(Eigen::Vector2d(3, 3)) == Eigen::Vector2d(2, 5));
  const auto second = load(json, "layers.2.weights.");
  CHECK(second.options.epsilon == 0.5);
  CHECK_FALSE(second.options.scale);
  CHECK(second.state.running_variance == Eigen::Vector2d(3.5, 0.5));
  CHECK(tensors.shape("layers.0.weights.0") == std::vector<Index>{2, 2});
}

TEST_CASE("a list without an epsilon is not loaded without one") {
  const std::string json =
      R"({"layers": [{"type": "batchnorm", "weights": [[2, 1], [0, 1], [1, -1], [4, 1]]}]})";
  CHECK_THROWS_AS(load(json, "layers.0.weights."), std::runtime_error);
  CHECK(find_batch_norms(parse_audio_json(json, "net.json")).empty());
}

TEST_CASE("a layer with names, as it comes from PyTorch") {
  const std::string layer =
      R"({"weight": [2, 1], "bias": [0, 1], "running_mean": [1, -1], "running_var": [3.75, 0.75],
          "num_batches_tracked": 7, "eps": 0.25})";
  for (const std::string& json : {layer, "{\"net\": {\"1\": " + layer + "}}"}) {
    const std::string prefix = json == layer ? "" : "net.1.";
    const auto loaded = load(json, prefix);
    CHECK(loaded.options.epsilon == 0.25);
    CHECK(loaded.state.batches_seen == 7);
    CHECK(loaded.freeze()(Eigen::Vector2d(3, 3)) == Eigen::Vector2d(2, 5));
  }
  CHECK(load("{\"bn.running_mean\":[1],\"bn.running_var\":[4],\"bn.weight\":[2],\"bn.bias\":[3],"
             "\"bn.eps\":0}",
             "bn.")
            .options.epsilon == 0.0);
}

TEST_CASE("NAM has the numbers of all layers one after the other") {
  const auto first = load(nam + numbers(nam_count) + "]}", "blocks.0.bn.");
  CHECK(first.state.running_mean == Eigen::Vector2d(5, 6));
  CHECK(first.state.running_variance == Eigen::Vector2d(7, 8));
  CHECK(first.state.gamma == Eigen::Vector2d(9, 10));
  CHECK(first.state.beta == Eigen::Vector2d(11, 12));
  CHECK(first.options.epsilon == 13.0);
  const auto second = load(nam + numbers(nam_count) + "]}", "blocks.1.bn.");
  CHECK(second.state.running_mean == Eigen::Vector2d(22, 23));
  CHECK(second.options.epsilon == 30.0);
  for (const int count : {nam_count - 1, nam_count + 1, 0, 5}) {
    INFO(count);
    CHECK_THROWS_AS(parse_audio_json(nam + numbers(count) + "]}", "x"), std::runtime_error);
  }
}

TEST_CASE("NAM without batch norm has none") {
  std::string json = nam + numbers(4 + 2 + 8 + 2 + 3) + "]}";
  json.replace(json.find("true"), 4, "false");
  CHECK(find_batch_norms(parse_audio_json(json, "x")).empty());
  json.replace(json.find("ConvNet"), 7, "WaveNet");
  CHECK_THROWS_MATCHES(parse_audio_json(json, "x"), std::runtime_error,
                       says("architecture of the NAM model: expected ConvNet"));
}

TEST_CASE("what is no such file is refused or holds nothing") {
  for (const char* text : {"", "[", "[]", "3", "null", "\"x\""}) {
    CHECK_THROWS_AS(parse_audio_json(text, "x"), std::runtime_error);
  }
  CHECK(parse_audio_json("{}", "x").size() == 0);
  CHECK(parse_audio_json("{\"a\": [], \"b\": \"x\", \"c\": [1, [2]], \"d\": [[1, 2], [3]]}", "x")
            .contains("a") == false);
  CHECK_THROWS_AS(parse_audio_json("{\"architecture\": \"ConvNet\"}", "x"), std::runtime_error);
}

TEST_CASE("an array is read anew, whatever was read before") {
  detail::JsonArray array;
  CHECK(array.read(nlohmann::json::parse("[[1, 2, 3], [4, 5, 6]]")));
  CHECK(array.shape() == std::vector<Index>{2, 3});
  CHECK(array.read(nlohmann::json::parse("[7, 8]")));
  CHECK(array.shape() == std::vector<Index>{2});
  CHECK(array.numbers() == std::vector<double>{7, 8});
}

TEST_CASE("what is nested beyond all networks is left out") {
  const auto nested = [](int depth) {
    std::string json, end;
    for (int i = 0; i < depth; ++i) json += R"({"a": )", end += "}";
    return parse_audio_json(json + "[1]" + end, "net.json").size();
  };
  CHECK(nested(10) == 1);
  CHECK(nested(100) == 0);
}

TEST_CASE("an array is a block of numbers, of at most eight axes") {
  const auto reads = [](const std::string& json) {
    detail::JsonArray array;
    return array.read(nlohmann::json::parse(json));
  };
  CHECK(reads("7"));
  CHECK(reads("[[[1], [2]], [[3], [4]]]"));
  for (const char* json :
       {"[1, [2]]", "[[1], 2]", "[[1], [[2]]]", "[[[1]], [2]]", "[[1, 2], [3]]", "[[1], [2, 3]]",
        "[]", "[[]]", "[[1], []]", "[1, \"x\"]", "[null]", "{}", "true"}) {
    INFO(json);
    CHECK_FALSE(reads(json));
  }
  CHECK(reads("[[[[[[[[1]]]]]]]]"));
  CHECK_FALSE(reads("[[[[[[[[[1]]]]]]]]]"));
}

TEST_CASE("only layers of batch norms with an epsilon that is one get options") {
  const auto has = [](const std::string& layer) {
    const std::string json = "{\"layers\": [" + layer + "]}";
    return has_options(parse_audio_json(json, "net.json"), "layers.0.weights.");
  };
  const std::string weights = R"(, "weights": [[2], [1], [1], [4]]})";
  CHECK(has(R"({"type": "batchnorm", "epsilon": 0)" + weights));
  CHECK(has(R"({"type": "batchnorm2d", "epsilon": 0.5)" + weights));
  CHECK_FALSE(has(R"({"type": "batchnorm", "epsilon": -0.5)" + weights));
  CHECK_FALSE(has(R"({"type": "batchnorm", "epsilon": "0.5")" + weights));
  CHECK_FALSE(has(R"({"type": "layernorm", "epsilon": 0.5)" + weights));
  CHECK_FALSE(has(R"({"type": 3, "epsilon": 0.5)" + weights));
  CHECK_FALSE(has(R"({"epsilon": 0.5)" + weights));
  CHECK_FALSE(has("[1]"));
}

TEST_CASE("a NAM model without one of its fields, or with another kind of it, is refused") {
  const nlohmann::json whole = nlohmann::json::parse(nam + numbers(nam_count) + "]}");
  const auto refused = [](const nlohmann::json& model, const std::string& rule) {
    INFO(model.dump());
    CHECK_THROWS_MATCHES(parse_audio_json(model.dump(), "x"), std::runtime_error,
                         says("\"x\": " + rule +
                              ": expected a ConvNet with channels, dilations, "
                              "batchnorm and weights"));
  };
  CHECK(parse_audio_json(whole.dump(), "x").contains("head.bias"));
  for (const char* field : {"config", "weights"}) {
    nlohmann::json model = whole;
    model[field] = "x";
    refused(model, "NAM model");
    model.erase(field);
    refused(model, "NAM model");
  }
  for (const char* field : {"channels", "dilations", "batchnorm"}) {
    nlohmann::json model = whole;
    model["config"][field] = "x";
    refused(model, "NAM model");
    model["config"].erase(field);
    refused(model, "NAM model");
  }
  nlohmann::json model = whole;
  model["weights"] = {{1, 2}, {3, 4}};
  refused(model, "NAM model");
  for (const int channels : {0, nam_count + 1}) {
    model = whole;
    model["config"]["channels"] = channels;
    refused(model, "channels of the NAM model");
  }
  model = whole;
  model["config"]["channels"] = -2;
  refused(model, "NAM model");
}

TEST_CASE("an architecture without a name is none") {
  nlohmann::json model = nlohmann::json::parse(nam + numbers(nam_count) + "]}");
  model["architecture"] = 3;
  CHECK_THROWS_MATCHES(
      parse_audio_json(model.dump(), "x"), std::runtime_error,
      says("architecture of the NAM model: expected ConvNet, which has batch norms, "
           "got none"));
}

TEST_CASE("a NAM model says how many numbers it lacks, or has too many") {
  CHECK_THROWS_MATCHES(parse_audio_json(nam + numbers(5) + "]}", "x"), std::runtime_error,
                       says("tensor \"blocks.0.bn.running_mean\": numbers in weights: expected at "
                            "least 6, got 5"));
  CHECK_THROWS_MATCHES(parse_audio_json(nam + numbers(nam_count + 1) + "]}", "x"),
                       std::runtime_error, says("numbers in weights: expected 33, got 34"));
}
