// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_VALUE_LIST_HPP
#define BATCHNORM_KERNELS_VALUE_LIST_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/place_bits.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/mask.hpp"

// Which values of a channel count, as lists: sample by sample and position by position, in
// intervals. A list does not say how much lies between its values, so that what is computed from it
// does not depend on padding.
// Longer than most: a list, and the one way to fill it from masks and from weights.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Some values of a channel. The place of a value is sample * positions + position, its rank counts
/// the values of the list before it. A row is what is on the list of one sample.
class ValueList {
 public:
  void reserve(Index intervals, Index rows) {
    begins_.reserve(static_cast<std::size_t>(intervals));
    ranks_.reserve(static_cast<std::size_t>(intervals));
    row_ends_.reserve(static_cast<std::size_t>(rows));
  }
  /// Appends the places [begin, end).
  void add(Index begin, Index end) {
    if (begins_.empty() || end_ != begin) {
      begins_.push_back(begin);
      ranks_.push_back(count_);
    }
    count_ += end - begin;
    end_ = end;
  }
  void end_row() {
    if (row_ends_.empty() ? count_ > 0 : count_ > row_ends_.back()) row_ends_.push_back(count_);
  }
  /// After the last row. Short rows become one, so that tiles are not short, too.
  ///
  /// @param rows, places  of the input, and of each of them
  /// @param needs_bits    whether values of a channel are neighbours, so that bits are asked for
  void end_list(Index rows, Index places, bool needs_bits) {
    if (count_ < min_row * static_cast<Index>(row_ends_.size())) row_ends_.assign(1, count_);
    if (!is_fragmented() || !needs_bits) return;
    bits_.reset(rows, places);
    Index row = 0;
    for (Index i = 0; i < intervals(); ++i) {
      const Index end = begin(i) + rank(i + 1) - rank(i);
      for (Index at = begin(i); at < end;) {
        while (at >= (row + 1) * places) ++row;
        const Index last = (std::min)(end, (row + 1) * places);
        bits_.set(row, at - row * places, last - row * places);
        at = last;
      }
    }
    bits_.count();
  }

  Index count() const { return count_; }
  /// Whether intervals are so short that values are better found one by one.
  bool is_fragmented() const { return intervals() * min_interval > count_; }
  /// Of a fragmented list that needs them; otherwise empty.
  const PlaceBits& bits() const { return bits_; }
  Index intervals() const { return static_cast<Index>(begins_.size()); }
  Index begin(Index interval) const { return begins_[static_cast<std::size_t>(interval)]; }
  /// Of the first value of an interval; that of the end is count().
  Index rank(Index interval) const {
    return interval == intervals() ? count_ : ranks_[static_cast<std::size_t>(interval)];
  }
  /// How many values lie before a place.
  Index count_before(Index place) const {
    const Index next = static_cast<Index>(std::upper_bound(begins_.begin(), begins_.end(), place) -
                                          begins_.begin());
    return next == 0 ? 0 : (std::min)(rank(next - 1) + place - begin(next - 1), rank(next));
  }
  /// The interval that the value of a rank lies in.
  Index interval_of(Index rank) const {
    return static_cast<Index>(std::upper_bound(ranks_.begin(), ranks_.end(), rank) -
                              ranks_.begin()) -
           1;
  }

  /// Of row r the ranks [row_end(r - 1), row_end(r)). Which values are in a row depends on nothing
  /// that lies between them, so that sums may be cut at the ends of rows.
  Index row_end(Index row) const { return row < 0 ? 0 : row_ends_[static_cast<std::size_t>(row)]; }
  Index row_of(Index rank) const {
    return static_cast<Index>(std::upper_bound(row_ends_.begin(), row_ends_.end(), rank) -
                              row_ends_.begin());
  }

 private:
  static constexpr Index min_row = 64;
  static constexpr Index min_interval = 16;

  std::vector<Index> begins_;
  std::vector<Index> ranks_;
  std::vector<Index> row_ends_;
  PlaceBits bits_;
  Index count_ = 0;
  Index end_ = 0;
};

/// What a mask or weights say about the values of an input.
struct Selection {
  ValueList counted;
  ValueList masked;
  std::vector<double> weights;  ///< of those that count; empty where all are 1
  double weight = 0;            ///< the sum of all weights
  double squared_weight = 0;    ///< and of their squares
  /// A power of two: times this the largest weight is below 1, and no less than 1/2. Gradients have
  /// w / W, and take both times the scale: alone they may be beyond the range of a float.
  double scale = 1;
  Weights kind = Weights::frequency;
  MaskedOutput output = MaskedOutput::normalize;
};

/// Fills a Selection, one row of places after another.
class Selector {
 public:
  /// @param needs_bits  as ValueList::end_list
  Selector(const char* function, const MaskArgument& mask, Index samples, Index positions,
           bool needs_bits)
      : function_(function),
        mask_(mask),
        samples_(samples),
        positions_(positions),
        needs_bits_(needs_bits) {
    check_shape();
    selection_.kind = mask.kind;
    selection_.output = mask.output;
  }

  Selection select() {
    const bool along_samples = positions_ == 1 || samples_ == 0;
    const Index rows = along_samples ? 1 : samples_;
    length_ = along_samples ? samples_ : positions_;
    // An Eigen vector of the positions of one sample is stored as one of samples.
    const bool along_vector = along_samples || mask_.one_axis;
    step_ = along_vector ? mask_.sample_stride : mask_.position_stride;
    selection_.counted.reserve(rows, rows);
    selection_.masked.reserve(rows, rows);
    for (Index row = 0; row < rows; ++row) {
      const Index first = mask_.first + row * mask_.sample_stride;
      if (mask_.read == nullptr) {
        read_mask(row * length_, static_cast<const bool*>(mask_.data) + first);
      } else {
        read_weights(row * length_, first);
      }
      selection_.counted.end_row();
      selection_.masked.end_row();
    }
    selection_.counted.end_list(rows, length_, needs_bits_);
    selection_.masked.end_list(rows, length_, needs_bits_);
    finish();
    return std::move(selection_);
  }

 private:
  static constexpr Index buffered = 256;

  void check_shape() const {
    const bool of_positions = mask_.one_axis && samples_ == 1 && mask_.samples == positions_;
    if (of_positions || (mask_.samples == samples_ && mask_.positions == positions_)) return;
    fail_argument(
        function_, "shape of a mask or of weights must be that of the input",
        text(samples_, " samples x ", positions_, " positions"),
        mask_.one_axis
            ? std::string(text("a vector of ", mask_.samples,
                               positions_ > 1 ? "; give a matrix of samples x positions" : ""))
            : text(mask_.samples, " samples x ", mask_.positions, " positions"));
  }

  void add(bool counts, Index begin, Index end) {
    (counts ? selection_.counted : selection_.masked).add(begin, end);
  }

  void read_mask(Index place, const bool* row) {
    if (step_ == 1 && length_ > 0) return read_neighbours(place, row);
    Index i = 0;
    while (i < length_) {
      const bool counts = row[i * step_];
      const Index end = end_of_strided_run(row, i, counts);
      add(counts, place + i, place + end);
      i = end;
    }
  }
  /// Eight at a time: where a mask changes often, to look for the end of every run takes longer.
  void read_neighbours(Index place, const bool* row) {
    constexpr Index together = 8;
    Index begin = 0;
    bool counts = row[0];
    const auto end_run = [&](Index end) {
      add(counts, place + begin, place + end);
      begin = end;
      counts = !counts;
    };
    bool same[together];
    std::fill_n(same, together, counts);
    Index i = 0;
    for (; i + together <= length_; i += together) {
      if (std::memcmp(row + i, same, sizeof same) == 0) continue;
      unsigned bits = 0;
      for (Index b = 0; b < together; ++b) bits |= (row[i + b] ? 1u : 0u) << b;
      unsigned changes = (bits ^ (bits << 1 | (counts ? 1u : 0u))) & 0xffu;
      for (; changes != 0; changes &= changes - 1) end_run(i + lowest_bit(changes));
      std::fill_n(same, together, counts);
    }
    for (; i < length_; ++i) {
      if (row[i] != counts) end_run(i);
    }
    add(counts, place + begin, place + length_);
  }
  Index end_of_strided_run(const bool* row, Index i, bool counts) const {
    const auto same = [&](Index first, Index count) {
      bool other = false;
      for (Index j = first; j < first + count; ++j) other |= row[j * step_] != counts;
      return !other;
    };
    // The end of a short run first, then eight elements at a time.
    for (const Index close = (std::min)(length_, i + 8); i < close; ++i) {
      if (!same(i, 1)) return i;
    }
    while (i + 8 <= length_ && same(i, 8)) i += 8;
    while (i < length_ && same(i, 1)) ++i;
    return i;
  }

  void read_weights(Index place, Index first) {
    double some[buffered];
    for (Index i = 0; i < length_; i += buffered) {
      const Index count = (std::min)(buffered, length_ - i);
      mask_.read(mask_.data, first + i * step_, step_, count, some);
      if (add_positive(place + i, some, count)) continue;
      for (Index j = 0; j < count; ++j) add_weight(place + i + j, some[j]);
    }
  }
  /// @return whether all of them count, and are added
  bool add_positive(Index place, const double* weights, Index count) {
    bool positive = true;
    bool one = true;
    for (Index i = 0; i < count; ++i) {
      positive &= is_finite(weights[i]) && weights[i] > 0.0;
      one &= !(weights[i] < 1.0) && !(weights[i] > 1.0);
    }
    if (!positive) return false;
    add(true, place, place + count);
    all_one_ = all_one_ && one;
    selection_.weights.insert(selection_.weights.end(), weights, weights + count);
    return true;
  }
  void add_weight(Index place, double weight) {
    if (!is_finite(weight) || is_negative(weight)) fail_weight(place, weight);
    const bool counts = weight > 0.0;
    add(counts, place, place + 1);
    if (!counts) return;
    all_one_ = all_one_ && !(weight < 1.0) && !(weight > 1.0);
    selection_.weights.push_back(weight);
  }
  [[noreturn]] void fail_weight(Index place, double weight) const {
    fail_domain(function_,
                text("weight of sample ", place / positions_, ", position ", place % positions_),
                "zero or more, and finite",
                is_finite(weight) ? text(weight) : std::string("NaN or infinity"));
  }

  /// Pairwise, so that little is lost to rounding.
  static double sum_of(const double* weights, Index count, bool squared) {
    if (count > 64) {
      const Index half = count / 2;
      return sum_of(weights, half, squared) + sum_of(weights + half, count - half, squared);
    }
    // Four sums, so that additions do not wait for one another.
    double sums[4] = {};
    for (Index i = 0; i < count; ++i) {
      sums[i % 4] += squared ? weights[i] * weights[i] : weights[i];
    }
    return (sums[0] + sums[2]) + (sums[1] + sums[3]);
  }
  void finish() {
    Selection& s = selection_;
    s.weight = s.squared_weight = static_cast<double>(s.counted.count());
    if (all_one_) {
      s.weights.clear();
    } else {
      s.weight = sum_of(s.weights.data(), s.counted.count(), false);
      s.squared_weight = sum_of(s.weights.data(), s.counted.count(), true);
      int exponent = 0;
      std::frexp(*std::max_element(s.weights.begin(), s.weights.end()), &exponent);
      s.scale = std::ldexp(1.0, -exponent);
    }
    if (is_finite(s.squared_weight) && is_finite(s.weight * s.weight) &&
        (s.counted.count() == 0 || s.squared_weight > 0.0)) {
      return;
    }
    fail_domain(function_, "the squares of weights are summed", "weights between 1e-150 and 1e150",
                "an overflow or an underflow");
  }

  const char* function_;
  const MaskArgument& mask_;
  Index samples_;
  Index positions_;
  bool needs_bits_;
  Index length_ = 0;  ///< of a row of places
  Index step_ = 0;
  bool all_one_ = true;
  Selection selection_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_VALUE_LIST_HPP
