// SPDX-License-Identifier: MIT
// Indices of sharded checkpoints that break one rule each, and what has to be said about them.
#ifndef BATCHNORM_TESTS_SUPPORT_INDEX_MALFORMED_HPP
#define BATCHNORM_TESTS_SUPPORT_INDEX_MALFORMED_HPP

#include <string>
#include <vector>

#include "support/safetensors_malformed.hpp"

namespace batchnorm_test {

/// An index of one tensor "a" in that file.
inline std::string index_with(const std::string& file_json) {
  return "{\"weight_map\":{\"a\":" + file_json + "}}";
}

inline std::vector<Malformed> malformed_index_texts() {
  return {
      {"empty index", "", "index: expected a JSON object in UTF-8, got something else at byte 0"},
      {"index is an array", "[]", "index: expected a JSON object, got an array"},
      {"index is a string", "\"weight_map\"", "index: expected a JSON object, got a string"},
      {"index is a number", "1", "index: expected a JSON object, got a number"},
      {"index is null", "null", "index: expected a JSON object, got null"},
      {"index cut", "{\"weight_map\":{\"a\":\"x",
       "index: expected a JSON object in UTF-8, got something else at byte 21"},
      {"no quotes in the index", "{weight_map:{}}",
       "index: expected a JSON object in UTF-8, got something else at byte 1"},
      {"index with more behind it", "{\"weight_map\":{}} {}",
       "index: expected a JSON object in UTF-8, got something else at byte 18"},
      {"index that is no UTF-8", "{\"weight_map\":{\"a\xff\":\"x\"}}",
       "index: expected a JSON object in UTF-8, got something else at byte 17"},
      {"index with a zero", std::string("{\"weight_map\":{}}\0{}", 20),
       "index: expected a JSON object in UTF-8, got zero at byte 17"},
      {"index without map", "{\"metadata\":{}}",
       "keys of the index: expected weight_map, got none"},
      {"map of the index inside metadata", "{\"metadata\":{\"weight_map\":{\"a\":\"x\"}}}",
       "keys of the index: expected weight_map, got none"},
      {"map of the index twice", "{\"weight_map\":{},\"weight_map\":{}}",
       "keys of the index: expected weight_map once, got it again"},
      {"map of the index is an array", "{\"weight_map\":[]}",
       "weight_map: expected an object, got an array"},
      {"map of the index is a string", "{\"weight_map\":\"x\"}",
       "weight_map: expected an object, got a string"},
      {"map of the index is null", "{\"weight_map\":null}",
       "weight_map: expected an object, got null"},
      {"tensor of the index twice", "{\"weight_map\":{\"a\":\"x\",\"a\":\"y\"}}",
       "tensor \"a\": keys of weight_map: expected each name once, got the name again"},
  };
}

inline std::vector<Malformed> malformed_index_files() {
  const std::string rule =
      "tensor \"a\": file: expected a name below the folder of the index, got ";
  return {
      {"shard is a number", index_with("1"), "tensor \"a\": file: expected a string, got a number"},
      {"shard is null", index_with("null"), "tensor \"a\": file: expected a string, got null"},
      {"shard is true", index_with("true"),
       "tensor \"a\": file: expected a string, got true or false"},
      {"shard is an object", index_with("{}"),
       "tensor \"a\": file: expected a string, got an object"},
      {"shard is an array", index_with("[\"x\"]"),
       "tensor \"a\": file: expected a string, got an array"},
      {"shard without name", index_with("\"\""), rule + "an empty name: \"\""},
      {"shard above", index_with("\"../x\""), rule + "a way out of the folder: \"../x\""},
      {"shard is the folder above", index_with("\"..\""), rule + "a way out of the folder: \"..\""},
      {"shard above and back", index_with("\"a/../../x\""),
       rule + "a way out of the folder: \"a/../../x\""},
      {"shard above at the end", index_with("\"a/..\""),
       rule + "a way out of the folder: \"a/..\""},
      {"shard above, escaped", index_with("\"\\u002e\\u002e\\u002fx\""),
       rule + "a way out of the folder: \"../x\""},
      {"shard at the root", index_with("\"/etc/passwd\""),
       rule + "an absolute path: \"/etc/passwd\""},
      {"shard on a drive", index_with("\"C:x\""), rule + "a backslash or a colon: \"C:x\""},
      {"shard with backslashes", index_with("\"..\\\\x\""),
       rule + "a backslash or a colon: \"..\\x\""},
      {"shard on a server", index_with("\"\\\\\\\\host\\\\x\""),
       rule + "a backslash or a colon: \"\\\\host\\x\""},
      {"shard is the folder", index_with("\".\""), rule + "an empty part of a path: \".\""},
      {"shard with an empty part", index_with("\"a//x\""),
       rule + "an empty part of a path: \"a//x\""},
      {"shard ends with a slash", index_with("\"a/\""), rule + "an empty part of a path: \"a/\""},
      {"shard with a zero", index_with("\"x\\u0000y\""), rule + "a control character: \"x\\x00y\""},
      {"shard with an escape", index_with("\"\\u001b[2J\""),
       rule + "a control character: \"\\x1b[2J\""},
  };
}

inline std::vector<Malformed> malformed_indices() {
  std::vector<Malformed> all = malformed_index_texts();
  for (const Malformed& malformed : malformed_index_files()) all.push_back(malformed);
  return all;
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_INDEX_MALFORMED_HPP
