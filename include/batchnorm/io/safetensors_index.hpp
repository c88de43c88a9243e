// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_SAFETENSORS_INDEX_HPP
#define BATCHNORM_IO_SAFETENSORS_INDEX_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/version.hpp"

// The index of a checkpoint that is cut into several safetensors files, as large models are:
//
//     {"metadata": {"total_size": 28966928384},
//      "weight_map": {"embed.weight": "model-00001-of-00006.safetensors", ...}}
//
// It comes from a stranger and names files, so nothing in it is trusted: a name stays below the
// folder of the index, and nothing recurses.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// Which file has which tensor.
struct SafetensorsIndex {
  /// The file of each tensor, relative to the folder of the index.
  std::map<std::string, std::string> file_of;
};

namespace detail {

/// Why a name of a file is refused; empty when it stays below the folder that it is relative to.
/// Separators and drives of all systems count, wherever the program runs.
inline std::string objection_to_file_name(const std::string& name) {
  if (name.empty()) return "an empty name";
  for (const char letter : name) {
    const unsigned char byte = static_cast<unsigned char>(letter);
    if (byte < 0x20 || byte == 0x7f) return "a control character";
    if (letter == '\\' || letter == ':') return "a backslash or a colon";
  }
  if (name.front() == '/') return "an absolute path";
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::size_t end = (std::min)(name.find('/', begin), name.size());
    const std::string_view part(name.data() + begin, end - begin);
    if (part == "..") return "a way out of the folder";
    if (part.empty() || part == ".") return "an empty part of a path";
    begin = end + 1;
  }
  return {};
}

/// The same name without the "./" that some systems put in front of every one.
inline std::string without_dot(std::string name) {
  while (name.compare(0, 2, "./") == 0) name.erase(0, 2);
  return name;
}

/// Receives the events of the JSON parser, as HeaderHandler does. What stands beside the map of
/// tensors is passed over, however deep it is.
class IndexHandler {
 public:
  bool null() { return value("null"); }
  bool boolean(bool) { return value("true or false"); }
  bool number_integer(std::int64_t) { return value("a number"); }
  bool number_unsigned(std::uint64_t) { return value("a number"); }
  bool number_float(double, const std::string&) { return value("a number"); }
  bool binary(nlohmann::json::binary_t&) { return value("bytes"); }

  bool string(std::string& text_value) {
    if (place_ != Place::map) return value("a string");
    const std::string objection = objection_to_file_name(text_value);
    if (!objection.empty()) {
      return fail(key_, "file", "a name below the folder of the index",
                  objection + ": " + in_quotes(text_value));
    }
    index_.file_of.emplace(key_, std::move(text_value));
    return true;
  }

  bool start_object(std::size_t) {
    if (place_ == Place::other) return ++depth_, true;
    if (place_ == Place::map) return value("an object");
    if (place_ == Place::map_value) seen_map_ = true;
    place_ = place_ == Place::start ? Place::top : Place::map;
    return true;
  }

  bool key(std::string& name) {
    if (depth_ > 0) return true;
    key_ = std::move(name);
    if (place_ == Place::map) {
      if (index_.file_of.count(key_) == 0) return true;
      return fail(key_, "keys of weight_map", "each name once", "the name again");
    }
    place_ = key_ == "weight_map" ? Place::map_value : Place::other;
    if (place_ == Place::map_value && seen_map_) {
      return fail("", "keys of the index", "weight_map once", "it again");
    }
    return true;
  }

  bool end_object() {
    if (depth_ > 0) return close();
    place_ = Place::top;
    return true;
  }

  bool start_array(std::size_t) {
    if (place_ == Place::other) return ++depth_, true;
    return value("an array");
  }

  bool end_array() { return close(); }

  bool parse_error(std::size_t bytes_read, const std::string&, const nlohmann::json::exception&) {
    return fail("", "index", "a JSON object in UTF-8",
                text("something else at byte ", bytes_read == 0 ? 0 : bytes_read - 1));
  }

  bool has_map() const { return seen_map_; }
  SafetensorsIndex take_index() { return std::move(index_); }
  const Refusal& refusal() const { return refusal_; }

 private:
  enum class Place { start, top, map_value, map, other };

  bool fail(std::string tensor, std::string rule, std::string expected, std::string got) {
    refusal_ = Refusal{std::move(tensor), std::move(rule), std::move(expected), std::move(got)};
    return false;
  }

  bool value(const char* got) {
    if (place_ == Place::other) return true;
    if (place_ == Place::map) return fail(key_, "file", "a string", got);
    if (place_ == Place::map_value) return fail("", "weight_map", "an object", got);
    return fail("", "index", "a JSON object", got);
  }

  /// What is passed over stays that until the next key.
  bool close() { return --depth_, true; }

  SafetensorsIndex index_;
  Place place_ = Place::start;
  std::size_t depth_ = 0;  // of what is passed over
  bool seen_map_ = false;
  std::string key_;
  Refusal refusal_;
};

inline constexpr std::uint64_t longest_index = safetensors_longest_header;

inline SafetensorsIndex parse_index(const FileContext& context, const char* json,
                                    std::size_t size) {
  if (size > longest_index) {
    fail_file(context, "bytes of the index", text("at most ", longest_index), text(size));
  }
  // The parser takes a zero byte for the end of the text, and what follows would go unseen.
  const std::size_t zero = std::string_view(json, size).find('\0');
  if (zero != std::string_view::npos) {
    fail_file(context, "index", "a JSON object in UTF-8", text("zero at byte ", zero));
  }
  IndexHandler handler;
  if (!nlohmann::json::sax_parse(json, json + size, &handler)) {
    fail_file(context, handler.refusal());
  }
  if (!handler.has_map()) fail_file(context, "keys of the index", "weight_map", "none");
  return handler.take_index();
}

}  // namespace detail

/// Reads an index from memory. Every name of a file in it stays below the folder of the index.
/// Cost: one pass over the bytes.
/// @param bytes, size  the file
/// @param name  what messages call these bytes
/// @throws std::runtime_error whose text has the name, and the byte or the tensor where it is
///         wrong; std::invalid_argument when bytes is null and size is not 0.
inline SafetensorsIndex parse_safetensors_index(const void* bytes, std::size_t size,
                                                const std::string& name) {
  const detail::FileContext context{"parse_safetensors_index", name};
  detail::check_bytes(context, bytes, size);
  return detail::parse_index(context, size == 0 ? "" : static_cast<const char*>(bytes), size);
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_SAFETENSORS_INDEX_HPP
