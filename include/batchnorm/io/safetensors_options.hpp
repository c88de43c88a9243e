// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_SAFETENSORS_OPTIONS_HPP
#define BATCHNORM_IO_SAFETENSORS_OPTIONS_HPP

#include <cstddef>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

// Options of a layer in the metadata of a checkpoint: under "batchnorm:" and the prefix of the
// layer stands a JSON object as text, for example
//   "batchnorm:1." : {"epsilon":1e-05,"new_weight":0.1,"non_finite":"reject",
//   ...,"samples_seen":640}

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// An enumerator and its name in files.
template <class Enum>
struct NamedValue {
  const char* name;
  Enum value;
};

inline constexpr NamedValue<RunningUpdate::Rule> rule_names[] = {
    {"exponential", RunningUpdate::Rule::exponential},
    {"exponential_debiased", RunningUpdate::Rule::exponential_debiased},
    {"cumulative", RunningUpdate::Rule::cumulative},
    {"windowed", RunningUpdate::Rule::windowed},
    {"population", RunningUpdate::Rule::population}};
inline constexpr NamedValue<VarianceEstimator> variance_names[] = {
    {"population", VarianceEstimator::population}, {"sample", VarianceEstimator::sample}};
inline constexpr NamedValue<NonFinite> non_finite_names[] = {
    {"reject", NonFinite::reject},
    {"skip_update", NonFinite::skip_update},
    {"propagate", NonFinite::propagate}};
inline constexpr NamedValue<SingleValue> single_value_names[] = {
    {"reject", SingleValue::reject},
    {"use_running_statistics", SingleValue::use_running_statistics},
    {"update_only", SingleValue::update_only}};

inline constexpr NamedValue<Staleness> staleness_names[] = {
    {"fresh", Staleness::fresh},
    {"weights_averaged", Staleness::weights_averaged},
    {"weights_quantized", Staleness::weights_quantized},
    {"weights_pruned", Staleness::weights_pruned},
    {"weights_changed", Staleness::weights_changed}};

template <class Enum, std::size_t Count>
std::string name_of(const NamedValue<Enum> (&names)[Count], Enum value) {
  for (const NamedValue<Enum>& entry : names) {
    if (entry.value == value) return entry.name;
  }
  return {};
}

/// Reads the fields of a metadata object; the first one that is missing or wrong is the error.
class OptionsReader {
 public:
  OptionsReader(FileContext context, std::string key, const nlohmann::json& object)
      : context_(std::move(context)), key_(std::move(key)), object_(object) {}

  bool has(const char* field) const { return object_.contains(field); }

  template <class Enum, std::size_t Count>
  Enum name(const char* field, const NamedValue<Enum> (&names)[Count]) const {
    const nlohmann::json& found = get(field);
    if (found.is_string()) {
      for (const NamedValue<Enum>& entry : names) {
        if (found.get_ref<const std::string&>() == entry.name) return entry.value;
      }
    }
    fail(field, "one of the names that this version knows", dumped(found));
  }

  double number(const char* field, double least, double most) const {
    const nlohmann::json& found = get(field);
    const double value = found.is_number() ? found.get<double>() : -1.0;
    if (!(found.is_number() && value >= least && value <= most)) {
      fail(field, text("a number from ", least, " to ", most), dumped(found));
    }
    return value;
  }

  Index count(const char* field, Index least) const {
    const nlohmann::json& found = get(field);
    constexpr std::uint64_t most = static_cast<std::uint64_t>((std::numeric_limits<Index>::max)());
    const bool whole = found.is_number_unsigned() && found.get<std::uint64_t>() <= most;
    const Index value = whole ? found.get<Index>() : Index(-1);
    if (value < least) fail(field, text("a whole number from ", least), dumped(found));
    return value;
  }

  bool flag(const char* field) const {
    const nlohmann::json& found = get(field);
    if (!found.is_boolean()) fail(field, "true or false", dumped(found));
    return found.get<bool>();
  }

 private:
  static std::string dumped(const nlohmann::json& value) {
    return value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace).substr(0, 100);
  }

  const nlohmann::json& get(const char* field) const {
    const auto found = object_.find(field);
    if (found == object_.end()) fail(field, "the field", "none");
    return *found;
  }

  [[noreturn]] void fail(const char* field, const std::string& expected,
                         const std::string& got) const {
    fail_file(context_, text("metadata ", in_quotes(key_), ": ", field), expected, got);
  }

  FileContext context_;
  std::string key_;
  const nlohmann::json& object_;
};

inline std::string metadata_key(const std::string& prefix) {
  return "batchnorm:" + prefix;
}

/// The metadata object of a layer; null when there is none.
inline nlohmann::json read_layer_metadata(const FileContext& context, const Tensors& tensors,
                                          const std::string& prefix) {
  const auto entry = tensors.metadata().find(metadata_key(prefix));
  if (entry == tensors.metadata().end()) return nlohmann::json();
  nlohmann::json object = nlohmann::json::parse(entry->second, nullptr, false);
  if (!object.is_object()) {
    fail_file(context, text("metadata ", in_quotes(entry->first)), "a JSON object",
              in_quotes(entry->second));
  }
  return object;
}

/// Whether this library has written such a field for a layer.
inline bool has_in_metadata(const Tensors& tensors, const std::string& prefix, const char* field) {
  const FileContext context{"load_state", tensors.name()};
  return read_layer_metadata(context, tensors, prefix).contains(field);
}

inline nlohmann::json options_to_json(const Options& options) {
  const RunningUpdate& running = options.running;
  nlohmann::json object;
  object["epsilon"] = options.epsilon;
  object["running"] = name_of(rule_names, running.rule());
  object["new_weight"] = running.new_weight();
  object["window"] = running.window();
  object["running_variance"] = name_of(variance_names, options.running_variance);
  object["scale"] = options.scale;
  object["shift"] = options.shift;
  object["slope"] = options.epilogue.slope();
  object["non_finite"] = name_of(non_finite_names, options.non_finite);
  object["single_value"] = name_of(single_value_names, options.single_value);
  return object;
}

inline RunningUpdate read_running_update(const OptionsReader& reader) {
  switch (reader.name("running", rule_names)) {
    case RunningUpdate::Rule::exponential:
      return RunningUpdate::take_new(reader.number("new_weight", 0.0, 1.0));
    case RunningUpdate::Rule::exponential_debiased:
      // 1 - (1 - w) is w again for every w that came about as 1 - d.
      return RunningUpdate::keep_old_debiased(1.0 - reader.number("new_weight", 0.0, 1.0));
    case RunningUpdate::Rule::cumulative:
      return RunningUpdate::cumulative();
    case RunningUpdate::Rule::windowed:
      return RunningUpdate::windowed(reader.count("window", 1));
    case RunningUpdate::Rule::population:
      break;
  }
  return RunningUpdate::population();
}

inline Options read_options(const OptionsReader& reader) {
  Options options;
  options.epsilon = reader.number("epsilon", 0.0, (std::numeric_limits<double>::max)());
  options.running = read_running_update(reader);
  options.running_variance = reader.name("running_variance", variance_names);
  options.scale = reader.flag("scale");
  options.shift = reader.flag("shift");
  // Files from before there were epilogues have no slope.
  options.epilogue = Epilogue::leaky_relu(
      reader.has("slope") ? reader.number("slope", 0.0, (std::numeric_limits<double>::max)())
                          : 1.0);
  options.non_finite = reader.name("non_finite", non_finite_names);
  options.single_value = reader.name("single_value", single_value_names);
  return options;
}

/// load_options for a function that wants errors under its own name.
inline Options load_options_for(const char* function, const Tensors& tensors,
                                const std::string& prefix) {
  const FileContext context{function, tensors.name()};
  const nlohmann::json object = read_layer_metadata(context, tensors, prefix);
  const std::string key = metadata_key(prefix);
  if (!object.contains("epsilon")) {
    fail_file(context, "metadata " + in_quotes(key), "options of a layer",
              "none; give them in the program");
  }
  return read_options(OptionsReader(context, key, object));
}

}  // namespace detail

/// Whether the layer under this prefix was saved together with its options: epsilon, update rule
/// and the rest. Files of the frameworks have none of them. Cost: reads one text of the metadata of
/// the tensors.
/// @throws std::runtime_error when the metadata of that layer is no JSON object.
inline bool has_options(const Tensors& tensors, const std::string& prefix) {
  const detail::FileContext context{"has_options", tensors.name()};
  return detail::read_layer_metadata(context, tensors, prefix).contains("epsilon");
}

/// The options that were saved with the layer under this prefix of the tensors. Cost: as
/// has_options.
/// @throws std::runtime_error when there are none, or a field of them is missing or wrong.
inline Options load_options(const Tensors& tensors, const std::string& prefix) {
  return detail::load_options_for("load_options", tensors, prefix);
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_SAFETENSORS_OPTIONS_HPP
