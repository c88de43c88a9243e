// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_CHECKPOINT_TABLE_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_CHECKPOINT_TABLE_HPP

#include <batchnorm/io/checkpoint.hpp>
#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

#include "support/planned_fold.hpp"

namespace example {

/// Texts in columns, each as wide as its longest text.
using Table = std::vector<std::vector<std::string>>;

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
  std::vector<std::vector<std::string>> destinations;
  for (const FoundBatchNorm& norm : norms) {
    destinations.push_back({printable(destination_of(plan, norm))});
  }
  batchnorm::detail::NormTable table({"folds into"});
  batchnorm::detail::fill_table(table, tensors, norms, destinations);
  for (const NormAndText& left : plan.left) {
    table.remark(printable(left.norm) + ": not to be folded: " + printable(left.text));
  }
  for (const NormAndText& doubt : plan.doubts) {
    table.remark(printable(doubt.norm) + ": look at this fold: " + printable(doubt.text));
  }
  std::fputs(table.lines().c_str(), stdout);
  return table.with_errors();
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
  return {{"folded", "largest gain", "gamma 0, < 0", "subnormal", "vanished", "bound (ulp)",
           "probes (ulp)"}};
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_CHECKPOINT_TABLE_HPP
