// SPDX-License-Identifier: MIT
// The safetensors format once more, in the plainest way, so that tests of the library's reader and
// writer do not ask the library itself.
#ifndef BATCHNORM_TESTS_SUPPORT_SAFETENSORS_BYTES_HPP
#define BATCHNORM_TESTS_SUPPORT_SAFETENSORS_BYTES_HPP

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace batchnorm_test {

/// A number of any type as its bytes, lowest first.
template <class Bits>
std::string little_endian(Bits value, int size = static_cast<int>(sizeof(Bits))) {
  std::string bytes;
  for (int byte = 0; byte < size; ++byte) {
    bytes += static_cast<char>((static_cast<std::uint64_t>(value) >> (8 * byte)) & 0xff);
  }
  return bytes;
}

/// A file from its header and its data, with the length in front.
inline std::string container(const std::string& json, const std::string& data = "") {
  return little_endian(std::uint64_t{json.size()}) + json + data;
}

/// What a reader in another language sees of a file.
struct PlainFile {
  nlohmann::json header;
  std::size_t header_size = 0;
  std::string data;

  explicit PlainFile(const std::string& bytes) {
    for (std::size_t byte = 8; byte-- > 0;) {
      header_size = header_size * 256 + static_cast<unsigned char>(bytes.at(byte));
    }
    header = nlohmann::json::parse(bytes.substr(8, header_size));
    data = bytes.substr(8 + header_size);
  }

  std::string bytes_of(const std::string& key) const {
    const std::size_t begin = header.at(key).at("data_offsets").at(0).get<std::size_t>();
    const std::size_t end = header.at(key).at("data_offsets").at(1).get<std::size_t>();
    return data.substr(begin, end - begin);
  }
};

/// A copy on the heap of exactly the right size, so that a sanitizer sees one byte read too many.
class ExactCopy {
 public:
  explicit ExactCopy(const std::string& bytes)
      : bytes_(new unsigned char[bytes.size()]), size_(bytes.size()) {
    if (size_ != 0) std::memcpy(bytes_.get(), bytes.data(), size_);
  }
  const void* data() const { return bytes_.get(); }
  std::size_t size() const { return size_; }

 private:
  std::unique_ptr<unsigned char[]> bytes_;
  std::size_t size_;
};

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_SAFETENSORS_BYTES_HPP
