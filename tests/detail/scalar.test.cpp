// SPDX-License-Identifier: MIT
#include "batchnorm/detail/scalar.hpp"

#include <cstdint>
#include <limits>
#include <type_traits>

#include "support/catch.hpp"

using namespace batchnorm;

namespace {

template <class A, class B>
constexpr bool same = std::is_same<A, B>::value;

/// A scalar of somebody else's, as small as one can be.
struct Foreign {
  Foreign() = default;
  explicit Foreign(double start) : value(start) {}
  double value = 0;
  friend Foreign operator-(const Foreign& a, const Foreign& b) {
    return Foreign(a.value - b.value);
  }
  friend bool operator==(const Foreign& a, const Foreign& b) {
    return !(a.value < b.value) && !(b.value < a.value) && a.value - b.value == 0;
  }
};

}  // namespace

TEST_CASE("sizes are 64 bits wide") {
  STATIC_REQUIRE(sizeof(Index) == 8);
  STATIC_REQUIRE(std::is_signed<Index>::value);
}

TEST_CASE("moments of short floating point types are kept in double") {
  STATIC_REQUIRE(same<accumulator_t<float>, double>);
  STATIC_REQUIRE(same<accumulator_t<Eigen::half>, double>);
  STATIC_REQUIRE(same<accumulator_t<Eigen::bfloat16>, double>);
  STATIC_REQUIRE(same<accumulator_t<double>, double>);
  STATIC_REQUIRE(same<accumulator_t<long double>, long double>);
  STATIC_REQUIRE(same<accumulator_t<Foreign>, Foreign>);
}

TEST_CASE("parameters of 16-bit layers are float") {
  STATIC_REQUIRE(same<parameter_t<Eigen::half>, float>);
  STATIC_REQUIRE(same<parameter_t<Eigen::bfloat16>, float>);
  STATIC_REQUIRE(same<parameter_t<float>, float>);
  STATIC_REQUIRE(same<parameter_t<double>, double>);
  STATIC_REQUIRE(same<parameter_t<Foreign>, Foreign>);
}

TEST_CASE("a fixed channel vector lies in its owner and asks for no special alignment") {
  STATIC_REQUIRE(sizeof(ChannelVector<double, 4>) == 4 * sizeof(double));
  STATIC_REQUIRE(alignof(ChannelVector<double, 4>) == alignof(double));
  STATIC_REQUIRE(alignof(ChannelVector<float, 8>) == alignof(float));
}

TEST_CASE("a count converts to every accumulator") {
  CHECK(detail::from_index<double>(3) == 3.0);
  CHECK(detail::from_index<long double>(Index{1} << 53) == 9007199254740992.0L);
  CHECK(detail::from_index<Foreign>(7).value == 7.0);
}

TEMPLATE_TEST_CASE("finite and other numbers are told apart", "", float, double, long double,
                   Eigen::half, Eigen::bfloat16) {
  using Limits = std::numeric_limits<TestType>;
  CHECK(detail::is_finite(TestType(0)));
  CHECK(detail::is_finite(static_cast<TestType>(-0.0f)));
  CHECK(detail::is_finite(Limits::max()));
  CHECK(detail::is_finite(Limits::lowest()));
  CHECK(detail::is_finite(Limits::min()));
  CHECK(detail::is_finite(Limits::denorm_min()));
  CHECK_FALSE(detail::is_finite(Limits::infinity()));
  CHECK_FALSE(detail::is_finite(static_cast<TestType>(-Limits::infinity())));
  CHECK_FALSE(detail::is_finite(Limits::quiet_NaN()));
  CHECK_FALSE(detail::is_finite(static_cast<TestType>(-Limits::quiet_NaN())));
}

TEST_CASE("a scalar of another library is asked by arithmetic") {
  CHECK(detail::is_finite(Foreign(1.5)));
  CHECK_FALSE(detail::is_finite(Foreign(std::numeric_limits<double>::infinity())));
  CHECK_FALSE(detail::is_finite(Foreign(std::numeric_limits<double>::quiet_NaN())));
}

TEST_CASE("a number can be finite in one type and too large for another") {
  CHECK(detail::is_finite_as<float>(1e38));
  CHECK_FALSE(detail::is_finite_as<float>(1e39));
  CHECK_FALSE(detail::is_finite_as<float>(-1e39));
  CHECK(detail::is_finite_as<double>(1e39));
  CHECK_FALSE(detail::is_finite_as<double>(std::numeric_limits<double>::quiet_NaN()));
  // FLT_MAX is (2 - 2^-23) 2^127; half a unit in its last place more is where rounding overflows.
  CHECK(detail::is_finite_as<float>(0x1.fffffeffffffp127));
  CHECK_FALSE(detail::is_finite_as<float>(0x1.ffffffp127));
}

TEST_CASE("conversion rounds once, to the nearest") {
  CHECK(detail::convert<float>(1.0 + 0x1p-24) == 1.0f);
  CHECK(detail::convert<float>(1.0 + 0x1.8p-24) == 1.0f + 0x1p-23f);
  CHECK(detail::convert<double>(0.1) == 0.1);
  CHECK(static_cast<float>(detail::convert<Eigen::bfloat16>(1.0f + 0x1.8p-8f)) == 1.0f + 0x1p-7f);
}

TEMPLATE_TEST_CASE("negative is what is below zero, infinity included and NaN not", "[scalar]",
                   float, double, long double) {
  using Limits = std::numeric_limits<TestType>;
  CHECK(batchnorm::detail::is_negative(TestType(-1)));
  CHECK(batchnorm::detail::is_negative(-Limits::denorm_min()));
  CHECK(batchnorm::detail::is_negative(-Limits::infinity()));
  CHECK_FALSE(batchnorm::detail::is_negative(TestType(0)));
  CHECK_FALSE(batchnorm::detail::is_negative(-TestType(0)));
  CHECK_FALSE(batchnorm::detail::is_negative(Limits::infinity()));
  CHECK_FALSE(batchnorm::detail::is_negative(Limits::quiet_NaN()));
  CHECK_FALSE(batchnorm::detail::is_negative(-Limits::quiet_NaN()));
}
