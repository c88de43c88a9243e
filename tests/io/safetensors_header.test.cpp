// SPDX-License-Identifier: MIT
#include "batchnorm/io/safetensors_header.hpp"

#include <cstdint>
#include <exception>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/safetensors_bytes.hpp"
#include "support/safetensors_malformed.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

const detail::FileContext context{"read", "big.safetensors"};

detail::SafetensorsHeader parse(const std::string& json, std::uint64_t data_size) {
  return detail::parse_header(context, json.data(), json.size(), 8 + json.size() + data_size);
}

/// Matches an exception by its whole message.
auto says_all(const std::string& message) {
  return Catch::Matchers::Predicate<std::exception>(
      [message](const std::exception& error) { return error.what() == message; },
      "says exactly \"" + message + "\"");
}

std::size_t length_of(const std::string& bytes, std::uint64_t file_size) {
  const ExactCopy copy(bytes);
  return detail::parse_header_length(context, static_cast<const unsigned char*>(copy.data()),
                                     file_size);
}

}  // namespace

TEST_CASE("every malformed header is refused with its reason, and nothing after it is looked at") {
  for (const Malformed& malformed : malformed_files()) {
    INFO(malformed.what);
    const std::string& bytes = malformed.bytes;
    const auto refused = [&] {
      const std::size_t length = length_of(bytes, bytes.size());
      detail::parse_header(context, bytes.data() + 8, length, bytes.size());
    };
    CHECK_THROWS_MATCHES(refused(), std::runtime_error,
                         says_all("read: \"big.safetensors\": " + malformed.message));
  }
}

TEST_CASE("every kind of value is refused where another belongs") {
  const auto refused = [](const std::string& json, const std::string& message) {
    INFO(json);
    CHECK_THROWS_MATCHES(parse(json, 8), std::runtime_error,
                         says_all("read: \"big.safetensors\": " + message));
  };
  const struct {
    const char* json;
    const char* name;
  } values[] = {{"null", "null"},
                {"true", "true or false"},
                {"-1", "a negative number"},
                {"0.5", "a number that is no whole number of 64 bits"},
                {"1", "a number"},
                {"\"x\"", "a string"},
                {"{}", "an object"},
                {"[]", "an array"}};
  for (const auto& value : values) {
    const std::string json = value.json, name = value.name, got = ", got " + name;
    if (json != "{}") {
      refused("{\"a\":" + json + "}",
              "tensor \"a\": entry of the header: expected an object" + got);
    }
    if (json != "{}" && json != "null") {
      refused("{\"__metadata__\":" + json + "}",
              "__metadata__: entry of the header: expected an object" + got);
    }
    if (json != "\"x\"") {
      refused(R"({"__metadata__":{"k":)" + json + "}}",
              "__metadata__: value of \"k\": expected a string" + got);
      refused(R"({"a":{"dtype":)" + json + "}}", "tensor \"a\": dtype: expected a string" + got);
    }
    for (const std::string field : {"shape", "data_offsets"}) {
      if (json != "[]") {
        refused(R"({"a":{")" + field + "\":" + json + "}}",
                "tensor \"a\": " + field + ": expected an array" + got);
      }
      if (json != "1") {
        refused(
            R"({"a":{")" + field + "\":[" + json + "]}}",
            "tensor \"a\": number in " + field + ": expected a whole number, zero or larger" + got);
      }
    }
  }
}

TEST_CASE("what follows the header is not read as part of it") {
  const std::string json = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  const std::string bytes = json + "x,]";
  const detail::SafetensorsHeader header =
      detail::parse_header(context, bytes.data(), json.size(), 8 + bytes.size());
  CHECK(header.tensors.size() == 1);
  CHECK(header.data_size == 1);
}

TEST_CASE("a tensor takes nothing over from the one before it") {
  const std::string first = R"("a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]})";
  CHECK_THROWS_MATCHES(
      parse("{" + first + R"(,"b":{"shape":[2],"data_offsets":[2,4]}})", 4), std::runtime_error,
      says("tensor \"b\": fields: expected dtype, shape and data_offsets, got 2 of "
           "the three"));
  const detail::SafetensorsHeader header =
      parse("{" + first +
                R"(,"__metadata__":{"dtype":"x","shape":"y"},)"
                R"("b":{"data_offsets":[2,3],"dtype":"I8","shape":[]}})",
            3);
  CHECK(header.tensors.at("a").shape == std::vector<Index>{2});
  CHECK(header.tensors.at("b").shape.empty());
  CHECK(header.tensors.at("b").dtype == "I8");
  CHECK(header.tensors.at("b").begin == 2);
  CHECK(header.tensors.at("b").end == 3);
  CHECK(header.metadata == std::map<std::string, std::string>{{"dtype", "x"}, {"shape", "y"}});
}

TEST_CASE("the length of the header is little endian") {
  CHECK(length_of(std::string("\x02\x01\0\0\0\0\0\0", 8), 8 + 258) == 258);
  CHECK_THROWS_MATCHES(length_of(std::string("\x02\x01\0\0\0\0\0\0", 8), 8 + 257),
                       std::runtime_error,
                       says("read: \"big.safetensors\": the file is truncated: header from byte 8: "
                            "expected 258 bytes, got 257"));
}

TEST_CASE("the longest header is that of the reference implementation") {
  CHECK(length_of(little_endian(std::uint64_t{100000000}), 200000000) == 100000000);
  CHECK_THROWS_MATCHES(length_of(little_endian(std::uint64_t{100000001}), 200000000),
                       std::runtime_error, says("expected at most 100000000, got 100000001"));
}

TEST_CASE("files beyond 32 bits are described by their header alone") {
  const std::string json =
      R"({"a":{"dtype":"U8","shape":[5000000000],"data_offsets":[0,5000000000]},)"
      R"("b":{"dtype":"U8","shape":[2,2500000000],"data_offsets":[5000000000,10000000000]}})";
  const detail::SafetensorsHeader header = parse(json, 10000000000u);
  CHECK(header.data_size == 10000000000u);
  CHECK(header.tensors.at("b").begin == 5000000000u);
  CHECK(header.tensors.at("b").shape == std::vector<Index>{2, 2500000000});
  CHECK_THROWS_MATCHES(parse(json, 9999999999u), std::runtime_error,
                       says("tensor \"b\": the file is truncated: data_offsets end inside of it: "
                            "expected at most 9999999999, got 10000000000"));
}

TEST_CASE("the longest axis is that of an Index, where another one is empty") {
  const std::string json =
      R"({"a":{"dtype":"U8","shape":[0,9223372036854775807],"data_offsets":[0,0]}})";
  if (sizeof(Index) < 8) return;
  CHECK(parse(json, 0).tensors.at("a").shape ==
        std::vector<Index>{0, (std::numeric_limits<Index>::max)()});
}

TEST_CASE("fields may come in any order, with any white space") {
  const detail::SafetensorsHeader header = parse(
      "{\n \"a\" : { \"data_offsets\" : [ 0 , 2 ] ,\t\"shape\":[],\"dtype\":\"F16\"}\r\n}  \n", 2);
  CHECK(header.tensors.at("a").dtype == "F16");
  CHECK(header.tensors.at("a").shape.empty());
  CHECK(header.tensors.at("a").end == 2);
}

TEST_CASE("names and metadata may hold any text") {
  const detail::SafetensorsHeader header =
      parse(R"({"__metadata__":{"":"x","\u00e9\ud83d\ude00":"\u0000"},)"
            R"("":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
            1);
  CHECK(header.tensors.count("") == 1);
  CHECK(header.metadata.at("") == "x");
  CHECK(header.metadata.at("\xc3\xa9\xf0\x9f\x98\x80") == std::string(1, '\0'));
}

TEST_CASE("depth costs neither stack nor memory") {
  for (const char* beginning :
       {"{\"a\":", "{\"a\":{\"shape\":", "{\"a\":{\"x\":", "{\"__metadata__\":{\"a\":"}) {
    for (const std::string open : {"[", "{\"a\":"}) {
      std::string json = beginning;
      for (int depth = 0; depth < 200000; ++depth) json += open;
      INFO(beginning << open);
      CHECK_THROWS_MATCHES(parse(json, 0), std::runtime_error, says("big.safetensors"));
    }
  }
}

TEST_CASE("a shape may have any number of axes") {
  std::string shape = "[1";
  for (int axis = 1; axis < 1000; ++axis) shape += ",1";
  const std::string begin = R"({"a":{"dtype":"U8","data_offsets":[0,1],"shape":)";
  CHECK(parse(begin + shape + "]}}", 1).tensors.at("a").shape.size() == 1000);
}

TEST_CASE("what a tensor has beside its three fields is passed over") {
  const std::string field = R"("dtype":"U8","shape":[1],"data_offsets":[0,1])";
  for (const std::string more : {"null", "true", "-1", "1.5", "7", "\"text\"", "[]", "{}",
                                 "[[1],{\"dtype\":\"F64\"}]", "{\"shape\":[9,{}],\"x\":{}}"}) {
    INFO(more);
    for (const std::string& json : {"{\"a\":{\"x\":" + more + "," + field + "}}",
                                    "{\"a\":{" + field + ",\"x\":" + more + "}}"}) {
      const detail::SafetensorsHeader header = parse(json, 1);
      CHECK(header.tensors.size() == 1);
      CHECK(header.tensors.at("a").dtype == "U8");
      CHECK(header.tensors.at("a").shape == std::vector<Index>{1});
    }
  }
}

TEST_CASE("metadata may be null, nothing else may") {
  CHECK(parse(R"({"__metadata__":null})", 0).metadata.empty());
  CHECK_THROWS_AS(parse(R"({"a":null})", 0), std::runtime_error);
}

TEST_CASE("what is wrong first is what is said") {
  // The offsets are wrong too, but the shape comes first in the text.
  CHECK_THROWS_MATCHES(
      parse(R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[4,0]}})", 0), std::runtime_error,
      says("number in shape: expected a whole number, zero or larger, got a number that is no "
           "whole number of 64 bits"));
}

TEST_CASE("a value in the place of the header is refused, whatever it is") {
  detail::HeaderHandler handler(0);
  CHECK_FALSE(handler.boolean(true));
  CHECK(handler.refusal().rule == "header");
  CHECK(handler.refusal().expected == "a JSON object");
  CHECK(handler.refusal().got == "true or false");
  nlohmann::json::binary_t bytes;
  CHECK_FALSE(handler.binary(bytes));
  CHECK(handler.refusal().got == "bytes");
  CHECK_FALSE(handler.null());
}

TEST_CASE("a header that is its first brace alone ends too early") {
  CHECK_THROWS_MATCHES(parse("{", 0), std::runtime_error,
                       says("header: expected a JSON object in UTF-8, got something else at byte"));
  CHECK_THROWS_MATCHES(parse("", 0), std::runtime_error,
                       says("header at byte 8: expected a JSON object that begins with {, got "
                            "nothing"));
}
