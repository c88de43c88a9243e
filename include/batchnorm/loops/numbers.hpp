// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_NUMBERS_HPP
#define BATCHNORM_LOOPS_NUMBERS_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/channels.hpp"
#include "batchnorm/loops/partition.hpp"
#include "batchnorm/loops/traversal.hpp"
#include "batchnorm/version.hpp"

// The numbers of channels that a formula is given. They are asked for once per block of channels,
// through a pointer to a function: the loops are compiled once per formula, not once more for every
// place that its numbers may come from.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

template <class Source, class C, class = void>
inline constexpr bool has_tables = false;
template <class Source, class C>
inline constexpr bool has_tables<
    Source, C,
    std::void_t<decltype(std::declval<const Source&>().tables(std::declval<const C**>()))>> = true;

template <class Source, class C, class = void>
inline constexpr bool has_vectors_of = false;
template <class Source, class C>
inline constexpr bool
    has_vectors_of<Source, C,
                   std::void_t<decltype(std::declval<const Source&>().template write<C, 1>(
                       std::declval<const ChannelGroup&>(), std::declval<C* const*>()))>> = true;

/// The numbers of type C that a Source has for every channel; refers to the source, which has one
/// of the first two of
///
///   template <class C, int Lanes>
///   void write(const ChannelGroup& group, C* const* to) const;   the numbers of some channels; i
///                                                 of the first one goes to *to[i], and so on
///   void operator()(Index channel, C* k) const;   the numbers of a channel
///   void constants(C* k) const;                   optional: numbers that are the same for all
///   void tables(const C** tables) const;          optional: where each number of all channels lies
///                                                 in memory already
template <class C, int Count>
class Numbers {
 public:
  template <class Source>
  explicit Numbers(const Source& source)
      : source_(&source), write_([](const void* stored, Index first, Index last, C* const* to) {
          write_from(*static_cast<const Source*>(stored), first, last, to);
        }) {
    if constexpr (has_tables<Source, C>) {
      tables_ = [](const void* stored, const C** tables) {
        static_cast<const Source*>(stored)->tables(tables);
      };
    }
  }

  /// The numbers of one channel, one after the other.
  void operator()(Index channel, C* k) const {
    C* to[Count];
    for (int i = 0; i < Count; ++i) to[i] = k + i;
    write(channel, channel + 1, to);
  }
  /// The numbers of the channels [first, last): number i of channel c goes to to[i][c - first].
  void write(Index first, Index last, C* const* to) const { write_(source_, first, last, to); }

  bool in_tables() const { return tables_ != nullptr; }
  void tables(const C** tables) const { tables_(source_, tables); }

 private:
  template <class Source>
  static void write_from(const Source& source, Index first, Index last, C* const* to) {
    if constexpr (has_vectors_of<Source, C>) {
      for_channels<accumulator_t<C>>(first, last, Writer<Source>{source, first, to});
    } else {
      C of_channel[Count];
      for (Index channel = first; channel < last; ++channel) {
        source(channel, of_channel);
        for (int i = 0; i < Count; ++i) to[i][channel - first] = of_channel[i];
      }
    }
  }

  template <class Source>
  struct Writer {
    const Source& source;
    Index first;
    C* const* to;

    template <int Lanes>
    [[gnu::always_inline]] bool run(const ChannelGroup& group) const {
      C* to_group[Count];
#pragma GCC unroll 8
      for (int i = 0; i < Count; ++i) to_group[i] = to[i] + (group.first - first);
      source.template write<C, Lanes>(group, to_group);
      return true;
    }
  };

  const void* source_;
  void (*write_)(const void*, Index, Index, C* const*);
  void (*tables_)(const void*, const C**) = nullptr;
};

/// Writes the numbers of the columns [first, first + columns) of a traversal, number i of column c
/// to tables[i][c - first].
template <class C, int Count, Index Room>
void spread_numbers(const Numbers<C, Count>& numbers, const Traversal& traversal, Index first,
                    Index columns, C (&tables)[Count][Room]) {
  C* to[Count];
  for (int i = 0; i < Count; ++i) to[i] = tables[i];
  if (traversal.cycles()) {
    // Of few channels, those that come back are copied.
    const Index channel = first % traversal.channels;
    const Index whole = (std::min)(columns, traversal.channels - channel);
    numbers.write(channel, channel + whole, to);
    for (int i = 0; i < Count; ++i) to[i] += whole;
    const Index rest = (std::min)(columns - whole, channel);
    if (rest > 0) numbers.write(0, rest, to);
    for (int i = 0; i < Count; ++i) {
      for (Index c = whole + rest; c < columns; ++c) {
        tables[i][c] = tables[i][c - traversal.channels];
      }
    }
    return;
  }
  const Index repeat = traversal.repeat;
  const Index before = first % repeat;
  const Index channel = first / repeat;
  numbers.write(channel, (first + columns - 1) / repeat + 1, to);
  if (repeat == 1) return;
  // From the last column on, so that no number is overwritten before it has been copied.
  for (int i = 0; i < Count; ++i) {
    for (Index c = columns; c-- > 0;) tables[i][c] = tables[i][(before + c) / repeat];
  }
}

/// The tables of the columns [first, first + columns): where they lie already, or in `room`.
template <class C, int Count, Index Room>
std::array<const C*, static_cast<std::size_t>(Count)> tables_of(const Numbers<C, Count>& numbers,
                                                                const Traversal& traversal,
                                                                Index first, Index columns,
                                                                C (&room)[Count][Room]) {
  std::array<const C*, static_cast<std::size_t>(Count)> tables{};
  if (numbers.in_tables() && traversal.columns == traversal.channels) {
    numbers.tables(tables.data());
    for (const C*& table : tables) table += first;
  } else {
    spread_numbers(numbers, traversal, first, columns, room);
    for (int i = 0; i < Count; ++i) tables[static_cast<std::size_t>(i)] = room[i];
  }
  return tables;
}

}  // namespace loops
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_NUMBERS_HPP
