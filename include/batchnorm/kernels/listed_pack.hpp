// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_LISTED_PACK_HPP
#define BATCHNORM_KERNELS_LISTED_PACK_HPP

#include <algorithm>
#include <cstddef>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/list_lines.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/kernels/tuning.hpp"
#include "batchnorm/version.hpp"

// Values of a list, copied to where they are neighbours: for several channels, their places are
// looked up once.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Which values are packed: some ranks of some channels.
struct ListedBlock {
  Index channel;
  Index rank;
  Index channels;
  Index count;
};

/// Copies a line per channel.
///
/// @param from  the first element of an operand
/// @param step  from line to line
template <class T>
void pack_listed_values(const ListLayout& list, std::size_t operand, const T* from, T* to,
                        Index step, const ListedBlock& block) {
  const Layout& layout = list.of(operand);
  Index offsets[packed_elements];
  Pieces pieces(list);
  for (Index done = 0; done < block.count;) {
    const Index some = (std::min)(packed_elements, block.count - done);
    for (Index i = 0; i < some;) {
      const Piece piece = pieces.at(block.rank + done + i);
      Index at = list.offset(operand, piece.place);
      for (const Index end = (std::min)(some, i + piece.length); i < end; ++i) {
        offsets[i] = at;
        at += layout.inner_stride;
      }
    }
    const bool neighbours = layout.inner_stride == 1 && offsets[some - 1] - offsets[0] == some - 1;
    for (Index c = 0; c < block.channels; ++c) {
      const T* const channel = from + (block.channel + c) * layout.column_stride;
      T* const line = to + c * step + done;
      if (neighbours) {
        std::copy(channel + offsets[0], channel + offsets[0] + some, line);
        continue;
      }
      for (Index i = 0; i < some; ++i) line[i] = channel[offsets[i]];
    }
    done += some;
  }
}

/// `length` columns of a row, through which the channels may cycle.
struct ListedRow {
  Index column;
  Index row;
  Index length;
};

/// Copies them from the operand that begins with `from`.
///
/// @param shape  of a dense array of the values of the list
template <class T>
void pack_listed_row(const ListLayout& list, const Traversal& shape, std::size_t operand,
                     const T* from, T* to, const ListedRow& row, Pieces& pieces) {
  const Layout& layout = list.of(operand);
  const Index per_row = shape.channels_wrap() ? shape.columns / shape.channels : 1;
  Index rank = row.row * per_row + row.column / shape.channels;
  Index channel = row.column % shape.channels;
  const bool dense = layout.column_stride == 1 && layout.inner_stride == shape.channels;
  for (Index length = row.length; length > 0;) {
    const Piece piece = pieces.at(rank++);
    const T* const at = from + list.offset(operand, piece.place);
    if (dense && channel == 0 && length > shape.channels) {
      const Index values = (std::min)(piece.length, length / shape.channels);
      std::copy(at, at + values * shape.channels, to);
      to += values * shape.channels;
      length -= values * shape.channels;
      rank += values - 1;
      continue;
    }
    const Index some = (std::min)(shape.channels - channel, length);
    const T* const first = at + channel * layout.column_stride;
    if (layout.column_stride == 1) {
      std::copy(first, first + some, to);
    } else {
      for (Index c = 0; c < some; ++c) to[c] = first[c * layout.column_stride];
    }
    to += some;
    length -= some;
    channel = 0;
  }
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_LISTED_PACK_HPP
