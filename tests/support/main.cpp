// SPDX-License-Identifier: MIT
// The main function of every test program, compiled once.

#define CATCH_CONFIG_RUNNER
#include <cstdlib>
#include <string>

#include "batchnorm/loops/simd_dispatch.hpp"
#include "support/catch.hpp"

namespace {

/// Whether all tests are to run with the instructions that every processor has.
bool baseline_wanted() {
  const char* const value = std::getenv("BATCHNORM_TEST_BASELINE");
  return value != nullptr && std::string(value) == "1";
}

}  // namespace

int main(int argc, char** argv) {
  if (baseline_wanted()) {
    batchnorm::limit_instruction_set(batchnorm::InstructionSet::baseline);
  }
  return Catch::Session().run(argc, argv);
}
