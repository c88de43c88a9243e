// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_SAVE_FORM_HPP
#define BATCHNORM_IO_SAVE_FORM_HPP

#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/io/layer_numbers.hpp"
#include "batchnorm/io/naming.hpp"
#include "batchnorm/io/stored_form.hpp"
#include "batchnorm/io/systems.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

// From a State to the numbers that a system has in its files, and what some systems cannot hold.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// The names of a layer in a file, as they are written.
inline std::string key_of(const LayerPrefix& prefix, const Naming& naming, Role role) {
  return prefix.of(role) + naming.name(role);
}

/// What a system has no place for.
inline void check_can_be_named(const LayerPrefix& prefix, const Naming& naming,
                               const Options* options, Index channels) {
  const bool scale = options == nullptr || options->scale;
  const bool shift = options == nullptr || options->shift;
  const std::string layer = "layer under the names of " + naming.system();
  const bool is_plain_list = naming.is_list() && !naming.list_shrinks() &&
                             !naming.has_scale_layer() && !naming.saves_epsilon();
  if (is_plain_list && scale != shift) {
    fail_argument("save_state", "arrays of " + naming.system(),
                  "a layer with scale and shift, or none", "one of the two");
  }
  if (naming.is_list() && naming.saves_epsilon() && !(scale && shift)) {
    fail_argument("save_state", layer, "scale and shift", "a layer without one of them");
  }
  if (naming.has_scale_layer() && shift && !scale) {
    fail_argument("save_state", layer, "a scale where there is a shift", "a shift alone");
  }
  if (naming.has_scale_layer() && scale && !prefix.is_pair()) {
    fail_argument("save_state", layer,
                  "two prefixes: that of the layer of kind Scale, and that of the batch norm",
                  in_quotes(prefix.parameters) + " for both");
  }
  if (scale && naming.names(Role::gamma).empty()) {
    fail_argument("save_state", layer, "none with a scale, for which there is no tensor", "one");
  }
  if (naming.has_moments() && channels == 2) {
    fail_argument("save_state", layer,
                  "another number of channels than 2, so that [C, 2] is told "
                  "from [2, C]",
                  "2");
  }
  if (options != nullptr && naming.replaces_zero_epsilon() && is_exactly(options->epsilon, 0.0)) {
    fail_argument("save_state", layer, "an epsilon above 0, because 0 counts as 1e-5", "0");
  }
}

/// The variances as a system stores them. Refuses those that its form cannot give back: a small
/// variance is lost beside epsilon.
template <class T, int Channels>
std::vector<double> variances_in_form(const Naming& naming, double epsilon,
                                      const State<T, Channels>& state) {
  constexpr double largest_loss = 0x1p-20;
  const StoredVariance form = naming.stored_variance();
  std::vector<double> all;
  for (Index channel = 0; channel < state.channels(); ++channel) {
    const double variance = static_cast<double>(state.running_variance[channel]);
    const double stored = stored_from(form, variance, epsilon);
    double back = variance_from(form, stored, epsilon);
    if (naming.replaces_zero_deviation() && is_exactly(stored, 0.0)) back = 1e-8;
    if (!is_finite(stored) || !(std::fabs(back - variance) <= largest_loss * variance)) {
      fail_domain("save_state", text("running variance of channel ", channel),
                  text("one that ", words_for(form), ", which ", naming.system(),
                       " stores, gives back beside epsilon ", epsilon),
                  text(variance));
    }
    all.push_back(stored);
  }
  return all;
}

/// The tensors of a layer that a system stores in another form, over those that are there already.
template <class T, int Channels>
void save_in_form(Tensors& layer, const LayerPrefix& prefix, const Naming& naming,
                  const Options& options, const State<T, Channels>& state) {
  const Index channels = state.channels();
  const std::vector<double> variances = variances_in_form(naming, options.epsilon, state);
  if (naming.has_moments()) {
    std::vector<double> both;
    for (Index channel = 0; channel < channels; ++channel) {
      both.push_back(static_cast<double>(state.running_mean[channel]));
      both.push_back(variances[static_cast<std::size_t>(channel)]);
    }
    layer.set(key_of(prefix, naming, Role::mean), {channels, 2}, both);
  } else {
    layer.set(key_of(prefix, naming, Role::variance), {channels}, variances);
  }
  if (!naming.has_scaled_beta() || !options.shift) return;
  std::vector<double> betas;
  for (Index channel = 0; channel < channels; ++channel) {
    const double variance = static_cast<double>(state.running_variance[channel]);
    const double beta = static_cast<double>(state.beta[channel]);
    betas.push_back(beta * std::sqrt(variance + options.epsilon));
  }
  layer.set(key_of(prefix, naming, Role::beta), {channels}, betas);
}

/// Single numbers that some systems keep beside the vectors.
inline void save_others(Tensors& layer, const LayerPrefix& prefix, const Naming& naming,
                        const Options& options) {
  if (naming.saves_epsilon()) {
    layer.set_value(key_of(prefix, naming, Role::epsilon), options.epsilon);
  }
  if (!naming.names(Role::new_weight).empty() &&
      options.running.rule() == RunningUpdate::Rule::exponential) {
    layer.set_value(key_of(prefix, naming, Role::new_weight), options.running.new_weight());
  }
  if (!naming.names(Role::factor).empty()) {
    layer.set(key_of(prefix, naming, Role::factor), {1}, std::vector<double>{1.0});
  }
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_SAVE_FORM_HPP
