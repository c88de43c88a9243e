// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_GRADIENTS_HPP
#define BATCHNORM_MATH_GRADIENTS_HPP

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/channels.hpp"
#include "batchnorm/kernels/fused.hpp"
#include "batchnorm/kernels/map_kernel.hpp"
#include "batchnorm/kernels/reduce.hpp"
#include "batchnorm/kernels/reduce_kernel.hpp"
#include "batchnorm/kernels/selected.hpp"
#include "batchnorm/kernels/simd_memory.hpp"
#include "batchnorm/math/gradient_sums.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"

// The two loops of back-propagation. How g = f'(z) dy and the centred value come from the inputs is
// a Source: from the input of the layer (backward.hpp) or from its output (backward_output.hpp).
// Longer than most: tables, sums and both loops are of one formula. What comes out of them stands
// in gradient_sums.hpp.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

namespace detail {

/// The terms of S1 = sum g and r S2 = sum g centred r; coefficients pivot, r and those of the
/// source.
template <class Source>
struct GradientTerms {
  static constexpr int inputs = Source::inputs;
  static constexpr int required_inputs = 2;
  static constexpr int sums = 2;
  static constexpr int coefficients = 2 + Source::coefficients;
  static constexpr int required_coefficients = 2;
  static constexpr bool plain_with_epilogue = false;

  template <bool Plain, class V>
  [[gnu::always_inline]] static void add(V* s, const V* x, const V* k,
                                         const FormulaOptions<V>& options) {
    V g, centred;
    Source::template split<Plain>(g, centred, x, k[0], k + 2, options);
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
  static constexpr bool plain_with_epilogue = false;

  template <bool Plain, class V>
  [[gnu::always_inline]] static void apply(V* dx, const V* x, const V* k,
                                           const FormulaOptions<V>& options) {
    V g, centred;
    Source::template split<Plain>(g, centred, x, k[0], k + 4, options);
    dx[1] = g;
    if (!options.fixed_statistics) g += centred * k[2] + k[3];
    dx[0] = k[1] * g;
  }
};

/// The coefficients of both formulas, one table each.
template <class T, int Channels>
class GradientTables {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;
  using Rounded = TableVector<C, Channels, 6>;
  using Wide = TableVector<A, Channels, 2>;

 public:
  explicit GradientTables(Index channels)
      : channels_(channels),
        rounded_(filled<0, Rounded>(6 * channels)),
        wide_(filled<0, Wide>(2 * channels)) {}

  C* pivot() { return table(0); }
  C* scale() { return table(1); }  ///< a = gamma / sqrt(variance + epsilon)
  C* shift() { return table(2); }
  C* inverse() { return table(3); }  ///< r, or what the source has in its place
  C* b() { return table(4); }
  C* c() { return table(5); }
  A* wide_inverse() { return wide_.data(); }
  A* pivot_error() { return wide_.data() + channels_; }  ///< (m - p) r

 private:
  C* table(Index number) { return rounded_.data() + number * channels_; }

  Index channels_;
  Rounded rounded_;
  Wide wide_;
};

/// Takes from r S2 what the pivot's rounding has put there, unless that is done, and makes b and c
/// of the sums:
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
  bool corrected;
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
    if (!corrected) {
      product -= error * sum;
      simd::store<A, Lanes>(normalized + group.first, product);
    }
    product /= count;
    sum /= count;
    simd::store<A, Lanes>(b + group.first, V(-r * product));
    simd::store<A, Lanes>(c + group.first, V(error * product - sum));
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
  /// @param divisor  what the sums are divided by: the number of the values that the statistics
  ///                 are of, or the sum of their weights
  GradientReduction(GradientTables<T, Channels>& tables, GradientSums<A, Channels>& sums,
                    const A& divisor)
      : tables_(tables), sums_(sums), divisor_(divisor) {}

  A* result(std::size_t j) override {
    return (j == 0 ? sums_.output_gradient : sums_.normalized).data();
  }
  void prepare(const Plan&, const Operands<T>&, InstructionSet, Index, Index) override {}
  Index finish_many(Index first, Index last) override {
    return finish_some(first, last, false, lanes_are_wide);
  }
  /// A sum of floats that overflowed may fit in double.
  Outcome finish(Index channel, int, bool in_accumulator) override {
    const Index reached = finish_some(channel, channel + 1, false, in_accumulator);
    return reached > channel ? Outcome::done : Outcome::retry_in_accumulator;
  }
  /// b and c of sums that are there already.
  void finish_given(Index first, Index last) { finish_some(first, last, true, true); }

 private:
  Index finish_some(Index first, Index last, bool corrected, bool final) {
    Index reached = last;
    for_channels<A>(
        first, last,
        FinishGradients<A, C>{tables_.wide_inverse(), tables_.pivot_error(), result(0), result(1),
                              tables_.b(), tables_.c(), divisor_, corrected, final, reached});
    return reached;
  }

  GradientTables<T, Channels>& tables_;
  GradientSums<A, Channels>& sums_;
  A divisor_;
};

/// The sums of outputs that do not count, but have a gradient.
template <class T, int Channels>
class MaskedGradients final : public MaskedSums<T> {
  using A = accumulator_t<T>;
  using Sums = GradientSums<A, Channels>;

 public:
  /// @param sums  those of what counts
  MaskedGradients(GradientTables<T, Channels>& tables, Sums& sums, const A& divisor)
      : sums_(sums),
        masked_(sums.channels()),
        reduction_(tables, masked_, divisor),
        all_(tables, sums, divisor) {}

  Reduction<T>& reduction() override { return reduction_; }
  void join(Index first, Index last) override {
    for (Index channel = first; channel < last; ++channel) {
      sums_.output_gradient[channel] += masked_.output_gradient[channel];
      sums_.normalized[channel] += masked_.normalized[channel];
    }
    finish(first, last);
  }
  void finish(Index first, Index last) override { all_.finish_given(first, last); }

 private:
  Sums& sums_;
  Sums masked_;
  GradientReduction<T, Channels> reduction_;
  GradientReduction<T, Channels> all_;
};

/// The gradients of the parameters from the sums; zero for what the options leave out.
template <class T, int Channels>
Gradients<T, Channels> gradients_of(const Options& options,
                                    const GradientSums<accumulator_t<T>, Channels>& sums) {
  using C = parameter_t<T>;
  Gradients<T, Channels> gradients(sums.channels());
  for (Index channel = 0; channel < sums.channels(); ++channel) {
    if (options.scale) gradients.gamma[channel] = convert<C>(sums.normalized[channel]);
    if (options.shift) gradients.beta[channel] = convert<C>(sums.output_gradient[channel]);
  }
  return gradients;
}

/// Where backward writes: dL/dx, and dL/dresidual where there is a residual.
template <class T>
struct GradientViews {
  BatchView<T> x;
  const BatchView<T>* residual = nullptr;
};

/// The operands of backward, with outputs.
template <class T>
struct GradientOperands {
  Operands<T> data;
  ViewShape shapes[2];

  GradientOperands(const Operands<T>& inputs, const GradientViews<T>& out)
      : data(inputs),
        shapes{ViewShape(out.x), out.residual != nullptr ? ViewShape(*out.residual) : ViewShape()} {
    data.to = {out.x.data(), out.residual != nullptr ? out.residual->data() : nullptr};
    data.outputs = out.residual != nullptr ? 2 : 1;
  }
};

/// Writes the gradients of a minibatch in which nothing counts.
template <class T>
void fill_gradients(const InputViews<T>& in, const BatchView<const T>& out_gradient,
                    const GradientViews<T>& out, const Execution& execution) {
  if (in.selected == nullptr) return;
  Operands<T> inputs = operands_of<T>(in.x);
  inputs.from[1] = out_gradient.data();
  inputs.inputs = 2;
  const GradientOperands<T> operands(inputs, out);
  const ViewShape shapes[] = {ViewShape(in.x), ViewShape(out_gradient)};
  in.selected->fill(execution, operands.data, operands.shapes, shapes, 1);
}

/// Backward from what is normalised (input or output of the layer), dy and a residual, with tables
/// in which pivot, scale, shift, r and pivot errors are set.
template <class Source, class T, int Channels>
class BackwardPass {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;
  using Sums = GradientSums<A, Channels>;

 public:
  /// @param divisor  as GradientReduction, but not scaled as weights are
  BackwardPass(const FormulaOptions<C>& formula, GradientTables<T, Channels>& tables,
               const InputViews<T>& in, const BatchView<const T>& out_gradient, const A& divisor)
      : tables_(tables),
        divisor_(in.selected == nullptr ? divisor : A(divisor * A(in.selected->what().scale))),
        selected_(in.selected),
        sum_source_{tables.pivot(), tables.inverse(), tables.scale(), tables.shift()},
        map_source_{tables.pivot(), tables.scale(), tables.b(),
                    tables.c(),     tables.scale(), tables.shift()},
        sum_call_(reduce_kernels<GradientTerms<Source>, T>, sum_source_, formula),
        map_call_(map_kernels<Backward<Source>, T>, map_source_, formula),
        inputs_{ViewShape(in.x), ViewShape(out_gradient),
                in.residual != nullptr ? ViewShape(*in.residual) : ViewShape()} {
    operands_.from = {in.x.data(), out_gradient.data(),
                      in.residual != nullptr ? in.residual->data() : nullptr};
    operands_.inputs = in.residual != nullptr ? 3 : 2;
  }

  /// The sums of these inputs, which are a whole minibatch or a piece of one.
  void sum(const Execution& execution, Sums& sums) const {
    GradientReduction<T, Channels> reduction(tables_, sums, divisor_);
    if (selected_ != nullptr) {
      MaskedGradients<T, Channels> masked(tables_, sums, divisor_);
      selected_->reduce_gradient(execution, reduction, sum_call_, operands_, masked, inputs_,
                                 GradientTerms<Source>::sums);
      return;
    }
    const Plan plan = plan_of(operands_, nullptr, inputs_);
    Reducer<T>(reduction, sum_call_, operands_, plan, GradientTerms<Source>::sums)
        .run(execution.for_elements(plan.traversal().elements()), 0, plan.traversal().channels);
  }

  /// dL/dx from the sums of the whole minibatch.
  void map_with(const Execution& execution, Sums sums, const GradientViews<T>& out) const {
    GradientReduction<T, Channels>(tables_, sums, divisor_).finish_given(0, sums.channels());
    const GradientOperands<T> outputs(operands_, out);
    if (selected_ != nullptr) {
      selected_->map_gradient(execution, map_call_, outputs.data, outputs.shapes, inputs_,
                              {0, sums.channels()}, true);
    } else {
      map<T>(execution, map_call_, outputs.data, outputs.shapes, inputs_);
    }
  }

  /// Both, fused where that saves a pass over memory.
  void run(const Execution& execution, Sums& sums, const GradientViews<T>& out) const {
    GradientReduction<T, Channels> reduction(tables_, sums, divisor_);
    const GradientOperands<T> outputs(operands_, out);
    const ReduceAndMap<T> work{reduction, sum_call_,    operands_,
                               map_call_, outputs.data, GradientTerms<Source>::sums};
    if (selected_ != nullptr) {
      MaskedGradients<T, Channels> masked(tables_, sums, divisor_);
      selected_->reduce_and_map_gradient(execution, work, masked, outputs.shapes, inputs_);
    } else {
      reduce_and_map<T>(execution, work, outputs.shapes, inputs_);
    }
  }

 private:
  GradientTables<T, Channels>& tables_;
  A divisor_;
  const SelectedValues<T>* selected_;
  TableSource<C> sum_source_;
  TableSource<C> map_source_;
  FormulaCall<T> sum_call_;
  FormulaCall<T> map_call_;
  Operands<T> operands_;
  ViewShape inputs_[3];
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_GRADIENTS_HPP
