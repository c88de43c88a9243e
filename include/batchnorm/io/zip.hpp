// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_ZIP_HPP
#define BATCHNORM_IO_ZIP_HPP

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/version.hpp"

// Members of a zip archive that are stored as they are, which is how Keras 3 writes its archives.
// Sizes and places are those of the central directory at the end (PKWARE's APPNOTE 4.3). Compressed
// members and archives of more than 4 GiB are refused.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// A number of `size` bytes, lowest first; 0 where the bytes end before.
inline std::uint64_t zip_number(std::string_view bytes, std::size_t place, std::size_t size) {
  if (place > bytes.size() || bytes.size() - place < size) return 0;
  std::uint64_t number = 0;
  for (std::size_t i = size; i-- > 0;) {
    number = number << 8 | static_cast<unsigned char>(bytes[place + i]);
  }
  return number;
}

/// Where the central directory begins; nothing when there is none. A comment of up to 64 KiB may
/// stand behind its end.
inline std::optional<std::size_t> zip_directory(std::string_view bytes) {
  constexpr std::size_t end_size = 22;
  constexpr std::size_t longest_comment = 65535;
  if (bytes.size() < end_size) return std::nullopt;
  const std::size_t last = bytes.size() - end_size;
  const std::size_t first = last > longest_comment ? last - longest_comment : 0;
  for (std::size_t place = last + 1; place-- > first;) {
    if (zip_number(bytes, place, 4) != 0x06054b50) continue;
    const std::uint64_t directory = zip_number(bytes, place + 16, 4);
    if (directory < place) return static_cast<std::size_t>(directory);
  }
  return std::nullopt;
}

/// The bytes of a member; nothing when there is no such member.
/// @throws std::runtime_error when it is compressed, or lies outside of the archive
inline std::optional<std::string_view> zip_member(const FileContext& context,
                                                  std::string_view bytes, const std::string& name) {
  const std::optional<std::size_t> directory = zip_directory(bytes);
  std::size_t place = directory.value_or(bytes.size());
  while (zip_number(bytes, place, 4) == 0x02014b50) {
    const std::size_t name_size = static_cast<std::size_t>(zip_number(bytes, place + 28, 2));
    const std::size_t more = static_cast<std::size_t>(zip_number(bytes, place + 30, 2)) +
                             static_cast<std::size_t>(zip_number(bytes, place + 32, 2));
    const std::size_t entry = place;
    place += 46 + name_size + more;
    if (bytes.substr(entry).substr(0, 46).size() < 46) break;
    if (bytes.substr(entry + 46, name_size) != name) continue;
    if (zip_number(bytes, entry + 10, 2) != 0) {
      fail_file(context, "member " + in_quotes(name), "one that is stored as it is",
                "a compressed one; unpack the archive first");
    }
    const std::size_t size = static_cast<std::size_t>(zip_number(bytes, entry + 20, 4));
    const std::size_t local = static_cast<std::size_t>(zip_number(bytes, entry + 42, 4));
    const std::size_t start = local + 30 +
                              static_cast<std::size_t>(zip_number(bytes, local + 26, 2)) +
                              static_cast<std::size_t>(zip_number(bytes, local + 28, 2));
    const bool is_local = zip_number(bytes, local, 4) == 0x04034b50;
    if (!is_local || start > bytes.size() || bytes.size() - start < size) {
      fail_file(context, "member " + in_quotes(name), "bytes inside of the archive",
                text(size, " from ", start, " of ", bytes.size()));
    }
    return bytes.substr(start, size);
  }
  return std::nullopt;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_ZIP_HPP
