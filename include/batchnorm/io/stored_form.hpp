// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_STORED_FORM_HPP
#define BATCHNORM_IO_STORED_FORM_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/io/batch_norms.hpp"
#include "batchnorm/io/layer_numbers.hpp"
#include "batchnorm/io/load_report.hpp"
#include "batchnorm/io/naming.hpp"
#include "batchnorm/io/systems.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/version.hpp"

// From the numbers in a file to gamma, beta, mean and variance, for systems that store something
// else in their places. With v the variance and e the epsilon of the layer:
//
//     stored          v
//     v + e           stored - e
//     sqrt(v)         stored^2
//     sqrt(v + e)     stored^2 - e
//     1 / sqrt(v + e) stored^-2 - e
//
// A layer computes (x - mean) / sqrt(v + e), so that whatever e is given, the outputs are those of
// the numbers in the file.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// How the numbers of a layer are stored, as the system, the file and the caller say.
struct StoredForm {
  StoredVariance variance = StoredVariance::variance;
  bool is_variance_unsaid = false;  ///< nobody has said it, and versions of the system differ
  double epsilon = 0.0;             ///< e of the table above
  bool is_epsilon_outside_root = false;
  bool adds_one_to_gamma = false;
  bool is_gamma_fixed = false;
};

/// The form in which a system stores layers.
inline StoredForm usual_form(const Naming& naming) {
  StoredForm form;
  form.variance = naming.stored_variance();
  form.is_variance_unsaid = naming.needs_stored_variance();
  form.is_gamma_fixed = naming.has_fixed_gamma();
  return form;
}

/// v of the table above.
inline double variance_from(StoredVariance form, double stored, double epsilon) {
  switch (form) {
    case StoredVariance::variance:
      break;
    case StoredVariance::variance_with_epsilon:
      return stored - epsilon;
    case StoredVariance::deviation:
      return stored * stored;
    case StoredVariance::deviation_with_epsilon:
      return stored * stored - epsilon;
    case StoredVariance::inverse_deviation:
      return 1.0 / (stored * stored) - epsilon;
  }
  return stored;
}

/// The way back.
inline double stored_from(StoredVariance form, double variance, double epsilon) {
  switch (form) {
    case StoredVariance::variance:
      break;
    case StoredVariance::variance_with_epsilon:
      return variance + epsilon;
    case StoredVariance::deviation:
      return std::sqrt(variance);
    case StoredVariance::deviation_with_epsilon:
      return std::sqrt(variance + epsilon);
    case StoredVariance::inverse_deviation:
      return 1.0 / std::sqrt(variance + epsilon);
  }
  return variance;
}

inline const char* words_for(StoredVariance form) {
  switch (form) {
    case StoredVariance::variance:
      break;
    case StoredVariance::variance_with_epsilon:
      return "variance + epsilon";
    case StoredVariance::deviation:
      return "standard deviation";
    case StoredVariance::deviation_with_epsilon:
      return "sqrt(variance + epsilon)";
    case StoredVariance::inverse_deviation:
      return "1 / sqrt(variance + epsilon)";
  }
  return "variance";
}

/// Turns the numbers of a file into those of a State, and reports what was done. Numbers are finite
/// and of one size; a negative variance that results is an error.
class FormConversion {
 public:
  FormConversion(const Tensors& tensors, const FoundBatchNorm& layer, const StoredForm& form,
                 LayerNumbers& numbers, LoadReport& report)
      : tensors_(tensors), layer_(layer), form_(form), numbers_(numbers), report_(report) {}

  void run() {
    if (layer_.has(Role::variance)) {
      divide_by_factor();
      convert_variance();
      replace_zero_deviation();
      if (report_.errors() > 0) return;
      if (layer_.naming.has_scaled_beta()) convert_beta();
      move_epsilon_inside();
    }
    if (layer_.has(Role::input_bias)) subtract_bias();
    if (layer_.has(Role::gamma)) convert_gamma();
  }

 private:
  std::vector<double>& change(Role role) {
    numbers_.is_converted[static_cast<std::size_t>(role)] = true;
    return numbers_.of(role);
  }

  void tell(Role role, std::string what) {
    note(report_, Finding::converted, layer_.key(role), std::move(what));
  }

  /// Caffe: sums of all minibatches, decayed, and the decayed number of them.
  void divide_by_factor() {
    if (!layer_.has(Role::factor) || report_.errors() > 0) return;
    const double factor = numbers_.factor;
    if (!(factor > 0.0)) {
      refuse(report_, Finding::wrong_number, layer_.key(Role::factor),
             "factor of mean and variance", "a number above 0",
             is_exactly(factor, 0.0) ? "0: never trained" : std::string(text(factor)));
      return;
    }
    for (const Role role : {Role::mean, Role::variance}) {
      if (is_exactly(factor, 1.0)) continue;
      for (double& number : change(role)) number /= factor;
      tell(role, text("divided by the factor ", factor));
    }
  }

  void convert_variance() {
    if (form_.is_variance_unsaid) {
      refuse(report_, Finding::suspicious, layer_.key(Role::variance),
             "variance of " + layer_.naming.system(),
             "the word of the caller for what is stored, because versions differ: "
             "LoadOptions::storing(StoredVariance::variance) or "
             "storing(StoredVariance::deviation_with_epsilon)",
             "none");
    }
    if (form_.variance == StoredVariance::variance || report_.errors() > 0) return;
    // What rounding the stored number to its type may have moved the difference by.
    const double rounding = 4.0 * unit_of(tensors_.dtype(layer_.key(Role::variance)));
    std::vector<double>& variance = change(Role::variance);
    for (std::size_t channel = 0; channel < variance.size(); ++channel) {
      double converted = variance_from(form_.variance, variance[channel], form_.epsilon);
      if (converted < 0.0 && converted >= -rounding * form_.epsilon) converted = 0.0;
      if (!(converted >= 0.0) || !is_finite(converted)) {
        refuse(report_, Finding::suspicious, layer_.key(Role::variance), text("channel ", channel),
               text(words_for(form_.variance), " with epsilon ", form_.epsilon),
               text(variance[channel], ", which leaves the variance ", converted));
        return;
      }
      variance[channel] = converted;
    }
    tell(Role::variance,
         text("variance from ", words_for(form_.variance), ", epsilon ", form_.epsilon));
  }

  static double unit_of(const std::string& dtype) {
    if (dtype == "F64") return 0x1p-52;
    if (dtype == "F32") return 0x1p-23;
    return dtype == "F16" ? 0x1p-10 : 0x1p-7;
  }

  /// ncnn replaces a deviation of 0 by 1e-4.
  void replace_zero_deviation() {
    if (!layer_.naming.replaces_zero_deviation() || form_.epsilon > 0.0) return;
    std::size_t count = 0;
    for (double& number : numbers_.of(Role::variance)) {
      if (!is_exactly(number, 0.0)) continue;
      number = 1e-8;
      ++count;
    }
    if (count == 0) return;
    change(Role::variance);
    tell(Role::variance, text("variance 0 counts as 1e-8, as ", layer_.naming.system(),
                              " has it: ", count, " channels"));
  }

  void convert_beta() {
    if (!layer_.has(Role::beta)) return;
    const std::vector<double>& variance = numbers_.of(Role::variance);
    std::vector<double>& beta = change(Role::beta);
    std::transform(beta.begin(), beta.end(), variance.begin(), beta.begin(),
                   [&](double shift, double v) { return shift / std::sqrt(v + form_.epsilon); });
    tell(Role::beta, "beta from a bias in front of the norm: divided by sqrt(variance + epsilon)");
  }

  void move_epsilon_inside() {
    if (!form_.is_epsilon_outside_root) return;
    for (double& number : change(Role::variance)) {
      const double deviation = std::sqrt(number) + form_.epsilon;
      number = deviation * deviation;
    }
    tell(Role::variance, text("(sqrt(variance) + ", form_.epsilon, ")^2, with epsilon 0"));
  }

  void subtract_bias() {
    std::vector<double>& mean = change(Role::mean);
    std::transform(mean.begin(), mean.end(), numbers_.input_bias.begin(), mean.begin(),
                   std::minus<double>());
    tell(Role::mean,
         "the bias in front of the norm is taken off: " + in_quotes(layer_.key(Role::input_bias)));
  }

  void convert_gamma() {
    if (form_.adds_one_to_gamma) {
      for (double& number : change(Role::gamma)) number += 1.0;
      tell(Role::gamma, "gamma is 1 more than stored");
    }
    if (!form_.is_gamma_fixed) return;
    bool differs = false;
    for (const double number : numbers_.of(Role::gamma)) differs |= !is_exactly(number, 1.0);
    if (!differs) return;
    for (double& number : change(Role::gamma)) number = 1.0;
    note(report_, Finding::suspicious, layer_.key(Role::gamma),
         "gamma counts as 1, as " + layer_.naming.system() +
             " has it by default, and others are stored: LoadOptions::without_fixed_gamma() where "
             "fix_gamma was off");
  }

  const Tensors& tensors_;
  const FoundBatchNorm& layer_;
  const StoredForm& form_;
  LayerNumbers& numbers_;
  LoadReport& report_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_STORED_FORM_HPP
