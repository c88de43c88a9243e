// SPDX-License-Identifier: MIT
// An index from a stranger. It may be refused; when it is not, no file that it names lies outside
// of its folder.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <stdexcept>
#include <string>

#include "attempt.hpp"
#include "batchnorm/io/safetensors_index.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  batchnorm::SafetensorsIndex index;
  try {
    index = batchnorm::parse_safetensors_index(data, size, "fuzz");
  } catch (const std::runtime_error&) {
    return 0;
  }
  for (const auto& [tensor, file] : index.file_of) {
    const std::filesystem::path path = std::filesystem::path("folder") / file;
    const std::string normal = path.lexically_normal().generic_string();
    batchnorm_fuzz::require(normal.rfind("folder/", 0) == 0 && normal.size() > 7);
    batchnorm_fuzz::require(file.find('\0') == std::string::npos &&
                            file.find('\\') == std::string::npos);
  }
  return 0;
}
