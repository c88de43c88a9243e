// SPDX-License-Identifier: MIT
// What the fuzz targets start from: every malformed file that a test names, and some that are
// right. The files in tests/fuzz/corpus are these bytes.
#ifndef BATCHNORM_TESTS_SUPPORT_FUZZ_CORPUS_HPP
#define BATCHNORM_TESTS_SUPPORT_FUZZ_CORPUS_HPP

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "support/index_malformed.hpp"
#include "support/safetensors_bytes.hpp"
#include "support/safetensors_malformed.hpp"
#include "support/tfjs_corpus.hpp"
#include "support/zip_bytes.hpp"

namespace batchnorm_test {

/// A title as the name of a file: small letters, digits, and - for everything else.
inline std::string file_name_of(const std::string& title) {
  std::string name;
  for (const char letter : title) {
    const bool is_capital = letter >= 'A' && letter <= 'Z';
    const bool is_plain = (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9');
    if (is_capital) {
      name += static_cast<char>(letter - 'A' + 'a');
    } else if (is_plain) {
      name += letter;
    } else if (name.empty() || name.back() != '-') {
      name += '-';
    }
  }
  return name;
}

/// A layer of two channels: gamma 2 1, beta -1 0, mean 0 3, variance 1 4, all F32.
inline std::string layer_file(const std::vector<std::string>& names, const std::string& metadata) {
  std::string json = "{" + metadata;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const std::string begin = std::to_string(8 * i);
    json += "\"" + names[i] + "\":" +
            tensor_json("\"F32\"", "[2]", "[" + begin + "," + std::to_string(8 * i + 8) + "]");
    json += i + 1 < names.size() ? "," : "}";
  }
  std::string data;
  for (const std::uint32_t bits :
       {0x40000000u, 0x3f800000u, 0xbf800000u, 0u, 0u, 0x40400000u, 0x3f800000u, 0x40800000u}) {
    data += little_endian(bits);
  }
  return container(json, data.substr(0, 8 * names.size()));
}

/// Every dtype of the format, each two elements that are 1 in all bits, one after the other, so
/// that most begin at a byte that is no multiple of their size. Four elements, where two fill no
/// bytes.
inline std::string file_of_all_dtypes() {
  const std::vector<std::pair<std::string, std::size_t>> bytes_of_two = {
      {"BOOL", 2}, {"F64", 16},    {"U8", 2},      {"I64", 16},        {"I8", 2},
      {"U64", 16}, {"F8_E5M2", 2}, {"C64", 16},    {"F4", 1},          {"F32", 8},
      {"I16", 4},  {"U32", 8},     {"F8_E4M3", 2}, {"I32", 8},         {"U16", 4},
      {"F16", 4},  {"BF16", 4},    {"F8_E8M0", 2}, {"F8_E4M3FNUZ", 2}, {"F8_E5M2FNUZ", 2}};
  std::string json = "{\"__metadata__\":null";
  std::size_t end = 0;
  const auto add = [&](const std::string& dtype, const char* shape, std::size_t bytes) {
    json += ",\"" + dtype + "\":" +
            tensor_json("\"" + dtype + "\"", shape,
                        "[" + std::to_string(end) + "," + std::to_string(end + bytes) + "]");
    end += bytes;
  };
  add("F6_E2M3", "[4]", 3);
  for (const auto& [dtype, bytes] : bytes_of_two) add(dtype, "[2]", bytes);
  add("F6_E3M2", "[2,2]", 3);
  return container(json + "}", std::string(end, '\xff'));
}

/// What writers other than the reference implementation leave in a header.
inline std::map<std::string, std::string> unusual_files() {
  const std::string more =
      R"({"a":{"strides":[1,{"x":[null,true]}],"dtype":"F32","note":"x","shape":[2],"scale":-1.5,)"
      R"("data_offsets":[0,8],"nothing":null}})";
  std::string axes = "[2";
  for (int axis = 1; axis < 100; ++axis) axes += ",1";
  return {{"good-all-dtypes", file_of_all_dtypes()},
          {"good-more-fields", container(more, std::string(8, '\0'))},
          {"good-many-axes", file_with(tensor_json("\"F32\"", axes + "]"))},
          {"good-metadata-null", container("{\"__metadata__\":null}")},
          {"good-misaligned", two_tensors(tensor_json("\"U8\"", "[1]", "[0,1]"),
                                          tensor_json("\"F32\"", "[1]", "[1,5]"), 5)},
          {"good-misaligned-half", two_tensors(tensor_json("\"BOOL\"", "[3]", "[0,3]"),
                                               tensor_json("\"F16\"", "[1]", "[3,5]"), 5)}};
}

inline std::map<std::string, std::string> well_formed_files() {
  const std::string dtypes = "{\"a\":" + tensor_json("\"I64\"", "[]", "[0,8]") +
                             ",\"b\":" + tensor_json("\"BF16\"", "[1,2]", "[8,12]") +
                             ",\"c\":" + tensor_json("\"F16\"", "[0,3]", "[12,12]") +
                             ",\"d\":" + tensor_json("\"BOOL\"", "[3]", "[12,15]") + "}";
  const std::string options =
      R"("__metadata__":{"batchnorm:1.":"{\"epsilon\":1e-05,\"new_weight\":0.1,)"
      R"(\"non_finite\":\"reject\",\"running\":\"exponential\",\"running_variance\":\"sample\",)"
      R"(\"samples_seen\":640,\"scale\":true,\"shift\":true,\"single_value\":\"reject\",)"
      R"(\"window\":0}"},)";
  const std::vector<std::string> pytorch = {"1.weight", "1.bias", "1.running_mean",
                                            "1.running_var"};
  std::map<std::string, std::string> files = unusual_files();
  files.merge(std::map<std::string, std::string>{
      {"good-empty", container("{}      ")},
      {"good-dtypes", container(dtypes, std::string(15, '\1'))},
      {"good-pytorch", layer_file(pytorch, "")},
      {"good-with-options", layer_file(pytorch, options)},
      {"good-keras",
       layer_file({"bn/gamma", "bn/beta", "bn/moving_mean", "bn/moving_variance"}, "")},
      {"good-flax",
       layer_file(
           {"params/bn/scale", "params/bn/bias", "batch_stats/bn/mean", "batch_stats/bn/var"}, "")},
      {"good-keras-list", layer_file({"bn/vars/0", "bn/vars/1", "bn/vars/2", "bn/vars/3"}, "")},
      {"good-paddle", layer_file({"bn.weight", "bn.bias", "bn._mean", "bn._variance"}, "")},
      {"good-mxnet",
       layer_file({"arg:bn_gamma", "arg:bn_beta", "aux:bn_moving_mean", "aux:bn_moving_var"}, "")},
      {"good-lasagne", layer_file({"l.gamma", "l.beta", "l.mean", "l.inv_std"}, "")},
      {"good-ncnn", layer_file({"bn/slope", "bn/bias", "bn/mean", "bn/var"}, "")},
      {"good-keras-1",
       layer_file({"1.b_gamma", "1.b_beta", "1.b_running_mean", "1.b_running_std"}, "")},
      {"good-list-of-three", layer_file({"bn/vars/0", "bn/vars/1", "bn/vars/2"}, "")},
      {"good-saved-as-lasagne",
       layer_file({"1.gamma", "1.beta", "1.mean", "1.inv_std"},
                  options.substr(0, options.size() - 4) + R"(,\"names\":\"Lasagne\"}"},)")},
      {"good-list", layer_file({"bn/0", "bn/1", "bn/2", "bn/3"}, "")}});
  return files;
}

inline std::map<std::string, std::string> well_formed_indices() {
  return {{"good-empty", "{\"weight_map\":{}}"},
          {"good-two-shards",
           R"({"metadata":{"total_size":12},"weight_map":{"a":"x.safetensors","b":"sub/y"}})"},
          {"good-with-more", R"({"other":[1,{"a":null}],"weight_map":{"a":"x"},"metadata":1.5})"}};
}

/// Networks in JSON, the JSON of models of Keras, and archives.
inline std::map<std::string, std::string> well_formed_models() {
  const std::string norm =
      R"({"class_name":"BatchNormalization","config":{"name":"a","epsilon":0.001,"momentum":0.99,)"
      R"("scale":true,"center":false}})";
  const std::string keras =
      R"({"class_name":"Functional","config":{"layers":[)" + norm + "," + norm + "]}}";
  return {{"good-keras", keras},
          {"good-keras-1", R"({"class_name":"Sequential","config":[)" + norm + "]}"},
          {"good-rtneural",
           R"({"in_shape":[null,2],"layers":[{"type":"batchnorm","epsilon":0.5,"weights":)"
           R"([[2,1],[0,1],[1,-1],[4,1]]},{"type":"dense","weights":[[[1,2]],[0]]}]})"},
          {"good-pytorch",
           R"({"bn":{"weight":[2],"bias":[0],"running_mean":[1],"running_var":[4],"eps":1e-5}})"},
          {"good-nam",
           R"({"architecture":"ConvNet","config":{"channels":1,"dilations":[1],"batchnorm":true},)"
           R"("weights":[1,2,3,4,5,6,7,8,9]})"},
          {"good-archive", zip_of({{"config.json", keras}, {"model.weights.h5", "weights"}})},
          {"good-compressed", zip_of({{"config.json", keras}}, 8)}};
}

/// Path below tests/fuzz/corpus, and bytes.
inline std::map<std::string, std::string> fuzz_corpus() {
  std::map<std::string, std::string> corpus;
  for (const auto& [name, bytes] : well_formed_files()) corpus["safetensors/" + name] = bytes;
  for (const auto& [name, bytes] : well_formed_indices()) corpus["index/" + name] = bytes;
  for (const auto& [name, bytes] : tfjs_corpus()) corpus["tfjs/" + name] = bytes;
  for (const auto& [name, bytes] : well_formed_models()) corpus["models/" + name] = bytes;
  for (const Malformed& malformed : malformed_files()) {
    corpus["safetensors/" + file_name_of(malformed.what)] = malformed.bytes;
  }
  for (const Malformed& malformed : malformed_indices()) {
    corpus["index/" + file_name_of(malformed.what)] = malformed.bytes;
  }
  return corpus;
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_FUZZ_CORPUS_HPP
