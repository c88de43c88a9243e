// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_GRADIENT_SUMS_HPP
#define BATCHNORM_MATH_GRADIENT_SUMS_HPP

#include <Eigen/Core>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/math/merge_moments.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// The gradients of the parameters. Zero for a parameter that the options leave out. Thread safety:
/// a plain value.
template <class T, int Channels = Eigen::Dynamic>
struct Gradients {
  using Vector = ChannelVector<parameter_t<T>, Channels>;  ///< one number per channel
  Vector gamma;                                            ///< dL/dgamma, one per channel
  Vector beta;                                             ///< dL/dbeta, one per channel

  /// Zeros for so many channels. Errors: none.
  explicit Gradients(Index channels)
      : gamma(detail::filled<0, Vector>(channels)), beta(detail::filled<0, Vector>(channels)) {}
};

/// What back-propagation has to know of a whole minibatch: two sums per channel. Those of pieces of
/// it (BatchNorm::backward_sums) merge into those of the whole. Thread safety: a plain value.
/// Source: Ioffe and Szegedy 2015, section 3; math/backward.hpp has the derivation.
///
/// @tparam T         the type they are kept in, accumulator_t of the data
/// @tparam Channels  number of channels when it is known to the compiler
template <class T, int Channels = Eigen::Dynamic>
struct GradientSums {
  using Scalar = T;                           ///< of the sums
  using Vector = ChannelVector<T, Channels>;  ///< one number per channel

  Index count = 0;         ///< values per channel that were summed
  Vector output_gradient;  ///< sum f'(z) dL/dy, which is dL/dbeta
  Vector normalized;       ///< sum f'(z) dL/dy xhat, which is dL/dgamma

  /// The sums of nothing; merging them with others gives exactly the others.
  GradientSums() : GradientSums(Channels == Eigen::Dynamic ? 0 : Channels) {}
  /// The sums of nothing, of so many channels.
  /// @throws std::invalid_argument for fewer than zero, or another number than the type fixes
  explicit GradientSums(Index channels)
      : output_gradient(detail::filled<0, Vector>(
            detail::checked_sum_channels<Channels>("GradientSums", channels))),
        normalized(detail::filled<0, Vector>(output_gradient.size())) {}

  /// Number of channels.
  Index channels() const { return output_gradient.size(); }

  /// The sums over both sets of values together, these and the other. Shapes: as many channels in
  /// both. Cost: two additions per channel.
  /// @throws std::invalid_argument when the numbers of channels differ (sums of nothing that were
  ///         made without a number of channels merge with any), or a count is negative or gets too
  ///         large. Nothing is changed then.
  void merge(const GradientSums& other) {
    check("GradientSums::merge");
    other.check("GradientSums::merge");
    detail::check_room("GradientSums::merge", "values", count, other.count);
    if (other.count == 0 && other.channels() == 0) return;
    if (count == 0 && channels() == 0) {
      *this = other;
      return;
    }
    if (channels() != other.channels()) {
      detail::fail_argument("GradientSums::merge", "number of channels must be the same",
                            detail::text(channels()), detail::text(other.channels()));
    }
    count += other.count;
    output_gradient += other.output_gradient;
    normalized += other.normalized;
  }

 private:
  void check(const char* function) const {
    if (normalized.size() == channels() && count >= 0) return;
    detail::fail_argument(function, "sizes and count of the sums", "one size, and zero or more",
                          detail::text(channels(), " and ", normalized.size(), ", ", count));
  }
};

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_GRADIENT_SUMS_HPP
