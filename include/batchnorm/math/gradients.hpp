// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_GRADIENTS_HPP
#define BATCHNORM_MATH_GRADIENTS_HPP

#include <cstddef>
#include <tuple>
#include <type_traits>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/channels.hpp"
#include "batchnorm/loops/execution.hpp"
#include "batchnorm/loops/map.hpp"
#include "batchnorm/loops/reduce.hpp"
#include "batchnorm/loops/resident.hpp"
#include "batchnorm/loops/simd.hpp"
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

/// What back-propagation has to know of a whole minibatch: two sums per channel. Those of pieces of
/// it (BatchNorm::backward_sums) merge into those of the whole.
///
/// @tparam T         the type they are kept in, accumulator_t of the data
/// @tparam Channels  number of channels when it is known to the compiler
template <class T, int Channels = Eigen::Dynamic>
struct GradientSums {
  using Scalar = T;
  using Vector = ChannelVector<T, Channels>;

  Index count = 0;         ///< values per channel that were summed
  Vector output_gradient;  ///< sum f'(z) dL/dy, which is dL/dbeta
  Vector normalized;       ///< sum f'(z) dL/dy xhat, which is dL/dgamma

  /// The sums of nothing; merging them with others gives exactly the others.
  GradientSums() : GradientSums(Channels == Eigen::Dynamic ? 0 : Channels) {}
  explicit GradientSums(Index channels)
      : output_gradient(Vector::Zero(channels)), normalized(output_gradient) {}

  Index channels() const { return output_gradient.size(); }

  /// The sums over both sets of values together.
  /// @throws std::invalid_argument when the numbers of channels differ (sums of nothing that were
  ///         made without a number of channels merge with any). Nothing is changed then.
  void merge(const GradientSums& other) {
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
};

namespace detail {

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

  template <class To, int Lanes>
  [[gnu::always_inline]] void write(const loops::ChannelGroup& group, To* const* to) const {
    simd::Vector<Accumulator, Lanes> pivot, r, pivot_error;
    numbers_.template load<Lanes>(group, pivot, r, pivot_error);
    loops::store_channels<Accumulator, Lanes>(to[0], group, pivot);
    loops::store_channels<Accumulator, Lanes>(to[1], group, r);
    if constexpr (Source::coefficients > 0) {
      numbers_.template write_source<To, Lanes>(group, to + 2);
    }
  }

  Accumulator* result(int k) const {
    return (k == 0 ? totals_.output_gradient : totals_.normalized).data();
  }

  /// A sum of floats that overflowed may fit in double.
  loops::Verdict settle(Index channel, int, bool wide) {
    const bool final = wide || std::is_same<Accumulator, Lane>::value;
    const bool settled = final ? correct<1, true>({channel, 1}) : correct<1, false>({channel, 1});
    return settled ? loops::Verdict::settled : loops::Verdict::again_wide;
  }
  Index settle_good(Index first, Index last) {
    Index reached = last;
    loops::for_channels<Accumulator>(first, last, GoodChannels{*this, reached});
    return reached;
  }

 private:
  struct GoodChannels {
    GradientReduction& reduction;
    Index& reached;

    template <int Lanes>
    [[gnu::always_inline]] bool run(const loops::ChannelGroup& group) const {
      constexpr bool final = std::is_same<Accumulator, Lane>::value;
      if (reduction.correct<Lanes, final>(group)) return true;
      reached = group.first;
      return false;
    }
  };

  /// Takes from r S2 what the pivot's rounding has put there, unless a sum is not finite.
  template <int Lanes, bool Final>
  [[gnu::always_inline]] bool correct(const loops::ChannelGroup& group) {
    simd::Vector<Accumulator, Lanes> sum, normalized, pivot, r, pivot_error;
    Accumulator* const to = totals_.normalized.data();
    loops::load_channels<Accumulator, Lanes>(sum, totals_.output_gradient.data(), group);
    loops::load_channels<Accumulator, Lanes>(normalized, to, group);
    if constexpr (!Final) {
      loops::AllLanes<Accumulator, Lanes> good;
      good.finite(sum);
      good.finite(normalized);
      if (!good.passed()) return false;
    }
    numbers_.template load<Lanes>(group, pivot, r, pivot_error);
    normalized -= pivot_error * sum;
    loops::store_channels<Accumulator, Lanes>(to + group.first, group, normalized);
    return true;
  }

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

  template <class To, int Lanes>
  [[gnu::always_inline]] void write(const loops::ChannelGroup& group, To* const* to) const {
    using V = simd::Vector<A, Lanes>;
    V pivot, r, pivot_error, scale;
    numbers_.template load<Lanes>(group, pivot, r, pivot_error);
    numbers_.template load_scale<Lanes>(group, scale);
    loops::store_channels<A, Lanes>(to[0], group, pivot);
    loops::store_channels<A, Lanes>(to[1], group, scale);
    if constexpr (!Constant) {
      V mean_product, mean_gradient;
      loops::load_channels<A, Lanes>(mean_product, totals_.normalized.data(), group);
      loops::load_channels<A, Lanes>(mean_gradient, totals_.output_gradient.data(), group);
      mean_product /= count_;
      mean_gradient /= count_;
      loops::store_channels<A, Lanes>(to[2], group, -r * mean_product);
      loops::store_channels<A, Lanes>(to[3], group, pivot_error * mean_product - mean_gradient);
    }
    if constexpr (Source::coefficients > 0) {
      numbers_.template write_source<To, Lanes>(group, to + (Constant ? 2 : 4));
    }
  }

 private:
  const Numbers& numbers_;
  const GradientSums<A, Channels>& totals_;
  A count_;
};

/// Writes the gradients of the parameters from their sums; zero where the options leave a parameter
/// out.
template <class T, int Channels>
struct GradientWriter {
  using A = accumulator_t<T>;
  const Options& options;
  const GradientSums<A, Channels>& totals;
  Gradients<T, Channels>& to;

  template <int Lanes>
  [[gnu::always_inline]] bool run(const loops::ChannelGroup& group) const {
    simd::Vector<A, Lanes> sum;
    if (options.scale) {
      loops::load_channels<A, Lanes>(sum, totals.normalized.data(), group);
      loops::store_channels<A, Lanes>(to.gamma.data() + group.first, group, sum);
    }
    if (options.shift) {
      loops::load_channels<A, Lanes>(sum, totals.output_gradient.data(), group);
      loops::store_channels<A, Lanes>(to.beta.data() + group.first, group, sum);
    }
    return true;
  }
};

/// The gradients of the parameters from the sums.
template <class T, int Channels>
Gradients<T, Channels> gradients_of(const Options& options,
                                    const GradientSums<accumulator_t<T>, Channels>& totals) {
  Gradients<T, Channels> gradients(totals.channels());
  loops::for_channels<accumulator_t<T>>(0, totals.channels(),
                                        GradientWriter<T, Channels>{options, totals, gradients});
  return gradients;
}

/// The first half of backward_view: the sums over the inputs of a source, which are a whole
/// minibatch or a piece of one.
template <class Source, int Channels, class Numbers, class T>
GradientSums<accumulator_t<T>, Channels> sums_of_view(
    const Execution& execution, const Numbers& numbers,
    const loops::Views<const T, Source::inputs>& inputs) {
  GradientSums<accumulator_t<T>, Channels> totals(inputs[0].channels());
  totals.count = inputs[0].values_per_channel();
  GradientReduction<Source, Numbers, T, Channels> reduction(numbers, totals);
  std::apply([&](const auto&... views) { loops::reduce(execution, reduction, views...); }, inputs);
  return totals;
}

template <class Source, bool Constant, std::size_t Outputs>
using BackwardMapOf =
    std::conditional_t<Constant, FrozenBackwardMap<Source, Outputs>, BackwardMap<Source, Outputs>>;

/// The second half: dL/dx and dL/dresidual from the sums over the whole minibatch.
template <class Source, bool Constant, int Channels, class Numbers, class T, std::size_t Outputs>
void backward_from_sums(const Execution& execution, const Numbers& numbers,
                        const GradientSums<accumulator_t<T>, Channels>& totals,
                        const loops::Views<const T, Source::inputs>& inputs,
                        const loops::Views<T, Outputs>& outputs) {
  const BackwardCoefficients<Source, Numbers, T, Channels, Constant> coefficients(numbers, totals,
                                                                                  totals.count);
  loops::map<parameter_t<T>, BackwardMapOf<Source, Constant, Outputs>>(execution, coefficients,
                                                                       outputs, inputs);
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
    using Map = BackwardMapOf<Source, Constant, Outputs>;
    loops::reduce_and_map<parameter_t<T>, Map>(execution, reduction, inputs, coefficients, outputs,
                                               inputs);
  }
  return gradients_of<T>(options, totals);
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_GRADIENTS_HPP
