// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_NORM_TABLE_HPP
#define BATCHNORM_IO_NORM_TABLE_HPP

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/io/batch_norms.hpp"
#include "batchnorm/io/dtype.hpp"
#include "batchnorm/io/load_report.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/io/systems.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/version.hpp"

// The table of the batch norms of a file, for a person: one for files of every kind.

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

/// "-1.2 to 3" of a tensor; "-" where there is none or it holds no numbers.
inline std::string range_in(const Tensors& tensors, const std::string& key) {
  if (key.empty() || !is_real_dtype(tensors.dtype(key)) || tensors.tensor(key).size == 0)
    return "-";
  const std::vector<double> values = tensors.values<double>(key);
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  char digits[64];
  std::snprintf(digits, sizeof digits, "%.3g to %.3g", *least, *most);
  return digits;
}

/// What a layer that was found is called: its prefix without the separator.
inline std::string layer_name(const std::string& prefix) {
  const bool ends = !prefix.empty() && std::string("./_").find(prefix.back()) != std::string::npos;
  const std::string name = prefix.substr(0, prefix.size() - (ends ? 1 : 0));
  return name.empty() ? "(top)" : name;
}

/// One line for every norm, and below what should be looked at. Names of a file are made safe to
/// print.
class NormTable {
 public:
  /// @param more  titles of further columns
  explicit NormTable(const std::vector<std::string>& more) {
    rows_.push_back(
        {"batch norm", "names", "channels", "type", "epsilon", "mean", "variance", "parameters"});
    rows_.back().insert(rows_.back().end(), more.begin(), more.end());
  }

  /// @param called  what the norm is called
  /// @param names  the system whose names its tensors have
  /// @param epsilon  none where it is not in the file
  /// @param more  texts in the further columns
  void add(const std::string& called, const std::string& names, const FoundBatchNorm& norm,
           const Tensors& tensors, std::optional<double> epsilon, const LoadReport& report,
           const std::vector<std::string>& more) {
    const std::string name = in_line(called);
    std::vector<std::string> parts;
    if (norm.has(Role::gamma)) parts.push_back("gamma");
    if (norm.has(Role::beta)) parts.push_back("beta");
    rows_.push_back({name, names, text(norm.channels), norm.dtype.empty() ? "-" : norm.dtype,
                     epsilon ? shortest_float(*epsilon) : "-",
                     range_in(tensors, norm.key(Role::mean)),
                     range_in(tensors, norm.key(Role::variance)), joined(parts)});
    rows_.back().insert(rows_.back().end(), more.begin(), more.end());
    if (report.errors() > 0) ++with_errors_;
    for (const LoadReport::Entry& entry : report.entries) {
      const bool worth = entry.is_error || entry.finding == Finding::unexpected ||
                         entry.finding == Finding::suspicious || entry.finding == Finding::options;
      if (!worth) continue;
      remark(text(name, ": ", entry.is_error ? "error: " : "", LoadReport::line_of(entry)));
    }
  }

  /// A line below the table.
  void remark(const std::string& line) { remarks_ += line + "\n"; }

  /// How many norms have an error.
  std::size_t with_errors() const { return with_errors_; }

  std::string lines() const { return lines_of(rows_) + (remarks_.empty() ? "" : "\n" + remarks_); }

 private:
  std::vector<std::vector<std::string>> rows_;
  std::string remarks_;
  std::size_t with_errors_ = 0;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_NORM_TABLE_HPP
