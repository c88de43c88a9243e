// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_USAGE_ERROR_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_USAGE_ERROR_HPP

#include <cstdint>
#include <stdexcept>
#include <string>

namespace example {

/// A mistake on the command line.
struct UsageError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

/// A whole number in decimal, nothing before it and nothing behind it.
inline std::uint64_t parse_number(const std::string& option, const std::string& text,
                                  std::uint64_t least, std::uint64_t most) {
  std::uint64_t value = 0;
  bool good = !text.empty();
  for (const char digit : text) {
    const auto next = static_cast<std::uint64_t>(digit - '0');
    good = good && digit >= '0' && digit <= '9' && value <= (most - next) / 10;
    if (!good) break;
    value = 10 * value + next;
  }
  if (!good || value < least) {
    throw UsageError(option + " expects a whole number from " + std::to_string(least) + " to " +
                     std::to_string(most) + ", got \"" + text + "\"");
  }
  return value;
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_USAGE_ERROR_HPP
