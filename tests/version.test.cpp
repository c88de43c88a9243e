// SPDX-License-Identifier: MIT
#include "batchnorm/version.hpp"

#include <type_traits>

#include "support/catch.hpp"

TEST_CASE("the version constant says what the macros say") {
  CHECK(batchnorm::version.major == BATCHNORM_VERSION_MAJOR);
  CHECK(batchnorm::version.minor == BATCHNORM_VERSION_MINOR);
  CHECK(batchnorm::version.patch == BATCHNORM_VERSION_PATCH);
}

TEST_CASE("the version can be used in a constant expression") {
  constexpr int major = batchnorm::version.major;
  STATIC_REQUIRE(major >= 0);
}

TEST_CASE("names live in an inline namespace of the major version") {
  STATIC_REQUIRE(std::is_same<batchnorm::Version, batchnorm::v0::Version>::value);
  STATIC_REQUIRE(BATCHNORM_VERSION_MAJOR == 0);
}
