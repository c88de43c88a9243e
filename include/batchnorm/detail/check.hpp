// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_DETAIL_CHECK_HPP
#define BATCHNORM_DETAIL_CHECK_HPP

#include <atomic>
#include <cstddef>
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

template <class Error>
[[noreturn]] void throw_or_abort(const std::string& message) {
#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
  throw Error(message);
#else
  abort_with(message);
#endif
}

[[noreturn]] inline void raise_invalid_argument(const std::string& message) {
  throw_or_abort<std::invalid_argument>(message);
}
[[noreturn]] inline void raise_domain_error(const std::string& message) {
  throw_or_abort<std::domain_error>(message);
}
[[noreturn]] inline void raise_runtime_error(const std::string& message) {
  throw_or_abort<std::runtime_error>(message);
}

template <std::size_t Count>
struct Text;

/// A part of a message: words, a number, or a text of such parts. It refers to them, so it belongs
/// into the expression that it is written in. Destroying it takes no code: what checks would have
/// to carry with them for a message that is hardly ever wanted.
class MessagePart {
 public:
  MessagePart(const char* words) : kind_(Kind::words) { value_.words = words; }
  MessagePart(const std::string& words) : size_(words.size()), kind_(Kind::sized_words) {
    value_.words = words.data();
  }
  template <std::size_t Count>
  MessagePart(const Text<Count>& text) : size_(Count), kind_(Kind::parts) {
    value_.parts = text.parts;
  }
  template <class Number, std::enable_if_t<std::is_arithmetic<Number>::value, int> = 0>
  MessagePart(Number number) {
    if constexpr (!std::is_integral<Number>::value) {
      kind_ = Kind::real;
      value_.real = static_cast<double>(number);
    } else if constexpr (std::is_signed<Number>::value) {
      kind_ = Kind::whole;
      value_.whole = number;
    } else {
      kind_ = Kind::natural;
      value_.natural = number;
    }
  }

  [[gnu::cold, gnu::noinline]] void append_to(std::string& message) const {
    switch (kind_) {
      case Kind::words:
        message += value_.words;
        break;
      case Kind::sized_words:
        message.append(value_.words, size_);
        break;
      case Kind::parts:
        for (std::size_t i = 0; i < size_; ++i) value_.parts[i].append_to(message);
        break;
      case Kind::whole:
        message += std::to_string(value_.whole);
        break;
      case Kind::natural:
        message += std::to_string(value_.natural);
        break;
      case Kind::real:
        char digits[32];
        std::snprintf(digits, sizeof digits, "%.9g", value_.real);
        message += digits;
    }
  }

 private:
  enum class Kind { words, sized_words, parts, whole, natural, real };
  union Value {
    const char* words;
    const MessagePart* parts;
    long long whole;
    unsigned long long natural;
    double real;
  };
  Value value_;
  std::size_t size_ = 0;
  Kind kind_;
};

/// Words and numbers, joined where a string is wanted.
template <std::size_t Count>
struct Text {
  MessagePart parts[Count];

  operator std::string() const {
    std::string joined;
    MessagePart(*this).append_to(joined);
    return joined;
  }
};

// No template up to four parts: one would be compiled anew for every length of a literal.
inline Text<1> text(const MessagePart& a) {
  return {{a}};
}
inline Text<2> text(const MessagePart& a, const MessagePart& b) {
  return {{a, b}};
}
inline Text<3> text(const MessagePart& a, const MessagePart& b, const MessagePart& c) {
  return {{a, b, c}};
}
inline Text<4> text(const MessagePart& a, const MessagePart& b, const MessagePart& c,
                    const MessagePart& d) {
  return {{a, b, c, d}};
}
template <class... More>
Text<5 + sizeof...(More)> text(const MessagePart& a, const MessagePart& b, const MessagePart& c,
                               const MessagePart& d, const MessagePart& e, const More&... more) {
  return {{a, b, c, d, e, MessagePart(more)...}};
}

/// Every message of the library has this form: who refuses, the rule, what was expected, what came.
inline std::string rule_text(const char* function, const MessagePart& rule,
                             const MessagePart& expected, const MessagePart& got) {
  return text(function, ": ", rule, ": expected ", expected, ", got ", got);
}

/// An argument breaks a rule that the caller can check beforehand: shapes, ranges, null data.
[[noreturn, gnu::cold, gnu::noinline]] inline void fail_argument(const char* function,
                                                                 const MessagePart& rule,
                                                                 const MessagePart& expected,
                                                                 const MessagePart& got) {
  raise_invalid_argument(rule_text(function, rule, expected, got));
}

/// The numbers themselves are outside the domain of the formula: NaN, no variance, no statistics.
[[noreturn, gnu::cold, gnu::noinline]] inline void fail_domain(const char* function,
                                                               const MessagePart& rule,
                                                               const MessagePart& expected,
                                                               const MessagePart& got) {
  raise_domain_error(rule_text(function, rule, expected, got));
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_DETAIL_CHECK_HPP
