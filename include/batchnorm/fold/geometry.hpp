// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_FOLD_GEOMETRY_HPP
#define BATCHNORM_FOLD_GEOMETRY_HPP

#include <limits>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/fold/weights.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// One spatial axis of a convolution with zeros around its input. Output place p, input place q
/// and tap k of the axis belong together when
///
///     q = p stride + k dilation - padding_before        convolution
///     p = q stride + k dilation - padding_before        transposed convolution
///
/// and the sizes of the output are those of PyTorch, with the two paddings added up:
///
///     (input + padding_before + padding_after - dilation (kernel - 1) - 1) / stride + 1
///     (input - 1) stride - padding_before - padding_after + dilation (kernel - 1)
///         + output_padding + 1
///
/// Units: places of the axis. Source: the reference of PyTorch, Conv2d and ConvTranspose2d.
struct ConvolutionAxis {
  Index input = 0;           ///< number of places of the input along this axis
  Index kernel = 0;          ///< number of taps along this axis
  Index stride = 1;          ///< positions from one output (transposed: input) to the next
  Index padding_before = 0;  ///< number of zeros; "same" padding may differ at the two ends
  Index padding_after = 0;   ///< number of zeros at the other end
  Index dilation = 1;        ///< positions from one tap to the next
  Index output_padding = 0;  ///< more positions of the output; of a transposed convolution only
};

namespace detail {

/// Which taps of a kernel see the input at which place of the output; the other taps see padding,
/// or nothing. Places and taps are counted over all axes, the last axis fastest.
class TapReach {
 public:
  /// The inside of any layer: one place, and all taps see the input.
  explicit TapReach(Index taps) : taps_(taps) {}

  /// @throws std::invalid_argument naming the axis and what is wrong with it
  TapReach(const char* function, LayerKind kind, std::vector<ConvolutionAxis> axes)
      : axes_(std::move(axes)), transposed_(kind == LayerKind::transposed_convolution) {
    for (std::size_t axis = 0; axis < axes_.size(); ++axis) {
      check(function, static_cast<Index>(axis), axes_[axis]);
      outputs_.push_back(checked_output(function, static_cast<Index>(axis)));
      taps_ = product(function, "taps", taps_, axes_[axis].kernel);
      positions_ = product(function, "places of the output", positions_, outputs_[axis]);
    }
  }

  Index taps() const { return taps_; }
  Index positions() const { return positions_; }
  const std::vector<Index>& outputs() const { return outputs_; }

  /// The taps that see the input at that place, in order.
  std::vector<Index> taps_at(Index position) const {
    std::vector<Index> seen;
    for (Index tap = 0; tap < taps_; ++tap) {
      if (sees(position, tap)) seen.push_back(tap);
    }
    return seen;
  }

 private:
  bool sees(Index position, Index tap) const {
    for (std::size_t axis = axes_.size(); axis-- > 0;) {
      if (!sees(axes_[axis], position % outputs_[axis], tap % axes_[axis].kernel)) return false;
      position /= outputs_[axis];
      tap /= axes_[axis].kernel;
    }
    return true;
  }

  bool sees(const ConvolutionAxis& axis, Index p, Index k) const {
    if (!transposed_) {
      const Index q = p * axis.stride + k * axis.dilation - axis.padding_before;
      return q >= 0 && q < axis.input;
    }
    const Index reached = p + axis.padding_before - k * axis.dilation;
    return reached >= 0 && reached % axis.stride == 0 && reached / axis.stride < axis.input;
  }

  void check(const char* function, Index number, const ConvolutionAxis& axis) const {
    // Sums and products of two such numbers fit into 64 bits.
    constexpr Index most = Index{1} << 30;
    const auto in_range = [&](const char* name, Index value, Index least) {
      if (value < least || value > most) {
        fail_argument(function, text(name, " of axis ", number),
                      text("a number from ", least, " to ", most), text(value));
      }
    };
    in_range("input", axis.input, 1);
    in_range("kernel", axis.kernel, 1);
    in_range("stride", axis.stride, 1);
    in_range("padding_before", axis.padding_before, 0);
    in_range("padding_after", axis.padding_after, 0);
    in_range("dilation", axis.dilation, 1);
    in_range("output_padding", axis.output_padding, 0);
    if (!transposed_ && axis.output_padding != 0) {
      fail_argument(function, text("output_padding of axis ", number),
                    "0, since only a transposed convolution has it", text(axis.output_padding));
    }
  }

  Index checked_output(const char* function, Index number) const {
    const ConvolutionAxis& axis = axes_[static_cast<std::size_t>(number)];
    const Index kernel = axis.dilation * (axis.kernel - 1) + 1;
    const Index padding = axis.padding_before + axis.padding_after;
    Index output = 0;
    if (transposed_) {
      output = (axis.input - 1) * axis.stride - padding + kernel + axis.output_padding;
    } else if (axis.input + padding >= kernel) {
      output = (axis.input + padding - kernel) / axis.stride + 1;
    }
    if (output < 1) {
      fail_argument(function, text("size of the output along axis ", number), "at least 1",
                    "a kernel that does not fit into input and padding");
    }
    return output;
  }

  static Index product(const char* function, const char* name, Index a, Index b) {
    constexpr Index most = (std::numeric_limits<Index>::max)();
    if (a > most / b)
      fail_argument(function, text("number of ", name), text("at most ", most), "more");
    return a * b;
  }

  std::vector<ConvolutionAxis> axes_;
  std::vector<Index> outputs_;
  bool transposed_ = false;
  Index taps_ = 1;
  Index positions_ = 1;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_FOLD_GEOMETRY_HPP
