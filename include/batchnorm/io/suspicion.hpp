// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_SUSPICION_HPP
#define BATCHNORM_IO_SUSPICION_HPP

#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/io/batch_norms.hpp"
#include "batchnorm/io/load_report.hpp"
#include "batchnorm/io/naming.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/version.hpp"

// Numbers of a layer that are possible, and rarely what somebody wanted.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// The numbers of a layer as the file has them; empty where there are none.
struct LayerNumbers {
  std::array<std::vector<double>, 4> vectors;  ///< by Role
  Index batches_seen = -1;                     ///< -1 when the file does not say

  std::vector<double>& of(Role role) { return vectors[static_cast<std::size_t>(role)]; }
  const std::vector<double>& of(Role role) const { return vectors[static_cast<std::size_t>(role)]; }
};

/// Counts the channels of which something is true.
class ChannelCount {
 public:
  template <class Condition>
  ChannelCount(std::size_t channels, const Condition& condition) : channels_(channels) {
    for (std::size_t channel = 0; channel < channels; ++channel) {
      if (!condition(channel)) continue;
      if (count_ == 0) first_ = channel;
      ++count_;
    }
  }
  bool any() const { return count_ > 0; }
  bool all() const { return count_ == channels_; }
  std::string text() const {
    return detail::text(count_, " of ", channels_, " channels, the first is ", first_);
  }

 private:
  std::size_t channels_;
  std::size_t count_ = 0;
  std::size_t first_ = 0;
};

inline bool is_exactly(double number, double other) {
  return number <= other && number >= other;
}

// A smaller variance is that of a constant: an average of zeros decays to the denormal numbers of
// float before it is 0.
inline constexpr double smallest_normal = static_cast<double>((std::numeric_limits<float>::min)());

/// Whether all numbers are the one of a new layer; a vector that is not there never moved.
inline bool all_are(const std::vector<double>& numbers, double initial) {
  const ChannelCount moved(
      numbers.size(), [&](std::size_t channel) { return !is_exactly(numbers[channel], initial); });
  return !moved.any();
}

/// Statistics of a new layer. Some converters move statistics into gamma and beta, and leave these.
inline void suspect_new_layer(LoadReport& report, const LayerNumbers& numbers) {
  const std::string initial = "mean 0 and variance 1 in all channels";
  const bool is_new = all_are(numbers.of(Role::gamma), 1.0) && all_are(numbers.of(Role::beta), 0.0);
  if (is_new && numbers.batches_seen <= 0) {
    note(report, Finding::suspicious, "", initial + ": never trained");
  } else if (is_new) {
    note(report, Finding::suspicious, "",
         text(initial, ", although ", numbers.batches_seen, " minibatches were counted"));
  } else {
    note(report, Finding::suspicious, "",
         initial +
             ", although gamma and beta are trained: the statistics were not saved, or a "
             "converter has moved them into gamma and beta");
  }
}

/// Statistics that do not look as if they had come from data.
inline void suspect_statistics(LoadReport& report, const FoundBatchNorm& layer,
                               const LayerNumbers& numbers) {
  const std::vector<double>& variance = numbers.of(Role::variance);
  const bool untouched = all_are(numbers.of(Role::mean), 0.0) && all_are(variance, 1.0);
  if (untouched) {
    suspect_new_layer(report, numbers);
  } else if (numbers.batches_seen == 0) {
    // Networks that were trained elsewhere, or averaged, have it often; inference does not need it.
    note(report, Finding::used, layer.key(Role::counter),
         "0 minibatches seen, although the statistics are not those of a new layer");
  }
  const ChannelCount constant(variance.size(), [&](std::size_t channel) {
    return variance[channel] >= 0.0 && variance[channel] < smallest_normal;
  });
  if (constant.any()) {
    note(report, Finding::suspicious, layer.key(Role::variance),
         "variance 0 or next to it, the input never changed: " + constant.text());
  }
  const std::vector<double>& gamma = numbers.of(Role::gamma);
  if (gamma.size() == variance.size() && gamma == variance && !untouched) {
    note(report, Finding::suspicious, layer.key(Role::variance),
         "the same numbers as gamma: has one been stored as the other?");
  }
}

/// What epsilon makes of the layer: the gain of a channel is |gamma| / sqrt(variance + epsilon).
inline void suspect_epsilon(LoadReport& report, const FoundBatchNorm& layer,
                            const LayerNumbers& numbers, double epsilon) {
  constexpr double largest_usual = 1e-2;  // systems have 1e-3 and less
  constexpr double largest_gain = 1e3;
  if (epsilon > largest_usual) {
    note(report, Finding::suspicious, "",
         text("epsilon ", epsilon, " is larger than that of any system: is it another number?"));
  }
  const std::vector<double>& gamma = numbers.of(Role::gamma);
  const std::vector<double>& variance = numbers.of(Role::variance);
  const ChannelCount tiny(variance.size(), [&](std::size_t channel) {
    return variance[channel] >= smallest_normal && variance[channel] < epsilon;
  });
  if (tiny.any()) {
    note(report, Finding::suspicious, layer.key(Role::variance),
         text("variance below epsilon ", epsilon, ", which decides the scale: ", tiny.text()));
  }
  const ChannelCount loud(variance.size(), [&](std::size_t channel) {
    const double factor = gamma.empty() ? 1.0 : std::fabs(gamma[channel]);
    return factor > largest_gain * std::sqrt(variance[channel] + epsilon);
  });
  if (loud.any()) {
    note(report, Finding::suspicious, "",
         text("the input is multiplied by more than ", largest_gain, ": ", loud.text()));
  }
}

inline void suspect_gamma(LoadReport& report, const FoundBatchNorm& layer,
                          const std::vector<double>& gamma, bool is_inplace_abn) {
  const ChannelCount dead(gamma.size(),
                          [&](std::size_t channel) { return is_exactly(gamma[channel], 0.0); });
  if (dead.any() && !is_inplace_abn) {
    note(report, Finding::suspicious, layer.key(Role::gamma),
         "gamma 0, the output never changes: " + dead.text());
  }
  const ChannelCount flipped(gamma.size(),
                             [&](std::size_t channel) { return is_negative(gamma[channel]); });
  if (flipped.any() && is_inplace_abn) {
    note(report, Finding::suspicious, layer.key(Role::gamma),
         "the sign is dropped, as inplace_abn does: " + flipped.text());
  }
}

/// All of it. The vectors that are there have one size and finite numbers, or came through because
/// the layer lets NaN through.
/// @param options  nullptr when epsilon is not known
inline void find_suspicions(LoadReport& report, const FoundBatchNorm& layer,
                            const LayerNumbers& numbers, const Options* options,
                            bool is_inplace_abn) {
  suspect_gamma(report, layer, numbers.of(Role::gamma), is_inplace_abn);
  if (!layer.has_statistics()) return;
  suspect_statistics(report, layer, numbers);
  if (options != nullptr) suspect_epsilon(report, layer, numbers, options->epsilon);
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_SUSPICION_HPP
