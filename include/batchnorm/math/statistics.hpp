// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_STATISTICS_HPP
#define BATCHNORM_MATH_STATISTICS_HPP

#include <Eigen/Core>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/channels.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/kernels/simd_memory.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

// Mean and variance that channels are normalised with, of a minibatch or running, gamma and beta,
// and the coefficients that follow from them. Which statistics these are is a run-time value: the
// algebra is compiled once.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// The mean and `variance / divisor` of every channel.
template <class A>
struct StatisticsView {
  const A* mean;
  const A* variance;
  A divisor;
};

/// Of a minibatch: its population variance.
template <class A, int Channels>
StatisticsView<A> statistics_of(const Moments<A, Channels>& moments) {
  return {moments.mean.data(), moments.sum_of_squares.data(), moments.divisor(0)};
}

/// The running statistics.
template <class T, int Channels>
StatisticsView<accumulator_t<T>> statistics_of(const State<T, Channels>& state) {
  return {state.running_mean.data(), state.running_variance.data(), accumulator_t<T>(1)};
}

/// Gamma and beta of every channel, null where the options leave one out, and epsilon.
template <class C>
struct ParameterView {
  const C* gamma;
  const C* beta;
  double epsilon;
};

template <class T, int Channels>
ParameterView<parameter_t<T>> parameters_of(const Options& options,
                                            const State<T, Channels>& state) {
  return {options.scale ? state.gamma.data() : nullptr, options.shift ? state.beta.data() : nullptr,
          options.epsilon};
}

/// Gamma and beta of one channel, 1 and 0 where the options leave them out.
template <class T, int Channels>
accumulator_t<T> gamma_of(const Options& options, const State<T, Channels>& state, Index channel) {
  return options.scale ? convert<accumulator_t<T>>(state.gamma[channel]) : accumulator_t<T>(1);
}
template <class T, int Channels>
accumulator_t<T> beta_of(const Options& options, const State<T, Channels>& state, Index channel) {
  return options.shift ? convert<accumulator_t<T>>(state.beta[channel]) : accumulator_t<T>(0);
}

/// 1 / sqrt(variance + epsilon), of a number or of some lanes.
template <class A, int Lanes>
[[gnu::always_inline]] inline void inverse_std_dev(simd::Vector<A, Lanes>& result,
                                                   const simd::Vector<A, Lanes>& variance,
                                                   double epsilon) {
  result = variance + A(epsilon);
  square_root<A, Lanes>(result);
  result = A(1) / result;
}

/// The coefficients of the centred form (normalize.hpp), computed in the accumulator and rounded
/// once:
///
///     pivot = mean, rounded     scale = gamma / sqrt(variance + epsilon)
///     shift = beta - (mean - pivot) scale
///
/// and what backward wants besides, where there is room for it. Channel c goes to index c - first.
///
/// @tparam P  the type of the gamma and beta that are given: A where they follow from others
template <class A, class C, class P = C>
struct CentredCoefficients {
  StatisticsView<A> statistics;
  ParameterView<P> parameters;
  Index first = 0;
  C* pivot = nullptr;
  C* scale = nullptr;
  C* shift = nullptr;
  C* rounded_inverse = nullptr;  ///< r = 1 / sqrt(variance + epsilon)
  A* inverse = nullptr;          ///< r
  A* pivot_error = nullptr;      ///< (mean - pivot) r

  template <int Lanes>
  [[gnu::always_inline]] bool run(const ChannelGroup& group) const {
    using V = simd::Vector<A, Lanes>;
    V mean, variance, r, gamma, beta;
    load_channels<A, Lanes>(mean, statistics.mean, group);
    load_channels<A, Lanes>(variance, statistics.variance, group);
    variance /= statistics.divisor;
    inverse_std_dev<A, Lanes>(r, variance, parameters.epsilon);
    simd::broadcast<A, Lanes>(gamma, A(1));
    simd::broadcast<A, Lanes>(beta, A(0));
    if (parameters.gamma != nullptr) load_channels<A, Lanes>(gamma, parameters.gamma, group);
    if (parameters.beta != nullptr) load_channels<A, Lanes>(beta, parameters.beta, group);
    V rounded = mean;
    round_lanes<C, A, Lanes>(rounded);
    const V scaled = r * gamma;
    const Index at = group.first - first;
    simd::store<A, Lanes>(pivot + at, rounded);
    simd::store<A, Lanes>(scale + at, scaled);
    simd::store<A, Lanes>(shift + at, V(beta - (mean - rounded) * scaled));
    if (inverse == nullptr) return true;
    simd::store<A, Lanes>(rounded_inverse + at, r);
    simd::store<A, Lanes>(inverse + at, r);
    simd::store<A, Lanes>(pivot_error + at, V((mean - rounded) * r));
    return true;
  }
};

/// A variance whose inverse root, 1e30, fits every type that is computed in.
inline constexpr double min_invertible_variance = 1e-60;

/// Refuses channels that cannot be divided by their deviation: with epsilon 0 one without any
/// variance, or with so little that the quotient overflows. NaN passes: it is not this rule that it
/// breaks.
template <class C, class A>
void check_deviation(const char* function, double epsilon, Index channels,
                     const StatisticsView<A>& statistics) {
  // No variance is negative.
  if (epsilon > min_invertible_variance) return;
  for (Index channel = 0; channel < channels; ++channel) {
    const A divided = statistics.variance[channel] / statistics.divisor + A(epsilon);
    if (!is_finite(divided)) continue;
    const bool positive = divided > A(0);
    A inverse;
    inverse_std_dev<A, 1>(inverse, divided, 0.0);
    if (positive && is_finite_as<C>(inverse)) continue;
    fail_domain(function, text("variance + epsilon of channel ", channel, " is divided by"),
                "a number larger than 0; choose an epsilon larger than 0",
                positive ? "one so small that its inverse overflows" : "0");
  }
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_STATISTICS_HPP
