// SPDX-License-Identifier: MIT
// Zip archives with members that are stored as they are.
#ifndef BATCHNORM_TESTS_SUPPORT_ZIP_BYTES_HPP
#define BATCHNORM_TESTS_SUPPORT_ZIP_BYTES_HPP

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace batchnorm_test {

inline std::string zip_bytes_of(std::size_t number, int bytes) {
  std::string text;
  for (int byte = 0; byte < bytes; ++byte) {
    text += static_cast<char>(number & 255);
    number >>= 8;
  }
  return text;
}

/// @param method  0 for stored members; another number is only claimed
/// @param extra   a field that stands in front of the bytes of each member, and nowhere else
inline std::string zip_of(const std::vector<std::pair<std::string, std::string>>& members,
                          std::size_t method = 0, const std::string& extra = "") {
  std::string file, directory;
  for (const auto& [name, bytes] : members) {
    const std::string common = zip_bytes_of(20, 2) + zip_bytes_of(0, 2) + zip_bytes_of(method, 2) +
                               zip_bytes_of(0, 8) + zip_bytes_of(bytes.size(), 4) +
                               zip_bytes_of(bytes.size(), 4) + zip_bytes_of(name.size(), 2);
    directory += "PK\x01\x02" + zip_bytes_of(20, 2) + common + zip_bytes_of(0, 12) +
                 zip_bytes_of(file.size(), 4) + name;
    file += "PK\x03\x04" + common + zip_bytes_of(extra.size(), 2) + name + extra + bytes;
  }
  const std::size_t place = file.size();
  return file + directory + "PK\x05\x06" + zip_bytes_of(0, 4) + zip_bytes_of(members.size(), 2) +
         zip_bytes_of(members.size(), 2) + zip_bytes_of(directory.size(), 4) +
         zip_bytes_of(place, 4) + zip_bytes_of(0, 2);
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_ZIP_BYTES_HPP
