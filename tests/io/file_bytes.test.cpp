// SPDX-License-Identifier: MIT
#include "batchnorm/io/file_bytes.hpp"

#include <cstring>
#include <filesystem>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/stat.h>
#endif

#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

std::string mapped(const std::string& path) {
  return std::string(detail::text_of(detail::map_file({"test", path})));
}

std::string sequential(const std::string& path) {
  detail::SequentialFile file({"test", path});
  std::string bytes(static_cast<std::size_t>(file.size()), '\0');
  file.read(&bytes[0], bytes.size());
  return bytes;
}

}  // namespace

TEST_CASE("a file has the same bytes mapped and read") {
  const TemporaryFolder folder;
  for (const std::size_t size : {1u, 4095u, 4096u, 4097u, 100000u}) {
    std::string bytes;
    for (std::size_t i = 0; i < size; ++i) bytes += static_cast<char>(i * 7 + i / 256);
    write_bytes(folder.file("x"), bytes);
    CHECK(mapped(folder.file("x")) == bytes);
    CHECK(sequential(folder.file("x")) == bytes);
  }
}

TEST_CASE("the beginning of a file is as much as there is, and no more than tells its kind") {
  const TemporaryFolder folder;
  std::string bytes;
  for (int i = 0; i < 2000; ++i) bytes += static_cast<char>(i * 7);
  for (const std::size_t size : {0u, 1u, 511u, 512u, 513u, 2000u}) {
    write_bytes(folder.file("x"), bytes.substr(0, size));
    CHECK(detail::read_beginning({"test", folder.file("x")}) ==
          bytes.substr(0, size < 512 ? size : 512));
  }
}

TEST_CASE("an empty file has no bytes") {
  const TemporaryFolder folder;
  write_bytes(folder.file("x"), "");
  const detail::FileBytes file = detail::map_file({"test", folder.file("x")});
  CHECK(file.size == 0);
  CHECK(file.bytes == nullptr);
  CHECK(detail::text_of(file).empty());
  CHECK(sequential(folder.file("x")).empty());
}

TEST_CASE("a mapping outlives the name of its file, and all copies but the last") {
  const TemporaryFolder folder;
  write_bytes(folder.file("x"), "some bytes");
  detail::FileBytes file = detail::map_file({"test", folder.file("x")});
  std::filesystem::remove(folder.file("x"));
  const std::shared_ptr<const unsigned char> part(file.bytes, file.bytes.get() + 5);
  file = detail::FileBytes();
  CHECK(std::memcmp(part.get(), "bytes", 5) == 0);
}

TEST_CASE("what is no file is refused with the reason of the system") {
  const TemporaryFolder folder;
  CHECK_THROWS_MATCHES(mapped(folder.file("none")), std::runtime_error,
                       says("test: \"" + folder.file("none") + "\": file: expected to open it"));
  CHECK_THROWS_MATCHES(mapped(folder.path().string()), std::runtime_error,
                       says("file: expected to read it, got"));
  CHECK_THROWS_AS(sequential(folder.file("none")), std::runtime_error);
}

#if defined(__unix__) || defined(__APPLE__)
TEST_CASE("a pipe is refused, and nobody waits for its writer") {
  const TemporaryFolder folder;
  REQUIRE(mkfifo(folder.file("pipe").c_str(), 0600) == 0);
  CHECK_THROWS_MATCHES(mapped(folder.file("pipe")), std::runtime_error,
                       says("file: expected to read it, got something else than an ordinary file"));
}
#endif

TEST_CASE("a sequential file does not give more than it has") {
  const TemporaryFolder folder;
  write_bytes(folder.file("x"), "1234");
  detail::SequentialFile file({"test", folder.file("x")});
  char bytes[8];
  CHECK_THROWS_MATCHES(file.read(bytes, 5), std::runtime_error,
                       says("file: expected to read 5 more bytes, got an unexpected end"));
}

TEST_CASE("what memory cannot address is refused") {
  const std::size_t most = (std::numeric_limits<std::size_t>::max)();
  CHECK_NOTHROW(detail::check_addressable({"test", "x"}, most - 1));
  CHECK_THROWS_MATCHES(detail::check_addressable({"test", "x"}, most), std::runtime_error,
                       says("bytes of the tensors: expected as many as memory can address"));
}
