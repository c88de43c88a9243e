// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_EXAMINE_HPP
#define BATCHNORM_IO_EXAMINE_HPP

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/io/batch_norms.hpp"
#include "batchnorm/io/dtype.hpp"
#include "batchnorm/io/load_report.hpp"
#include "batchnorm/io/naming.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/io/safetensors_options.hpp"
#include "batchnorm/io/suspicion.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/version.hpp"

// Looks at a layer before it is loaded, and finds everything that is wrong with it, not only the
// first thing. Nothing is raised here.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// What the caller knows about a layer.
struct Expectations {
  const Options* options = nullptr;  ///< nothing is known about epsilon without them
  bool options_decide = false;       ///< whether they say which of gamma and beta there must be
  bool statistics_required = true;   ///< whether a layer without running statistics is an error
  bool is_inplace_abn = false;       ///< whether gamma is |weight| + epsilon
  const char* dtype = nullptr;       ///< that of the scalar asked for; none for wider scalars
  const char* statistics_dtype = nullptr;  ///< that the state keeps statistics in; likewise
  bool dtype_matters = true;               ///< whether a conversion is worth an entry
};

class LayerExamination {
 public:
  LayerExamination(const Tensors& tensors, const FoundBatchNorm& layer,
                   const Expectations& expectations, LoadReport& report)
      : tensors_(tensors), layer_(layer), expected_(expectations), report_(report) {}

  void run() {
    check_which_are_there();
    LayerNumbers numbers;
    for (const Role role : vector_roles) {
      if (layer_.has(role) && check_vector(role)) {
        numbers.of(role) = tensors_.values<double>(layer_.key(role));
      }
    }
    if (layer_.has_statistics()) numbers.batches_seen = check_counter();
    for (const Role role : vector_roles) check_finite(role, numbers.of(role));
    list_unexpected();
    if (report_.errors() == 0) {
      find_suspicions(report_, layer_, numbers, expected_.options, expected_.is_inplace_abn);
    }
  }

 private:
  static const char* what(Role role) {
    constexpr const char* words[] = {"gamma", "beta", "running mean", "running variance",
                                     "minibatches seen"};
    return words[static_cast<std::size_t>(role)];
  }

  std::string expected_key(Role role) const {
    return layer_.prefix.of(role) + layer_.naming.name(role);
  }

  void check_which_are_there() {
    const bool decide = expected_.options_decide;
    check_affine(Role::gamma,
                 decide ? std::optional<bool>(expected_.options->scale) : std::nullopt);
    check_affine(Role::beta, decide ? std::optional<bool>(expected_.options->shift) : std::nullopt);
    const bool mean = layer_.has(Role::mean);
    const bool variance = layer_.has(Role::variance);
    if (layer_.naming.is_list() && mean != variance) {
      refuse(report_, Finding::missing, "", "arrays of a batch norm layer",
             "4, or 2 without gamma and beta", "another number; nobody can tell which is missing");
    } else if (!mean && !variance && !expected_.statistics_required) {
      note(report_, Finding::missing, "",
           "no running statistics: batch norm that does not keep them, or another normalisation; "
           "mean and variance are NaN and freezing is refused");
    } else {
      if (!mean) require(Role::mean);
      if (!variance) require(Role::variance);
    }
  }

  void check_affine(Role role, std::optional<bool> wanted) {
    if (wanted == true && !layer_.has(role)) require(role);
    if (wanted == false && layer_.has(role)) {
      refuse(report_, Finding::unexpected, layer_.key(role), "options of the layer",
             "no such tensor", "one");
    }
    if (!wanted && !layer_.has(role)) {
      note(report_, Finding::missing, expected_key(role),
           text(what(role), role == Role::gamma ? " is 1: a layer without scale"
                                                : " is 0: a layer without shift"));
    }
  }

  void require(Role role) {
    refuse(report_, Finding::missing, expected_key(role), "tensors of a batch norm layer",
           "this one", "none");
  }

  bool check_vector(Role role) {
    const std::string& key = layer_.key(role);
    const Tensor& tensor = tensors_.tensor(key);
    const bool is_size = role == Role::mean || layer_.channels < 1;
    if (tensor.shape.size() != 1 || tensor.shape[0] < 1 || tensor.shape[0] != layer_.channels) {
      refuse(report_, Finding::wrong_shape, key, "shape",
             is_size ? "[channels], one or more" : shape_text({layer_.channels}),
             shape_text(tensor.shape));
      return false;
    }
    if (!is_number_dtype(tensor.dtype)) {
      refuse(report_, Finding::wrong_number, key, "dtype",
             "one that converts to the scalar asked for", tensor.dtype);
      return false;
    }
    note(report_, Finding::used, key,
         text(what(role), ", ", tensor.dtype, " ", shape_text(tensor.shape)));
    if (expected_.dtype_matters) note_conversion(role, tensor.dtype);
    return true;
  }

  /// Statistics in the scalar asked for are what most files have, whatever the state keeps them in.
  void note_conversion(Role role, const std::string& dtype) {
    const bool is_statistic = role == Role::mean || role == Role::variance;
    const char* const to = is_statistic ? expected_.statistics_dtype : expected_.dtype;
    const auto is = [&](const char* name) { return name != nullptr && dtype == name; };
    if (is(to) || (is_statistic && is(expected_.dtype))) return;
    note(report_, Finding::converted, layer_.key(role),
         text(dtype, " -> ", to == nullptr ? "a wider type" : to));
  }

  static bool is_number_dtype(const std::string& dtype) {
    std::vector<double> none;
    std::size_t done = 0;
    return decode(dtype, nullptr, none, done);
  }

  /// Files of PyTorch before 0.4.1, of converters and of other systems have no counter: then 0, or
  /// what this library keeps in the metadata.
  Index check_counter() {
    const std::string& key = layer_.key(Role::counter);
    if (key.empty()) {
      if (!layer_.naming.names(Role::counter).empty()) {
        note(report_, Finding::missing, expected_key(Role::counter), "minibatches seen are 0");
      }
      return -1;
    }
    const Tensor& tensor = tensors_.tensor(key);
    std::vector<std::int64_t> number;
    std::size_t done = 0;
    std::uint64_t count = 0;
    count_elements(tensor.shape, count);
    if (!decode(tensor.dtype, nullptr, number, done)) {
      refuse(report_, Finding::wrong_number, key, "dtype",
             "one that converts to the scalar asked for", tensor.dtype);
    } else if (count != 1) {
      refuse(report_, Finding::wrong_shape, key, "number of elements", "1", text(count));
    } else if (const std::int64_t seen = tensors_.value<std::int64_t>(key); seen < 0) {
      refuse(report_, Finding::wrong_number, key, "number of minibatches", "0 or more", text(seen));
    } else {
      note(report_, Finding::used, key, text(what(Role::counter), ", ", seen));
      return static_cast<Index>(seen);
    }
    return -1;
  }

  /// NaN and infinity are errors unless the layer was meant to let them through; a negative
  /// variance always is one.
  void check_finite(Role role, const std::vector<double>& numbers) {
    const bool pass =
        expected_.options != nullptr && expected_.options->non_finite == NonFinite::propagate;
    const bool is_variance = role == Role::variance;
    const bool is_affine = role == Role::gamma || role == Role::beta;
    for (std::size_t channel = 0; channel < numbers.size(); ++channel) {
      const bool negative = is_variance && is_negative(numbers[channel]);
      if (!negative && is_finite(numbers[channel])) continue;
      const std::string got = negative ? "a negative number" : "NaN or infinity";
      // Layers that were given their options keep a gamma of NaN, as they always did.
      if (!negative && (pass || (is_affine && expected_.options_decide))) {
        note(report_, Finding::suspicious, layer_.key(role), text("channel ", channel, ": ", got));
      } else {
        refuse(report_, Finding::suspicious, layer_.key(role), text("channel ", channel),
               is_variance ? "a finite number, zero or larger" : "a finite number", got);
      }
      return;
    }
  }

  /// Tensors right under the prefix that nothing was made of. One that could be the gamma or beta
  /// that is not there, under a name of another system, is an error.
  void list_unexpected() {
    list_unexpected(layer_.prefix.parameters);
    if (layer_.prefix.is_pair()) list_unexpected(layer_.prefix.statistics);
  }

  void list_unexpected(const std::string& prefix) {
    for (const std::string& key : tensors_.keys(prefix)) {
      if (start_of_leaf(key) != prefix.size()) continue;
      bool used = false;
      for (const std::string& own : layer_.keys) used = used || own == key;
      if (used) continue;
      const Tensor& tensor = tensors_.tensor(key);
      const bool could_be_affine = !(layer_.has(Role::gamma) && layer_.has(Role::beta)) &&
                                   !expected_.options_decide && is_real_dtype(tensor.dtype) &&
                                   tensor.shape == std::vector<Index>{layer_.channels};
      if (could_be_affine) {
        refuse(report_, Finding::unexpected, key, "names of " + layer_.naming.system(),
               "gamma and beta under them, or no other tensor of one number per channel",
               "this one");
      } else {
        note(report_, Finding::unexpected, key,
             text("not read, ", tensor.dtype, " ", shape_text(tensor.shape)));
      }
    }
  }

  const Tensors& tensors_;
  const FoundBatchNorm& layer_;
  const Expectations& expected_;
  LoadReport& report_;
};

}  // namespace detail

/// Everything there is to say about a layer of a checkpoint, errors included, without loading it:
/// load_state raises what is an error here. Without an epsilon, of the file or given, nothing is
/// said about what it does to the layer. Reads the elements of this layer and of no other.
/// @throws std::runtime_error when the metadata of that layer is not what this library writes.
inline LoadReport examine_batch_norm(const Tensors& tensors, const FoundBatchNorm& layer,
                                     std::optional<Options> options = std::nullopt) {
  LoadReport report{layer.prefix.parameters, tensors.name(), {}};
  const bool saved = has_options(tensors, layer.prefix.parameters);
  if (saved) options = load_options(tensors, layer.prefix.parameters);
  detail::Expectations expectations;
  expectations.options = options ? &*options : nullptr;
  expectations.options_decide = saved;
  expectations.statistics_required = false;
  expectations.dtype_matters = false;
  detail::LayerExamination(tensors, layer, expectations, report).run();
  return report;
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_EXAMINE_HPP
