// SPDX-License-Identifier: MIT
// The units of whole_library.cpp.in in one program: they link, and they agree.

#include <cstdio>

#include "structure/whole_library.hpp"

std::vector<batchnorm_test::UnitReport>& batchnorm_test::unit_reports() {
  static std::vector<UnitReport> reports;
  return reports;
}

int main() {
  const std::vector<batchnorm_test::UnitReport>& reports = batchnorm_test::unit_reports();
  if (reports.size() < 2) {
    std::puts("there are no units to compare");
    return 1;
  }
  for (const batchnorm_test::UnitReport& report : reports) {
    const bool same_layout = report.layout == reports[0].layout;
    const bool same_numbers = report.numbers == reports[0].numbers;
    std::printf("%s: %s, %s\n", report.unit, same_layout ? "same layout" : "OTHER LAYOUT",
                same_numbers ? "same numbers" : "OTHER NUMBERS");
    if (!same_layout || !same_numbers) return 1;
  }
  return 0;
}
