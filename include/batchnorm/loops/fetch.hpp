// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_FETCH_HPP
#define BATCHNORM_LOOPS_FETCH_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/version.hpp"

// Asking for memory before it is needed. Processors fetch ahead by themselves where one thing is
// read from front to back. Several rows read side by side, a few elements of each, look to them
// like as many streams, of which they lose track: measured on rows of 512 floats out of cache, 8
// rows at a time take 2.2 times as long as the same bytes from front to back. Asking for the lines
// of the rows to come in the order of memory makes up for that.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

/// Bytes that come from memory at once.
inline constexpr Index line_bytes = 64;

/// Into which cache something is asked for.
enum class Nearness { first_level, second_level };

/// A number and no pointer: it may be past the end of the memory, which is not read.
using Address = std::uintptr_t;

template <class T>
[[gnu::always_inline]] inline Address address_of(const T* at) {
  return reinterpret_cast<Address>(at);
}
template <class T>
[[gnu::always_inline]] inline Address bytes_of(Index elements) {
  return static_cast<Address>(elements) * sizeof(T);
}

template <Nearness Where>
[[gnu::always_inline]] inline void fetch_line(Address at) {
#if defined(__GNUC__)
  // NOLINTNEXTLINE(performance-no-int-to-ptr): nothing is read through it
  const void* const place = reinterpret_cast<const void*>(at);
  __builtin_prefetch(place, 0, Where == Nearness::first_level ? 3 : 2);
#else
  static_cast<void>(at);
#endif
}

/// Asks for all lines of so many bytes.
template <Nearness Where>
[[gnu::always_inline]] inline void fetch_lines(Address begin, Address bytes) {
  for (Address line = 0; line < bytes; line += line_bytes) fetch_line<Where>(begin + line);
}

/// Asks for the rows some way ahead of those that are being worked on, line by line. Does nothing
/// when it is made so.
template <class T, std::size_t Inputs, Nearness Where, Index DistanceInBytes>
class RowFetcher {
  static constexpr Index elements_per_line =
      (std::max<Index>)(1, line_bytes / static_cast<Index>(sizeof(T)));

 public:
  /// Whether rows of so many columns are long enough: shorter ones that follow one another are read
  /// nearly from front to back. Measured on rows of 64 floats: one input is read 1.1 times as fast
  /// without, and two 0.8 times.
  static constexpr bool pays(Index columns) {
    return columns * static_cast<Index>(sizeof(T)) >= (Inputs == 1 ? 512 : 256);
  }

  using Pointers = std::array<const T*, Inputs>;
  using Steps = std::array<Index, Inputs>;

  /// @param from     the first of the rows at work
  /// @param columns  of a row that are being worked on
  [[gnu::always_inline]] RowFetcher(const Pointers& from, const Steps& row_step, Index columns,
                                    bool active)
      : columns_(columns), active_(active) {
    if (!active) return;
    const Index row_bytes = columns * static_cast<Index>(sizeof(T));
    const Index rows = (DistanceInBytes + row_bytes - 1) / row_bytes;
    bool dense = true;
#pragma GCC unroll 8
    for (std::size_t i = 0; i < Inputs; ++i) {
      at_[i] = address_of(from[i]) + bytes_of<T>(rows * row_step[i]);
      row_step_[i] = bytes_of<T>(row_step[i]);
      dense = dense && row_step[i] == columns;
    }
    if (dense) columns_ = (std::numeric_limits<Index>::max)();
  }

  /// Asks for as many lines of every input as so many elements take, parts of lines added up.
  [[gnu::always_inline]] void fetch(Index elements) {
    if (!active_) return;
    for (due_ += elements; due_ > 0; due_ -= elements_per_line) {
#pragma GCC unroll 8
      for (std::size_t i = 0; i < Inputs; ++i) fetch_line<Where>(at_[i] + bytes_of<T>(column_));
      column_ += elements_per_line;
      if (column_ < columns_) continue;
      column_ = 0;  // the next row
#pragma GCC unroll 8
      for (std::size_t i = 0; i < Inputs; ++i) at_[i] += row_step_[i];
    }
  }

 private:
  std::array<Address, Inputs> at_{};
  std::array<Address, Inputs> row_step_{};
  Index columns_;
  Index column_ = 0;
  Index due_ = 0;  ///< elements that have not been asked for
  bool active_;
};

/// Asks for the runs some way ahead of the element that is being worked on, and past the end of a
/// run for the next one. Does nothing when it is made so, nor for runs that are shorter than that
/// way.
///
/// Measured on planes of 56 x 56 out of cache, read channel by channel: it takes 0.6 times as long
/// as without, as processors find each run anew.
template <class T, std::size_t Inputs, Nearness Where, Index DistanceInBytes>
class RunFetcher {
  static constexpr Index distance = DistanceInBytes / static_cast<Index>(sizeof(T));

 public:
  using Pointers = std::array<const T*, Inputs>;
  using Steps = std::array<Index, Inputs>;

  /// @param run_step  from a run to the next one
  /// @param length    of whole runs
  [[gnu::always_inline]] RunFetcher(const Steps& run_step, Index length, bool active)
      : run_step_(run_step), active_(active && length >= distance) {}

  bool active() const { return active_; }

  /// Where, from the beginning of a run of `length` of an input, that lies which is asked for at
  /// element `at`.
  [[gnu::always_inline]] Index ahead(std::size_t input, Index at, Index length) const {
    const Index place = at + distance;
    return place < length ? place : place - length + run_step_[input];
  }

  /// Asks for so many elements as far ahead of element `at` of a run of `length`.
  template <Index Elements>
  [[gnu::always_inline]] void fetch(const Pointers& from, Index at, Index length) const {
    if (!active_) return;
#pragma GCC unroll 8
    for (std::size_t i = 0; i < Inputs; ++i) {
      fetch_lines<Where>(address_of(from[i]) + bytes_of<T>(ahead(i, at, length)),
                         bytes_of<T>(Elements));
    }
  }

 private:
  Steps run_step_;
  bool active_;
};

}  // namespace loops
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_FETCH_HPP
