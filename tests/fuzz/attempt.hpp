// SPDX-License-Identifier: MIT
// What the fuzz targets let the library do with a stranger's bytes: refuse them.
#ifndef BATCHNORM_TESTS_FUZZ_ATTEMPT_HPP
#define BATCHNORM_TESTS_FUZZ_ATTEMPT_HPP

#include <cstdlib>
#include <stdexcept>

namespace batchnorm_fuzz {

/// Calls something that may refuse with one of the library's own errors.
/// @return whether it did not
template <class Call>
bool attempt(const Call& call) {
  try {
    call();
  } catch (const std::runtime_error&) {
    return false;
  } catch (const std::domain_error&) {
    return false;
  } catch (const std::invalid_argument&) {
    return false;
  }
  return true;
}

/// A crash, which libFuzzer reports, where the condition does not hold.
inline void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace batchnorm_fuzz

#endif  // BATCHNORM_TESTS_FUZZ_ATTEMPT_HPP
