// SPDX-License-Identifier: MIT
// How arrays are walked, in few words.
#ifndef BATCHNORM_TESTS_LOOPS_TRAVERSALS_HPP
#define BATCHNORM_TESTS_LOOPS_TRAVERSALS_HPP

#include "batchnorm/loops/traversal.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"

namespace batchnorm_test {

using batchnorm::Index;
using batchnorm::loops::Plan;
using batchnorm::loops::Traversal;

inline Batch zeros(Size samples, Size channels, Size positions) {
  return Batch{samples, channels, positions};
}

inline Traversal traversal_of(const Stored<float>& stored) {
  return Plan<1>(stored.view()).traversal();
}

/// Rows or runs as they are: no columns but the channels.
inline bool walks(const Traversal& traversal, Index outer, Index inner, bool along_rows) {
  return traversal.outer == outer && traversal.inner == inner &&
         traversal.along_rows == along_rows && traversal.repeat == 1 &&
         traversal.columns == traversal.channels && traversal.last_width == traversal.columns &&
         !traversal.cycles();
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_LOOPS_TRAVERSALS_HPP
