// SPDX-License-Identifier: MIT
// The corpus of the fuzz target of ONNX models. After a change of the list,
// `tests_io_onnx "[write onnx]"` writes it anew.

#include <filesystem>
#include <map>
#include <string>

#include "batchnorm/io/onnx_model.hpp"
#include "support/catch.hpp"
#include "support/onnx_corpus.hpp"
#include "support/paths.hpp"
#include "support/temporary_folder.hpp"

using namespace batchnorm_test;
namespace fs = std::filesystem;

namespace {

fs::path onnx_corpus_folder() {
  return fs::path(source_dir()) / "tests" / "fuzz" / "corpus" / "onnx";
}

}  // namespace

TEST_CASE("the corpus of ONNX models is the list, and no other file") {
  std::size_t count = 0;
  for (const auto& [name, bytes] : onnx_corpus()) {
    INFO(name);
    CHECK(read_bytes((onnx_corpus_folder() / name).string()) == bytes);
    ++count;
  }
  CHECK(count == onnx_corpus().size());
  const auto begin = fs::directory_iterator(onnx_corpus_folder());
  CHECK(static_cast<std::size_t>(std::distance(begin, fs::directory_iterator())) == count);
}

TEST_CASE("writes the corpus of ONNX models", "[.][write onnx]") {
  fs::remove_all(onnx_corpus_folder());
  fs::create_directories(onnx_corpus_folder());
  for (const auto& [name, bytes] : onnx_corpus()) {
    write_bytes((onnx_corpus_folder() / name).string(), bytes);
  }
}
