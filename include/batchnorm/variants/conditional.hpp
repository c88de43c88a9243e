// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_VARIANTS_CONDITIONAL_HPP
#define BATCHNORM_VARIANTS_CONDITIONAL_HPP

#include <Eigen/Core>
#include <utility>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/coefficients.hpp"
#include "batchnorm/kernels/map.hpp"
#include "batchnorm/kernels/map_kernel.hpp"
#include "batchnorm/layer.hpp"
#include "batchnorm/math/backward.hpp"
#include "batchnorm/math/check_batch.hpp"
#include "batchnorm/math/check_moments.hpp"
#include "batchnorm/math/combination.hpp"
#include "batchnorm/math/gradient_sums.hpp"
#include "batchnorm/math/gradients.hpp"
#include "batchnorm/math/linearized.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/math/running.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/variants/checked_statistics.hpp"
#include "batchnorm/variants/substitute.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"
#include "batchnorm/view/check.hpp"
#include "batchnorm/view/input.hpp"

// Gamma and beta that are given with the input, in the place of the layer's: one of each per
// channel for all examples, or for every example its own.
//
// For example n, with gamma_n and beta_n, and statistics of the whole minibatch of N values per
// channel (math/backward.hpp, with gamma_n dL/dy in the place of gamma dL/dy),
//
//     dL/dgamma_n = sum over its values of dL/dy h     dL/dbeta_n = sum dL/dy
//     dL/dx = r [ gamma_n dL/dy - S/N - h T/N ]
//     S = sum over all examples of gamma_n dL/dbeta_n  T = sum of gamma_n dL/dgamma_n

// Longer than most: a forward with either statistics and a backward, per call and per example.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// Gamma and beta given with an input: channels x 1 for all of its examples, or channels x examples
/// for each its own, as class-conditional normalisation and FiLM layers compute them. Gradients
/// have the same shape.
template <class T>
struct Modulation {
  /// channels x 1, or channels x examples.
  using Matrix = Eigen::Matrix<parameter_t<T>, Eigen::Dynamic, Eigen::Dynamic>;

  Matrix gamma;  ///< the factor of the normalised value
  Matrix beta;   ///< the summand, of the same shape
};

namespace detail {

/// Checks gamma and beta against an input.
template <class T>
void check_modulation(const char* function, Index channels, const Modulation<T>& given,
                      const BatchView<const T>& in) {
  const Index examples = given.gamma.cols();
  const bool same = given.beta.rows() == given.gamma.rows() && given.beta.cols() == examples;
  if (!same || given.gamma.rows() != channels || (examples != 1 && examples != in.samples())) {
    fail_argument(function, "gamma and beta are given for all examples or for each",
                  text(channels, " x 1 or ", channels, " x ", in.samples(), ", both"),
                  text(given.gamma.rows(), " x ", examples, " and ", given.beta.rows(), " x ",
                       given.beta.cols()));
  }
}

/// One after the other, the gamma and beta that are given.
template <class T>
class Modulated {
 public:
  Modulated(const char* function, const Options& options,
            const StatisticsView<accumulator_t<T>>& of, const Modulation<T>& given)
      : function_(function), options_(options), given_(given), norm_(given.gamma.rows()) {
    for (Index c = 0; c < norm_.channels(); ++c) norm_.set_statistics(c, of);
  }

  /// All examples, or each.
  Index groups() const { return given_.gamma.cols(); }

  /// The coefficients of one group, checked.
  GradientTables<T, Eigen::Dynamic> tables(Index group) {
    for (Index c = 0; c < norm_.channels(); ++c) {
      norm_.gamma[c] = convert<accumulator_t<T>>(given_.gamma(c, group));
      norm_.beta[c] = convert<accumulator_t<T>>(given_.beta(c, group));
    }
    auto tables = tables_of(norm_, options_.epsilon);
    check_substitute(function_, options_, norm_, tables);
    return tables;
  }

  /// Refuses, before anything is written, what a later example would be refused for.
  void check_all() {
    for (Index group = 0; group < groups(); ++group) tables(group);
  }

 private:
  const char* function_;
  const Options& options_;
  const Modulation<T>& given_;
  Substitute<T> norm_;
};

template <class T>
void write_modulated(const Options& options, Modulated<T>& modulated, const InputViews<T>& in,
                     const BatchView<T>& out, const Execution& execution) {
  for (Index group = 0; group < modulated.groups(); ++group) {
    auto tables = modulated.tables(group);
    if (modulated.groups() == 1) return normalize_with(options, tables, in, out, execution);
    normalize_example_with(options, tables, group, in, out, execution);
  }
}

inline constexpr const char* no_mask_per_example =
    "gamma and beta per example are given without a mask";

/// The two loops of backward over examples with gamma and beta of their own.
template <class T>
class ModulatedBackward {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;

 public:
  ModulatedBackward(const Options& options, Modulated<T>& modulated, const Modulation<T>& given,
                    const MinibatchDivisor<A>& divisor, const BatchView<const T>& x,
                    const BatchView<const T>& dy)
      : options_(options),
        modulated_(modulated),
        given_(given),
        divisor_(divisor),
        x_(x),
        dy_(dy) {}

  Modulation<T> run(const BatchView<T>& dx, const Execution& execution) {
    const Index channels = x_.channels(), examples = x_.samples();
    Modulation<T> gradients{given_.gamma, given_.beta};
    Eigen::Array<A, Eigen::Dynamic, 2> totals =
        Eigen::Array<A, Eigen::Dynamic, 2>::Zero(channels, 2);
    for (Index n = 0; n < examples; ++n) {
      auto tables = modulated_.tables(n);
      GradientSums<A> sums(channels);
      input_backward(options_, divisor_, tables, {samples_of(x_, n, 1)}, samples_of(dy_, n, 1))
          .sum(execution, sums);
      for (Index c = 0; c < channels; ++c) {
        const A gamma = convert<A>(given_.gamma(c, n));
        gradients.beta(c, n) = convert<C>(sums.output_gradient[c]);
        gradients.gamma(c, n) = convert<C>(sums.normalized[c]);
        totals(c, 0) += gamma * sums.output_gradient[c];
        totals(c, 1) += gamma * sums.normalized[c];
      }
    }
    if (divisor_.fixed) {
      totals.setZero();
    } else {
      totals /= divisor_.divisor;
    }
    for (Index n = 0; n < examples; ++n) map_example(n, totals, samples_of(dx, n, 1), execution);
    return gradients;
  }

 private:
  void map_example(Index n, const Eigen::Array<A, Eigen::Dynamic, 2>& means, const BatchView<T>& dx,
                   const Execution& execution) {
    auto made = modulated_.tables(n);
    CombinationTables<T> tables(x_.channels());
    for (Index c = 0; c < x_.channels(); ++c) {
      const A r = made.wide_inverse()[c], factor = -r * means(c, 1);
      tables.pivot()[c] = made.pivot()[c];
      tables.k(1)[c] = made.scale()[c];
      tables.k(2)[c] = convert<C>(A(factor * r));
      tables.k(3)[c] = convert<C>(A(-r * means(c, 0) - factor * made.pivot_error()[c]));
    }
    const TableSource<C> source{tables.k(0), tables.k(1), tables.k(2), tables.k(3)};
    const FormulaCall<T> call(map_kernels<Combination, T>, source, {C(1), C(1)});
    DerivativeOperands<T> operands;
    operands.read(samples_of(x_, n, 1));
    operands.read(samples_of(dy_, n, 1));
    operands.write(dx);
    map<T>(execution, call, operands.data, operands.outputs, operands.inputs);
  }

  const Options& options_;
  Modulated<T>& modulated_;
  const Modulation<T>& given_;
  MinibatchDivisor<A> divisor_;
  const BatchView<const T>& x_;
  const BatchView<const T>& dy_;
};

template <class T>
Modulation<T> no_gradients(const Modulation<T>& given) {
  using Matrix = typename Modulation<T>::Matrix;
  const Matrix zero = Matrix::Zero(given.gamma.rows(), given.gamma.cols());
  return {zero, zero};
}

/// What backward of a minibatch and of running statistics have in common.
template <class T, int Channels>
Modulation<T> modulated_gradients(const char* function, const BatchNorm<T, Channels>& layer,
                                  const Modulation<T>& given,
                                  const StatisticsView<accumulator_t<T>>& statistics,
                                  const MinibatchDivisor<accumulator_t<T>>& divisor,
                                  const InputViews<T>& in, const Input<T>& out_gradient,
                                  const GradientOutput<T>& in_gradient,
                                  const Execution& execution) {
  using A = accumulator_t<T>;
  const Options& options = layer.options();
  Modulated<T> modulated(function, options, statistics, given);
  if (in.x.empty()) return no_gradients(given);
  if (modulated.groups() > 1) {
    modulated.check_all();
    return ModulatedBackward<T>(options, modulated, given, divisor, in.x, out_gradient.view())
        .run(in_gradient.view(), execution);
  }
  GradientSums<A> sums(layer.channels());
  auto tables = modulated.tables(0);
  input_backward(options, divisor, tables, in, out_gradient.view())
      .run(execution, sums, {in_gradient.view(), in_gradient.residual()});
  using C = parameter_t<T>;
  return {sums.normalized.template cast<C>(), sums.output_gradient.template cast<C>()};
}

template <class T, int Channels>
void check_modulated_forward(const char* function, const BatchNorm<T, Channels>& layer,
                             const Modulation<T>& given, const Input<T>& in, const Output<T>& out) {
  check_state_shape(function, layer.state());
  check_forward(function, layer.channels(), in, out);
  check_modulation(function, layer.channels(), given, in.view());
  if (given.gamma.cols() != 1) refuse_mask(function, in, no_mask_per_example);
}

template <class T, int Channels>
void check_modulated_backward(const char* function, const BatchNorm<T, Channels>& layer,
                              const Modulation<T>& given, const Input<T>& in,
                              const Input<T>& out_gradient, const GradientOutput<T>& in_gradient) {
  check_state_shape(function, layer.state());
  check_backward(function, layer.channels(), in, out_gradient, in_gradient);
  check_modulation(function, layer.channels(), given, in.view());
  if (given.gamma.cols() == 1) return;
  refuse_mask(function, in, no_mask_per_example);
  refuse_epilogue(function, layer.options(),
                  "none, where gamma and beta are given per example: multiply "
                  "dy by the slope of the epilogue");
  refuse_residual(function, in);
}

}  // namespace detail

/// Trains with gamma and beta that are given, in the place of the layer's; it keeps the statistics.
///
///     y = f(gamma_n h + beta_n)     n: the example
///
/// @param given  gamma and beta of all examples, or of each
/// @return the moments of the minibatch, which backward_conditional wants to have
/// @throws as BatchNorm::train, but that one value per channel is an error always; and
///         std::invalid_argument for gamma and beta of another shape, a mask beside those of each
///         example, and a Synchronize
/// Shapes: `in` and `out` as for train, `given` as Modulation says. Cost: as train; per example
/// besides, a call of the loops and work per channel, by the execution. Source: Dumoulin, Shlens
/// and Kudlur 2017 (arXiv:1610.07629), section 2.2; Perez and others 2018 (FiLM, arXiv:1709.07871),
/// section 2.
template <class T, int Channels>
detail::MomentsOf<T, Channels> train_conditional(BatchNorm<T, Channels>& layer,
                                                 const Modulation<detail::Exactly<T>>& given,
                                                 const Input<detail::Exactly<T>>& in,
                                                 const Output<detail::Exactly<T>>& out,
                                                 const Execution& execution = {}) {
  constexpr const char* function = "train_conditional";
  const Options& options = layer.options();
  detail::check_modulated_forward(function, layer, given, in, out);
  const detail::SelectedInput<T> chosen(function, in);
  if (chosen.count == 0) {
    detail::fill_output(chosen.views, out.view(), execution);
    return detail::MomentsOf<T, Channels>(layer.channels());
  }
  auto checked = detail::checked_batch(function, layer, chosen, execution);
  detail::Modulated<T> modulated(function, options, detail::statistics_of(checked.batch), given);
  modulated.check_all();
  if (checked.update) check_running_update(function, options, checked.batch, layer.state());
  detail::write_modulated(options, modulated, chosen.views, out.view(), execution);
  if (checked.update) apply_running_update(options, checked.batch, layer.state());
  return std::move(checked.batch);
}

/// Normalises with the running statistics of the layer, and with gamma and beta that are given,
/// `in` into `out`, by the execution. Shapes: as train_conditional. Cost: one read and one write;
/// per example as train_conditional.
/// @throws as BatchNorm::infer, and std::invalid_argument as train_conditional
template <class T, int Channels>
void infer_conditional(const BatchNorm<T, Channels>& layer,
                       const Modulation<detail::Exactly<T>>& given,
                       const Input<detail::Exactly<T>>& in, const Output<detail::Exactly<T>>& out,
                       const Execution& execution = {}) {
  constexpr const char* function = "infer_conditional";
  const Options& options = layer.options();
  detail::check_modulated_forward(function, layer, given, in, out);
  const detail::SelectedInput<T> chosen(function, in);
  detail::Modulated<T> modulated(function, options, detail::running_statistics_of(function, layer),
                                 given);
  modulated.check_all();
  if (in.view().empty()) return;
  detail::write_modulated(options, modulated, chosen.views, out.view(), execution);
}

/// Back-propagates through train_conditional.
///
/// @param batch  what train_conditional returned for `in`
/// @param given  its gamma and beta
/// @param out_gradient, in_gradient, execution  as for BatchNorm::backward, and so the layer
/// @return dL/dgamma and dL/dbeta, of the shape of `given`
/// Shapes: as train_conditional. Cost: as backward; per example as train_conditional.
/// @throws as BatchNorm::backward, and std::invalid_argument as train_conditional; where gamma and
///         beta are given per example also for an epilogue (multiply dy by its slope) and a
///         residual (its gradient is dy)
template <class T, int Channels>
Modulation<T> backward_conditional(const BatchNorm<T, Channels>& layer,
                                   const detail::MomentsOf<T, Channels>& batch,
                                   const Modulation<detail::Exactly<T>>& given,
                                   const Input<detail::Exactly<T>>& in,
                                   const Input<detail::Exactly<T>>& out_gradient,
                                   const GradientOutput<detail::Exactly<T>>& in_gradient,
                                   const Execution& execution = {}) {
  constexpr const char* function = "backward_conditional";
  detail::check_modulated_backward(function, layer, given, in, out_gradient, in_gradient);
  const detail::SelectedInput<T> chosen(function, in);
  detail::check_batch(function, batch, layer.channels(), chosen.count);
  if (chosen.count == 0) {
    detail::fill_gradients(chosen.views, out_gradient.view(),
                           {in_gradient.view(), in_gradient.residual()}, execution);
    return detail::no_gradients<T>(given);
  }
  detail::check_batch_size(function, Options{}, batch.count);
  detail::check_given_batch<parameter_t<T>>(function, layer.options(), batch);
  return detail::modulated_gradients(function, layer, given, detail::statistics_of(batch),
                                     detail::MinibatchDivisor<accumulator_t<T>>(batch),
                                     chosen.views, out_gradient, in_gradient, execution);
}

/// Back-propagates through infer_conditional, whose statistics are constants. The layer, `given`,
/// `in`, out_gradient, in_gradient and execution are those of backward_conditional. Shapes: as
/// there. Cost: one read of `in` and out_gradient, one write.
/// @throws what that does for wrong arguments, and std::domain_error as BatchNorm::infer
template <class T, int Channels>
Modulation<T> backward_conditional_frozen(const BatchNorm<T, Channels>& layer,
                                          const Modulation<detail::Exactly<T>>& given,
                                          const Input<detail::Exactly<T>>& in,
                                          const Input<detail::Exactly<T>>& out_gradient,
                                          const GradientOutput<detail::Exactly<T>>& in_gradient,
                                          const Execution& execution = {}) {
  constexpr const char* function = "backward_conditional_frozen";
  detail::check_modulated_backward(function, layer, given, in, out_gradient, in_gradient);
  const detail::SelectedInput<T> chosen(function, in);
  return detail::modulated_gradients(function, layer, given,
                                     detail::running_statistics_of(function, layer),
                                     detail::MinibatchDivisor<accumulator_t<T>>(), chosen.views,
                                     out_gradient, in_gradient, execution);
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_VARIANTS_CONDITIONAL_HPP
