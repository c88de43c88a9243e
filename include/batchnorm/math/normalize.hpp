// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_NORMALIZE_HPP
#define BATCHNORM_MATH_NORMALIZE_HPP

#include <cmath>
#include <cstddef>
#include <type_traits>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/execution.hpp"
#include "batchnorm/loops/map.hpp"
#include "batchnorm/loops/resident.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"

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
// of opposite sign meet. What rounding takes from the mean, the shift gives back. The epilogue f
// and the residual are applied to the result while it is in a register.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// The centred form of one value, z. Forward and backward share it, so that the sign that backward
/// finds is the one that forward saw.
template <class V>
[[gnu::always_inline]] inline void centred_form(V& z, const V& x, const V& pivot, const V& scale,
                                                const V& shift) {
  z = (x - pivot) * scale + shift;
}

/// The map y = f(z) or f(z + residual); its inputs are x and the residual, its constant the slope.
template <bool Rectified, bool Residual>
struct CentredMap : loops::MapFormula<3, Rectified ? 1 : 0> {
  template <class V>
  [[gnu::always_inline]] static void apply(V* y, const V* x, const V* k) {
    centred_form(y[0], x[0], k[0], k[1], k[2]);
    if constexpr (Residual) y[0] += x[1];
    if constexpr (Rectified) {
      // A slope of 0 gives 0 for minus infinity, too.
      V below = y[0] * k[3];
      simd::keep_where_positive(below, k[3], k[3]);
      simd::replace_negative(y[0], below);
    }
  }
};

/// Calls body(std::true_type or false_type) for whether there is an epilogue.
template <class Body>
void with_epilogue(const Epilogue& epilogue, const Body& body) {
  if (epilogue.is_identity()) {
    body(std::false_type());
  } else {
    body(std::true_type());
  }
}

/// Normalises `in` into `out` with the given coefficients, and applies the epilogue; a residual is
/// added when there is one.
template <class C, class Coefficients, class T, std::size_t Inputs>
void normalize_view(const Execution& execution, const Epilogue& epilogue,
                    const Coefficients& coefficients, const BatchView<T>& out,
                    const loops::Views<const T, Inputs>& inputs) {
  with_epilogue(epilogue, [&](auto rectified) {
    using Map = CentredMap<decltype(rectified)::value, Inputs == 2>;
    loops::map<C, Map>(execution, coefficients, loops::Views<T, 1>{out}, inputs);
  });
}

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

/// 1 / sqrt(variance + epsilon) of every channel.
template <class A, int Channels, class Statistics>
ChannelVector<A, Channels> inverse_std_devs(const Options& options, Index channels,
                                            const Statistics& statistics) {
  ChannelVector<A, Channels> result(channels);
  for (Index channel = 0; channel < channels; ++channel) {
    result[channel] = statistics(channel).inverse_std_dev(options.epsilon);
  }
  return result;
}

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

  void constants(C* k) const { k[0] = convert<C>(options_.epilogue.slope()); }

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

/// Moments and output of a minibatch channel by channel, as far as the cache allows. Only where no
/// minibatch is rejected: a channel is written before the next one is read.
template <class T, int Channels, std::size_t Inputs>
Moments<accumulator_t<T>, Channels> normalize_resident(const Options& options,
                                                       const State<T, Channels>& state,
                                                       const loops::Views<const T, Inputs>& inputs,
                                                       const BatchView<T>& out,
                                                       const Execution& execution) {
  using A = accumulator_t<T>;
  Moments<A, Channels> batch(state.channels());
  batch.count = inputs[0].values_per_channel();
  MomentsReduction<T, Channels> reduction(batch);
  const BatchStatistics<A, Channels> statistics(batch);
  const CentredCoefficients<T, Channels, BatchStatistics<A, Channels>> coefficients(options, state,
                                                                                    statistics);
  with_epilogue(options.epilogue, [&](auto rectified) {
    using Map = CentredMap<decltype(rectified)::value, Inputs == 2>;
    loops::reduce_and_map<parameter_t<T>, Map>(execution, reduction,
                                               loops::Views<const T, 1>{inputs[0]}, coefficients,
                                               loops::Views<T, 1>{out}, inputs);
  });
  return batch;
}

/// A variance whose inverse root, 1e30, fits every type that is computed in.
inline constexpr double ample_variance = 1e-60;

/// Refuses channels that cannot be divided by their deviation: with epsilon 0 one without any
/// variance, or with so little that the quotient overflows. NaN passes: it is not this rule that it
/// breaks.
template <class T, class Statistics>
void check_deviation(const char* function, const Options& options, Index channels,
                     const Statistics& statistics) {
  using A = typename Statistics::Accumulator;
  const A ample(ample_variance);
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
