// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_NUMBERS_HPP
#define BATCHNORM_LOOPS_NUMBERS_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/partition.hpp"
#include "batchnorm/loops/traversal.hpp"
#include "batchnorm/version.hpp"

// The numbers of a channel that a formula is given. They are asked for once per channel and block,
// through a pointer to a function: the loops are compiled once per formula, not once more for every
// place that its numbers may come from.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

template <class Source, class = void>
inline constexpr bool has_tables = false;
template <class Source>
inline constexpr bool has_tables<Source, std::void_t<decltype(&Source::tables)>> = true;

/// The numbers of type C that a Source has for every channel; refers to the source.
///
///   void operator()(Index channel, C* k) const;   the numbers of a channel
///   void constants(C* k) const;                   optional: numbers that are the same for all
///   void tables(const C** tables) const;          optional: where each number of all channels lies
///                                                 in memory already
template <class C>
class Numbers {
 public:
  template <class Source>
  explicit Numbers(const Source& source)
      : source_(&source), of_channel_([](const void* stored, Index channel, C* k) {
          (*static_cast<const Source*>(stored))(channel, k);
        }) {
    if constexpr (has_tables<Source>) {
      tables_ = [](const void* stored, const C** tables) {
        static_cast<const Source*>(stored)->tables(tables);
      };
    }
  }

  void operator()(Index channel, C* k) const { of_channel_(source_, channel, k); }
  bool in_tables() const { return tables_ != nullptr; }
  void tables(const C** tables) const { tables_(source_, tables); }

 private:
  const void* source_;
  void (*of_channel_)(const void*, Index, C*);
  void (*tables_)(const void*, const C**) = nullptr;
};

/// Writes the numbers of the columns [first, first + columns) of a traversal, number i of column c
/// to tables[i][c - first].
template <class C, int Count, Index Room>
void spread_numbers(const Numbers<C>& numbers, const Traversal& traversal, Index first,
                    Index columns, C (&tables)[Count][Room]) {
  C of_channel[Count];
  Index channel = traversal.channel_of(first);
  Index count = traversal.repeat - first % traversal.repeat;
  for (Index column = 0; column < columns; count = traversal.repeat) {
    count = (std::min)(count, columns - column);
    numbers(channel, of_channel);
    for (int i = 0; i < Count; ++i) {
      std::fill(tables[i] + column, tables[i] + column + count, of_channel[i]);
    }
    column += count;
    if (++channel == traversal.channels) channel = 0;
  }
}

/// The tables of the columns [first, first + columns): where they lie already, or in `room`.
template <class C, int Count, Index Room>
std::array<const C*, static_cast<std::size_t>(Count)> tables_of(const Numbers<C>& numbers,
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
