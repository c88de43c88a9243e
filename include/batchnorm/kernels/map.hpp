// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_MAP_HPP
#define BATCHNORM_KERNELS_MAP_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/coefficients.hpp"
#include "batchnorm/kernels/instructions.hpp"
#include "batchnorm/kernels/map_kernel.hpp"
#include "batchnorm/kernels/pack.hpp"
#include "batchnorm/kernels/partition.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"

// The mapping loop: y = formula(x, coefficients of the channel) for every element. Cuts the arrays
// into tiles and decides how memory is walked; an element's bits do not depend on any of it.
// Longer than most: rows, runs and packed tiles share one decision on prefetching and streaming.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// One kernel, where its coefficients come from, and what it is told.
template <class T>
struct FormulaCall {
  using C = parameter_t<T>;

  FormulaCall(const KernelTable<T>& table, const CoefficientSource<C>& coefficient_source,
              const FormulaOptions<C>& formula_options)
      : kernels(table), source(coefficient_source), options(formula_options) {}

  /// A tile for some operands; the driver fills in where.
  Tile<T> tile(const Operands<T>& data, bool per_column) const {
    Tile<T> tile;
    tile.per_column = per_column;
    tile.inputs = static_cast<int>(data.inputs);
    tile.outputs = static_cast<int>(data.outputs);
    tile.coefficients = coefficients();
    tile.options = &options;
    return tile;
  }
  int coefficients() const {
    return options.rectified ? kernels.epilogue_coefficients : kernels.coefficients;
  }

  const KernelTable<T>& kernels;
  const CoefficientSource<C>& source;
  FormulaOptions<C> options;
};

template <class T>
Plan plan_of(const Operands<T>& data, const ViewShape* outputs, const ViewShape* inputs) {
  return Plan(outputs, data.outputs, inputs, data.inputs);
}

/// AVX-512 where its vectors are filled, otherwise AVX2 at most. Past the cache they gain only
/// where elements are converted.
template <class T>
InstructionSet set_for(const Plan& plan, InstructionSet requested, bool memory_bound) {
  const Traversal& shape = plan.traversal();
  const bool converted = simd::is_16_bit<T>;
  const bool filled =
      shape.along_rows
          ? shape.columns * static_cast<Index>(sizeof(parameter_t<T>)) >= min_long_vector_row_bytes
          : converted && shape.inner >= min_long_vector_run;
  const bool long_vectors = plan.contiguous() && filled && (converted || !memory_bound);
  return usable_instruction_set(long_vectors ? requested
                                             : (std::max)(requested, InstructionSet::avx2));
}

template <class T>
class Mapper {
  using C = parameter_t<T>;

 public:
  /// @param written_twice  whether some elements are written again, soon: nothing is streamed then
  Mapper(const FormulaCall<T>& call, const Operands<T>& data, const Plan& plan,
         bool written_twice = false)
      : call_(call), data_(data), plan_(plan), shape_(plan_.traversal()) {
    const Index bytes = shape_.elements() * bytes_per_element();
    const bool long_enough = shape_.along_rows || shape_.inner >= min_streamed_run;
    streaming_ = simd::can_stream<T> && !written_twice && long_enough && worth_streaming(bytes) &&
                 can_stream_outputs();
  }

  const Traversal& traversal() const { return shape_; }
  /// Whether outputs are written past the cache.
  bool streams() const { return streaming_; }

  /// Maps everything, on as many threads as are worth it.
  void run(const Execution& given) const {
    const Execution execution = given.for_elements(shape_.elements());
    const InstructionSet set = set_for<T>(plan_, execution.instruction_set(), streaming_);
    if (execution.threads() == 1) {
      map_region(set, {0, shape_.columns, 0, shape_.rows()}, 0);
      return;
    }
    const MapPartition partition(shape_, execution.threads());
    execution.for_each(partition.tasks(),
                       [&](Index task) { map_region(set, partition.region(task), 0); });
  }

  /// Maps the channels [first, last) on this thread, and meanwhile prefetches as many of the next
  /// ones, up to `end`, where they come from memory.
  void run_channels(InstructionSet requested, Index first, Index last, Index end) const {
    const Index width = shape_.columns_per_channel;
    const Index share = shape_.elements() * bytes_per_element() / shape_.channels * (last - first);
    const bool next = streaming_ && share <= 8 * resident_bytes() && last < end;
    map_region(set_for<T>(plan_, requested, streaming_),
               {first * width, last * width, 0, shape_.rows()}, next ? (last - first) * width : 0);
  }

 private:
  /// Lines of an output in place have just been read; those of two outputs are streamed in step.
  bool can_stream_outputs() const {
    if (data_.is_in_place()) return false;
    if (data_.outputs < 2) return true;
    const auto line = [](const T* at) {
      return reinterpret_cast<std::uintptr_t>(at) % cache_line_bytes;
    };
    const auto offset = [](Index stride) {
      return stride * static_cast<Index>(sizeof(T)) % cache_line_bytes;
    };
    const Layout& a = plan_.layout(0);
    const Layout& b = plan_.layout(1);
    return line(data_.to[0]) == line(data_.to[1]) &&
           offset(a.outer_stride) == offset(b.outer_stride) &&
           offset(a.inner_stride) == offset(b.inner_stride) &&
           offset(a.column_stride) == offset(b.column_stride);
  }

  Index bytes_per_element() const {
    return static_cast<Index>((data_.outputs + data_.inputs) * sizeof(T));
  }

  /// @param next_columns  distance in columns to what is mapped after this region; 0 if unknown
  void map_region(InstructionSet set, const Region& region, Index next_columns) const {
    const Index shortest = shape_.along_rows ? region.columns() : shape_.inner;
    if (!plan_.contiguous() || shortest < call_.kernels.width_of(set)) {
      map_packed(set, region);
    } else if (shape_.along_rows) {
      map_rows(set, region);
    } else {
      map_runs(set, region, next_columns);
    }
    if (streaming_) finish_streaming();
  }

  // ---- across channels

  void map_rows(InstructionSet set, const Region& region) const {
    const ColumnTables<C> tables(call_.source, call_.coefficients(), shape_);
    TableRoom<C> room;
    Tile<T> tile = call_.tile(data_, true);
    data_.set_steps(tile, plan_, &Layout::inner_stride);
    tile.streaming = streaming_;
    const Index most = tables.most_columns();
    for (Index first = region.first_column; first < region.last_column; first += most) {
      const Index columns = (std::min)(most, region.last_column - first);
      if (columns < call_.kernels.width_of(set)) {
        map_packed(set, {first, first + columns, region.first_row, region.last_row});
        continue;
      }
      tile.k = tables.of(first, columns, false, room);
      map_block_of_rows(set, region, tile, first, columns);
    }
  }

  void map_block_of_rows(InstructionSet set, const Region& region, Tile<T>& tile, Index first,
                         Index columns) const {
    const bool short_end = shape_.last_width < shape_.columns && region.last_row == shape_.rows();
    set_row_prefetch(tile, columns);
    for (Runs run(shape_, region.first_row, region.last_row); run.more(); run.next()) {
      const Index rows = run.length() - (short_end ? 1 : 0);
      if (rows > 0) {
        tile.rows = rows;
        tile.columns = columns;
        data_.locate(tile, plan_, first, run.outer(), run.inner());
        call_.kernels(set, tile);
      }
      if (!short_end || shape_.last_width <= first) continue;
      tile.rows = 1;
      tile.columns = (std::min)(columns, shape_.last_width - first);
      if (tile.columns < call_.kernels.width_of(set)) {
        map_packed(set, {first, first + tile.columns, region.last_row - 1, region.last_row});
        continue;
      }
      data_.locate(tile, plan_, first, run.outer(), run.inner() + rows);
      call_.kernels(set, tile);
    }
  }

  /// Some rows ahead.
  void set_row_prefetch(Tile<T>& tile, Index columns) const {
    const Index row_bytes = columns * static_cast<Index>(sizeof(T));
    const Index rows = (prefetch_bytes + row_bytes - 1) / row_bytes;
    tile.prefetch = streaming_ && row_bytes >= min_prefetched_row_bytes;
    for (std::size_t i = 0; i < data_.inputs; ++i) tile.ahead[i] = rows * tile.from_step[i];
  }

  // ---- along the values of a channel

  void map_runs(InstructionSet set, const Region& region, Index next_columns) const {
    // In the order of memory: sample by sample, channel by channel, or channel by channel.
    const Layout& to = plan_.layout(0);
    const bool by_channel = region.columns() <= max_channels_in_turn ||
                            (shape_.outer > 1 && to.outer_stride <= to.column_stride);
    const ColumnTables<C> tables(call_.source, call_.coefficients(), shape_);
    const Index together = by_channel ? 1 : tables.most_columns();
    TableRoom<C> room;
    Tile<T> tile = call_.tile(data_, false);
    data_.set_steps(tile, plan_, by_channel ? &Layout::outer_stride : &Layout::column_stride);
    tile.row_step = by_channel ? 0 : 1;
    tile.streaming = streaming_;
    tile.prefetch = next_columns != 0 || streaming_;
    data_.set_run_prefetch(tile, plan_, !by_channel);
    for (std::size_t i = 0; next_columns != 0 && i < data_.inputs; ++i) {
      tile.ahead[i] = next_columns * data_.input_layout(plan_, i).column_stride;
    }
    for (Index first = region.first_column; first < region.last_column; first += together) {
      const Index channels = (std::min)(together, region.last_column - first);
      tile.k = tables.of(first, channels, false, room);
      for (Runs run(shape_, region.first_row, region.last_row); run.more(); run.next()) {
        if (run.length() < call_.kernels.width_of(set)) {
          // What is left of a run that is cut for threads.
          const Index row = run.outer() * shape_.inner + run.inner();
          map_packed(set, {first, first + channels, row, row + run.length()});
          continue;
        }
        tile.rows = by_channel ? (std::max<Index>)(1, run.whole_runs()) : channels;
        tile.columns = run.length();
        data_.locate(tile, plan_, first, run.outer(), run.inner());
        call_.kernels(set, tile);
        if (by_channel) run.skip(tile.rows);
      }
    }
  }

  // ---- packed

  void map_packed(InstructionSet set, const Region& region) const {
    const ColumnTables<C> tables(call_.source, call_.coefficients(), shape_);
    TableRoom<C> room;
    PackedTile<T> packed(plan_, data_);
    const Index most_columns = shape_.along_rows ? packed_elements : max_mapped_columns;
    for (Index first = region.first_column; first < region.last_column; first += most_columns) {
      const Index columns = (std::min)(most_columns, region.last_column - first);
      const Tables<C> k = tables.of(first, columns, true, room);
      map_packed_block(set, region, packed, k, first, columns);
    }
  }

  void map_packed_block(InstructionSet set, const Region& region, PackedTile<T>& packed,
                        const Tables<C>& k, Index first, Index columns) const {
    const bool across = shape_.along_rows;
    Tile<T> tile = call_.tile(data_, across);
    const Index length = across ? columns : (std::min)(region.rows(), packed_elements);
    const Index lines = PackedTile<T>::lines(length);
    const Index row_step = across ? lines : length;
    const Index column_step = across ? columns : lines;
    for (Index c = 0; c < columns; c += column_step) {
      for (std::size_t i = 0; i < max_coefficients; ++i) {
        tile.k[i] = k[i] == nullptr ? nullptr : k[i] + c;
      }
      for (Index row = region.first_row; row < region.last_row; row += row_step) {
        Index rows = (std::min)(row_step, region.last_row - row);
        Index width = (std::min)(column_step, columns - c);
        // The very last row may be shorter: by itself.
        const bool ends =
            across && shape_.last_width < shape_.columns && row + rows == shape_.rows();
        if (ends) --rows;
        if (rows > 0) map_packed_tile(set, packed, tile, first + c, width, row, rows);
        if (!ends || shape_.last_width <= first) continue;
        width = (std::min)(width, shape_.last_width - first);
        map_packed_tile(set, packed, tile, first, width, row + rows, 1);
      }
    }
  }

  void map_packed_tile(InstructionSet set, PackedTile<T>& packed, Tile<T>& tile, Index column,
                       Index columns, Index row, Index rows) const {
    packed.pack(tile, column, columns, row, rows);
    call_.kernels(set, tile);
    packed.unpack(tile, column, row);
  }

  const FormulaCall<T>& call_;
  const Operands<T>& data_;
  Plan plan_;
  const Traversal& shape_;
  bool streaming_;
};

/// Maps every element; an output that is one of the inputs is in place. Allocates nothing.
template <class T>
void map(const Execution& execution, const FormulaCall<T>& call, const Operands<T>& data,
         const ViewShape* outputs, const ViewShape* inputs) {
  if (outputs[0].samples == 0 || outputs[0].positions == 0) return;
  Mapper<T>(call, data, plan_of(data, outputs, inputs)).run(execution);
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_MAP_HPP
