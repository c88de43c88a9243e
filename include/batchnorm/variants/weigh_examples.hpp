// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_VARIANTS_WEIGH_EXAMPLES_HPP
#define BATCHNORM_VARIANTS_WEIGH_EXAMPLES_HPP

#include <Eigen/Core>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/layer.hpp"
#include "batchnorm/math/backward.hpp"
#include "batchnorm/math/gradient_sums.hpp"
#include "batchnorm/math/gradients.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/variants/checked_statistics.hpp"
#include "batchnorm/variants/substitute.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"
#include "batchnorm/view/check.hpp"
#include "batchnorm/view/input.hpp"

// Inference in which every example has a say in its own statistics, as it had in training. With
// the moments (m_x, v_x) of the example, over its n positions, and the running ones (m, v), the
// mean is m' = a m_x + (1 - a) m, and the variance
//
//     of mixed second moments  v' = a E_x[x^2] + (1 - a) (v + m^2) - m'^2
//                                 = a v_x + (1 - a) v + a (1 - a) (m_x - m)^2
//     mixed by itself          v' = b v_x + (1 - b) v
//
// Both depend on x. With h = (x - m') r, r = 1 / sqrt(v' + epsilon), S = sum dy and T = sum dy h,
//
//     dv'/dx_i = (2a/n) (x_i - m')     dL/dx_i = gamma r [ dy_i - (a/n) S - (a/n) h_i T ]
//     dv'/dx_i = (2b/n) (x_i - m_x)    dL/dx_i = gamma r [ dy_i - (a/n) S - (b/n) (x_i - m_x) r T ]
//
// which is the map of backward (math/backward.hpp) with other sums and, for the second, about
// another mean.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// How much the moments of an example count in the statistics it is normalised with. Made by the
/// named functions below only. Shares of 0 are inference as it is. Units: shares are from 0 to 1.
/// Thread safety: immutable.
class ExampleWeighing {
 public:
  /// One share for mean and mean of squares: "inference example weighing" of Summers and Dinneen
  /// 2020 (arXiv:1906.03548), section 3.1. Choose the share with training data: it is about 1 over
  /// the number of examples that the network was trained with at a time, or less.
  /// @throws std::invalid_argument unless 0 <= share <= 1
  static ExampleWeighing second_moments(double share) {
    check("ExampleWeighing::second_moments", share);
    return ExampleWeighing(share, share, true);
  }

  /// One share_of_mean and one share_of_variance: the mixture of EvalNorm (Singh and Shrivastava
  /// 2019, arXiv:1904.06031). The paper learns them, per layer, while the network is trained:
  /// EvalNormShares (variants/evalnorm.hpp).
  /// @throws std::invalid_argument unless both are from 0 to 1
  static ExampleWeighing evalnorm(double share_of_mean, double share_of_variance) {
    check("ExampleWeighing::evalnorm", share_of_mean);
    check("ExampleWeighing::evalnorm", share_of_variance);
    return ExampleWeighing(share_of_mean, share_of_variance, false);
  }

  /// The share a of the example's mean.
  double share_of_mean() const { return mean_; }
  /// The share b of its variance.
  double share_of_variance() const { return variance_; }
  /// Whether the distance of the means is part of the variance.
  bool mixes_second_moments() const { return second_moments_; }

 private:
  ExampleWeighing(double mean, double variance, bool second_moments)
      : mean_(mean), variance_(variance), second_moments_(second_moments) {}

  static void check(const char* function, double share) {
    if (detail::is_finite(share) && share >= 0.0 && share <= 1.0) return;
    detail::fail_argument(function, "the moments of an example have a share", "a number in [0, 1]",
                          detail::text(share));
  }

  double mean_;
  double variance_;
  bool second_moments_;
};

namespace detail {

/// One example after the other, with the statistics that it is normalised with.
template <class T>
class WeighedExamples {
  using A = accumulator_t<T>;

 public:
  template <int Channels>
  WeighedExamples(const ExampleWeighing& weighing, const Options& options,
                  const State<T, Channels>& state)
      : weighing_(weighing),
        epsilon_(options.epsilon),
        running_(options, state, statistics_of(state)),
        norm_(running_),
        moments_(state.channels()) {}

  /// The coefficients for one example.
  GradientTables<T, Eigen::Dynamic> tables(const BatchView<const T>& example,
                                           const Execution& execution) {
    moments_ = moments_of_view<Eigen::Dynamic, T>(example, nullptr, execution);
    const A a(weighing_.share_of_mean()), b(weighing_.share_of_variance());
    const A between = weighing_.mixes_second_moments() ? A(a * (A(1) - a)) : A(0);
    for (Index c = 0; c < norm_.channels(); ++c) {
      const A distance = moments_.mean[c] - running_.mean[c];
      const A variance = moments_.sum_of_squares[c] / moments_.divisor(0);
      norm_.mean[c] = running_.mean[c] + a * distance;
      norm_.variance[c] = running_.variance[c] + b * (variance - running_.variance[c]) +
                          between * (distance * distance);
    }
    return tables_of(norm_, epsilon_);
  }

  /// Makes the sums of an example those that the map wants to have, and its tables centred where
  /// the variance is.
  void share_out(GradientSums<A>& sums, GradientTables<T, Eigen::Dynamic>& tables) const {
    sums.output_gradient *= A(weighing_.share_of_mean());
    sums.normalized *= A(weighing_.share_of_variance());
    if (weighing_.mixes_second_moments()) return;
    for (Index c = 0; c < norm_.channels(); ++c) {
      tables.pivot_error()[c] =
          A(moments_.mean[c] - convert<A>(tables.pivot()[c])) * tables.wide_inverse()[c];
    }
  }

 private:
  ExampleWeighing weighing_;
  double epsilon_;
  Substitute<T> running_;
  Substitute<T> norm_;
  Moments<A> moments_;
};

inline constexpr const char* no_mask_of_example =
    "the moments of an example are of all its positions";

}  // namespace detail

/// Normalises every example with running statistics in which its own moments have a share: for
/// networks that were trained with few examples at a time, whose inference misses the influence
/// that an example had on its statistics.
///
///     y = f(gamma (x - m') / sqrt(v' + epsilon) + beta)
///
/// with m' and v' of one example, as the weighing says. Its output depends on no other example.
///
/// @param in, out, execution  as for BatchNorm::infer of the layer
/// Shapes: as for infer.
/// @throws as BatchNorm::infer, and std::invalid_argument for a mask or weights
/// Cost: two reads and one write; per example a call of the loops and work per channel. Source:
/// Summers and Dinneen 2020 (arXiv:1906.03548); Singh and Shrivastava 2019 (arXiv:1904.06031).
template <class T, int Channels>
void infer_weighing_examples(const BatchNorm<T, Channels>& layer, const ExampleWeighing& weighing,
                             const Input<detail::Exactly<T>>& in,
                             const Output<detail::Exactly<T>>& out,
                             const Execution& execution = {}) {
  constexpr const char* function = "infer_weighing_examples";
  detail::check_state_shape(function, layer.state());
  detail::check_forward(function, layer.channels(), in, out);
  detail::refuse_mask(function, in, detail::no_mask_of_example);
  detail::running_statistics_of(function, layer);
  if (in.view().empty()) return;
  detail::WeighedExamples<T> examples(weighing, layer.options(), layer.state());
  const detail::InputViews<T> all{in.view(), in.residual()};
  for (Index n = 0; n < in.view().samples(); ++n) {
    auto tables = examples.tables(detail::samples_of(in.view(), n, 1), execution);
    detail::normalize_example_with(layer.options(), tables, n, all, out.view(), execution);
  }
}

/// Back-propagates through infer_weighing_examples, the shares of the examples' moments included.
///
/// @param weighing  the one of that call, and so the layer and `in`
/// @param out_gradient, in_gradient, execution  as for BatchNorm::backward_frozen
/// @return dL/dgamma and dL/dbeta
/// Shapes: as for backward_frozen. Cost: two reads of `in` and out_gradient, one write; per example
/// as infer_weighing_examples.
/// @throws as BatchNorm::backward_frozen, and std::invalid_argument for a mask, weights or a
///         residual (its gradient is that of the output before f)
template <class T, int Channels>
Gradients<T, Channels> backward_weighing_examples(
    const BatchNorm<T, Channels>& layer, const ExampleWeighing& weighing,
    const Input<detail::Exactly<T>>& in, const Input<detail::Exactly<T>>& out_gradient,
    const GradientOutput<detail::Exactly<T>>& in_gradient, const Execution& execution = {}) {
  constexpr const char* function = "backward_weighing_examples";
  using A = accumulator_t<T>;
  detail::check_state_shape(function, layer.state());
  detail::check_backward(function, layer.channels(), in, out_gradient, in_gradient);
  detail::refuse_mask(function, in, detail::no_mask_of_example);
  detail::refuse_residual(function, in);
  detail::running_statistics_of(function, layer);
  GradientSums<A, Channels> all(layer.channels());
  if (in.view().empty()) return detail::gradients_of<T>(layer.options(), all);
  detail::WeighedExamples<T> examples(weighing, layer.options(), layer.state());
  detail::MinibatchDivisor<A> divisor;
  divisor.fixed = false;
  divisor.divisor = detail::from_index<A>(in.view().positions());
  for (Index n = 0; n < in.view().samples(); ++n) {
    const detail::InputViews<T> part{detail::samples_of(in.view(), n, 1)};
    auto tables = examples.tables(part.x, execution);
    const auto pass = detail::input_backward(layer.options(), divisor, tables, part,
                                             detail::samples_of(out_gradient.view(), n, 1));
    GradientSums<A> sums(layer.channels());
    pass.sum(execution, sums);
    all.output_gradient += sums.output_gradient;
    all.normalized += sums.normalized;
    examples.share_out(sums, tables);
    pass.map_with(execution, sums, {detail::samples_of(in_gradient.view(), n, 1)});
  }
  return detail::gradients_of<T>(layer.options(), all);
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_VARIANTS_WEIGH_EXAMPLES_HPP
