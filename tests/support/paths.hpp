// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_TESTS_SUPPORT_PATHS_HPP
#define BATCHNORM_TESTS_SUPPORT_PATHS_HPP

#include <cstdlib>
#include <string>

namespace batchnorm_test {

/// The top folder of the source tree.
inline std::string source_dir() {
  return BATCHNORM_TEST_SOURCE_DIR;
}

/// tests/reference: the fixtures that every run has.
inline std::string reference_dir() {
  return source_dir() + "/tests/reference";
}

/// The value of an environment variable, empty when it is not set.
inline std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

/// The folder with conformance files that are not in the tree. Empty when this run has none.
inline std::string conformance_dir() {
  return environment("BATCHNORM_CONFORMANCE_DIR");
}

/// The UCI digits as CSV. Empty when this run has none.
inline std::string digits_csv() {
  return environment("BATCHNORM_DIGITS_CSV");
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_PATHS_HPP
