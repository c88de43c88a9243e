// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_VARIANTS_DERIVATIVES_HPP
#define BATCHNORM_VARIANTS_DERIVATIVES_HPP

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/layer.hpp"
#include "batchnorm/math/backward.hpp"
#include "batchnorm/math/check_batch.hpp"
#include "batchnorm/math/check_moments.hpp"
#include "batchnorm/math/forward_mode.hpp"
#include "batchnorm/math/gradient_sums.hpp"
#include "batchnorm/math/linearized.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/math/second_order.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/variants/checked_statistics.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"
#include "batchnorm/view/check.hpp"
#include "batchnorm/view/input.hpp"

// Forward mode and second derivatives of a layer; math/second_order.hpp derives them.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// A direction of gamma and beta, checked; null for what the options leave out.
template <class T, int Channels>
ParameterDirection<parameter_t<T>> direction_of(const char* function,
                                                const BatchNorm<T, Channels>& layer,
                                                const Gradients<T, Channels>* parameters) {
  if (parameters == nullptr) return {};
  const Index channels = layer.channels();
  if (parameters->gamma.size() != channels || parameters->beta.size() != channels) {
    fail_argument(function, "a direction of gamma and beta has one number of each per channel",
                  text(channels), text(parameters->gamma.size(), " and ", parameters->beta.size()));
  }
  return {layer.options().scale ? parameters->gamma.data() : nullptr,
          layer.options().shift ? parameters->beta.data() : nullptr};
}

template <class T>
void check_derivative_input(const char* function, const Options& options, Index channels,
                            const Input<T>& in, const char* name, const Input<T>& other) {
  refuse_epilogue(function, options,
                  "none: what it does to y follows, and dy is to be multiplied by its slope");
  refuse_residual(function, in);
  check_channels(function, in.view(), channels);
  check_same_shape(function, "input", in.view(), name, other.view());
  refuse_residual(function, other);
  refuse_mask(function, other, "a mask and weights are said at the input");
}

/// An output of a derivative is as one of backward; under a mask it is memory of its own, which is
/// written in more than one pass.
template <class T>
void check_derivative_output(const char* function, const char* name, const Output<T>& out,
                             const Input<T>& in, const char* in_name, bool masked) {
  check_output(function, name, out.view(), in_name, in.view());
  if (masked) check_disjoint(function, name, out.view(), in_name, in.view());
}

template <class T, int Channels>
void run_jvp(const char* function, const BatchNorm<T, Channels>& layer,
             const StatisticsView<accumulator_t<T>>& statistics,
             const MinibatchDivisor<accumulator_t<T>>& divisor, const InputViews<T>& in,
             const Input<T>& tangent, const Gradients<T, Channels>* parameters,
             const Output<T>& out, const Execution& execution) {
  if (in.x.empty()) return;
  LinearizedNorm<T> norm(layer.options(), layer.state(), statistics, divisor,
                         direction_of(function, layer, parameters));
  JvpPass<T>(norm, in, tangent.view(), out.view()).run(execution);
}

template <class T, int Channels>
void check_jvp(const char* function, const BatchNorm<T, Channels>& layer, const Input<T>& in,
               const Input<T>& tangent, const Output<T>& out) {
  check_state_shape(function, layer.state());
  check_derivative_input(function, layer.options(), layer.channels(), in, "tangent", tangent);
  const bool masked = in.mask() != nullptr;
  check_derivative_output(function, "output tangent", out, in, "input", masked);
  check_derivative_output(function, "output tangent", out, tangent, "tangent", masked);
}

}  // namespace detail

/// How the output of BatchNorm::normalize changes with its input and with gamma and beta: the
/// product of its Jacobian with a direction (forward mode), through the statistics of the
/// minibatch,
///
///     dy = gamma r P dx + dgamma h + dbeta      P u = u - mean(u) - h mean(h u)
///
/// with h = (x - mean) r, r = 1 / sqrt(variance + epsilon). Exact, not a difference. Constants of
/// the input have P 1 = 0; P h = epsilon r^2 h. With weights, means are weighted.
///
/// @param batch       what train or normalize returned for `in`
/// @param in          the input of that call, masked or weighted as it was
/// @param tangent     dx
/// @param parameters  dgamma and dbeta; ignored for what the options leave out
/// @param out         receives dy; may be the memory of `in` or `tangent`, unless `in` has a mask
///                    or weights. Of what a mask leaves out it is dy of the same, 0 or dx, as
///                    MaskedOutput says.
/// @throws std::invalid_argument for wrong shapes, overlapping memory, moments of another number of
///         values than `in`, a layer with an epilogue (multiply dy by its slope), a residual (add
///         its tangent); std::domain_error as BatchNorm::backward
/// Shapes: `in`, `tangent` and `out` are of one shape, parameters of one number per channel. Cost:
/// two reads of `in` and `tangent`, one write, as backward, by the execution. Allocates numbers per
/// channel. Source: math/second_order.hpp has the derivation.
template <class T, int Channels>
void jvp(const BatchNorm<T, Channels>& layer, const detail::MomentsOf<T, Channels>& batch,
         const Input<detail::Exactly<T>>& in, const Input<detail::Exactly<T>>& tangent,
         const Gradients<T, Channels>& parameters, const Output<detail::Exactly<T>>& out,
         const Execution& execution = {}) {
  constexpr const char* function = "jvp";
  detail::check_jvp(function, layer, in, tangent, out);
  const detail::SelectedInput<T> chosen(function, in);
  detail::check_batch(function, batch, layer.channels(), chosen.count);
  detail::check_given_batch<parameter_t<T>>(function, layer.options(), batch);
  detail::run_jvp(function, layer, detail::batch_statistics_of(function, layer, batch),
                  detail::MinibatchDivisor<accumulator_t<T>>(batch), chosen.views, tangent,
                  &parameters, out, execution);
}

/// The same for BatchNorm::infer, whose statistics are constants: dy = gamma r dx + dgamma h +
/// dbeta. The layer, in, tangent, parameters, out and execution are those of jvp. Shapes: as there.
/// Cost: one read of `in` and `tangent`, one write.
/// @throws what jvp does for wrong arguments, and std::domain_error as BatchNorm::infer
template <class T, int Channels>
void jvp_frozen(const BatchNorm<T, Channels>& layer, const Input<detail::Exactly<T>>& in,
                const Input<detail::Exactly<T>>& tangent, const Gradients<T, Channels>& parameters,
                const Output<detail::Exactly<T>>& out, const Execution& execution = {}) {
  constexpr const char* function = "jvp_frozen";
  detail::check_jvp(function, layer, in, tangent, out);
  const detail::SelectedInput<T> chosen(function, in);
  detail::run_jvp(function, layer, detail::running_statistics_of(function, layer),
                  detail::MinibatchDivisor<accumulator_t<T>>(), chosen.views, tangent, &parameters,
                  out, execution);
}

namespace detail {

template <class T, int Channels>
void check_double_backward(const char* function, const BatchNorm<T, Channels>& layer,
                           const Input<T>& in, const Input<T>& out_gradient,
                           const Input<T>& cotangent, const Output<T>& to_input,
                           const Output<T>& to_gradient) {
  check_state_shape(function, layer.state());
  const Options& options = layer.options();
  check_derivative_input(function, options, layer.channels(), in, "output gradient", out_gradient);
  check_derivative_input(function, options, layer.channels(), in, "cotangent", cotangent);
  const bool masked = in.mask() != nullptr;
  constexpr const char* names[] = {"gradient to the input", "gradient to the output gradient"};
  for (int i = 0; i < 2; ++i) {
    const Output<T>& out = i == 0 ? to_input : to_gradient;
    check_derivative_output(function, names[i], out, in, "input", masked);
    check_derivative_output(function, names[i], out, out_gradient, "output gradient", masked);
    check_derivative_output(function, names[i], out, cotangent, "cotangent", masked);
  }
  check_disjoint(function, names[0], to_input.view(), names[1], to_gradient.view());
}

template <class T, int Channels>
typename Gradients<T, Channels>::Vector run_double_backward(
    const char* function, const BatchNorm<T, Channels>& layer,
    const StatisticsView<accumulator_t<T>>& statistics,
    const MinibatchDivisor<accumulator_t<T>>& divisor, const InputViews<T>& in,
    const Input<T>& out_gradient, const Input<T>& cotangent,
    const Gradients<T, Channels>* parameters, const Output<T>& to_input,
    const Output<T>& to_gradient, const Execution& execution) {
  using Vector = typename Gradients<T, Channels>::Vector;
  Vector to_gamma = Vector::Zero(layer.channels());
  if (in.x.empty()) return to_gamma;
  LinearizedNorm<T> norm(layer.options(), layer.state(), statistics, divisor,
                         direction_of(function, layer, parameters));
  SecondOrderPass<T>(norm, in, out_gradient.view(), cotangent.view(), to_input.view(),
                     to_gradient.view(), to_gamma.data())
      .run(execution);
  if (!layer.options().scale) to_gamma.setZero();
  return to_gamma;
}

}  // namespace detail

/// Back-propagates through BatchNorm::backward: from the cotangents v of dL/dx, u of dL/dgamma and
/// t of dL/dbeta, which a loss of these gradients has (a gradient penalty, a Hessian times a
/// vector), to those of its inputs dy, x and gamma:
///
///     to dy     gamma r P v + u h + t
///     to gamma  r A,   A = sum(v dy) - mean(v) sum(dy) - mean(h v) sum(h dy)
///     to x      -(gamma r^2 / n) { h A + sum(h dy) P v + sum(h v) P dy } + u r P dy
///
/// with P, h and r of jvp. Exact for any dy and v; beta has no gradient. With weights
/// (math/second_order.hpp), means are weighted and what comes through the statistics has w / sum(w)
/// in place of 1 / n. Third derivatives are the caller's: differentiate these formulas.
///
/// @param batch         what train or normalize returned for `in`
/// @param in            the input of that call, masked or weighted as it was
/// @param out_gradient  dy
/// @param cotangent     v
/// @param parameters    u and t; ignored for what the options leave out
/// @param to_input      receives the gradient to x; may be the memory of an input, unless `in` has
///                      a mask or weights
/// @param to_gradient   receives the gradient to dy, likewise; disjoint from to_input
/// @return the gradient to gamma
/// @throws as jvp
/// Cost: two reads of `in`, `out_gradient` and `cotangent`, two writes, by the execution: 1.5
/// to 2 times what backward costs, up to 3 where channels come last and no array fits the cache,
/// and with weights 1 to 1.6 times what backward costs with them (tests/benchmarks/README.md).
/// Allocates numbers per channel, and with weights per value of one. Shapes: all views have the
/// shape of the layer's input, parameters one number per channel. Source: math/second_order.hpp has
/// the derivation.
template <class T, int Channels>
[[nodiscard]] typename Gradients<T, Channels>::Vector double_backward(
    const BatchNorm<T, Channels>& layer, const detail::MomentsOf<T, Channels>& batch,
    const Input<detail::Exactly<T>>& in, const Input<detail::Exactly<T>>& out_gradient,
    const Input<detail::Exactly<T>>& cotangent, const Gradients<T, Channels>& parameters,
    const Output<detail::Exactly<T>>& to_input, const Output<detail::Exactly<T>>& to_gradient,
    const Execution& execution = {}) {
  constexpr const char* function = "double_backward";
  detail::check_double_backward(function, layer, in, out_gradient, cotangent, to_input,
                                to_gradient);
  const detail::SelectedInput<T> chosen(function, in);
  detail::check_batch(function, batch, layer.channels(), chosen.count);
  detail::check_given_batch<parameter_t<T>>(function, layer.options(), batch);
  return detail::run_double_backward(
      function, layer, detail::batch_statistics_of(function, layer, batch),
      detail::MinibatchDivisor<accumulator_t<T>>(batch), chosen.views, out_gradient, cotangent,
      &parameters, to_input, to_gradient, execution);
}

/// The same for BatchNorm::backward_frozen: to dy gamma r v + u h + t, to gamma r sum(v dy), to x
/// u r dy. The layer, in, out_gradient, cotangent, parameters, to_input, to_gradient and execution
/// are those of double_backward. Shapes: as there. Cost: one read of the three inputs, two writes.
/// @throws what that does for wrong arguments, and std::domain_error as BatchNorm::infer
template <class T, int Channels>
[[nodiscard]] typename Gradients<T, Channels>::Vector double_backward_frozen(
    const BatchNorm<T, Channels>& layer, const Input<detail::Exactly<T>>& in,
    const Input<detail::Exactly<T>>& out_gradient, const Input<detail::Exactly<T>>& cotangent,
    const Gradients<T, Channels>& parameters, const Output<detail::Exactly<T>>& to_input,
    const Output<detail::Exactly<T>>& to_gradient, const Execution& execution = {}) {
  constexpr const char* function = "double_backward_frozen";
  detail::check_double_backward(function, layer, in, out_gradient, cotangent, to_input,
                                to_gradient);
  const detail::SelectedInput<T> chosen(function, in);
  return detail::run_double_backward(
      function, layer, detail::running_statistics_of(function, layer),
      detail::MinibatchDivisor<accumulator_t<T>>(), chosen.views, out_gradient, cotangent,
      &parameters, to_input, to_gradient, execution);
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_VARIANTS_DERIVATIVES_HPP
