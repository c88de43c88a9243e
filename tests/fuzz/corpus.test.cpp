// SPDX-License-Identifier: MIT
// The corpus of the fuzz targets is the list of files that the tests name. After a change of the
// list, `tests_fuzz "[write]"` writes it anew.

#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>

#include "batchnorm/io/safetensors.hpp"
#include "batchnorm/io/safetensors_index.hpp"
#include "support/catch.hpp"
#include "support/fuzz_corpus.hpp"
#include "support/paths.hpp"
#include "support/temporary_folder.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
namespace fs = std::filesystem;

namespace {

fs::path corpus_folder() {
  return fs::path(source_dir()) / "tests" / "fuzz" / "corpus";
}

std::map<std::string, std::string> files_on_disk() {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(corpus_folder())) {
    if (!entry.is_regular_file()) continue;
    const std::string name = entry.path().lexically_relative(corpus_folder()).generic_string();
    if (name.rfind("onnx/", 0) == 0) continue;  // onnx_corpus.test.cpp
    files[name] = read_bytes(entry.path().string());
  }
  return files;
}

}  // namespace

TEST_CASE("the corpus is every file that the tests name, and no other") {
  const std::map<std::string, std::string> files = files_on_disk();
  const std::map<std::string, std::string> expected = fuzz_corpus();
  // No two of the list have one name.
  CHECK(expected.size() == malformed_files().size() + malformed_indices().size() +
                               well_formed_files().size() + well_formed_indices().size() +
                               tfjs_corpus().size() + well_formed_models().size());
  for (const auto& [name, bytes] : expected) {
    INFO(name);
    REQUIRE(files.count(name) == 1);
    CHECK(files.at(name) == bytes);
  }
  CHECK(files.size() == expected.size());
}

TEST_CASE("what the corpus calls well formed is well formed") {
  for (const auto& [name, bytes] : well_formed_files()) {
    INFO(name);
    CHECK_NOTHROW(parse_safetensors(bytes.data(), bytes.size(), name));
  }
  for (const auto& [name, bytes] : well_formed_indices()) {
    INFO(name);
    CHECK_NOTHROW(parse_safetensors_index(bytes.data(), bytes.size(), name));
  }
}

TEST_CASE("writes the corpus", "[.][write]") {
  for (const char* target : {"safetensors", "index", "tfjs"}) {
    fs::remove_all(corpus_folder() / target);
  }
  for (const auto& [name, bytes] : fuzz_corpus()) {
    const fs::path path = corpus_folder() / name;
    fs::create_directories(path.parent_path());
    write_bytes(path.string(), bytes);
  }
}
