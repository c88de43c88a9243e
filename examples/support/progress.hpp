// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_PROGRESS_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_PROGRESS_HPP

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

#if defined(_WIN32)
#include <io.h>
#elif __has_include(<unistd.h>)
#include <unistd.h>
#endif

namespace example {

/// Whether a person watches the standard output.
inline bool output_is_a_terminal() {
#if defined(_WIN32)
  return _isatty(_fileno(stdout)) != 0;
#elif __has_include(<unistd.h>)
  return isatty(fileno(stdout)) != 0;
#else
  return false;
#endif
}

/// A line that is written over again and again, and disappears at the end. Silent in files and
/// pipes.
class ProgressLine {
 public:
  ProgressLine() = default;
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ~ProgressLine() { write(""); }

  void show(int epoch, int epochs, float loss) {
    char numbers[80];
    std::snprintf(numbers, sizeof numbers, "epoch %d of %d, loss %.4f", epoch, epochs,
                  static_cast<double>(loss));
    show_share("training", static_cast<std::uint64_t>(epoch), static_cast<std::uint64_t>(epochs),
               numbers);
  }

  void show_share(const std::string& what, std::uint64_t done, std::uint64_t all,
                  const std::string& numbers) {
    constexpr std::size_t width = 30;
    const auto filled = static_cast<std::size_t>(
        static_cast<double>(width) * static_cast<double>(done) / static_cast<double>(all));
    write(what + " [" + std::string(filled, '=') + std::string(width - filled, ' ') + "] " +
          numbers);
  }

 private:
  void write(std::string line) {
    if (!is_terminal_) return;
    const std::size_t length = line.size();
    if (length < last_length_) line.append(last_length_ - length, ' ');
    std::printf("\r%s%s", line.c_str(), length == 0 ? "\r" : "");
    std::fflush(stdout);
    last_length_ = length;
  }

  const bool is_terminal_ = output_is_a_terminal();
  std::size_t last_length_ = 0;
};

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_PROGRESS_HPP
