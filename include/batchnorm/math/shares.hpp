// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_SHARES_HPP
#define BATCHNORM_MATH_SHARES_HPP

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/collective.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/selected.hpp"
#include "batchnorm/math/gradient_sums.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"
#include "batchnorm/view/input.hpp"
#include "batchnorm/view/mask.hpp"

// What a rank tells the others of its part of a minibatch: two numbers per channel of some samples
// (ChannelShare), and fingerprints of what must be the same on all ranks.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Some samples of an input as views, with what counts of them.
template <class T>
class InputPiece {
 public:
  /// @param whole  what counts of all samples
  [[gnu::cold]] InputPiece(const char* function, const Input<T>& in, Index first, Index samples,
                           const SelectedPointer<T>& whole)
      : x_(samples_of(in.view(), first, samples)), residual_(x_), selected_(whole.get()) {
    if (in.residual() != nullptr) {
      has_residual_ = true;
      residual_ = samples_of(*in.residual(), first, samples);
    }
    if (in.mask() == nullptr || samples == in.view().samples()) return;
    MaskArgument mask = static_cast<const MaskArgument&>(*in.mask());
    mask.first += first * mask.sample_stride;
    mask.samples = samples;
    own_ = in.mask()->select(function, mask, x_);
    selected_ = own_.get();
  }
  InputPiece(const InputPiece&) = delete;
  InputPiece& operator=(const InputPiece&) = delete;

  InputViews<T> views() const { return {x_, has_residual_ ? &residual_ : nullptr, selected_}; }
  const BatchView<const T>& view() const { return x_; }
  const SelectedValues<T>* selected() const { return selected_; }
  /// Values per channel that count.
  Index count() const {
    return selected_ != nullptr ? selected_->count() : x_.values_per_channel();
  }

 private:
  BatchView<const T> x_, residual_;
  bool has_residual_ = false;
  SelectedPointer<T> own_;
  const SelectedValues<T>* selected_;
};

inline std::uint64_t fingerprint_of(const Options& options) {
  return Fingerprint()
      .add(options.epsilon)
      .add(static_cast<std::uint64_t>(options.running.rule()))
      .add(options.running.new_weight())
      .add(static_cast<std::uint64_t>(options.running.window()))
      .add(options.epilogue.slope())
      .add(static_cast<std::uint64_t>(options.running_variance))
      .add(static_cast<std::uint64_t>(options.non_finite))
      .add(static_cast<std::uint64_t>(options.single_value))
      .add(std::uint64_t{options.scale ? 1u : 0u})
      .add(std::uint64_t{options.shift ? 1u : 0u})
      .value();
}

/// A few numbers of a minibatch, which the ranks that took part in it have to the same bits.
template <class A, int Channels>
std::uint64_t fingerprint_of(const Moments<A, Channels>& batch) {
  Fingerprint print;
  print.add(static_cast<std::uint64_t>(batch.count)).add(batch.weight());
  // Ranks exchange nothing else than double (share_data).
  if constexpr (std::is_same<A, double>::value) {
    const Index some = (std::min<Index>)(batch.mean.size(), 16);
    for (Index channel = 0; channel < some; ++channel) print.add(batch.mean[channel]);
  }
  return print.value();
}

/// Shares are of numbers in double.
template <class A>
double* share_data(A* numbers) {
  if constexpr (std::is_same<A, double>::value) {
    return numbers;
  } else {
    fail_argument("Execution::with(Synchronize)", "ranks exchange numbers of type double",
                  "a layer of float, double, half or bfloat16", "a layer of another scalar");
  }
}

template <class A, int Channels>
ChannelShare share_of(Moments<A, Channels>& moments) {
  const double count = static_cast<double>(moments.count);
  const double weight = moments.weight(), squared_weight = moments.squared_weight();
  const bool weighted = weight < count || weight > count || squared_weight > count;
  const auto kind = weighted ? 1 + static_cast<std::uint32_t>(moments.weights()) : 0;
  return {moments.count,
          weight,
          squared_weight,
          kind,
          share_data(moments.mean.data()),
          share_data(moments.sum_of_squares.data())};
}
template <class A, int Channels>
ChannelShare share_of(GradientSums<A, Channels>& sums) {
  const double count = static_cast<double>(sums.count);
  return {sums.count,
          count,
          count,
          0,
          share_data(sums.output_gradient.data()),
          share_data(sums.normalized.data())};
}

/// Copies what a piece has come to.
template <class Sums>
void give(Sums sums, ChannelShare& to) {
  const ChannelShare from = share_of(sums);
  const Index channels = sums.channels();
  std::copy(from.first, from.first + channels, to.first);
  std::copy(from.second, from.second + channels, to.second);
  to = {from.count, from.weight, from.squared_weight, from.weights, to.first, to.second};
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_SHARES_HPP
