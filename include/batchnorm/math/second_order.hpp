// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_SECOND_ORDER_HPP
#define BATCHNORM_MATH_SECOND_ORDER_HPP

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/fused.hpp"
#include "batchnorm/kernels/gathered_map.hpp"
#include "batchnorm/kernels/list_lines.hpp"
#include "batchnorm/kernels/map.hpp"
#include "batchnorm/kernels/map_kernel.hpp"
#include "batchnorm/kernels/reduce_kernel.hpp"
#include "batchnorm/kernels/selected.hpp"
#include "batchnorm/kernels/simd_memory.hpp"
#include "batchnorm/kernels/value_list.hpp"
#include "batchnorm/kernels/weighted_map.hpp"
#include "batchnorm/math/backward.hpp"
#include "batchnorm/math/combination.hpp"
#include "batchnorm/math/gradients.hpp"
#include "batchnorm/math/linearized.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/math/weighted_products.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"

// Forward mode (forward_mode.hpp) and second derivatives, for one channel. With r = 1 / sqrt(v +
// epsilon), the normalised values h, weights w_i of sum W (all 1 and n where nothing was said), and
// <a> = sum(w a) / W, the statistics being functions of x,
//
//     P u = u - <u> - h <h u>
//
// is what is left of a change u of x: dh = r P u. Hence, for a change dx of x and those of gamma
// and beta,
//
//     dy = gamma r P dx + dgamma h + dbeta
//
// Backward (backward.hpp) is the transpose, with Q g = g - (w/W) sum(g) - (w/W) h sum(g h):
//
//     dL/dx = gamma r Q g     dL/dgamma = sum(g h)     dL/dbeta = sum(g)
//
// Where a loss depends on these three with cotangents v, u and t, it is gamma r sum(g P v) +
// u sum(g h) + t sum(g) to first order. Let a = <v>, b = <h v>, S = sum(g), T = sum(g h). From
// dr/dx_k = -r^2 (w_k / W) h_k, db/dx_k = r (w_k / W) (P v)_k and dT/dx_k = r (Q g)_k its gradients
// are
//
//     to g:      gamma r P v + u h + t
//     to gamma:  r A,   A = sum(v g) - a S - b T
//     to x:      -gamma r^2 { (w/W) (h A + T P v) + b Q g } + u r Q g
//
// which is five sums and one map. Statistics held constant leave gamma r v + u h + t, r sum(v g)
// and u r g. PyTorch's batchnorm_double_backward has the same for weights of 1.
//
// Third derivatives are those of these formulas, and the caller's.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Of double backward: y_0 is the gradient to x, y_1 that to g; sums as ProductTerms.
template <class T>
class SecondOrderCoefficients final : public DerivativeCoefficients<T> {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;

  struct Body {
    LinearizedNorm<T>& norm;
    const A* const* sums;
    C* to_gamma;

    template <int Lanes>
    [[gnu::always_inline]] bool run(const ChannelGroup& group) const {
      using V = simd::Vector<A, Lanes>;
      CombinationTables<T>& tables = norm.tables;
      V r, error, gamma, u, t, sum[5];
      load_channels<A, Lanes>(r, tables.wide_inverse(), group);
      load_channels<A, Lanes>(error, tables.pivot_error(), group);
      load_or<A, Lanes>(gamma, norm.parameters.gamma, group, A(1));
      load_or<A, Lanes>(u, norm.direction.gamma, group, A(0));
      load_or<A, Lanes>(t, norm.direction.beta, group, A(0));
      for (int j = 0; j < 5; ++j) load_channels<A, Lanes>(sum[j], sums[j], group);
      const A inverse_weight = norm.divisor.fixed ? A(0) : A(A(1) / norm.divisor.divisor);
      const V scale = gamma * r;
      const V mean = sum[0] * inverse_weight, product = sum[1] * inverse_weight;
      const V all = sum[4] - mean * sum[2] - product * sum[3];
      const V q = -scale * r;
      const V to_gradient = q * product + u * r;  // of Q g
      const V share = q * sum[3] * inverse_weight;
      simd::store<A, Lanes>(to_gamma + group.first, V(r * all));
      simd::store<A, Lanes>(tables.k(1) + group.first, to_gradient);
      simd::store<A, Lanes>(tables.k(4) + group.first, share);
      store_linear<A, Lanes>(
          tables.k(2), tables.k(3), group,
          V((q * (all - product * sum[3]) - to_gradient * sum[3]) * inverse_weight),
          V(-share * mean - to_gradient * sum[2] * inverse_weight), r, error);
      simd::store<A, Lanes>(tables.k(5) + group.first, scale);
      store_linear<A, Lanes>(tables.k(6), tables.k(7), group, V(u - scale * product),
                             V(t - scale * mean), r, error);
      return true;
    }
  };

 public:
  /// @param to_gamma  one number per channel
  SecondOrderCoefficients(LinearizedNorm<T>& norm, C* to_gamma)
      : norm_(norm), to_gamma_(to_gamma) {}
  /// With constant statistics every mean is 0, and so is what comes through them.
  void write(Index first, Index last, const A* const* sums) override {
    for_channels<A>(first, last, Body{norm_, sums, to_gamma_});
  }

 private:
  LinearizedNorm<T>& norm_;
  C* to_gamma_;
};

/// The gradients of double backward.
template <class T>
class SecondOrderPass {
  using C = parameter_t<T>;

 public:
  SecondOrderPass(LinearizedNorm<T>& norm, const InputViews<T>& in,
                  const BatchView<const T>& gradient, const BatchView<const T>& cotangent,
                  const BatchView<T>& to_x, const BatchView<T>& to_gradient, C* to_gamma)
      : norm_(norm),
        in_(in),
        cotangent_(cotangent),
        to_gradient_(to_gradient),
        coefficients_(norm, to_gamma),
        sum_source_{norm.tables.pivot(), norm.tables.inverse()},
        map_source_{norm.tables.k(0), norm.tables.k(1), norm.tables.k(2), norm.tables.k(3),
                    norm.tables.k(4), norm.tables.k(5), norm.tables.k(6), norm.tables.k(7)},
        sum_call_(reduce_kernels<ProductTerms, T>, sum_source_, {C(1), C(1)}),
        map_call_(map_kernels<TwoCombinations, T>, map_source_, {C(1), C(1)}) {
    map_call_.options.fixed_statistics = norm.divisor.fixed;
    operands_.read(in.x);
    operands_.read(gradient);
    operands_.read(cotangent);
    operands_.write(to_x);
    operands_.write(to_gradient);
  }

  void run(const Execution& execution) {
    if (norm_.divisor.empty) return fill(execution);
    if (in_.selected != nullptr) return run_selected(execution);
    ProductReduction<T> reduction(norm_, sums, &coefficients_);
    const Operands<T> reduced = operands_.inputs_alone();
    reduce_and_map<T>(execution, {reduction, sum_call_, reduced, map_call_, operands_.data, sums},
                      operands_.outputs, operands_.inputs);
  }

 private:
  static constexpr int sums = ProductTerms::sums;

  /// What is masked depends on nothing, or is kept, dy = dx: then the gradient to g is v.
  void fill(const Execution& execution) const {
    if (in_.selected == nullptr) return;
    in_.selected->fill(execution, operands_.data, operands_.outputs, operands_.inputs, -1);
    DerivativeOperands<T> kept;
    kept.read(cotangent_);
    kept.write(to_gradient_);
    in_.selected->fill(execution, kept.data, kept.outputs, kept.inputs, 0);
  }

  ChannelRange all_channels() const { return {0, in_.x.channels()}; }

  void run_selected(const Execution& execution) {
    const SelectedValues<T>& selected = *in_.selected;
    const Operands<T> reduced = operands_.inputs_alone();
    if (!norm_.divisor.fixed && !selected.what().weights.empty()) {
      run_weighted(execution, reduced);
    } else {
      const auto sum = [&](const Execution& part, const ChannelRange& range, auto& into) {
        selected.reduce(part, into, sum_call_, reduced, operands_.inputs, sums, ListOf::counted,
                        range);
      };
      run_loops(execution, reduced, sum, [&](const Execution& part, const ChannelRange& range) {
        selected.map_gradient(part, map_call_, operands_.data, operands_.outputs, operands_.inputs,
                              range, true);
      });
    }
    if (!selected.maps_all()) fill(execution);
  }

  void run_weighted(const Execution& execution, const Operands<T>& reduced) {
    const FormulaCall<T> weighted(reduce_kernels<GradientTerms<FromInput<C>>, T>, sum_source_,
                                  {C(1), C(1)});
    const WeightedProducts<T> products(*in_.selected, norm_, in_.x, cotangent_, operands_,
                                       {weighted, &sum_call_, sums});
    const auto sum = [&](const Execution& part, const ChannelRange& range, auto& into) {
      products.sum(part, range, into);
    };
    run_loops(execution, reduced, sum, [&](const Execution& part, const ChannelRange& range) {
      map_weighted(part, range, products.weights());
    });
  }

  template <class Sum, class Map>
  void run_loops(const Execution& execution, const Operands<T>& reduced, const Sum& sum,
                 const Map& map) {
    ProductReduction<T> reduction(norm_, sums, nullptr), masked(norm_, sums, nullptr);
    const FusedGroups<T> groups(execution, reduced, operands_.data, operands_.outputs,
                                operands_.inputs);
    groups.run([&](const Execution& part, const ChannelRange& range) {
      sum(part, range, reduction);
      add_masked(part, range, reduced, reduction, masked);
      reduction.write(coefficients_, range.first, range.last);
      map(part, range);
    });
  }

  /// The sums without weights are over masked outputs that count for the loss, too.
  void add_masked(const Execution& execution, const ChannelRange& range, const Operands<T>& reduced,
                  ProductReduction<T>& reduction, ProductReduction<T>& masked) const {
    const SelectedValues<T>& selected = *in_.selected;
    if (!selected.maps_all() || selected.what().masked.count() == 0) return;
    selected.reduce(execution, masked, sum_call_, reduced, operands_.inputs, sums, ListOf::masked,
                    range);
    reduction.sums.template rightCols<3>().middleRows(range.first, range.count()) +=
        masked.sums.template rightCols<3>().middleRows(range.first, range.count());
  }

  /// What counts, with its weights, and what is masked, whose statistics are constants.
  void map_weighted(const Execution& execution, const ChannelRange& range, const C* weights) const {
    const SelectedValues<T>& selected = *in_.selected;
    const auto layout = [&](const ValueList& list) {
      return ListLayout(list, operands_.outputs, operands_.data.outputs, operands_.inputs,
                        operands_.data.inputs);
    };
    const ListLayout counted = layout(selected.what().counted);
    const Index channels = in_.x.channels();
    WeightedMap<T>(counted, map_call_, operands_.data, weights, channels).run(execution, range);
    if (!selected.maps_all() || selected.what().masked.count() == 0) return;
    FormulaCall<T> constant = map_call_;
    constant.options.fixed_statistics = true;
    const ListLayout masked = layout(selected.what().masked);
    GatheredMap<T>(masked, constant, operands_.data, channels, false).run(execution, range);
  }

  LinearizedNorm<T>& norm_;
  const InputViews<T>& in_;
  const BatchView<const T>& cotangent_;
  const BatchView<T>& to_gradient_;
  SecondOrderCoefficients<T> coefficients_;
  TableSource<C> sum_source_;
  TableSource<C> map_source_;
  FormulaCall<T> sum_call_;
  FormulaCall<T> map_call_;
  DerivativeOperands<T> operands_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_SECOND_ORDER_HPP
