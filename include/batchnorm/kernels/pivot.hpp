// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_PIVOT_HPP
#define BATCHNORM_KERNELS_PIVOT_HPP

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/coefficients.hpp"
#include "batchnorm/kernels/map.hpp"
#include "batchnorm/kernels/pack.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/version.hpp"

// Pivots: a rough mean of every channel, from a few values, about which the values are summed
// (shifted data: Chan, Golub and LeVeque 1983, eq. 1.7). A pivot within half a deviation of the
// mean costs no accuracy; the reduction notices worse ones and retries.
// Longer than most: rows, runs and lists are sampled at the same places and joined in the same way.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Which rows are sampled: some arithmetic progressions of up to eight, evenly spread over all rows
/// and with odd steps, so that no period of the data (the width of an image) is in step with them.
/// As many as a power of two, so that their mean is exact where the data has few digits.
class SampledRows {
 public:
  SampledRows(Index rows, Index most) {
    Index count = 1;
    while (2 * count <= (std::min)(rows, most)) count *= 2;
    length_ = (std::min<Index>)(8, count);
    progressions_ = count / length_;
    step_ = rows / length_;
    if (step_ > 2 * progressions_) step_ -= step_ % 2 == 0 ? 1 : 2;
  }
  Index count() const { return progressions_ * length_; }
  Index progressions() const { return progressions_; }
  Index length() const { return length_; }
  Index step() const { return step_; }
  /// The first row of a progression.
  Index first(Index progression) const { return progression * step_ / progressions_; }
  Index row(Index sample) const { return first(sample / length_) + sample % length_ * step_; }

 private:
  Index progressions_ = 1;
  Index length_ = 1;
  Index step_ = 1;
};

/// Rounds a pivot to a multiple of about a sixteenth of the deviation, so that differences to it
/// have few digits where the data has: their sums are exact then. A pivot that is not finite
/// becomes 0: NaN and infinity are for the sums to find.
///
/// @param square  mean square of the deviations from some value near the pivot
template <class C>
[[gnu::always_inline]] inline void round_pivot(C& pivot, const accumulator_t<C>& square) {
  if constexpr (std::is_same<accumulator_t<C>, double>::value) {
    // 2^floor(log2(square) / 2), from the bits of the exponent: that of infinity and NaN is 2047.
    std::uint64_t bits = 0;
    std::memcpy(&bits, &square, sizeof bits);
    const std::uint64_t exponent = bits >> 52;
    if (square > 0.0 && exponent < 2047) {
      const std::uint64_t scale_bits = ((exponent + 1023) / 2) << 52;
      double scale = 0.0;
      std::memcpy(&scale, &scale_bits, sizeof scale);
      // Added and taken away, a number with as many digits as C before that place rounds there.
      const C shift = convert<C>(scale * (sizeof(C) == 4 ? 0x1.8p19 : 0x1.8p48));
      const volatile C sum = pivot + shift;
      pivot = sum - shift;
    }
  } else if constexpr (std::is_floating_point<C>::value) {
    if (square > C(0) && is_finite(square)) {
      int exponent = 0;
      std::frexp(std::sqrt(square), &exponent);
      const C shift = std::ldexp(C(1.5), exponent + std::numeric_limits<C>::digits - 6);
      const volatile C sum = pivot + shift;
      pivot = sum - shift;
    }
  } else {
    static_cast<void>(square);
  }
  if (!is_finite(pivot)) pivot = C(0);
}

/// Samples the channels of one input with the kernel that sums x - k and (x - k)^2.
template <class T>
class PivotSampler {
  using C = parameter_t<T>;
  using A = accumulator_t<T>;

 public:
  PivotSampler(const KernelTable<T>& moment_sums, const Plan& plan, const Operands<T>& data)
      : kernels_(moment_sums), plan_(plan), shape_(plan.traversal()), data_(data) {}

  /// The pivot of channel c goes to pivots[c], for c in [first, last).
  void sample(InstructionSet set, Index first, Index last, C* pivots) const {
    if (shape_.along_rows) {
      const Index block = (std::max<Index>)(1, max_block_columns / shape_.columns_per_channel);
      if (shape_.channels_wrap()) return sample_rows(set, 0, shape_.columns, pivots);
      for (Index channel = first; channel < last; channel += block) {
        const Index end = (std::min)(last, channel + block);
        sample_rows(set, channel * shape_.columns_per_channel, end * shape_.columns_per_channel,
                    pivots);
      }
    } else if (shape_.rows() < 2 * values_per_sampled_place || !plan_.contiguous() ||
               shape_.inner < kernels_.width_of(set)) {
      sample_values(first, last, pivots);
    } else {
      for (Index channel = first; channel < last; channel += channels_per_tile) {
        sample_runs(set, channel, (std::min)(last, channel + channels_per_tile), pivots);
      }
    }
  }

 private:
  /// A first value and the sums about it, per column of a block or per lane of a channel.
  struct Samples {
    C start[margin + max_block_columns];
    A sum[margin + max_block_columns];
    A square[margin + max_block_columns];

    void clear(Index entries) {
      std::fill(sum, sum + entries, A(0));
      std::fill(square, square + entries, A(0));
    }
  };

  Tile<T> sample_tile(Samples& samples, bool per_column, const FormulaOptions<C>& options) const {
    Tile<T> tile;
    tile.per_column = per_column;
    tile.coefficients = 1;
    tile.options = &options;
    tile.k[0] = samples.start + margin;
    tile.sums = {samples.sum + margin, samples.square + margin};
    return tile;
  }

  C value(Index column, Index row) const {
    if (data_.gathered != nullptr) {
      T of_list;
      data_.gathered->pack(0, &of_list, 1, column, row, 1, 1, 1);
      return convert<C>(of_list);
    }
    const Index outer = shape_.outer == 1 ? 0 : row / shape_.inner;
    return convert<C>(
        data_.from[0][plan_.layout(0).offset(column, outer, row - outer * shape_.inner)]);
  }

  SampledRows sampled_rows() const {
    // The last row may be shorter than the others.
    const Index rows = shape_.rows() - (shape_.last_width < shape_.columns ? 1 : 0);
    const Index per_channel = shape_.columns / shape_.channels;
    const Index wanted = (std::max)((std::min)(rows / 16, max_sampled_rows), min_sampled_rows);
    return SampledRows(rows, wanted / (std::min<Index>)(per_channel, 8));
  }

  /// Whole rows of a block of columns.
  void sample_rows(InstructionSet set, Index begin, Index end, C* pivots) const {
    const Index columns = end - begin;
    const SampledRows sampled = sampled_rows();
    Samples samples;
    samples.clear(margin + columns);
    for (Index c = 0; c < columns; ++c) {
      samples.start[margin + c] = value(begin + c, sampled.row(0));
    }
    const FormulaOptions<C> options{C(1), C(1)};
    Tile<T> tile = sample_tile(samples, true, options);
    if (data_.gathered != nullptr) {
      sample_gathered_rows(set, tile, begin, columns, sampled);
    } else if (!plan_.contiguous() || shape_.outer > 1) {
      PackedTile<T> room(plan_, data_);
      for (Index sample = 0; sample < sampled.count(); ++sample) {
        room.pack(tile, begin, columns, sampled.row(sample), 1);
        kernels_(set, tile);
      }
    } else if (columns < kernels_.width_of(set)) {
      // With the bits of a wide block: how wide it is depends on the number of threads.
      PackedTile<T> room(plan_, data_);
      for (Index p = 0; p < sampled.progressions(); ++p) {
        room.pack(tile, begin, columns, sampled.first(p), sampled.length(), sampled.step());
        kernels_(set, tile);
      }
    } else {
      tile.rows = sampled.length();
      tile.columns = columns;
      tile.from_step[0] = sampled.step() * plan_.layout(0).inner_stride;
      for (Index p = 0; p < sampled.progressions(); ++p) {
        tile.from[0] = data_.from[0] + plan_.layout(0).offset(begin, 0, sampled.first(p));
        kernels_(set, tile);
      }
    }
    join_columns(begin, columns, sampled.count(), samples, pivots);
  }

  /// With the bits of dense rows, some columns at a time.
  void sample_gathered_rows(InstructionSet set, const Tile<T>& model, Index begin, Index columns,
                            const SampledRows& sampled) const {
    PackedTile<T> room(plan_, data_);
    Tile<T> tile = model;
    const Index width = packed_elements / 8;
    for (Index first = 0; first < columns; first += width) {
      tile.k[0] = model.k[0] + first;
      for (std::size_t j = 0; j < 2; ++j) tile.sums[j] = model.sums[j] + first;
      for (Index p = 0; p < sampled.progressions(); ++p) {
        room.pack(tile, begin + first, (std::min)(width, columns - first), sampled.first(p),
                  sampled.length(), sampled.step());
        kernels_(set, tile);
      }
    }
  }

  /// The mean over the columns of a channel.
  void join_columns(Index begin, Index columns, Index rows, const Samples& samples,
                    C* pivots) const {
    const Index width = shape_.columns_per_channel;
    const Index period = shape_.channels_wrap() ? shape_.channels * width : columns;
    const A count = from_index<A>(rows);
    const A share = A(1) / (count * from_index<A>(columns / period * width));
    if (period == columns && width == 1) {
      for (Index c = 0; c < columns; ++c) {
        pivots[begin + c] =
            convert<C>(A(samples.start[margin + c] + samples.sum[margin + c] * share));
        round_pivot(pivots[begin + c], A(samples.square[margin + c] * share));
      }
      return;
    }
    for (Index first = 0; first < period; first += width) {
      const A start = convert<A>(samples.start[margin + first]);
      A sum(0);
      A square(0);
      for (Index from = first; from < columns; from += period) {
        for (Index c = margin + from; c < margin + from + width; ++c) {
          const A offset = convert<A>(samples.start[c]) - start;
          sum += offset * count + samples.sum[c];
          square += offset * offset * count + samples.square[c];
        }
      }
      C& pivot = pivots[(begin + first) / width];
      pivot = convert<C>(A(start + sum * share));
      round_pivot(pivot, A(square * share));
    }
  }

  /// Few values per channel: some of them one by one.
  void sample_values(Index begin, Index end, C* pivots) const {
    const SampledRows sampled(shape_.rows(), 8);
    Index offsets[8];
    for (Index i = 0; i < sampled.count(); ++i) {
      const Index row = sampled.row(i);
      const Index outer = shape_.outer == 1 ? 0 : row / shape_.inner;
      offsets[i] = plan_.layout(0).offset(0, outer, row - outer * shape_.inner);
    }
    const A share = A(1) / from_index<A>(sampled.count());
    for (Index channel = begin; channel < end; ++channel) {
      const T* const at = data_.from[0] + channel * plan_.layout(0).column_stride;
      const auto value_of = [&](Index i) {
        return convert<A>(data_.gathered != nullptr ? value(channel, sampled.row(i))
                                                    : convert<C>(at[offsets[i]]));
      };
      const A start = value_of(0);
      A sum(0);
      A square(0);
      for (Index i = 1; i < sampled.count(); ++i) {
        const A deviation = value_of(i) - start;
        sum += deviation;
        square += deviation * deviation;
      }
      pivots[channel] = convert<C>(A(start + sum * share));
      round_pivot(pivots[channel], A(square * share));
    }
  }

  /// A unit at each sampled place of the runs of some channels.
  void sample_runs(InstructionSet set, Index begin, Index end, C* pivots) const {
    const Index channels = end - begin;
    const Index length = kernels_.width_of(set);
    const SampledRows sampled(
        shape_.rows(), (std::min)(shape_.rows() / values_per_sampled_place, max_sampled_places));
    const Index lanes = kernels_.lanes_of(set);
    Samples samples;
    samples.clear(channels * lanes);
    for (Index c = 0; c < channels; ++c) samples.start[c] = value(begin + c, sampled.row(0));
    const FormulaOptions<C> options{C(1), C(1)};
    Tile<T> tile = sample_tile(samples, false, options);
    tile.k[0] = samples.start;
    tile.sums = {samples.sum, samples.square};
    tile.rows = channels;
    tile.columns = length;
    data_.set_steps(tile, plan_, &Layout::column_stride);
    for (Index sample = 0; sample < sampled.count(); ++sample) {
      const Index row = sampled.row(sample);
      if (data_.gathered != nullptr) {
        sample_gathered_run(set, tile, begin, (std::min)(row, shape_.rows() - length));
        continue;
      }
      const Index outer = shape_.outer == 1 ? 0 : row / shape_.inner;
      const Index inner = (std::min)(row - outer * shape_.inner, shape_.inner - length);
      data_.locate(tile, plan_, begin, outer, inner);
      kernels_(set, tile);
    }
    const A share = A(1) / from_index<A>(length * sampled.count());
    for (Index c = 0; c < channels; ++c) {
      A sum(0);
      A square(0);
      for (Index lane = c * lanes; lane < (c + 1) * lanes; ++lane) {
        sum += samples.sum[lane];
        square += samples.square[lane];
      }
      C& pivot = pivots[begin + c];
      pivot = convert<C>(A(convert<A>(samples.start[c]) + sum * share));
      round_pivot(pivot, A(square * share));
    }
  }

  void sample_gathered_run(InstructionSet set, const Tile<T>& model, Index begin, Index row) const {
    PackedTile<T> room(plan_, data_);
    Tile<T> tile = model;
    const Index together = PackedTile<T>::lines(model.columns);
    const Index lanes = kernels_.lanes_of(set);
    for (Index c = 0; c < model.rows; c += together) {
      tile.k[0] = model.k[0] + c;
      for (std::size_t j = 0; j < 2; ++j) tile.sums[j] = model.sums[j] + c * lanes;
      room.pack(tile, begin + c, (std::min)(together, model.rows - c), row, model.columns);
      kernels_(set, tile);
    }
  }

  const KernelTable<T>& kernels_;
  const Plan& plan_;
  const Traversal& shape_;
  const Operands<T>& data_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_PIVOT_HPP
