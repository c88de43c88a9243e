// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_LOAD_REPORT_HPP
#define BATCHNORM_IO_LOAD_REPORT_HPP

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// What there is to say about one tensor of a layer, or about the layer.
enum class Finding {
  used,          ///< the tensor was read
  missing,       ///< a tensor is not there; an error, or what was taken instead
  unexpected,    ///< a tensor stands beside those of the layer and was not read
  wrong_shape,   ///< always an error
  wrong_number,  ///< always an error: no numbers, or a count below zero
  converted,     ///< the numbers in the file are of another type than those asked for
  suspicious,    ///< numbers that training rarely gives; an error where no training can give them
  options        ///< where epsilon and update rule come from
};

/// What was found while a layer was loaded, in the order in which it was looked at. Errors: none.
/// Thread safety: a plain value.
struct LoadReport {
  /// One thing that was found.
  struct Entry {
    Finding finding;     ///< its kind
    bool is_error;       ///< whether load_state refuses the layer for it
    std::string tensor;  ///< its name in the file; empty when the entry is about the layer
    std::string text;    ///< what it is, for a person
  };

  std::string layer;           ///< the prefix of the layer
  std::string file;            ///< the name of the collection that was looked into
  std::vector<Entry> entries;  ///< errors are here only in reports of examine_batch_norm

  /// The entries of one kind of finding.
  std::vector<Entry> of(Finding finding) const {
    std::vector<Entry> chosen;
    for (const Entry& entry : entries) {
      if (entry.finding == finding) chosen.push_back(entry);
    }
    return chosen;
  }

  /// Whether there is an entry of that finding.
  bool has(Finding finding) const { return !of(finding).empty(); }

  /// The number of entries that are errors.
  std::size_t errors() const {
    std::size_t count = 0;
    for (const Entry& entry : entries) count += entry.is_error ? 1 : 0;
    return count;
  }

  /// Entries that a person should look at: unexpected and suspicious ones, and errors.
  std::vector<Entry> warnings() const {
    std::vector<Entry> chosen;
    for (const Entry& entry : entries) {
      if (entry.is_error || entry.finding == Finding::unexpected ||
          entry.finding == Finding::suspicious) {
        chosen.push_back(entry);
      }
    }
    return chosen;
  }

  /// The report as lines for a person. Names from the file are made safe to print.
  std::string text() const {
    std::string lines =
        detail::text("layer ", detail::in_quotes(layer), " of ", detail::in_quotes(file), "\n");
    for (const Entry& entry : entries) {
      std::string kind = entry.is_error ? "error" : name_of(entry.finding);
      kind.resize(12, ' ');
      lines += "  " + kind + line_of(entry) + "\n";
    }
    return lines;
  }

  /// An entry without its kind: the tensor, when it is about one, and the text.
  static std::string line_of(const Entry& entry) {
    return entry.tensor.empty()
               ? entry.text
               : detail::text("tensor ", detail::in_quotes(entry.tensor), ": ", entry.text);
  }

  /// A finding in words.
  static const char* name_of(Finding finding) {
    switch (finding) {
      case Finding::used:
        return "used";
      case Finding::missing:
        return "missing";
      case Finding::unexpected:
        return "unexpected";
      case Finding::wrong_shape:
        return "wrong shape";
      case Finding::wrong_number:
        return "wrong number";
      case Finding::converted:
        return "converted";
      case Finding::suspicious:
        return "suspicious";
      case Finding::options:
        break;
    }
    return "options";
  }
};

namespace detail {

inline void note(LoadReport& report, Finding finding, const std::string& tensor, std::string text) {
  report.entries.push_back({finding, false, tensor, std::move(text)});
}

/// An error has the form of all messages of the library.
inline void refuse(LoadReport& report, Finding finding, const std::string& tensor,
                   const std::string& rule, const std::string& expected, const std::string& got) {
  report.entries.push_back(
      {finding, true, tensor, text(rule, ": expected ", expected, ", got ", got)});
}

/// Raises what the report calls an error, all of it in one text; returns when there is none.
/// Numbers that no data can have are domain errors, everything else is the file's fault.
inline void raise_errors(const char* function, const LoadReport& report) {
  std::string errors;
  bool is_domain = true;
  for (const LoadReport::Entry& entry : report.entries) {
    if (!entry.is_error) continue;
    is_domain = is_domain && entry.finding == Finding::suspicious;
    errors += (errors.empty() ? "" : "; ") + LoadReport::line_of(entry);
  }
  if (errors.empty()) return;
  const std::string message = beginning(FileContext{function, report.file}) + errors;
  if (is_domain) raise_domain_error(message);
  raise_runtime_error(message);
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_LOAD_REPORT_HPP
