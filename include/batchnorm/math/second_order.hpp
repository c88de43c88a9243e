// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_SECOND_ORDER_HPP
#define BATCHNORM_MATH_SECOND_ORDER_HPP

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/fused.hpp"
#include "batchnorm/kernels/map.hpp"
#include "batchnorm/kernels/map_kernel.hpp"
#include "batchnorm/kernels/reduce_kernel.hpp"
#include "batchnorm/kernels/selected.hpp"
#include "batchnorm/math/backward.hpp"
#include "batchnorm/math/combination.hpp"
#include "batchnorm/math/gradients.hpp"
#include "batchnorm/math/linearized.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"

// Forward mode and second derivatives, for one channel. With r = 1 / sqrt(v + epsilon), the
// normalised values h, weights w_i of sum W (all 1 and n where nothing was said), and <a> =
// sum(w a) / W, the statistics being functions of x,
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

/// Of jvp: y_0 = gamma r P dx + dgamma h + dbeta; sums of dx and dx h.
template <class T>
class JvpCoefficients final : public DerivativeCoefficients<T> {
  using A = accumulator_t<T>;

 public:
  explicit JvpCoefficients(LinearizedNorm<T>& norm) : norm_(norm) {}

  void write(Index channel, const A* sums) override {
    const A scale = norm_.gamma[channel] * norm_.tables.inverse()[channel];
    const auto& towards = norm_.direction;
    A factor = towards.template at<A>(towards.gamma, channel);
    A summand = towards.template at<A>(towards.beta, channel);
    if (!norm_.divisor.fixed) {
      factor -= scale * sums[1] / norm_.divisor.divisor;
      summand -= scale * sums[0] / norm_.divisor.divisor;
    }
    norm_.tables.set(1, channel, scale);
    norm_.tables.set_linear(2, channel, factor, summand);
  }

 private:
  LinearizedNorm<T>& norm_;
};

/// Of double backward: y_0 is the gradient to x, y_1 that to g; sums as ProductTerms.
template <class T>
class SecondOrderCoefficients final : public DerivativeCoefficients<T> {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;

 public:
  /// @param to_gamma  one number per channel
  SecondOrderCoefficients(LinearizedNorm<T>& norm, C* to_gamma)
      : norm_(norm), to_gamma_(to_gamma) {}

  void write(Index channel, const A* sums) override {
    CombinationTables<T>& tables = norm_.tables;
    const A r = tables.inverse()[channel];
    const A scale = norm_.gamma[channel] * r;
    const auto& towards = norm_.direction;
    const A u = towards.template at<A>(towards.gamma, channel);
    const A t = towards.template at<A>(towards.beta, channel);
    if (norm_.divisor.fixed) {
      to_gamma_[channel] = convert<C>(A(r * sums[4]));
      tables.set(1, channel, A(u * r));
      tables.set(4, channel, A(0));
      tables.set_linear(2, channel, A(0), A(0));
      tables.set(5, channel, scale);
      tables.set_linear(6, channel, u, t);
      return;
    }
    const A& weight = norm_.divisor.divisor;
    const A mean = sums[0] / weight;
    const A product = sums[1] / weight;
    const A all = sums[4] - mean * sums[2] - product * sums[3];
    const A factor = -scale * r;
    to_gamma_[channel] = convert<C>(A(r * all));
    const A to_gradient = factor * product + u * r;  // of Q g
    tables.set(1, channel, to_gradient);
    tables.set(4, channel, A(factor * sums[3] / weight));
    tables.set_linear(2, channel,
                      A((factor * (all - product * sums[3]) - to_gradient * sums[3]) / weight),
                      A(-(factor * sums[3] * mean + to_gradient * sums[2]) / weight));
    tables.set(5, channel, scale);
    tables.set_linear(6, channel, A(u - scale * product), A(t - scale * mean));
  }

 private:
  LinearizedNorm<T>& norm_;
  C* to_gamma_;
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
        sum_source_{norm.tables.pivot(), norm.tables.rounded_inverse()},
        map_source_{norm.tables.table(0), norm.tables.table(1), norm.tables.table(2),
                    norm.tables.table(3)},
        sum_call_(reduce_kernels<GradientTerms<FromInput<C>>, T>, sum_source_, {C(1), C(1)}),
        map_call_(map_kernels<Combination, T>, map_source_, {C(1), C(1)}) {
    operands_.read(in.x);
    operands_.read(tangent);
    operands_.write(out);
    reduced_ = operands_.data;
    reduced_.outputs = 0;
  }

  void run(const Execution& execution) {
    if (norm_.divisor.empty) return fill(execution);
    if (in_.selected != nullptr) return run_selected(execution);
    if (norm_.divisor.fixed) {
      write_all(ProductReduction<T>(norm_, 2, nullptr));
      return map<T>(execution, map_call_, operands_.data, operands_.outputs, operands_.inputs);
    }
    ProductReduction<T> reduction(norm_, 2, &coefficients_);
    reduce_and_map<T>(execution, {reduction, sum_call_, reduced_, map_call_, operands_.data, 2},
                      operands_.outputs, operands_.inputs);
  }

 private:
  void fill(const Execution& execution) const {
    if (in_.selected == nullptr) return;
    in_.selected->fill(execution, operands_.data, operands_.outputs, operands_.inputs, 1);
  }

  void write_all(const ProductReduction<T>& reduction) {
    for (Index c = 0; c < norm_.tables.channels(); ++c) reduction.write(c, coefficients_);
  }

  void run_selected(const Execution& execution) {
    const SelectedValues<T>& selected = *in_.selected;
    ProductReduction<T> reduction(norm_, 2, nullptr);
    if (!norm_.divisor.fixed && !selected.what().weights.empty()) {
      weighted_products(selected, in_.x, tangent_, norm_, reduction.sums, execution);
    } else if (!norm_.divisor.fixed) {
      selected.reduce(execution, reduction, sum_call_, reduced_, operands_.inputs, 2,
                      ListOf::counted);
    }
    write_all(reduction);
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
  Operands<T> reduced_;
};

template <class C>
FormulaOptions<C> combination_of_three() {
  FormulaOptions<C> options{C(1), C(1)};
  options.rectified = options.residual = true;
  return options;
}

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
        sum_source_{norm.tables.pivot(), norm.tables.rounded_inverse()},
        map_source_{norm.tables.table(0), norm.tables.table(1), norm.tables.table(2),
                    norm.tables.table(3), norm.tables.table(4), norm.tables.table(5),
                    norm.tables.table(6), norm.tables.table(7)},
        sum_call_(reduce_kernels<ProductTerms, T>, sum_source_, {C(1), C(1)}),
        map_call_(map_kernels<Combination, T>, map_source_, combination_of_three<C>()) {
    operands_.read(in.x);
    operands_.read(gradient);
    operands_.read(cotangent);
    operands_.write(to_x);
    operands_.write(to_gradient);
    reduced_ = operands_.data;
    reduced_.outputs = 0;
  }

  void run(const Execution& execution) {
    if (norm_.divisor.empty) return fill(execution);
    if (in_.selected != nullptr) return run_selected(execution);
    ProductReduction<T> reduction(norm_, sums, &coefficients_);
    reduce_and_map<T>(execution, {reduction, sum_call_, reduced_, map_call_, operands_.data, sums},
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

  void run_selected(const Execution& execution) {
    const SelectedValues<T>& selected = *in_.selected;
    ProductReduction<T> reduction(norm_, sums, nullptr);
    selected.reduce(execution, reduction, sum_call_, reduced_, operands_.inputs, sums,
                    ListOf::counted);
    if (!selected.what().weights.empty()) {
      weighted_products(selected, in_.x, cotangent_, norm_, reduction.sums, execution);
    }
    if (selected.maps_all() && selected.what().masked.count() > 0) {
      ProductReduction<T> masked(norm_, sums, nullptr);
      selected.reduce(execution, masked, sum_call_, reduced_, operands_.inputs, sums,
                      ListOf::masked);
      reduction.sums.template rightCols<3>() += masked.sums.template rightCols<3>();
    }
    for (Index c = 0; c < norm_.tables.channels(); ++c) reduction.write(c, coefficients_);
    selected.map_gradient(execution, map_call_, operands_.data, operands_.outputs,
                          operands_.inputs);
    if (!selected.maps_all()) fill(execution);
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
  Operands<T> reduced_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_SECOND_ORDER_HPP
