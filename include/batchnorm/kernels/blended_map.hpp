// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_BLENDED_MAP_HPP
#define BATCHNORM_KERNELS_BLENDED_MAP_HPP

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/coefficients.hpp"
#include "batchnorm/kernels/compress.hpp"
#include "batchnorm/kernels/list_lines.hpp"
#include "batchnorm/kernels/map.hpp"
#include "batchnorm/kernels/pack.hpp"
#include "batchnorm/kernels/selected.hpp"
#include "batchnorm/kernels/tile.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/version.hpp"

// Everything is mapped by one formula and what is on a list by another, where the values of a
// channel are neighbours and the list is fragmented: by both formulas, some hundred values at a
// time, of which the bits of the list choose. Outputs may be inputs.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

template <class T>
class BlendedMap {
  using C = parameter_t<T>;

 public:
  /// @param layout  of the outputs, then the inputs; has_bits()
  /// @param call    of the values that are not on the list
  /// @param other   of those that are; differs in its options alone
  BlendedMap(const ListLayout& layout, const FormulaCall<T>& call, const FormulaCall<T>& other,
             const Operands<T>& data, Index channels)
      : layout_(layout), call_(call), other_(other), data_(data) {
    shape_.channels = shape_.columns = shape_.last_width = channels;
  }

  void run(const Execution& given, const ChannelRange& range) const {
    const Index chunks = rows() * chunks_per_row();
    for_parts(given, chunks, range.count() * chunk, [&](Index begin, Index end) {
      const InstructionSet set =
          usable_instruction_set((std::max)(given.instruction_set(), InstructionSet::avx2));
      const ColumnTables<C> tables(call_.source, call_.coefficients(), shape_);
      TableRoom<C> room;
      Outputs outputs;
      for (Index channel = range.first; channel < range.last; ++channel) {
        const Tables<C> k = tables.of(channel, 1, false, room);
        for (Index c = begin; c < end; ++c) map_chunk(set, k, channel, c, outputs);
      }
    });
  }

  /// Whether rows are long enough.
  static bool fits(const ListLayout& layout, const FormulaCall<T>& call) {
    return layout.has_bits() &&
           layout.list().bits().places() >=
               call.kernels.width_of(usable_instruction_set(InstructionSet::avx2));
  }

 private:
  static constexpr Index chunk = packed_elements;
  struct Outputs {
    T of[max_outputs][2 * chunk + margin];
  };

  const PlaceBits& bits() const { return layout_.list().bits(); }
  Index rows() const { return layout_.places() / bits().places(); }
  Index chunks_per_row() const { return (std::max<Index>)(1, bits().places() / chunk); }

  /// The last chunk of a row is longer, so that none is short.
  void map_chunk(InstructionSet set, const Tables<C>& k, Index channel, Index number,
                 Outputs& outputs) const {
    const Index row = number / chunks_per_row();
    const Index in_row = number - row * chunks_per_row();
    const Index place = in_row * chunk;
    Tile<T> tile = call_.tile(data_, false);
    tile.k = k;
    tile.rows = 1;
    tile.columns = in_row + 1 == chunks_per_row() ? bits().places() - place : chunk;
    tile.prefetch = true;
    const auto offset = [&](std::size_t operand) {
      return layout_.of(operand).offset(channel, row, place);
    };
    for (std::size_t i = 0; i < data_.inputs; ++i) {
      const std::size_t operand = data_.outputs + i;
      tile.from[i] = data_.from[i] + offset(operand);
      tile.ahead[i] = rows() > 1 ? layout_.of(operand).outer_stride : chunk;
    }
    T* to[max_outputs];
    for (std::size_t o = 0; o < data_.outputs; ++o) {
      to[o] = data_.to[o] + offset(o);
      tile.to[o] = outputs.of[o];
    }
    data_.fill_unused(tile);
    tile.options = &other_.options;
    call_.kernels(set, tile);
    tile.prefetch = false;
    tile.options = &call_.options;
    for (std::size_t o = 0; o < data_.outputs; ++o) tile.to[o] = to[o];
    data_.fill_unused(tile);
    call_.kernels(set, tile);
    const std::uint8_t* const chosen =
        bits().data() + row * bits().row_bytes() + place / PlaceBits::per_byte;
    for (std::size_t o = 0; o < data_.outputs; ++o) {
      blend(outputs.of[o], chosen, tile.columns, to[o]);
    }
  }

  const ListLayout& layout_;
  const FormulaCall<T>& call_;
  const FormulaCall<T>& other_;
  const Operands<T>& data_;
  Traversal shape_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_BLENDED_MAP_HPP
