// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_READ_LAYER_HPP
#define BATCHNORM_IO_READ_LAYER_HPP

#include <Eigen/Core>
#include <cstddef>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/io/batch_norms.hpp"
#include "batchnorm/io/counter.hpp"
#include "batchnorm/io/dtype.hpp"
#include "batchnorm/io/examine.hpp"
#include "batchnorm/io/layer_numbers.hpp"
#include "batchnorm/io/load_report.hpp"
#include "batchnorm/io/naming.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/io/safetensors_options.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

// From a layer that was found in a file to its State, or to the error that says why not.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Copies a vector with one number per channel; one that is not there stays as it is. Numbers that
/// were converted are rounded once more, the others keep every bit of the file.
template <class Vector>
void read_channels(const Tensors& tensors, const FoundBatchNorm& layer, Role role,
                   const LayerNumbers& numbers, Vector& channels) {
  using Scalar = typename Vector::Scalar;
  if (!layer.has(role)) return;
  if (!numbers.converts(role)) {
    const std::vector<Scalar> values = stored_values<Scalar>(tensors, layer, role);
    for (Index channel = 0; channel < channels.size(); ++channel) {
      channels[channel] = values[static_cast<std::size_t>(channel)];
    }
    return;
  }
  for (Index channel = 0; channel < channels.size(); ++channel) {
    const double number = numbers.of(role)[static_cast<std::size_t>(channel)];
    if (convert_element(number, channels[channel])) continue;
    fail_domain("load_state", text(in_quotes(layer.key(role)), ", channel ", channel),
                "a number in the range of the scalar asked for", text(number));
  }
}

/// A counter that this library keeps in the metadata.
/// @return State::unknown in other files.
inline Index read_counter(const FileContext& context, const Tensors& tensors,
                          const FoundBatchNorm& layer, const char* field) {
  const std::string& prefix = layer.prefix.parameters;
  const nlohmann::json object = read_layer_metadata(context, tensors, prefix);
  if (!object.contains(field)) return State<double>::unknown;
  return OptionsReader(context, metadata_key(prefix), object).count(field, 0);
}

/// What this library keeps in the metadata beside the counters; files of others are fresh, and have
/// averaged from the initial values.
template <class T, int Channels>
void read_origin(const FileContext& context, const Tensors& tensors, const FoundBatchNorm& layer,
                 State<T, Channels>& state) {
  const std::string& prefix = layer.prefix.parameters;
  const nlohmann::json object = read_layer_metadata(context, tensors, prefix);
  const OptionsReader reader(context, metadata_key(prefix), object);
  if (object.contains("staleness")) state.staleness = reader.name("staleness", staleness_names);
  if (!object.contains("batches_given")) return;
  state.batches_given =
      object["batches_given"].is_null() ? state.unknown : reader.count("batches_given", 0);
}

/// The counters of a state. Systems do not count values; of none they have seen none.
template <class T, int Channels>
void read_counters(const FileContext& context, const Tensors& tensors, const FoundBatchNorm& layer,
                   State<T, Channels>& state) {
  state.batches_seen = layer.has(Role::counter)
                           ? count_in_tensor(tensors, layer.key(Role::counter)).count
                           : read_counter(context, tensors, layer, "batches_seen");
  state.samples_seen = read_counter(context, tensors, layer, "samples_seen");
  const bool is_foreign = tensors.metadata().count(metadata_key(layer.prefix.parameters)) == 0;
  if (is_foreign && state.batches_seen == 0) state.samples_seen = 0;
}

/// Reads a layer that was examined and found right. Statistics that are not there are NaN, which
/// nothing normalises with.
template <class T, int Channels>
State<T, Channels> read_layer(const Tensors& tensors, const FoundBatchNorm& layer,
                              const LayerNumbers& numbers) {
  using Statistic = typename State<T, Channels>::Statistic;
  const FileContext context{"load_state", tensors.name()};
  State<T, Channels> state(layer.channels);
  if (!layer.has_statistics()) {
    state.running_mean.setConstant(std::numeric_limits<Statistic>::quiet_NaN());
    state.running_variance.setConstant(std::numeric_limits<Statistic>::quiet_NaN());
  }
  read_channels(tensors, layer, Role::gamma, numbers, state.gamma);
  read_channels(tensors, layer, Role::beta, numbers, state.beta);
  read_channels(tensors, layer, Role::mean, numbers, state.running_mean);
  read_channels(tensors, layer, Role::variance, numbers, state.running_variance);
  read_counters(context, tensors, layer, state);
  read_origin(context, tensors, layer, state);
  return state;
}

/// A wrong prefix is the usual mistake, so the message says which prefixes there are.
[[noreturn]] inline void fail_no_layer(const Tensors& tensors, const std::string& key) {
  std::string others;
  for (const FoundBatchNorm& layer : find_batch_norms(tensors)) {
    if (others.size() > 200) continue;
    others += (others.empty() ? "" : ", ") + in_quotes(layer.prefix.parameters);
  }
  fail_tensor(FileContext{"load_state", tensors.name()}, key, "tensors of a batch norm layer",
              "this one",
              others.empty() ? "a file without batch norm layers"
                             : "none; prefixes of such layers here: " + others);
}

template <int Channels>
void check_fixed_channels(const FoundBatchNorm& layer, LoadReport& report) {
  if (Channels == Eigen::Dynamic || layer.channels == Channels) return;
  refuse(report, Finding::wrong_shape, layer.has(Role::mean) ? layer.key(Role::mean) : "",
         "number of channels is fixed by the type", text(Channels), text(layer.channels));
}

/// Finds a layer, examines it, raises what is wrong with it, and reads it.
template <class T, int Channels>
State<T, Channels> load_layer(const Tensors& tensors, const FoundBatchNorm& layer,
                              const Expectations& expectations, LoadReport& report) {
  const LayerNumbers numbers = LayerExamination(tensors, layer, expectations, report).run();
  check_fixed_channels<Channels>(layer, report);
  raise_errors("load_state", report);
  State<T, Channels> state = read_layer<T, Channels>(tensors, layer, numbers);
  if (layer.has_statistics()) check_state("load_state", state, expectations.options->non_finite);
  if (state.staleness != Staleness::fresh) {
    note(report, Finding::suspicious, "",
         text("running statistics from before the weights were ", done_to_weights(state.staleness),
              ", saved as stale"));
  }
  return state;
}

/// The same under PyTorch's names, everything as the options say.
template <class T, int Channels>
State<T, Channels> load_exactly(const Tensors& tensors, const std::string& prefix,
                                const Options& options) {
  const FoundBatchNorm layer = look_at(tensors, prefix, Naming::pytorch());
  if (!layer.has(Role::mean)) fail_no_layer(tensors, prefix + "running_mean");
  Expectations expectations;
  expectations.decide(options);
  expectations.statistics = true;
  expectations.is_named = true;
  expectations.dtype_matters = false;
  LoadReport report{prefix, tensors.name(), {}};
  return load_layer<T, Channels>(tensors, layer, expectations, report);
}

/// Frameworks do not save epsilon, and a wrong one goes unnoticed: there is no default.
/// @param naming  the system, whose usual epsilon is worth telling
[[noreturn]] inline void fail_no_epsilon(const Tensors& tensors, const std::string& prefix,
                                         const Naming& naming = Naming::pytorch()) {
  fail_file(
      FileContext{"load_state", tensors.name()},
      text("layer ", in_quotes(prefix), ": epsilon is needed, and most files do not carry it"),
      text("one in the file or from the caller; ", naming.system(), " usually has Epsilon(",
           naming.options().epsilon, ")"),
      "neither");
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_READ_LAYER_HPP
