// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_BACKWARD_HPP
#define BATCHNORM_MATH_BACKWARD_HPP

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/execution.hpp"
#include "batchnorm/loops/map.hpp"
#include "batchnorm/loops/reduce.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"

// Back-propagation, for one channel of n values. Given dy = dL/dy, and with
//
//     r = 1 / sqrt(v + epsilon)     xhat_i = (x_i - m) r     y_i = gamma xhat_i + beta
//
// the parameters follow at once (Ioffe and Szegedy 2015, section 3, the last two equations):
//
//     dL/dbeta  = sum_i dy_i                    = S1
//     dL/dgamma = sum_i dy_i xhat_i             = r S2,    S2 = sum_i dy_i (x_i - m)
//
// Statistics held constant (frozen): y is linear in x, so dL/dx_i = gamma r dy_i.
//
// Through the minibatch's statistics, m and v depend on every x_i. With g_i = gamma dy_i =
// dL/dxhat_i the paper's equations are
//
//     dL/dv   = sum_i g_i (x_i - m) (-1/2) r^3             = -(1/2) gamma r^3 S2
//     dL/dm   = -r sum_i g_i + dL/dv (-2/n) sum_i (x_i - m) = -gamma r S1
//     dL/dx_i = g_i r + dL/dv (2/n) (x_i - m) + dL/dm / n
//
// where the second sum of dL/dm vanishes because m is the mean. Inserted:
//
//     dL/dx_i = gamma r [ dy_i - S1/n - (x_i - m) r^2 S2/n ]
//
// which is one reduction to (S1, S2) and one map. As in normalize.hpp x is taken relative to the
// pivot, m rounded: x_i - m = (x_i - pivot) - (m - pivot), so
//
//     dL/dx_i = a [ dy_i + (x_i - pivot) b + c ]
//     a = gamma r     b = -r^2 S2/n     c = -S1/n - (m - pivot) b

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// The gradients of the parameters. Zero for a parameter that the options leave out.
template <class T, int Channels = Eigen::Dynamic>
struct Gradients {
  using Vector = ChannelVector<parameter_t<T>, Channels>;
  Vector gamma;  ///< dL/dgamma, one per channel
  Vector beta;   ///< dL/dbeta, one per channel

  explicit Gradients(Index channels) : gamma(Vector::Zero(channels)), beta(gamma) {}
};

namespace detail {

/// S1 and S2 of every channel.
template <class A, int Channels>
struct GradientSums {
  using Vector = ChannelVector<A, Channels>;
  Vector output_gradient;  ///< S1 = sum dy
  Vector about_mean;       ///< S2 = sum dy (x - m)

  explicit GradientSums(Index channels)
      : output_gradient(Vector::Zero(channels)), about_mean(output_gradient) {}
};

/// The Reduction to S1 and S2; its inputs are dy and x.
template <class Statistics, int Channels>
class GradientReduction {
 public:
  using Accumulator = typename Statistics::Accumulator;
  static constexpr int sums = 2;
  static constexpr bool recentres = false;

  GradientReduction(const Statistics& statistics, GradientSums<Accumulator, Channels>& totals)
      : statistics_(statistics), totals_(totals) {}

  Accumulator pivot(Index channel) const { return statistics_(channel).mean; }

  template <class V>
  [[gnu::always_inline]] static void add(V* s, const V* x, const V& pivot) {
    s[0] += x[0];
    s[1] += x[0] * (x[1] - pivot);
  }

  [[gnu::always_inline]] static void close(Accumulator*, const Accumulator&, const Accumulator&) {}

  [[gnu::always_inline]] static void merge(Accumulator* into, const Accumulator* from,
                                           const loops::MergeWeights<Accumulator>&) {
    into[0] += from[0];
    into[1] += from[1];
  }

  Accumulator* result(int k) const {
    return (k == 0 ? totals_.output_gradient : totals_.about_mean).data();
  }

 private:
  const Statistics& statistics_;
  GradientSums<Accumulator, Channels>& totals_;
};

/// dL/dx through the statistics; its inputs are dy and x, its coefficients pivot, a, b, c.
struct BackwardMap {
  static constexpr int coefficients = 4;
  template <class V>
  [[gnu::always_inline]] static void apply(V& dx, const V* x, const V* k) {
    dx = k[1] * (x[0] + (x[1] - k[0]) * k[2] + k[3]);
  }
};

/// dL/dx with the statistics held constant; its input is dy, its coefficient a.
struct FrozenBackwardMap {
  static constexpr int coefficients = 1;
  template <class V>
  [[gnu::always_inline]] static void apply(V& dx, const V* x, const V* k) {
    dx = x[0] * k[0];
  }
};

/// What both directions of backward are given.
template <class T, int Channels, class Statistics>
struct BackwardTerms {
  using A = accumulator_t<T>;
  const Options& options;
  const State<T, Channels>& state;
  const Statistics& statistics;

  A scale(Index channel) const {
    return gamma_of(options, state, channel) * statistics(channel).inverse_std_dev(options.epsilon);
  }

  /// S1 and S2; zero for an empty minibatch.
  GradientSums<A, Channels> sums(const BatchView<const T>& in,
                                 const BatchView<const T>& out_gradient,
                                 const Execution& execution) const {
    GradientSums<A, Channels> totals(state.channels());
    if (!in.empty()) {
      loops::reduce(execution, GradientReduction<Statistics, Channels>(statistics, totals),
                    out_gradient, in);
    }
    return totals;
  }

  Gradients<T, Channels> gradients(const GradientSums<A, Channels>& totals) const {
    using P = parameter_t<T>;
    Gradients<T, Channels> result(state.channels());
    for (Index channel = 0; channel < state.channels(); ++channel) {
      const A r = statistics(channel).inverse_std_dev(options.epsilon);
      if (options.scale) result.gamma[channel] = convert<P>(A(r * totals.about_mean[channel]));
      if (options.shift) result.beta[channel] = convert<P>(totals.output_gradient[channel]);
    }
    return result;
  }
};

/// Backward through the minibatch's statistics.
template <class T, int Channels, class Statistics>
Gradients<T, Channels> backward_through(const BackwardTerms<T, Channels, Statistics>& terms,
                                        const BatchView<const T>& in,
                                        const BatchView<const T>& out_gradient,
                                        const BatchView<T>& in_gradient,
                                        const Execution& execution) {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;
  const GradientSums<A, Channels> totals = terms.sums(in, out_gradient, execution);
  const A n = from_index<A>(in.values_per_channel());
  const auto coefficients = [&](Index channel, C* k) {
    const ChannelStatistics<A> use = terms.statistics(channel);
    const A r = use.inverse_std_dev(terms.options.epsilon);
    const C pivot = convert<C>(use.mean);
    const A b = -(r * r) * (totals.about_mean[channel] / n);
    k[0] = pivot;
    k[1] = convert<C>(terms.scale(channel));
    k[2] = convert<C>(b);
    k[3] =
        convert<C>(A(-(totals.output_gradient[channel] / n) - (use.mean - convert<A>(pivot)) * b));
  };
  loops::map<C, BackwardMap>(execution, coefficients, in_gradient, out_gradient, in);
  return terms.gradients(totals);
}

/// Backward with the statistics held constant.
template <class T, int Channels, class Statistics>
Gradients<T, Channels> backward_constant(const BackwardTerms<T, Channels, Statistics>& terms,
                                         const BatchView<const T>& in,
                                         const BatchView<const T>& out_gradient,
                                         const BatchView<T>& in_gradient,
                                         const Execution& execution) {
  using C = parameter_t<T>;
  const auto totals = terms.sums(in, out_gradient, execution);
  const auto coefficients = [&](Index channel, C* k) { k[0] = convert<C>(terms.scale(channel)); };
  loops::map<C, FrozenBackwardMap>(execution, coefficients, in_gradient, out_gradient);
  return terms.gradients(totals);
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_BACKWARD_HPP
