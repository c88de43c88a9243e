// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_STREAMING_MOMENTS_HPP
#define BATCHNORM_MATH_STREAMING_MOMENTS_HPP

#include <Eigen/Core>
#include <iterator>
#include <type_traits>
#include <utility>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/math/check_moments.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// The moments of a stream that several parties see parts of: workers, machines, sites. What this
/// party has seen since the last exchange is kept apart from what all of them have shared, because
/// parties that merge their totals again and again count their common past once for every party and
/// every round: 4^k times after k rounds of 4.
///
///     worker.add(moments_of(observations));   // as often as there is something to see
///     exchange(workers);                      // now and then; or, between machines,
///     worker.share(round);                    // where round merges what own() was for everybody
///     worker.total();                         // everything that anybody has told this party
///
/// After an exchange all parties have the same bits. Shapes: one number of channels for all. Cost:
/// a few operations per channel in each call. Thread safety: a plain value, no locks: what one
/// party sees on several threads has to be added on one. Source of the defect that it avoids:
/// rl_games issue 363 on GitHub.
///
/// @tparam T         the type that moments are kept in, double for float data
/// @tparam Channels  number of channels when it is known to the compiler
template <class T, int Channels = Eigen::Dynamic>
class StreamingMoments {
 public:
  using Shared = Moments<T, Channels>;  ///< what parties tell each other

  /// Nothing seen yet. Without a number of channels the first moments that are added decide it.
  StreamingMoments() = default;
  /// Nothing seen yet, of so many channels.
  /// @throws std::invalid_argument for fewer than zero, or another number than the type fixes
  explicit StreamingMoments(Index channels)
      : shared_(detail::checked_sum_channels<Channels>("StreamingMoments", channels)),
        own_(shared_) {}

  /// A party that goes on from what it had, say from a file.
  /// @throws std::invalid_argument when the numbers of channels differ
  /// @throws std::domain_error when a number is not finite
  StreamingMoments(Shared shared, Shared own) : shared_(std::move(shared)), own_(std::move(own)) {
    detail::check_sound_moments("StreamingMoments", shared_);
    detail::check_sound_moments("StreamingMoments", own_);
    const Index channels = total().channels();
    if (shared_.channels() == 0) shared_ = Shared(channels);
    if (own_.channels() == 0) own_ = Shared(channels);
  }

  /// What was seen, in one observation or many, joins what this party has seen since the last
  /// exchange.
  /// @throws std::invalid_argument for another number of channels
  /// @throws std::domain_error for moments of NaN or infinity: after the next exchange no party
  ///         would ever get rid of them. Nothing is changed then.
  void add(const Shared& seen) {
    detail::check_sound_moments("StreamingMoments::add", seen);
    if (shared_.channels() == 0 && own_.channels() == 0) shared_ = own_ = Shared(seen.channels());
    own_.merge(seen);
  }

  /// What this party has seen since the last exchange: what it tells the others.
  const Shared& own() const { return own_; }
  /// What all parties had told each other by then.
  const Shared& shared() const { return shared_; }

  /// All that this party knows of: both, merged.
  Shared total() const {
    Shared all = shared_;
    all.merge(own_);
    return all;
  }

  /// Ends an exchange: what everybody has told joins what is shared, and this party has seen
  /// nothing since.
  /// @param round  the own() of all parties, this one among them, merged in an order that is the
  ///               same everywhere; nothing may have been added here since this party told its own
  /// @throws std::invalid_argument for another number of channels, or fewer values than own() has
  /// @throws std::domain_error when a number is not finite. Nothing is changed then.
  void share(const Shared& round) {
    detail::check_sound_moments("StreamingMoments::share", round);
    if (round.count < own_.count) {
      detail::fail_argument(
          "StreamingMoments::share", "what everybody has told includes what this party has seen",
          detail::text("moments of at least ", own_.count, " values"), detail::text(round.count));
    }
    shared_.merge(round);
    own_ = Shared(shared_.channels());
  }

 private:
  Shared shared_;
  Shared own_;
};

/// An exchange between all parties of one program: `parties` is a std::vector, array or any other
/// range of StreamingMoments. Their own() are merged in its order.
/// @throws what Moments::merge does: for other numbers of channels, or kinds of weights. Nothing is
///         changed then.
/// Cost: two merges per party.
template <class Parties>
void exchange(Parties& parties) {
  using Party = std::decay_t<decltype(*std::begin(parties))>;
  typename Party::Shared round;
  for (const Party& party : parties) round.merge(party.own());
  for (const Party& party : parties) {
    typename Party::Shared all = party.shared();
    all.merge(round);
  }
  for (Party& party : parties) party.share(round);
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_STREAMING_MOMENTS_HPP
