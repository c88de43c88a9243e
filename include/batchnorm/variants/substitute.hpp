// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_VARIANTS_SUBSTITUTE_HPP
#define BATCHNORM_VARIANTS_SUBSTITUTE_HPP

#include <Eigen/Core>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/channels.hpp"
#include "batchnorm/kernels/coefficients.hpp"
#include "batchnorm/layer.hpp"
#include "batchnorm/math/backward.hpp"
#include "batchnorm/math/check_batch.hpp"
#include "batchnorm/math/check_inference.hpp"
#include "batchnorm/math/gradients.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/math/running.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"

// What the training variants share: they put other statistics, or another gamma and beta, in the
// place of a layer's, and use its loops as they are.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// One of each per channel, as y = gamma (x - mean) / sqrt(variance + epsilon) + beta means them.
/// Kept in the accumulator, so that what they are made of is rounded once.
template <class T>
struct Substitute {
  using A = accumulator_t<T>;
  using Vector = Eigen::Matrix<A, Eigen::Dynamic, 1>;

  explicit Substitute(Index channels)
      : mean(Vector::Zero(channels)),
        variance(Vector::Zero(channels)),
        gamma(Vector::Ones(channels)),
        beta(Vector::Zero(channels)) {}

  /// What a layer has with some statistics.
  template <int Channels>
  Substitute(const Options& options, const State<T, Channels>& state,
             const StatisticsView<A>& statistics)
      : Substitute(state.channels()) {
    for (Index c = 0; c < state.channels(); ++c) {
      set_statistics(c, statistics);
      gamma[c] = gamma_of(options, state, c);
      beta[c] = beta_of(options, state, c);
    }
  }

  Index channels() const { return mean.size(); }
  StatisticsView<A> statistics() const { return {mean.data(), variance.data(), A(1)}; }
  void set_statistics(Index channel, const StatisticsView<A>& statistics) {
    mean[channel] = statistics.mean[channel];
    variance[channel] = statistics.variance[channel] / statistics.divisor;
  }

  Vector mean, variance, gamma, beta;
};

/// The coefficients of both loops from it; to the bits of a layer with the same numbers.
template <class T>
GradientTables<T, Eigen::Dynamic> tables_of(const Substitute<T>& norm, double epsilon) {
  using A = accumulator_t<T>;
  GradientTables<T, Eigen::Dynamic> tables(norm.channels());
  fill_input_tables(tables, norm.channels(),
                    CentredCoefficients<A, parameter_t<T>, A>{
                        norm.statistics(), {norm.gamma.data(), norm.beta.data(), epsilon}});
  return tables;
}

/// Refuses what check_inference refuses of a layer: a deviation of zero, and coefficients that are
/// not finite in the type computed in where the numbers they come from are, unless propagated.
template <class T>
void check_substitute(const char* function, const Options& options, const Substitute<T>& norm,
                      GradientTables<T, Eigen::Dynamic>& tables) {
  using C = parameter_t<T>;
  check_deviation<C>(function, options.epsilon, norm.channels(), norm.statistics());
  if (options.non_finite == NonFinite::propagate) return;
  for (Index c = 0; c < norm.channels(); ++c) {
    check_number(function, "gamma", c, is_finite(norm.gamma[c]));
    check_number(function, "beta", c, is_finite(norm.beta[c]));
    if (!is_finite_as<C>(norm.mean[c]) || !is_finite(norm.variance[c])) continue;
    check_number(function, "gamma / sqrt(variance + epsilon)", c, is_finite(tables.scale()[c]));
    check_number(function, "beta", c, is_finite(tables.shift()[c]));
  }
}

template <class T>
void normalize_with(const Options& options, GradientTables<T, Eigen::Dynamic>& tables,
                    const InputViews<T>& in, const BatchView<T>& out, const Execution& execution) {
  normalize_view<T>(execution, options.epilogue,
                    TableSource<parameter_t<T>>{tables.pivot(), tables.scale(), tables.shift()}, in,
                    out);
}

/// normalize_with for one example of an input.
template <class T>
void normalize_example_with(const Options& options, GradientTables<T, Eigen::Dynamic>& tables,
                            Index example, const InputViews<T>& in, const BatchView<T>& out,
                            const Execution& execution) {
  InputViews<T> part{samples_of(in.x, example, 1)};
  const bool adds = in.residual != nullptr;
  const auto residual = samples_of(adds ? *in.residual : in.x, example, 1);
  if (adds) part.residual = &residual;
  normalize_with(options, tables, part, samples_of(out, example, 1), execution);
}

/// The moments of a minibatch, and whether the running statistics may follow it.
template <class T, int Channels>
struct CheckedBatch {
  Moments<accumulator_t<T>, Channels> batch;
  bool update;
};

/// Sums a minibatch that is about to be normalised with statistics of its own; refuses one of a
/// single value per channel, what the options reject, and ranks that would each train by itself.
template <class T, int Channels>
CheckedBatch<T, Channels> checked_batch(const char* function, const BatchNorm<T, Channels>& layer,
                                        const SelectedInput<T>& chosen,
                                        const Execution& execution) {
  if (execution.collective() != nullptr) {
    fail_argument(function, "statistics are those of the minibatch of this rank",
                  "an Execution of one rank", "one with a Synchronize");
  }
  check_batch_size(function, Options{}, chosen.count);
  CheckedBatch<T, Channels> result{
      moments_of_view<Channels, T>(chosen.views.x, chosen.selected.get(), execution), true};
  result.update = check_finite<parameter_t<T>>(function, layer.options(), result.batch);
  return result;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_VARIANTS_SUBSTITUTE_HPP
