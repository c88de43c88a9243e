// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_ATOMIC_FILE_HPP
#define BATCHNORM_IO_ATOMIC_FILE_HPP

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <string>
#include <system_error>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/version.hpp"

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Hands what the operating system still buffers to the disk, where there is a call for it.
inline bool flush_to_disk(std::FILE* file) {
  if (std::fflush(file) != 0) return false;
#if defined(__unix__) || defined(__APPLE__)
  return fsync(fileno(file)) == 0;
#else
  return true;
#endif
}

/// A file that appears whole or not at all. The bytes go to a temporary file in the folder of the
/// target (a rename across file systems would be a copy), which is flushed and renamed over the
/// target by commit(). Readers of the target find the old file or the new one, meanwhile and after
/// a crash. Without commit(), and after any failure, the temporary file is removed.
///
/// A symbolic link stays a link: the file that it names is replaced. The permissions of a file that
/// is replaced are kept. A target that is no ordinary file (a folder, a device) is refused.
///
/// Errors are kept, not raised: programs without exceptions must not leave the temporary file
/// behind when the error handler ends them. Ask failure() after commit() has returned false.
class AtomicFile {
 public:
  /// Opens the temporary file.
  explicit AtomicFile(const std::string& path) : target_(path) {
    namespace fs = std::filesystem;
    std::error_code error;
    if (fs::is_symlink(fs::symlink_status(target_, error))) {
      const fs::path resolved = fs::weakly_canonical(target_, error);
      if (error) {
        fail(text("to follow the link ", path), error);
        return;
      }
      target_ = resolved;
    }
    target_status_ = fs::status(target_, error);
    if (fs::exists(target_status_) && !fs::is_regular_file(target_status_)) {
      failure_ = text("expected an ordinary file, got something else called ", path);
      return;
    }
    open_temporary();
  }

  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile() { discard(); }

  /// Appends bytes. Does nothing after a failure.
  void write(const void* bytes, std::size_t size) {
    if (!failure_.empty() || size == 0) return;
    errno = 0;
    if (std::fwrite(bytes, 1, size, file_) != size) {
      fail(text("to write ", size, " bytes to ", temporary_.string()), last_error());
    }
  }

  /// Makes the written bytes the target.
  /// @return false when this or anything before has failed; the target is then as it was.
  bool commit() {
    if (!failure_.empty()) return false;
    errno = 0;
    if (!flush_to_disk(file_)) {
      fail(text("to flush ", temporary_.string()), last_error());
      return false;
    }
    std::FILE* const closing = file_;
    file_ = nullptr;
    if (std::fclose(closing) != 0) {
      fail(text("to close ", temporary_.string()), last_error());
      return false;
    }
    return rename_temporary();
  }

  /// What was expected and what came instead, in words; empty when all went well.
  const std::string& failure() const { return failure_; }

 private:
  static std::error_code last_error() { return std::error_code(errno, std::generic_category()); }

  // Mode x refuses a file that is already there, so two writers never share a temporary file, and
  // one that a crash has left is passed over.
  void open_temporary() {
    constexpr int attempts = 1000;
    for (int attempt = 0; attempt < attempts; ++attempt) {
      std::filesystem::path candidate = target_;
      candidate += text(".", attempt, ".tmp");
      errno = 0;
      file_ = std::fopen(candidate.string().c_str(), "wbx");
      if (file_ != nullptr) {
        temporary_ = candidate;
        return;
      }
      if (errno != EEXIST || attempt + 1 == attempts) {
        fail(text("to create ", candidate.string()), last_error());
        return;
      }
    }
  }

  bool rename_temporary() {
    namespace fs = std::filesystem;
    std::error_code error;
    if (fs::exists(target_status_))
      fs::permissions(temporary_, target_status_.permissions(), error);
    if (error) {
      fail(text("to keep the permissions of ", target_.string()), error);
      return false;
    }
    fs::rename(temporary_, target_, error);
    if (error) {
      fail(text("to rename ", temporary_.string(), " to ", target_.string()), error);
      return false;
    }
    temporary_.clear();
    return true;
  }

  void fail(const std::string& expected, const std::error_code& error) {
    failure_ = text("expected ", expected, ", got ", error.message());
    discard();
  }

  void discard() {
    if (file_ != nullptr) std::fclose(file_);
    file_ = nullptr;
    std::error_code ignored;
    if (!temporary_.empty()) std::filesystem::remove(temporary_, ignored);
    temporary_.clear();
  }

  std::filesystem::path target_;
  std::filesystem::path temporary_;
  std::filesystem::file_status target_status_;
  std::FILE* file_ = nullptr;
  std::string failure_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_ATOMIC_FILE_HPP
