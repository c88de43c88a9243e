// SPDX-License-Identifier: MIT
// Results as JSON, one object per row; times are seconds.
#ifndef BATCHNORM_TESTS_BENCHMARKS_JSON_HPP
#define BATCHNORM_TESTS_BENCHMARKS_JSON_HPP

#include <cstddef>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "benchmarks/result.hpp"
#include "benchmarks/row.hpp"

namespace batchnorm_benchmarks {

inline std::string json_text(const std::string& text) {
  std::string quoted = "\"";
  for (const char letter : text) {
    if (letter == '"' || letter == '\\') quoted += '\\';
    quoted += static_cast<unsigned char>(letter) < 0x20 ? ' ' : letter;
  }
  return quoted + "\"";
}

inline std::string json_number(double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

inline std::string json_timing(const Timing& timing, double error) {
  return "{\"seconds\": " + json_number(timing.seconds) +
         ", \"noise\": " + json_number(timing.noise) + ", \"error\": " + json_number(error) + "}";
}

inline std::string json_row(const RowResult& result) {
  const Row& row = result.row;
  std::string text = "{\"row\": " + json_text(name_of(row));
  text += ", \"work\": " + json_text(name_of(row.work));
  text += ", \"shape\": " + json_text(name_of(row.shape));
  text += ", \"element\": " + json_text(name_of(row.element));
  text += ", \"threads\": " + std::to_string(row.threads);
  text += ", \"bytes\": " + std::to_string(bytes(row));
  text += ", \"copy\": " + json_number(result.streams.copy);
  text += ", \"read\": " + json_number(result.streams.read);
  text += ", \"triad\": " + json_number(result.streams.triad);
  text += ", \"limit\": " + json_number(result.limit_seconds);
  text += ", \"ours\": " + json_timing(result.ours, result.error) + ", \"rivals\": {";
  for (std::size_t at = 0; at < result.rivals.size(); ++at) {
    text += (at == 0 ? "" : ", ") + json_text(result.rivals[at].name) + ": " +
            json_timing(result.rivals[at].timing, result.rivals[at].error);
  }
  return text + "}}";
}

/// Facts about the run, by name: machine, compiler, versions, date, other measurements.
using Facts = std::vector<std::pair<std::string, std::string>>;

/// The facts, and under "rows" what json_row() makes of each result.
template <class Result = RowResult>
std::string json(const Facts& facts, const std::vector<Result>& results) {
  std::string text = "{\n";
  for (const auto& fact : facts) {
    text += "  " + json_text(fact.first) + ": " + json_text(fact.second) + ",\n";
  }
  text += "  \"rows\": [\n";
  for (std::size_t at = 0; at < results.size(); ++at) {
    text += "    " + json_row(results[at]) + (at + 1 < results.size() ? ",\n" : "\n");
  }
  return text + "  ]\n}\n";
}

}  // namespace batchnorm_benchmarks

#endif  // BATCHNORM_TESTS_BENCHMARKS_JSON_HPP
