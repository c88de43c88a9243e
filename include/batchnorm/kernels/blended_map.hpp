// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_BLENDED_MAP_HPP
#define BATCHNORM_KERNELS_BLENDED_MAP_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

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
#include "batchnorm/kernels/tuning.hpp"
#include "batchnorm/version.hpp"

// Maps where the values of a channel are neighbours, and what one of them gets depends on a mask
// whose bits change often, or on a weight: some hundred values at a time are mapped into L1, joined
// there with what others get, and written once. Outputs may be inputs.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

template <class T>
class BlendedMap {
  using C = parameter_t<T>;

 public:
  /// What values get on the list, or besides their own formula where they have weights.
  struct Others {
    const FormulaCall<T>* call = nullptr;  ///< the results of this formula
    int input = -1;                        ///< without one: what an input holds, or zeros
    const C* weights = nullptr;            ///< of all places: what the formula gives for a gradient
                                           ///< of zero, multiplied with the weight of the place
  };

  /// @param layout     of the outputs, then the inputs
  /// @param streaming  whether outputs go past the cache
  BlendedMap(const ListLayout& layout, const FormulaCall<T>& call, const Others& others,
             const Operands<T>& data, Index channels, bool streaming)
      : layout_(layout),
        call_(call),
        others_(others),
        data_(data),
        row_places_(others.weights == nullptr ? layout.list().bits().places() : layout.inner()),
        streaming_(streaming) {
    shape_.channels = shape_.columns = shape_.last_width = channels;
    const Index bytes =
        layout.places() * channels * static_cast<Index>((data.inputs + data.outputs) * sizeof(T));
    from_memory_ = exceeds_l2(bytes);
  }

  void run(const Execution& given, const ChannelRange& range) const {
    const Index chunks = rows() * chunks_per_row();
    for_parts(given, chunks, range.count() * chunk, [&](Index begin, Index end) {
      const InstructionSet set = set_of(given);
      const ColumnTables<C> tables(call_.source, call_.coefficients(), shape_);
      TableRoom<C> room;
      Results results;
      for (Index channel = range.first; channel < range.last; ++channel) {
        const Tables<C> k = tables.of(channel, 1, false, room);
        for (Index c = begin; c < end; ++c) map_chunk(set, k, {channel, c, range.next}, results);
      }
      if (streaming_) finish_streaming();
    });
  }

  /// Whether bits are there and rows are long enough.
  static bool fits(const ListLayout& layout, const FormulaCall<T>& call) {
    return layout.has_bits() && layout.list().bits().places() >= width_of(call);
  }
  /// The same for weights, which need no bits.
  static bool fits_weights(const ListLayout& layout, const FormulaCall<T>& call) {
    return layout.is_along_values() && layout.inner() >= width_of(call);
  }

 private:
  static constexpr Index chunk = packed_elements;
  static constexpr Index longest = 2 * chunk + WeightedTermsKernel<T>::room;
  struct Results {
    T of[max_outputs][longest];
    T others[max_outputs][longest];
    T zeros[longest];
    Results() {
      std::fill_n(zeros, longest, T(0));
      for (T(&each)[longest] : of) std::fill_n(each, longest, T(0));
      for (T(&each)[longest] : others) std::fill_n(each, longest, T(0));
    }
  };
  struct Place {
    Index channel;
    Index chunk;
    Index next;  ///< as in ChannelRange
  };

  static InstructionSet set_of(const Execution& given) {
    return usable_instruction_set((std::max)(given.instruction_set(), InstructionSet::avx2));
  }
  static Index width_of(const FormulaCall<T>& call) { return call.kernels.width_of(set_of({})); }
  Index rows() const { return layout_.places() / row_places_; }
  Index chunks_per_row() const { return (std::max<Index>)(1, row_places_ / chunk); }

  /// The last chunk of a row is longer, so that none is short.
  void map_chunk(InstructionSet set, const Tables<C>& k, const Place& at, Results& results) const {
    const Index row = at.chunk / chunks_per_row();
    const Index in_row = at.chunk - row * chunks_per_row(), place = in_row * chunk;
    Tile<T> tile = call_.tile(data_, false);
    tile.k = k;
    tile.rows = 1;
    tile.columns = in_row + 1 == chunks_per_row() ? row_places_ - place : chunk;
    const auto offset = [&](std::size_t operand) {
      return layout_.of(operand).offset(at.channel, row, place);
    };
    for (std::size_t i = 0; i < data_.inputs; ++i) {
      const Layout& layout = layout_.of(data_.outputs + i);
      tile.from[i] = data_.from[i] + offset(data_.outputs + i);
      tile.ahead[i] = at.next != 0 ? at.next * layout.column_stride
                      : rows() > 1 ? layout.outer_stride
                                   : chunk;
    }
    for (std::size_t o = 0; o < data_.outputs; ++o) {
      tile.to[o] = results.of[o];
      if (streaming_) prefetch_ends(data_.to[o] + offset(o), tile.columns);
    }
    tile.prefetch = from_memory_;
    data_.fill_unused(tile);
    call_.kernels(set, tile);
    tile.prefetch = false;
    // Past the cache in one piece, else as it is joined.
    T* to[max_outputs];
    for (std::size_t o = 0; o < data_.outputs; ++o) {
      to[o] = streaming_ ? results.of[o] : data_.to[o] + offset(o);
    }
    if (others_.weights != nullptr) {
      add_weighted(set, tile, others_.weights + row * row_places_ + place, results, to);
    } else {
      replace(set, tile, row * layout_.list().bits().row_bytes() + place / PlaceBits::per_byte,
              results, to);
    }
    for (std::size_t o = 0; streaming_ && o < data_.outputs; ++o) {
      deliver(set, data_.to[o] + offset(o), results.of[o], tile.columns);
    }
  }

  void deliver(InstructionSet set, T* to, const T* from, Index count) const {
    run_for_masks<DeliverKernel<T>>(set, {to, from, count, true});
  }

  void replace(InstructionSet set, Tile<T>& tile, Index first_byte, Results& results,
               T* const (&to)[max_outputs]) const {
    if (others_.call != nullptr) {
      tile.options = &others_.call->options;
      for (std::size_t o = 0; o < data_.outputs; ++o) tile.to[o] = results.others[o];
      data_.fill_unused(tile);
      call_.kernels(set, tile);
    }
    const std::uint8_t* const bits = layout_.list().bits().data() + first_byte;
    for (std::size_t o = 0; o < data_.outputs; ++o) {
      const bool copies = o == 0 && others_.input >= 0;
      const T* const by = others_.call != nullptr ? results.others[o]
                          : copies ? tile.from[static_cast<std::size_t>(others_.input)]
                                   : nullptr;
      run_for_masks<ReplaceKernel<T>>(set, {results.of[o], by, bits, tile.columns, to[o]});
    }
  }

  /// dL/dx = a g + w (a (centred b + c)): the second term is what the formula gives for dy = 0. The
  /// gradient of a residual is there already; that of this call, 0, goes where nobody looks.
  void add_weighted(InstructionSet set, Tile<T>& tile, const C* weights, Results& results,
                    T* const (&to)[max_outputs]) const {
    tile.from[1] = results.zeros;
    tile.options = &others_.call->options;
    tile.to[0] = results.others[0];
    tile.to[1] = results.others[1];
    others_.call->kernels(set, tile);
    run_for_masks<WeightedTermsKernel<T>>(
        set, {results.of[0], results.others[0], weights, C(0), tile.columns, to[0]});
    if (data_.outputs > 1 && !streaming_) {
      std::copy(results.of[1], results.of[1] + tile.columns, to[1]);
    }
  }

  const ListLayout& layout_;
  const FormulaCall<T>& call_;
  Others others_;
  const Operands<T>& data_;
  Traversal shape_;
  Index row_places_;
  bool streaming_;
  bool from_memory_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_BLENDED_MAP_HPP
