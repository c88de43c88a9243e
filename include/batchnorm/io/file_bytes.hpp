// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_FILE_BYTES_HPP
#define BATCHNORM_IO_FILE_BYTES_HPP

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <ios>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>

#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/version.hpp"

#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

// The bytes of a file, read or mapped. Sizes have 64 bits.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

[[noreturn]] inline void fail_system(const FileContext& context, const std::string& expected) {
  const std::error_code error(errno, std::generic_category());
  fail_file(context, "file", expected, error ? error.message() : "an unexpected end");
}

inline void check_addressable(const FileContext& context, std::uint64_t size) {
  if (size < (std::numeric_limits<std::size_t>::max)()) return;
  fail_file(context, "bytes of the tensors", "as many as memory can address", text(size));
}

/// A file that is read from its beginning to its end.
class SequentialFile {
 public:
  explicit SequentialFile(const FileContext& context) : context_(context) {
    errno = 0;
    stream_.open(context.file, std::ios::binary);
    if (!stream_) fail_system(context_, "to open it");
    // A folder can be opened, but not read.
    if (stream_.peek(), stream_.bad()) fail_system(context_, "to read it");
    stream_.clear();
    stream_.seekg(0, std::ios::end);
    const std::streamoff end = stream_.tellg();
    stream_.seekg(0, std::ios::beg);
    if (!stream_) fail_system(context_, "to find its size");
    size_ = static_cast<std::uint64_t>(end);
  }

  std::uint64_t size() const { return size_; }

  void read(void* bytes, std::uint64_t size) {
    errno = 0;
    stream_.read(static_cast<char*>(bytes), static_cast<std::streamsize>(size));
    if (static_cast<std::uint64_t>(stream_.gcount()) != size) {
      fail_system(context_, text("to read ", size, " more bytes"));
    }
  }

 private:
  FileContext context_;
  std::ifstream stream_;
  std::uint64_t size_ = 0;
};

/// As much of the beginning of a file as tells its kind.
inline std::string read_beginning(const FileContext& context) {
  constexpr std::uint64_t enough = 512;
  SequentialFile file(context);
  std::string bytes(static_cast<std::size_t>((std::min)(enough, file.size())), '\0');
  file.read(&bytes[0], bytes.size());
  return bytes;
}

/// A whole file as one range of memory that nobody changes.
struct FileBytes {
  std::shared_ptr<const unsigned char> bytes;
  std::uint64_t size = 0;
};

/// The bytes of a file as text; an empty file has none.
inline std::string_view text_of(const FileBytes& file) {
  return {reinterpret_cast<const char*>(file.bytes.get()), static_cast<std::size_t>(file.size)};
}

#if defined(__unix__) || defined(__APPLE__)

/// Closes a file when its scope ends; a mapping stays.
class FileDescriptor {
 public:
  explicit FileDescriptor(int number) : number_(number) {}
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() {
    if (number_ >= 0) close(number_);
  }
  int number() const { return number_; }

 private:
  int number_;
};

/// Maps a file: bytes come from the disk when they are looked at, and may be more than memory.
/// Replacing the file by renaming, as this library does, leaves the mapping as it is; a program
/// that shortens the file itself makes the system end any that looks at the lost part.
inline FileBytes map_file(const FileContext& context) {
  errno = 0;
  // Opening a pipe would wait for its writer; O_NONBLOCK changes nothing for an ordinary file.
  const FileDescriptor file(open(context.file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.number() < 0) fail_system(context, "to open it");
  struct stat status {};
  if (fstat(file.number(), &status) != 0) fail_system(context, "to find its size");
  if (!S_ISREG(status.st_mode)) {
    fail_file(context, "file", "to read it", "something else than an ordinary file");
  }
  check_addressable(context, static_cast<std::uint64_t>(status.st_size));
  const std::size_t size = static_cast<std::size_t>(status.st_size);
  if (size == 0) return FileBytes();
  void* const start = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.number(), 0);
  if (start == MAP_FAILED) fail_system(context, text("to map ", size, " bytes"));
  const auto unmap = [start, size](const unsigned char*) { munmap(start, size); };
  return {{static_cast<const unsigned char*>(start), unmap}, size};
}

#else

/// Where nothing is known about mapping, the file is read.
inline FileBytes map_file(const FileContext& context) {
  SequentialFile file(context);
  check_addressable(context, file.size());
  const std::shared_ptr<unsigned char> bytes = allocate_bytes(file.size());
  file.read(bytes.get(), file.size());
  return FileBytes{bytes, file.size()};
}

#endif

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_FILE_BYTES_HPP
