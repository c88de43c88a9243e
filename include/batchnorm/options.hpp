// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_OPTIONS_HPP
#define BATCHNORM_OPTIONS_HPP

#include <type_traits>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/version.hpp"

// Conventions, the ones that frameworks disagree about:
//   - a minibatch is normalised with its population (biased) variance, always;
//   - epsilon stands inside the root: xhat = (x - mean) / sqrt(variance + epsilon);
//   - the variance itself is stored, never its inverse or its root;
//   - which variance enters the running average is an option (VarianceEstimator);
//   - the words momentum and decay mean the weight of the new batch in half of the frameworks and
//     that of the old average in the other half, so neither exists here (RunningUpdate).

// Longer than most: every convention is defined in one place.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// How the running statistics R follow the statistics s_k of the k-th minibatch (k = 1, 2, ...):
///
///     R += f_k (s_k - R)
///
/// The rule chooses f_k. Made by the named functions below only; a bare number does not convert. A
/// plain value. Cost: constant. Thread safety: immutable. Source: the source code of the systems
/// named below; examples/README.md measures the rules.
class RunningUpdate {
 public:
  /// How f_k is chosen.
  enum class Rule {
    exponential,           ///< f_k = a
    exponential_debiased,  ///< f_k = (1 - d) / (1 - d^k): Adam's correction, exact from batch one
    cumulative,            ///< f_k = 1 / k: the plain average over minibatches
    windowed,              ///< f_k = max(1 / k, 1 / (W + 1)): an average that never stops adapting
    population             ///< f_k = n_k / (n_1 + ... + n_k), the variance pooled over all values
  };

  /// f_k = new_weight, the weight of the new minibatch: what PyTorch, MLX and MATLAB mean.
  /// @throws std::invalid_argument unless 0 <= new_weight <= 1.
  static RunningUpdate take_new(double new_weight) {
    check_weight("RunningUpdate::take_new", new_weight);
    return RunningUpdate(Rule::exponential, new_weight, 0);
  }

  /// f_k = 1 - old_weight, given the weight of the old average: what Keras, Flax and ONNX mean.
  /// @throws std::invalid_argument unless 0 <= old_weight <= 1.
  static RunningUpdate keep_old(double old_weight) {
    check_weight("RunningUpdate::keep_old", old_weight);
    return RunningUpdate(Rule::exponential, 1.0 - old_weight, 0);
  }

  /// As keep_old, divided by 1 - old_weight^k so that the start does not count: what Haiku does
  /// (Kingma and Ba 2015, section 3). With old_weight 1 it is the limit, the cumulative average.
  /// @throws std::invalid_argument unless 0 <= old_weight <= 1.
  static RunningUpdate keep_old_debiased(double old_weight) {
    check_weight("RunningUpdate::keep_old_debiased", old_weight);
    return RunningUpdate(Rule::exponential_debiased, 1.0 - old_weight, 0);
  }

  /// f_k = 1 / k, however large each minibatch is: PyTorch with momentum=None.
  static RunningUpdate cumulative() { return RunningUpdate(Rule::cumulative, 0.0, 0); }

  /// f_k = max(1 / k, 1 / (window + 1)): dlib's rule, with its window of 100.
  /// @throws std::invalid_argument unless window >= 1.
  static RunningUpdate windowed(Index window) {
    if (window < 1) {
      detail::fail_argument("RunningUpdate::windowed", "the window counts minibatches",
                            "at least 1", detail::text(window));
    }
    return RunningUpdate(Rule::windowed, 0.0, window);
  }

  /// The exact mean and variance of all values seen so far, the spread between minibatches
  /// included and minibatches weighted by their size (Chan, Golub and LeVeque 1979, eq. 2.1).
  static RunningUpdate population() { return RunningUpdate(Rule::population, 0.0, 0); }

  /// Refuses a bare number when compiled, because nobody can tell which weight it is.
  template <class Number, std::enable_if_t<std::is_arithmetic<Number>::value, int> = 0>
  RunningUpdate(Number) {
    static_assert(sizeof(Number) == 0,
                  "batchnorm: a bare number does not say which weight it is; write "
                  "RunningUpdate::take_new(0.1) or RunningUpdate::keep_old(0.9)");
  }

  /// Which of them it is.
  Rule rule() const { return rule_; }
  /// Weight of the new minibatch of the two exponential rules (1 - d for the debiased one).
  double new_weight() const { return new_weight_; }
  /// W of the windowed rule, counted in minibatches.
  Index window() const { return window_; }

  /// Whether both are the same.
  friend bool operator==(const RunningUpdate& a, const RunningUpdate& b) {
    return a.rule_ == b.rule_ && !(a.new_weight_ < b.new_weight_) &&
           !(b.new_weight_ < a.new_weight_) && a.window_ == b.window_;
  }
  /// Whether they differ.
  friend bool operator!=(const RunningUpdate& a, const RunningUpdate& b) { return !(a == b); }

 private:
  RunningUpdate(Rule rule, double new_weight, Index window)
      : rule_(rule), new_weight_(new_weight), window_(window) {}

  static void check_weight(const char* function, double weight) {
    if (!detail::is_finite(weight) || weight < 0.0 || weight > 1.0) {
      detail::fail_argument(function, "an update weight is a share", "a number in [0, 1]",
                            detail::text(weight));
    }
  }

  Rule rule_;
  double new_weight_;
  Index window_;
};

/// What is applied behind the normalisation, in the same pass over memory:
///
///     y = f(gamma xhat + beta + residual)
///
/// It belongs to the layer, so that backward cannot disagree with forward. Made by the named
/// functions below only. Thread safety: immutable. Source: Maas and others 2013, for leaky ReLU.
class Epilogue {
 public:
  /// f(z) = z. The default.
  static Epilogue none() { return Epilogue(1.0); }

  /// f(z) = max(z, 0). Its derivative at 0 is taken as 0.
  static Epilogue relu() { return Epilogue(0.0); }

  /// f(z) = z for z >= 0, slope z below. Its derivative at 0 is taken as slope.
  /// @throws std::invalid_argument unless slope is finite and zero or larger. A layer whose
  ///         parameters have too small a type for it refuses it when it is made.
  static Epilogue leaky_relu(double slope) {
    if (!detail::is_finite(slope) || slope < 0.0) {
      detail::fail_argument("Epilogue::leaky_relu", "the slope below zero",
                            "a finite number, zero or larger", detail::text(slope));
    }
    return Epilogue(slope);
  }

  /// The slope below zero: 1 without an epilogue, 0 for ReLU.
  double slope() const { return slope_; }
  /// Whether f changes nothing.
  bool is_identity() const { return !(slope_ < 1.0) && !(slope_ > 1.0); }

  /// Whether both are the same.
  friend bool operator==(const Epilogue& a, const Epilogue& b) {
    return !(a.slope_ < b.slope_) && !(b.slope_ < a.slope_);
  }
  /// Whether they differ.
  friend bool operator!=(const Epilogue& a, const Epilogue& b) { return !(a == b); }

 private:
  explicit Epilogue(double slope) : slope_(slope) {}

  double slope_;
};

/// Which variance of a minibatch of n values enters the running variance.
enum class VarianceEstimator {
  population,  ///< sum of squared deviations / n: Keras, Flax, Haiku, ONNX
  sample       ///< sum of squared deviations / (n - 1): PyTorch, dlib, the paper
};

/// What happens to a minibatch whose statistics are NaN or infinite, be it that an element is or
/// that a variance overflows the type of the parameters, in which other systems keep it.
enum class NonFinite {
  reject,       ///< throw; nothing is changed
  skip_update,  ///< write the output as the arithmetic gives it, leave the running statistics
  propagate     ///< let NaN into output and running statistics, as the frameworks do
};

/// What happens when a minibatch has one value per channel: it has no variance to normalise with.
enum class SingleValue {
  reject,                  ///< throw
  use_running_statistics,  ///< normalise it with the running statistics, which stay as they are
  update_only  ///< the minibatch only moves the running statistics on, and is normalised with what
               ///< they have become, constants in backward. For RunningUpdate::population() alone,
               ///< which is exact then, as the spread between minibatches is part of it: any other
               ///< rule averages variances, and one value has none
};

/// Everything that defines a layer and is not learned. A plain value: copy a preset, change fields.
///
///     y = f(gamma (x - mean) / sqrt(variance + epsilon) + beta)
///
/// Thread safety: a plain value. Source: Ioffe and Szegedy 2015 (arXiv:1502.03167), algorithms 1
/// and 2; the presets follow the source code of the systems they are named after.
struct Options {
  /// Added to the variance inside the root. Zero is allowed; a channel without any variance is
  /// then an error. Files that frameworks save do not carry it, and it differs between them.
  double epsilon = 1e-5;
  /// The rule of the running statistics.
  RunningUpdate running = RunningUpdate::take_new(0.1);
  /// The variance that the rule averages.
  VarianceEstimator running_variance = VarianceEstimator::sample;
  /// Whether gamma is used and learned; otherwise it is taken as 1 and its gradient is 0.
  bool scale = true;
  /// Whether beta is used and learned; otherwise it is taken as 0 and its gradient is 0.
  bool shift = true;
  /// f: nothing, ReLU or leaky ReLU.
  Epilogue epilogue = Epilogue::none();
  /// The policy for NaN and infinity.
  NonFinite non_finite = NonFinite::reject;
  /// The policy for one value per channel.
  SingleValue single_value = SingleValue::reject;

  /// PyTorch, and MLX: epsilon 1e-5, weight of the new minibatch 0.1, sample variance. The default.
  static Options pytorch() { return Options{}; }

  /// Keras 3: epsilon 1e-3, weight of the old average 0.99, population variance.
  static Options keras() {
    return make(1e-3, RunningUpdate::keep_old(0.99), VarianceEstimator::population);
  }

  /// Flax (linen and nnx): epsilon 1e-5, weight of the old average 0.99, population variance.
  static Options flax() {
    return make(1e-5, RunningUpdate::keep_old(0.99), VarianceEstimator::population);
  }

  /// Haiku: epsilon 1e-5, debiased average, population variance.
  /// @param decay  Haiku's decay_rate, the weight of the old average; Haiku has no default for it.
  /// @throws std::invalid_argument unless 0 <= decay <= 1.
  static Options haiku(double decay) {
    return make(1e-5, RunningUpdate::keep_old_debiased(decay), VarianceEstimator::population);
  }

  /// ONNX BatchNormalization, opset 14 and later: epsilon 1e-5, weight of the old average 0.9,
  /// population variance.
  static Options onnx() {
    return make(1e-5, RunningUpdate::keep_old(0.9), VarianceEstimator::population);
  }

  /// dlib's bn_: epsilon 1e-4, window of 100 minibatches, sample variance.
  static Options dlib() {
    return make(1e-4, RunningUpdate::windowed(100), VarianceEstimator::sample);
  }

  /// Darknet, as AlexeyAB's and its GPU code have it: epsilon 1e-5 inside the root, weight of the
  /// old average 0.99, sample variance. The CPU code of pjreddie's adds 1e-6 outside of the root
  /// instead: (x - mean) / (sqrt(v) + 1e-6), which LoadOptions::epsilon_outside_root makes a layer
  /// of.
  static Options darknet() {
    return make(1e-5, RunningUpdate::keep_old(0.99), VarianceEstimator::sample);
  }

  /// MATLAB's batchNormalizationLayer: epsilon 1e-5, weight of the new minibatch 0.1. Its
  /// documentation gives one variance for the minibatch and the average: the population variance.
  static Options matlab() {
    return make(1e-5, RunningUpdate::take_new(0.1), VarianceEstimator::population);
  }

  /// The paper's algorithm 2: plain averages over minibatches of the mean and of m/(m-1) times the
  /// variance. The paper leaves epsilon open; 1e-5 is what most systems chose.
  static Options paper() {
    return make(1e-5, RunningUpdate::cumulative(), VarianceEstimator::sample);
  }

 private:
  static Options make(double epsilon, RunningUpdate running, VarianceEstimator variance) {
    Options options;
    options.epsilon = epsilon;
    options.running = running;
    options.running_variance = variance;
    return options;
  }
};

namespace detail {

template <class Number>
using if_bare_number = std::enable_if_t<std::is_arithmetic<Number>::value, int>;

/// Ends the constructors that are given a number where Options belong.
template <class Number>
void refuse_bare_number() {
  static_assert(sizeof(Number) == 0,
                "batchnorm: a bare number is not read as epsilon; write Options options; "
                "options.epsilon = 1e-5; and hand over the options");
}

}  // namespace detail

/// Checks what the types of Options cannot: epsilon, and rules that do not go together.
/// @throws std::invalid_argument when epsilon is negative or not finite, or when
///         SingleValue::update_only stands beside another rule than RunningUpdate::population().
inline void validate(const Options& options) {
  if (!detail::is_finite(options.epsilon) || options.epsilon < 0.0) {
    detail::fail_argument("Options", "epsilon is added to a variance",
                          "a finite number, zero or larger", detail::text(options.epsilon));
  }
  if (options.single_value == SingleValue::update_only &&
      options.running.rule() != RunningUpdate::Rule::population) {
    detail::fail_argument("Options",
                          "SingleValue::update_only pools values, which have no variance",
                          "Options::running = RunningUpdate::population()", "another rule");
  }
}

namespace detail {

/// Refuses an epilogue with a slope that a layer for data of T cannot compute with.
template <class T>
void check_slope(const char* function, const Epilogue& epilogue) {
  if (is_finite_as<parameter_t<T>>(epilogue.slope())) return;
  fail_argument(function, "the slope below zero must fit the type of gamma and beta",
                "a number in its range", text(epilogue.slope()));
}

/// All that a layer for data of T asks of its options.
template <class T>
void validate_for(const Options& options) {
  validate(options);
  check_slope<T>("Options", options.epilogue);
}

}  // namespace detail

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_OPTIONS_HPP
