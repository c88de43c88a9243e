// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_EXAMINE_HPP
#define BATCHNORM_IO_EXAMINE_HPP

#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/io/batch_norms.hpp"
#include "batchnorm/io/counter.hpp"
#include "batchnorm/io/dtype.hpp"
#include "batchnorm/io/layer_numbers.hpp"
#include "batchnorm/io/layer_tensors.hpp"
#include "batchnorm/io/load_report.hpp"
#include "batchnorm/io/naming.hpp"
#include "batchnorm/io/neighbours.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/io/safetensors_options.hpp"
#include "batchnorm/io/stored_form.hpp"
#include "batchnorm/io/suspicion.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/io/traps.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/version.hpp"

// Looks at a layer before it is loaded, and finds everything that is wrong with it, not only the
// first thing. Nothing is raised here. Longer than most: one list of checks, in their order.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// What is known about a layer beside its tensors. Nothing is known about what has no value.
struct Expectations {
  const Options* options = nullptr;        ///< nothing is known about epsilon without them
  bool options_decide = false;             ///< whether they are those that the layer was saved with
  std::optional<bool> scale;               ///< whether there is a gamma
  std::optional<bool> shift;               ///< whether there is a beta
  std::optional<bool> statistics;          ///< whether there are running statistics
  bool is_named = false;                   ///< whether the system is known, and no guess
  bool is_inplace_abn = false;             ///< whether gamma is |weight| + epsilon
  StoredForm form;                         ///< how its numbers are stored
  const char* dtype = nullptr;             ///< that of the scalar asked for; none for wider scalars
  const char* statistics_dtype = nullptr;  ///< that the state keeps statistics in; likewise
  bool dtype_matters = true;               ///< whether a conversion is worth an entry

  /// The options that the layer was saved with, or that it is to be loaded with, whole.
  void decide(const Options& all) {
    options = &all;
    options_decide = true;
    scale = all.scale;
    shift = all.shift;
  }
};

class LayerExamination {
 public:
  LayerExamination(const Tensors& tensors, const FoundBatchNorm& layer,
                   const Expectations& expectations, LoadReport& report)
      : tensors_(tensors), layer_(layer), expected_(expectations), report_(report) {}

  /// @return the numbers of a State; in part those of the file when there are errors.
  LayerNumbers run() {
    check_which_are_there();
    LayerNumbers numbers;
    for (const Role role : vector_roles) {
      if (layer_.has(role) && check_vector(role)) {
        numbers.of(role) = stored_values<double>(tensors_, layer_, role);
      }
    }
    read_others(numbers);
    if (layer_.has_statistics()) numbers.batches_seen = check_counter();
    for (const Role role : vector_roles) check_finite(role, numbers.of(role));
    report_neighbours(tensors_, layer_, missing_vectors(), expected_.is_named, report_);
    report_traps(tensors_, layer_, !missing_vectors().empty(), report_);
    if (report_.errors() > 0) return numbers;
    FormConversion(tensors_, layer_, expected_.form, numbers, report_).run();
    if (report_.errors() == 0) {
      find_suspicions(report_, layer_, numbers, expected_.options, expected_.is_inplace_abn);
    }
    return numbers;
  }

 private:
  static const char* what(Role role) {
    constexpr const char* words[roles] = {"gamma",
                                          "beta",
                                          "running mean",
                                          "running variance",
                                          "counter",
                                          "epsilon",
                                          "weight of a minibatch",
                                          "factor of mean and variance",
                                          "bias in front of the norm"};
    return words[static_cast<std::size_t>(role)];
  }

  /// What some systems have besides: a factor, the bias of the layer in front.
  void read_others(LayerNumbers& numbers) {
    if (layer_.has(Role::factor) && check_number(Role::factor)) {
      numbers.factor = tensors_.value<double>(layer_.key(Role::factor));
    }
    for (const Role role : {Role::epsilon, Role::new_weight}) {
      if (layer_.has(role)) check_number(role);
    }
    const std::string& bias = layer_.key(Role::input_bias);
    if (bias.empty() || !check_vector(Role::input_bias)) return;
    numbers.input_bias = tensors_.values<double>(bias);
    for (const double number : numbers.input_bias) {
      if (is_finite(number)) continue;
      refuse(report_, Finding::suspicious, bias, what(Role::input_bias), "finite numbers",
             "NaN or infinity");
      return;
    }
  }

  bool check_number(Role role) {
    const std::string& key = layer_.key(role);
    const Tensor& tensor = tensors_.tensor(key);
    if (vector_size(tensor.shape) != 1 || !is_real_dtype(tensor.dtype)) {
      refuse(report_, Finding::wrong_number, key, what(role), "one floating number",
             text(tensor.dtype, " ", shape_text(tensor.shape)));
      return false;
    }
    const double number = tensors_.value<double>(key);
    if (!is_finite(number) || number < 0.0) {
      refuse(report_, Finding::wrong_number, key, what(role), "a finite number, 0 or more",
             text(number));
      return false;
    }
    note(report_, Finding::used, key, text(what(role), ", ", number));
    return true;
  }

  std::string expected_key(Role role) const {
    return layer_.prefix.of(role) + layer_.naming.name(role);
  }

  void check_which_are_there() {
    if (layer_.naming.is_list()) check_list();
    check_affine(Role::gamma, expected_.scale);
    check_affine(Role::beta, expected_.shift);
    const bool is_bare = !layer_.has(Role::gamma) && !layer_.has(Role::beta);
    if (is_bare && (!expected_.scale || !expected_.shift)) {
      refuse(report_, Finding::missing, "", "scale and shift of the layer",
             text(in_quotes(expected_key(Role::gamma)), " or ", in_quotes(expected_key(Role::beta)),
                  ", or LoadOptions::without_scale_and_shift() where there are none"),
             "statistics alone");
    }
    check_statistics();
  }

  /// Numbers do not say which array is missing, nor what a fifth one is.
  void check_list() {
    const bool is_parted =
        layer_.naming.has_scale_layer() || !layer_.naming.names(Role::epsilon).empty();
    const bool more = !is_parted && tensors_.contains(layer_.prefix.parameters + "4");
    if (layer_.has(Role::mean) != layer_.has(Role::variance) || more) {
      refuse(report_, Finding::missing, "", "arrays of a batch norm layer",
             "4, or 2 without gamma and beta", "another number; nobody can tell which is missing");
      return;
    }
    const bool is_one = layer_.has(Role::gamma) != layer_.has(Role::beta);
    if (!layer_.naming.list_shrinks() || !is_one || expected_.scale || expected_.shift) return;
    refuse(report_, Finding::missing, layer_.key(Role::gamma), "first of three arrays",
           "the word of the caller for what it is: LoadOptions::without_scale() for beta, or "
           "without_shift() for gamma",
           "none");
  }

  void check_statistics() {
    const bool mean = layer_.has(Role::mean);
    const bool variance = layer_.has(Role::variance);
    if (expected_.statistics == false) {
      for (const Role role : {Role::mean, Role::variance}) {
        if (layer_.has(role)) refuse_present(role);
      }
    } else if (!mean && !variance && expected_.statistics != true) {
      note(report_, Finding::missing, "",
           "no running statistics: batch norm that does not keep them, or another normalisation; "
           "mean and variance are NaN and freezing is refused");
    } else if (!layer_.naming.is_list()) {
      if (!mean) require(Role::mean);
      if (!variance) require(Role::variance);
    }
  }

  void check_affine(Role role, std::optional<bool> wanted) {
    if (wanted == true && !layer_.has(role)) require(role);
    if (wanted == false && layer_.has(role)) refuse_present(role);
    if (wanted != true && !layer_.has(role)) {
      note(report_, Finding::missing, expected_key(role),
           text(what(role), role == Role::gamma ? " is 1: a layer without scale"
                                                : " is 0: a layer without shift"));
    }
  }

  void require(Role role) {
    refuse(report_, Finding::missing, expected_key(role), "tensors of a batch norm layer",
           "this one", "none");
  }

  void refuse_present(Role role) {
    refuse(report_, Finding::unexpected, layer_.key(role), "options of the layer", "no such tensor",
           "one");
  }

  /// What has not been found although nobody said that it is not there, in words.
  std::string missing_vectors() const {
    const bool gamma = !layer_.has(Role::gamma) && !expected_.scale;
    const bool beta = !layer_.has(Role::beta) && !expected_.shift;
    const bool statistics = !layer_.has_statistics() && !expected_.statistics;
    std::string words = gamma && beta ? "gamma and beta" : gamma ? "gamma" : beta ? "beta" : "";
    if (!statistics) return words;
    return words + (words.empty() ? "" : ", ") + "running mean and variance";
  }

  bool check_vector(Role role) {
    const std::string& key = layer_.key(role);
    const Tensor& tensor = tensors_.tensor(key);
    const Index size = channels_of(tensors_, layer_, role);
    if (size < 1 || size != layer_.channels) {
      refuse(report_, Finding::wrong_shape, key, "shape",
             layer_.channels < 1 ? "[channels], one or more" : shape_text({layer_.channels}),
             shape_text(tensor.shape));
      return false;
    }
    if (!is_real_dtype(tensor.dtype)) {
      refuse(report_, Finding::wrong_number, key, "dtype", "F64, F32, F16 or BF16", tensor.dtype);
      return false;
    }
    note(report_, Finding::used, key,
         text(what(role), ", ", tensor.dtype, " ", shape_text(tensor.shape)));
    if (expected_.dtype_matters) note_conversion(role, tensor.dtype);
    if (tensor.shape.size() != 1 && !(layer_.naming.has_moments() && is_statistic(role))) {
      note(report_, Finding::converted, key,
           text(shape_text(tensor.shape), " -> ", shape_text({size})));
    }
    return true;
  }

  static bool is_statistic(Role role) { return role == Role::mean || role == Role::variance; }

  /// Statistics in the scalar asked for are what most files have, whatever the state keeps them in.
  void note_conversion(Role role, const std::string& dtype) {
    const char* const to = is_statistic(role) ? expected_.statistics_dtype : expected_.dtype;
    const auto is = [&](const char* name) { return name != nullptr && dtype == name; };
    if (is(to) || (is_statistic(role) && is(expected_.dtype))) return;
    note(report_, Finding::converted, layer_.key(role),
         text(dtype, " -> ", to == nullptr ? "a wider type" : to));
  }

  /// Files of PyTorch before 0.4.1, of converters and of most other systems have no counter; this
  /// library keeps it in the metadata then.
  Index check_counter() {
    const std::string& key = layer_.key(Role::counter);
    if (!key.empty()) return examine_counter(tensors_, key, report_);
    if (!has_in_metadata(tensors_, layer_.prefix.parameters, "batches_seen")) {
      const bool has_name = !layer_.naming.names(Role::counter).empty();
      note(report_, Finding::missing, has_name ? expected_key(Role::counter) : "",
           "the number of minibatches seen is unknown");
    }
    return -1;
  }

  /// Deep Learning 4J keeps log10 of the deviation, which is negative for most layers.
  static std::string negative_words(const std::vector<double>& numbers) {
    std::size_t negative = 0;
    bool is_small = true;
    for (const double number : numbers) {
      negative += is_negative(number) ? 1 : 0;
      is_small = is_small && std::fabs(number) <= 4.0;
    }
    const bool may_be_log = is_small && 2 * negative >= numbers.size() && numbers.size() > 2;
    return may_be_log ? "a negative number, as if logarithms were stored" : "a negative number";
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
      const std::string got = negative ? negative_words(numbers) : "NaN or infinity";
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

  const Tensors& tensors_;
  const FoundBatchNorm& layer_;
  const Expectations& expected_;
  LoadReport& report_;
};

}  // namespace detail

/// Everything there is to say about a layer of a checkpoint, errors included, without loading it:
/// load_state raises what is an error here. Without an epsilon, of the file or given, nothing is
/// said about what it does to the layer. Cost: reads the elements of this layer and of no other.
/// @param tensors, layer  the checkpoint, and one of what find_batch_norms finds in it
/// @param options  of a layer that was saved without any. One whose scale and shift are both off
///                 says that there are no gamma and beta, which is an error otherwise.
/// @throws std::runtime_error when the metadata of that layer is not what this library writes.
inline LoadReport examine_batch_norm(const Tensors& tensors, const FoundBatchNorm& layer,
                                     std::optional<Options> options = std::nullopt) {
  LoadReport report{layer.prefix.parameters, tensors.name(), {}};
  detail::Expectations expectations;
  expectations.dtype_matters = false;
  expectations.form = detail::usual_form(layer.naming);
  if (has_options(tensors, layer.prefix.parameters)) {
    expectations.is_named = true;
    expectations.form.is_variance_unsaid = expectations.form.is_gamma_fixed = false;
    options = load_options(tensors, layer.prefix.parameters);
    expectations.decide(*options);
  } else if (options) {
    expectations.options = &*options;
    if (!options->scale && !options->shift) expectations.scale = expectations.shift = false;
  }
  // Such a system has added epsilon to the variance, and none may be added again.
  const bool has_epsilon_inside =
      layer.naming.stored_variance() == StoredVariance::variance_with_epsilon;
  if (options && !has_epsilon_inside) expectations.form.epsilon = options->epsilon;
  detail::LayerExamination(tensors, layer, expectations, report).run();
  return report;
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_EXAMINE_HPP
