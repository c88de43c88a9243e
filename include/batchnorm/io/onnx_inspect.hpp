// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_ONNX_INSPECT_HPP
#define BATCHNORM_IO_ONNX_INSPECT_HPP

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/io/load_report.hpp"
#include "batchnorm/io/onnx_batch_norms.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// The shortest decimal number that is this float: 1e-05 for 9.99999974e-06.
inline std::string shortest_float(double value) {
  char digits[40];
  const float wanted = static_cast<float>(value);
  for (int precision = 1; precision <= 9; ++precision) {
    std::snprintf(digits, sizeof digits, "%.*g", precision, static_cast<double>(wanted));
    const float read = std::strtof(digits, nullptr);
    if (!(read < wanted) && !(read > wanted)) break;
  }
  return digits;
}

/// A name of a file as one word of a line.
inline std::string in_line(const std::string& name) {
  const std::string quoted = in_quotes(name);
  return quoted.substr(1, quoted.find_last_of('"') - 1);
}

inline std::string joined(const std::vector<std::string>& parts) {
  std::string words;
  for (const std::string& part : parts) words += (words.empty() ? "" : ", ") + in_line(part);
  return words.empty() ? "-" : words;
}

/// Rows of texts as lines, each column as wide as its longest text.
inline std::string lines_of(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths(rows.front().size(), 0);
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = (std::max)(widths[i], row[i].size());
  }
  std::string lines;
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      lines += row[i];
      lines += i + 1 < row.size() ? std::string(widths[i] - row[i].size() + 2, ' ') : "\n";
    }
  }
  return lines;
}

}  // namespace detail

/// The norms of find_batch_norms as a table for a person: every node with what stands before and
/// behind it, and below the table what should be looked at. Names of the file are made safe to
/// print. Errors: none. Cost: a line per norm.
inline std::string inspect(const std::vector<OnnxBatchNorm>& norms) {
  std::vector<std::vector<std::string>> rows = {{"node", "opset", "channels", "type", "epsilon",
                                                 "stands behind", "stands before", "input used by",
                                                 "frozen"}};
  std::string findings;
  for (const OnnxBatchNorm& norm : norms) {
    rows.push_back({detail::in_line(norm.node), detail::text(norm.opset),
                    detail::text(norm.found.channels),
                    norm.found.dtype.empty() ? "-" : norm.found.dtype,
                    detail::shortest_float(norm.options.epsilon), detail::in_line(norm.behind),
                    detail::joined(norm.before), detail::joined(norm.other_users),
                    norm.can_be_frozen() ? "yes" : "no"});
    for (const LoadReport::Entry& entry : norm.report.entries) {
      const bool worth = entry.is_error || entry.finding == Finding::suspicious ||
                         entry.finding == Finding::options;
      if (!worth) continue;
      findings += detail::text(detail::in_line(norm.node), ": ", entry.is_error ? "error: " : "",
                               LoadReport::line_of(entry), "\n");
    }
  }
  return detail::lines_of(rows) + (findings.empty() ? "" : "\n" + findings);
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_ONNX_INSPECT_HPP
