// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_GATHERED_LIST_HPP
#define BATCHNORM_KERNELS_GATHERED_LIST_HPP

#include <algorithm>
#include <cstddef>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/coefficients.hpp"
#include "batchnorm/kernels/leave_out.hpp"
#include "batchnorm/kernels/list_lines.hpp"
#include "batchnorm/kernels/listed_pack.hpp"
#include "batchnorm/kernels/map.hpp"
#include "batchnorm/kernels/pack.hpp"
#include "batchnorm/kernels/partition.hpp"
#include "batchnorm/kernels/reduce_kernel.hpp"
#include "batchnorm/kernels/reduce_region.hpp"
#include "batchnorm/kernels/selected.hpp"
#include "batchnorm/kernels/tile.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/kernels/tuning.hpp"
#include "batchnorm/kernels/value_list.hpp"
#include "batchnorm/kernels/weighted_lines.hpp"
#include "batchnorm/kernels/weighted_rows.hpp"
#include "batchnorm/version.hpp"

// The reducing loop over a list of values. It does what the loop over a dense array of these values
// would do, except that it cuts at the ends of the list's rows, too: a row, or a tile, that lies in
// one piece is read where it is, others are packed, to the same bits.
// Longer than most: rows, runs and weighted sums share the pieces of one list and how they are
// packed.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

template <class T>
class GatheredList final : public Gathered<T> {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;
  using typename Gathered<T>::Targets;
  using Reducing = RegionReducer<T>;
  /// Sixteen rows of 512 bytes: many calls of a copy would cost more than what they copy.
  static constexpr Index packed_list = 8192 / static_cast<Index>(sizeof(T));

 public:
  /// @param weights  of the values of the list; null where all are 1
  /// @param plan     of a dense array of these values
  GatheredList(const ListLayout& layout, const double* weights, bool only_gradients,
               const Operands<T>& data, const Plan& plan)
      : weights_(weights),
        only_gradients_(only_gradients),
        data_(data),
        layout_(layout),
        shape_(plan.traversal()),
        per_row_(shape_.channels_wrap() ? shape_.columns / shape_.channels : 1) {}

  bool in_lines() const override { return weights_ != nullptr; }

  void pack(std::size_t operand, T* to, Index step, Index column, Index row, Index lines,
            Index length, Index row_step) const override {
    if (!shape_.along_rows) {
      return pack_listed_values(layout_, operand, data_.from[operand], to, step,
                                {column, row, lines, length});
    }
    Pieces pieces(layout_);
    for (Index line = 0; line < lines; ++line) {
      pack_listed_row(layout_, shape_, operand, data_.from[operand], to + line * step,
                      {column, row + line * row_step, length}, pieces);
    }
  }

  void sum(const Reducing& reducer, InstructionSet set, const Region& region, bool in_accumulator,
           const Targets& into) const override {
    if (weights_ != nullptr && layout_.is_along_channels() && !shape_.channels_wrap()) {
      WeightedRowSums<T>(layout_, data_, reducer.call_, weights_)
          .sum(set, region, reducer.from_memory_, into);
    } else if (weights_ != nullptr) {
      Tile<T> tile;
      set_run_steps(tile, reducer);
      WeightedLineSums<T>(layout_, data_, reducer.call_, weights_, shape_)
          .sum(set, region, tile.prefetch ? tile.ahead[0] : 0, into);
    } else if (in_accumulator) {
      sum_in_accumulator(reducer, region, into);
    } else {
      sum_runs(reducer, set, region, into);
    }
  }

  void sum_rows(const Reducing& reducer, InstructionSet set, const Tile<T>& model,
                const Region& region, Index begin, Index end, Index columns) const override {
    PackedTile<T, packed_list> packed(reducer.plan_, reducer.data_);
    Pieces pieces(layout_);
    Tile<T> tile = model;
    const Index together = reducer.rows_per_tile();
    const Index width = packed_list / max_terms_per_total;
    const bool can_be_direct =
        are_rows_in_place() && columns >= reducer.call_.kernels.width_of(set);
    RowPlaces<T> places;
    Index rows = 0;
    for (Index row = begin; row < end; row += rows) {
      rows = (std::min)(together, end - row);
      if (per_row_ == 1) rows = (std::min)(rows, pieces.row_end(row) - row);
      if (only_gradients_ && !has_gradients(pieces, region.first_column, columns, row, rows)) {
        continue;
      }
      if (can_be_direct && locate_rows(tile, pieces, region.first_column, columns, row, rows)) {
        Reducing::shift(tile, model, 0, 0);
        reducer.set_row_prefetch(tile);
        reducer.call_.kernels(set, tile);
        continue;
      }
      tile.prefetch = false;
      const bool by_row = can_be_direct && per_row_ == 1;
      if (by_row) locate_each(places, pieces, row, rows);
      for (Index first = 0; first < columns; first += width) {
        Reducing::shift(tile, model, first, first);
        const Index some = (std::min)(width, columns - first);
        if (by_row) {
          packed.pack_rows(tile, places, region.first_column + first, some, rows);
        } else {
          packed.pack(tile, region.first_column + first, some, row, rows);
        }
        if (only_gradients_) leave_out(tile, data_.inputs);
        reducer.call_.kernels(set, tile);
      }
    }
  }

 private:
  // ---- across channels

  bool are_rows_in_place() const {
    const Index channels = shape_.channels;
    const Index per_row = per_row_;
    return !only_gradients_ && layout_.all([=](const Layout& each) {
      return each.column_stride == 1 && (per_row == 1 || each.inner_stride == channels);
    });
  }

  /// The ranks of some rows, the last of which may be shorter.
  Index values_of(Index rows, Index columns) const {
    return per_row_ == 1 ? rows : (rows - 1) * per_row_ + columns / shape_.channels;
  }

  /// Points a tile to rows that lie in one piece.
  bool locate_rows(Tile<T>& tile, Pieces& pieces, Index column, Index columns, Index row,
                   Index rows) const {
    const Piece piece = pieces.at(row * per_row_);
    if (piece.length < values_of(rows, columns)) return false;
    for (std::size_t i = 0; i < data_.inputs; ++i) {
      tile.from[i] = data_.from[i] + column + layout_.offset(i, piece.place);
      tile.from_step[i] = per_row_ * layout_.of(i).inner_stride;
    }
    data_.fill_unused(tile);
    tile.rows = rows;
    tile.columns = columns;
    return true;
  }

  /// Where some rows begin, one value each.
  void locate_each(RowPlaces<T>& places, Pieces& pieces, Index rank, Index rows) const {
    for (Index r = 0; r < rows; ++r) {
      const Piece piece = pieces.at(rank + r);
      for (std::size_t i = 0; i < data_.inputs; ++i) {
        places.of[i][r] = data_.from[i] + layout_.offset(i, piece.place);
      }
    }
  }

  /// Whether any gradient of some rows is not 0.
  bool has_gradients(Pieces& pieces, Index column, Index columns, Index row, Index rows) const {
    const Layout& layout = layout_.of(1);
    const Index first = per_row_ == 1 ? column : 0;
    const Index channels = per_row_ == 1 ? columns : shape_.channels;
    Index rank = row * per_row_;
    for (const Index end = rank + values_of(rows, columns); rank < end; ++rank) {
      const T* const at = data_.from[1] + layout_.offset(1, pieces.at(rank).place);
      for (Index c = first; c < first + channels; ++c) {
        if (!adds_nothing(at[c * layout.column_stride])) return true;
      }
    }
    return false;
  }

  // ---- along the values of a channel

  /// A line, and room for its operands.
  struct Lines {
    explicit Lines(const GatheredList& list) : line(list.layout_) {
      for (auto& of_input : packed) {
        for (T(&each)[room] : of_input) std::fill_n(each, margin, T(0));
      }
    }
    static constexpr Index room = margin + ListLine::capacity + PlaceBits::per_byte;
    ListLine line;
    T packed[max_inputs][lines_together][room];
  };

  /// How many values are taken at a time: so many that the kernel's own cuts stay where they are,
  /// and at the end those that it would sum together with what is before them.
  static Index line_length(Index left, Index width) {
    const Index chunk = width * max_terms_per_total;
    const Index most = chunk <= packed_elements ? packed_elements / chunk * chunk : packed_elements;
    return left <= most || left - most < width ? left : most;
  }

  void sum_runs(const Reducing& reducer, InstructionSet set, const Region& region,
                const Targets& into) const {
    const FormulaCall<T>& call = reducer.call_;
    TableRoom<C> room;
    const ColumnTables<C> tables(call.source, call.coefficients(), shape_);
    const Tables<C> k = tables.of(region.first_column, region.columns(), false, room);
    Tile<T> tile = call.tile(data_, false);
    set_run_steps(tile, reducer);
    Lines lines(*this);
    typename Reducing::LaneTotals totals;
    for (std::size_t j = 0; j < reducer.sums_; ++j) tile.sums[j] = totals.of[j];
    const Index lanes = call.kernels.lanes_of(set);
    // Channel by channel where long runs come from memory, otherwise as they lie there.
    const bool in_turn = reducer.from_memory_ && layout_.inner() >= 4 * min_long_run;
    const Index together = in_turn ? 1 : channels_per_tile;
    for (Index first = 0; first < region.columns(); first += together) {
      tile.rows = (std::min)(together, region.columns() - first);
      for (std::size_t i = 0; i < max_coefficients; ++i) {
        tile.k[i] = k[i] == nullptr ? nullptr : k[i] + first;
      }
      for (Index row = region.first_row; row < region.last_row; row += rows_per_total) {
        const Index end = (std::min)(row + rows_per_total, region.last_row);
        totals.clear(reducer.sums_, tile.rows * lanes);
        sum_channels(reducer, set, tile, lines, region.first_column + first, row, end);
        reducer.join_lanes(totals, tile.rows, lanes, first, into);
      }
    }
  }

  void set_run_steps(Tile<T>& tile, const Reducing& reducer) const {
    tile.prefetch = reducer.from_memory_;
    const bool next_sample =
        !layout_.has_one_axis() &&
        layout_.inner() * static_cast<Index>(sizeof(T)) <= max_run_prefetched_whole;
    for (std::size_t i = 0; i < data_.inputs; ++i) {
      tile.from_step[i] = layout_.of(i).column_stride;
      tile.ahead[i] =
          next_sample ? layout_.of(i).outer_stride : prefetch_bytes / static_cast<Index>(sizeof(T));
    }
  }

  /// The ranks [begin, end) of tile.rows channels, row by row: where they are if that is one piece,
  /// otherwise line by line, to the same bits.
  void sum_channels(const Reducing& reducer, InstructionSet set, Tile<T>& tile, Lines& lines,
                    Index channel, Index begin, Index end) const {
    const KernelTable<T>& kernels = reducer.call_.kernels;
    const Index width = kernels.width_of(set);
    const bool direct = layout_.is_along_values() && !only_gradients_;
    Pieces pieces(layout_);
    for (Index rank = begin; rank < end;) {
      const Index row_end = (std::min)(end, pieces.row_end(rank));
      const Piece piece = pieces.at(rank);
      tile.columns = row_end - rank;
      if (direct && piece.length >= tile.columns && tile.columns >= width) {
        for (std::size_t i = 0; i < data_.inputs; ++i) {
          tile.from[i] = data_.from[i] + channel * layout_.of(i).column_stride +
                         layout_.offset(i, piece.place);
        }
        data_.fill_unused(tile);
        kernels(set, tile);
        rank = row_end;
        continue;
      }
      for (; rank < row_end; rank += lines.line.length()) {
        lines.line.locate(rank, line_length(row_end - rank, width));
        sum_line(kernels, set, tile, lines, channel);
      }
    }
  }

  void sum_line(const KernelTable<T>& kernels, InstructionSet set, const Tile<T>& model,
                Lines& lines, Index channel) const {
    const Index lanes = kernels.lanes_of(set);
    Index c = 0;
    for (; lines.line.has_bits() && !only_gradients_ && c + lines_together <= model.rows;
         c += lines_together) {
      Tile<T> tile = model;
      tile.rows = lines_together;
      tile.columns = lines.line.length();
      tile.prefetch = false;
      Reducing::shift(tile, model, c, c * lanes);
      for (std::size_t i = 0; i < data_.inputs; ++i) {
        const Index step = layout_.of(i).column_stride;
        lines.line.pack_together(i, data_.from[i] + (channel + c) * step,
                                 lines.packed[i][0] + margin, Lines::room);
        tile.from[i] = lines.packed[i][0] + margin;
        tile.from_step[i] = Lines::room;
      }
      data_.fill_unused(tile);
      kernels(set, tile);
    }
    for (; c < model.rows; ++c) {
      Tile<T> tile = model;
      tile.rows = 1;
      Reducing::shift(tile, model, c, c * lanes);
      if (!locate_line(tile, lines, channel + c, kernels.width_of(set))) continue;
      kernels(set, tile);
    }
  }

  /// Points a tile to the values of a line, in place or packed.
  /// @return false where they contribute nothing
  bool locate_line(Tile<T>& tile, Lines& lines, Index channel, Index width) const {
    const bool direct = lines.line.is_one_piece() && lines.line.length() >= width &&
                        layout_.is_along_values() && !only_gradients_;
    tile.columns = lines.line.length();
    if (only_gradients_) {
      copy_line(lines, 1, channel);
      const T* const dy = lines.packed[1][0] + margin;
      if (std::all_of(dy, dy + tile.columns, adds_nothing<T>)) return false;
    }
    for (std::size_t i = 0; i < data_.inputs; ++i) {
      if (direct) {
        tile.from[i] = data_.from[i] + channel * layout_.of(i).column_stride +
                       layout_.offset(i, lines.line.place());
      } else {
        if (!only_gradients_ || i != 1) copy_line(lines, i, channel);
        tile.from[i] = lines.packed[i][0] + margin;
      }
    }
    tile.prefetch = tile.prefetch && direct;
    data_.fill_unused(tile);
    if (only_gradients_) leave_out(tile, data_.inputs);
    return true;
  }

  void copy_line(Lines& lines, std::size_t operand, Index channel) const {
    lines.line.copy(operand, data_.from[operand] + channel * layout_.of(operand).column_stride,
                    lines.packed[operand][0] + margin);
  }

  // ---- in the accumulator: sums beyond the range of the lanes

  void sum_in_accumulator(const Reducing& reducer, const Region& region,
                          const Targets& into) const {
    const bool wraps = shape_.channels_wrap();
    const Index first = wraps ? 0 : region.first_column;
    const Index channels = wraps ? shape_.channels : region.columns();
    const Index end = (std::min)(layout_.list().count(), region.last_row * per_row_);
    C k[max_coefficients];
    C* to[max_coefficients];
    Tile<T> tile = reducer.call_.tile(data_, false);
    tile.rows = 1;
    for (std::size_t i = 0; i < max_coefficients; ++i) tile.k[i] = to[i] = &k[i];
    Lines lines(*this);
    for (Index rank = region.first_row * per_row_; rank < end; rank += lines.line.length()) {
      lines.line.locate(rank, (std::min)(packed_elements, end - rank));
      for (Index c = 0; c < channels; ++c) {
        reducer.call_.source.write(first + c, first + c + 1, to);
        for (std::size_t j = 0; j < reducer.sums_; ++j) tile.sums[j] = into[j] + c;
        // Packed, whatever the strides.
        if (!locate_line(tile, lines, first + c, packed_elements + 1)) continue;
        reducer.call_.kernels.in_accumulator(tile);
      }
    }
  }

  const double* weights_;
  bool only_gradients_;
  const Operands<T>& data_;
  const ListLayout& layout_;
  const Traversal& shape_;
  Index per_row_;  ///< values of a channel in a row
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_GATHERED_LIST_HPP
