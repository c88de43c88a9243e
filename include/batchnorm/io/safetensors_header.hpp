// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_SAFETENSORS_HEADER_HPP
#define BATCHNORM_IO_SAFETENSORS_HEADER_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "batchnorm/io/dtype.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/version.hpp"

// The JSON header of a safetensors file. It comes from a stranger, so nothing in it is trusted:
// nothing here recurses, and what is allocated is at most a few times as large as the header.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Receives the events of the JSON parser and checks each against the structure that a header has.
/// No tree of values is built, so that duplicate keys are seen and depth costs nothing. What a
/// tensor has beside the three fields of the format is passed over, as the reference implementation
/// does. Every function returns false to stop the parser; then rule, expected and got say why.
class HeaderHandler {
 public:
  explicit HeaderHandler(std::uint64_t data_size) : data_size_(data_size) {}

  // Writers of other languages have null where there is no metadata.
  bool null() { return is_metadata_value() ? true : refuse("null"); }
  bool boolean(bool) { return refuse("true or false"); }
  bool number_integer(std::int64_t) { return refuse("a negative number"); }
  bool number_float(double, const std::string&) {
    return refuse("a number that is no whole number of 64 bits");
  }
  bool binary(nlohmann::json::binary_t&) { return refuse("bytes"); }

  bool number_unsigned(std::uint64_t number) {
    if (place_ == Place::shape) return add_extent(number);
    if (place_ != Place::offsets) return refuse("a number");
    if (offsets_.size() == 2) return fail("data_offsets", "2 numbers", "more");
    offsets_.push_back(number);
    return true;
  }

  bool string(std::string& value) {
    if (place_ == Place::metadata) {
      header_.metadata[field_] = std::move(value);
    } else if (place_ == Place::tensor && field_ == "dtype") {
      info_.dtype = std::move(value);
    } else {
      return refuse("a string");
    }
    return true;
  }

  bool start_object(std::size_t) {
    if (is_passed_over()) return ++depth_, true;
    if (place_ == Place::start) {
      place_ = Place::top;
    } else if (place_ == Place::top) {
      place_ = key_ == "__metadata__" ? Place::metadata : Place::tensor;
      fields_seen_.clear();
      offsets_.clear();
    } else {
      return refuse("an object");
    }
    return true;
  }

  bool key(std::string& name) {
    if (depth_ > 0) return true;
    if (place_ == Place::top) {
      const bool seen = name == "__metadata__" ? metadata_seen_ : header_.tensors.count(name) != 0;
      key_ = std::move(name);
      if (seen) return fail("keys of the header", "each name once", "the name again");
      if (key_ == "__metadata__") metadata_seen_ = true;
      return true;
    }
    field_ = std::move(name);
    if (place_ == Place::metadata) {
      if (header_.metadata.count(field_) == 0) return true;
      return fail("keys", "each name once", text(in_quotes(field_), " again"));
    }
    if (!is_field(field_)) return true;
    if (std::find(fields_seen_.begin(), fields_seen_.end(), field_) != fields_seen_.end()) {
      return fail("fields", "each field once", text(field_, " again"));
    }
    fields_seen_.push_back(field_);
    return true;
  }

  bool end_object() {
    if (depth_ > 0) return --depth_, true;
    if (place_ == Place::tensor && !finish_tensor()) return false;
    place_ = place_ == Place::top ? Place::done : Place::top;
    return true;
  }

  bool start_array(std::size_t) {
    if (is_passed_over()) return ++depth_, true;
    if (place_ == Place::tensor && field_ == "shape") {
      place_ = Place::shape;
    } else if (place_ == Place::tensor && field_ == "data_offsets") {
      place_ = Place::offsets;
    } else {
      return refuse("an array");
    }
    return true;
  }

  bool end_array() {
    if (depth_ > 0) return --depth_, true;
    place_ = Place::tensor;
    return true;
  }

  // The parser counts the bytes that it has read, the offending one included.
  bool parse_error(std::size_t bytes_read, const std::string&, const nlohmann::json::exception&) {
    key_.clear();
    const std::size_t place = safetensors_prefix_size + (bytes_read == 0 ? 0 : bytes_read - 1);
    return fail("header", "a JSON object in UTF-8", text("something else at byte ", place));
  }

  SafetensorsHeader take_header() { return std::move(header_); }
  const Refusal& refusal() const { return refusal_; }

 private:
  enum class Place { start, top, tensor, shape, offsets, metadata, done };

  bool fail(std::string rule, std::string expected, std::string got) {
    refusal_ = Refusal{key_, std::move(rule), std::move(expected), std::move(got)};
    return false;
  }

  static bool is_field(const std::string& name) {
    return name == "dtype" || name == "shape" || name == "data_offsets";
  }

  bool is_passed_over() const { return place_ == Place::tensor && !is_field(field_); }

  bool is_metadata_value() const { return place_ == Place::top && key_ == "__metadata__"; }

  /// A value that does not stand where it may; one that is passed over stands anywhere.
  bool refuse(const std::string& got) {
    if (is_passed_over()) return true;
    switch (place_) {
      case Place::top:
        return fail("entry of the header", "an object", got);
      case Place::metadata:
        return fail(text("value of ", in_quotes(field_)), "a string", got);
      case Place::shape:
      case Place::offsets:
        return fail(text("number in ", field_), "a whole number, zero or larger", got);
      case Place::tensor:
        return fail(field_, field_ == "dtype" ? "a string" : "an array", got);
      case Place::start:
      case Place::done:
        break;
    }
    return fail("header", "a JSON object", got);
  }

  bool add_extent(std::uint64_t extent) {
    if (extent > static_cast<std::uint64_t>((std::numeric_limits<Index>::max)())) {
      return fail("number in shape", "a number that fits into 63 bits", text(extent));
    }
    info_.shape.push_back(static_cast<Index>(extent));
    return true;
  }

  bool finish_tensor() {
    if (fields_seen_.size() != 3) {
      return fail("fields", "dtype, shape and data_offsets",
                  text(fields_seen_.size(), " of the three"));
    }
    if (offsets_.size() != 2) return fail("data_offsets", "2 numbers", text(offsets_.size()));
    info_.begin = offsets_[0];
    info_.end = offsets_[1];
    if (!check_tensor(info_, data_size_, refusal_)) {
      refusal_.tensor = key_;
      return false;
    }
    header_.tensors.emplace(key_, std::exchange(info_, TensorInfo()));
    return true;
  }

  std::uint64_t data_size_;
  SafetensorsHeader header_;
  Place place_ = Place::start;
  bool metadata_seen_ = false;
  std::size_t depth_ = 0;  // of what is passed over
  std::string key_;
  std::string field_;
  std::vector<std::string> fields_seen_;
  std::vector<std::uint64_t> offsets_;
  TensorInfo info_;
  Refusal refusal_;
};

/// Reads the length of the header.
/// @param bytes      the beginning of the file, at least min(8, file_size) bytes
/// @param file_size  size of the whole file
/// @return the length; prefix and header fit into the file then.
inline std::size_t parse_header_length(const FileContext& context, const unsigned char* bytes,
                                       std::uint64_t file_size) {
  if (file_size < safetensors_prefix_size) {
    fail_file(context, "the file is truncated: header length at byte 0", "8 bytes",
              text(file_size));
  }
  const std::uint64_t length = number_at<std::uint64_t>(bytes);
  if (length > safetensors_longest_header) {
    fail_file(context, "header length at byte 0", text("at most ", safetensors_longest_header),
              text(length));
  }
  if (length > file_size - safetensors_prefix_size) {
    fail_file(context, "the file is truncated: header from byte 8", text(length, " bytes"),
              text(file_size - safetensors_prefix_size));
  }
  return static_cast<std::size_t>(length);
}

/// Reads and checks a header. Only the header itself has to be in memory: the elements may be read
/// or mapped later.
/// @param json       the header, without the 8 bytes before it
/// @param size       its length
/// @param file_size  size of the whole file, not less than 8 + size
inline SafetensorsHeader parse_header(const FileContext& context, const char* json,
                                      std::size_t size, std::uint64_t file_size) {
  if (size == 0 || json[0] != '{') {
    fail_file(context, "header at byte 8", "a JSON object that begins with {",
              size == 0 ? std::string("nothing") : in_quotes(std::string(1, json[0])));
  }
  // The parser takes a zero byte for the end of the text, and what follows would go unseen.
  const std::size_t zero = std::string_view(json, size).find('\0');
  if (zero != std::string_view::npos) {
    fail_file(context, "header", "a JSON object in UTF-8",
              text("zero at byte ", safetensors_prefix_size + zero));
  }
  HeaderHandler handler(file_size - safetensors_prefix_size - size);
  if (!nlohmann::json::sax_parse(json, json + size, &handler)) {
    fail_file(context, handler.refusal());
  }
  SafetensorsHeader header = handler.take_header();
  Refusal refusal;
  if (!check_neighbours(header, refusal)) fail_file(context, refusal);
  return header;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_SAFETENSORS_HEADER_HPP
