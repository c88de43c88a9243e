// SPDX-License-Identifier: MIT
// What the programs leave in the folder of results.
#ifndef BATCHNORM_TESTS_BENCHMARKS_FILES_HPP
#define BATCHNORM_TESTS_BENCHMARKS_FILES_HPP

#include <cstdio>
#include <fstream>
#include <string>

#include "benchmarks/json.hpp"

namespace batchnorm_benchmarks {

/// A line for each.
inline std::string text_of(const Facts& facts) {
  std::string text;
  for (const auto& fact : facts) text += fact.first + ": " + fact.second + "\n";
  return text;
}

/// Says so when it cannot be written.
inline void write_file(const std::string& folder, const std::string& name,
                       const std::string& text) {
  std::ofstream file(folder + "/" + name);
  file << text;
  if (!file.flush()) std::printf("cannot write %s/%s\n", folder.c_str(), name.c_str());
}

}  // namespace batchnorm_benchmarks

#endif  // BATCHNORM_TESTS_BENCHMARKS_FILES_HPP
