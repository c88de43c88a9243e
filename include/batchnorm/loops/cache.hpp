// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_CACHE_HPP
#define BATCHNORM_LOOPS_CACHE_HPP

#include <Eigen/Core>
#include <algorithm>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/version.hpp"

// What the loops assume of the caches. It decides in which order work is done and how results are
// stored, never what they are.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

/// Bytes that may be expected to stay in the second-level cache between two looks at them, while as
/// many of the next ones are on their way into it.
inline Index resident_bytes() {
  return static_cast<Index>(Eigen::l2CacheSize()) / 4;
}

/// Bytes of the last-level cache that one thread may count on. What processors report is the sum
/// over the package, of which a group of cores has a part.
inline Index last_level_bytes() {
  return (std::min<Index>)(static_cast<Index>(Eigen::l3CacheSize()), Index{32} << 20);
}

/// Whether memory is worth asking for ahead: more than what second-level caches hold. A constant,
/// because sums are grouped by it, whose bits shall not depend on the processor.
inline constexpr bool is_far(Index bytes) {
  return bytes > Index{1} << 20;
}

/// Whether results are better written past the cache: when inputs and outputs together do not stay
/// in it, nobody will find them there. Measured, copying floats: from three quarters of the
/// last-level cache on, streaming wins; at twice its size it takes two thirds of the time.
inline bool worth_streaming(Index bytes) {
  return bytes > last_level_bytes() / 4 * 3;
}

}  // namespace loops
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_CACHE_HPP
