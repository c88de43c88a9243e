// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_LAYER_OPTIONS_HPP
#define BATCHNORM_IO_LAYER_OPTIONS_HPP

#include <cmath>
#include <optional>
#include <string>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/io/batch_norms.hpp"
#include "batchnorm/io/dtype.hpp"
#include "batchnorm/io/examine.hpp"
#include "batchnorm/io/layer_numbers.hpp"
#include "batchnorm/io/layer_tensors.hpp"
#include "batchnorm/io/load_options.hpp"
#include "batchnorm/io/load_report.hpp"
#include "batchnorm/io/naming.hpp"
#include "batchnorm/io/read_layer.hpp"
#include "batchnorm/io/safetensors_options.hpp"
#include "batchnorm/io/stored_form.hpp"
#include "batchnorm/io/systems.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/version.hpp"

// What a layer is, beside its tensors: from the file, from the caller, or as its system has it.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Whether an epsilon is the one that layers of a system usually have.
inline bool is_usual(double epsilon, const Naming& naming) {
  const double usual = naming.options().epsilon;
  return std::fabs(epsilon - usual) <= 1e-6 * usual;
}

/// Files keep epsilon in double, and systems often in float: 1e-5 is the same as float(1e-5).
inline void check_given_epsilon(double given, double saved, LoadReport& report) {
  const auto in_float = [](double number) {
    return static_cast<double>(static_cast<float>(number));
  };
  if (is_exactly(given, saved)) return;
  if (is_exactly(in_float(given), saved) || is_exactly(given, in_float(saved))) {
    note(report, Finding::converted, "",
         text("epsilon ", given, " as given and that of the file differ by rounding to float"));
    return;
  }
  refuse(report, Finding::options, "", "epsilon", text("that of the file, ", saved), text(given));
}

/// Options of a layer that this library has written, whole.
inline Options saved_options(const Tensors& tensors, const FoundBatchNorm& layer,
                             const LoadOptions& given, LoadReport& report) {
  const Options options = load_options_for("load_state", tensors, layer.prefix.parameters);
  note(report, Finding::options, "",
       text("epsilon ", options.epsilon, " and all else in the file"));
  if (given.epsilon()) check_given_epsilon(given.epsilon()->value, options.epsilon, report);
  const bool contradicts = (given.has_scale() == false && options.scale) ||
                           (given.has_shift() == false && options.shift);
  if (contradicts) {
    refuse(report, Finding::options, "", "scale and shift", "those of the options in the file",
           "the word of the caller that there are none");
  }
  const bool is_of_others = given.is_inplace_abn() || given.adds_one_to_gamma() ||
                            given.is_epsilon_outside_root() || given.has_free_gamma();
  if (is_of_others) {
    refuse(report, Finding::options, "",
           given.is_inplace_abn() ? "weights of inplace_abn" : "numbers in another form",
           given.is_inplace_abn() ? "a file of that package" : "a file of another program",
           "one that this library has written, in which gamma is gamma");
  }
  return options;
}

/// A number that lies in the file as a tensor of its own; none when it is not there, or no number,
/// which the examination says.
inline std::optional<double> number_in_file(const Tensors& tensors, const FoundBatchNorm& layer,
                                            Role role) {
  if (!layer.has(role)) return std::nullopt;
  const Tensor& tensor = tensors.tensor(layer.key(role));
  if (vector_size(tensor.shape) != 1 || !is_real_dtype(tensor.dtype)) return std::nullopt;
  const double number = tensors.value<double>(layer.key(role));
  return is_finite(number) && number >= 0.0 ? std::optional<double>(number) : std::nullopt;
}

/// The epsilon of a file of others: as given, or as it lies in the file.
inline double resolve_epsilon(const Tensors& tensors, const FoundBatchNorm& layer,
                              const LoadOptions& given, LoadReport& report) {
  const std::optional<double> stored = number_in_file(tensors, layer, Role::epsilon);
  if (!given.epsilon() && !stored) {
    if (!layer.has(Role::epsilon)) fail_no_epsilon(tensors, layer.prefix.parameters, layer.naming);
    return 0.0;
  }
  double epsilon = stored ? *stored : given.epsilon()->value;
  if (stored && given.epsilon()) check_given_epsilon(given.epsilon()->value, *stored, report);
  const std::string usual = text(layer.naming.options().epsilon);
  std::string words = text("epsilon ", epsilon, stored ? " in the file" : " as given");
  if (!stored && layer.naming.stored_variance() == StoredVariance::variance &&
      !is_usual(epsilon, layer.naming)) {
    words += text(" (", layer.naming.system(), " usually has ", usual, ")");
  }
  note(report, Finding::options, "",
       text(words, ", update rule of ",
            given.running() ? "the caller" : layer.naming.system() + ", assumed"));
  if (layer.naming.replaces_zero_epsilon() && is_exactly(epsilon, 0.0)) {
    epsilon = 1e-5;
    note(report, Finding::converted, "",
         text("epsilon 0 counts as 1e-5, as ", layer.naming.system(), " has it"));
  }
  return epsilon;
}

/// The options of a layer: those of the file, or those of its naming with the epsilon given. What
/// is wrong with them goes into the report.
inline Options resolve_options(const Tensors& tensors, const FoundBatchNorm& layer,
                               const LoadOptions& given, LoadReport& report) {
  if (has_in_metadata(tensors, layer.prefix.parameters, "epsilon")) {
    return saved_options(tensors, layer, given, report);
  }
  Options options = layer.naming.options();
  options.epsilon = resolve_epsilon(tensors, layer, given, report);
  options.scale = layer.has(Role::gamma);
  options.shift = layer.has(Role::beta);
  const std::optional<double> weight = number_in_file(tensors, layer, Role::new_weight);
  if (weight && *weight <= 1.0) options.running = RunningUpdate::take_new(*weight);
  if (given.running()) options.running = *given.running();
  if (given.running_variance()) options.running_variance = *given.running_variance();
  return options;
}

/// How the numbers of a layer are stored. A system that has added epsilon to the variance must not
/// get another one.
inline StoredForm resolve_form(const Tensors& tensors, const FoundBatchNorm& layer,
                               const LoadOptions& given, const Options& options,
                               LoadReport& report) {
  StoredForm form = usual_form(layer.naming);
  form.epsilon = options.epsilon;
  if (has_in_metadata(tensors, layer.prefix.parameters, "epsilon")) {
    form.is_variance_unsaid = form.is_gamma_fixed = false;
    return form;
  }
  if (given.stored_variance()) {
    form.variance = *given.stored_variance();
    form.is_variance_unsaid = false;
  } else if (form.variance == StoredVariance::variance_with_epsilon && options.epsilon > 0.0) {
    refuse(report, Finding::options, "", "epsilon of " + layer.naming.system(),
           "Epsilon(0), because its converters have added it to the variance, or "
           "LoadOptions::storing for what is stored",
           text(options.epsilon));
  }
  form.is_epsilon_outside_root = given.is_epsilon_outside_root();
  form.adds_one_to_gamma = given.adds_one_to_gamma();
  form.is_gamma_fixed = form.is_gamma_fixed && !given.has_free_gamma();
  return form;
}

/// What is known about a layer that was found, from its file and from the caller.
inline Expectations expectations_of(const Tensors& tensors, const FoundBatchNorm& layer,
                                    const LoadOptions& given, const Options& resolved) {
  Expectations expectations;
  expectations.scale = given.has_scale();
  expectations.shift = given.has_shift();
  expectations.statistics = given.has_statistics();
  expectations.is_inplace_abn = given.is_inplace_abn();
  expectations.options = &resolved;
  if (has_in_metadata(tensors, layer.prefix.parameters, "epsilon")) expectations.decide(resolved);
  return expectations;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_LAYER_OPTIONS_HPP
