// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_COEFFICIENTS_HPP
#define BATCHNORM_KERNELS_COEFFICIENTS_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <initializer_list>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/tile.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/kernels/tuning.hpp"
#include "batchnorm/version.hpp"

// Per-channel coefficients of a formula, laid out as tiles want them: one table per coefficient,
// with one entry per column or per channel.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Where coefficients come from. Virtual, so that drivers are compiled once per scalar, not once
/// more for every source.
template <class C>
class CoefficientSource {
 public:
  /// Writes coefficient i of the channels [first, last) to to[i][0], to[i][1], ...
  virtual void write(Index first, Index last, C* const* to) const = 0;
  /// The tables of all channels where they exist already, otherwise null.
  virtual const C* const* tables() const { return nullptr; }

 protected:
  CoefficientSource() = default;
  CoefficientSource(const CoefficientSource&) = default;
  CoefficientSource& operator=(const CoefficientSource&) = default;
  ~CoefficientSource() = default;
};

/// Coefficients that lie in tables.
template <class C>
class TableSource final : public CoefficientSource<C> {
 public:
  TableSource(std::initializer_list<const C*> tables) : count_(tables.size()) {
    std::copy(tables.begin(), tables.end(), tables_);
  }
  void write(Index first, Index last, C* const* to) const override {
    for (std::size_t i = 0; i < count_; ++i) {
      if (to[i] != nullptr) std::copy(tables_[i] + first, tables_[i] + last, to[i]);
    }
  }
  const C* const* tables() const override { return tables_; }

 private:
  std::size_t count_;
  const C* tables_[max_coefficients] = {};
};

template <class C>
using Tables = std::array<const C*, max_coefficients>;

/// Elements in front of every packed row, table and total, for the masked tail of a kernel (Tile).
inline constexpr Index margin = 64;

/// Room for the tables of a block of columns. Their distance is no power of two, so that they do
/// not compete for the same lines of the cache.
template <class C>
struct TableRoom {
  C of[max_coefficients][margin + max_mapped_columns + 16];
};

/// Coefficients of the columns [first, first + columns) of a traversal.
template <class C>
class ColumnTables {
 public:
  ColumnTables(const CoefficientSource<C>& source, int count, const Traversal& traversal)
      : source_(source), count_(static_cast<std::size_t>(count)), traversal_(traversal) {}

  /// How many columns at most: as many as there are where the tables exist already.
  Index most_columns() const {
    const bool exist = source_.tables() != nullptr && traversal_.columns == traversal_.channels;
    return exist ? traversal_.columns : max_mapped_columns;
  }

  /// @param in_room  whether the tables must have a margin, even if the source has tables
  Tables<C> of(Index first, Index columns, bool in_room, TableRoom<C>& room) const {
    Tables<C> tables{};
    const C* const* const existing = source_.tables();
    if (existing != nullptr && !in_room && traversal_.columns == traversal_.channels) {
      for (std::size_t i = 0; i < count_; ++i) tables[i] = existing[i] + first;
      return tables;
    }
    C* to[max_coefficients] = {};
    for (std::size_t i = 0; i < count_; ++i) tables[i] = to[i] = room.of[i] + margin;
    if (traversal_.channels_wrap()) {
      wrap(first, columns, to);
    } else {
      repeat(first, columns, to);
    }
    return tables;
  }

 private:
  /// Few channels that repeat along a row: written once, then copied.
  void wrap(Index first, Index columns, C* const* to) const {
    const Index channel = first % traversal_.channels;
    const Index whole = (std::min)(columns, traversal_.channels - channel);
    source_.write(channel, channel + whole, to);
    C* behind[max_coefficients] = {};
    for (std::size_t i = 0; i < count_; ++i) behind[i] = to[i] + whole;
    const Index rest = (std::min)(columns - whole, channel);
    if (rest > 0) source_.write(0, rest, behind);
    for (std::size_t i = 0; i < count_; ++i) {
      for (Index c = whole + rest; c < columns; ++c) to[i][c] = to[i][c - traversal_.channels];
    }
  }

  /// Neighbouring columns of one channel.
  void repeat(Index first, Index columns, C* const* to) const {
    const Index per_channel = traversal_.columns_per_channel;
    const Index before = first % per_channel;
    source_.write(first / per_channel, (first + columns - 1) / per_channel + 1, to);
    if (per_channel == 1) return;
    // From the last column on, so that nothing is overwritten before it has been copied.
    for (std::size_t i = 0; i < count_; ++i) {
      for (Index c = columns; c-- > 0;) to[i][c] = to[i][(before + c) / per_channel];
    }
  }

  const CoefficientSource<C>& source_;
  std::size_t count_;
  const Traversal& traversal_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_COEFFICIENTS_HPP
