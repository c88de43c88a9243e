// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_DIGITS_CSV_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_DIGITS_CSV_HPP

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <system_error>

#include "support/digits.hpp"

namespace example {

/// Reads the fields of a CSV of whole numbers one after the other, and knows where it is: every
/// error names file, line and column, both counted from 1, the column being that of the table.
class CsvReader {
 public:
  explicit CsvReader(const std::string& path) : path_(path), file_(path, std::ios::binary) {
    const std::error_code reason(errno, std::generic_category());
    if (!file_) throw std::runtime_error("cannot open " + path + ": " + reason.message());
    if (std::filesystem::is_directory(path)) {
      throw std::runtime_error("cannot read " + path + ": it is a folder");
    }
    if (file_.peek() == 0xEF) file_.ignore(3);  // the byte order mark that Excel writes
  }

  bool at_end() { return file_.peek() == std::ifstream::traits_type::eof(); }

  /// The next field, which must be a whole number from 0 to `most`.
  int number(const char* what, int most) {
    const std::string field = next_field();
    int value = 0;
    bool good = !field.empty();
    for (const char digit : field) {
      good = good && digit >= '0' && digit <= '9';
      if (good) value = std::min(10 * value + (digit - '0'), most + 1);
    }
    if (!good || value > most) {
      fail(std::string(what) + ", a whole number from 0 to " + std::to_string(most),
           field.empty() ? "nothing" : "\"" + printable(field) + "\"");
    }
    return value;
  }

  /// Steps over the comma behind a field.
  void next_column(Eigen::Index columns) {
    if (file_.peek() != ',') {
      fail(std::to_string(columns) + " values per line", std::to_string(column_));
    }
    file_.get();
    ++column_;
  }

  /// Steps over the end of a line, \n or \r\n; the last line may do without.
  void next_line(Eigen::Index columns) {
    if (file_.peek() == ',') {
      ++column_;
      fail(std::to_string(columns) + " values per line", "more");
    }
    if (file_.peek() == '\r') file_.get();
    if (file_.peek() == '\n') file_.get();
    ++line_;
    column_ = 1;
  }

  void skip_blank_lines() {
    while (file_.peek() == '\n' || file_.peek() == '\r') file_.get();
  }

  [[noreturn]] void fail(const std::string& expected, const std::string& got) const {
    throw std::runtime_error(path_ + ", line " + std::to_string(line_) + ", column " +
                             std::to_string(column_) + ": expected " + expected + ", got " + got);
  }

 private:
  static constexpr std::size_t longest_field = 40;

  /// Up to the next comma or line end, without the blanks around it, or as much as shows that this
  /// is no number.
  std::string next_field() {
    std::string field;
    while (!at_end() && field.size() < longest_field) {
      const int next = file_.peek();
      if (next == ',' || next == '\n' || next == '\r') break;
      field += static_cast<char>(file_.get());
    }
    const std::size_t first = field.find_first_not_of(" \t");
    return first == std::string::npos
               ? ""
               : field.substr(first, field.find_last_not_of(" \t") + 1 - first);
  }

  static std::string printable(std::string text) {
    for (char& c : text) {
      if (c < ' ' || c > '~') c = '?';
    }
    return text;
  }

  std::string path_;
  std::ifstream file_;
  Eigen::Index line_ = 1;
  Eigen::Index column_ = 1;
};

/// Reads optdigits.tes of the UCI Machine Learning Repository: 1797 lines of 64 pixels from 0 to
/// 16 and the digit. No header.
/// @throws std::runtime_error that names file, line and column
inline DigitsData read_digits(const std::string& path) {
  constexpr Eigen::Index rows = training_rows + test_rows;
  const std::string wanted = std::to_string(rows) + " lines, one per image";
  CsvReader csv(path);
  DigitsData data;
  data.origin = path;
  Eigen::VectorXf image(pixels);
  for (Eigen::Index row = 0; row < rows; ++row) {
    if (csv.at_end()) csv.fail(wanted, "the end of the file after " + std::to_string(row));
    for (Eigen::Index pixel = 0; pixel < pixels; ++pixel) {
      image[pixel] = static_cast<float>(csv.number("a pixel", brightest)) / brightest;
      csv.next_column(pixels + 1);
    }
    data.set(row, image, csv.number("the digit", classes - 1));
    csv.next_line(pixels + 1);
  }
  csv.skip_blank_lines();
  if (!csv.at_end()) csv.fail(wanted, "more");
  return data;
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_DIGITS_CSV_HPP
