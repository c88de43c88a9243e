// SPDX-License-Identifier: MIT
#include "batchnorm/io/safetensors_layout.hpp"

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace batchnorm;
using batchnorm_test::says;

namespace {

detail::SafetensorsHeader header_of(
    const std::vector<std::pair<std::string, std::vector<std::uint64_t>>>& tensors) {
  detail::SafetensorsHeader header;
  for (const auto& [name, offsets] : tensors) {
    header.tensors[name] = detail::TensorInfo{"U8", {}, offsets[0], offsets[1]};
  }
  return header;
}

}  // namespace

TEST_CASE("names from files are printed in quotes, harmlessly and not without end") {
  CHECK(detail::in_quotes("1.weight") == "\"1.weight\"");
  CHECK(detail::in_quotes("\xc3\xa9") == "\"\xc3\xa9\"");
  CHECK(detail::in_quotes(std::string("\0\n\x1b\x7f", 4)) == "\"\\x00\\x0a\\x1b\\x7f\"");
  CHECK(detail::in_quotes(std::string(100, 'x')) == "\"" + std::string(100, 'x') + "\"");
  CHECK(detail::in_quotes(std::string(101, 'x')) == "\"" + std::string(100, 'x') + "\"...");
}

TEST_CASE("paths are printed whole") {
  const detail::FileContext context{"read", std::string(300, 'p')};
  CHECK_THROWS_MATCHES(detail::fail_file(context, "rule", "this", "that"), std::runtime_error,
                       says(std::string(300, 'p') + "\": rule: expected this, got that"));
}

TEST_CASE("elements are counted without overflow") {
  CHECK(detail::count_elements({}) == 1u);
  CHECK(detail::count_elements({3, 4, 5}) == 60u);
  CHECK(detail::count_elements({7, 0, 9}) == 0u);
  const Index most = (std::numeric_limits<Index>::max)();
  CHECK(detail::count_elements({most, 1}) == static_cast<std::uint64_t>(most));
  CHECK(detail::count_elements({most, 0}) == 0u);
  CHECK_FALSE(detail::count_elements({-1}));
  CHECK_FALSE(detail::count_elements({0, -1}));
  CHECK_FALSE(detail::count_elements({-1, 0}));
  CHECK_FALSE(detail::count_elements({most, 2}));
  CHECK_FALSE(detail::count_elements({2, most}));
  CHECK_FALSE(detail::count_elements({Index{1} << 21, Index{1} << 21, Index{1} << 21}));
}

TEST_CASE("shapes are printed as the files write them") {
  CHECK(detail::shape_text({}) == "[]");
  CHECK(detail::shape_text({2, 3}) == "[2, 3]");
}

TEST_CASE("a name of a dtype is short and in capitals") {
  CHECK(detail::is_dtype_name("F8_E4M3"));
  CHECK_FALSE(detail::is_dtype_name(""));
  CHECK_FALSE(detail::is_dtype_name("f32"));
  CHECK_FALSE(detail::is_dtype_name("F32\n"));
  CHECK(detail::is_dtype_name(std::string(32, 'F')));
  CHECK_FALSE(detail::is_dtype_name(std::string(33, 'F')));
}

TEST_CASE("a tensor is checked against the file and its own shape") {
  detail::Refusal refusal;
  CHECK(detail::check_tensor({"F32", {2, 3}, 8, 32}, 32, refusal));
  CHECK_FALSE(detail::check_tensor({"F32", {2, 3}, 8, 32}, 31, refusal));
  CHECK(refusal.got == "32");
  CHECK_FALSE(detail::check_tensor({"F32", {2, 2}, 8, 32}, 32, refusal));
  CHECK(refusal.got == "24 bytes");
  // The format says nothing about alignment, and smaller elements are packed.
  CHECK(detail::check_tensor({"F64", {3}, 13, 37}, 37, refusal));
  CHECK(detail::check_tensor({"F6_E3M2", {4}, 1, 4}, 4, refusal));
  CHECK_FALSE(detail::check_tensor({"F6_E3M2", {4}, 1, 5}, 5, refusal));
  CHECK(refusal.expected == "4 elements of 6 bits for shape [4]");
  // Nothing is known about the bytes of another library's dtype.
  CHECK(detail::check_tensor({"F7_E3M3", {4}, 1, 4}, 4, refusal));
}

TEST_CASE("each rule of a tensor refuses in its own words, and fills in all of them but the name") {
  constexpr Index half = Index{1} << 32;
  const struct {
    detail::TensorInfo info;
    const char *rule, *expected, *got;
  } cases[] = {
      {{"", {2}, 0, 2}, "dtype", "a name such as F32", "\"\""},
      {{"f32", {2}, 0, 8}, "dtype", "a name such as F32", "\"f32\""},
      {{"U8", {2}, 5, 3}, "data_offsets", "begin <= end", "5 and 3"},
      {{"U8", {3}, 6, 9}, "the file is truncated: data_offsets end inside of it", "at most 8", "9"},
      {{"U8", {half, half}, 0, 8},
       "number of elements",
       "one that fits into 63 bits",
       "[4294967296, 4294967296]"},
      {{"F32", {2}, 0, 7},
       "bytes between the data_offsets",
       "2 elements of 4 bytes for shape [2]",
       "7 bytes"},
      {{"F32", {}, 0, 8},
       "bytes between the data_offsets",
       "1 elements of 4 bytes for shape []",
       "8 bytes"}};
  for (const auto& [info, rule, expected, got] : cases) {
    INFO(rule << got);
    detail::Refusal refusal{"left over", "", "", ""};
    CHECK_FALSE(detail::check_tensor(info, 8, refusal));
    CHECK(refusal.tensor.empty());
    CHECK(refusal.rule == rule);
    CHECK(refusal.expected == expected);
    CHECK(refusal.got == got);
  }
  detail::Refusal none;
  CHECK(detail::check_tensor({"U8", {}, 7, 8}, 8, none));
  CHECK(detail::check_tensor({"F64", {3, 0}, 8, 8}, 8, none));
  CHECK(none.rule.empty());
}

TEST_CASE("a refusal is raised with the name of the tensor, where there is one") {
  const detail::FileContext context{"read", "f"};
  const auto raised = [&](const char* tensor) {
    std::string message;
    try {
      detail::fail_file(context, detail::Refusal{tensor, "rule", "this", "that"});
    } catch (const std::runtime_error& error) {
      message = error.what();
    }
    return message;
  };
  CHECK(raised("") == "read: \"f\": rule: expected this, got that");
  CHECK(raised("__metadata__") == "read: \"f\": __metadata__: rule: expected this, got that");
  CHECK(raised("a\n") == "read: \"f\": tensor \"a\\x0a\": rule: expected this, got that");
}

TEST_CASE("tensors that follow each other are accepted in any order of names") {
  detail::SafetensorsHeader header =
      header_of({{"a", {4, 6}}, {"b", {0, 4}}, {"c", {6, 9}}, {"d", {4, 4}}, {"e", {9, 9}}});
  detail::Refusal refusal;
  CHECK(detail::check_neighbours(header, refusal));
  CHECK(header.data_size == 9);
}

TEST_CASE("overlaps and holes are refused with both names") {
  detail::Refusal refusal;
  detail::SafetensorsHeader overlap = header_of({{"a", {4, 8}}, {"b", {0, 5}}});
  CHECK_FALSE(detail::check_neighbours(overlap, refusal));
  CHECK(refusal.tensor == "a");
  CHECK(refusal.rule == "overlaps tensor \"b\", begins");
  detail::SafetensorsHeader hole = header_of({{"a", {6, 8}}, {"b", {0, 5}}});
  CHECK_FALSE(detail::check_neighbours(hole, refusal));
  CHECK(refusal.rule == "leaves a hole after tensor \"b\", begins");
  CHECK(refusal.expected == "at byte 5 of the data");
  CHECK(refusal.got == "6");
  detail::SafetensorsHeader inside = header_of({{"a", {0, 4}}, {"b", {2, 2}}});
  CHECK_FALSE(detail::check_neighbours(inside, refusal));
  CHECK(refusal.rule == "overlaps tensor \"a\", begins");
  detail::SafetensorsHeader front = header_of({{"a", {1, 4}}});
  CHECK_FALSE(detail::check_neighbours(front, refusal));
  CHECK(refusal.rule == "leaves a hole after the header, begins");
  CHECK(refusal.expected == "at byte 0 of the data");
  CHECK(refusal.got == "1");
}

TEST_CASE("bytes in memory are there, unless there are none") {
  const detail::FileContext context{"parse", "net"};
  CHECK_NOTHROW(detail::check_bytes(context, "x", 1));
  CHECK_NOTHROW(detail::check_bytes(context, "x", 0));
  CHECK_NOTHROW(detail::check_bytes(context, nullptr, 0));
  CHECK_THROWS_MATCHES(detail::check_bytes(context, nullptr, 1), std::invalid_argument,
                       says("parse: bytes of \"net\": expected data, got a null pointer"));
}
