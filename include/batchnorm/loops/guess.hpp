// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_GUESS_HPP
#define BATCHNORM_LOOPS_GUESS_HPP

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/version.hpp"

// What a first guess of a channel's mean is made of: which values are looked at, and how many
// digits of their mean are kept.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

/// Which rows are looked at: evenly spread, each at a place of its own within its share, so that no
/// period of the data (the width of an image) is in step with them. They are a power of two, so
/// that a mean of theirs has few digits where the data has.
class Spots {
 public:
  Spots(Index rows, Index most) : share_(0) {
    while (2 * count_ <= (std::min)(rows, most)) count_ *= 2;
    share_ = rows / count_;
  }
  Index count() const { return count_; }
  Index row(Index spot) const {
    // The golden ratio's fraction of 2^32 scatters the numbers of the spots.
    const auto scattered = static_cast<std::uint32_t>(spot) * std::uint32_t{2654435769u};
    return spot * share_ +
           static_cast<Index>((scattered >> 16) * static_cast<std::uint64_t>(share_) >> 16);
  }

 private:
  Index count_ = 1;
  Index share_;
};

/// Cuts guesses to multiples of about a sixteenth of the deviations, so that the deviations from
/// them have few digits where the data has: the sums of such data are exact then. A guess that is
/// not finite becomes 0: NaN and infinity are for the sums to find.
template <class L, int Lanes>
[[gnu::always_inline]] inline void round_guess(simd::Vector<L, Lanes>& guess,
                                               const simd::Vector<L, Lanes>& deviation) {
  if constexpr (std::is_same<L, float>::value || std::is_same<L, double>::value) {
    using Bits = std::conditional_t<sizeof(L) == 4, std::int32_t, std::int64_t>;
    constexpr Bits exponent = static_cast<Bits>(sizeof(L) == 4 ? 0x7f800000 : 0x7ff0000000000000);
    // Added and taken away, a number with as many digits as L before that place rounds there.
    constexpr L digits = static_cast<L>(sizeof(L) == 4 ? 0x1.8p19 : 0x1.8p48);
    simd::Vector<Bits, Lanes> bits;
    simd::Vector<L, Lanes> shift;
    simd::copy_bits(bits, deviation);
    bits &= exponent;
    simd::copy_bits(shift, bits);  // the largest power of two that is not larger
    shift *= digits;
    guess += shift;
    guess -= shift;
    simd::copy_bits(bits, guess);
    const simd::Vector<Bits, Lanes> none{};
    bits = (bits & exponent) == exponent ? none : bits;
    simd::copy_bits(guess, bits);
  } else {
    if constexpr (std::is_floating_point<L>::value) {
      if (deviation > L(0) && detail::is_finite(deviation)) {
        int exponent = 0;
        std::frexp(deviation, &exponent);
        const L shift = std::ldexp(L(1.5), exponent + std::numeric_limits<L>::digits - 6);
        guess += shift;
        guess -= shift;
      }
    } else {
      static_cast<void>(deviation);
    }
    if (!detail::is_finite(guess)) guess = L(0);
  }
}

}  // namespace loops
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_GUESS_HPP
