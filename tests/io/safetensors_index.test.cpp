// SPDX-License-Identifier: MIT
#include "batchnorm/io/safetensors_index.hpp"

#include <map>
#include <set>
#include <stdexcept>
#include <string>

#include "support/catch.hpp"
#include "support/index_malformed.hpp"
#include "support/safetensors_bytes.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

std::map<std::string, std::string> parse(const std::string& text) {
  const ExactCopy copy(text);
  return parse_safetensors_index(copy.data(), copy.size(), "memory").file_of;
}

using Files = std::map<std::string, std::string>;

}  // namespace

TEST_CASE("an index names the file of each tensor") {
  CHECK(parse(R"({"metadata": {"total_size": 12}, "weight_map": {"a": "x.safetensors", )"
              R"("b": "sub/y.safetensors", "c": "x.safetensors"}})") ==
        Files{{"a", "x.safetensors"}, {"b", "sub/y.safetensors"}, {"c", "x.safetensors"}});
  CHECK(parse("{\"weight_map\":{}}").empty());
}

TEST_CASE("what stands beside the map is passed over, whatever it is") {
  const Files one = {{"a", "x"}};
  const std::string map = "\"weight_map\":{\"a\":\"x\"}";
  for (const std::string value :
       {"1", "-1", "1.5", "null", "true", "\"..\"", "[]", "{}", "[1,[2,{\"a\":\"..\"}],3]",
        "{\"weight_map\":{\"a\":\"..\"}}", "{\"a\":{\"b\":[]},\"c\":null}"}) {
    INFO(value);
    CHECK(parse("{\"metadata\":" + value + "," + map + "}") == one);
    CHECK(parse("{" + map + ",\"other\":" + value + ",\"more\":" + value + "}") == one);
  }
  const std::string deep = std::string(20000, '[') + std::string(20000, ']');
  CHECK(parse("{\"metadata\":" + deep + "," + map + "}") == one);
}

TEST_CASE("names that only look dangerous are names") {
  for (const std::string name : {"..x", "x..", "...", "a/..b", ".hidden", "a b", "\xc3\xa4"}) {
    INFO(name);
    CHECK(parse(index_with("\"" + name + "\"")).at("a") == name);
  }
}

TEST_CASE("every malformed index is refused with its reason") {
  CHECK(malformed_indices().size() >= 30);
  std::set<std::string> names;
  for (const Malformed& malformed : malformed_indices()) {
    INFO(malformed.what);
    CHECK(names.insert(malformed.what).second);
    CHECK_THROWS_MATCHES(parse(malformed.bytes), std::runtime_error,
                         Catch::Matchers::Predicate<std::runtime_error>(
                             [&](const std::runtime_error& error) {
                               return error.what() ==
                                      "parse_safetensors_index: \"memory\": " + malformed.message;
                             },
                             malformed.message));
  }
}

TEST_CASE("an index cut anywhere is refused") {
  const std::string whole = R"({"metadata":{"total_size":1e3},"weight_map":{"a":"x","b":"y"}})";
  CHECK(parse(whole).size() == 2);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    INFO("bytes left: " << size);
    CHECK_THROWS_AS(parse(whole.substr(0, size)), std::runtime_error);
  }
}

TEST_CASE("null bytes of an index are refused unless there are none") {
  CHECK_THROWS_MATCHES(
      parse_safetensors_index(nullptr, 9, "x"), std::invalid_argument,
      says("parse_safetensors_index: bytes of \"x\": expected data, got a null pointer"));
  CHECK_THROWS_AS(parse_safetensors_index(nullptr, 0, "x"), std::runtime_error);
}

TEST_CASE("an index has a longest length, like a header") {
  // Nothing is read: the bytes behind the pointer are fewer.
  CHECK_THROWS_MATCHES(parse_safetensors_index("{}", 100000001, "x"), std::runtime_error,
                       says("bytes of the index: expected at most 100000000, got 100000001"));
  const std::string longest(100000000, 'x');
  CHECK_THROWS_MATCHES(parse_safetensors_index(longest.data(), longest.size(), "x"),
                       std::runtime_error, says("something else at byte 0"));
}

TEST_CASE("a name loses every dot and slash in front of it, and nothing else") {
  CHECK(detail::without_dot("x") == "x");
  CHECK(detail::without_dot("./x") == "x");
  CHECK(detail::without_dot("././x/./y") == "x/./y");
  CHECK(detail::without_dot("./") == "");
  CHECK(detail::without_dot(".x") == ".x");
  CHECK(detail::without_dot("./.x") == ".x");
  CHECK(detail::without_dot("a./x") == "a./x");
  CHECK(detail::without_dot("/x") == "/x");
  CHECK(detail::without_dot("") == "");
}

TEST_CASE("bytes are no index, as no other value is") {
  detail::IndexHandler handler;
  nlohmann::json::binary_t bytes;
  CHECK_FALSE(handler.binary(bytes));
  CHECK(handler.refusal().expected == "a JSON object");
  CHECK(handler.refusal().got == "bytes");
  CHECK_FALSE(handler.has_map());
}
