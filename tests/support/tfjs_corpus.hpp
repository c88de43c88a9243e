// SPDX-License-Identifier: MIT
// What the fuzz target of TensorFlow.js models starts from: a model.json, a zero, and the bytes of
// every file that it names.
#ifndef BATCHNORM_TESTS_SUPPORT_TFJS_CORPUS_HPP
#define BATCHNORM_TESTS_SUPPORT_TFJS_CORPUS_HPP

#include <map>
#include <string>

namespace batchnorm_test {

/// @param more  behind the shape of every weight
inline std::string tfjs_input(const std::string& topology, const std::string& more,
                              const std::string& bytes) {
  std::string weights;
  for (const char* name : {"gamma", "beta", "moving_mean", "moving_variance"}) {
    weights += std::string(weights.empty() ? "" : ",") + "{\"name\":\"bn/" + name +
               "\",\"shape\":[2],\"dtype\":\"float32\"" + more + "}";
  }
  return "{\"modelTopology\":" + topology +
         ",\"weightsManifest\":[{\"paths\":[\"a\"],\"weights\":[" + weights + "]}]}" +
         std::string(1, '\0') + bytes;
}

/// Name and bytes.
inline std::map<std::string, std::string> tfjs_corpus() {
  const std::string layers =
      R"({"model_config":{"class_name":"Model","config":{"layers":[{"class_name":)"
      R"("BatchNormalization","config":{"name":"bn","epsilon":0.001,"momentum":0.99}}]}}})";
  const std::string quantised = R"(,"quantization":{"dtype":"uint8","scale":0.5,"min":-1})";
  return {
      {"good", tfjs_input(layers, "", std::string(32, '\1'))},
      {"quantised", tfjs_input(layers, quantised, "\1\2\3\4\5\6\7\4")},
      {"half", tfjs_input("{}", R"(,"quantization":{"dtype":"float16"})", std::string(16, '\1'))},
      {"cut", tfjs_input(layers, "", "\1\2\3")},
      {"graph", tfjs_input(R"({"node":[]})", "", "")},
      {"empty", ""}};
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_TFJS_CORPUS_HPP
