// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_NORMALIZE_HPP
#define BATCHNORM_MATH_NORMALIZE_HPP

#include <cmath>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

// The forward map (Ioffe and Szegedy 2015, algorithm 1, lines 3 and 4),
//
//     y = gamma (x - mean) / sqrt(variance + epsilon) + beta
//
// is computed in its centred form,
//
//     y = (x - pivot) scale + shift        pivot = mean, rounded to the type computed in
//                                          scale = gamma / sqrt(variance + epsilon)
//                                          shift = beta - (mean - pivot) scale
//
// so that its error does not grow with the mean, as that of a x + b does: there, two large numbers
// of opposite sign meet. What rounding takes from the mean, the shift gives back.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// The map of the centred form.
struct CentredMap {
  static constexpr int coefficients = 3;
  template <class V>
  [[gnu::always_inline]] static void apply(V& y, const V* x, const V* k) {
    y = (x[0] - k[0]) * k[1] + k[2];
  }
};

/// Mean and variance that a channel is normalised with, and what epsilon makes of them.
template <class A>
struct ChannelStatistics {
  A mean;
  A variance;

  /// 1 / sqrt(variance + epsilon)
  A inverse_std_dev(double epsilon) const {
    using std::sqrt;
    return A(1) / sqrt(A(variance + A(epsilon)));
  }
};

/// The statistics of a minibatch: its population variance.
template <class A, int Channels>
class BatchStatistics {
 public:
  using Accumulator = A;
  explicit BatchStatistics(const Moments<A, Channels>& moments)
      : moments_(moments), count_(from_index<A>(moments.count)) {}
  ChannelStatistics<A> operator()(Index channel) const {
    return {moments_.mean[channel], moments_.sum_of_squares[channel] / count_};
  }

 private:
  const Moments<A, Channels>& moments_;
  A count_;
};

/// The running statistics of a state.
template <class T, int Channels>
class RunningStatistics {
 public:
  using Accumulator = accumulator_t<T>;
  explicit RunningStatistics(const State<T, Channels>& state) : state_(state) {}
  ChannelStatistics<Accumulator> operator()(Index channel) const {
    return {convert<Accumulator>(state_.running_mean[channel]),
            convert<Accumulator>(state_.running_variance[channel])};
  }

 private:
  const State<T, Channels>& state_;
};

/// gamma and beta of a channel, 1 and 0 where the options leave them out.
template <class T, int Channels>
accumulator_t<T> gamma_of(const Options& options, const State<T, Channels>& state, Index channel) {
  using A = accumulator_t<T>;
  return options.scale ? convert<A>(state.gamma[channel]) : A(1);
}
template <class T, int Channels>
accumulator_t<T> beta_of(const Options& options, const State<T, Channels>& state, Index channel) {
  using A = accumulator_t<T>;
  return options.shift ? convert<A>(state.beta[channel]) : A(0);
}

/// The coefficients of CentredMap, computed in the accumulator and rounded once.
template <class T, int Channels, class Statistics>
class CentredCoefficients {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;

 public:
  CentredCoefficients(const Options& options, const State<T, Channels>& state,
                      const Statistics& statistics)
      : options_(options), state_(state), statistics_(statistics) {}

  void operator()(Index channel, C* k) const {
    const ChannelStatistics<A> use = statistics_(channel);
    const A scale = gamma_of(options_, state_, channel) * use.inverse_std_dev(options_.epsilon);
    const C pivot = convert<C>(use.mean);
    k[0] = pivot;
    k[1] = convert<C>(scale);
    k[2] =
        convert<C>(A(beta_of(options_, state_, channel) - (use.mean - convert<A>(pivot)) * scale));
  }

 private:
  const Options& options_;
  const State<T, Channels>& state_;
  const Statistics& statistics_;
};

/// Refuses channels that cannot be divided by their deviation: with epsilon 0 one without any
/// variance, or with so little that the quotient overflows. NaN passes: it is not this rule that it
/// breaks.
template <class T, class Statistics>
void check_deviation(const char* function, const Options& options, Index channels,
                     const Statistics& statistics) {
  using A = typename Statistics::Accumulator;
  const A ample(1e-60);  // its inverse root, 1e30, fits every type that is computed in
  for (Index channel = 0; channel < channels; ++channel) {
    const ChannelStatistics<A> use = statistics(channel);
    const A divided = use.variance + A(options.epsilon);
    if (!is_finite(divided) || divided > ample) continue;
    const bool positive = divided > A(0);
    if (positive && is_finite_as<parameter_t<T>>(use.inverse_std_dev(options.epsilon))) continue;
    fail_domain(function, text("variance + epsilon of channel ", channel, " is divided by"),
                "a number larger than 0; choose an epsilon larger than 0",
                positive ? "one so small that its inverse overflows" : "0");
  }
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_NORMALIZE_HPP
