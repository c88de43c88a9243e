// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_CHECK_INFERENCE_HPP
#define BATCHNORM_MATH_CHECK_INFERENCE_HPP

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/channels.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

// What gamma, beta and the running statistics must be like before inputs are normalised with them.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Stops at channels whose map could have a number that is not finite. A mean, gamma and beta of
/// 1e15 and a root of 1e-15 leave float room: scale is at most 1e30, and the rounding of the mean
/// times it 1e38.
template <class T, int Channels>
struct OrdinaryMap {
  using A = accumulator_t<T>;
  static constexpr double most = 1e15;
  static constexpr double least_epsilon = 1e-30;

  const Options& options;
  const State<T, Channels>& state;
  Index& reached;

  template <int Lanes>
  [[gnu::always_inline]] bool run(const loops::ChannelGroup& group) const {
    using V = simd::Vector<A, Lanes>;
    V mean, gamma, beta, bound;
    loops::load_channels<A, Lanes>(mean, state.running_mean.data(), group);
    load_gamma<Lanes>(gamma, options, state, group);
    load_beta<Lanes>(beta, options, state, group);
    simd::broadcast<A, Lanes>(bound, A(most));
    loops::AllLanes<A, Lanes> good;
    for (V* const number : {&mean, &gamma, &beta}) {
      simd::replace_negative(*number, V(-*number));
      good.finite(*number);
      good.at_most(*number, bound);
    }
    if (!good.passed()) reached = group.first;
    return good.passed();
  }
};

inline void check_number(const char* function, const char* name, Index channel, bool finite) {
  if (finite) return;
  fail_domain(function, text(name, " of channel ", channel), "a finite number",
              "NaN, infinity or overflow");
}

/// Refuses parameters that are not finite, and maps with a number that is not finite in the type
/// computed in: what a diverged training leaves behind. Under NonFinite::propagate it is what the
/// caller asked to see.
template <class T, int Channels>
void check_inference(const char* function, const Options& options,
                     const State<T, Channels>& state) {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;
  if (options.non_finite == NonFinite::propagate) return;
  Index reached = options.epsilon < OrdinaryMap<T, Channels>::least_epsilon ? 0 : state.channels();
  loops::for_channels<A>(0, reached, OrdinaryMap<T, Channels>{options, state, reached});
  const RunningStatistics<T, Channels> statistics(state);
  for (Index channel = reached; channel < state.channels(); ++channel) {
    const ChannelStatistics<A> use = of_channel(statistics, channel);
    const A gamma = gamma_of(options, state, channel);
    const A beta = beta_of(options, state, channel);
    const A scale = gamma * use.inverse_std_dev(options.epsilon);
    const A shift = beta - (use.mean - convert<A>(convert<C>(use.mean))) * scale;
    check_number(function, "gamma", channel, is_finite(gamma));
    check_number(function, "beta", channel, is_finite(beta));
    check_number(function, "gamma / sqrt(variance + epsilon)", channel, is_finite_as<C>(scale));
    check_number(function, "beta", channel, is_finite_as<C>(shift));
  }
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_CHECK_INFERENCE_HPP
