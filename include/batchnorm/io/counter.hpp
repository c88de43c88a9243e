// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_COUNTER_HPP
#define BATCHNORM_IO_COUNTER_HPP

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/io/dtype.hpp"
#include "batchnorm/io/load_report.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/version.hpp"

// The number of minibatches in a file. PyTorch stores I64 of shape []; others have [1], and
// floating numbers where a program converts all tensors of a network alike.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// The count in a tensor, or why it is none.
struct Counter {
  Index count;  ///< -1 when it is none
  Finding fault;
  std::string rule;
  std::string expected;
  std::string got;
};

/// The largest number up to which a floating dtype has all whole numbers.
inline double largest_count(const std::string& dtype) {
  if (dtype == "F64") return 9007199254740992.0;  // 2^53
  if (dtype == "F32") return 16777216.0;          // 2^24
  return dtype == "F16" ? 2048.0 : 256.0;         // 2^11, and 2^8 of BF16
}

inline Counter no_counter(Finding fault, std::string rule, std::string expected, std::string got) {
  return {-1, fault, std::move(rule), std::move(expected), std::move(got)};
}

inline Counter counted(Index count) {
  return {count, Finding::used, "", "", ""};
}

inline Counter count_in_real(double number) {
  constexpr const char* rule = "number of minibatches";
  if (!is_finite(number) || number < 0.0 || number > std::floor(number)) {
    return no_counter(Finding::wrong_number, rule, "a whole number, 0 or more", text(number));
  }
  if (number > largest_count("F64")) {
    return no_counter(Finding::wrong_number, rule, "at most 2^53 in floating numbers",
                      text(number));
  }
  return counted(static_cast<Index>(number));
}

inline Counter count_in_tensor(const Tensors& tensors, const std::string& key) {
  constexpr const char* rule = "number of minibatches";
  constexpr std::uint64_t most = static_cast<std::uint64_t>((std::numeric_limits<Index>::max)());
  const Tensor& tensor = tensors.tensor(key);
  const std::uint64_t elements = *count_elements(tensor.shape);
  if (elements != 1) {
    return no_counter(Finding::wrong_shape, "number of elements", "1", text(elements));
  }
  if (is_real_dtype(tensor.dtype)) return count_in_real(tensors.value<double>(key));
  if (tensor.dtype[0] == 'I' && dtype_bits(tensor.dtype) != 0) {
    const std::int64_t number = tensors.value<std::int64_t>(key);
    if (number < 0) return no_counter(Finding::wrong_number, rule, "0 or more", text(number));
    return counted(static_cast<Index>(number));
  }
  if (tensor.dtype[0] == 'U' && dtype_bits(tensor.dtype) != 0) {
    const std::uint64_t number = tensors.value<std::uint64_t>(key);
    if (number > most) {
      return no_counter(Finding::wrong_number, rule, text("at most ", most), text(number));
    }
    return counted(static_cast<Index>(number));
  }
  return no_counter(Finding::wrong_number, "dtype", "whole or floating numbers", tensor.dtype);
}

/// The count in a tensor, with what there is to say about it.
/// @return -1 when it is none, which is an error in the report.
inline Index examine_counter(const Tensors& tensors, const std::string& key, LoadReport& report) {
  const Counter counter = count_in_tensor(tensors, key);
  if (counter.count < 0) {
    refuse(report, counter.fault, key, counter.rule, counter.expected, counter.got);
    return -1;
  }
  note(report, Finding::used, key, text("minibatches seen, ", counter.count));
  const std::string& dtype = tensors.dtype(key);
  if (is_real_dtype(dtype)) {
    note(report, Finding::converted, key, dtype + " -> a whole number");
    if (static_cast<double>(counter.count) >= largest_count(dtype)) {
      note(report, Finding::suspicious, key,
           text(dtype, " counts to ", static_cast<Index>(largest_count(dtype)),
                " only: the number is a rounded one"));
    }
  }
  return counter.count;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_COUNTER_HPP
