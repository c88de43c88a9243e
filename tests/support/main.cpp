// SPDX-License-Identifier: MIT
// The main function of every test program, compiled once.

#define CATCH_CONFIG_RUNNER
#include <cstdlib>
#include <string>

#include "batchnorm/kernels/instruction_set.hpp"
#include "support/catch.hpp"

namespace {

/// What all tests are to run with at most.
batchnorm::InstructionSet limit_wanted() {
  const char* const value = std::getenv("BATCHNORM_TEST_INSTRUCTION_SET");
  const std::string name = value == nullptr ? "" : value;
  if (name == "baseline") return batchnorm::InstructionSet::baseline;
  return name == "avx2" ? batchnorm::InstructionSet::avx2 : batchnorm::InstructionSet::best;
}

}  // namespace

int main(int argc, char** argv) {
  batchnorm::limit_instruction_set(limit_wanted());
  return Catch::Session().run(argc, argv);
}
