// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_FOLD_INFERENCE_MAP_HPP
#define BATCHNORM_FOLD_INFERENCE_MAP_HPP

#include <Eigen/Core>
#include <cmath>
#include <type_traits>
#include <utility>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// The one place that says with which options a norm may be followed by something linear that it
/// is to be merged with: another norm in InferenceMap::then, the layer of fold_before. What stands
/// between the norm and its follower must be nothing, because only affine maps merge. A norm that
/// is folded into the layer before it (fold_after) is not asked: what follows the norm then
/// follows the folded layer.
/// @throws std::invalid_argument when the options are such that the norm cannot be followed.
inline void check_foldable(const char* function, const Options& options) {
  validate(options);
  if (options.epilogue.is_identity()) return;
  fail_argument(function, "what follows a norm that is merged with it must follow it directly",
                "a norm without an epilogue", "one with a ReLU or leaky ReLU between them");
}

template <class S, int Channels>
std::true_type state_test(const State<S, Channels>&);
template <class Layer>
using HasState = decltype(state_test(std::declval<const Layer&>().state()),
                          void(std::declval<const Layer&>().has_statistics()),
                          validate(std::declval<const Layer&>().options()));
template <class Layer>
using HasMap =
    decltype(std::declval<const Layer&>().pivot()[0], std::declval<const Layer&>().scale()[0],
             std::declval<const Layer&>().shift()[0],
             std::declval<const Layer&>().epilogue().is_identity());

/// By what they have, and not by name: the layers themselves are large headers.
template <class Layer, class = void>
struct IsTrainedLayer : std::false_type {};
template <class Layer>
struct IsTrainedLayer<Layer, HasState<Layer>> : std::true_type {};
template <class Layer, class = void>
struct IsFrozenLayer : std::false_type {};
template <class Layer>
struct IsFrozenLayer<Layer, std::enable_if_t<std::is_same<HasMap<Layer>, bool>::value>>
    : std::true_type {};

}  // namespace detail

/// One batch norm at test time, or several in a row, as one affine map per channel in double:
///
///     y = (x - mean) scale + shift        mean  = running_mean
///                                         scale = gamma / sqrt(running_variance + epsilon)
///                                         shift = beta
///
/// This is what the folds take (fold/fold.hpp). Nothing is rounded to the type of the layer here,
/// so that a folded weight is rounded once. Shapes: one number per channel. Cost: a few operations
/// per channel in each call. Thread safety: a plain value. Source: Ioffe and Szegedy 2015,
/// algorithm 2, lines 10 and 11.
class InferenceMap {
 public:
  using Vector = Eigen::VectorXd;  ///< one number per channel

  /// The map of a layer, from its state and the options (epsilon above all) it was trained with;
  /// with Options::scale or shift off, gamma counts as 1 or beta as 0, whatever the state holds.
  /// @throws std::invalid_argument when the parts of the state differ in size, or epsilon is wrong
  /// @throws std::domain_error when a number is not finite, a variance is negative,
  ///         variance + epsilon is zero, or the statistics are marked as stale
  template <class T, int Channels>
  InferenceMap(const State<T, Channels>& state, const Options& options)
      : InferenceMap("InferenceMap", state, options) {}

  /// The same, for a function that wants errors under its own name.
  template <class T, int Channels>
  InferenceMap(const char* function, const State<T, Channels>& state, const Options& options)
      : options_(options) {
    static_assert(std::is_same<accumulator_t<T>, double>::value,
                  "batchnorm: folds are computed in double, for layers of float, double, half and "
                  "bfloat16");
    validate(options);
    detail::check_state(function, state, NonFinite::reject);
    detail::check_fresh(function, state.staleness,
                        "freeze(StaleStatistics::accept), and fold that");
    detail::check_deviation<parameter_t<T>>(function, options.epsilon, state.channels(),
                                            detail::statistics_of(state));
    resize(state.channels());
    for (Index channel = 0; channel < state.channels(); ++channel) {
      double inverse = 0.0;
      detail::inverse_std_dev<double, 1>(inverse, state.running_variance[channel], options.epsilon);
      const double gamma = detail::gamma_of(options, state, channel);
      check_finite(function, "gamma", channel, gamma);
      mean_[channel] = state.running_mean[channel];
      scale_[channel] = gamma * inverse;
      shift_[channel] = detail::beta_of(options, state, channel);
      shift_terms_[channel] = std::fabs(shift_[channel]);
    }
    // Of relative errors of at most 2^-53: half of that of the sum under the root, then those of
    // root, quotient and product.
    scale_roundings_ = 4;
    check_finite(function);
  }

  /// The map of a BatchNorm, from its state and options. Implicit, so that a layer can be given
  /// wherever a map is asked for.
  /// @throws also std::domain_error for a layer without statistics, as BatchNorm::freeze does
  template <class Layer, std::enable_if_t<detail::IsTrainedLayer<Layer>::value, int> = 0>
  InferenceMap(const Layer& layer) : InferenceMap(layer.state(), layer.options()) {
    detail::check_has_statistics("InferenceMap", layer.state(), layer.has_statistics());
  }

  /// The map of a frozen layer, FrozenBatchNorm: y = (x - pivot) scale + shift, exactly. These
  /// numbers have been rounded to the type of its parameters when it was made, which adds up to a
  /// unit in the last place of that type to a fold: where the BatchNorm is at hand, fold that.
  /// @throws std::domain_error when one of the numbers is not finite
  template <class Layer, std::enable_if_t<detail::IsFrozenLayer<Layer>::value, char> = 0>
  InferenceMap(const Layer& frozen) {
    options_.epilogue = frozen.epilogue();
    resize(frozen.channels());
    for (Index channel = 0; channel < channels(); ++channel) {
      mean_[channel] = static_cast<double>(frozen.pivot()[channel]);
      scale_[channel] = static_cast<double>(frozen.scale()[channel]);
      shift_[channel] = static_cast<double>(frozen.shift()[channel]);
      shift_terms_[channel] = std::fabs(shift_[channel]);
      check_finite("InferenceMap", "pivot", channel, mean_[channel]);
    }
    check_finite("InferenceMap");
  }

  /// The map that changes nothing, of so many channels. Errors: none.
  static InferenceMap identity(Index channels) {
    InferenceMap map;
    map.resize(channels);
    for (Index channel = 0; channel < channels; ++channel) {
      map.mean_[channel] = map.shift_[channel] = map.shift_terms_[channel] = 0.0;
      map.scale_[channel] = 1.0;
    }
    return map;
  }

  /// This map, and the next one behind it:
  ///
  ///     ((x - m) s + t - m') s' + t' = (x - m) s s' + (t - m') s' + t'
  ///
  /// @throws std::invalid_argument when the numbers of channels differ, or something that is not
  ///         affine stands between the two norms
  /// @throws std::domain_error when a number of the result overflows
  InferenceMap then(const InferenceMap& next) const {
    detail::check_foldable("InferenceMap::then", options_);
    if (next.channels() != channels()) {
      detail::fail_argument("InferenceMap::then", "number of channels must be that of this map",
                            detail::text(channels()), detail::text(next.channels()));
    }
    InferenceMap both;
    both.options_ = next.options_;
    both.resize(channels());
    // Number by number: expressions of Eigen in a class that is no template are instantiated
    // wherever it is included, and took a tenth as long as <Eigen/Core> to compile.
    for (Index c = 0; c < channels(); ++c) {
      both.mean_[c] = mean_[c];
      both.scale_[c] = scale_[c] * next.scale_[c];
      both.shift_[c] = (shift_[c] - next.mean_[c]) * next.scale_[c] + next.shift_[c];
      both.shift_terms_[c] =
          (shift_terms_[c] + std::fabs(next.mean_[c])) * std::fabs(next.scale_[c]) +
          next.shift_terms_[c];
    }
    both.scale_roundings_ = scale_roundings_ + next.scale_roundings_ + 1;
    // The sum in brackets, the scale, the product and the sum behind it.
    both.shift_roundings_ = shift_roundings_ + next.shift_roundings_ + next.scale_roundings_ + 3;
    both.check_finite("InferenceMap::then");
    return both;
  }

  /// Number of channels.
  Index channels() const { return mean_.size(); }
  const Vector& mean() const { return mean_; }    ///< what is taken off first
  const Vector& scale() const { return scale_; }  ///< what that is multiplied by
  const Vector& shift() const { return shift_; }  ///< what is added last

  /// Options of the last norm.
  const Options& options() const { return options_; }

  /// The sum of the magnitudes of all terms that the shift is made of: what its error is
  /// relative to where terms cancel.
  const Vector& shift_terms() const { return shift_terms_; }
  /// Scale is right to this many relative errors of 2^-53 (to first order; a scale below the
  /// smallest normal double aside), shift to as many of shift_terms.
  int scale_roundings() const { return scale_roundings_; }
  /// The number of those of shift.
  int shift_roundings() const { return shift_roundings_; }

 private:
  InferenceMap() = default;

  void resize(Index channels) {
    for (Vector* part : {&mean_, &scale_, &shift_, &shift_terms_}) part->resize(channels);
  }

  static void check_finite(const char* function, const char* name, Index channel, double value) {
    if (detail::is_finite(value)) return;
    detail::fail_domain(function, detail::text(name, " of channel ", channel), "a finite number",
                        "NaN, infinity or overflow");
  }

  void check_finite(const char* function) const {
    for (Index channel = 0; channel < channels(); ++channel) {
      check_finite(function, "gamma / sqrt(variance + epsilon)", channel, scale_[channel]);
      check_finite(function, "beta", channel, shift_terms_[channel]);  // no smaller than the shift
    }
  }

  Options options_;
  Vector mean_, scale_, shift_, shift_terms_;
  int scale_roundings_ = 0;
  int shift_roundings_ = 0;
};

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_FOLD_INFERENCE_MAP_HPP
