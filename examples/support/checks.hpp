// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_CHECKS_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_CHECKS_HPP

#include <cstdio>
#include <string>

namespace example {

/// Every example is a test of its own result: what is not as expected is said, and becomes the exit
/// code.
class Checks {
 public:
  void expect(bool as_expected, const std::string& what) {
    if (as_expected) return;
    std::fflush(stdout);
    std::fprintf(stderr, "check failed: expected %s\n", what.c_str());
    exit_code_ = 1;
  }

  int exit_code() const { return exit_code_; }

 private:
  int exit_code_ = 0;
};

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_CHECKS_HPP
