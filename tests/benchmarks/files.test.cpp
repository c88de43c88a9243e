// SPDX-License-Identifier: MIT
#include "benchmarks/files.hpp"

#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace batchnorm_benchmarks;

TEST_CASE("facts are lines") {
  CHECK(text_of({{"date", "2026-01-02"}, {"oneDNN", "2.6.3"}}) ==
        "date: 2026-01-02\noneDNN: 2.6.3\n");
  CHECK(text_of({}).empty());
}

TEST_CASE("a file holds the text, and nothing of the one before") {
  const batchnorm_test::TemporaryFolder folder;
  write_file(folder.path().string(), "a.md", "a longer text\n");
  write_file(folder.path().string(), "a.md", "text\n");
  CHECK(batchnorm_test::read_bytes(folder.file("a.md")) == "text\n");
}
