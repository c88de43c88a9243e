// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_FILL_LIST_HPP
#define BATCHNORM_KERNELS_FILL_LIST_HPP

#include <algorithm>
#include <cstddef>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/instructions.hpp"
#include "batchnorm/kernels/list_lines.hpp"
#include "batchnorm/kernels/pack.hpp"
#include "batchnorm/kernels/selected.hpp"
#include "batchnorm/kernels/simd_memory.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/version.hpp"

// What is written where values are on a list, other than what a formula gives: zeros, or copies.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Copies a line of elements, or fills it with zeros where there is nothing to copy.
template <class T>
void fill_line(T* to, Index step, const T* from, Index from_step, Index count, bool streaming) {
  if (step == 1 && from == nullptr) {
    simd::fill_zeros(to, count, streaming);
  } else if (step == 1 && from_step == 1) {
    if (to != from) std::copy(from, from + count, to);
  } else {
    for (Index i = 0; i < count; ++i) to[i * step] = from == nullptr ? T(0) : from[i * from_step];
  }
}

/// The same for one piece of some channels.
template <class T>
void fill_piece(T* to, const Layout& to_layout, const T* from, const Layout& from_layout,
                Index length, Index channels, bool streaming) {
  // The narrower steps inside.
  const bool across = to_layout.column_stride == 1 && channels > 1;
  // Places that follow one another without gaps are one line.
  const bool dense =
      across && to_layout.inner_stride == channels &&
      (from == nullptr || (from_layout.column_stride == 1 && from_layout.inner_stride == channels));
  const Index lines = dense ? 1 : across ? length : channels;
  const Index count = dense ? length * channels : across ? channels : length;
  const auto step = [&](const Layout& layout, bool of_lines) {
    return across == of_lines ? layout.inner_stride : layout.column_stride;
  };
  for (Index line = 0; line < lines; ++line) {
    fill_line(to + line * step(to_layout, true), step(to_layout, false),
              from == nullptr ? nullptr : from + line * step(from_layout, true),
              step(from_layout, false), count, streaming);
  }
}

/// Gives the first output what an input holds, or zero without one, and other outputs zero.
///
/// @param layout     of the outputs, then the inputs
/// @param input      the number of the input, or -1
/// @param streaming  whether zeros go past the cache
template <class T>
void fill_list(const Execution& execution, const ListLayout& layout, const Operands<T>& data,
               const ChannelRange& channels, int input, bool streaming) {
  const auto at = [&](auto* first, std::size_t operand, Index place) {
    return first + layout.offset(operand, place) +
           channels.first * layout.of(operand).column_stride;
  };
  for_parts(execution, layout.list().count(), channels.count(), [&](Index begin, Index end) {
    Pieces pieces(layout);
    for (Index rank = begin; rank < end;) {
      const Piece piece = pieces.at(rank);
      const Index length = (std::min)(piece.length, end - rank);
      for (std::size_t o = 0; o < data.outputs; ++o) {
        const bool copies = o == 0 && input >= 0;
        const std::size_t i = copies ? static_cast<std::size_t>(input) : 0;
        fill_piece(at(data.to[o], o, piece.place), layout.of(o),
                   copies ? at(data.from[i], data.outputs + i, piece.place) : nullptr,
                   layout.of(data.outputs + i), length, channels.count(), streaming);
      }
      rank += length;
    }
    if (streaming) finish_streaming();
  });
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_FILL_LIST_HPP
