// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_FROZEN_HPP
#define BATCHNORM_FROZEN_HPP

#include <cstddef>
#include <type_traits>
#include <utility>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/argument.hpp"
#include "batchnorm/view/batch_view.hpp"
#include "batchnorm/view/check.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

namespace detail {
template <class T, int Channels>
class LayerCore;
}  // namespace detail

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
/// output of another shape or partly overlapping memory; none when the shapes match. Cost: one read
/// and one write of the data; allocates nothing when it is given its output. Thread safe:
/// immutable. Source: Ioffe and Szegedy 2015, algorithm 2, lines 10 and 11.
///
/// @tparam T         scalar of the data
/// @tparam Channels  number of channels when it is known to the compiler: then nothing is on the
///                   heap
template <class T, int Channels = Eigen::Dynamic>
class FrozenBatchNorm {
  using C = parameter_t<T>;

 public:
  using Scalar = T;
  using Vector = ChannelVector<C, Channels>;

  /// From a state, say of a checkpoint, and the options (epsilon above all) it was trained with.
  /// @throws std::invalid_argument when the parts of the state differ in size, or epsilon is wrong
  /// @throws std::domain_error when a running statistic is not finite, a variance is negative, or
  ///         variance + epsilon is zero
  FrozenBatchNorm(const State<T, Channels>& state, const Options& options)
      : FrozenBatchNorm("FrozenBatchNorm", state, options) {}

  /// Normalises `in` into `out`.
  template <class In, class Out, std::enable_if_t<!detail::is_execution<Out>, int> = 0>
  void operator()(const In& in, Out&& out, const Execution& execution = {}) const {
    const auto held = detail::as_input<T>(in);
    run(detail::InputViews<T>{held.view()}, detail::as_output<T>(std::forward<Out>(out)),
        execution);
  }

  /// The same with a residual that is added before the epilogue.
  template <class In, class Residual, class Out,
            std::enable_if_t<!detail::is_execution<Out>, int> = 0>
  void operator()(const In& in, const Residual& residual, Out&& out,
                  const Execution& execution = {}) const {
    const auto held = detail::as_input<T>(in);
    const auto added = detail::as_input<T>(residual);
    const BatchView<const T> residual_view = added.view();
    run(detail::InputViews<T>{held.view(), &residual_view},
        detail::as_output<T>(std::forward<Out>(out)), execution);
  }

  /// Normalises `in` into a new matrix or tensor of its kind.
  template <class In>
  auto operator()(const In& in, const Execution& execution = {}) const {
    const auto held = detail::as_input<T>(in);
    auto output = detail::make_owner_like(held.view());
    run(detail::InputViews<T>{held.view()}, detail::view_of_owner(held.view(), output),
        execution);
    return output;
  }

  Index channels() const { return scale_.size(); }

  /// The three numbers per channel of the map y = f((x - pivot) scale + shift).
  const Vector& pivot() const { return pivot_; }
  const Vector& scale() const { return scale_; }
  const Vector& shift() const { return shift_; }
  /// f.
  const Epilogue& epilogue() const { return epilogue_; }

 private:
  friend class detail::LayerCore<T, Channels>;

  FrozenBatchNorm(const char* function, const State<T, Channels>& state, const Options& options)
      : epilogue_(options.epilogue) {
    validate(options);
    detail::check_state(function, state, options.non_finite);
    const auto statistics = detail::statistics_of(state);
    detail::check_deviation<C>(function, options.epsilon, state.channels(), statistics);
    pivot_.resize(state.channels());
    scale_.resize(state.channels());
    shift_.resize(state.channels());
    C* const to[] = {pivot_.data(), scale_.data(), shift_.data()};
    detail::ForwardSource<T>(statistics, detail::parameters_of(options, state))
        .write(0, state.channels(), to);
  }

  void run(const detail::InputViews<T>& in, const BatchView<T>& out,
           const Execution& execution) const {
    constexpr const char* function = "FrozenBatchNorm";
    detail::check_channels(function, in.x, channels());
    if (in.residual != nullptr) {
      detail::check_same_shape(function, "input", in.x, "residual", *in.residual);
    }
    detail::check_output(function, "output", out, "input", in.x);
    if (in.residual != nullptr) {
      detail::check_aliasing(function, "output", out, "residual", *in.residual);
    }
    const detail::TableSource<C> tables{pivot_.data(), scale_.data(), shift_.data()};
    detail::normalize_view<T>(execution, epilogue_, tables, in, out);
  }

  Vector pivot_;
  Vector scale_;
  Vector shift_;
  Epilogue epilogue_;
};

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_FROZEN_HPP
