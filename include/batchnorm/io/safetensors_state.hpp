// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_SAFETENSORS_STATE_HPP
#define BATCHNORM_IO_SAFETENSORS_STATE_HPP

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <type_traits>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/io/dtype.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/io/safetensors_options.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

// A batch norm layer under a prefix such as "1." has PyTorch's names:
//   1.weight                gamma         left out when Options::scale is false
//   1.bias                  beta          left out when Options::shift is false
//   1.running_mean          running mean
//   1.running_var           running variance, the variance itself
//   1.num_batches_tracked   batches_seen, I64 of shape []
// What PyTorch has no tensor for stands in the metadata, where its readers do not look:
// samples_seen and, when they were given, the options (safetensors_options.hpp).

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// One vector of a state. Scalars without a dtype of their own become F64, rounded once.
template <class Vector>
void save_channels(Tensors& tensors, const std::string& key, const Vector& channels) {
  using Scalar = typename Vector::Scalar;
  if constexpr (dtype_name<Scalar>() != nullptr) {
    tensors.set(key, {channels.size()}, channels.data());
  } else {
    static_assert(std::is_constructible<double, const Scalar&>::value,
                  "batchnorm: only states whose scalar converts to double can be saved");
    std::vector<double> rounded;
    for (Index channel = 0; channel < channels.size(); ++channel) {
      if (is_finite(channels[channel]) && !is_finite_as<double>(channels[channel])) {
        fail_domain("save_state", text(in_quotes(key), " of channel ", channel),
                    "a number in the range of double", "one outside of it");
      }
      rounded.push_back(convert<double>(channels[channel]));
    }
    tensors.set(key, {channels.size()}, rounded);
  }
}

/// Puts a layer into a collection when all of it can be stored, else leaves the collection as it
/// is.
template <class T, int Channels>
void save_layer(Tensors& tensors, const std::string& prefix, const State<T, Channels>& state,
                const Options* options) {
  check_state_shape("save_state", state);
  if (options != nullptr) validate(*options);
  Tensors layer;
  if (options == nullptr || options->scale) save_channels(layer, prefix + "weight", state.gamma);
  if (options == nullptr || options->shift) save_channels(layer, prefix + "bias", state.beta);
  save_channels(layer, prefix + "running_mean", state.running_mean);
  save_channels(layer, prefix + "running_var", state.running_variance);
  layer.set_value(prefix + "num_batches_tracked", static_cast<std::int64_t>(state.batches_seen));
  nlohmann::json object = options == nullptr ? nlohmann::json::object() : options_to_json(*options);
  object["samples_seen"] = state.samples_seen;
  tensors.erase(prefix + "weight");
  tensors.erase(prefix + "bias");
  for (const std::string& key : layer.keys()) tensors.set(key, layer.tensor(key));
  tensors.metadata()[metadata_key(prefix)] = object.dump();
}

/// Reads the vectors and counters of one layer.
class StateReader {
 public:
  StateReader(const Tensors& tensors, const std::string& prefix, const char* function)
      : tensors_(tensors), prefix_(prefix), context_{function, tensors.name()} {}

  /// Number of channels, from the running mean, which every layer has.
  Index channels() const {
    const std::string key = prefix_ + "running_mean";
    require(key);
    const std::vector<Index>& shape = tensors_.shape(key);
    if (shape.size() != 1 || shape[0] < 1) {
      fail_tensor(context_, key, "shape", "[channels], one or more", shape_text(shape));
    }
    return shape[0];
  }

  /// Reads a vector with one number per channel, when wanted; otherwise checks that it is absent.
  template <class Vector>
  void read(const char* name, bool wanted, Vector& channels) const {
    using Scalar = typename Vector::Scalar;
    const std::string key = prefix_ + name;
    if (!wanted) {
      if (!tensors_.contains(key)) return;
      fail_tensor(context_, key, "options of the layer", "no such tensor", "one");
    }
    require(key);
    const std::vector<Index>& shape = tensors_.shape(key);
    if (shape != std::vector<Index>{channels.size()}) {
      fail_tensor(context_, key, "shape", shape_text({channels.size()}), shape_text(shape));
    }
    const std::vector<Scalar> values = tensors_.values<Scalar>(key);
    for (Index channel = 0; channel < channels.size(); ++channel) {
      channels[channel] = values[static_cast<std::size_t>(channel)];
    }
  }

  /// Refuses statistics that no data can have, by the name that they have in the file.
  template <class Vector>
  void check_statistics(const char* name, bool is_variance, bool finite_only,
                        const Vector& channels) const {
    for (Index channel = 0; channel < channels.size(); ++channel) {
      const bool negative = is_variance && is_negative(channels[channel]);
      if (!negative && (!finite_only || is_finite(channels[channel]))) continue;
      raise_domain_error(text(beginning(context_), "tensor ", in_quotes(prefix_ + name),
                              ": channel ", channel, ": expected ",
                              is_variance ? "a finite number, zero or larger" : "a finite number",
                              ", got ", negative ? "a negative number" : "NaN or infinity"));
    }
  }

  /// Files of PyTorch before 0.4.1, and of converters, have no counter: then 0.
  Index batches_seen() const {
    const std::string key = prefix_ + "num_batches_tracked";
    if (!tensors_.contains(key)) return 0;
    const std::int64_t count = tensors_.value<std::int64_t>(key);
    if (count < 0) fail_tensor(context_, key, "number of minibatches", "0 or more", text(count));
    return static_cast<Index>(count);
  }

  Index samples_seen() const {
    const nlohmann::json object = read_layer_metadata(context_, tensors_, prefix_);
    if (!object.contains("samples_seen")) return 0;
    return OptionsReader(context_, metadata_key(prefix_), object).count("samples_seen", 0);
  }

 private:
  // A wrong prefix is the usual mistake, so the message says which prefixes there are.
  void require(const std::string& key) const {
    if (tensors_.contains(key)) return;
    const std::string name = "running_mean";
    std::string others;
    for (const std::string& other : tensors_.keys()) {
      if (others.size() > 200 || other.size() < name.size()) continue;
      const std::size_t start = other.size() - name.size();
      if (other.compare(start, name.size(), name) != 0) continue;
      others += (others.empty() ? "" : ", ") + in_quotes(other.substr(0, start));
    }
    fail_tensor(context_, key, "tensors of a batch norm layer", "this one",
                others.empty() ? "a file without batch norm layers"
                               : "none; prefixes of such layers here: " + others);
  }

  const Tensors& tensors_;
  const std::string& prefix_;
  FileContext context_;
};

template <class T, int Channels>
State<T, Channels> load_layer(const Tensors& tensors, const std::string& prefix,
                              const Options& options) {
  const StateReader reader(tensors, prefix, "load_state");
  const bool finite_only = options.non_finite != NonFinite::propagate;
  const Index channels = reader.channels();
  if (Channels != Eigen::Dynamic && channels != Channels) {
    fail_tensor(FileContext{"load_state", tensors.name()}, prefix + "running_mean",
                "number of channels is fixed by the type", text(Channels), text(channels));
  }
  State<T, Channels> state(channels);
  reader.read("weight", options.scale, state.gamma);
  reader.read("bias", options.shift, state.beta);
  reader.read("running_mean", true, state.running_mean);
  reader.read("running_var", true, state.running_variance);
  reader.check_statistics("running_mean", false, finite_only, state.running_mean);
  reader.check_statistics("running_var", true, finite_only, state.running_variance);
  state.batches_seen = reader.batches_seen();
  state.samples_seen = reader.samples_seen();
  check_state("load_state", state, options.non_finite);
  return state;
}

}  // namespace detail

/// Puts the state of a layer into a collection, under PyTorch's names after the prefix. Vectors are
/// stored in the scalar of the state (F32, F64, ...), other scalars than those of files as F64.
/// @param prefix  what the layer is called, with its dot: "1." or "encoder.bn3."
/// @throws std::invalid_argument when the vectors differ in size; std::domain_error when a number
///         is outside the range of double.
template <class T, int Channels>
void save_state(Tensors& tensors, const std::string& prefix, const State<T, Channels>& state) {
  detail::save_layer(tensors, prefix, state, nullptr);
}

/// The same with the options of the layer, so that load_options gives back epsilon and update rule.
template <class T, int Channels>
void save_state(Tensors& tensors, const std::string& prefix, const State<T, Channels>& state,
                const Options& options) {
  detail::save_layer(tensors, prefix, state, &options);
}

/// Takes the state of a layer out of a collection, converting it to the scalar asked for.
///
/// Which tensors a layer has follows from its options: weight with scale, bias with shift. A tensor
/// that is missing, or that should not be there, is an error: nothing is filled in silently. The
/// counters alone may be missing, and are 0 then.
/// @throws std::runtime_error naming file and tensor when a tensor is missing, unexpected or of
///         another shape or kind; std::domain_error when a variance is negative, a statistic is not
///         finite (unless options.non_finite is propagate) or a number does not fit.
template <class T, int Channels = Eigen::Dynamic>
State<T, Channels> load_state(const Tensors& tensors, const std::string& prefix,
                              const Options& options) {
  return detail::load_layer<T, Channels>(tensors, prefix, options);
}

/// The same with the options in the file, or those of PyTorch (all tensors present) without them.
template <class T, int Channels = Eigen::Dynamic>
State<T, Channels> load_state(const Tensors& tensors, const std::string& prefix) {
  const Options options = has_options(tensors, prefix) ? load_options(tensors, prefix) : Options();
  return detail::load_layer<T, Channels>(tensors, prefix, options);
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_SAFETENSORS_STATE_HPP
