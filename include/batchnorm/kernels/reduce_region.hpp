// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_REDUCE_REGION_HPP
#define BATCHNORM_KERNELS_REDUCE_REGION_HPP

#include <algorithm>
#include <array>
#include <cstddef>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/coefficients.hpp"
#include "batchnorm/kernels/map.hpp"
#include "batchnorm/kernels/pack.hpp"
#include "batchnorm/kernels/partition.hpp"
#include "batchnorm/kernels/reduce_kernel.hpp"
#include "batchnorm/kernels/selected.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/kernels/tuning.hpp"
#include "batchnorm/version.hpp"

// The inside of the reducing loop: one region of an array is cut into tiles, and their totals are
// joined per channel.
// Longer than most: rows, runs, packed tiles and the accumulator hand their totals to one place.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

template <class T>
class GatheredList;

/// Sums the values of one region: channel c of the region goes to into[j][c].
template <class T>
class RegionReducer {
  friend class GatheredList<T>;
  using C = parameter_t<T>;
  using A = accumulator_t<T>;

 public:
  using Targets = std::array<A*, max_sums>;

  RegionReducer(const FormulaCall<T>& call, const Operands<T>& data, const Plan& plan,
                std::size_t sums)
      : call_(call), data_(data), plan_(plan), shape_(plan.traversal()), sums_(sums) {
    const Index bytes = shape_.elements() * static_cast<Index>(data.inputs * sizeof(T));
    from_memory_ = exceeds_l2(bytes);
  }

  const Operands<T>& operands() const { return data_; }

  void run(InstructionSet set, const Region& region, bool in_accumulator,
           const Targets& into) const {
    const Index channels =
        (std::min)(shape_.channels, region.columns() / shape_.columns_per_channel);
    for (std::size_t j = 0; j < sums_; ++j) std::fill(into[j], into[j] + channels, A(0));
    const Gathered<T>* const gathered = data_.gathered;
    const Index shortest = shape_.along_rows ? region.columns() : shape_.inner;
    if (gathered != nullptr && (in_accumulator || !shape_.along_rows || gathered->in_lines())) {
      gathered->sum(*this, set, region, in_accumulator, into);
    } else if (in_accumulator) {
      sum_in_accumulator(region, into);
    } else if (shape_.along_rows) {
      sum_rows(
          set, region, into,
          gathered != nullptr || !plan_.contiguous() || shortest < call_.kernels.width_of(set));
    } else if (!plan_.contiguous() || shortest < call_.kernels.width_of(set)) {
      sum_packed_runs(set, region, into);
    } else {
      sum_runs(set, region, into);
    }
  }

 private:
  // ---- across channels

  /// Totals per column of a block.
  struct ColumnTotals {
    A of[max_sums][margin + max_block_columns + 8];
  };

  void sum_rows(InstructionSet set, const Region& region, const Targets& into, bool packed) const {
    TableRoom<C> room;
    ColumnTotals totals;
    const ColumnTables<C> tables(call_.source, call_.coefficients(), shape_);
    Tile<T> tile = call_.tile(data_, true);
    tile.k = tables.of(region.first_column, region.columns(), true, room);
    if (!packed && shape_.columns == shape_.channels && region.rows() <= rows_per_total) {
      // One total per channel: there is nothing to join.
      for (std::size_t j = 0; j < sums_; ++j) tile.sums[j] = into[j];
      sum_whole_rows(set, tile, region, region.first_row, region.last_row, region.columns());
      return;
    }
    for (std::size_t j = 0; j < sums_; ++j) tile.sums[j] = totals.of[j] + margin;
    const bool short_end = shape_.last_width < shape_.columns && region.last_row == shape_.rows();
    const Index whole_rows = region.last_row - (short_end ? 1 : 0);
    for (Index row = region.first_row; row < whole_rows; row += rows_per_total) {
      const Index end = (std::min)(row + rows_per_total, whole_rows);
      sum_block(set, tile, region, row, end, region.columns(), packed, into);
    }
    if (!short_end) return;
    const Index width = (std::min)(region.columns(), shape_.last_width - region.first_column);
    if (width <= 0) return;
    sum_block(set, tile, region, whole_rows, region.last_row, width,
              packed || width < call_.kernels.width_of(set), into);
  }

  /// Some rows of a block of columns, joined to the totals of its channels.
  void sum_block(InstructionSet set, Tile<T>& tile, const Region& region, Index begin, Index end,
                 Index columns, bool packed, const Targets& into) const {
    for (std::size_t j = 0; j < sums_; ++j) {
      std::fill(tile.sums[j] - margin, tile.sums[j] + columns, A(0));
    }
    if (data_.gathered != nullptr) {
      data_.gathered->sum_rows(*this, set, tile, region, begin, end, columns);
    } else if (packed) {
      sum_packed_rows(set, tile, region, begin, end, columns);
    } else {
      sum_whole_rows(set, tile, region, begin, end, columns);
    }
    join_columns(tile.sums, columns, into);
  }

  /// Fewer rows where they are long and come from memory, or collide in L1. Decided by the shape
  /// and not by a block, whose width depends on the number of threads: totals are joined after so
  /// many rows.
  Index rows_per_tile() const {
    const Index row_bytes =
        (std::min)(shape_.columns, max_block_columns) * static_cast<Index>(sizeof(T));
    const bool long_rows = row_bytes >= (data_.inputs > 1 ? min_prefetched_row_bytes : 2048);
    const Index all_bytes = shape_.columns * static_cast<Index>(data_.inputs * sizeof(T));
    const bool collide = all_bytes >= min_colliding_row_bytes;
    return collide || (from_memory_ && long_rows) ? max_terms_per_lane : max_terms_per_total;
  }

  void sum_whole_rows(InstructionSet set, Tile<T>& tile, const Region& region, Index begin,
                      Index end, Index columns) const {
    data_.set_steps(tile, plan_, &Layout::inner_stride);
    tile.columns = columns;
    set_row_prefetch(tile);
    const Index together = rows_per_tile();
    for (Runs run(shape_, begin, end); run.more(); run.next()) {
      for (Index row = 0; row < run.length(); row += together) {
        tile.rows = (std::min)(together, run.length() - row);
        data_.locate(tile, plan_, region.first_column, run.outer(), run.inner() + row);
        call_.kernels(set, tile);
      }
    }
  }

  /// For a tile of rows whose steps and columns are set.
  void set_row_prefetch(Tile<T>& tile) const {
    const Index row_bytes = tile.columns * static_cast<Index>(sizeof(T));
    tile.prefetch = from_memory_ && row_bytes >= min_prefetched_row_bytes;
    const Index rows_ahead =
        (std::max)(rows_per_tile(), (prefetch_bytes + row_bytes - 1) / row_bytes);
    for (std::size_t i = 0; i < data_.inputs; ++i) {
      tile.ahead[i] = rows_ahead * tile.from_step[i];
    }
  }

  void sum_packed_rows(InstructionSet set, const Tile<T>& model, const Region& region, Index begin,
                       Index end, Index columns) const {
    PackedTile<T> packed(plan_, data_);
    Tile<T> tile = model;
    tile.prefetch = false;
    // As many rows at a time as sum_whole_rows, so that the bits are the same.
    const Index together = rows_per_tile();
    const Index width = packed_elements / max_terms_per_total;
    for (Index first = 0; first < columns; first += width) {
      shift(tile, model, first, first);
      const Index some = (std::min)(width, columns - first);
      for (Runs run(shape_, begin, end); run.more(); run.next()) {
        const Index start = run.outer() * shape_.inner + run.inner();
        for (Index row = 0; row < run.length(); row += together) {
          packed.pack(tile, region.first_column + first, some, start + row,
                      (std::min)(together, run.length() - row));
          call_.kernels(set, tile);
        }
      }
    }
  }

  /// Points coefficients and totals to a later column or row of the model.
  static void shift(Tile<T>& tile, const Tile<T>& model, Index coefficients, Index totals) {
    for (std::size_t i = 0; i < max_coefficients; ++i) {
      tile.k[i] = model.k[i] == nullptr ? nullptr : model.k[i] + coefficients;
    }
    for (std::size_t j = 0; j < max_sums; ++j) {
      tile.sums[j] = model.sums[j] == nullptr ? nullptr : model.sums[j] + totals;
    }
  }

  /// Adds the totals of all columns of a channel to those of the region.
  void join_columns(const Targets& totals, Index columns, const Targets& into) const {
    const Index per_channel = shape_.columns_per_channel;
    for (std::size_t j = 0; j < sums_; ++j) {
      Index channel = 0;
      for (Index column = 0; column < columns; column += per_channel) {
        A sum(totals[j][column]);
        for (Index i = 1; i < per_channel; ++i) sum += totals[j][column + i];
        into[j][channel] += sum;
        if (++channel == shape_.channels) channel = 0;
      }
    }
  }

  // ---- along the values of a channel

  /// The totals of all lanes of some channels.
  struct LaneTotals {
    A of[max_sums][channels_per_tile * max_lanes];

    void clear(std::size_t sums, Index count) {
      for (std::size_t j = 0; j < sums; ++j) std::fill(of[j], of[j] + count, A(0));
    }
  };

  void sum_runs(InstructionSet set, const Region& region, const Targets& into) const {
    TableRoom<C> room;
    const ColumnTables<C> tables(call_.source, call_.coefficients(), shape_);
    const Tables<C> k = tables.of(region.first_column, region.columns(), false, room);
    Tile<T> tile = call_.tile(data_, false);
    const bool side_by_side = has_short_runs(shape_);
    data_.set_steps(tile, plan_, side_by_side ? &Layout::column_stride : &Layout::outer_stride);
    tile.row_step = side_by_side ? 1 : 0;
    tile.prefetch = from_memory_;
    data_.set_run_prefetch(tile, plan_, false);
    // Short runs of some channels in turn, as they lie in memory; long ones channel by channel.
    const Index together = side_by_side ? channels_per_tile : 1;
    for (Index first = 0; first < region.columns(); first += together) {
      const Index channels = (std::min)(together, region.columns() - first);
      for (std::size_t i = 0; i < max_coefficients; ++i) {
        tile.k[i] = k[i] == nullptr ? nullptr : k[i] + first;
      }
      for (Index row = region.first_row; row < region.last_row; row += rows_per_total) {
        const Index end = (std::min)(row + rows_per_total, region.last_row);
        sum_channels(
            set, tile,
            {region.first_column + first, region.first_column + first + channels, row, end}, first,
            into);
      }
    }
  }

  /// Some channels side by side, or some samples of one.
  void sum_channels(InstructionSet set, Tile<T>& tile, const Region& part, Index first,
                    const Targets& into) const {
    LaneTotals totals;
    const Index lanes = call_.kernels.lanes_of(set);
    totals.clear(sums_, part.columns() * lanes);
    for (std::size_t j = 0; j < sums_; ++j) tile.sums[j] = totals.of[j];
    for (Runs run(shape_, part.first_row, part.last_row); run.more(); run.next()) {
      tile.columns = run.length();
      if (tile.columns < call_.kernels.width_of(set)) {
        const Index row = run.outer() * shape_.inner + run.inner();
        Tile<T> packed = tile;
        packed.rows = part.columns();
        packed.row_step = 1;
        sum_packed_piece(set, packed, part.first_column, row, row + tile.columns);
        continue;
      }
      data_.locate(tile, plan_, part.first_column, run.outer(), run.inner());
      tile.rows = tile.row_step == 0 ? (std::max<Index>)(1, run.whole_runs()) : part.columns();
      call_.kernels(set, tile);
      if (tile.row_step == 0) run.skip(tile.rows);
    }
    join_lanes(totals, part.columns(), lanes, first, into);
  }

  void sum_packed_runs(InstructionSet set, const Region& region, const Targets& into) const {
    TableRoom<C> room;
    const ColumnTables<C> tables(call_.source, call_.coefficients(), shape_);
    const Tables<C> k = tables.of(region.first_column, region.columns(), false, room);
    Tile<T> tile = call_.tile(data_, false);
    const Index lanes = call_.kernels.lanes_of(set);
    const Index length = (std::min)(region.rows(), packed_elements);
    const Index together = (std::min)(channels_per_tile, PackedTile<T>::lines(length));
    LaneTotals totals;
    for (Index first = 0; first < region.columns(); first += together) {
      tile.rows = (std::min)(together, region.columns() - first);
      for (std::size_t i = 0; i < max_coefficients; ++i) {
        tile.k[i] = k[i] == nullptr ? nullptr : k[i] + first;
      }
      for (std::size_t j = 0; j < sums_; ++j) tile.sums[j] = totals.of[j];
      for (Index row = region.first_row; row < region.last_row; row += rows_per_total) {
        const Index end = (std::min)(row + rows_per_total, region.last_row);
        totals.clear(sums_, tile.rows * lanes);
        sum_packed_piece(set, tile, region.first_column + first, row, end);
        join_lanes(totals, tile.rows, lanes, first, into);
      }
    }
  }

  /// Adds the rows [begin, end) of tile.rows channels, packed.
  void sum_packed_piece(InstructionSet set, const Tile<T>& model, Index column, Index begin,
                        Index end) const {
    PackedTile<T> packed(plan_, data_);
    const Index together = (std::min)(end - begin, packed_elements);
    const Index lines = PackedTile<T>::lines(together);
    const Index lanes = call_.kernels.lanes_of(set);
    for (Index c = 0; c < model.rows; c += lines) {
      Tile<T> tile = model;
      tile.prefetch = false;
      shift(tile, model, c, c * lanes);
      for (Index row = begin; row < end; row += together) {
        packed.pack(tile, column + c, (std::min)(lines, model.rows - c), row,
                    (std::min)(together, end - row));
        call_.kernels(set, tile);
      }
    }
  }

  void join_lanes(const LaneTotals& totals, Index channels, Index lanes, Index first,
                  const Targets& into) const {
    for (std::size_t j = 0; j < sums_; ++j) {
      for (Index c = 0; c < channels; ++c) {
        into[j][first + c] += sum_in_order(totals.of[j] + c * lanes, lanes);
      }
    }
  }

  /// In the order of sum_of_array, whatever the number of lanes.
  static A sum_in_order(const A* lanes, Index count) {
    if constexpr (simd::lanes_of < A, simd::baseline_bytes >> 1) {
      switch (count) {
        case 16:
          return simd::sum_of_array<A, 16>(lanes);
        case 8:
          return simd::sum_of_array<A, 8>(lanes);
        case 4:
          return simd::sum_of_array<A, 4>(lanes);
        case 2:
          return simd::sum_of_array<A, 2>(lanes);
        default:
          break;
      }
    }
    static_cast<void>(count);
    return *lanes;
  }

  // ---- beyond the range of the lanes

  [[gnu::cold]] void sum_in_accumulator(const Region& region, const Targets& into) const {
    const Index per_channel = shape_.columns_per_channel;
    C k[max_coefficients];
    C* to[max_coefficients];
    Tile<T> tile = call_.tile(data_, false);
    for (std::size_t i = 0; i < max_coefficients; ++i) tile.k[i] = to[i] = &k[i];
    for (Index column = region.first_column; column < region.last_column; ++column) {
      const Index channel = shape_.channel_of(column);
      call_.source.write(channel, channel + 1, to);
      const Index target = shape_.channels_wrap()
                               ? channel
                               : column / per_channel - region.first_column / per_channel;
      for (std::size_t j = 0; j < sums_; ++j) tile.sums[j] = into[j] + target;
      sum_column_in_accumulator(region, tile, column);
    }
  }

  void sum_column_in_accumulator(const Region& region, Tile<T>& tile, Index column) const {
    T line[max_inputs][packed_elements];
    for (std::size_t i = 0; i < data_.inputs; ++i) tile.from[i] = line[i];
    tile.rows = 1;
    tile.columns = 0;
    const bool ends_early = column >= shape_.last_width && region.last_row == shape_.rows();
    const Index last_row = region.last_row - (ends_early ? 1 : 0);
    for (Runs run(shape_, region.first_row, last_row); run.more(); run.next()) {
      for (Index n = 0; n < run.length(); ++n) {
        for (std::size_t i = 0; i < data_.inputs; ++i) {
          line[i][tile.columns] = data_.from[i][data_.input_layout(plan_, i).offset(
              column, run.outer(), run.inner() + n)];
        }
        if (++tile.columns < packed_elements) continue;
        call_.kernels.in_accumulator(tile);
        tile.columns = 0;
      }
    }
    call_.kernels.in_accumulator(tile);
  }

  const FormulaCall<T>& call_;
  const Operands<T>& data_;
  const Plan& plan_;
  const Traversal& shape_;
  std::size_t sums_;
  bool from_memory_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_REDUCE_REGION_HPP
