// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_GRADIENTS_HPP
#define BATCHNORM_MATH_GRADIENTS_HPP

#include <cstddef>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/execution.hpp"
#include "batchnorm/loops/map.hpp"
#include "batchnorm/loops/reduce.hpp"
#include "batchnorm/loops/resident.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"

// The two loops of back-propagation. What they are made of, and from what g = f'(z) dy and the
// centred values come, is in backward.hpp (from the input) and backward_output.hpp (from the
// output): a Source and the Numbers of its channels.

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

/// S1 and r S2 of every channel.
template <class A, int Channels>
struct GradientSums {
  using Vector = ChannelVector<A, Channels>;
  Vector output_gradient;  ///< S1 = sum f'(z) dy
  Vector normalized;       ///< r S2 = sum f'(z) dy xhat

  explicit GradientSums(Index channels)
      : output_gradient(Vector::Zero(channels)), normalized(output_gradient) {}
};

/// The terms of S1 and r S2; k: pivot, r and what the source wants.
template <class Source>
struct GradientTerms {
  static constexpr int sums = 2;
  static constexpr int coefficients = 2 + Source::coefficients;

  template <class V>
  [[gnu::always_inline]] static void add(V* s, const V* x, const V* k) {
    V g, centred;
    Source::split(g, centred, x, k[0], k + 2);
    s[0] += g;
    s[1] += g * (centred * k[1]);
  }
};

/// The Reduction to S1 and r S2; `Numbers` has pivot, r and what the source wants of a channel.
template <class Source, class Numbers, class T, int Channels>
class GradientReduction {
 public:
  using Formula = GradientTerms<Source>;
  using Accumulator = accumulator_t<T>;
  using Lane = parameter_t<T>;

  GradientReduction(const Numbers& numbers, GradientSums<Accumulator, Channels>& totals)
      : numbers_(numbers), totals_(totals) {}

  template <class C>
  void operator()(Index channel, C* k) const {
    k[0] = convert<C>(numbers_.pivot(channel));
    k[1] = convert<C>(numbers_.inverse_std_dev(channel));
    if constexpr (Source::coefficients > 0) numbers_.source_coefficients(channel, k + 2);
  }

  Accumulator* result(int k) const {
    return (k == 0 ? totals_.output_gradient : totals_.normalized).data();
  }

  /// A sum of floats that overflowed may fit in double.
  loops::Verdict settle(Index channel, int, bool wide) {
    Accumulator& sum = totals_.output_gradient[channel];
    Accumulator& normalized = totals_.normalized[channel];
    if (!wide && (!is_finite(sum) || !is_finite(normalized))) return loops::Verdict::again_wide;
    normalized -= numbers_.pivot_error(channel) * sum;
    return loops::Verdict::settled;
  }

 private:
  const Numbers& numbers_;
  GradientSums<Accumulator, Channels>& totals_;
};

/// dL/dx through the statistics, and dL/dresidual as second output; coefficients: pivot, a, b, c
/// and those of the source.
template <class Source, std::size_t Outputs>
struct BackwardMap : loops::MapFormula<4 + Source::coefficients, 0, Outputs> {
  template <class V>
  [[gnu::always_inline]] static void apply(V* dx, const V* x, const V* k) {
    V g, centred;
    Source::split(g, centred, x, k[0], k + 4);
    dx[0] = k[1] * (g + centred * k[2] + k[3]);
    if constexpr (Outputs == 2) dx[1] = g;
  }
};

/// The same with the statistics held constant; coefficients: pivot, a and those of the source.
template <class Source, std::size_t Outputs>
struct FrozenBackwardMap : loops::MapFormula<2 + Source::coefficients, 0, Outputs> {
  template <class V>
  [[gnu::always_inline]] static void apply(V* dx, const V* x, const V* k) {
    V g, centred;
    Source::split(g, centred, x, k[0], k + 2);
    dx[0] = k[1] * g;
    if constexpr (Outputs == 2) dx[1] = g;
  }
};

/// Where the coefficients of the maps come from, once a channel's sums are there.
template <class Source, class Numbers, class T, int Channels, bool Constant>
class BackwardCoefficients {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;

 public:
  BackwardCoefficients(const Numbers& numbers, const GradientSums<A, Channels>& totals,
                       Index values)
      : numbers_(numbers), totals_(totals), count_(from_index<A>(values)) {}

  void operator()(Index channel, C* k) const {
    k[0] = numbers_.pivot(channel);
    k[1] = convert<C>(numbers_.scale(channel));
    if constexpr (!Constant) {
      const A r = numbers_.inverse_std_dev(channel);
      const A mean_product = totals_.normalized[channel] / count_;
      k[2] = convert<C>(A(-r * mean_product));
      k[3] = convert<C>(A(numbers_.pivot_error(channel) * mean_product -
                          totals_.output_gradient[channel] / count_));
    }
    if constexpr (Source::coefficients > 0) {
      numbers_.source_coefficients(channel, k + (Constant ? 2 : 4));
    }
  }

 private:
  const Numbers& numbers_;
  const GradientSums<A, Channels>& totals_;
  A count_;
};

/// The gradients of the parameters from their sums; zero where the options leave a parameter out.
template <class T, int Channels>
Gradients<T, Channels> parameter_gradients(const Options& options,
                                           const GradientSums<accumulator_t<T>, Channels>& totals) {
  using P = parameter_t<T>;
  Gradients<T, Channels> result(totals.normalized.size());
  for (Index channel = 0; channel < totals.normalized.size(); ++channel) {
    if (options.scale) result.gamma[channel] = convert<P>(totals.normalized[channel]);
    if (options.shift) result.beta[channel] = convert<P>(totals.output_gradient[channel]);
  }
  return result;
}

/// Backward from the inputs of a source, dy first and what is normalised last, to dL/dx and, as
/// second output, dL/dresidual. `Constant`: the statistics do not depend on x.
template <class Source, bool Constant, int Channels, class Numbers, class T, std::size_t Outputs>
Gradients<T, Channels> backward_view(const Execution& execution, const Options& options,
                                     const Numbers& numbers,
                                     const loops::Views<const T, Source::inputs>& inputs,
                                     const loops::Views<T, Outputs>& outputs) {
  const BatchView<const T>& lead = inputs[0];
  GradientSums<accumulator_t<T>, Channels> totals(lead.channels());
  if (!lead.empty()) {
    GradientReduction<Source, Numbers, T, Channels> reduction(numbers, totals);
    const BackwardCoefficients<Source, Numbers, T, Channels, Constant> coefficients(
        numbers, totals, lead.values_per_channel());
    using Map = std::conditional_t<Constant, FrozenBackwardMap<Source, Outputs>,
                                   BackwardMap<Source, Outputs>>;
    loops::reduce_and_map<parameter_t<T>, Map>(execution, reduction, inputs, coefficients, outputs,
                                               inputs);
  }
  return parameter_gradients<T, Channels>(options, totals);
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_GRADIENTS_HPP
