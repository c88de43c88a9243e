// SPDX-License-Identifier: MIT
// Plain text tables, legible in a terminal and as Markdown.
#ifndef BATCHNORM_TESTS_BENCHMARKS_TABLE_HPP
#define BATCHNORM_TESTS_BENCHMARKS_TABLE_HPP

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace batchnorm_benchmarks {

/// A number with so many significant digits, without exponent: 0.0123, 12.3, 123, 1230.
inline std::string digits(double value, int significant = 3) {
  char text[64];
  double size = value < 0 ? -value : value;
  int decimals = significant - 1;
  for (; size >= 10.0 && decimals > 0; size /= 10.0) --decimals;
  for (; size > 0.0 && size < 1.0 && decimals < 12; size *= 10.0) ++decimals;
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

/// 43 ns, 1.23 us, 12.3 ms, 1.5 s: three digits and a unit.
inline std::string duration(double seconds) {
  if (seconds < 1e-6) return digits(seconds * 1e9) + " ns";
  if (seconds < 1e-3) return digits(seconds * 1e6) + " us";
  if (seconds < 1.0) return digits(seconds * 1e3) + " ms";
  return digits(seconds) + " s";
}

/// Two decimals: 1.05.
inline std::string ratio(double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.2f", value);
  return text;
}

/// Two digits and a power of ten: 1.4e-07.
inline std::string power(double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.1e", value);
  return text;
}

/// A table of cells with a heading; the first column stands left, the others right.
class Table {
 public:
  using Line = std::vector<std::string>;

  explicit Table(Line heading) : lines_{std::move(heading)} {}

  /// Short lines are filled up with empty cells.
  void add(Line line) {
    line.resize(lines_[0].size());
    lines_.push_back(std::move(line));
  }

  std::string text() const {
    std::string all;
    for (std::size_t at = 0; at < lines_.size(); ++at) {
      all += written(lines_[at]);
      if (at == 0) all += rule();
    }
    return all;
  }

 private:
  std::size_t width(std::size_t column) const {
    std::size_t widest = 3;
    for (const Line& line : lines_) widest = (std::max)(widest, line[column].size());
    return widest;
  }

  std::string written(const Line& line) const {
    std::string text = "|";
    for (std::size_t column = 0; column < line.size(); ++column) {
      const std::string fill(width(column) - line[column].size(), ' ');
      text += column == 0 ? " " + line[column] + fill : " " + fill + line[column];
      text += " |";
    }
    return text + "\n";
  }

  std::string rule() const {
    std::string text = "|";
    for (std::size_t column = 0; column < lines_[0].size(); ++column) {
      text += " " + std::string(width(column) - 1, '-') + (column == 0 ? "- |" : ": |");
    }
    return text + "\n";
  }

  std::vector<Line> lines_;
};

}  // namespace batchnorm_benchmarks

#endif  // BATCHNORM_TESTS_BENCHMARKS_TABLE_HPP
