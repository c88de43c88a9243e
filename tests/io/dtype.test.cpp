// SPDX-License-Identifier: MIT
#include "batchnorm/io/dtype.hpp"

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace batchnorm;

namespace {

/// Whether there is a conversion; how far it went.
template <class To>
bool decode_into(const std::string& dtype, const unsigned char* bytes, std::vector<To>& values,
                 std::size_t& done) {
  const std::optional<std::size_t> converted = detail::decode(dtype, bytes, values);
  done = converted.value_or(0);
  return converted.has_value();
}

template <class To, class From>
To converted(From value) {
  To result{};
  REQUIRE(detail::convert_element(value, result));
  return result;
}

template <class To, class From>
bool fits(From value) {
  To result{};
  return detail::convert_element(value, result);
}

}  // namespace

TEST_CASE("names, sizes and ranks of dtypes") {
  CHECK(detail::dtype_bits("F64") == 64);
  CHECK(detail::dtype_bits("C64") == 64);
  CHECK(detail::dtype_bits("BF16") == 16);
  CHECK(detail::dtype_bits("BOOL") == 8);
  CHECK(detail::dtype_bits("F8_E8M0") == 8);
  CHECK(detail::dtype_bits("F6_E2M3") == 6);
  CHECK(detail::dtype_bits("F4") == 4);
  CHECK(detail::dtype_bits("f32") == 0);
  CHECK(detail::dtype_bits("") == 0);
  CHECK(detail::dtype_rank("I64") > detail::dtype_rank("F64"));
  CHECK(detail::dtype_rank("F64") > detail::dtype_rank("F32"));
  CHECK(detail::dtype_rank("BF16") > detail::dtype_rank("F16"));
  CHECK(detail::dtype_rank("U8") > detail::dtype_rank("F4"));
  CHECK(detail::dtype_rank("F4") > detail::dtype_rank("BOOL"));
  CHECK(detail::dtype_rank("F5") == 0);
}

// The enumeration Dtype of safetensors/src/tensor.rs, "by increasing alignment"; the bits are those
// of the names, where BOOL takes a byte and C64 is two floats.
TEST_CASE("all dtypes have the bits of their name and the rank of the reference implementation") {
  const struct {
    const char* name;
    unsigned bits;
  } expected[] = {{"BOOL", 8},    {"F4", 4},          {"F6_E2M3", 6},     {"F6_E3M2", 6},
                  {"U8", 8},      {"I8", 8},          {"F8_E5M2", 8},     {"F8_E4M3", 8},
                  {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
                  {"U16", 16},    {"F16", 16},        {"BF16", 16},       {"I32", 32},
                  {"U32", 32},    {"F32", 32},        {"C64", 64},        {"F64", 64},
                  {"I64", 64},    {"U64", 64}};
  int rank = 0;
  for (const auto& [name, bits] : expected) {
    INFO(name);
    CHECK(detail::dtype_bits(name) == bits);
    CHECK(detail::dtype_rank(name) == ++rank);
  }
}

TEST_CASE(
    "elements of every dtype are decoded, as floats and as whole numbers where that is right") {
  const struct {
    const char* dtype;
    std::vector<unsigned char> bytes;  // of two elements, lowest byte first
    double first, second;
    bool whole;
  } cases[] = {
      {"F64", {0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0xc0}, 1.5, -2, false},
      {"F32", {0, 0, 0xc0, 0x3f, 0, 0, 0, 0xc0}, 1.5, -2, false},
      {"F16", {0x00, 0x3e, 0x00, 0xc0}, 1.5, -2, false},
      {"BF16", {0xc0, 0x3f, 0x00, 0xc0}, 1.5, -2, false},
      {"I64", {1, 2, 0, 0, 0, 0, 0, 0, 254, 255, 255, 255, 255, 255, 255, 255}, 513, -2, true},
      {"I32", {1, 2, 0, 0, 254, 255, 255, 255}, 513, -2, true},
      {"I16", {1, 2, 254, 255}, 513, -2, true},
      {"I8", {7, 254}, 7, -2, true},
      {"U64", {1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}, 513, 4294967296, true},
      {"U32", {1, 2, 0, 0, 0, 0, 0, 128}, 513, 2147483648, true},
      {"U16", {1, 2, 254, 255}, 513, 65534, true},
      {"U8", {7, 254}, 7, 254, true}};
  for (const auto& [dtype, bytes, first, second, whole] : cases) {
    INFO(dtype);
    std::size_t done = 0;
    std::vector<double> numbers(2, 9.0);
    CHECK(decode_into(dtype, bytes.data(), numbers, done));
    CHECK(done == 2);
    CHECK(numbers == std::vector<double>{first, second});
    std::vector<std::int64_t> integers(2, 9);
    CHECK(decode_into(dtype, bytes.data(), integers, done) == whole);
    if (whole) {
      CHECK(integers == std::vector<std::int64_t>{static_cast<std::int64_t>(first),
                                                  static_cast<std::int64_t>(second)});
    } else {
      CHECK(integers == std::vector<std::int64_t>{9, 9});
    }
  }
  std::vector<int> flags(2, 9);
  std::size_t done = 0;
  const unsigned char two_flags[] = {0, 3};
  CHECK(decode_into("BOOL", two_flags, flags, done));
  CHECK(flags == std::vector<int>{0, 1});
  std::vector<float> none(2);
  CHECK_FALSE(decode_into("BOOL", two_flags, none, done));
  CHECK_FALSE(decode_into("F8_E4M3", two_flags, none, done));
}

TEST_CASE("ranks follow sizes, or tensors would be misaligned where they are written") {
  unsigned before = 1;
  for (const detail::Dtype& dtype : detail::dtypes) {
    const unsigned whole_bytes = (dtype.bits + 7) / 8;
    CHECK(whole_bytes >= before);
    before = whole_bytes;
  }
}

TEST_CASE("elements fill their bytes exactly, packed where they are smaller") {
  const auto fills = detail::fills_bytes;
  CHECK(fills("F32", 3, 12));
  CHECK_FALSE(fills("F32", 3, 11));
  CHECK_FALSE(fills("F32", 3, 13));
  CHECK_FALSE(fills("F32", 3, 16));
  CHECK(fills("F32", 0, 0));
  CHECK_FALSE(fills("F32", 0, 4));
  CHECK(fills("F64", 17, 136));
  CHECK_FALSE(fills("F64", 17, 128));
  CHECK(fills("F4", 2, 1));
  CHECK(fills("F4", 6, 3));
  CHECK(fills("F4", 10, 5));
  CHECK_FALSE(fills("F4", 3, 1));
  CHECK_FALSE(fills("F4", 3, 2));
  CHECK(fills("F6_E2M3", 4, 3));
  CHECK(fills("F6_E3M2", 12, 9));
  CHECK_FALSE(fills("F6_E3M2", 12, 12));
  CHECK_FALSE(fills("F6_E3M2", 2, 1));
  CHECK_FALSE(fills("F6_E3M2", 4, 2));
  CHECK_FALSE(fills("F6_E3M2", 4, 4));
  CHECK_FALSE(fills("F6_E3M2", 4, 9));
  CHECK(fills("F6_E3M2", 0, 0));
  CHECK_FALSE(fills("F64", 1, 0));
  CHECK_FALSE(fills("F64", 7, 49));  // 56
  CHECK_FALSE(fills("F64", 1, 7));
  // 2^62 elements of 8 bytes would be 0 bytes in 64 bits.
  CHECK_FALSE(fills("F64", std::uint64_t{1} << 62, 0));
  CHECK_FALSE(fills("F64", (std::uint64_t{1} << 61) + 1, 8));
  // The most bytes there are, of the largest whole number of elements.
  CHECK(fills("U8", ~std::uint64_t{0}, ~std::uint64_t{0}));
  CHECK(fills("F64", (std::uint64_t{1} << 61) - 1, ~std::uint64_t{7}));
  CHECK(fills("UNKNOWN", 3, 5));
}

TEST_CASE("each scalar has the dtype of its bits") {
  CHECK(detail::dtype_name<double>() == std::string("F64"));
  CHECK(detail::dtype_name<float>() == std::string("F32"));
  CHECK(detail::dtype_name<Eigen::half>() == std::string("F16"));
  CHECK(detail::dtype_name<Eigen::bfloat16>() == std::string("BF16"));
  CHECK(detail::dtype_name<std::int64_t>() == std::string("I64"));
  CHECK(detail::dtype_name<long long>() == std::string("I64"));
  CHECK(detail::dtype_name<std::uint64_t>() == std::string("U64"));
  CHECK(detail::dtype_name<std::int32_t>() == std::string("I32"));
  CHECK(detail::dtype_name<std::uint16_t>() == std::string("U16"));
  CHECK(detail::dtype_name<std::int8_t>() == std::string("I8"));
  CHECK(detail::dtype_name<std::uint32_t>() == std::string("U32"));
  CHECK(detail::dtype_name<std::int16_t>() == std::string("I16"));
  CHECK(detail::dtype_name<unsigned char>() == std::string("U8"));
  CHECK(detail::dtype_name<bool>() == std::string("BOOL"));
  CHECK(detail::dtype_name<long double>() == nullptr);
}

TEST_CASE("numbers outside the range are refused, infinities and NaN are not") {
  const double infinity = std::numeric_limits<double>::infinity();
  CHECK_FALSE(fits<float>(3.5e38));
  CHECK_FALSE(fits<float>(-1e300));
  CHECK_FALSE(fits<Eigen::half>(65520.0));
  CHECK(static_cast<float>(converted<Eigen::half>(65519.99)) == 65504.0f);
  CHECK_FALSE(fits<Eigen::bfloat16>(3.4e38));
  CHECK_FALSE(fits<Eigen::half>(70000.0f));
  CHECK(converted<float>(infinity) > std::numeric_limits<float>::max());
  CHECK(converted<float>(-infinity) < std::numeric_limits<float>::lowest());
  CHECK(std::isnan(converted<float>(std::numeric_limits<double>::quiet_NaN())));
  CHECK(converted<float>(1e-300) == 0.0f);
}

TEST_CASE("whole numbers keep their value or are refused") {
  CHECK(converted<int>(std::int64_t{-7}) == -7);
  CHECK_FALSE(fits<int>(std::int64_t{1} << 31));
  CHECK(converted<int>(-(std::int64_t{1} << 31)) == std::numeric_limits<int>::min());
  CHECK_FALSE(fits<unsigned>(std::int64_t{-1}));
  CHECK(converted<unsigned>(std::int64_t{0}) == 0u);
  CHECK_FALSE(fits<std::int8_t>(std::int64_t{-129}));
  CHECK(converted<std::int8_t>(std::int64_t{-128}) == -128);
  CHECK_FALSE(fits<std::uint64_t>(std::int8_t{-1}));
  CHECK_FALSE(fits<std::int64_t>(~std::uint64_t{0}));
  CHECK(converted<std::uint64_t>(~std::uint64_t{0}) == ~std::uint64_t{0});
  CHECK(converted<signed char>(std::uint8_t{127}) == 127);
  CHECK_FALSE(fits<signed char>(std::uint8_t{128}));
  CHECK(converted<double>(std::int32_t{-5}) == -5.0);
  CHECK(converted<float>(std::int64_t{16777217}) == 16777216.0f);
}

TEST_CASE("BOOL is 0 or 1 whatever the byte") {
  CHECK(converted<bool>(detail::StoredBool{2}));
  CHECK(converted<int>(detail::StoredBool{255}) == 1);
  CHECK_FALSE(converted<bool>(detail::StoredBool{0}));
}

TEST_CASE("only conversions with a meaning exist") {
  STATIC_REQUIRE(detail::is_convertible_dtype<float, double>());
  STATIC_REQUIRE(detail::is_convertible_dtype<long double, Eigen::half>());
  STATIC_REQUIRE(detail::is_convertible_dtype<double, std::int64_t>());
  STATIC_REQUIRE_FALSE(detail::is_convertible_dtype<std::int64_t, double>());
  STATIC_REQUIRE_FALSE(detail::is_convertible_dtype<Eigen::half, std::int32_t>());
  STATIC_REQUIRE_FALSE(detail::is_convertible_dtype<bool, std::uint8_t>());
  STATIC_REQUIRE_FALSE(detail::is_convertible_dtype<float, detail::StoredBool>());
}

TEST_CASE("elements are decoded from unaligned bytes") {
  const std::vector<unsigned char> bytes = {0xff, 0x00, 0x00, 0xc0, 0x3f, 0x00, 0x00, 0x80, 0xbe};
  std::vector<double> values(2);
  std::size_t done = 0;
  CHECK(decode_into("F32", bytes.data() + 1, values, done));
  CHECK(done == 2);
  CHECK(values == std::vector<double>{1.5, -0.25});
  std::vector<std::int16_t> whole(1);
  CHECK_FALSE(decode_into("F32", bytes.data(), whole, done));
  CHECK(decode_into("U16", bytes.data(), whole, done));
  CHECK(whole[0] == 0xff);
}

TEST_CASE("decoding says which element does not fit") {
  const std::vector<unsigned char> bytes = {1, 0, 255};
  std::vector<signed char> values(3);
  std::size_t done = 0;
  CHECK(decode_into("U8", bytes.data(), values, done));
  CHECK(done == 2);
}

TEST_CASE("a number is read lowest byte first") {
  const unsigned char bytes[] = {1, 2, 3, 4, 5, 6, 7, 8};
  CHECK(detail::number_at<std::uint64_t>(bytes) == 0x0807060504030201u);
  CHECK(detail::number_at<std::uint32_t>(bytes + 1) == 0x05040302u);
  CHECK(detail::number_at<std::int16_t>(bytes + 6) == 0x0807);
}

TEST_CASE("there is room for as many bytes as are asked for, and a place for none") {
  const std::shared_ptr<unsigned char> room = detail::allocate_bytes(3);
  for (int i = 0; i < 3; ++i) room.get()[i] = static_cast<unsigned char>(i + 1);
  CHECK(room.get()[2] == 3);
  CHECK(detail::allocate_bytes(0) != nullptr);
}

TEST_CASE("numbers that are computed with have four dtypes") {
  for (const char* name : {"F64", "F32", "F16", "BF16"}) CHECK(detail::is_real_dtype(name));
  for (const char* name : {"I64", "U8", "BOOL", "F8_E4M3", "F", ""}) {
    CHECK_FALSE(detail::is_real_dtype(name));
  }
}
