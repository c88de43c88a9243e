// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_MASKED_HPP
#define BATCHNORM_MATH_MASKED_HPP

#include <type_traits>
#include <utility>

#include "batchnorm/kernels/listed_values.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/argument.hpp"
#include "batchnorm/view/input.hpp"
#include "batchnorm/view/mask.hpp"

// Inputs of which some elements count. What is compiled for masks is compiled where these functions
// are called, and nowhere else.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

template <class In>
struct ScalarOf {
  using Type = std::remove_cv_t<typename In::Scalar>;
};
template <class First, class Residual>
struct ScalarOf<WithResidual<First, Residual>> : ScalarOf<std::remove_reference_t<First>> {};

/// Refuses, when compiled, what cannot be masked.
template <class In>
void check_maskable() {
  static_assert(!is_masked_input<In>,
                "batchnorm: an input has one mask or one set of weights; a weight of 0 masks");
  static_assert(is_argument<In> || is_with_residual<In> || is_masked_input<In>,
                "batchnorm: what is masked is a BatchView, an Eigen matrix, array, map, ref, block "
                "or expression, or with_residual of two");
}

template <bool Weighted, class In, class M>
auto make_masked(In&& in, const M& mask, Weights kind, MaskedOutput output) {
  using Plain = std::remove_cv_t<std::remove_reference_t<In>>;
  check_maskable<Plain>();
  using T = std::remove_cv_t<typename ScalarOf<Plain>::Type>;
  MaskedInput<In, T> masked{std::forward<In>(in), {}};
  describe_mask<Weighted>(masked.mask, mask);
  masked.mask.kind = kind;
  masked.mask.output = output;
  masked.mask.select = &ListedValues<T>::select;
  return masked;
}

}  // namespace detail

/// An input of which only some elements count: the frames of sequences of different lengths, say,
/// without their padding.
///
///     layer.train(masked(x, m), y);                    true in m: counts
///     layer.backward(batch, masked(x, m), dy, dx);
///     moments_of(masked(x, m));
///
/// Statistics are those of the elements that count, and of nothing else: their bits are the same
/// however much padding lies between them, on as many threads as there are. What does not count is
/// never read for them, so that NaN under the mask changes nothing. It is normalised with them,
/// though, and gets dL/dx = gamma / sqrt(variance + epsilon) dL/dy, unless `output` says otherwise.
/// Where nothing counts, no statistics follow, the moments have a count of 0, and outputs that were
/// to be normalised are 0.
///
/// Backward (math/backward.hpp derives it): an output under the mask counts for the loss where it
/// has a gradient that is not 0 and it and its input are finite; under MaskedOutput::zero and keep
/// it never does.
///
/// @param in      a view, an Eigen object, or with_residual of two
/// @param mask    bool: an Eigen vector of one entry per example (features x examples), an Eigen
///                matrix or array of samples x positions, an expression of these, or a BatchView of
///                one channel
/// @param output  what becomes of the elements that do not count
/// Shapes: those of `mask` above. Errors: the call that it is written in throws
/// std::invalid_argument for a mask of another shape. Cost: a read of the mask, and 16 bytes for
/// each run of elements that count and each that does not; where these are shorter than 16
/// elements, 9 bytes per eight elements more.
template <class In, class Mask>
auto masked(In&& in, const Mask& mask, MaskedOutput output = MaskedOutput::normalize) {
  return detail::make_masked<false>(std::forward<In>(in), mask, Weights::frequency, output);
}

/// An input whose elements count with weights:
///
///     mean = sum(w x) / W     variance = sum(w (x - mean)^2) / W     W = sum(w)
///
///     layer.train(weighted(x, w, Weights::frequency), y);
///
/// The kind decides the unbiased variance that goes into the running one
/// (VarianceEstimator::sample); see Weights. An element of weight 0 is masked. Weights that are all
/// 1 give the bits of no weights at all. Weights do not weigh the loss: that is for dy to do.
///
/// @param weights  as a mask of masked, but real numbers, in any type
/// @param kind     what they say
/// @param output   what becomes of the elements of weight 0, as for masked
/// Shapes: those of masked. Source: Kish, Survey Sampling (1965), 8.2. Errors: the call that it is
/// written in throws std::domain_error for weights that are negative, NaN,
/// infinite, or whose squares overflow; and for a sum of W - 1 that is not positive, where a
/// running variance is divided by it. Cost: that of masked, and sums in double:
/// measured, up to twice the time of the same call without weights; 8 bytes more per value of a
/// channel, and in backward those of a coefficient.
template <class In, class Weight>
auto weighted(In&& in, const Weight& weights, Weights kind,
              MaskedOutput output = MaskedOutput::normalize) {
  return detail::make_masked<true>(std::forward<In>(in), weights, kind, output);
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_MASKED_HPP
