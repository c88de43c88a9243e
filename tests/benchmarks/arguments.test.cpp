// SPDX-License-Identifier: MIT
#include "benchmarks/arguments.hpp"

#include "support/catch.hpp"

using namespace batchnorm_benchmarks;

TEST_CASE("without arguments the benchmark is quick and complete") {
  const Arguments arguments = parse({});
  CHECK(arguments.rows == Arguments::Rows::quick);
  CHECK_FALSE(arguments.rows_only);
  CHECK_FALSE(arguments.help);
  CHECK((arguments.filter + arguments.results + arguments.wrong).empty());
}

TEST_CASE("arguments choose rows and files") {
  CHECK(parse({"--full"}).rows == Arguments::Rows::full);
  CHECK(parse({"--smoke"}).rows == Arguments::Rows::smoke);
  CHECK(parse({"--smoke"}).rows_only);
  CHECK(parse({"--rows-only"}).rows_only);
  CHECK(parse({"--help"}).help);
  const Arguments some = parse({"--filter=nc 64x64", "--results=a folder"});
  CHECK(some.rows == Arguments::Rows::full);
  CHECK(some.filter == "nc 64x64");
  CHECK(some.results == "a folder");
}

TEST_CASE("what makes no sense is named") {
  CHECK(parse({"--full", "--ful"}).wrong == "--ful");
}
