// SPDX-License-Identifier: MIT
#include "batchnorm/io/atomic_file.hpp"

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#include <sys/resource.h>
#include <sys/stat.h>
#endif

#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
namespace fs = std::filesystem;

TEST_CASE("the target appears with commit, whole") {
  const TemporaryFolder folder;
  const std::string path = folder.file("target");
  detail::AtomicFile file(path);
  file.write("ab", 2);
  file.write(nullptr, 0);
  file.write("c", 1);
  CHECK_FALSE(fs::exists(path));
  CHECK(file.commit());
  CHECK(file.failure().empty());
  CHECK(read_bytes(path) == "abc");
  CHECK(folder.number_of_files() == 1);
}

TEST_CASE("until commit an old target stays, and a writer that gives up leaves it") {
  const TemporaryFolder folder;
  const std::string path = folder.file("target");
  write_bytes(path, "old");
  {
    detail::AtomicFile file(path);
    file.write("new", 3);
    CHECK(read_bytes(path) == "old");
    CHECK(folder.number_of_files() == 2);
  }
  CHECK(read_bytes(path) == "old");
  CHECK(folder.number_of_files() == 1);
  detail::AtomicFile file(path);
  file.write("new", 3);
  CHECK(file.commit());
  CHECK(read_bytes(path) == "new");
}

TEST_CASE("the temporary file lies beside the target") {
  const TemporaryFolder folder;
  const detail::AtomicFile file(folder.file("target"));
  REQUIRE(folder.number_of_files() == 1);
  const fs::path temporary = fs::directory_iterator(folder.path())->path();
  CHECK(temporary.filename().string() == "target.0.tmp");
}

TEST_CASE("a writer that is done with its temporary file leaves one of the same name alone") {
  const TemporaryFolder folder;
  const std::string path = folder.file("target");
  for (const bool succeeds : {true, false}) {
    INFO(succeeds);
    std::optional<detail::AtomicFile> first(std::in_place, path);
    first->write("first", 5);
    if (!succeeds) fs::create_directories(path + "/in the way");
    CHECK(first->commit() == succeeds);
    fs::remove_all(path);
    detail::AtomicFile second(path);
    second.write("second", 6);
    first.reset();
    CHECK(fs::exists(path + ".0.tmp"));
    CHECK(second.commit());
    CHECK(read_bytes(path) == "second");
    fs::remove(path);
  }
}

TEST_CASE("a temporary file that a crash has left is passed over, and not touched") {
  const TemporaryFolder folder;
  const std::string path = folder.file("target");
  write_bytes(path + ".0.tmp", "left over");
  detail::AtomicFile file(path);
  file.write("new", 3);
  CHECK(file.commit());
  CHECK(read_bytes(path) == "new");
  CHECK(read_bytes(path + ".0.tmp") == "left over");
}

TEST_CASE("two writers of one file do not mix") {
  const TemporaryFolder folder;
  const std::string path = folder.file("target");
  detail::AtomicFile first(path);
  detail::AtomicFile second(path);
  first.write("first", 5);
  second.write("second", 6);
  CHECK(second.commit());
  CHECK(read_bytes(path) == "second");
  CHECK(first.commit());
  CHECK(read_bytes(path) == "first");
  CHECK(folder.number_of_files() == 1);
}

TEST_CASE("a folder that does not exist is the reason given") {
  const TemporaryFolder folder;
  detail::AtomicFile file(folder.file("missing/target"));
  file.write("x", 1);
  CHECK_FALSE(file.commit());
  CHECK_THAT(file.failure(), contains_text("expected to create "));
  CHECK_THAT(file.failure(), contains_text("missing"));
  CHECK_THAT(file.failure(), contains_text(", got "));
}

TEST_CASE("a target that is a folder is refused and left alone") {
  const TemporaryFolder folder;
  fs::create_directory(folder.file("target"));
  detail::AtomicFile file(folder.file("target"));
  file.write("x", 1);
  CHECK_FALSE(file.commit());
  CHECK_THAT(file.failure(), contains_text("expected an ordinary file"));
  CHECK(fs::is_directory(folder.file("target")));
  CHECK(folder.number_of_files() == 1);
}

TEST_CASE("after a thousand temporary files that others have left, it gives up") {
  const TemporaryFolder folder;
  const std::string path = folder.file("target");
  const auto left_over = [&](int number) { return path + "." + std::to_string(number) + ".tmp"; };
  for (int number = 0; number < 999; ++number) write_bytes(left_over(number), "");
  {
    detail::AtomicFile last(path);
    CHECK(last.failure().empty());
    detail::AtomicFile none(path);
    none.write("x", 1);
    CHECK_FALSE(none.commit());
    CHECK(none.failure() == "expected to create " + left_over(999) + ", got " +
                                std::generic_category().message(EEXIST));
    CHECK(folder.number_of_files() == 1000);
  }
  CHECK(folder.number_of_files() == 999);
}

TEST_CASE("when the rename fails the temporary file is removed") {
  const TemporaryFolder folder;
  const std::string path = folder.file("target");
  detail::AtomicFile file(path);
  file.write("x", 1);
  // What stands in the way came after the first look.
  fs::create_directory(path);
  write_bytes(path + "/inside", "x");
  CHECK_FALSE(file.commit());
  CHECK_THAT(file.failure(), contains_text("expected to rename "));
  CHECK_FALSE(file.commit());
  CHECK(folder.number_of_files() == 1);
  CHECK(read_bytes(path + "/inside") == "x");
}

#if defined(__unix__) || defined(__APPLE__)

namespace {

/// Lets no file grow beyond some bytes, as a full disk does.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

bool write_limited(const std::string& path, std::size_t size, std::string& failure) {
  const std::string bytes(size, 'x');
  const FileSizeLimit limit(1000);
  detail::AtomicFile file(path);
  file.write(bytes.data(), bytes.size());
  const bool done = file.commit();
  failure = file.failure();
  return done;
}

}  // namespace

TEST_CASE("a disk that is full leaves the old file, and is the reason given") {
  const TemporaryFolder folder;
  const std::string path = folder.file("target");
  write_bytes(path, "old");
  std::string failure;
  // The short one waits in a buffer and is refused when it is flushed.
  for (const std::size_t size : {std::size_t{2000}, std::size_t{1000000}}) {
    CHECK_FALSE(write_limited(path, size, failure));
    CHECK_THAT(failure, contains_text(size == 2000 ? "expected to flush " : "expected to write "));
    CHECK_THAT(failure, contains_text(std::generic_category().message(EFBIG)));
    CHECK(read_bytes(path) == "old");
    CHECK(folder.number_of_files() == 1);
  }
  CHECK(write_limited(path, 1000, failure));
}

#ifdef __GLIBC__

// Programs may define functions of glibc anew. These fail on demand, after they have done their
// work, as they do on a network drive that loses the connection.
namespace {

enum class Failing { none, fsync, fclose, chmod };
Failing failing = Failing::none;
int flushes = 0;
int closes = 0;

template <class Function>
Function* original(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

int result_of(Failing call, int result) {
  if (failing != call) return result;
  errno = EIO;
  return -1;
}

}  // namespace

extern "C" int fsync(int descriptor) {
  ++flushes;
  return result_of(Failing::fsync, original<int(int)>("fsync")(descriptor));
}

extern "C" int fclose(std::FILE* file) {
  ++closes;
  return result_of(Failing::fclose, original<int(std::FILE*)>("fclose")(file));
}

// The one of these two that is behind std::filesystem::permissions.
extern "C" int chmod(const char* path, mode_t mode) {
  return result_of(Failing::chmod, original<int(const char*, mode_t)>("chmod")(path, mode));
}
extern "C" int fchmodat(int folder, const char* path, mode_t mode, int flags) {
  return result_of(Failing::chmod, original<int(int, const char*, mode_t, int)>("fchmodat")(
                                       folder, path, mode, flags));
}

TEST_CASE("each step that fails leaves the old file, and is the reason given") {
  const TemporaryFolder folder;
  const std::string path = folder.file("target");
  write_bytes(path, "old");
  for (const auto& [call, expected] :
       {std::pair(Failing::fsync, "expected to flush "),
        std::pair(Failing::fclose, "expected to close "),
        std::pair(Failing::chmod, "expected to keep the permissions of ")}) {
    INFO(expected);
    detail::AtomicFile file(path);
    file.write("new", 3);
    failing = call;
    const bool done = file.commit();
    failing = Failing::none;
    CHECK_FALSE(done);
    CHECK_THAT(file.failure(), contains_text(expected));
    CHECK_THAT(file.failure(), contains_text(path));
    CHECK_THAT(file.failure(), contains_text(std::generic_category().message(EIO)));
    CHECK(read_bytes(path) == "old");
    CHECK(folder.number_of_files() == 1);
    CHECK_FALSE(file.commit());
  }
}

TEST_CASE("a writer that gives up closes its file") {
  const TemporaryFolder folder;
  const int before = closes;
  { const detail::AtomicFile file(folder.file("target")); }
  CHECK(closes == before + 1);
}

TEST_CASE("the bytes are on the disk before they get the name of the target") {
  const TemporaryFolder folder;
  detail::AtomicFile file(folder.file("target"));
  file.write("new", 3);
  const int before = flushes;
  CHECK(file.commit());
  CHECK(flushes == before + 1);
}

#endif  // __GLIBC__

TEST_CASE("a link in the place of the temporary file is not followed") {
  const TemporaryFolder folder;
  const std::string path = folder.file("target");
  fs::create_symlink("/dev/full", path + ".0.tmp");
  detail::AtomicFile file(path);
  file.write("x", 1);
  CHECK(file.commit());
  CHECK(read_bytes(path) == "x");
  CHECK(fs::is_symlink(path + ".0.tmp"));
}

TEST_CASE("a link stays a link to the file that is replaced") {
  const TemporaryFolder folder;
  fs::create_directory(folder.file("elsewhere"));
  write_bytes(folder.file("elsewhere/real"), "old");
  fs::create_symlink("elsewhere/real", folder.file("link"));
  detail::AtomicFile file(folder.file("link"));
  file.write("new", 3);
  CHECK(file.commit());
  CHECK(fs::is_symlink(folder.file("link")));
  CHECK(read_bytes(folder.file("elsewhere/real")) == "new");
}

TEST_CASE("a link that leads round in a circle is refused") {
  const TemporaryFolder folder;
  const std::string path = folder.file("link");
  fs::create_symlink("link", path);
  detail::AtomicFile file(path);
  file.write("x", 1);
  CHECK_FALSE(file.commit());
  CHECK(file.failure() ==
        "expected to follow the link " + path + ", got " + std::generic_category().message(ELOOP));
  CHECK(folder.number_of_files() == 1);
}

TEST_CASE("permissions of a file that is replaced are kept") {
  const TemporaryFolder folder;
  const std::string path = folder.file("target");
  write_bytes(path, "old");
  const fs::perms only_mine = fs::perms::owner_read | fs::perms::owner_write;
  fs::permissions(path, only_mine);
  detail::AtomicFile file(path);
  file.write("new", 3);
  CHECK(file.commit());
  CHECK(fs::status(path).permissions() == only_mine);
}

#endif
