// SPDX-License-Identifier: MIT
// How far everybody is from the exact statistics and output, as tables and as JSON.
#ifndef BATCHNORM_TESTS_BENCHMARKS_ACCURACY_REPORT_HPP
#define BATCHNORM_TESTS_BENCHMARKS_ACCURACY_REPORT_HPP

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

#include "benchmarks/accuracy_errors.hpp"
#include "benchmarks/accuracy_rows.hpp"
#include "benchmarks/json.hpp"
#include "benchmarks/table.hpp"

namespace batchnorm_benchmarks {

struct AccuracyResult {
  struct Cell {
    std::string contender;
    Errors errors;
  };

  AccuracyRow row{};
  std::vector<Cell> cells;  ///< this library first
};

using AccuracyResults = std::vector<AccuracyResult>;

/// Two significant digits: 0, 5.8e-8, 0.022, 8.9, 79, 1.3e7.
inline std::string error_text(double error) {
  if (error <= 0.0) return "0";
  if (error >= 0.01 && error < 999.5) return digits(error, 2);
  char text[64];
  std::snprintf(text, sizeof text, "%.1e", error);
  std::string short_text = text;
  const std::size_t sign = short_text.find('e') + 1;
  if (sign == 0) return short_text;  // not a number
  const bool negative = short_text[sign] == '-';
  const std::size_t digit = short_text.find_first_not_of("+-0", sign);
  return short_text.substr(0, sign) + (negative ? "-" : "") + short_text.substr(digit);
}

inline std::string error_text(const Errors& errors) {
  return error_text(errors.mean) + " / " + error_text(errors.variance) + " / " +
         error_text(errors.output);
}

/// 1,000,000
inline std::string grouped(std::int64_t number) {
  std::string text = std::to_string(number);
  for (std::size_t left = text.size(); left > 3;) text.insert(left -= 3, ",");
  return text;
}

/// Everybody who was measured anywhere, in the order of first appearance.
inline std::vector<std::string> contender_names(const AccuracyResults& results) {
  std::vector<std::string> names;
  for (const AccuracyResult& result : results) {
    for (const AccuracyResult::Cell& cell : result.cells) {
      if (std::find(names.begin(), names.end(), cell.contender) == names.end()) {
        names.push_back(cell.contender);
      }
    }
  }
  return names;
}

/// A line per row for which `shown` holds, a column per contender; empty where it was not measured.
inline std::string accuracy_table(const AccuracyResults& results,
                                  bool (*shown)(const AccuracyRow&)) {
  const std::vector<std::string> names = contender_names(results);
  Table::Line heading = {"layout", "values", "mean", "threads"};
  heading.insert(heading.end(), names.begin(), names.end());
  Table table(heading);
  for (const AccuracyResult& result : results) {
    const AccuracyRow& row = result.row;
    if (!shown(row)) continue;
    Table::Line line = {name_of(row.layout), grouped(row.values_per_channel), grouped(row.offset),
                        std::to_string(row.threads)};
    line.resize(heading.size());
    for (const AccuracyResult::Cell& cell : result.cells) {
      const auto name = std::find(heading.begin(), heading.end(), cell.contender);
      line[static_cast<std::size_t>(name - heading.begin())] = error_text(cell.errors);
    }
    table.add(line);
  }
  return table.text();
}

/// What this library promises, whatever the mean, the number of values and the layout: statistics
/// within 1e-6, and an output whose error is a few units in the last place of its largest values,
/// which are about six.
inline bool keeps_promise(const Errors& errors) {
  return errors.mean <= 1e-6 && errors.variance <= 1e-6 && errors.output <= 2e-6;
}

/// The rows in which a contender is further off than this library promises to be.
inline std::vector<std::string> rows_beyond_promise(const AccuracyResults& results,
                                                    const std::string& contender) {
  std::vector<std::string> lines;
  for (const AccuracyResult& result : results) {
    for (const AccuracyResult::Cell& cell : result.cells) {
      if (cell.contender != contender || keeps_promise(cell.errors)) continue;
      lines.push_back(name_of(result.row) + ": " + error_text(cell.errors));
    }
  }
  return lines;
}

inline std::string json_row(const AccuracyResult& result) {
  std::string text = "{\"layout\": " + json_text(name_of(result.row.layout));
  text += ", \"shape\": " + json_text(name_of(shape_of(result.row)));
  text += ", \"values\": " + std::to_string(result.row.values_per_channel);
  text += ", \"mean\": " + std::to_string(result.row.offset);
  text += ", \"threads\": " + std::to_string(result.row.threads) + ", \"errors\": {";
  for (std::size_t at = 0; at < result.cells.size(); ++at) {
    const AccuracyResult::Cell& cell = result.cells[at];
    text += (at == 0 ? "" : ", ") + json_text(cell.contender) +
            ": {\"mean\": " + json_number(cell.errors.mean) +
            ", \"variance\": " + json_number(cell.errors.variance) +
            ", \"output\": " + json_number(cell.errors.output) + "}";
  }
  return text + "}}";
}

}  // namespace batchnorm_benchmarks

#endif  // BATCHNORM_TESTS_BENCHMARKS_ACCURACY_REPORT_HPP
