// SPDX-License-Identifier: MIT
// Runs a check at every width that vectors have on this processor, compiled for its instructions.
#ifndef BATCHNORM_TESTS_LOOPS_VECTOR_WIDTHS_HPP
#define BATCHNORM_TESTS_LOOPS_VECTOR_WIDTHS_HPP

#include <cstring>
#include <vector>

#include "batchnorm/loops/simd.hpp"
#include "batchnorm/loops/simd_dispatch.hpp"

namespace batchnorm_test {

/// The numbers in a vector.
template <class C, int Lanes>
std::vector<C> lanes_of_vector(const batchnorm::simd::Vector<C, Lanes>& vector) {
  std::vector<C> lanes(static_cast<std::size_t>(Lanes));
  std::memcpy(lanes.data(), &vector, sizeof vector);
  return lanes;
}

template <class Check, class C>
struct AtWidth {
  template <int Bytes>
  [[gnu::always_inline]] void run() const {
    Check::template run<C, batchnorm::simd::lanes_of<C, Bytes>>();
  }
};

/// Calls Check::run<C, Lanes>(), which has to be always_inline, with as many lanes of C as vectors
/// have, and with one.
template <class Check, class C>
void at_every_width() {
  Check::template run<C, 1>();
  batchnorm::simd::dispatch(batchnorm::InstructionSet::baseline, AtWidth<Check, C>());
  batchnorm::simd::dispatch(batchnorm::InstructionSet::avx2, AtWidth<Check, C>());
  batchnorm::simd::dispatch(batchnorm::InstructionSet::best, AtWidth<Check, C>());
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_LOOPS_VECTOR_WIDTHS_HPP
