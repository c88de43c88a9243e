// SPDX-License-Identifier: MIT
#include "batchnorm/io/counter.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace batchnorm;

namespace {

struct Examined {
  Index count;
  LoadReport report;
};

Examined examined(const Tensors& tensors) {
  Examined result{0, {}};
  result.count = detail::examine_counter(tensors, "n", result.report);
  return result;
}

template <class T>
Index count_of(T number, const std::vector<Index>& shape = {}) {
  Tensors tensors;
  tensors.set("n", shape, &number);
  const Examined result = examined(tensors);
  CHECK(result.report.errors() == (result.count < 0 ? 1u : 0u));
  return result.count;
}

template <class T>
std::string fault_of(T number) {
  Tensors tensors;
  tensors.set_value("n", number);
  const Examined result = examined(tensors);
  CHECK(result.count == -1);
  REQUIRE(result.report.entries.size() == 1);
  CHECK(result.report.entries[0].is_error);
  return result.report.entries[0].text;
}

}  // namespace

TEST_CASE("a count is read from every type that holds it, with and without an axis") {
  for (const std::vector<Index>& shape : std::vector<std::vector<Index>>{{}, {1}, {1, 1}}) {
    CHECK(count_of(std::int64_t{460}, shape) == 460);
    CHECK(count_of(std::int32_t{460}, shape) == 460);
    CHECK(count_of(std::uint64_t{460}, shape) == 460);
    CHECK(count_of(std::uint8_t{46}, shape) == 46);
    CHECK(count_of(460.0, shape) == 460);
    CHECK(count_of(460.0f, shape) == 460);
    CHECK(count_of(Eigen::half(460.0f), shape) == 460);
    CHECK(count_of(Eigen::bfloat16(460.0f), shape) == 460);
    CHECK(count_of(0.0f, shape) == 0);
    CHECK(count_of(-0.0, shape) == 0);
  }
}

TEST_CASE("counts go to the last one that is exact") {
  CHECK(count_of((std::numeric_limits<std::int64_t>::max)()) == 9223372036854775807);
  CHECK(count_of(std::uint64_t{9223372036854775807u}) == 9223372036854775807);
  CHECK(count_of(9007199254740992.0) == 9007199254740992);
  CHECK(fault_of(9007199254740994.0) ==
        "number of minibatches: expected at most 2^53 in floating numbers, got 9.00719925e+15");
  CHECK(fault_of(1e30) ==
        "number of minibatches: expected at most 2^53 in floating numbers, got 1e+30");
  CHECK(fault_of(std::uint64_t{9223372036854775808u}) ==
        "number of minibatches: expected at most 9223372036854775807, got 9223372036854775808");
}

TEST_CASE("what counts nothing is refused") {
  const std::string rule = "number of minibatches: expected a whole number, 0 or more, got ";
  CHECK(fault_of(7.5) == rule + "7.5");
  CHECK(fault_of(0.5f) == rule + "0.5");
  CHECK(fault_of(Eigen::half(-1.0f)) == rule + "-1");
  CHECK(fault_of(-std::numeric_limits<double>::denorm_min()).substr(0, rule.size()) == rule);
  CHECK(fault_of(HUGE_VAL) == rule + "inf");
  CHECK(fault_of(std::nanf("")) == rule + "nan");
  CHECK(fault_of(std::int64_t{-3}) == "number of minibatches: expected 0 or more, got -3");
  CHECK(fault_of(std::int8_t{-1}) == "number of minibatches: expected 0 or more, got -1");
  CHECK(fault_of(true) == "dtype: expected whole or floating numbers, got BOOL");
  Tensors tensors;
  tensors.set("n", {2}, std::vector<float>{1, 2});
  CHECK(examined(tensors).report.entries.at(0).text == "number of elements: expected 1, got 2");
  CHECK(examined(tensors).report.entries.at(0).finding == Finding::wrong_shape);
  tensors.set("n", {0}, std::vector<std::int64_t>());
  CHECK(examined(tensors).report.entries.at(0).text == "number of elements: expected 1, got 0");
  tensors.set("n", Tensor{"F8_E4M3", {}, tensors.tensor("n").bytes, 1});
  CHECK(examined(tensors).report.entries.at(0).text ==
        "dtype: expected whole or floating numbers, got F8_E4M3");
  tensors.set("n", Tensor{"INT128", {}, tensors.tensor("n").bytes, 0});
  CHECK(examined(tensors).report.entries.at(0).text ==
        "dtype: expected whole or floating numbers, got INT128");
}

TEST_CASE("a count in floating numbers is reported as converted") {
  Tensors tensors;
  tensors.set_value("n", std::int32_t{5});
  CHECK(examined(tensors).report.entries.size() == 1);
  tensors.set_value("n", 12.0f);
  const LoadReport report = examined(tensors).report;
  REQUIRE(report.entries.size() == 2);
  CHECK(report.entries[0].finding == Finding::used);
  CHECK(report.entries[0].text == "minibatches seen, 12");
  CHECK(report.entries[1].finding == Finding::converted);
  CHECK(report.entries[1].text == "F32 -> a whole number");
}

TEST_CASE("a count that its type cannot tell from the next is suspicious") {
  const auto warnings = [](auto number) {
    Tensors tensors;
    tensors.set_value("n", number);
    const LoadReport report = examined(tensors).report;
    return report.warnings().empty() ? std::string() : report.warnings()[0].text;
  };
  // Adding 1 to 2^24 in float, 2^11 in half and 2^8 in bfloat16 changes nothing.
  CHECK(warnings(16777215.0f).empty());
  CHECK(warnings(16777216.0f) == "F32 counts to 16777216 only: the number is a rounded one");
  CHECK(warnings(Eigen::half(2047.0f)).empty());
  CHECK(warnings(Eigen::half(2048.0f)) == "F16 counts to 2048 only: the number is a rounded one");
  CHECK(warnings(Eigen::bfloat16(255.0f)).empty());
  CHECK(warnings(Eigen::bfloat16(512.0f)) ==
        "BF16 counts to 256 only: the number is a rounded one");
  CHECK(warnings(16777216.0).empty());
  CHECK(warnings(9007199254740991.0).empty());
  CHECK(warnings(9007199254740992.0) ==
        "F64 counts to 9007199254740992 only: the number is a rounded one");
  CHECK(warnings(Eigen::bfloat16(256.0f)) ==
        "BF16 counts to 256 only: the number is a rounded one");
}
