// SPDX-License-Identifier: MIT
#include "batchnorm/detail/check.hpp"

#ifndef _WIN32
#include <unistd.h>
#endif

#include <cstdio>
#include <stdexcept>
#include <string>

#include "support/catch.hpp"

using namespace batchnorm;
using batchnorm_test::says;

namespace {
template <class... Parts>
std::string joined(const Parts&... parts) {
  return detail::text(parts...);
}
}  // namespace

TEST_CASE("text joins words and numbers") {
  CHECK(joined("a", std::string("b"), 3, -4L) == "ab3-4");
  CHECK(joined(18446744073709551615ULL) == "18446744073709551615");
  CHECK(joined("a", detail::text(1, "b"), 2) == "a1b2");
  CHECK(joined(std::string("a\0b", 3)) == std::string("a\0b", 3));
  CHECK(joined(9223372036854775807LL) == "9223372036854775807");
}

TEST_CASE("text writes fractions so that they are recognised") {
  CHECK(joined(0.1) == "0.1");
  CHECK(joined(1.5f) == "1.5");
  CHECK(joined(-1e-5) == "-1e-05");
  CHECK(joined(2.0L) == "2");
}

TEST_CASE("a refused argument names function, rule, expected and got") {
  const auto refuse = [] { detail::fail_argument("train", "number of channels", "3", "4"); };
  CHECK_THROWS_AS(refuse(), std::invalid_argument);
  CHECK_THROWS_MATCHES(refuse(), std::invalid_argument,
                       says("train: number of channels: expected 3, got 4"));
}

TEST_CASE("numbers outside the domain of a formula are another kind of error") {
  const auto refuse = [] { detail::fail_domain("commit", "variance", "finite numbers", "NaN"); };
  CHECK_THROWS_AS(refuse(), std::domain_error);
  CHECK_THROWS_MATCHES(refuse(), std::domain_error,
                       says("commit: variance: expected finite numbers, got NaN"));
}

TEST_CASE("files fail with a run-time error") {
  CHECK_THROWS_MATCHES(detail::raise_runtime_error("file x: byte 8"), std::runtime_error,
                       says("file x: byte 8"));
}

namespace {
void quiet(const char*) {}
}  // namespace

TEST_CASE("the handler is replaced and given back") {
  const ErrorHandler standard = set_error_handler(&quiet);
  REQUIRE(standard != nullptr);
  CHECK(standard != &quiet);
  CHECK(set_error_handler(nullptr) == &quiet);
  CHECK(set_error_handler(nullptr) == standard);
}

#ifndef _WIN32
TEST_CASE("a message is printed to stderr, as a line, where nobody wants it otherwise") {
  const ErrorHandler standard = set_error_handler(nullptr);
  std::FILE* const file = std::tmpfile();
  REQUIRE(file != nullptr);
  std::fflush(stderr);
  const int screen = dup(STDERR_FILENO);
  dup2(fileno(file), STDERR_FILENO);
  standard("f: a rule: expected 3, got 4");
  std::fflush(stderr);
  dup2(screen, STDERR_FILENO);
  close(screen);
  std::rewind(file);
  char printed[80] = "";
  const std::size_t size = std::fread(printed, 1, sizeof printed, file);
  std::fclose(file);
  CHECK(std::string(printed, size) == "f: a rule: expected 3, got 4\n");
}
#endif

TEST_CASE("with exceptions the handler is not called") {
  static int calls = 0;
  const ErrorHandler before = set_error_handler([](const char*) { ++calls; });
  CHECK_THROWS_AS(detail::raise_invalid_argument("x"), std::invalid_argument);
  set_error_handler(before);
  CHECK(calls == 0);
}
