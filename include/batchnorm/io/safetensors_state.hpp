// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_SAFETENSORS_STATE_HPP
#define BATCHNORM_IO_SAFETENSORS_STATE_HPP

#include <Eigen/Core>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <type_traits>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/io/batch_norms.hpp"
#include "batchnorm/io/dtype.hpp"
#include "batchnorm/io/naming.hpp"
#include "batchnorm/io/read_layer.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/io/safetensors_options.hpp"
#include "batchnorm/io/save_form.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

// A batch norm layer under a prefix such as "1." has PyTorch's names, unless another Naming is
// asked for:
//   1.weight                gamma         left out when Options::scale is false
//   1.bias                  beta          left out when Options::shift is false
//   1.running_mean          running mean, F64 also of float layers unless F32 is asked for
//   1.running_var           running variance, the variance itself
//   1.num_batches_tracked   batches_seen, I64 of shape []
// What PyTorch has no tensor for stands in the metadata, where its readers do not look:
// samples_seen, batches_given, whether the statistics are stale, so that a stale layer stays one
// when it is loaded, and, when they were given, the options (safetensors_options.hpp).
// Other systems have no tensor for batches_seen either.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// The type that running statistics are written in.
enum class StoredStatistics {
  exact,         ///< that of the state, double for a float layer: nothing is lost
  as_parameters  ///< that of gamma and beta, for readers that want all of a layer in one
};

namespace detail {

/// One vector of a state, as numbers of type To. Scalars without a dtype of their own become F64.
/// Rounded once.
template <class To, class Vector>
void save_channels(Tensors& tensors, const std::string& key, const Vector& channels) {
  using From = typename Vector::Scalar;
  if constexpr (dtype_name<To>() == nullptr) {
    static_assert(std::is_constructible<double, const From&>::value,
                  "batchnorm: only states whose scalar converts to double can be saved");
    save_channels<double>(tensors, key, channels);
  } else {
    std::vector<To> rounded;
    for (Index channel = 0; channel < channels.size(); ++channel) {
      if (is_finite(channels[channel]) && !is_finite_as<To>(channels[channel])) {
        fail_domain("save_state", text(in_quotes(key), " of channel ", channel),
                    text("a number in the range of ", sizeof(To) == 4 ? "float" : "double"),
                    "one outside of it");
      }
      rounded.push_back(convert<To>(channels[channel]));
    }
    tensors.set(key, {channels.size()}, rounded);
  }
}

/// The running statistics of a state.
template <class T, int Channels, class Vector>
void save_statistics(Tensors& tensors, const std::string& key, const Vector& channels,
                     StoredStatistics stored) {
  if (stored == StoredStatistics::exact) {
    save_channels<typename State<T, Channels>::Statistic>(tensors, key, channels);
  } else {
    save_channels<typename State<T, Channels>::Scalar>(tensors, key, channels);
  }
}

/// Whether a layer with these options has such a tensor in its file.
inline bool is_stored(const Options* options, Role role) {
  if (options == nullptr) return true;
  return (role != Role::gamma || options->scale) && (role != Role::beta || options->shift);
}

/// The name of a vector, by its number in a list that lacks what the layer does not have.
inline std::string vector_key(const LayerPrefix& prefix, const Naming& naming,
                              const Options* options, Role role) {
  const bool is_parted = naming.has_scale_layer() || naming.saves_epsilon();
  if (!naming.is_list() || is_parted) return key_of(prefix, naming, role);
  int number = static_cast<int>(role);
  for (const Role before : {Role::gamma, Role::beta}) {
    if (before < role && !is_stored(options, before)) --number;
  }
  return prefix.of(role) + std::to_string(number);
}

/// The counters: in the tensor that a system has for minibatches, everything else in the metadata.
/// What is unknown is left out, and so is what most states do not have to say.
template <class T, int Channels>
void save_history(Tensors& layer, nlohmann::json& object, const State<T, Channels>& state,
                  const std::string& key) {
  constexpr Index unknown = State<T, Channels>::unknown;
  if (state.staleness != Staleness::fresh) {
    object["staleness"] = name_of(staleness_names, state.staleness);
  }
  if (state.batches_given == unknown) {
    object["batches_given"] = nullptr;
  } else if (state.batches_given != 0) {
    object["batches_given"] = state.batches_given;
  }
  if (state.samples_seen != unknown) object["samples_seen"] = state.samples_seen;
  if (state.batches_seen == unknown) return;
  if (key.empty()) {
    object["batches_seen"] = state.batches_seen;
  } else {
    layer.set_value(key, static_cast<std::int64_t>(state.batches_seen));
  }
}

/// Refuses statistics that load_state refuses in whatever scalar: one that is too large for the
/// layer's own may be meant for a wider one.
template <class T, int Channels>
void check_loadable(const State<T, Channels>& state, const Options* options) {
  const bool propagate = options != nullptr && options->non_finite == NonFinite::propagate;
  for (Index channel = 0; channel < state.channels(); ++channel) {
    const auto& variance = state.running_variance[channel];
    if (!propagate && !(is_finite(variance) && is_finite(state.running_mean[channel]))) {
      fail_domain("save_state", text("running statistics of channel ", channel), "finite numbers",
                  "NaN or infinity");
    }
    check_variance("save_state", variance, channel);
  }
}

/// What only this library writes: the names, where PyTorch's are not meant, and where they are.
inline void save_naming(nlohmann::json& object, const LayerPrefix& prefix, const Naming& naming) {
  if (naming == Naming::pytorch()) return;
  object["names"] = naming.system();
  if (prefix.is_pair()) object["statistics"] = prefix.statistics;
}

/// Puts a layer into a collection when all of it can be stored, else leaves the collection as it
/// is.
template <class T, int Channels>
void save_layer(Tensors& tensors, const LayerPrefix& prefix, const State<T, Channels>& state,
                const Options* options, const Naming& naming, StoredStatistics stored) {
  using Scalar = typename State<T, Channels>::Scalar;
  check_state_shape("save_state", state);
  if (options != nullptr) validate(*options);
  check_can_be_named(prefix, naming, options, state.channels());
  Tensors layer;
  const auto key = [&](Role role) { return vector_key(prefix, naming, options, role); };
  if (is_stored(options, Role::gamma)) save_channels<Scalar>(layer, key(Role::gamma), state.gamma);
  if (is_stored(options, Role::beta)) save_channels<Scalar>(layer, key(Role::beta), state.beta);
  save_statistics<T, Channels>(layer, key(Role::mean), state.running_mean, stored);
  check_loadable(state, options);
  if (naming.is_exact()) {
    save_statistics<T, Channels>(layer, key(Role::variance), state.running_variance, stored);
  } else {
    save_in_form(layer, prefix, naming, *options, state);
  }
  if (options != nullptr) save_others(layer, prefix, naming, *options);
  nlohmann::json object = options == nullptr ? nlohmann::json::object() : options_to_json(*options);
  save_naming(object, prefix, naming);
  const std::string counter =
      naming.name(Role::counter).empty() ? "" : key_of(prefix, naming, Role::counter);
  save_history(layer, object, state, counter);
  for (const Role role : vector_roles) tensors.erase(key_of(prefix, naming, role));
  if (!counter.empty()) tensors.erase(counter);
  for (const std::string& name : layer.keys()) tensors.set(name, layer.tensor(name));
  tensors.metadata()[metadata_key(prefix.parameters)] = object.dump();
}

}  // namespace detail

/// Puts the state of a layer into a collection, under PyTorch's names after the prefix. Vectors are
/// stored in the types of the state: gamma and beta of a float layer as F32, its running statistics
/// as F64, so that loading gives back every bit. PyTorch and load_state read either type into
/// either. Scalars that files do not have become F64. Without options the file does not carry
/// epsilon, which has to be known when the layer is loaded. Shapes: tensors of one number per
/// channel. Cost: a copy of the numbers.
/// @param tensors  the collection
/// @param prefix  what the layer is called, with its dot: "1." or "encoder.bn3."
/// @param stored  StoredStatistics::as_parameters for statistics in the type of gamma and beta
/// @throws std::invalid_argument when the vectors differ in size or a counter is wrong;
///         std::domain_error when a number is outside the range of the type it is stored in, and
///         for what load_state would refuse: a negative variance, or a statistic that is not finite
///         (unless options are saved whose non_finite is propagate). Nothing is changed then.
template <class T, int Channels>
void save_state(Tensors& tensors, const std::string& prefix, const State<T, Channels>& state,
                StoredStatistics stored = StoredStatistics::exact) {
  detail::save_layer(tensors, prefix, state, nullptr, Naming::pytorch(), stored);
}

/// The same with the options of the layer, so that load_options gives back epsilon and update rule.
template <class T, int Channels>
void save_state(Tensors& tensors, const std::string& prefix, const State<T, Channels>& state,
                const Options& options, StoredStatistics stored = StoredStatistics::exact) {
  detail::save_layer(tensors, prefix, state, &options, Naming::pytorch(), stored);
}

/// The same under the names of another system, its naming. Where that has no counter, batches_seen
/// is kept in the metadata. Systems that store another form than the variance get that; see
/// stored_form.hpp.
/// @param prefix  for Flax's two trees a pair, such as {"params/bn1/", "batch_stats/bn1/"}
/// @throws std::invalid_argument also when the system has no place for something of the layer: its
///         shift, its scale, two channels; std::domain_error when its form loses the variance
template <class T, int Channels>
void save_state(Tensors& tensors, const LayerPrefix& prefix, const State<T, Channels>& state,
                const Options& options, const Naming& naming,
                StoredStatistics stored = StoredStatistics::exact) {
  detail::save_layer(tensors, prefix, state, &options, naming, stored);
}

/// A layer alone, under the names of a system and in the form that it stores; naming, prefix and
/// stored are those of save_state.
///
///     write_safetensors("bn.safetensors", save_as(Naming::paddle(), "bn.", state, options));
///
/// Shapes: as there. Cost: as there.
/// @throws what that throws
template <class T, int Channels>
Tensors save_as(const Naming& naming, const LayerPrefix& prefix, const State<T, Channels>& state,
                const Options& options, StoredStatistics stored = StoredStatistics::exact) {
  Tensors tensors;
  save_state(tensors, prefix, state, options, naming, stored);
  return tensors;
}

/// Takes the state of a layer with PyTorch's names behind a prefix out of a collection, converting
/// it to the scalar asked for.
///
/// Which tensors a layer has follows from its options: weight with scale, bias with shift. A tensor
/// that is missing, or that should not be there, is an error: nothing is filled in silently. The
/// counters alone may be missing, and are unknown then. Cost: reads the elements of the layer. See
/// load_state.hpp for layers of other systems, for layers about which less is known, and for a
/// report.
/// @throws std::runtime_error naming file and tensor when a tensor is missing, unexpected or of
///         another shape or kind; std::domain_error when a variance is negative, a statistic is not
///         finite (unless options.non_finite is propagate) or a number does not fit.
template <class T, int Channels = Eigen::Dynamic>
State<T, Channels> load_state(const Tensors& tensors, const std::string& prefix,
                              const Options& options) {
  return detail::load_exactly<T, Channels>(tensors, prefix, options);
}

/// The same with the options in the file.
/// @throws std::runtime_error also when there are none: epsilon has no default.
template <class T, int Channels = Eigen::Dynamic>
State<T, Channels> load_state(const Tensors& tensors, const std::string& prefix) {
  const std::string key = prefix + "running_mean";
  if (!tensors.contains(key)) detail::fail_no_layer(tensors, key);
  if (!detail::has_in_metadata(tensors, prefix, "epsilon")) {
    detail::fail_no_epsilon(tensors, prefix);
  }
  return detail::load_exactly<T, Channels>(tensors, prefix,
                                           detail::load_options_for("load_state", tensors, prefix));
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_SAFETENSORS_STATE_HPP
