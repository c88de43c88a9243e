// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_SAFETENSORS_LAYOUT_HPP
#define BATCHNORM_IO_SAFETENSORS_LAYOUT_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/io/dtype.hpp"
#include "batchnorm/version.hpp"

// A safetensors file is
//   8 bytes    the length N of the header, unsigned, little endian
//   N bytes    the header, a JSON object in UTF-8: tensor name -> {"dtype", "shape",
//              "data_offsets": [begin, end]}; "__metadata__" -> {string: string}
//   the rest   the elements, row major, little endian; offsets count from the end of the header
// Here are the rules of that layout, without JSON and without files: those of the reference
// implementation (validate() of the safetensors crate), which are sizes that fit, no overlaps, no
// holes between tensors, and a header of at most 100 MB. A tensor may begin at any byte. What is
// looser or stricter than there, so that a tensor that nobody asks for never blocks a file, and one
// that is asked for is never mistaken:
//   - bytes after the last tensor are allowed, because there are writers that leave some;
//   - a dtype that is not known here is kept as bytes, and refused when its numbers are asked for;
//   - extents and numbers of elements have at most 63 bits;
//   - a name may come once only, as the description of the format says.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Who reads what: the beginning of every message.
struct FileContext {
  const char* function;
  std::string file;
};

/// A name from a file in quotes, made safe to print: control characters become \xNN, and what is
/// longer than a line is cut.
inline std::string in_quotes(const std::string& name) {
  constexpr std::size_t longest = 100;
  constexpr const char* digits = "0123456789abcdef";
  std::string printable = "\"";
  for (const char letter : name.substr(0, longest)) {
    const unsigned char byte = static_cast<unsigned char>(letter);
    if (byte >= 0x20 && byte != 0x7f) {
      printable += letter;
    } else {
      printable += "\\x";
      printable += digits[byte >> 4];
      printable += digits[byte & 15];
    }
  }
  return printable + (name.size() > longest ? "\"..." : "\"");
}

/// A name of a file as one word of a line.
inline std::string in_line(const std::string& name) {
  const std::string quoted = in_quotes(name);
  return quoted.substr(1, quoted.find_last_of('"') - 1);
}

/// The beginning of a message. The path comes from the caller and is printed as it is.
inline std::string beginning(const FileContext& context) {
  return text(context.function, ": \"", context.file, "\": ");
}

[[noreturn]] inline void fail_file(const FileContext& context, const std::string& rule,
                                   const std::string& expected, const std::string& got) {
  raise_runtime_error(text(beginning(context), rule, ": expected ", expected, ", got ", got));
}

/// Refuses bytes in memory that are none.
inline void check_bytes(const FileContext& context, const void* bytes, std::size_t size) {
  if (bytes != nullptr || size == 0) return;
  fail_argument(context.function, "bytes of " + in_quotes(context.file), "data", "a null pointer");
}

[[noreturn]] inline void fail_tensor(const FileContext& context, const std::string& key,
                                     const std::string& rule, const std::string& expected,
                                     const std::string& got) {
  fail_file(context, text("tensor ", in_quotes(key), ": ", rule), expected, got);
}

/// What the header says about one tensor. Offsets count bytes from the end of the header.
struct TensorInfo {
  std::string dtype;
  std::vector<Index> shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

struct SafetensorsHeader {
  std::map<std::string, TensorInfo> tensors;
  std::map<std::string, std::string> metadata;
  std::uint64_t data_size = 0;  ///< bytes that the tensors occupy; a file may be longer
};

constexpr std::size_t safetensors_prefix_size = 8;
constexpr std::uint64_t safetensors_longest_header = 100000000;  // as the reference implementation

/// Why a file is refused; tensor is empty when the reason lies in none.
struct Refusal {
  std::string tensor;
  std::string rule;
  std::string expected;
  std::string got;
};

[[noreturn]] inline void fail_file(const FileContext& context, const Refusal& refusal) {
  if (refusal.tensor.empty()) fail_file(context, refusal.rule, refusal.expected, refusal.got);
  if (refusal.tensor == "__metadata__") {
    fail_file(context, "__metadata__: " + refusal.rule, refusal.expected, refusal.got);
  }
  fail_tensor(context, refusal.tensor, refusal.rule, refusal.expected, refusal.got);
}

/// Number of elements of a shape; none when it does not fit into Index, or an extent is negative.
inline std::optional<std::uint64_t> count_elements(const std::vector<Index>& shape) {
  constexpr std::uint64_t most = static_cast<std::uint64_t>((std::numeric_limits<Index>::max)());
  std::uint64_t count = 1;
  for (const Index extent : shape) {
    const std::uint64_t factor = static_cast<std::uint64_t>(extent);
    if (extent < 0 || (factor != 0 && count > most / factor)) return std::nullopt;
    count *= factor;
  }
  return count;
}

inline std::string shape_text(const std::vector<Index>& shape) {
  std::string joined = "[";
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    joined += text(axis == 0 ? "" : ", ", shape[axis]);
  }
  return joined + "]";
}

/// Whether a name can be one of a dtype: capital letters, digits and underscores.
inline bool is_dtype_name(const std::string& name) {
  constexpr std::size_t longest = 32;
  if (name.empty() || name.size() > longest) return false;
  return name.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == std::string::npos;
}

/// Checks one tensor by itself.
/// @param data_size  bytes of the file after the header
/// @return false with the reason in refusal, the name of the tensor left out.
inline bool check_tensor(const TensorInfo& info, std::uint64_t data_size, Refusal& refusal) {
  const auto refuse = [&](const std::string& rule, const std::string& expected,
                          const std::string& got) {
    refusal = Refusal{"", rule, expected, got};
    return false;
  };
  if (!is_dtype_name(info.dtype))
    return refuse("dtype", "a name such as F32", in_quotes(info.dtype));
  if (info.begin > info.end) {
    return refuse("data_offsets", "begin <= end", text(info.begin, " and ", info.end));
  }
  if (info.end > data_size) {
    return refuse("the file is truncated: data_offsets end inside of it",
                  text("at most ", data_size), text(info.end));
  }
  const std::optional<std::uint64_t> count = count_elements(info.shape);
  if (!count.has_value()) {
    return refuse("number of elements", "one that fits into 63 bits", shape_text(info.shape));
  }
  const std::uint64_t bytes = info.end - info.begin;
  if (!fills_bytes(info.dtype, *count, bytes)) {
    const unsigned bits = dtype_bits(info.dtype);
    return refuse("bytes between the data_offsets",
                  text(*count, " elements of ", bits % 8 == 0 ? bits / 8 : bits,
                       bits % 8 == 0 ? " bytes" : " bits", " for shape ", shape_text(info.shape)),
                  text(bytes, " bytes"));
  }
  return true;
}

/// Checks that the tensors lie one after the other, without overlaps and without holes in which
/// something could hide. Sets data_size of the header.
inline bool check_neighbours(SafetensorsHeader& header, Refusal& refusal) {
  using Entry = const std::pair<const std::string, TensorInfo>;
  std::vector<Entry*> order;
  for (Entry& entry : header.tensors) order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](Entry* a, Entry* b) {
    return std::tie(a->second.begin, a->second.end, a->first) <
           std::tie(b->second.begin, b->second.end, b->first);
  });
  const std::string* before = nullptr;
  for (Entry* entry : order) {
    const TensorInfo& info = entry->second;
    if (info.begin != header.data_size) {
      const bool overlap = info.begin < header.data_size;
      const std::string where =
          before == nullptr ? "the header" : std::string(text("tensor ", in_quotes(*before)));
      refusal = Refusal{entry->first,
                        text(overlap ? "overlaps " : "leaves a hole after ", where, ", begins"),
                        text("at byte ", header.data_size, " of the data"), text(info.begin)};
      return false;
    }
    header.data_size = info.end;
    before = &entry->first;
  }
  return true;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_SAFETENSORS_LAYOUT_HPP
