// SPDX-License-Identifier: MIT
#include "benchmarks/table.hpp"

#include "support/catch.hpp"

namespace bench = batchnorm_benchmarks;

TEST_CASE("numbers have three digits and no exponent") {
  CHECK(bench::digits(1.2345) == "1.23");
  CHECK(bench::digits(12.345) == "12.3");
  CHECK(bench::digits(123.45) == "123");
  CHECK(bench::digits(12345.0) == "12345");
  CHECK(bench::digits(0.012345) == "0.0123");
  CHECK(bench::digits(0.0) == "0.00");
  CHECK(bench::ratio(1.054) == "1.05");
}

TEST_CASE("times have a unit that suits them") {
  CHECK(bench::duration(4.3e-8) == "43.0 ns");
  CHECK(bench::duration(1.234e-6) == "1.23 us");
  CHECK(bench::duration(0.00123) == "1.23 ms");
  CHECK(bench::duration(1.5) == "1.50 s");
}

TEST_CASE("tables line their columns up, short lines included") {
  bench::Table table({"row", "limit", "ours"});
  table.add({"infer nc 64x64", "165 ns", "170 ns"});
  table.add({"train", "1.2 us"});
  CHECK(table.text() ==
        "| row            |  limit |   ours |\n"
        "| -------------- | -----: | -----: |\n"
        "| infer nc 64x64 | 165 ns | 170 ns |\n"
        "| train          | 1.2 us |        |\n");
}
