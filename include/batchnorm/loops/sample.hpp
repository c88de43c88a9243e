// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_SAMPLE_HPP
#define BATCHNORM_LOOPS_SAMPLE_HPP

#include <algorithm>
#include <array>
#include <cstddef>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/execution.hpp"
#include "batchnorm/loops/guess.hpp"
#include "batchnorm/loops/partition.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/loops/simd_dispatch.hpp"
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
  static constexpr Index most_rows = 64;

  /// Of every column or channel, a first value, and of the others about it the sum and that of
  /// their sizes.
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

  [[gnu::always_inline]] const T* locate(Index column, Index row) const {
    const Index outer = traversal_.outer == 1 ? 0 : row / traversal_.inner;
    return plan_.template locate<0>(data_, column, outer, row - outer * traversal_.inner)[0];
  }

  /// One vector at each spot, about a first value: of a mean that is large beside the deviations,
  /// float could not hold a sum.
  template <int Lanes, bool Contiguous>
  [[gnu::always_inline]] void runs() const {
    const Index room = (std::min<Index>)(Lanes, traversal_.inner);
    const Index rows = traversal_.rows();
    const Spots spots(rows, (std::min)((std::max)(rows / (16 * room), fewest_spots), most_spots));
    Index offsets[most_spots];
    for (Index spot = 0; spot < spots.count(); ++spot) {
      const Index row = spots.row(spot);
      const Index past_end = row % traversal_.inner + room - traversal_.inner;
      offsets[spot] = locate(first_, row - (std::max<Index>)(0, past_end)) - data_[0];
    }
    const L count = detail::from_index<L>(room * spots.count());
    const L size_count = detail::from_index<L>(room * (std::min)(spots.count(), spots_for_size));
    const T* at = data_[0];
    Guess guess;
    for (Index first = first_; first < last_; first += most_columns) {
      const Index channels = (std::min)(most_columns, last_ - first);
      for (Index c = 0; c < channels; ++c) {
        sample_run<Lanes, Contiguous>(at, offsets, spots.count(), room, c, guess);
        at += plan_.layouts()[0].column_stride;
      }
      finish_all<Lanes>(guesses_ + first, guess, channels, count, size_count);
    }
  }

  /// All spots of one channel.
  template <int Lanes, bool Contiguous>
  [[gnu::always_inline]] void sample_run(const T* at, const Index* offsets, Index spots, Index room,
                                         Index c, Guess& guess) const {
    const Index step = plan_.layouts()[0].inner_stride;
    const L start = detail::convert<L>(at[offsets[0]]);
    simd::Vector<L, Lanes> about{}, sum{0}, size{0};
    simd::broadcast<L, Lanes>(about, start);
    for (Index spot = 0; spot < spots; ++spot) {
      simd::Vector<L, Lanes> x = about;
      if (room == Lanes) {
        simd::load<L, Lanes, Contiguous>(x, at + offsets[spot], step);
      } else {
        simd::load_some<L, Lanes>(x, at + offsets[spot], step, room);
      }
      sum += x - about;
      if (spot < spots_for_size) add_size(size, x, about);
    }
    guess.start[c] = start;
    guess.sum[c] = simd::sum_of_lanes<L, Lanes>(sum);
    guess.size[c] = simd::sum_of_lanes<L, Lanes>(size);
  }

  template <int Lanes, bool Contiguous>
  [[gnu::always_inline]] void rows() const {
    const Index repeat = traversal_.repeat;
    const Index block = (std::max<Index>)(1, most_columns / repeat);
    // The last row may be shorter than the others.
    const Index rows = traversal_.rows() - (traversal_.last_width < traversal_.columns ? 1 : 0);
    const Index per_channel = traversal_.columns / traversal_.channels;
    const Spots spots(rows, (std::max)((std::min)(rows / 16, most_rows), fewest_rows) /
                                (std::min<Index>)(per_channel, 8));
    Index offsets[most_rows];
    for (Index spot = 0; spot < spots.count(); ++spot) {
      offsets[spot] = locate(0, spots.row(spot)) - data_[0];
    }
    const Index last = traversal_.cycles() ? first_ + 1 : last_;
    for (Index channel = first_; channel < last; channel += block) {
      const Index end =
          traversal_.cycles() ? traversal_.columns : (std::min)(last_, channel + block) * repeat;
      const Index begin = traversal_.cycles() ? 0 : channel * repeat;
      sample_columns<Lanes, Contiguous>(begin, end - begin, offsets, spots.count());
    }
  }

  template <int Lanes, bool Contiguous>
  [[gnu::always_inline]] void sample_columns(Index first, Index columns, const Index* offsets,
                                             Index spots) const {
    Guess guess;
    const Index step = plan_.layouts()[0].column_stride;
    const T* const at = data_[0] + first * step;
    Index c = 0;
    for (; c + 4 * Lanes <= columns; c += 4 * Lanes) {
      sample_vectors<4, Lanes, Contiguous>(at + c * step, offsets, spots, c, guess);
    }
    for (; c + Lanes <= columns; c += Lanes) {
      sample_vectors<1, Lanes, Contiguous>(at + c * step, offsets, spots, c, guess);
    }
    for (; c < columns; ++c) {
      sample_vectors<1, 1, Contiguous>(at + c * step, offsets, spots, c, guess);
    }
    const L count = detail::from_index<L>(spots);
    if (traversal_.columns > traversal_.channels) {
      join_columns(first, columns, count, guess);
      return;
    }
    finish_all<Lanes>(guesses_ + first, guess, columns, count, L(spots_for_size));
  }

  /// All spots of some vectors of columns, so many that additions do not wait for one another.
  template <int Vectors, int Lanes, bool Contiguous>
  [[gnu::always_inline]] void sample_vectors(const T* at, const Index* offsets, Index spots,
                                             Index column, Guess& guess) const {
    using V = simd::Vector<L, Lanes>;
    const Index step = plan_.layouts()[0].column_stride;
    V start[Vectors], sum[Vectors], size[Vectors], x;
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      simd::load<L, Lanes, Contiguous>(start[v], at + offsets[0] + v * Lanes * step, step);
      sum[v] = size[v] = V{0};
    }
    for (Index spot = 1; spot < spots; ++spot) {
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) {
        simd::load<L, Lanes, Contiguous>(x, at + offsets[spot] + v * Lanes * step, step);
        sum[v] += x - start[v];
        if (spot < spots_for_size) add_size(size[v], x, start[v]);
      }
    }
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      simd::store<L, Lanes, true>(guess.start + column + v * Lanes, 1, start[v]);
      simd::store<L, Lanes, true>(guess.sum + column + v * Lanes, 1, sum[v]);
      simd::store<L, Lanes, true>(guess.size + column + v * Lanes, 1, size[v]);
    }
  }

  /// The means of as many values each, and their deviations.
  template <int Lanes>
  [[gnu::always_inline]] static void finish_all(L* to, const Guess& guess, Index channels,
                                                const L& count, const L& size_count) {
    Index c = 0;
    for (; c + Lanes <= channels; c += Lanes) finish<Lanes>(to, guess, c, count, size_count);
    for (; c < channels; ++c) finish<1>(to, guess, c, count, size_count);
  }
  template <int Lanes>
  [[gnu::always_inline]] static void finish(L* to, const Guess& guess, Index c, const L& count,
                                            const L& size_count) {
    simd::Vector<L, Lanes> mean, sum, size;
    simd::load<L, Lanes, true>(mean, guess.start + c, 1);
    simd::load<L, Lanes, true>(sum, guess.sum + c, 1);
    simd::load<L, Lanes, true>(size, guess.size + c, 1);
    mean += sum / count;
    round_guess<L, Lanes>(mean, size / size_count);
    simd::store<L, Lanes, true>(to + c, 1, mean);
  }

  /// The mean of a channel's columns.
  void join_columns(Index first, Index columns, const L& count, const Guess& guess) const {
    const Index repeat = traversal_.repeat;
    const Index period = traversal_.cycles() ? traversal_.channels * repeat : columns;
    const L joined = detail::from_index<L>(columns / period * repeat);
    for (Index begin = 0; begin < period; begin += repeat) {
      const L start = guess.start[begin];
      L sum(0);
      L size(0);
      for (Index from = begin; from < columns; from += period) {
        for (Index c = from; c < from + repeat; ++c) {
          sum += (guess.start[c] - start) * count + guess.sum[c];
          add_size(size, guess.start[c], start);
          size += guess.size[c];
        }
      }
      set((first + begin) / repeat, start + sum / (count * joined),
          size / (joined * L(spots_for_size)));
    }
  }

  void set(Index channel, L guess, const L& deviation) const {
    round_guess<L, 1>(guess, deviation);
    guesses_[channel] = guess;
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
  simd::dispatch<simd::avx2_bytes>(instruction_set,
                                   Sampler<L, T>(plan, data, first, last, guesses));
}

}  // namespace loops
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_SAMPLE_HPP
