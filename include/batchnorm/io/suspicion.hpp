// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_SUSPICION_HPP
#define BATCHNORM_IO_SUSPICION_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/io/batch_norms.hpp"
#include "batchnorm/io/layer_numbers.hpp"
#include "batchnorm/io/load_report.hpp"
#include "batchnorm/io/naming.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/version.hpp"

// Numbers of a layer that are possible, and rarely what somebody wanted.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

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

// A smaller variance is that of a constant: an average of zeros decays to the denormal numbers of
// float before it is 0.
inline constexpr double smallest_normal = static_cast<double>((std::numeric_limits<float>::min)());

/// Whether all numbers are the one of a new layer; a vector that is not there never moved.
inline bool all_are(const std::vector<double>& numbers, double initial) {
  const ChannelCount moved(
      numbers.size(), [&](std::size_t channel) { return !is_exactly(numbers[channel], initial); });
  return !moved.any();
}

/// The variance of the first channel; 1 where there is none.
inline double first_variance(const std::vector<double>& variance) {
  return variance.empty() ? 1.0 : variance.front();
}

/// Whether all variances are 1, or as little below it as a converter's epsilon: Detectron2 writes
/// 1 - epsilon, so that 1 is under the root.
inline bool are_of_identity(const std::vector<double>& variance) {
  constexpr double largest_epsilon = 1e-3;
  constexpr double rounding = 1e-6;
  const double common = first_variance(variance);
  return all_are(variance, common) && common <= 1.0 && common >= 1.0 - largest_epsilon - rounding;
}

/// Statistics of a new layer. Some converters move statistics into gamma and beta, and leave these.
inline void suspect_new_layer(LoadReport& report, const LayerNumbers& numbers) {
  const std::string initial =
      text("mean 0 and variance ", first_variance(numbers.of(Role::variance)), " in all channels");
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
  const bool untouched = all_are(numbers.of(Role::mean), 0.0) && are_of_identity(variance);
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

/// With so many channels it is no chance (1 in 256) that all means have one sign.
inline constexpr std::size_t channels_for_certainty = 8;

/// What a ReLU in front of the norm leaves: nothing to worry about, unless something is to be
/// folded into the layer in front of that.
inline void suspect_rectified_input(LoadReport& report, const FoundBatchNorm& layer,
                                    const std::vector<double>& mean) {
  const ChannelCount positive(mean.size(),
                              [&](std::size_t channel) { return mean[channel] > 0.0; });
  if (mean.size() < channels_for_certainty || !positive.all()) return;
  note(report, Finding::suspicious, layer.key(Role::mean),
       text("all ", mean.size(),
            " running means are positive: the input looks like that of a layer "
            "behind a ReLU"));
}

/// Scales lie about 1 and shifts about 0. The other way round, a list was read in another order;
/// scales about 0 of either sign, gamma - 1 is stored.
inline void suspect_order(LoadReport& report, const FoundBatchNorm& layer,
                          const LayerNumbers& numbers) {
  const std::vector<double>& gamma = numbers.of(Role::gamma);
  const std::vector<double>& beta = numbers.of(Role::beta);
  if (gamma.size() < channels_for_certainty) return;
  std::vector<double> sorted = gamma;
  std::sort(sorted.begin(), sorted.end());
  const double median = sorted[sorted.size() / 2];
  const bool has_both_signs =
      sorted[sorted.size() / 4] < 0.0 && sorted[3 * sorted.size() / 4] > 0.0;
  const bool is_far_from_one = sorted.back() < 0.5 && sorted.front() > -0.5;
  if (std::fabs(median) > 0.1 || !has_both_signs || !is_far_from_one) return;
  double sum = 0.0;
  for (const double number : beta) sum += number;
  const ChannelCount positive(beta.size(),
                              [&](std::size_t channel) { return beta[channel] > 0.0; });
  const double count = static_cast<double>(beta.size());
  const bool is_like_gamma = positive.all() && sum > 0.5 * count && sum < 2.0 * count;
  note(report, Finding::suspicious, layer.key(Role::gamma),
       is_like_gamma
           ? "gamma lies about 0 and beta about 1: are the tensors in another order?"
           : "gamma lies about 0 with either sign and nowhere near 1: has gamma - 1 been stored "
             "(LoadOptions::adding_one_to_gamma)?");
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
  suspect_order(report, layer, numbers);
  suspect_statistics(report, layer, numbers);
  suspect_rectified_input(report, layer, numbers.of(Role::mean));
  if (options != nullptr) suspect_epsilon(report, layer, numbers, options->epsilon);
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_SUSPICION_HPP
