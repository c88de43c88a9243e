// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_RECALIBRATE_MINIBATCHES_HPP
#define BATCHNORM_RECALIBRATE_MINIBATCHES_HPP

#include <algorithm>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/version.hpp"

// What a re-estimation goes through, and how it says how far it is.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// Examples 0 ... examples - 1 in as few minibatches of at most `size` as there can be, whose sizes
/// differ by one at most: none is left over that is too small to have a variance. Thread safety:
/// immutable.
class Minibatches {
 public:
  /// Of so many examples, at most `size` at a time.
  /// @throws std::invalid_argument unless both are positive
  Minibatches(Index examples, Index size) : examples_(examples) {
    if (examples < 1 || size < 1) {
      detail::fail_argument("Minibatches", "examples, and their number in a minibatch",
                            "1 or more of both", detail::text(examples, " and ", size));
    }
    count_ = (examples - 1) / size + 1;
  }

  /// Number of examples.
  Index examples() const { return examples_; }
  /// Number of minibatches.
  Index count() const { return count_; }
  /// The first example of minibatch k; begin(count()) is the number of examples. Errors: none.
  Index begin(Index k) const {
    return k * (examples_ / count_) + (std::min)(k, examples_ % count_);
  }

 private:
  Index examples_;
  Index count_ = 1;
};

/// How far a re-estimation is, over all of its passes.
struct ReestimationProgress {
  Index examples_done;    ///< number of examples, counted again in every pass
  Index examples_in_all;  ///< that number at the end
};

/// What a callback says after each minibatch.
enum class Proceed {
  yes,  ///< go on
  no    ///< stop; no layer is changed then
};

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_RECALIBRATE_MINIBATCHES_HPP
