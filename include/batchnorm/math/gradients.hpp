// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_GRADIENTS_HPP
#define BATCHNORM_MATH_GRADIENTS_HPP

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/channels.hpp"
#include "batchnorm/kernels/fused.hpp"
#include "batchnorm/kernels/kernel.hpp"
#include "batchnorm/kernels/reduce.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"

// The two loops of back-propagation. How g = f'(z) dy and the centred value come from the inputs is
// a Source: from the input of the layer (backward.hpp) or from its output (backward_output.hpp).

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

/// S1 = sum g and r S2 = sum g centred r; coefficients pivot, r and those of the source.
template <class Source>
struct GradientSums {
  static constexpr int inputs = Source::inputs;
  static constexpr int required_inputs = 2;
  static constexpr int sums = 2;
  static constexpr int coefficients = 2 + Source::coefficients;
  static constexpr int required_coefficients = 2;

  template <class V>
  [[gnu::always_inline]] static void add(V* s, const V* x, const V* k,
                                         const FormulaOptions<V>& options) {
    V g, centred;
    Source::split(g, centred, x, k[0], k + 2, options);
    s[0] += g;
    s[1] += g * (centred * k[1]);
  }
};

/// dL/dx, and dL/dresidual as second output; coefficients pivot, a, b, c and those of the source:
///
///     dL/dx = a (g + centred b + c), with fixed statistics a g
template <class Source>
struct Backward {
  static constexpr int inputs = Source::inputs;
  static constexpr int required_inputs = 2;
  static constexpr int outputs = 2;
  static constexpr int coefficients = 4 + Source::coefficients;
  static constexpr int required_coefficients = 4;

  template <class V>
  [[gnu::always_inline]] static void apply(V* dx, const V* x, const V* k,
                                           const FormulaOptions<V>& options) {
    V g, centred;
    Source::split(g, centred, x, k[0], k + 4, options);
    dx[1] = g;
    if (!options.fixed_statistics) g += centred * k[2] + k[3];
    dx[0] = k[1] * g;
  }
};

/// What backward keeps per channel: tables of both formulas, and sums.
template <class T, int Channels>
class GradientTables {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;
  template <class Number, int Count>
  using Tables = Eigen::Matrix<Number, Channels, Count,
                               static_cast<int>(Eigen::ColMajor) | static_cast<int>(Eigen::DontAlign)>;

 public:
  explicit GradientTables(Index channels)
      : rounded_(channels, 6), wide_(Tables<A, 4>::Zero(channels, 4)) {
    rounded_.setZero();
  }

  C* pivot() { return rounded_.col(0).data(); }
  C* scale() { return rounded_.col(1).data(); }    ///< a = gamma / sqrt(variance + epsilon)
  C* shift() { return rounded_.col(2).data(); }
  C* inverse() { return rounded_.col(3).data(); }  ///< r, or what the source has in its place
  C* b() { return rounded_.col(4).data(); }
  C* c() { return rounded_.col(5).data(); }
  A* wide_inverse() { return wide_.col(0).data(); }
  A* pivot_error() { return wide_.col(1).data(); }
  A* output_gradient() { return wide_.col(2).data(); }  ///< S1
  A* normalized() { return wide_.col(3).data(); }       ///< r S2

 private:
  Tables<C, 6> rounded_;
  Tables<A, 4> wide_;
};

/// Takes from r S2 what the pivot's rounding has put there, and makes b and c of the sums:
///
///     r S2 -= (m - p) r S1     b = -r (r S2) / n     c = (m - p) r (r S2) / n - S1 / n
///
/// Stops at a group with a sum that is not finite, unless these sums are final.
template <class A, class C>
struct FinishGradients {
  const A* inverse;
  const A* pivot_error;
  const A* output_gradient;
  A* normalized;
  C* b;
  C* c;
  A count;
  bool final;
  Index& reached;

  template <int Lanes>
  [[gnu::always_inline]] bool run(const ChannelGroup& group) const {
    using V = simd::Vector<A, Lanes>;
    V sum, product, r, error;
    load_channels<A, Lanes>(sum, output_gradient, group);
    load_channels<A, Lanes>(product, normalized, group);
    load_channels<A, Lanes>(r, inverse, group);
    load_channels<A, Lanes>(error, pivot_error, group);
    if (!final) {
      AllLanes<A, Lanes> good;
      good.finite(sum);
      good.finite(product);
      if (!good.passed()) {
        reached = group.first;
        return false;
      }
    }
    product -= error * sum;
    store_channels<A, Lanes>(normalized + group.first, group, product);
    product /= count;
    sum /= count;
    store_channels<A, Lanes>(b + group.first, group, V(-r * product));
    store_channels<A, Lanes>(c + group.first, group, V(error * product - sum));
    return true;
  }
};

/// Reduces channels to S1 and r S2, and finishes with the coefficients of the map.
template <class T, int Channels>
class GradientReduction final : public Reduction<T> {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;
  static constexpr bool lanes_are_wide = std::is_same<A, C>::value;

 public:
  GradientReduction(GradientTables<T, Channels>& tables, Index count)
      : tables_(tables), count_(from_index<A>(count)) {}

  A* result(std::size_t j) override {
    return j == 0 ? tables_.output_gradient() : tables_.normalized();
  }
  void prepare(const Plan&, const Operands<T>&, InstructionSet, Index, Index) override {}
  Index finish_many(Index first, Index last) override {
    return finish_some(first, last, lanes_are_wide);
  }
  /// A sum of floats that overflowed may fit in double.
  Outcome finish(Index channel, int, bool in_accumulator) override {
    const Index reached = finish_some(channel, channel + 1, in_accumulator);
    return reached > channel ? Outcome::done : Outcome::retry_in_accumulator;
  }

 private:
  Index finish_some(Index first, Index last, bool final) {
    Index reached = last;
    for_channels<A>(first, last,
                    FinishGradients<A, C>{tables_.wide_inverse(), tables_.pivot_error(),
                                          tables_.output_gradient(), tables_.normalized(),
                                          tables_.b(), tables_.c(), count_, final, reached});
    return reached;
  }

  GradientTables<T, Channels>& tables_;
  A count_;
};

/// The operands of backward: what is normalised first, dy, a residual; dL/dx, dL/dresidual.
template <class T>
struct BackwardOperands {
  InputViews<T> in;
  BatchView<const T> output_gradient;
  BatchView<T> input_gradient;
  const BatchView<T>* residual_gradient = nullptr;
};

/// Backward with tables in which pivot, scale, shift, r and pivot errors are set.
template <class Source, class T, int Channels>
Gradients<T, Channels> backward_view(const Execution& execution, const Options& options,
                                     FormulaOptions<parameter_t<T>> formula,
                                     GradientTables<T, Channels>& tables,
                                     const BackwardOperands<T>& views) {
  using C = parameter_t<T>;
  const BatchView<const T>& x = views.in.x;
  if (!x.empty()) {
    const bool residual = views.in.residual != nullptr;
    const ViewShape inputs[] = {ViewShape(x), ViewShape(views.output_gradient),
                                residual ? ViewShape(*views.in.residual) : ViewShape()};
    const ViewShape outputs[] = {
        ViewShape(views.input_gradient),
        residual ? ViewShape(*views.residual_gradient) : ViewShape()};
    Operands<T> reduced;
    reduced.from = {x.data(), views.output_gradient.data(),
                    residual ? views.in.residual->data() : nullptr};
    reduced.inputs = residual ? 3 : 2;
    Operands<T> mapped = reduced;
    mapped.to = {views.input_gradient.data(),
                 residual ? views.residual_gradient->data() : nullptr};
    mapped.outputs = residual ? 2 : 1;
    GradientReduction<T, Channels> reduction(tables, x.values_per_channel());
    const TableSource<C> sum_source{tables.pivot(), tables.inverse(), tables.scale(),
                                    tables.shift()};
    const TableSource<C> map_source{tables.pivot(), tables.scale(), tables.b(),
                                    tables.c(),     tables.scale(), tables.shift()};
    const FormulaCall<T> reduce_call(reduce_kernels<GradientSums<Source>, T>, sum_source, formula);
    const FormulaCall<T> map_call(map_kernels<Backward<Source>, T>, map_source, formula);
    reduce_and_map<T>(execution,
                      {reduction, reduce_call, reduced, map_call, mapped,
                       GradientSums<Source>::sums},
                      outputs, inputs);
  }
  Gradients<T, Channels> gradients(x.channels());
  for (Index channel = 0; channel < x.channels(); ++channel) {
    if (options.scale) gradients.gamma[channel] = convert<C>(tables.normalized()[channel]);
    if (options.shift) gradients.beta[channel] = convert<C>(tables.output_gradient()[channel]);
  }
  return gradients;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_GRADIENTS_HPP
