// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_TESTS_SUPPORT_TEMPORARY_FOLDER_HPP
#define BATCHNORM_TESTS_SUPPORT_TEMPORARY_FOLDER_HPP

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace batchnorm_test {

/// A new empty folder that goes away with all that is in it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    const std::filesystem::path parent = std::filesystem::temp_directory_path();
    for (int number = 0; path_.empty(); ++number) {
      const std::filesystem::path candidate = parent / ("batchnorm test " + std::to_string(number));
      // Says false for a folder that another test program has at the moment.
      if (std::filesystem::create_directory(candidate)) path_ = candidate;
    }
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  std::filesystem::path path() const { return path_; }
  std::string file(const std::string& name) const { return (path_ / name).string(); }

  std::size_t number_of_files() const {
    const auto begin = std::filesystem::directory_iterator(path_);
    return static_cast<std::size_t>(std::distance(begin, std::filesystem::directory_iterator()));
  }

 private:
  std::filesystem::path path_;
};

inline std::string read_bytes(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
}

inline void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream stream(path, std::ios::binary);
  stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_TEMPORARY_FOLDER_HPP
