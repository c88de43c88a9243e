// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_REDUCE_HPP
#define BATCHNORM_KERNELS_REDUCE_HPP

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cstddef>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/coefficients.hpp"
#include "batchnorm/kernels/kernel.hpp"
#include "batchnorm/kernels/map.hpp"
#include "batchnorm/kernels/pack.hpp"
#include "batchnorm/kernels/partition.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/version.hpp"

// The reducing loop: a few sums per channel. Lanes sum a few values in their own type, for speed;
// totals are in the accumulator. All cuts depend on the shape alone and totals are joined in a
// fixed order, so that the bits of a channel depend neither on the number of threads nor on other
// channels.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// What a reduction makes of the sums of a channel.
enum class Outcome {
  done,
  retry,                ///< with coefficients that have changed
  retry_in_accumulator  ///< in the type of the totals: the sums are beyond the range of the lanes
};

/// What is done with the sums of channels. Virtual, so that the loop is compiled once per scalar.
template <class T>
class Reduction {
 public:
  using A = accumulator_t<T>;

  /// Where sum j of channel 0 goes; those of the other channels follow it.
  virtual A* result(std::size_t j) = 0;
  /// Called before the first attempt at the channels [first, last).
  virtual void prepare(const Plan& plan, const Operands<T>& data, InstructionSet set, Index first,
                       Index last) = 0;
  /// Finishes channels in their order after the first attempt, up to one that needs more than the
  /// plain formula, which it returns; `last` if none does.
  virtual Index finish_many(Index first, Index last) = 0;
  /// Finishes one channel after `tried` attempts before this one.
  virtual Outcome finish(Index channel, int tried, bool in_accumulator) = 0;

 protected:
  Reduction() = default;
  Reduction(const Reduction&) = default;
  Reduction& operator=(const Reduction&) = default;
  ~Reduction() = default;
};

/// Sums the values of one region: channel c of the region goes to into[j][c].
template <class T>
class RegionReducer {
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
    const Index shortest = shape_.along_rows ? region.columns() : shape_.inner;
    if (in_accumulator) {
      sum_in_accumulator(region, into);
    } else if (shape_.along_rows) {
      sum_rows(set, region, into, !plan_.contiguous() || shortest < call_.kernels.width_of(set));
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
    if (packed) {
      sum_packed_rows(set, tile, region, begin, end, columns);
    } else {
      sum_whole_rows(set, tile, region, begin, end, columns);
    }
    join_columns(tile.sums, columns, into);
  }

  /// Fewer rows where they are long and come from memory. Decided by the shape and not by a block,
  /// whose width depends on the number of threads: totals are joined after so many rows.
  Index rows_per_tile() const {
    const Index row_bytes =
        (std::min)(shape_.columns, max_block_columns) * static_cast<Index>(sizeof(T));
    const bool long_rows = row_bytes >= (data_.inputs > 1 ? min_prefetched_row_bytes : 2048);
    return from_memory_ && long_rows ? max_terms_per_lane : max_terms_per_total;
  }

  void sum_whole_rows(InstructionSet set, Tile<T>& tile, const Region& region, Index begin,
                      Index end, Index columns) const {
    data_.set_steps(tile, plan_, &Layout::inner_stride);
    tile.columns = columns;
    const Index row_bytes = columns * static_cast<Index>(sizeof(T));
    tile.prefetch = from_memory_ && row_bytes >= min_prefetched_row_bytes;
    const Index together = rows_per_tile();
    const Index rows_ahead = (std::max)(together, (prefetch_bytes + row_bytes - 1) / row_bytes);
    for (std::size_t i = 0; i < data_.inputs; ++i) {
      tile.ahead[i] = rows_ahead * tile.from_step[i];
    }
    for (Runs run(shape_, begin, end); run.more(); run.next()) {
      for (Index row = 0; row < run.length(); row += together) {
        tile.rows = (std::min)(together, run.length() - row);
        data_.locate(tile, plan_, region.first_column, run.outer(), run.inner() + row);
        call_.kernels(set, tile);
      }
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
    data_.set_run_prefetch(tile, plan_);
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

  /// The upper half onto the lower one, again and again.
  static A sum_in_order(const A* from, Index count) {
    A sums[max_lanes];
    std::copy(from, from + count, sums);
    for (Index half = count / 2; half > 0; half /= 2) {
      for (Index i = 0; i < half; ++i) sums[i] += sums[i + half];
    }
    return sums[0];
  }

  // ---- beyond the range of the lanes

  void sum_in_accumulator(const Region& region, const Targets& into) const {
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

/// Reduces channels until all are finished.
template <class T>
class Reducer {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;
  static constexpr bool lanes_are_wide = std::is_same<A, C>::value;
  using Targets = typename RegionReducer<T>::Targets;

 public:
  Reducer(Reduction<T>& reduction, const FormulaCall<T>& call, const Operands<T>& data,
          const Plan& plan, std::size_t sums)
      : reduction_(reduction),
        plan_(plan),
        shape_(plan.traversal()),
        region_(call, data, plan, sums),
        sums_(sums) {}

  void run(const Execution& execution, Index first, Index last) const {
    const InstructionSet set = set_for<T>(plan_, execution.instruction_set(), false);
    Targets into{};
    for (std::size_t j = 0; j < sums_; ++j) into[j] = reduction_.result(j) + first;
    reduction_.prepare(plan_, region_.operands(), set, first, last);
    attempt(execution, set, first, last, false, into);
    const Index together = channels_together();
    for (Index channel = first; channel < last; ++channel) {
      channel = reduction_.finish_many(channel, last);
      if (channel == last) return;
      const Outcome outcome = reduction_.finish(channel, 0, lanes_are_wide);
      if (outcome == Outcome::done) continue;
      const Index begin = shape_.channels_wrap() ? 0 : channel;
      const Index end = shape_.channels_wrap() ? last : (std::min)(last, channel + together);
      retry(execution, set, channel, outcome, begin, end);
      channel = end - 1;
    }
  }

 private:
  /// Channels that wrap, or share cache lines.
  static constexpr Index max_retried = max_short_row;

  /// Channels that share cache lines, so that reducing one costs as much as all.
  Index channels_together() const {
    return shape_.along_rows && shape_.columns_per_channel == 1
               ? cache_line_bytes / static_cast<Index>(sizeof(float))
               : 1;
  }

  /// Reduces [begin, end) again and again, for those of them that are not done; the first that is
  /// not is known. One kind of outcome at a time: no channel is reduced in another way because of
  /// its neighbours.
  void retry(const Execution& execution, InstructionSet set, Index pending, Outcome outcome,
             Index begin, Index end) const {
    Outcome outcomes[max_retried] = {};
    int tried[max_retried] = {};
    A scratch[max_sums][max_retried];
    Targets into{};
    for (std::size_t j = 0; j < sums_; ++j) into[j] = scratch[j];
    outcomes[pending - begin] = outcome;
    for (Index c = pending + 1; c < end; ++c) {
      outcomes[c - begin] = reduction_.finish(c, 0, lanes_are_wide);
    }
    for (Outcome kind = cheapest(outcomes); kind != Outcome::done; kind = cheapest(outcomes)) {
      const bool wide = kind == Outcome::retry_in_accumulator;
      attempt(execution, set, begin, end, wide, into);
      for (Index c = begin; c < end; ++c) {
        if (outcomes[c - begin] != kind) continue;
        for (std::size_t j = 0; j < sums_; ++j) reduction_.result(j)[c] = into[j][c - begin];
        outcomes[c - begin] = reduction_.finish(c, ++tried[c - begin], lanes_are_wide || wide);
      }
    }
  }

  static Outcome cheapest(const Outcome (&outcomes)[max_retried]) {
    for (const Outcome kind : {Outcome::retry, Outcome::retry_in_accumulator}) {
      if (std::find(std::begin(outcomes), std::end(outcomes), kind) != std::end(outcomes)) {
        return kind;
      }
    }
    return Outcome::done;
  }

  void attempt(const Execution& execution, InstructionSet set, Index first, Index last, bool wide,
               const Targets& into) const {
    const Partition partition(shape_, first, last, execution.threads());
    if (execution.threads() == 1 || partition.slices() == 1) {
      execution.for_each(partition.blocks(), [&](Index block) {
        block_in_turn(set, partition, block, first, wide, into);
      });
    } else {
      all_at_once(execution, set, partition, first, last, wide, into);
    }
  }

  static Targets at_channel(const Targets& targets, Index channel) {
    Targets at = targets;
    for (A*& target : at) {
      if (target != nullptr) target += channel;
    }
    return at;
  }

  void add_slice(Index channels, const Targets& into, const Targets& slice) const {
    for (std::size_t j = 0; j < sums_; ++j) {
      for (Index c = 0; c < channels; ++c) into[j][c] += slice[j][c];
    }
  }

  /// One slice after another, in scratch on the stack.
  void block_in_turn(InstructionSet set, const Partition& partition, Index block, Index first,
                     bool wide, const Targets& results) const {
    const Targets into = at_channel(results, partition.first_channel(block) - first);
    region_.run(set, partition.region(block, 0), wide, into);
    if (partition.slices() == 1) return;
    A scratch[max_sums][max_block_columns];
    Targets slice_results{};
    for (std::size_t j = 0; j < sums_; ++j) slice_results[j] = scratch[j];
    for (Index slice = 1; slice < partition.slices(); ++slice) {
      region_.run(set, partition.region(block, slice), wide, slice_results);
      add_slice(partition.last_channel(block) - partition.first_channel(block), into,
                slice_results);
    }
  }

  /// Every slice of every block a task; joined afterwards in the order of block_in_turn. Needs
  /// memory for the slices: per channel, not per element.
  void all_at_once(const Execution& execution, InstructionSet set, const Partition& partition,
                   Index first, Index last, bool wide, const Targets& results) const {
    const Index slices = partition.slices();
    const Index channels = last - first;
    // Written by the threads alone, which then need not fetch it from this one.
    Eigen::Array<A, Eigen::Dynamic, 1> scratch(static_cast<Index>(sums_) * slices * channels);
    const auto slice_results = [&](Index slice) {
      Targets into{};
      for (std::size_t j = 0; j < sums_; ++j) {
        into[j] = scratch.data() + (static_cast<Index>(j) * slices + slice) * channels;
      }
      return into;
    };
    execution.for_each(partition.blocks() * slices, [&](Index task) {
      const Index block = task / slices;
      const Index slice = task % slices;
      region_.run(set, partition.region(block, slice), wide,
                  at_channel(slice == 0 ? results : slice_results(slice),
                             partition.first_channel(block) - first));
    });
    for (Index slice = 1; slice < slices; ++slice) {
      add_slice(channels, results, slice_results(slice));
    }
  }

  Reduction<T>& reduction_;
  const Plan& plan_;
  const Traversal& shape_;
  RegionReducer<T> region_;
  std::size_t sums_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_REDUCE_HPP
