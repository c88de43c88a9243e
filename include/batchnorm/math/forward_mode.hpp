// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_FORWARD_MODE_HPP
#define BATCHNORM_MATH_FORWARD_MODE_HPP

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/fused.hpp"
#include "batchnorm/kernels/map.hpp"
#include "batchnorm/kernels/map_kernel.hpp"
#include "batchnorm/kernels/reduce_kernel.hpp"
#include "batchnorm/kernels/selected.hpp"
#include "batchnorm/kernels/simd_memory.hpp"
#include "batchnorm/math/backward.hpp"
#include "batchnorm/math/combination.hpp"
#include "batchnorm/math/gradients.hpp"
#include "batchnorm/math/linearized.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/math/weighted_products.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"

// The product of a layer's Jacobian with a direction: two sums and one map. second_order.hpp
// derives it, and names what is named here.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Of jvp: y_0 = gamma r P dx + dgamma h + dbeta; sums of dx and dx h.
template <class T>
class JvpCoefficients final : public DerivativeCoefficients<T> {
  using A = accumulator_t<T>;

  struct Body {
    LinearizedNorm<T>& norm;
    const A* const* sums;

    template <int Lanes>
    [[gnu::always_inline]] bool run(const ChannelGroup& group) const {
      using V = simd::Vector<A, Lanes>;
      CombinationTables<T>& tables = norm.tables;
      V r, error, gamma, factor, summand, sum, product;
      load_channels<A, Lanes>(r, tables.wide_inverse(), group);
      load_channels<A, Lanes>(error, tables.pivot_error(), group);
      load_or<A, Lanes>(gamma, norm.parameters.gamma, group, A(1));
      load_or<A, Lanes>(factor, norm.direction.gamma, group, A(0));
      load_or<A, Lanes>(summand, norm.direction.beta, group, A(0));
      const V scale = gamma * r;
      if (!norm.divisor.fixed) {
        load_channels<A, Lanes>(sum, sums[0], group);
        load_channels<A, Lanes>(product, sums[1], group);
        factor -= scale * (product / norm.divisor.divisor);
        summand -= scale * (sum / norm.divisor.divisor);
      }
      simd::store<A, Lanes>(tables.k(1) + group.first, scale);
      store_linear<A, Lanes>(tables.k(2), tables.k(3), group, factor, summand, r, error);
      return true;
    }
  };

 public:
  explicit JvpCoefficients(LinearizedNorm<T>& norm) : norm_(norm) {}
  void write(Index first, Index last, const A* const* sums) override {
    for_channels<A>(first, last, Body{norm_, sums});
  }

 private:
  LinearizedNorm<T>& norm_;
};

/// y = gamma r P dx + dgamma h + dbeta.
template <class T>
class JvpPass {
  using C = parameter_t<T>;

 public:
  JvpPass(LinearizedNorm<T>& norm, const InputViews<T>& in, const BatchView<const T>& tangent,
          const BatchView<T>& out)
      : norm_(norm),
        in_(in),
        tangent_(tangent),
        coefficients_(norm),
        sum_source_{norm.tables.pivot(), norm.tables.inverse()},
        map_source_{norm.tables.k(0), norm.tables.k(1), norm.tables.k(2), norm.tables.k(3)},
        sum_call_(reduce_kernels<GradientTerms<FromInput<C>>, T>, sum_source_, {C(1), C(1)}),
        map_call_(map_kernels<Combination, T>, map_source_, {C(1), C(1)}) {
    operands_.read(in.x);
    operands_.read(tangent);
    operands_.write(out);
  }

  void run(const Execution& execution) {
    if (norm_.divisor.empty) return fill(execution);
    if (in_.selected != nullptr) return run_selected(execution);
    if (norm_.divisor.fixed) {
      ProductReduction<T>(norm_, 2, nullptr).write(coefficients_);
      return map<T>(execution, map_call_, operands_.data, operands_.outputs, operands_.inputs);
    }
    ProductReduction<T> reduction(norm_, 2, &coefficients_);
    const Operands<T> reduced = operands_.inputs_alone();
    reduce_and_map<T>(execution, {reduction, sum_call_, reduced, map_call_, operands_.data, 2},
                      operands_.outputs, operands_.inputs);
  }

 private:
  void fill(const Execution& execution) const {
    if (in_.selected == nullptr) return;
    in_.selected->fill(execution, operands_.data, operands_.outputs, operands_.inputs, 1);
  }

  ChannelRange all_channels() const { return {0, in_.x.channels()}; }

  void run_selected(const Execution& execution) {
    const SelectedValues<T>& selected = *in_.selected;
    const Operands<T> reduced = operands_.inputs_alone();
    ProductReduction<T> reduction(norm_, 2, nullptr);
    if (!norm_.divisor.fixed && !selected.what().weights.empty()) {
      WeightedProducts<T>(selected, norm_, in_.x, tangent_, operands_, {sum_call_, nullptr, 2})
          .sum(execution, all_channels(), reduction);
    } else if (!norm_.divisor.fixed) {
      selected.reduce(execution, reduction, sum_call_, reduced, operands_.inputs, 2,
                      ListOf::counted, all_channels());
    }
    reduction.write(coefficients_);
    if (selected.maps_all()) {
      map<T>(execution, map_call_, operands_.data, operands_.outputs, operands_.inputs);
    } else {
      selected.map(execution, map_call_, operands_.data, operands_.outputs, operands_.inputs);
      fill(execution);
    }
  }

  LinearizedNorm<T>& norm_;
  const InputViews<T>& in_;
  const BatchView<const T>& tangent_;
  JvpCoefficients<T> coefficients_;
  TableSource<C> sum_source_;
  TableSource<C> map_source_;
  FormulaCall<T> sum_call_;
  FormulaCall<T> map_call_;
  DerivativeOperands<T> operands_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_FORWARD_MODE_HPP
