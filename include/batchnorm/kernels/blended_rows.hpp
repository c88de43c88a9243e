// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_BLENDED_ROWS_HPP
#define BATCHNORM_KERNELS_BLENDED_ROWS_HPP

#include <algorithm>
#include <cstddef>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/coefficients.hpp"
#include "batchnorm/kernels/instruction_set.hpp"
#include "batchnorm/kernels/instructions.hpp"
#include "batchnorm/kernels/join_results.hpp"
#include "batchnorm/kernels/list_lines.hpp"
#include "batchnorm/kernels/map.hpp"
#include "batchnorm/kernels/pack.hpp"
#include "batchnorm/kernels/selected.hpp"
#include "batchnorm/kernels/tile.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/version.hpp"

// Maps where the channels of a value are neighbours and the mask changes often: some rows are
// mapped into L1 at a time, those on a list get something else there, and all are written at once.
// Outputs may be inputs.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

template <class T>
class BlendedRows {
  using C = parameter_t<T>;

 public:
  /// @param layout     of the outputs, then the inputs
  /// @param other      the formula of what is on the list; differs in its options alone. Null:
  /// @param input      what this input holds, or zeros for -1
  /// @param streaming  whether outputs go past the cache
  BlendedRows(const ListLayout& layout, const FormulaCall<T>& call, const FormulaCall<T>* other,
              int input, const Operands<T>& data, Index channels, bool streaming)
      : layout_(layout),
        call_(call),
        other_(other),
        input_(input),
        data_(data),
        streaming_(streaming) {
    shape_.channels = shape_.columns = shape_.last_width = channels;
  }

  /// Whether pieces are short, and rows are not.
  static bool fits(const ListLayout& layout, const FormulaCall<T>& call, Index channels) {
    return layout.list().is_fragmented() && layout.is_along_channels() &&
           channels >= call.kernels.width_of(usable_instruction_set(InstructionSet::avx2));
  }

  void run(const Execution& given, const ChannelRange& range) const {
    const InstructionSet set =
        usable_instruction_set((std::max)(given.instruction_set(), InstructionSet::avx2));
    for_parts(given, layout_.places(), range.count(), [&](Index begin, Index end) {
      const ColumnTables<C> tables(call_.source, call_.coefficients(), shape_);
      TableRoom<C> room;
      Results results;
      Pieces pieces(layout_);
      for (Index first = range.first; first < range.last;) {
        // The last columns are not left alone: they might be too few for a kernel.
        const Index left = range.last - first;
        const Index columns = left < 2 * most_columns ? left : most_columns;
        const Tables<C> k = tables.of(first, columns, false, room);
        Index rank = layout_.list().count_before(begin);
        for (Index place = begin; place < end;) {
          const Index on_axis = layout_.inner() - place % layout_.inner();
          const Index rows = (std::min)({end - place, on_axis, room_ / columns});
          map_rows(set, k, {first, columns, place, rows}, pieces, rank, results);
          place += rows;
        }
        first += columns;
      }
      if (streaming_) finish_streaming();
    });
  }

 private:
  static constexpr Index most_columns = 256;
  static constexpr Index room_ = 8 * most_columns;
  struct Results {
    T of[max_outputs][room_];
  };
  /// Some columns of neighbouring places.
  struct Block {
    Index first;
    Index columns;
    Index place;
    Index rows;
  };

  /// @param rank  of the first value of the list from the block on; is moved behind the block
  void map_rows(InstructionSet set, const Tables<C>& k, const Block& block, Pieces& pieces,
                Index& rank, Results& results) const {
    Tile<T> tile = call_.tile(data_, true);
    tile.k = k;
    tile.prefetch = streaming_;
    for (std::size_t i = 0; i < data_.inputs; ++i) {
      tile.ahead[i] = block.rows * layout_.of(data_.outputs + i).inner_stride;
    }
    for (std::size_t o = 0; streaming_ && o < data_.outputs; ++o) {
      prefetch_ends(data_.to[o] + layout_.offset(o, block.place) + block.first,
                    block.rows * block.columns);
    }
    run_formula(set, tile, call_, block, block.place, block.rows, results);
    tile.prefetch = false;
    const Index count = layout_.list().count();
    const Index end = block.place + block.rows;
    while (rank < count) {
      const Piece piece = pieces.at(rank);
      if (piece.place >= end) break;
      const Index rows = (std::min)(piece.length, end - piece.place);
      if (other_ != nullptr) {
        run_formula(set, tile, *other_, block, piece.place, rows, results);
      } else {
        fill_rows(block, piece.place, rows, results);
      }
      rank += rows;
    }
    for (std::size_t o = 0; o < data_.outputs; ++o) {
      // Rows that follow one another without gaps are delivered as one.
      const bool dense = layout_.of(o).inner_stride == block.columns;
      for (Index r = 0; r < (dense ? 1 : block.rows); ++r) {
        run_for_masks<DeliverKernel<T>>(
            set, {data_.to[o] + layout_.offset(o, block.place + r) + block.first,
                  results.of[o] + r * block.columns,
                  dense ? block.rows * block.columns : block.columns, streaming_});
      }
    }
  }

  void run_formula(InstructionSet set, Tile<T>& tile, const FormulaCall<T>& call,
                   const Block& block, Index place, Index rows, Results& results) const {
    tile.options = &call.options;
    tile.rows = rows;
    tile.columns = block.columns;
    for (std::size_t i = 0; i < data_.inputs; ++i) {
      tile.from[i] = row_of(i, place) + block.first;
      tile.from_step[i] = layout_.of(data_.outputs + i).inner_stride;
    }
    for (std::size_t o = 0; o < data_.outputs; ++o) {
      tile.to[o] = results.of[o] + (place - block.place) * block.columns;
    }
    tile.to_step.fill(block.columns);
    data_.fill_unused(tile);
    call.kernels(set, tile);
  }

  void fill_rows(const Block& block, Index place, Index rows, Results& results) const {
    for (std::size_t o = 0; o < data_.outputs; ++o) {
      for (Index r = place; r < place + rows; ++r) {
        T* const to = results.of[o] + (r - block.place) * block.columns;
        if (o == 0 && input_ >= 0) {
          const T* const from = row_of(static_cast<std::size_t>(input_), r) + block.first;
          std::copy(from, from + block.columns, to);
        } else {
          std::fill_n(to, block.columns, T(0));
        }
      }
    }
  }

  const T* row_of(std::size_t input, Index place) const {
    return data_.from[input] + layout_.offset(data_.outputs + input, place);
  }

  const ListLayout& layout_;
  const FormulaCall<T>& call_;
  const FormulaCall<T>* other_;
  int input_;
  const Operands<T>& data_;
  Traversal shape_;
  bool streaming_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_BLENDED_ROWS_HPP
