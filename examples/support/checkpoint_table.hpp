// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_CHECKPOINT_TABLE_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_CHECKPOINT_TABLE_HPP

#include <algorithm>
#include <batchnorm/io/checkpoint.hpp>
#include <cstddef>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "support/planned_fold.hpp"

namespace example {

/// Texts in columns, each as wide as its longest text.
class Table {
 public:
  explicit Table(std::vector<std::string> titles) { add(std::move(titles)); }

  void add(std::vector<std::string> row) {
    widths_.resize(row.size(), 0);
    for (std::size_t i = 0; i < row.size(); ++i) widths_[i] = std::max(widths_[i], row[i].size());
    rows_.push_back(std::move(row));
  }

  void print() const {
    for (const std::vector<std::string>& row : rows_) {
      std::string line;
      for (std::size_t i = 0; i < row.size(); ++i) {
        line += row[i];
        if (i + 1 < row.size()) line.append(widths_[i] - row[i].size() + 2, ' ');
      }
      std::printf("%s\n", line.c_str());
    }
  }

 private:
  std::vector<std::vector<std::string>> rows_;
  std::vector<std::size_t> widths_;
};

/// A name from a file, made safe to print: a file may hold what moves a terminal's cursor.
inline std::string printable(std::string name) {
  for (char& letter : name) {
    const unsigned char byte = static_cast<unsigned char>(letter);
    if (byte < 0x20 || byte == 0x7f) letter = '?';
  }
  return name.empty() ? "(top)" : name;
}

inline std::string short_number(double value) {
  char digits[32];
  std::snprintf(digits, sizeof digits, "%.3g", value);
  return digits;
}

/// "-1.2 to 3" of a tensor; "-" where there is none or it holds no numbers.
inline std::string range_of(const Tensors& tensors, const std::string& key) {
  if (key.empty()) return "-";
  const std::string& dtype = tensors.dtype(key);
  if (!batchnorm::detail::is_real_dtype(dtype) || tensors.tensor(key).size == 0) return "-";
  const std::vector<double> values = tensors.values<double>(key);
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  return short_number(*least) + " to " + short_number(*most);
}

inline std::string parts_of(const FoundBatchNorm& norm) {
  std::string parts = norm.has(batchnorm::Role::gamma) ? "gamma" : "";
  if (norm.has(batchnorm::Role::beta)) parts += parts.empty() ? "beta" : ", beta";
  return parts.empty() ? "-" : parts;
}

/// What becomes of a batch norm: "into conv1", or "-".
inline std::string destination_of(const FoldPlan& plan, const FoundBatchNorm& norm) {
  for (const PlannedFold& fold : plan.folds) {
    for (const FoundBatchNorm& part : fold.norms()) {
      if (name_of(part) == name_of(norm)) return fold.layer.name() + " (" + fold.reason + ")";
    }
  }
  return "-";
}

/// All batch norms, one line each, and below what looks wrong.
/// @return how many of them have an error
inline std::size_t print_batch_norms(const Tensors& tensors,
                                     const std::vector<FoundBatchNorm>& norms,
                                     const FoldPlan& plan) {
  Table table(
      {"batch norm", "names", "channels", "type", "mean", "variance", "parameters", "folds into"});
  std::vector<std::string> warnings;
  std::size_t wrong = 0;
  for (const FoundBatchNorm& norm : norms) {
    const batchnorm::LoadReport report = batchnorm::examine_batch_norm(tensors, norm);
    if (report.errors() > 0) ++wrong;
    for (const auto& entry : report.warnings()) {
      warnings.push_back(printable(name_of(norm)) + ": " + (entry.is_error ? "error: " : "") +
                         batchnorm::LoadReport::line_of(entry));
    }
    table.add({printable(name_of(norm)), norm.naming.system(), std::to_string(norm.channels),
               norm.dtype, range_of(tensors, norm.key(batchnorm::Role::mean)),
               range_of(tensors, norm.key(batchnorm::Role::variance)), parts_of(norm),
               printable(destination_of(plan, norm))});
  }
  table.print();
  for (const NormAndText& left : plan.left) {
    warnings.push_back(printable(left.norm) + ": not to be folded: " + printable(left.text));
  }
  for (const NormAndText& doubt : plan.doubts) {
    warnings.push_back(printable(doubt.norm) + ": look at this fold: " + printable(doubt.text));
  }
  if (!warnings.empty()) std::printf("\n");
  for (const std::string& line : warnings) std::printf("%s\n", line.c_str());
  return wrong;
}

/// One line of the certificates.
inline std::vector<std::string> certificate_row(const PlannedFold& fold,
                                                const batchnorm::FoldCertificate& certificate,
                                                double probed) {
  return {printable(fold.text()),
          short_number(certificate.largest_gain),
          std::to_string(certificate.zero_gamma.size()) + ", " +
              std::to_string(certificate.negative_gamma.size()),
          std::to_string(certificate.subnormal_weights + certificate.subnormal_biases),
          std::to_string(certificate.vanished_weights),
          short_number(certificate.bound_within_ulps),
          short_number(probed)};
}

/// How to read the line of a fold that has lost numbers: what matters, and what does not.
inline void print_reading(const PlannedFold& fold, const batchnorm::FoldCertificate& certificate) {
  const std::string name = printable(fold.text());
  const Index small = certificate.vanished_weights + certificate.subnormal_weights;
  if (small == 0 && certificate.bound_within_ulps < 1.0) return;
  std::printf(
      "%s: what matters: for inputs up to %s in magnitude no output changes by more than "
      "%s ulp\n",
      name.c_str(), short_number(certificate.largest_input).c_str(),
      short_number(certificate.bound_within_ulps).c_str());
  if (small == 0) return;
  const bool harmless = certificate.bound_within_ulps < 1.0;
  std::printf(
      "%s: %s: %s weights are 0 now or below the smallest normal number (with larger "
      "inputs, up to %s ulp)\n",
      name.c_str(), harmless ? "may be ignored" : "where it comes from",
      std::to_string(small).c_str(), short_number(certificate.bound_ulps).c_str());
}

inline Table certificate_table() {
  return Table({"folded", "largest gain", "gamma 0, < 0", "subnormal", "vanished", "bound (ulp)",
                "probes (ulp)"});
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_CHECKPOINT_TABLE_HPP
