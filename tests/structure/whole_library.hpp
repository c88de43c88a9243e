// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_TESTS_STRUCTURE_WHOLE_LIBRARY_HPP
#define BATCHNORM_TESTS_STRUCTURE_WHOLE_LIBRARY_HPP

#include <cstddef>
#include <vector>

namespace batchnorm_test {

/// What one translation unit makes of the library: how large it thinks its types are, and the
/// numbers that it computes.
struct UnitReport {
  const char* unit;
  std::vector<std::size_t> layout;
  std::vector<double> numbers;
};

std::vector<UnitReport>& unit_reports();

/// Adds a report when the program starts.
struct AddReport {
  explicit AddReport(const UnitReport& report) { unit_reports().push_back(report); }
};

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_STRUCTURE_WHOLE_LIBRARY_HPP
