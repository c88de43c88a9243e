// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_DETAIL_CHECK_HPP
#define BATCHNORM_DETAIL_CHECK_HPP

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "batchnorm/version.hpp"

namespace batchnorm {
/// Data, no code: shared by units that are compiled with different flags.
namespace program {
inline std::atomic<void (*)(const char*)> error_handler{nullptr};  ///< nullptr: the default
}  // namespace program

inline namespace BATCHNORM_INLINE_NAMESPACE {

/// What a program built without exceptions wants to be told before it is aborted.
using ErrorHandler = void (*)(const char* message);

namespace detail {

inline void print_error(const char* message) {
  std::fputs(message, stderr);
  std::fputc('\n', stderr);
}

/// An entry of program::error_handler, as something that can be called.
inline ErrorHandler or_default(ErrorHandler handler) noexcept {
  return handler != nullptr ? handler : &print_error;
}

}  // namespace detail

/// Replaces the handler that receives the text of a failed check in programs built without
/// exceptions (with exceptions the text travels in the exception, and the handler is not called).
/// When the handler returns, the program is aborted; a handler may leave by other means.
///
/// @param handler  the new handler; nullptr restores the default, which prints to stderr.
/// @return the handler that was in force before. Thread safety: from any thread.
inline ErrorHandler set_error_handler(ErrorHandler handler) noexcept {
  return detail::or_default(program::error_handler.exchange(handler));
}

namespace detail {

[[noreturn]] inline void abort_with(const std::string& message) {
  or_default(program::error_handler.load())(message.c_str());
  std::abort();
}

[[noreturn]] inline void raise_invalid_argument(const std::string& message) {
#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
  throw std::invalid_argument(message);
#else
  abort_with(message);
#endif
}

[[noreturn]] inline void raise_domain_error(const std::string& message) {
#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
  throw std::domain_error(message);
#else
  abort_with(message);
#endif
}

[[noreturn]] inline void raise_runtime_error(const std::string& message) {
#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
  throw std::runtime_error(message);
#else
  abort_with(message);
#endif
}

inline void append(std::string& text, const char* part) {
  text += part;
}
inline void append(std::string& text, const std::string& part) {
  text += part;
}

template <class Number, std::enable_if_t<std::is_arithmetic<Number>::value, int> = 0>
void append(std::string& text, Number number) {
  if constexpr (std::is_integral<Number>::value) {
    text += std::to_string(number);
  } else {
    char digits[40];
    std::snprintf(digits, sizeof digits, "%.9Lg", static_cast<long double>(number));
    text += digits;
  }
}

/// Joins words and numbers into one text, without streams.
template <class... Parts>
std::string text(const Parts&... parts) {
  std::string joined;
  (append(joined, parts), ...);
  return joined;
}

/// Every message of the library has this form: who refuses, the rule, what was expected, what came.
inline std::string rule_text(const char* function, const std::string& rule,
                             const std::string& expected, const std::string& got) {
  return text(function, ": ", rule, ": expected ", expected, ", got ", got);
}

/// An argument breaks a rule that the caller can check beforehand: shapes, ranges, null data.
[[noreturn]] inline void fail_argument(const char* function, const std::string& rule,
                                       const std::string& expected, const std::string& got) {
  raise_invalid_argument(rule_text(function, rule, expected, got));
}

/// The numbers themselves are outside the domain of the formula: NaN, no variance, no statistics.
[[noreturn]] inline void fail_domain(const char* function, const std::string& rule,
                                     const std::string& expected, const std::string& got) {
  raise_domain_error(rule_text(function, rule, expected, got));
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_DETAIL_CHECK_HPP
