// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_RECALIBRATE_ADAPTIVE_HPP
#define BATCHNORM_RECALIBRATE_ADAPTIVE_HPP

#include <Eigen/Core>
#include <cmath>
#include <limits>
#include <utility>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/frozen.hpp"
#include "batchnorm/layer.hpp"
#include "batchnorm/math/check_moments.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/running.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/recalibrate/adapt.hpp"
#include "batchnorm/recalibrate/adaptation.hpp"
#include "batchnorm/recalibrate/effective_values.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

// Adaptation to a stream of test data: what was seen of it merges, and may be forgotten.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// How a stream forgets: what was seen n values ago weighs 2^(-n / half life), however the values
/// came in batches. Made by the named functions. Thread safety: immutable.
class Forgetting {
 public:
  /// Everything counts for ever.
  static Forgetting never() { return Forgetting(std::numeric_limits<double>::infinity()); }

  /// Half of the weight is gone after so many values.
  /// @param values  per channel; in the long run the stream is worth about 3 times as many
  /// @throws std::invalid_argument unless it is finite and larger than 0
  static Forgetting half_life(double values) {
    if (!detail::is_finite(values) || !(values > 0.0)) {
      detail::fail_argument("Forgetting::half_life", "values per channel until half is forgotten",
                            "a finite number larger than 0", detail::text(values));
    }
    return Forgetting(values);
  }

  double half_life() const { return half_life_; }  ///< in values per channel; infinity for never
  /// Whether nothing is forgotten.
  bool is_never() const { return !detail::is_finite(half_life_); }

  /// The share that is left of old weights after so many new values. Errors: none.
  double kept_after(double values) const {
    return is_never() ? 1.0 : std::exp2(-values / half_life_);
  }

 private:
  explicit Forgetting(double half_life) : half_life_(half_life) {}

  double half_life_;
};

namespace detail {

/// The same moments with weights that merge with forgotten ones: values that count several times
/// become so many values, all other weights say how much a value is worth.
template <class A, int Channels>
Moments<A, Channels> as_reliability(Moments<A, Channels> moments) {
  if (moments.weights() != Weights::frequency) {
    moments.set_weight(moments.weight(), moments.squared_weight(), Weights::reliability);
    return moments;
  }
  const Index values = values_of(moments);
  const double all = static_cast<double>(values);
  if (moments.weight() < all || moments.weight() > all) {
    moments.set_weight(moments.weight(), moments.squared_weight(), Weights::reliability);
    return moments;
  }
  moments.count = values;
  moments.set_weight(all, all);
  return moments;
}

/// Lets old values weigh less. What weighs next to nothing is gone.
template <class A, int Channels>
void forget(Moments<A, Channels>& seen, double kept) {
  const double weight = seen.weight() * kept;
  if (weight < 1e-100) {
    seen = Moments<A, Channels>(seen.channels());
    return;
  }
  seen.set_weight(weight, seen.squared_weight() * kept * kept, Weights::reliability);
  seen.sum_of_squares *= A(kept);
}

}  // namespace detail

/// A layer at test time that follows a stream of test data: it keeps the source as it was trained,
/// and beside it the moments of what it has been shown. Which inference path follows from both, is
/// the rule's business (Adaptation).
///
///     AdaptiveBatchNorm<float> norm(layer, Adaptation::prior(256), Forgetting::half_life(10000));
///     norm.see(moments_of(x));      // when there is something to learn from
///     const auto now = norm.freeze();
///     now(x, y);                    // an immutable FrozenBatchNorm, as always
///
/// Nothing is adapted by inferring: what is seen is seen because see() was called. The source is
/// never overwritten; forget_target() goes back to it, and all bits are those of layer.freeze()
/// again. The way to keep a bad batch out is not to show it; NaN and infinity are refused.
///
/// Shapes: moments have the channels of the layer. Cost: a few operations per channel in each call.
/// Thread safety: a plain value, not for several threads at once; what freeze() gives is. In a
/// network of several norms adapt them in their order, as recalibrate/adapt.hpp says; it also says
/// when not to.
///
/// @tparam T         scalar of the data
/// @tparam Channels  number of channels when it is known to the compiler
template <class T, int Channels = Eigen::Dynamic>
class AdaptiveBatchNorm {
 public:
  using Target = Moments<accumulator_t<T>, Channels>;  ///< of test data

  /// From a layer: `how` its statistics are mixed with those of a stream, and the forgetting.
  /// @throws std::domain_error when the layer has no statistics, or what freeze() throws
  AdaptiveBatchNorm(const BatchNorm<T, Channels>& layer, const Adaptation& how,
                    const Forgetting& forgetting = Forgetting::never())
      : AdaptiveBatchNorm(checked(layer), layer.options(), how, forgetting) {}

  /// From a state, say of a checkpoint, and the options it was trained with.
  /// @throws what FrozenBatchNorm(state, options) throws
  AdaptiveBatchNorm(State<T, Channels> source, const Options& options, const Adaptation& how,
                    const Forgetting& forgetting = Forgetting::never())
      : source_(std::move(source)),
        options_(options),
        how_(how),
        forgetting_(forgetting),
        target_(source_.channels()) {
    const FrozenBatchNorm<T, Channels> tried(source_, options_);
  }

  /// Takes note of test data: their moments join those of what was seen before, some of which is
  /// forgotten first.
  /// @throws std::invalid_argument for another number of channels, and what Moments::merge throws
  /// @throws std::domain_error for moments of NaN or infinity. Nothing is changed then.
  void see(const Target& seen) {
    detail::check_moments("AdaptiveBatchNorm::see", seen, source_.channels());
    detail::check_sound_moments("AdaptiveBatchNorm::see", seen);
    if (forgetting_.is_never() || seen.count == 0) {
      target_.merge(seen);
      return;
    }
    Target next = target_;
    if (next.count > 0) {
      detail::forget(next, forgetting_.kept_after(values_of_equal_weight(seen)));
    }
    next.merge(detail::as_reliability(seen));
    target_ = std::move(next);
  }

  /// Forgets all test data: back to the source.
  void forget_target() { target_ = Target(source_.channels()); }

  /// The inference path for now. Cost: a few operations and three numbers per channel.
  /// @throws std::domain_error where the rule refuses one value per channel (Adaptation::target)
  [[nodiscard]] FrozenBatchNorm<T, Channels> freeze() const {
    return adapt(source_, options_, target_, how_);
  }

  /// The same as a state: to be folded or saved.
  State<T, Channels> state() const { return adapted(source_, target_, how_); }

  /// The share of the target in every channel.
  Eigen::VectorXd target_shares() const { return batchnorm::target_shares(source_, target_, how_); }

  const State<T, Channels>& source() const { return source_; }  ///< as it was given
  const Target& target() const { return target_; }       ///< what was seen, and not forgotten
  const Options& options() const { return options_; }    ///< those of the layer
  const Adaptation& adaptation() const { return how_; }  ///< how statistics are mixed
  const Forgetting& forgetting() const { return forgetting_; }  ///< how the stream is forgotten

 private:
  static const State<T, Channels>& checked(const BatchNorm<T, Channels>& layer) {
    detail::check_has_statistics("AdaptiveBatchNorm", layer.state(), layer.has_statistics());
    return layer.state();
  }

  State<T, Channels> source_;
  Options options_;
  Adaptation how_;
  Forgetting forgetting_;
  Target target_;
};

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_RECALIBRATE_ADAPTIVE_HPP
