// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_TESTS_SUPPORT_CATCH_HPP
#define BATCHNORM_TESTS_SUPPORT_CATCH_HPP

// Catch2 is one header in version 2.13 (Debian 12) and many in version 3. Tests include this file
// and use what both have: TEST_CASE, TEMPLATE_LIST_TEST_CASE, GENERATE, CHECK_THROWS_MATCHES,
// Catch::Matchers::WithinRel, WithinAbs, and the two matchers below.

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif

#include <exception>
#include <string>
#include <utility>

namespace batchnorm_test {

/// Matches a text that contains the given one: CHECK_THAT(text, contains_text("expected 3")).
inline auto contains_text(const std::string& part) {
#if __has_include(<catch2/catch_all.hpp>)
  return Catch::Matchers::ContainsSubstring(part);
#else
  return Catch::Matchers::Contains(part);
#endif
}

/// Matches an exception whose message contains the given text:
/// CHECK_THROWS_MATCHES(call(), std::invalid_argument, says("expected 3, got 4")).
inline auto says(std::string part) {
  const std::string description = "says \"" + part + "\"";
  return Catch::Matchers::Predicate<std::exception>(
      [part = std::move(part)](const std::exception& error) {
        return std::string(error.what()).find(part) != std::string::npos;
      },
      description);
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_CATCH_HPP
