// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_VARIANTS_RENORMALIZE_HPP
#define BATCHNORM_VARIANTS_RENORMALIZE_HPP

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <utility>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/layer.hpp"
#include "batchnorm/math/backward.hpp"
#include "batchnorm/math/check_batch.hpp"
#include "batchnorm/math/check_moments.hpp"
#include "batchnorm/math/gradient_sums.hpp"
#include "batchnorm/math/gradients.hpp"
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

// Longer than most: limits, forward, its update and backward are one paper's formulas.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// What the running variance averages under batch renormalisation.
enum class RenormAverage {
  variance,           ///< variances, by Options::running: the rule of plain training
  standard_deviation  ///< sqrt(variance + epsilon), as Keras does; never larger than the other,
                      ///< as a mean of roots is not larger than the root of the mean
};

/// How far batch renormalisation may move a minibatch towards the running statistics. A plain
/// value; a schedule is the caller's, as a function of the step:
///
///     train_renormalized(layer, Renormalization::ioffe(step), x, y);
///
/// Units: r is a ratio of deviations, d a number of deviations. Errors: none; train_renormalized
/// checks them. Thread safety: a plain value.
struct Renormalization {
  double r_max = 1.0;  ///< the ratio r is at most this; 1 with d_max 0 is plain training
  double d_max = 0.0;  ///< |d| is at most this many deviations
  double r_min = 0.0;  ///< the ratio r is at least this; 0 stands for 1 / r_max
  RenormAverage average = RenormAverage::variance;  ///< what the running variance averages

  /// The least ratio r: r_min, or 1 / r_max.
  double least_r() const { return r_min > 0.0 ? r_min : 1.0 / r_max; }

  /// The schedule of the paper: plain training for 5000 steps, then r_max rises to 3 at step 40000
  /// and d_max to 5 at step 25000, both in a straight line.
  static Renormalization ioffe(Index step) {
    const auto ramp = [&](double end) {
      return (std::min)(1.0, (std::max)(0.0, (static_cast<double>(step) - 5e3) / (end - 5e3)));
    };
    Renormalization limits;
    limits.r_max = 1.0 + 2.0 * ramp(4e4);
    limits.d_max = 5.0 * ramp(2.5e4);
    return limits;
  }

  /// Keras: three limits, r_min, r_max and d_max, each by itself, and an average of standard
  /// deviations. Its layer has epsilon 1e-3 and keeps 0.99 of the old average (Options::keras()).
  static Renormalization keras(double r_min, double r_max, double d_max) {
    return {r_max, d_max, r_min, RenormAverage::standard_deviation};
  }
};

/// What train_renormalized leaves for its backward. Errors: none. Thread safety: a plain value.
///
/// @tparam A         the type it is kept in, accumulator_t of the data
/// @tparam Channels  number of channels when it is known to the compiler
template <class A, int Channels = Eigen::Dynamic>
struct RenormalizedBatch {
  using Vector = ChannelVector<A, Channels>;  ///< one number per channel

  Moments<A, Channels> batch;  ///< of the minibatch
  Vector r;                    ///< deviation of the minibatch / running one, clipped
  Vector d;                 ///< (mean of the minibatch - running one) / running deviation, clipped
  Vector running_mean;      ///< as it was before the update
  Vector running_variance;  ///< likewise
  ChannelVector<bool, Channels> clipped;  ///< whether r or d was

  /// Of nothing, for so many channels.
  explicit RenormalizedBatch(Index channels)
      : batch(channels),
        r(Vector::Ones(channels)),
        d(Vector::Zero(channels)),
        running_mean(d),
        running_variance(r),
        clipped(ChannelVector<bool, Channels>::Constant(channels, true)) {}
};

namespace detail {

inline void check_limits(const char* function, const Renormalization& limits) {
  const bool r_is_right = is_finite(limits.r_max) && limits.r_max >= 1.0 &&
                          is_finite(limits.r_min) && limits.r_min >= 0.0 && limits.r_min <= 1.0;
  if (!r_is_right) {
    fail_argument(function, "r is clipped to [r_min, r_max]",
                  "0 <= r_min <= 1 <= r_max, finite numbers",
                  text(limits.r_min, " and ", limits.r_max));
  }
  if (is_finite(limits.d_max) && limits.d_max >= 0.0) return;
  fail_argument(function, "d is clipped to [-d_max, d_max]", "a finite number, zero or larger",
                text(limits.d_max));
}

/// A number in its limits, and whether it had to be brought there.
template <class A>
bool clip(A& value, const A& least, const A& most) {
  const bool low = value<least, high = value> most;
  if (low) value = least;
  if (high) value = most;
  return low || high;
}

/// r and d of a minibatch against the running statistics.
template <class T, int Channels>
RenormalizedBatch<accumulator_t<T>, Channels> corrections(
    const Renormalization& limits, const Options& options, const State<T, Channels>& state,
    Moments<accumulator_t<T>, Channels> batch) {
  using A = accumulator_t<T>;
  RenormalizedBatch<A, Channels> result(state.channels());
  result.running_mean = state.running_mean;
  result.running_variance = state.running_variance;
  const A least(limits.least_r()), most(limits.r_max), offset(limits.d_max);
  // Plain training does not look at the running statistics, be they NaN.
  const bool plain = !(least < most) && !(offset > A(0));
  for (Index c = 0; c < state.channels() && !plain; ++c) {
    A inverse, running_inverse;
    inverse_std_dev<A, 1>(inverse, A(batch.sum_of_squares[c] / batch.divisor(0)), options.epsilon);
    inverse_std_dev<A, 1>(running_inverse, A(state.running_variance[c]), options.epsilon);
    result.r[c] = running_inverse / inverse;
    result.d[c] = (batch.mean[c] - state.running_mean[c]) * running_inverse;
    const bool r_clipped = clip(result.r[c], least, most);
    const bool d_clipped = clip(result.d[c], A(-offset), offset);
    result.clipped[c] = r_clipped || d_clipped;
  }
  result.batch = std::move(batch);
  return result;
}

/// y = gamma (h r + d) + beta as a plain normalisation. Where nothing was clipped that is
/// inference, in whose terms it is then computed, so that it has its bits.
template <class T, int Channels>
Substitute<T> renormalized(const Options& options, const State<T, Channels>& state,
                           const RenormalizedBatch<accumulator_t<T>, Channels>& result) {
  using A = accumulator_t<T>;
  Substitute<T> norm(options, state, statistics_of(result.batch));
  for (Index c = 0; c < state.channels(); ++c) {
    if (!result.clipped[c]) {
      norm.mean[c] = result.running_mean[c];
      norm.variance[c] = result.running_variance[c];
      continue;
    }
    norm.beta[c] += A(norm.gamma[c] * result.d[c]);
    norm.gamma[c] *= result.r[c];
  }
  return norm;
}

/// The running statistics after a step that averages standard deviations. No variance is larger
/// than in the step that check_running_update has checked, and the means are the same.
template <class T, int Channels>
State<T, Channels> averaged_deviations(const Options& options, const State<T, Channels>& state,
                                       const Moments<accumulator_t<T>, Channels>& batch) {
  using A = accumulator_t<T>;
  using std::sqrt;
  State<T, Channels> next = state;
  const Index values = values_of(batch);
  const A factor(
      update_factor(options.running, state.batches_seen + 1, values, state.samples_seen + values));
  const A epsilon(options.epsilon);
  for (Index c = 0; c < state.channels(); ++c) {
    const A old = sqrt(A(state.running_variance[c] + epsilon));
    const A now = sqrt(A(batch.sum_of_squares[c] / batch.divisor(0) + epsilon));
    const A average = old + factor * (now - old);
    next.running_mean[c] += factor * (batch.mean[c] - state.running_mean[c]);
    next.running_variance[c] = (std::max)(A(0), A(average * average - epsilon));
  }
  constexpr Index unknown = State<T, Channels>::unknown;
  if (next.batches_seen != unknown) next.batches_seen += 1;
  if (next.samples_seen != unknown) next.samples_seen += values;
  return next;
}

/// The next state, checked, of the rule that the limits name.
template <class T, int Channels>
State<T, Channels> renormalized_step(const char* function, const Renormalization& limits,
                                     const Options& options, const State<T, Channels>& state,
                                     const Moments<accumulator_t<T>, Channels>& batch) {
  check_running_update(function, options, batch, state);
  if (limits.average == RenormAverage::standard_deviation) {
    return averaged_deviations(options, state, batch);
  }
  State<T, Channels> next = state;
  apply_running_update(options, batch, next);
  return next;
}

/// Puts the statistics of the minibatch, which depend on x, into tables of a map that need not be
/// made of them.
template <class T, int Channels>
void use_statistics_of(const Moments<accumulator_t<T>, Channels>& batch, double epsilon,
                       GradientTables<T, Eigen::Dynamic>& tables) {
  using A = accumulator_t<T>;
  for (Index c = 0; c < batch.channels(); ++c) {
    A& r = tables.wide_inverse()[c];
    inverse_std_dev<A, 1>(r, A(batch.sum_of_squares[c] / batch.divisor(0)), epsilon);
    tables.inverse()[c] = convert<parameter_t<T>>(r);
    tables.pivot_error()[c] = A(batch.mean[c] - convert<A>(tables.pivot()[c])) * r;
  }
}

template <class T, int Channels>
Gradients<T, Channels> renormalized_gradients(
    const Options& options, const RenormalizedBatch<accumulator_t<T>, Channels>& batch,
    const GradientSums<accumulator_t<T>>& sums) {
  using C = parameter_t<T>;
  Gradients<T, Channels> gradients(sums.channels());
  for (Index c = 0; c < sums.channels(); ++c) {
    const auto product = batch.r[c] * sums.normalized[c] + batch.d[c] * sums.output_gradient[c];
    if (options.scale) gradients.gamma[c] = convert<C>(product);
    if (options.shift) gradients.beta[c] = convert<C>(sums.output_gradient[c]);
  }
  return gradients;
}

inline void check_average(const char* function, const Renormalization& limits,
                          const Options& options) {
  if (limits.average == RenormAverage::variance ||
      options.running.rule() != RunningUpdate::Rule::population) {
    return;
  }
  fail_argument(function, "the population rule pools variances",
                "RenormAverage::variance, or another rule of the running statistics",
                "RenormAverage::standard_deviation");
}

}  // namespace detail

/// Batch renormalisation: trains on a minibatch whose statistics are corrected towards the running
/// ones, for minibatches that are small or whose examples are not independent.
///
///     y = f(gamma (h r + d) + beta)       h = (x - mean) / s_B
///     r = clip(s_B / s, r_min, r_max)     d = clip((mean - running_mean) / s, -d_max, d_max)
///     s_B = sqrt(variance + epsilon)      s = sqrt(running_variance + epsilon)
///
/// with the running statistics as they are before this call, which moves them on as train does.
/// Where neither r nor d had to be clipped, the output has the bits of infer; with r_max 1 and
/// d_max 0 (the default) call and update have those of train. A channel that is constant in the
/// minibatch keeps its offset, gamma d + beta.
///
/// @param in, out, execution  as for BatchNorm::train of the layer
/// @return what backward_renormalized wants to have
/// Shapes: as for train.
/// @throws as BatchNorm::train, which it is like in all else, but that one value per channel is an
///         error always; and std::invalid_argument for limits that are none, and a Synchronize
/// Cost: two reads and one write of the data. Source: Ioffe 2017 (arXiv:1702.03275), algorithm 1.
template <class T, int Channels>
RenormalizedBatch<accumulator_t<T>, Channels> train_renormalized(
    BatchNorm<T, Channels>& layer, const Renormalization& limits,
    const Input<detail::Exactly<T>>& in, const Output<detail::Exactly<T>>& out,
    const Execution& execution = {}) {
  constexpr const char* function = "train_renormalized";
  using A = accumulator_t<T>;
  State<T, Channels>& state = layer.state();
  const Options& options = layer.options();
  detail::check_limits(function, limits);
  detail::check_average(function, limits, options);
  detail::check_state(function, state, options.non_finite);
  detail::check_forward(function, layer.channels(), in, out);
  const detail::SelectedInput<T> chosen(function, in);
  if (chosen.count == 0) {
    detail::fill_output(chosen.views, out.view(), execution);
    return RenormalizedBatch<A, Channels>(layer.channels());
  }
  auto given = detail::checked_batch(function, layer, chosen, execution);
  detail::check_deviation<parameter_t<T>>(function, options.epsilon, layer.channels(),
                                          detail::statistics_of(state));
  const auto result = detail::corrections(limits, options, state, std::move(given.batch));
  const detail::Substitute<T> norm = detail::renormalized(options, state, result);
  auto tables = detail::tables_of(norm, options.epsilon);
  detail::check_substitute(function, options, norm, tables);
  State<T, Channels> next =
      given.update ? detail::renormalized_step(function, limits, options, state, result.batch)
                   : state;
  detail::normalize_with(options, tables, chosen.views, out.view(), execution);
  state = std::move(next);
  return result;
}

/// Back-propagates through train_renormalized, whose r and d are constants: plain backward with
/// gamma r for gamma, and
///
///     dL/dgamma = sum dL/dy (h r + d)     dL/dbeta = sum dL/dy
///
/// @param batch  what train_renormalized returned for `in`
/// @param out_gradient, in_gradient, execution  as for BatchNorm::backward of the layer
/// Shapes: as for backward. Cost: two reads of `in` and out_gradient, one write. Source: Ioffe 2017
/// (arXiv:1702.03275), section 3, where r and d are constants.
/// @throws as BatchNorm::backward
template <class T, int Channels>
Gradients<T, Channels> backward_renormalized(
    const BatchNorm<T, Channels>& layer,
    const RenormalizedBatch<accumulator_t<detail::Exactly<T>>, Channels>& batch,
    const Input<detail::Exactly<T>>& in, const Input<detail::Exactly<T>>& out_gradient,
    const GradientOutput<detail::Exactly<T>>& in_gradient, const Execution& execution = {}) {
  constexpr const char* function = "backward_renormalized";
  using A = accumulator_t<T>;
  const Options& options = layer.options();
  const State<T, Channels>& state = layer.state();
  detail::check_state_shape(function, state);
  detail::check_backward(function, layer.channels(), in, out_gradient, in_gradient);
  const detail::SelectedInput<T> chosen(function, in);
  detail::check_batch(function, batch.batch, layer.channels(), chosen.count);
  const detail::GradientViews<T> to{in_gradient.view(), in_gradient.residual()};
  if (chosen.count == 0) {
    detail::fill_gradients(chosen.views, out_gradient.view(), to, execution);
    return Gradients<T, Channels>(layer.channels());
  }
  const detail::Substitute<T> norm = detail::renormalized(options, state, batch);
  auto tables = detail::tables_of(norm, options.epsilon);
  detail::check_substitute(function, options, norm, tables);
  detail::use_statistics_of(batch.batch, options.epsilon, tables);
  GradientSums<A> sums(layer.channels());
  detail::input_backward(options, detail::MinibatchDivisor<A>(batch.batch), tables, chosen.views,
                         out_gradient.view())
      .run(execution, sums, to);
  return detail::renormalized_gradients<T>(options, batch, sums);
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_VARIANTS_RENORMALIZE_HPP
