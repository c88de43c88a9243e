// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_TESTS_FLAGS_UNITS_HPP
#define BATCHNORM_TESTS_FLAGS_UNITS_HPP

#include <cstddef>

namespace batchnorm_test {

/// What one translation unit offers to the program. Plain data: what units share must not depend
/// on their flags.
struct Unit {
  static constexpr std::size_t numbers = 24;
  const char* name;
  const char* inline_namespace;
  /// Two steps of training and inference.
  void (*learn)(float (&results)[numbers]);
  /// limit_instruction_set, with the number of an InstructionSet.
  int (*limit)(int);
};

extern const Unit plain, up_to_avx2, baseline_only, avx2;

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_FLAGS_UNITS_HPP
