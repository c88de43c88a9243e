// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_STATISTICS_HPP
#define BATCHNORM_MATH_STATISTICS_HPP

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/channels.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

// Mean and variance that channels are normalised with, of a minibatch or running, and gamma and
// beta: of one channel, or of some at a time.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// 1 / sqrt(variance + epsilon); of a number A or a vector of them.
template <class A, int Lanes>
[[gnu::always_inline]] inline void inverse_std_dev(simd::Vector<A, Lanes>& result,
                                                   const simd::Vector<A, Lanes>& variance,
                                                   double epsilon) {
  result = variance + A(epsilon);
  loops::square_root<A, Lanes>(result);
  result = A(1) / result;
}

/// Mean and variance that a channel is normalised with, and what epsilon makes of them.
template <class A>
struct ChannelStatistics {
  A mean;
  A variance;

  A inverse_std_dev(double epsilon) const {
    A result;
    detail::inverse_std_dev<A, 1>(result, variance, epsilon);
    return result;
  }
};

/// The statistics of a minibatch: its population variance.
template <class A, int Channels>
class BatchStatistics {
 public:
  using Accumulator = A;
  explicit BatchStatistics(const Moments<A, Channels>& moments)
      : moments_(moments), count_(from_index<A>(moments.count)) {}

  template <int Lanes>
  [[gnu::always_inline]] void load(const loops::ChannelGroup& group, simd::Vector<A, Lanes>& mean,
                                   simd::Vector<A, Lanes>& variance) const {
    loops::load_channels<A, Lanes>(mean, moments_.mean.data(), group);
    loops::load_channels<A, Lanes>(variance, moments_.sum_of_squares.data(), group);
    variance /= count_;
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

  template <int Lanes>
  [[gnu::always_inline]] void load(const loops::ChannelGroup& group,
                                   simd::Vector<Accumulator, Lanes>& mean,
                                   simd::Vector<Accumulator, Lanes>& variance) const {
    loops::load_channels<Accumulator, Lanes>(mean, state_.running_mean.data(), group);
    loops::load_channels<Accumulator, Lanes>(variance, state_.running_variance.data(), group);
  }

 private:
  const State<T, Channels>& state_;
};

/// The statistics of one channel.
template <class Statistics>
ChannelStatistics<typename Statistics::Accumulator> of_channel(const Statistics& statistics,
                                                               Index channel) {
  ChannelStatistics<typename Statistics::Accumulator> result;
  statistics.template load<1>({channel, 1}, result.mean, result.variance);
  return result;
}

/// gamma and beta of some channels, 1 and 0 where the options leave them out.
template <int Lanes, class T, int Channels>
[[gnu::always_inline]] inline void load_gamma(simd::Vector<accumulator_t<T>, Lanes>& gamma,
                                              const Options& options,
                                              const State<T, Channels>& state,
                                              const loops::ChannelGroup& group) {
  using A = accumulator_t<T>;
  simd::broadcast<A, Lanes>(gamma, A(1));
  if (options.scale) loops::load_channels<A, Lanes>(gamma, state.gamma.data(), group);
}
template <int Lanes, class T, int Channels>
[[gnu::always_inline]] inline void load_beta(simd::Vector<accumulator_t<T>, Lanes>& beta,
                                             const Options& options,
                                             const State<T, Channels>& state,
                                             const loops::ChannelGroup& group) {
  using A = accumulator_t<T>;
  simd::broadcast<A, Lanes>(beta, A(0));
  if (options.shift) loops::load_channels<A, Lanes>(beta, state.beta.data(), group);
}

/// The same of one channel.
template <class T, int Channels>
accumulator_t<T> gamma_of(const Options& options, const State<T, Channels>& state, Index channel) {
  accumulator_t<T> gamma;
  load_gamma<1>(gamma, options, state, {channel, 1});
  return gamma;
}
template <class T, int Channels>
accumulator_t<T> beta_of(const Options& options, const State<T, Channels>& state, Index channel) {
  accumulator_t<T> beta;
  load_beta<1>(beta, options, state, {channel, 1});
  return beta;
}

/// gamma r, from r = 1 / sqrt(variance + epsilon).
template <int Lanes, class T, int Channels>
[[gnu::always_inline]] inline void scale_by_gamma(simd::Vector<accumulator_t<T>, Lanes>& r,
                                                  const Options& options,
                                                  const State<T, Channels>& state,
                                                  const loops::ChannelGroup& group) {
  simd::Vector<accumulator_t<T>, Lanes> gamma;
  load_gamma<Lanes>(gamma, options, state, group);
  r *= gamma;
}

/// r = 1 / sqrt(variance + epsilon) of every channel, a root and a division, computed once, and
/// gamma r.
template <class T, int Channels, class Statistics>
class Scales {
  using A = accumulator_t<T>;

 public:
  Scales(const Options& options, const State<T, Channels>& state, const Statistics& statistics)
      : options_(options), state_(state), values_(state.channels()) {
    loops::for_channels<A>(0, state.channels(), Writer{options, statistics, values_.data()});
  }

  template <int Lanes>
  [[gnu::always_inline]] void load_inverse_std_dev(const loops::ChannelGroup& group,
                                                   simd::Vector<A, Lanes>& r) const {
    loops::load_channels<A, Lanes>(r, values_.data(), group);
  }
  template <int Lanes>
  [[gnu::always_inline]] void load_scale(const loops::ChannelGroup& group,
                                         simd::Vector<A, Lanes>& scale) const {
    load_inverse_std_dev<Lanes>(group, scale);
    scale_by_gamma<Lanes>(scale, options_, state_, group);
  }

 protected:
  const Options& options_;
  const State<T, Channels>& state_;

 private:
  struct Writer {
    const Options& options;
    const Statistics& statistics;
    A* to;

    template <int Lanes>
    [[gnu::always_inline]] bool run(const loops::ChannelGroup& group) const {
      simd::Vector<A, Lanes> mean, variance, r;
      statistics.template load<Lanes>(group, mean, variance);
      inverse_std_dev<A, Lanes>(r, variance, options.epsilon);
      loops::store_channels<A, Lanes>(to + group.first, group, r);
      return true;
    }
  };

  ChannelVector<A, Channels> values_;
};

/// A variance whose inverse root, 1e30, fits every type that is computed in.
inline constexpr double ample_variance = 1e-60;

/// Refuses channels that cannot be divided by their deviation: with epsilon 0 one without any
/// variance, or with so little that the quotient overflows. NaN passes: it is not this rule that it
/// breaks.
template <class T, class Statistics>
void check_deviation(const char* function, const Options& options, Index channels,
                     const Statistics& statistics) {
  using A = typename Statistics::Accumulator;
  // No variance is negative.
  if (options.epsilon > ample_variance) return;
  const A ample(ample_variance);
  for (Index channel = 0; channel < channels; ++channel) {
    const ChannelStatistics<A> use = of_channel(statistics, channel);
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

#endif  // BATCHNORM_MATH_STATISTICS_HPP
