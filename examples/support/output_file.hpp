// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_OUTPUT_FILE_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_OUTPUT_FILE_HPP

#include <filesystem>
#include <fstream>
#include <ios>
#include <stdexcept>
#include <string>

namespace example {

/// Refuses, before any work is done, a file that could not be written afterwards.
inline void check_can_save(const std::string& path) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (!folder.empty() && !std::filesystem::is_directory(folder)) {
    throw std::runtime_error("cannot save " + path + ": there is no folder " + folder.string());
  }
  if (path.empty() || std::filesystem::is_directory(path)) {
    throw std::runtime_error("cannot save \"" + path + "\": this is no name of a file");
  }
}

inline void save_text(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) throw std::runtime_error("cannot write " + path);
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_OUTPUT_FILE_HPP
