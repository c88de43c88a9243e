// SPDX-License-Identifier: MIT
#include "batchnorm/version.hpp"

#include <string>
#include <type_traits>

#include "support/catch.hpp"

#define BATCHNORM_TEST_TEXT_OF(name) #name
#define BATCHNORM_TEST_TEXT(macro) BATCHNORM_TEST_TEXT_OF(macro)

TEST_CASE("the version constant says what the macros say, in constant expressions too") {
  constexpr batchnorm::Version version = batchnorm::version;
  STATIC_REQUIRE(version.major == BATCHNORM_VERSION_MAJOR);
  STATIC_REQUIRE(version.minor == BATCHNORM_VERSION_MINOR);
  STATIC_REQUIRE(version.patch == BATCHNORM_VERSION_PATCH);
}

TEST_CASE("names live in an inline namespace of the major version") {
  STATIC_REQUIRE(
      std::is_same<batchnorm::Version, batchnorm::BATCHNORM_INLINE_NAMESPACE::Version>::value);
  // What may follow, flags of the unit, is tried in tests/flags.
  const std::string name = BATCHNORM_TEST_TEXT(BATCHNORM_INLINE_NAMESPACE);
  CHECK(name.substr(0, name.find('_')) == "v" + std::to_string(BATCHNORM_VERSION_MAJOR));
}
