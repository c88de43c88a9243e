// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_STATE_HPP
#define BATCHNORM_STATE_HPP

#include <string>
#include <utility>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/version.hpp"

// Longer than most: what a state holds, and all conversions and checks of it.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

namespace detail {

/// A number of channels that somebody gave, once it is one and that of the type.
template <int Channels>
Index checked_channels(const char* function, Index channels) {
  if (channels < 1) fail_argument(function, "number of channels", "at least 1", text(channels));
  if (Channels != Eigen::Dynamic && channels != Channels) {
    fail_argument(function, "number of channels is fixed by the type", text(Channels),
                  text(channels));
  }
  return channels;
}

}  // namespace detail

/// A vector of running statistics: an Eigen vector that vectors of another scalar can be assigned
/// to, because those of a float layer are double and come from where numbers are float. Shapes: one
/// number per channel. Errors: those of Eigen. Cost: one pass over the channels. Thread safety: a
/// plain value.
template <class T, int Channels = Eigen::Dynamic>
class StatisticVector : public ChannelVector<T, Channels> {
  using Base = ChannelVector<T, Channels>;

 public:
  using Base::Base;

  /// Takes the other vector, of any scalar.
  template <class Other>
  StatisticVector& operator=(const Eigen::MatrixBase<Other>& other) {
    Base::operator=(other.template cast<T>());
    return *this;
  }
  /// Takes the other array, of any scalar.
  template <class Other>
  StatisticVector& operator=(const Eigen::ArrayBase<Other>& other) {
    Base::operator=(other.template cast<T>());
    return *this;
  }
};

/// Whether running statistics are those of the network as it is, or what was done to the weights in
/// front of the layer after they were taken. Training moves statistics along with the weights and
/// is not meant.
enum class Staleness {
  fresh,              ///< the statistics belong to the weights
  weights_averaged,   ///< over steps (SWA, EMA) or over networks
  weights_quantized,  ///< rounded to fewer bits
  weights_pruned,     ///< set to zero, or channels removed
  weights_changed     ///< anything else
};

/// What a call that normalises with running statistics for good, such as BatchNorm::freeze, does
/// with stale ones.
enum class StaleStatistics {
  refuse,  ///< throw, saying how to go on
  accept   ///< use them: it is meant
};

/// All that a batch norm layer has learned and seen: the only thing that is saved, loaded, folded,
/// averaged or synchronised. One number per channel in each vector.
///
/// The parameters have the type that is computed in, parameter_t<T>. The running statistics are
/// kept in accumulator_t<T>, double for a float layer: an average that moves by a thousandth of
/// what is new would stand still in float as soon as its last digit is larger than that.
///
/// A counter says how many minibatches, or values per channel, the running statistics come from;
/// `unknown` where nobody knows, as in files of systems that do not count. Rules that divide by a
/// counter (RunningUpdate::cumulative and windowed, keep_old_debiased, population) need to know it.
///
/// Shapes: one number per channel in every vector. Cost: one pass over the channels in each call.
/// Thread safety: a plain value.
///
/// @tparam T         scalar of the data
/// @tparam Channels  number of channels when it is known to the compiler: then nothing is on the
///                   heap
template <class T, int Channels = Eigen::Dynamic>
struct State {
  using Scalar = parameter_t<T>;                            ///< of gamma and beta
  using Vector = ChannelVector<Scalar, Channels>;           ///< of gamma and beta
  using Statistic = accumulator_t<T>;                       ///< of the running statistics
  using Statistics = StatisticVector<Statistic, Channels>;  ///< of the running statistics

  /// The value of a counter that nobody kept; anything else below zero is an error.
  static constexpr Index unknown = -1;

  Vector gamma;                 ///< learned scale (PyTorch: weight)
  Vector beta;                  ///< learned shift (PyTorch: bias)
  Statistics running_mean;      ///< mean used at test time
  Statistics running_variance;  ///< variance used at test time; the variance itself, not its root
  Index batches_seen = 0;   ///< minibatches committed (PyTorch: num_batches_tracked), or unknown
  Index samples_seen = 0;   ///< values per channel committed: examples times positions, or
                            ///< unknown
  Index batches_given = 0;  ///< of batches_seen, those whose statistics were given as a whole
                            ///< (set_statistics, reestimate) and averaged on from; 0 when the
                            ///< averages started from mean 0 and variance 1
  Staleness staleness = Staleness::fresh;  ///< kept by copies, cast, slice and save_state

  /// The state of a layer that has seen nothing: gamma 1, beta 0, mean 0, variance 1. Without a
  /// fixed number of channels, a state of no channels that waits to be assigned.
  State() : State(Identity(Channels == Eigen::Dynamic ? 0 : Channels)) {}

  /// The state of a layer of that many channels that has seen nothing.
  /// @throws std::invalid_argument when channels is not positive or not the fixed number.
  explicit State(Index channels)
      : State(Identity(detail::checked_channels<Channels>("State", channels))) {}

  /// Number of channels; 0 for a state that waits to be assigned.
  Index channels() const { return gamma.size(); }

  /// The same state for data of another scalar, or with another way to say the number of channels:
  ///
  ///     State<Eigen::half> small = state.cast<Eigen::half>();
  ///     State<float, 64> fixed = state.cast<float, 64>();
  ///
  /// Numbers are rounded once; counters go along.
  /// @throws std::invalid_argument when the parts of the state differ in size, or the number of
  ///         channels is not the one that the new type fixes
  /// @throws std::domain_error naming the channel when a number is too large for the new scalar
  template <class U, int NewChannels = Channels>
  State<U, NewChannels> cast() const;

  /// The state of `count` channels from channel `first` on, of a layer cut into parts. Counters go
  /// along.
  /// @throws std::invalid_argument when the parts of the state differ in size, or it does not have
  ///         those channels
  State<T> slice(Index first, Index count) const;

  /// Lets the running statistics start anew, with mean 0, variance 1 and nothing seen; gamma and
  /// beta stay.
  void forget_statistics() {
    running_mean.setZero();
    running_variance.setOnes();
    batches_seen = samples_seen = batches_given = 0;
    staleness = Staleness::fresh;
  }

  /// Takes mean and variance from elsewhere, which from now on belong to the weights: no longer
  /// stale.
  /// @param batches, samples  what they come from, for the counters
  /// @throws std::invalid_argument when a size is not the number of channels, or a counter is wrong
  /// @throws std::domain_error naming the channel when a number is not finite or a variance
  ///         negative. Nothing is changed then.
  template <class Mean, class Variance>
  void set_statistics(const Eigen::MatrixBase<Mean>& mean,
                      const Eigen::MatrixBase<Variance>& variance, Index batches = unknown,
                      Index samples = unknown);

  /// Says that the running statistics are no longer those of the network, by what reason: what was
  /// done to the weights in front of the layer. Errors: none. Ends with statistics that are taken
  /// anew (reestimate, set_statistics, forget_statistics and training), or with Staleness::fresh:
  /// training moves stale statistics along with all others, and nobody but the caller knows when it
  /// was enough.
  void mark_stale(Staleness reason) { staleness = reason; }

 private:
  struct Identity {
    explicit Identity(Index count) : channels(count) {}
    Index channels;
  };

  explicit State(Identity start)
      : gamma(detail::filled<1, Vector>(start.channels)),
        beta(detail::filled<0, Vector>(start.channels)),
        running_mean(detail::filled<0, Statistics>(start.channels)),
        running_variance(detail::filled<1, Statistics>(start.channels)) {}
};

namespace detail {

template <class T, int Channels>
void check_state_shape(const char* function, const State<T, Channels>& state) {
  const Index channels = state.gamma.size();
  if (channels < 1) {
    fail_argument(function, "number of channels", "at least 1",
                  text(channels,
                       "; a layer or state made without a number of channels is empty "
                       "until one is assigned to it, such as BatchNorm<T>(channels)"));
  }
  const auto same = [&](const char* name, Index size) {
    if (size != channels) {
      fail_argument(function, text("size of ", name, " must be that of gamma"), text(channels),
                    text(size));
    }
  };
  same("beta", state.beta.size());
  same("running_mean", state.running_mean.size());
  same("running_variance", state.running_variance.size());
  constexpr Index least = State<T, Channels>::unknown;
  if (state.batches_seen < least || state.samples_seen < least || state.batches_given < least) {
    fail_argument(function, "counters of a state", "zero or more, or State::unknown",
                  text(state.batches_seen, " batches and ", state.samples_seen, " samples, ",
                       state.batches_given, " batches given"));
  }
  if (state.batches_seen != least && state.batches_given > state.batches_seen) {
    fail_argument(function, "batches_given are some of batches_seen",
                  text("at most ", state.batches_seen), text(state.batches_given));
  }
}

[[noreturn, gnu::cold, gnu::noinline]] inline void fail_variance(const char* function,
                                                                 Index channel) {
  fail_domain(function, text("running variance of channel ", channel), "zero or larger",
              "a negative number");
}

template <class Statistic>
void check_variance(const char* function, const Statistic& variance, Index channel) {
  if (is_negative(variance)) fail_variance(function, channel);
}

/// Refuses statistics that no data can have: the mean of float data is finite in float, and a
/// variance that is not could not be handed to any other system. NaN and infinity pass under
/// NonFinite::propagate, because there they are what the caller asked to see.
template <class T, int Channels>
void check_statistics(const char* function, const State<T, Channels>& state, NonFinite policy) {
  using P = parameter_t<T>;
  using Statistic = typename State<T, Channels>::Statistic;
  for (Index channel = 0; channel < state.channels(); ++channel) {
    const Statistic& variance = state.running_variance[channel];
    const bool finite = is_finite_as<P>(variance) && is_finite_as<P>(state.running_mean[channel]);
    if (!finite && policy != NonFinite::propagate) {
      fail_domain(function, text("running statistics of channel ", channel), "finite numbers",
                  "NaN, infinity or overflow");
    }
    check_variance(function, variance, channel);
  }
}

/// Whether the running statistics are still those of a layer that has seen nothing.
template <class T, int Channels>
bool has_initial_statistics(const State<T, Channels>& state) {
  using Statistic = typename State<T, Channels>::Statistic;
  for (Index channel = 0; channel < state.channels(); ++channel) {
    const Statistic& mean = state.running_mean[channel];
    const Statistic& variance = state.running_variance[channel];
    if (!is_finite(mean) || !is_finite(variance)) return false;
    if (mean != Statistic(0) || variance != Statistic(1)) return false;
  }
  return true;
}

/// @param given  whether the layer was given its state
template <class T, int Channels>
bool has_statistics(const State<T, Channels>& state, bool given) {
  return given || state.batches_seen != 0 || !has_initial_statistics(state);
}

/// Refuses the running statistics of a layer that has none.
template <class T, int Channels>
void check_has_statistics(const char* function, const State<T, Channels>& state, bool given) {
  check_state_shape(function, state);
  if (has_statistics(state, given)) return;
  fail_domain(function, "the running statistics must come from data",
              "a layer that has trained on a minibatch or was given its state",
              "those of a new layer, mean 0 and variance 1, which would switch batch norm off; "
              "where they are meant, set state().batches_seen to what they come from, or to "
              "State::unknown");
}

/// What was done to the weights, as the end of a sentence.
inline const char* done_to_weights(Staleness staleness) {
  switch (staleness) {
    case Staleness::fresh:
      return "left alone";
    case Staleness::weights_averaged:
      return "averaged";
    case Staleness::weights_quantized:
      return "quantized";
    case Staleness::weights_pruned:
      return "pruned";
    case Staleness::weights_changed:
      break;
  }
  return "changed";
}

/// Refuses statistics that are marked as stale where they are used for good, unless that is meant.
/// @param meant  how to say that it is
inline void check_fresh(const char* function, Staleness staleness, const char* meant) {
  if (staleness == Staleness::fresh) return;
  fail_domain(function, "running statistics must be those of the weights in front of the layer",
              text("statistics taken since the weights were ", done_to_weights(staleness),
                   ": by reestimate(), State::set_statistics(), or training after "
                   "State::forget_statistics(); where the old ones are meant, ",
                   meant),
              text("statistics from before the weights were ", done_to_weights(staleness)));
}

/// Counters and mark of a state go over to another one.
template <class From, class To>
void copy_history(const From& from, To& to) {
  to.batches_seen = from.batches_seen;
  to.samples_seen = from.samples_seen;
  to.batches_given = from.batches_given;
  to.staleness = from.staleness;
}

/// The numbers of a vector in the scalar of another one, which has been sized.
template <class From, class To>
void convert_channels(const char* name, const From& from, To& to) {
  using Number = typename To::Scalar;
  for (Index channel = 0; channel < from.size(); ++channel) {
    if (is_finite(from[channel]) && !is_finite_as<Number>(from[channel])) {
      fail_domain("State::cast", text(name, " of channel ", channel),
                  "a number in the range of the new scalar", "one outside of it");
    }
    to[channel] = convert<Number>(from[channel]);
  }
}

/// Checks a state from outside, once, at the door.
template <class T, int Channels>
void check_state(const char* function, const State<T, Channels>& state, NonFinite policy) {
  check_state_shape(function, state);
  check_statistics(function, state, policy);
}

}  // namespace detail

template <class T, int Channels>
template <class U, int NewChannels>
State<U, NewChannels> State<T, Channels>::cast() const {
  detail::check_state_shape("State::cast", *this);
  State<U, NewChannels> result(channels());
  detail::convert_channels("gamma", gamma, result.gamma);
  detail::convert_channels("beta", beta, result.beta);
  detail::convert_channels("running mean", running_mean, result.running_mean);
  detail::convert_channels("running variance", running_variance, result.running_variance);
  detail::copy_history(*this, result);
  return result;
}

template <class T, int Channels>
template <class Mean, class Variance>
void State<T, Channels>::set_statistics(const Eigen::MatrixBase<Mean>& mean,
                                        const Eigen::MatrixBase<Variance>& variance, Index batches,
                                        Index samples) {
  constexpr const char* function = "State::set_statistics";
  if (mean.size() != channels() || variance.size() != channels()) {
    detail::fail_argument(function, "size of mean and variance must be that of gamma",
                          detail::text(channels()),
                          detail::text(mean.size(), " and ", variance.size()));
  }
  if (batches == 0 || samples == 0) {
    detail::fail_argument(function, "statistics come from something",
                          "counters of 1 or more, or State::unknown", "0");
  }
  State next = *this;
  next.running_mean = mean;
  next.running_variance = variance;
  next.batches_seen = next.batches_given = batches;
  next.samples_seen = samples;
  next.staleness = Staleness::fresh;
  detail::check_state(function, next, NonFinite::reject);
  *this = std::move(next);
}

template <class T, int Channels>
State<T> State<T, Channels>::slice(Index first, Index count) const {
  detail::check_state_shape("State::slice", *this);
  if (first < 0 || count < 1 || first > channels() - count) {
    detail::fail_argument("State::slice", "channels of the slice",
                          detail::text("1 or more of ", channels()),
                          detail::text(count, " from channel ", first, " on"));
  }
  State<T> result(count);
  result.gamma = gamma.segment(first, count);
  result.beta = beta.segment(first, count);
  result.running_mean = running_mean.segment(first, count);
  result.running_variance = running_variance.segment(first, count);
  detail::copy_history(*this, result);
  return result;
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_STATE_HPP
