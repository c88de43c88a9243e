// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_TESTS_BENCHMARKS_ARGUMENTS_HPP
#define BATCHNORM_TESTS_BENCHMARKS_ARGUMENTS_HPP

#include <string>
#include <vector>

namespace batchnorm_benchmarks {

/// What the program is asked to do.
struct Arguments {
  enum class Rows { quick, full, smoke };
  Rows rows = Rows::quick;
  std::string filter;   ///< only rows whose name contains this
  std::string results;  ///< folder for the files below; empty: none
  bool rows_only = false;
  bool help = false;
  std::string wrong;  ///< the first argument that makes no sense
};

constexpr const char* usage =
    "  --full             all rows, not a sample of them\n"
    "  --filter=TEXT      only rows whose name contains the text, of all rows\n"
    "  --results=FOLDER   also write results.json, report.md and chart.svg there\n"
    "  --rows-only        no latencies, no growth, no compile time\n"
    "  --smoke            two rows, hardly measured, to see that everything works\n";

inline Arguments parse(const std::vector<std::string>& given) {
  Arguments arguments;
  const auto value_of = [](const std::string& argument, const std::string& name, std::string& to) {
    if (argument.compare(0, name.size(), name) != 0) return false;
    to = argument.substr(name.size());
    return true;
  };
  for (const std::string& argument : given) {
    if (argument == "--full") {
      arguments.rows = Arguments::Rows::full;
    } else if (argument == "--smoke") {
      arguments.rows = Arguments::Rows::smoke;
      arguments.rows_only = true;
    } else if (argument == "--rows-only") {
      arguments.rows_only = true;
    } else if (argument == "--help") {
      arguments.help = true;
    } else if (value_of(argument, "--filter=", arguments.filter)) {
      arguments.rows = Arguments::Rows::full;
    } else if (!value_of(argument, "--results=", arguments.results)) {
      arguments.wrong = argument;
    }
  }
  return arguments;
}

}  // namespace batchnorm_benchmarks

#endif  // BATCHNORM_TESTS_BENCHMARKS_ARGUMENTS_HPP
