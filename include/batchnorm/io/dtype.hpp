// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_DTYPE_HPP
#define BATCHNORM_IO_DTYPE_HPP

#include <Eigen/Core>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "batchnorm/detail/rounding.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// An element type of the safetensors format: its name in files and the bits of one element.
struct Dtype {
  const char* name;
  unsigned bits;
};

// All names of the format, in the order of rising alignment in which the reference implementation
// ranks them (the enumeration Dtype of safetensors/src/tensor.rs); it writes tensors of the highest
// rank first. Those of less than 8 bits are packed without gaps.
inline constexpr Dtype dtypes[] = {
    {"BOOL", 8},        {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
    {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
    {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
    {"I32", 32},        {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},
    {"I64", 64},        {"U64", 64}};

/// Place of a dtype in the ranking, counted from 1; 0 for a name that is not known here.
inline int dtype_rank(const std::string& name) {
  int rank = 0;
  for (const Dtype& dtype : dtypes) {
    ++rank;
    if (name == dtype.name) return rank;
  }
  return 0;
}

/// Bits of one element; 0 for a name that is not known here.
inline unsigned dtype_bits(const std::string& name) {
  const int rank = dtype_rank(name);
  return rank == 0 ? 0 : dtypes[rank - 1].bits;
}

/// Whether that many elements fill that many bytes exactly. Nothing can be said about a dtype that
/// is not known here.
inline bool fills_bytes(const std::string& dtype, std::uint64_t count, std::uint64_t bytes) {
  const std::uint64_t bits = dtype_bits(dtype);
  if (bits == 0) return true;
  // Eight elements fill `bits` bytes, so that nothing is multiplied beyond 64 bits.
  const std::uint64_t rest = count % 8 * bits;
  return rest % 8 == 0 && bytes / bits == count / 8 && bytes % bits == rest / 8;
}

/// Whether the elements are floating numbers that this library computes with.
inline bool is_real_dtype(const std::string& dtype) {
  return dtype == "F64" || dtype == "F32" || dtype == "F16" || dtype == "BF16";
}

/// The dtype that holds exactly the values of a C++ type; nullptr where there is none.
template <class T>
constexpr const char* dtype_name() {
  constexpr bool whole = std::is_integral<T>::value;
  constexpr bool has_sign = std::is_signed<T>::value;
  if constexpr (std::is_same<T, double>::value) return "F64";
  if constexpr (std::is_same<T, float>::value) return "F32";
  if constexpr (std::is_same<T, Eigen::half>::value) return "F16";
  if constexpr (std::is_same<T, Eigen::bfloat16>::value) return "BF16";
  if constexpr (std::is_same<T, bool>::value) return "BOOL";
  if constexpr (whole && sizeof(T) == 8) return has_sign ? "I64" : "U64";
  if constexpr (whole && sizeof(T) == 4) return has_sign ? "I32" : "U32";
  if constexpr (whole && sizeof(T) == 2) return has_sign ? "I16" : "U16";
  if constexpr (whole && sizeof(T) == 1) return has_sign ? "I8" : "U8";
  return nullptr;
}

/// Room for the bytes of elements; of none there is some that nobody may use.
inline std::shared_ptr<unsigned char> allocate_bytes(std::uint64_t size) {
  return std::shared_ptr<unsigned char>(new unsigned char[static_cast<std::size_t>(size)],
                                        std::default_delete<unsigned char[]>());
}

/// Copies elements between memory and the byte order of files, which is little endian.
inline void copy_little_endian(void* to, const void* from, std::size_t count, std::size_t size) {
  const std::uint16_t probe = 1;
  const bool low_byte_first = *reinterpret_cast<const unsigned char*>(&probe) == 1;
  if (low_byte_first) {
    if (count != 0) std::memcpy(to, from, count * size);
    return;
  }
  unsigned char* target = static_cast<unsigned char*>(to);
  const unsigned char* source = static_cast<const unsigned char*>(from);
  for (std::size_t element = 0; element < count * size; element += size) {
    for (std::size_t byte = 0; byte < size; ++byte) {
      target[element + byte] = source[element + size - 1 - byte];
    }
  }
}

/// The number that lies in a file.
template <class T>
T number_at(const void* bytes) {
  T number{};
  copy_little_endian(&number, bytes, 1, sizeof number);
  return number;
}

/// The type under which the elements of BOOL are read: any byte may stand in a file, while a C++
/// bool of another value than 0 and 1 is undefined.
struct StoredBool {
  unsigned char byte;
};

/// Whether elements that are stored as From can be asked for as To: whole numbers as everything but
/// the narrow floats (which cannot hold them), floats as floats, BOOL as whole numbers.
template <class To, class From>
constexpr bool is_convertible_dtype() {
  if constexpr (std::is_same<From, StoredBool>::value) {
    return std::is_integral<To>::value;
  } else if constexpr (std::is_same<To, bool>::value) {
    return false;
  } else if constexpr (std::is_integral<From>::value) {
    return !is_narrow_float<To>();
  } else {
    return !std::is_integral<To>::value;
  }
}

/// Whether a whole number lies in the range of another integral type, without mixing signs.
template <class To, class From>
constexpr bool is_in_range(From value) {
  if constexpr (std::is_signed<From>::value) {
    if (value < 0) {
      return std::is_signed<To>::value &&
             static_cast<std::int64_t>(value) >=
                 static_cast<std::int64_t>((std::numeric_limits<To>::min)());
    }
  }
  return static_cast<std::uint64_t>(value) <=
         static_cast<std::uint64_t>((std::numeric_limits<To>::max)());
}

/// Converts one element of a file, rounding at most once.
/// @return false when the value is outside the range of To: nothing becomes infinite on the way.
template <class To, class From>
bool convert_element(const From& value, To& result) {
  if constexpr (std::is_same<From, StoredBool>::value) {
    result = static_cast<To>(value.byte != 0 ? 1 : 0);
    return true;
  } else if constexpr (std::is_integral<To>::value) {
    if (!is_in_range<To>(value)) return false;
    result = static_cast<To>(value);
    return true;
  } else if constexpr (std::is_integral<From>::value && std::is_arithmetic<To>::value) {
    result = static_cast<To>(value);
    return true;
  } else {
    const double wide = static_cast<double>(value);
    result = round_once<To>(wide);
    return is_finite(result) || !is_finite(wide);
  }
}

/// Converts all elements of a file that have the type From.
/// @return how many were converted: all, unless one is outside the range of To.
template <class To, class From>
std::size_t decode_elements(const unsigned char* bytes, std::vector<To>& values) {
  constexpr std::size_t size = sizeof(From);
  if constexpr (std::is_same<To, From>::value) {
    copy_little_endian(values.data(), bytes, values.size(), size);
  } else {
    std::size_t done = 0;
    for (auto&& value : values) {  // flags of a vector are no references
      To converted{};
      if (!convert_element(number_at<From>(bytes + done * size), converted)) return done;
      value = converted;
      ++done;
    }
  }
  return values.size();
}

/// Converts all elements of a file.
/// @param bytes   at least values.size() elements of that dtype
/// @return how many were converted: all, unless one is outside the range of To; nothing when there
///         is no conversion from that dtype to To.
template <class To>
std::optional<std::size_t> decode(const std::string& dtype, const unsigned char* bytes,
                                  std::vector<To>& values) {
  std::optional<std::size_t> done;
  const auto from = [&](const char* name, auto type) {
    using From = decltype(type);
    if constexpr (is_convertible_dtype<To, From>()) {
      if (dtype == name) done = decode_elements<To, From>(bytes, values);
    }
  };
  from("F64", double{});
  from("F32", float{});
  from("F16", Eigen::half{});
  from("BF16", Eigen::bfloat16{});
  from("I64", std::int64_t{});
  from("I32", std::int32_t{});
  from("I16", std::int16_t{});
  from("I8", std::int8_t{});
  from("U64", std::uint64_t{});
  from("U32", std::uint32_t{});
  from("U16", std::uint16_t{});
  from("U8", std::uint8_t{});
  from("BOOL", StoredBool{});
  return done;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_DTYPE_HPP
