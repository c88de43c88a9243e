// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_FROZEN_HPP
#define BATCHNORM_FROZEN_HPP

#include <Eigen/Core>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/aligned_tables.hpp"
#include "batchnorm/math/check_inference.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/math/normalize_few.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/argument.hpp"
#include "batchnorm/view/batch_view.hpp"
#include "batchnorm/view/check.hpp"
#include "batchnorm/view/input.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

template <class T, int Channels>
class BatchNorm;

/// Batch normalisation at test time: running statistics, gamma and beta, made up into one map.
///
///     y = f(gamma (x - running_mean) / sqrt(running_variance + epsilon) + beta)
///
/// where f is Options::epilogue.
///
/// Takes one example or many. It cannot see the statistics of a batch: the bits of an example's
/// output do not depend on the examples beside it, on its position or on its alignment, and are
/// those of BatchNorm::infer.
///
/// Shapes: any view of `channels()` channels, or an Eigen matrix of features x examples. Output and
/// input may be the same memory. Errors: std::invalid_argument for a wrong number of channels, an
/// output of another shape or partly overlapping memory, or an empty layer; else none. Cost: one
/// read and one write of the data, by the Execution; allocates nothing when it is given its output.
/// Thread safety: immutable, for any number of threads. Source: Ioffe and Szegedy 2015, algorithm
/// 2, lines 10 and 11.
///
/// @tparam T         scalar of the data
/// @tparam Channels  number of channels when it is known to the compiler: then nothing is on the
///                   heap
template <class T, int Channels = Eigen::Dynamic>
class FrozenBatchNorm {
  using C = parameter_t<T>;

 public:
  using Scalar = T;                           ///< of the data
  using Vector = ChannelVector<C, Channels>;  ///< one number per channel

  /// An empty layer, as a member that is assigned to later. Calling it is an error.
  FrozenBatchNorm() = default;

  /// From a state, say of a checkpoint, and the options (epsilon above all) it was trained with.
  /// @param stale  StaleStatistics::accept when statistics that are marked as stale are meant
  /// @throws std::invalid_argument when the parts of the state differ in size, or epsilon is wrong
  /// @throws std::domain_error when the statistics are stale; naming the channel when
  ///         variance + epsilon is zero, a variance is negative, or gamma, beta, a running
  ///         statistic or gamma / sqrt(variance + epsilon) is not finite. Under
  ///         NonFinite::propagate all that is not finite passes into the output.
  FrozenBatchNorm(const State<T, Channels>& state, const Options& options,
                  StaleStatistics stale = StaleStatistics::refuse)
      : FrozenBatchNorm("FrozenBatchNorm", state, options, stale,
                        "FrozenBatchNorm(state, options, StaleStatistics::accept)") {}

  /// Refuses a bare number when compiled: it could be anything.
  template <class Number, detail::if_bare_number<Number> = 0>
  FrozenBatchNorm(const State<T, Channels>&, Number) {
    detail::refuse_bare_number<Number>();
  }

  /// From one factor and one summand per channel, when nothing else is left of a layer:
  /// y = f(scale x + shift). They do not say what the mean was, so that where it is large beside
  /// the deviation, the digits that they have lost are missing from y.
  /// @throws std::invalid_argument when the two differ in size, or are not what the type fixes (of
  ///         vectors of fixed size that is said when compiled)
  /// @throws std::domain_error naming the channel when a number is not finite in parameter_t<T>
  template <class Scale, class Shift>
  static FrozenBatchNorm from_scale_and_shift(const Eigen::MatrixBase<Scale>& scale,
                                              const Eigen::MatrixBase<Shift>& shift,
                                              const Epilogue& epilogue = Epilogue::none()) {
    constexpr const char* function = "FrozenBatchNorm::from_scale_and_shift";
    static_assert(Scale::IsVectorAtCompileTime && Shift::IsVectorAtCompileTime,
                  "batchnorm: scale and shift are vectors of one number per channel");
    static_assert(fits(Scale::SizeAtCompileTime) && fits(Shift::SizeAtCompileTime),
                  "batchnorm: scale and shift are of another size than the number of channels that "
                  "the type fixes");
    const Index channels = detail::checked_channels<Channels>(function, scale.size());
    if (shift.size() != scale.size()) {
      detail::fail_argument(function, "size of shift must be that of scale",
                            detail::text(scale.size()), detail::text(shift.size()));
    }
    FrozenBatchNorm frozen;
    detail::check_slope<T>(function, epilogue);
    frozen.epilogue_ = epilogue;
    frozen.formula_ = detail::formula_options<C>(epilogue, false);
    frozen.tables_ = Tables(channels);
    Eigen::Map<Vector>(frozen.tables_[0], channels).setConstant(C(0));
    Eigen::Map<Vector>(frozen.tables_[1], channels) = scale.template cast<C>();
    Eigen::Map<Vector>(frozen.tables_[2], channels) = shift.template cast<C>();
    for (Index channel = 0; channel < channels; ++channel) {
      detail::check_number(function, "scale", channel,
                           detail::is_finite(frozen.tables_[1][channel]));
      detail::check_number(function, "shift", channel,
                           detail::is_finite(frozen.tables_[2][channel]));
    }
    frozen.made_ = true;
    return frozen;
  }

  /// Normalises `in`, or with_residual(in, residual), into `out`.
  [[gnu::noinline]] void operator()(const Input<T>& in, const Output<T>& out,
                                    const Execution& execution = {}) const;

  /// Normalises `in`, or with_residual(in, residual), into a new matrix or tensor of its kind.
  template <class In>
  [[nodiscard]] auto operator()(const In& in, const Execution& execution = {}) const {
    auto output = detail::make_owner_like(detail::lead_of(in));
    (*this)(in, detail::view_of_owner(detail::lead_of(in), output), execution);
    return output;
  }

  /// Refuses a residual as an argument of its own.
  template <class In, class Residual, class Out, detail::if_operand<Out, void> = 0>
  void operator()(const In&, const Residual&, Out&&, const Execution& = {}) const {
    detail::refuse_positional_residual<In>();
  }

  /// 0 for an empty layer: one made without a state, or one on the heap that was moved from.
  Index channels() const { return made_ ? tables_.channels() : 0; }

  /// The three numbers per channel of the map y = f((x - pivot) scale + shift), where they lie in
  /// this layer.
  Eigen::Map<const Vector> pivot() const& { return table(0); }
  /// gamma / sqrt(running_variance + epsilon)
  Eigen::Map<const Vector> scale() const& { return table(1); }
  /// beta, and what rounding the mean to the pivot has lost, times the scale.
  Eigen::Map<const Vector> shift() const& { return table(2); }
  Vector pivot() const&& { return table(0); }  ///< of a layer that goes away: a copy
  Vector scale() const&& { return table(1); }  ///< likewise
  Vector shift() const&& { return table(2); }  ///< likewise
  /// f of that map.
  const Epilogue& epilogue() const { return epilogue_; }

 private:
  friend class BatchNorm<T, Channels>;
  using Tables = detail::AlignedTables<C, Channels, 3>;

  Eigen::Map<const Vector> table(int number) const {
    const Index size = tables_.channels();
    return {size > 0 ? tables_[number] : nullptr, size};
  }

  static constexpr bool fits(int size) {
    return size == Eigen::Dynamic || Channels == Eigen::Dynamic || size == Channels;
  }

  /// All but the shortest calls; out of the way of those.
  [[gnu::noinline]] void normalize(const Input<T>& in, const Output<T>& out,
                                   const Execution& execution) const;

  /// @param meant  how the caller says that stale statistics are meant
  [[gnu::noinline]] FrozenBatchNorm(const char* function, const State<T, Channels>& state,
                                    const Options& options, StaleStatistics stale,
                                    const char* meant);

  Tables tables_;  ///< pivot, scale and shift
  Epilogue epilogue_ = Epilogue::none();
  detail::FormulaOptions<C> formula_{};
  bool made_ = false;
};

// Out of the class: what is defined inside is inline, and g++ and clang++ compile inline members in
// every file, compiled.hpp or not.

template <class T, int Channels>
void FrozenBatchNorm<T, Channels>::operator()(const Input<T>& in, const Output<T>& out,
                                              const Execution& execution) const {
  const Index known = channels();
  if (known > 0) {
    const C* const k[] = {tables_[0], tables_[1], tables_[2]};
    if (detail::normalize_example<T>(execution, formula_, k, known, in, out.view())) return;
  }
  normalize(in, out, execution);
}

template <class T, int Channels>
void FrozenBatchNorm<T, Channels>::normalize(const Input<T>& in, const Output<T>& out,
                                             const Execution& execution) const {
  constexpr const char* function = "FrozenBatchNorm";
  if (channels() == 0) {
    detail::fail_argument(function,
                          "a layer made without a state, or moved from, is empty until one is "
                          "assigned",
                          "one of BatchNorm::freeze() or FrozenBatchNorm(state, options)",
                          "an empty one");
  }
  detail::check_forward(function, channels(), in, out);
  auto formula = formula_;
  formula.residual = in.residual() != nullptr;
  const detail::Tables<C> k{tables_[0], tables_[1], tables_[2]};
  if (in.mask() == nullptr && detail::normalize_few<T>(execution, formula, k, in, out.view())) {
    return;
  }
  const auto selected = detail::selected_of(function, in);
  detail::normalize_view<T>(execution, formula, detail::TableSource<C>{k[0], k[1], k[2]},
                            {in.view(), in.residual(), selected.get()}, out.view());
}

template <class T, int Channels>
FrozenBatchNorm<T, Channels>::FrozenBatchNorm(const char* function, const State<T, Channels>& state,
                                              const Options& options, StaleStatistics stale,
                                              const char* meant)
    : epilogue_(options.epilogue),
      formula_(detail::formula_options<C>(options.epilogue, false)),
      made_(true) {
  detail::validate_for<T>(options);
  detail::check_state(function, state, options.non_finite);
  if (stale == StaleStatistics::refuse) detail::check_fresh(function, state.staleness, meant);
  const auto statistics = detail::statistics_of(state);
  detail::check_inference(function, options, state, statistics);
  tables_ = Tables(state.channels());
  C* const to[] = {tables_[0], tables_[1], tables_[2]};
  detail::ForwardSource<T>(statistics, detail::parameters_of(options, state))
      .write(0, state.channels(), to);
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_FROZEN_HPP
