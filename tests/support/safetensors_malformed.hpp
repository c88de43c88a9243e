// SPDX-License-Identifier: MIT
// Files that break one rule of the safetensors format each, and what has to be said about them.
#ifndef BATCHNORM_TESTS_SUPPORT_SAFETENSORS_MALFORMED_HPP
#define BATCHNORM_TESTS_SUPPORT_SAFETENSORS_MALFORMED_HPP

#include <cstdint>
#include <string>
#include <vector>

#include "support/safetensors_bytes.hpp"

namespace batchnorm_test {

struct Malformed {
  std::string what;
  std::string bytes;
  std::string message;  ///< follows the name of the function and of the file
};

/// One F32 tensor "a" of two elements, the fields of which can be replaced.
inline std::string tensor_json(const std::string& dtype = "\"F32\"",
                               const std::string& shape = "[2]",
                               const std::string& offsets = "[0,8]") {
  return "{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}

inline std::string file_with(const std::string& tensor, std::size_t data_size = 8) {
  return container("{\"a\":" + tensor + "}", std::string(data_size, '\0'));
}

inline std::vector<Malformed> malformed_frames() {
  const std::string nested(100000, '[');
  return {
      {"empty", "", "the file is truncated: header length at byte 0: expected 8 bytes, got 0"},
      {"part of the length", "\x02\0\0",
       "the file is truncated: header length at byte 0: expected 8 bytes, got 1"},
      {"length without header", little_endian(std::uint64_t{2}),
       "the file is truncated: header from byte 8: expected 2 bytes, got 0"},
      {"header cut", container("{}").substr(0, 9),
       "the file is truncated: header from byte 8: expected 2 bytes, got 1"},
      {"length over the limit", little_endian(std::uint64_t{100000001}) + "{}",
       "header length at byte 0: expected at most 100000000, got 100000001"},
      {"length of all ones", little_endian(~std::uint64_t{0}) + "{}",
       "header length at byte 0: expected at most 100000000, got 18446744073709551615"},
      {"length in big endian", std::string("\0\0\0\0\0\0\0\2{}", 10),
       "header length at byte 0: expected at most 100000000, got 144115188075855872"},
      {"no header", container(""),
       "header at byte 8: expected a JSON object that begins with {, got nothing"},
      {"an array", container("[]"),
       "header at byte 8: expected a JSON object that begins with {, got \"[\""},
      {"a space in front", container(" {}"),
       "header at byte 8: expected a JSON object that begins with {, got \" \""},
      {"a byte order mark", container("\xef\xbb\xbf{}"),
       "header at byte 8: expected a JSON object that begins with {, got \"\xef\""},
      {"JSON cut", container("{\"a\":"),
       "header: expected a JSON object in UTF-8, got something else at byte 13"},
      {"no JSON", container("{a:1}"),
       "header: expected a JSON object in UTF-8, got something else at byte 9"},
      {"comma at the end", container("{\"a\":" + tensor_json() + ",}", std::string(8, '\0')),
       "header: expected a JSON object in UTF-8, got something else at byte 62"},
      {"more after the object", container("{} {}"),
       "header: expected a JSON object in UTF-8, got something else at byte 11"},
      {"padded with zeros", container(std::string("{}\0\0\0\0\0\0", 8)),
       "header: expected a JSON object in UTF-8, got zero at byte 10"},
      {"text after a zero", container(std::string("{}\0{\"b\":1}", 10)),
       "header: expected a JSON object in UTF-8, got zero at byte 10"},
      {"not UTF-8", container("{\"a\xff\":1}"),
       "header: expected a JSON object in UTF-8, got something else at byte 11"},
      {"control character in a name", container("{\"a\n\":1}"),
       "header: expected a JSON object in UTF-8, got something else at byte 11"},
      {"comment", container("{/**/}"),
       "header: expected a JSON object in UTF-8, got something else at byte 9"},
      {"number beyond double", file_with(tensor_json("\"F32\"", "[1e999]")),
       "header: expected a JSON object in UTF-8, got something else at byte 41"},
      {"deep nesting", container("{\"a\":" + nested),
       "tensor \"a\": entry of the header: expected an object, got an array"},
  };
}

inline std::vector<Malformed> malformed_fields() {
  return {
      {"tensor is a number", container("{\"a\":1}"),
       "tensor \"a\": entry of the header: expected an object, got a number"},
      {"tensor is null", container("{\"a\":null}"),
       "tensor \"a\": entry of the header: expected an object, got null"},
      {"tensor without fields", file_with("{}"),
       "tensor \"a\": fields: expected dtype, shape and data_offsets, got 0 of the three"},
      {"no data_offsets", file_with("{\"dtype\":\"F32\",\"shape\":[2]}"),
       "tensor \"a\": fields: expected dtype, shape and data_offsets, got 2 of the three"},
      {"null for a tensor beside metadata that is null",
       container("{\"__metadata__\":null,\"a\":null}"),
       "tensor \"a\": entry of the header: expected an object, got null"},
      {"metadata is null twice", container("{\"__metadata__\":null,\"__metadata__\":null}"),
       "__metadata__: keys of the header: expected each name once, got the name again"},
      {"metadata with a null", container("{\"__metadata__\":{\"x\":null}}"),
       "__metadata__: value of \"x\": expected a string, got null"},
      {"another field instead of the shape",
       file_with("{\"dtype\":\"F32\",\"shapes\":[2],\"data_offsets\":[0,8]}"),
       "tensor \"a\": fields: expected dtype, shape and data_offsets, got 2 of the three"},
      {"a field twice", file_with("{\"dtype\":\"F32\",\"dtype\":\"F32\"}"),
       "tensor \"a\": fields: expected each field once, got dtype again"},
      {"a name twice",
       container(
           "{\"a\":" + tensor_json() + ",\"a\":" + tensor_json("\"F32\"", "[2]", "[8,16]") + "}",
           std::string(16, '\0')),
       "tensor \"a\": keys of the header: expected each name once, got the name again"},
      {"a name twice, once escaped",
       container("{\"a\":" + tensor_json() + ",\"\\u0061\":" + tensor_json() + "}",
                 std::string(8, '\0')),
       "tensor \"a\": keys of the header: expected each name once, got the name again"},
      {"dtype is a number", file_with(tensor_json("32")),
       "tensor \"a\": dtype: expected a string, got a number"},
      {"dtype is an object", file_with(tensor_json("{}")),
       "tensor \"a\": dtype: expected a string, got an object"},
      {"dtype is empty", file_with(tensor_json("\"\"")),
       "tensor \"a\": dtype: expected a name such as F32, got \"\""},
      {"dtype of another library", file_with(tensor_json("\"float32\"")),
       "tensor \"a\": dtype: expected a name such as F32, got \"float32\""},
      {"shape is a number", file_with(tensor_json("\"F32\"", "2")),
       "tensor \"a\": shape: expected an array, got a number"},
      {"shape is a string", file_with(tensor_json("\"F32\"", "\"2\"")),
       "tensor \"a\": shape: expected an array, got a string"},
      {"shape of strings", file_with(tensor_json("\"F32\"", "[\"2\"]")),
       "tensor \"a\": number in shape: expected a whole number, zero or larger, got a string"},
      {"shape of arrays", file_with(tensor_json("\"F32\"", "[[2]]")),
       "tensor \"a\": number in shape: expected a whole number, zero or larger, got an array"},
      {"negative extent", file_with(tensor_json("\"F32\"", "[-2]")),
       "tensor \"a\": number in shape: expected a whole number, zero or larger, got a negative "
       "number"},
      {"fractional extent", file_with(tensor_json("\"F32\"", "[2.0]")),
       "tensor \"a\": number in shape: expected a whole number, zero or larger, got a number that "
       "is no whole number of 64 bits"},
      {"extent of 64 bits", file_with(tensor_json("\"F32\"", "[9223372036854775808]")),
       "tensor \"a\": number in shape: expected a number that fits into 63 bits, got "
       "9223372036854775808"},
      {"extent of 65 bits", file_with(tensor_json("\"F32\"", "[18446744073709551616]")),
       "tensor \"a\": number in shape: expected a whole number, zero or larger, got a number that "
       "is no whole number of 64 bits"},
      {"offsets are one", file_with(tensor_json("\"F32\"", "[2]", "[0]")),
       "tensor \"a\": data_offsets: expected 2 numbers, got 1"},
      {"offsets are three", file_with(tensor_json("\"F32\"", "[2]", "[0,8,16]")),
       "tensor \"a\": data_offsets: expected 2 numbers, got more"},
      {"offsets are an object", file_with(tensor_json("\"F32\"", "[2]", "{}")),
       "tensor \"a\": data_offsets: expected an array, got an object"},
      {"negative offset", file_with(tensor_json("\"F32\"", "[2]", "[-8,0]")),
       "tensor \"a\": number in data_offsets: expected a whole number, zero or larger, got a "
       "negative number"},
      {"offset is true", file_with(tensor_json("\"F32\"", "[2]", "[true,8]")),
       "tensor \"a\": number in data_offsets: expected a whole number, zero or larger, got true or "
       "false"},
      {"metadata is a string", container("{\"__metadata__\":\"pt\"}"),
       "__metadata__: entry of the header: expected an object, got a string"},
      {"metadata of numbers", container("{\"__metadata__\":{\"epoch\":3}}"),
       "__metadata__: value of \"epoch\": expected a string, got a number"},
      {"metadata of objects", container("{\"__metadata__\":{\"x\":{}}}"),
       "__metadata__: value of \"x\": expected a string, got an object"},
      {"metadata twice", container("{\"__metadata__\":{},\"__metadata__\":{}}"),
       "__metadata__: keys of the header: expected each name once, got the name again"},
      {"a metadata key twice", container("{\"__metadata__\":{\"x\":\"\",\"x\":\"\"}}"),
       "__metadata__: keys: expected each name once, got \"x\" again"},
  };
}

/// Two tensors of one byte per element.
inline std::string two_tensors(const std::string& a, const std::string& b, std::size_t data_size) {
  return container("{\"a\":" + a + ",\"b\":" + b + "}", std::string(data_size, '\0'));
}

inline std::vector<Malformed> malformed_layouts() {
  return {
      {"data cut", file_with(tensor_json(), 7),
       "tensor \"a\": the file is truncated: data_offsets end inside of it: expected at most 7, "
       "got 8"},
      {"begin after end", file_with(tensor_json("\"F32\"", "[2]", "[8,0]")),
       "tensor \"a\": data_offsets: expected begin <= end, got 8 and 0"},
      {"end beyond everything",
       file_with(tensor_json("\"F32\"", "[2]", "[0,18446744073709551615]")),
       "tensor \"a\": the file is truncated: data_offsets end inside of it: expected at most 8, "
       "got 18446744073709551615"},
      {"too few bytes", file_with(tensor_json("\"F32\"", "[3]")),
       "tensor \"a\": bytes between the data_offsets: expected 3 elements of 4 bytes for shape "
       "[3], got 8 bytes"},
      {"too many bytes", file_with(tensor_json("\"F32\"", "[1]")),
       "tensor \"a\": bytes between the data_offsets: expected 1 elements of 4 bytes for shape "
       "[1], got 8 bytes"},
      {"bytes that no shape has", file_with(tensor_json("\"F32\"", "[2]", "[0,7]")),
       "tensor \"a\": bytes between the data_offsets: expected 2 elements of 4 bytes for shape "
       "[2], got 7 bytes"},
      {"a scalar of two", file_with(tensor_json("\"F32\"", "[]")),
       "tensor \"a\": bytes between the data_offsets: expected 1 elements of 4 bytes for shape [], "
       "got 8 bytes"},
      {"bytes of no elements", file_with(tensor_json("\"F32\"", "[2,0]")),
       "tensor \"a\": bytes between the data_offsets: expected 0 elements of 4 bytes for shape "
       "[2, 0], got 8 bytes"},
      {"elements beyond 64 bits",
       file_with(tensor_json("\"F32\"", "[4294967296,4294967296]", "[0,0]")),
       "tensor \"a\": number of elements: expected one that fits into 63 bits, got [4294967296, "
       "4294967296]"},
      {"bytes beyond 64 bits", file_with(tensor_json("\"F32\"", "[4611686018427387904]", "[0,0]")),
       "tensor \"a\": bytes between the data_offsets: expected 4611686018427387904 elements of 4 "
       "bytes for shape [4611686018427387904], got 0 bytes"},
      {"too few bytes of four bits", file_with(tensor_json("\"F4\"", "[6]", "[0,2]"), 2),
       "tensor \"a\": bytes between the data_offsets: expected 6 elements of 4 bits for shape [6], "
       "got 2 bytes"},
      {"half a byte left over", file_with(tensor_json("\"F4\"", "[3]", "[0,2]"), 2),
       "tensor \"a\": bytes between the data_offsets: expected 3 elements of 4 bits for shape [3], "
       "got 2 bytes"},
      {"too many bytes of six bits", file_with(tensor_json("\"F6_E3M2\"", "[4]", "[0,4]"), 4),
       "tensor \"a\": bytes between the data_offsets: expected 4 elements of 6 bits for shape [4], "
       "got 4 bytes"},
      {"too few bytes of a complex number", file_with(tensor_json("\"C64\"", "[2]")),
       "tensor \"a\": bytes between the data_offsets: expected 2 elements of 8 bytes for shape "
       "[2], "
       "got 8 bytes"},
      {"overlap by one",
       two_tensors(tensor_json("\"U8\"", "[4]", "[0,4]"), tensor_json("\"U8\"", "[4]", "[3,7]"), 7),
       "tensor \"b\": overlaps tensor \"a\", begins: expected at byte 4 of the data, got 3"},
      {"one inside the other",
       two_tensors(tensor_json("\"U8\"", "[8]", "[0,8]"), tensor_json("\"U8\"", "[2]", "[2,4]"), 8),
       "tensor \"b\": overlaps tensor \"a\", begins: expected at byte 8 of the data, got 2"},
      {"the same bytes twice",
       two_tensors(tensor_json("\"U8\"", "[4]", "[0,4]"), tensor_json("\"I8\"", "[4]", "[0,4]"), 4),
       "tensor \"b\": overlaps tensor \"a\", begins: expected at byte 4 of the data, got 0"},
      {"a hole between",
       two_tensors(tensor_json("\"U8\"", "[2]", "[0,2]"), tensor_json("\"U8\"", "[2]", "[4,6]"), 6),
       "tensor \"b\": leaves a hole after tensor \"a\", begins: expected at byte 2 of the data, "
       "got 4"},
      {"a hole in front", file_with(tensor_json("\"F32\"", "[2]", "[8,16]"), 16),
       "tensor \"a\": leaves a hole after the header, begins: expected at byte 0 of the data, got "
       "8"},
      {"a name that could harm a terminal", container("{\"\\u001b[2J\":" + tensor_json() + "}"),
       "tensor \"\\x1b[2J\": the file is truncated: data_offsets end inside of it: expected at "
       "most "
       "0, got 8"},
  };
}

inline std::vector<Malformed> malformed_files() {
  std::vector<Malformed> all;
  for (const auto& group : {malformed_frames(), malformed_fields(), malformed_layouts()}) {
    all.insert(all.end(), group.begin(), group.end());
  }
  return all;
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_SAFETENSORS_MALFORMED_HPP
