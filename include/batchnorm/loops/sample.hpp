// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_SAMPLE_HPP
#define BATCHNORM_LOOPS_SAMPLE_HPP

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/execution.hpp"
#include "batchnorm/loops/partition.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/loops/simd_memory.hpp"
#include "batchnorm/loops/traversal.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"

// A first guess of every channel's mean, from a few values here and there: the pivot about which
// loop 1 sums. A guess within half a deviation of the mean costs no accuracy; Reduction::settle
// sees to the others.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

/// Which rows are looked at: evenly spread, each at a place of its own within its share, so that no
/// period of the data (the width of an image) is in step with them.
class Spots {
 public:
  Spots(Index rows, Index most) : count_((std::min)(rows, most)), share_(rows / count_) {}
  Index count() const { return count_; }
  Index row(Index spot) const {
    // The golden ratio's fraction of 2^32 scatters the numbers of the spots.
    const auto scattered = static_cast<std::uint32_t>(spot) * std::uint32_t{2654435769u};
    return spot * share_ +
           static_cast<Index>((scattered >> 16) * static_cast<std::uint64_t>(share_) >> 16);
  }

 private:
  Index count_;
  Index share_;
};

/// The largest power of two that is not larger than a positive number.
template <class L>
L power_of_two_below(const L& value) {
  if constexpr (std::is_same<L, float>::value || std::is_same<L, double>::value) {
    using Bits = std::conditional_t<sizeof(L) == 4, std::uint32_t, std::uint64_t>;
    constexpr Bits exponent = static_cast<Bits>(sizeof(L) == 4 ? 0x7f800000u : 0x7ff0000000000000u);
    Bits bits;
    simd::copy_bits(bits, value);
    bits &= exponent;
    L power;
    simd::copy_bits(power, bits);
    return power;
  } else {
    int exponent = 0;
    std::frexp(value, &exponent);
    return std::ldexp(L(1), exponent - 1);
  }
}

/// A guess cut to multiples of a sixteenth of the deviations, so that the deviations from it have
/// few digits where the data has: the sums of such data are exact then.
template <class L>
L rounded_guess(const L& guess, const L& deviation) {
  if constexpr (std::is_floating_point<L>::value) {
    if (!(deviation > L(0)) || !detail::is_finite(deviation)) return guess;
    const L power = power_of_two_below(deviation);
    const L multiple = guess * (L(16) / power);
    constexpr L most = L(std::int64_t{1} << 40);
    if (!(multiple < most && multiple > -most)) return guess;
    return static_cast<L>(static_cast<std::int64_t>(multiple)) * (power / L(16));
  } else {
    static_cast<void>(deviation);
    return guess;
  }
}

/// Guesses the means of the channels [first, last) of a view. The guess of channel c goes to
/// guesses[c].
template <class L, class T>
class Sampler {
 public:
  Sampler(const Plan<1>& plan, const T* data, Index first, Index last, L* guesses)
      : plan_(plan),
        traversal_(plan.traversal()),
        data_({data}),
        first_(first),
        last_(last),
        guesses_(guesses) {}

  template <int Bytes>
  [[gnu::always_inline]] void run() const {
    constexpr int lanes = simd::lanes_of<L, Bytes>;
    const bool contiguous = plan_.contiguous();
    if (traversal_.along_rows) {
      contiguous ? rows<lanes, true>() : rows<1, false>();
    } else {
      contiguous ? runs<lanes, true>() : runs<1, false>();
    }
  }

 private:
  static constexpr Index fewest_spots = 4;
  static constexpr Index most_spots = 16;
  static constexpr Index fewest_rows = 32;
  static constexpr Index most_rows = 128;

  [[gnu::always_inline]] const T* locate(Index column, Index row) const {
    const Index outer = traversal_.outer == 1 ? 0 : row / traversal_.inner;
    return plan_.template locate<0>(data_, column, outer, row - outer * traversal_.inner)[0];
  }

  /// One vector at each spot, about a first value: of a mean that is large beside the deviations,
  /// float could not hold a sum.
  template <int Lanes, bool Contiguous>
  [[gnu::always_inline]] void runs() const {
    const Index step = plan_.layouts()[0].inner_stride;
    const Index room = (std::min<Index>)(Lanes, traversal_.inner);
    const Index rows = traversal_.rows();
    const Spots spots(rows, (std::min)((std::max)(rows / (16 * room), fewest_spots), most_spots));
    Index offsets[most_spots];
    for (Index spot = 0; spot < spots.count(); ++spot) {
      const Index row = spots.row(spot);
      const Index past_end = row % traversal_.inner + room - traversal_.inner;
      offsets[spot] = locate(first_, row - (std::max<Index>)(0, past_end)) - data_[0];
    }
    const T* at = data_[0];
    for (Index channel = first_; channel < last_; ++channel) {
      const L start = detail::convert<L>(at[offsets[0]]);
      simd::Vector<L, Lanes> about{}, sum{0}, size{0};
      simd::broadcast<L, Lanes>(about, start);
      for (Index spot = 0; spot < spots.count(); ++spot) {
        simd::Vector<L, Lanes> x = about;
        if (room == Lanes) {
          simd::load<L, Lanes, Contiguous>(x, at + offsets[spot], step);
        } else {
          simd::load_some<L, Lanes>(x, at + offsets[spot], step, room);
        }
        sum += x - about;
        if (spot < spots_for_size) add_size(size, x, about);
      }
      const L count = detail::from_index<L>(room * spots.count());
      set(channel, start + simd::sum_of_lanes<L, Lanes>(sum) / count,
          simd::sum_of_lanes<L, Lanes>(size) /
              detail::from_index<L>(room * (std::min)(spots.count(), spots_for_size)));
      at += plan_.layouts()[0].column_stride;
    }
  }

  template <int Lanes, bool Contiguous>
  [[gnu::always_inline]] void rows() const {
    const Index repeat = traversal_.repeat;
    const Index block = (std::max<Index>)(1, most_columns / repeat);
    const Index last = traversal_.cycles() ? first_ + 1 : last_;
    for (Index channel = first_; channel < last; channel += block) {
      const Index end =
          traversal_.cycles() ? traversal_.columns : (std::min)(last_, channel + block) * repeat;
      const Index begin = traversal_.cycles() ? 0 : channel * repeat;
      sample_columns<Lanes, Contiguous>(begin, end - begin);
    }
  }

  template <int Lanes, bool Contiguous>
  [[gnu::always_inline]] void sample_columns(Index first, Index columns) const {
    // The last row may be shorter than the others.
    const Index rows = traversal_.rows() - (traversal_.last_width < traversal_.columns ? 1 : 0);
    const Index per_channel = traversal_.columns / traversal_.channels;
    const Spots spots(rows, (std::max)((std::min)(rows / 8, most_rows), fewest_rows) /
                                (std::min<Index>)(per_channel, 8));
    Guess guess;
    const T* const start = locate(first, spots.row(0));
    const Index step = plan_.layouts()[0].column_stride;
    for (Index c = 0; c < columns; ++c) {
      guess.start[c] = detail::convert<L>(start[c * step]);
      guess.sum[c] = guess.size[c] = L(0);
    }
    for (Index spot = 1; spot < spots.count(); ++spot) {
      const T* const at = locate(first, spots.row(spot));
      Index c = 0;
      const bool sized = spot < spots_for_size;
      for (; c + Lanes <= columns; c += Lanes) {
        add_vector<Lanes, Contiguous>(at + c * step, step, guess, c, sized);
      }
      for (; c < columns; ++c) add_vector<1, Contiguous>(at + c * step, step, guess, c, sized);
    }
    join_columns(first, columns, spots.count(), guess);
  }

  /// Of every column, a first value, and of the others about it the sum and that of their sizes.
  struct Guess {
    L start[most_columns];
    L sum[most_columns];
    L size[most_columns];
  };

  /// How large deviations are, a few values tell.
  static constexpr Index spots_for_size = 4;

  template <class V>
  [[gnu::always_inline]] static void add_size(V& size, const V& x, const V& about) {
    V deviation = x - about;
    simd::replace_negative(deviation, V(-deviation));
    size += deviation;
  }

  template <int Lanes, bool Contiguous>
  [[gnu::always_inline]] static void add_vector(const T* at, Index step, Guess& guess, Index c,
                                                bool sized) {
    simd::Vector<L, Lanes> x, start, sum;
    simd::load<L, Lanes, Contiguous>(x, at, step);
    simd::load<L, Lanes, true>(start, guess.start + c, 1);
    simd::load<L, Lanes, true>(sum, guess.sum + c, 1);
    sum += x - start;
    simd::store<L, Lanes, true>(guess.sum + c, 1, sum);
    if (!sized) return;
    simd::Vector<L, Lanes> size;
    simd::load<L, Lanes, true>(size, guess.size + c, 1);
    add_size(size, x, start);
    simd::store<L, Lanes, true>(guess.size + c, 1, size);
  }

  /// The mean of a channel's columns.
  void join_columns(Index first, Index columns, Index spots, const Guess& guess) const {
    const Index repeat = traversal_.repeat;
    const Index period = traversal_.cycles() ? traversal_.channels * repeat : columns;
    const Index joined = columns / period * repeat;
    const L count = detail::from_index<L>(spots);
    const L share = L(1) / (count * detail::from_index<L>(joined));
    const L size_share = L(1) / detail::from_index<L>(joined * spots_for_size);
    for (Index begin = 0; begin < period; begin += repeat) {
      const L start = guess.start[begin];
      L sum = guess.sum[begin];
      L size = guess.size[begin];
      if (joined > 1) {
        sum = size = L(0);
        for (Index from = begin; from < columns; from += period) {
          for (Index c = from; c < from + repeat; ++c) {
            sum += (guess.start[c] - start) * count + guess.sum[c];
            size += guess.size[c];
          }
        }
      }
      set((first + begin) / repeat, start + sum * share, size * size_share);
    }
  }

  /// NaN and infinity are for the sums to find.
  void set(Index channel, const L& guess, const L& deviation) const {
    guesses_[channel] = detail::is_finite(guess) ? rounded_guess(guess, deviation) : L(0);
  }

  const Plan<1>& plan_;
  const Traversal& traversal_;
  std::array<const T*, 1> data_;
  Index first_;
  Index last_;
  L* guesses_;
};
/// Guesses the mean of the channels [first, last) of a view that is not empty.
template <class L, class T>
void sample_means(InstructionSet instruction_set, const Plan<1>& plan, const T* data, Index first,
                  Index last, L* guesses) {
  simd::dispatch(instruction_set, Sampler<L, T>(plan, data, first, last, guesses));
}

}  // namespace loops
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_SAMPLE_HPP
