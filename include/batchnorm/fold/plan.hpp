// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_FOLD_PLAN_HPP
#define BATCHNORM_FOLD_PLAN_HPP

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/rounding.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/fold/certificate.hpp"
#include "batchnorm/fold/geometry.hpp"
#include "batchnorm/fold/inference_map.hpp"
#include "batchnorm/fold/weights.hpp"
#include "batchnorm/version.hpp"

// All folds are one formula. Between a norm in front (mean m_i, scale s_i, shift t_i of input
// channel i) and one behind (M_o, S_o, T_o of output channel o) stands a layer:
//
//     y[o] = (b[o] + sum_ik w[o,i,k] ((x[i,k] - m_i) s_i + t_i) - M_o) S_o + T_o
//
// and that is the layer  y[o] = b'[o] + sum_ik w'[o,i,k] x[i,k]  with
//
//     w'[o,i,k] = w[o,i,k] s_i S_o
//     b'[o]     = (b[o] + sum_k r[o,k] - M_o) S_o + T_o
//     r[o,k]    = sum_i w[o,i,k] c_i                       c_i = t_i - m_i s_i
//
// where the norm that is not there is the identity, which changes no bit. At the border of zero
// padding the sum over r runs over the taps that see the input: what the others see is zero, and
// not x = 0 normalised.
//
// The bound. u = 2^-53 is the relative error of one operation in double, e, E the roundings in the
// scales, g, G those in the shifts (InferenceMap), N the number of weights of a channel. To first
// order, the exact value of the formula differs from what is computed
//     of a weight by at most  (e + E + 2) u |w s S|, or the smallest double where that underflows,
//     of c_i by               (e + g + 2) u C_i                     C_i = |m_i s_i| + |t_i|
//     of sum_k r + b by       (e + g + 4 + N) u H + u |b|           H   = sum_ik |w| C_i
//     of b' by that times |S|, and (E + G + 3) u B                  B   = (|b| + H + |M|) |S| + |T|
// and storing it adds |stored - computed|, which double holds exactly. With d for these sums over a
// channel, the output changes by at most X sum d_w + d_b for |x| <= X. Divided by
// X sum |w'| + B that is at most the larger of sum d_w / sum |w'| and d_b / B, whatever X is; and
// for X <= L the larger of d_b / B and of its value at L, since it is monotonic in X.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// A folded bias for every output channel (row) and place of the output.
template <class B>
using BiasMap = Eigen::Matrix<B, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// The biases as they will be stored, the largest |stored - computed| of every output channel, and
/// how many are subnormal before any is flushed.
template <class B>
struct FoldedBias {
  BiasMap<B> map;
  Eigen::VectorXd error;
  Index subnormal = 0;
};

/// Not zero, but below the smallest normal number of its type.
template <class T>
bool is_subnormal(const T& value) {
  const double magnitude = std::fabs(static_cast<double>(value));
  return magnitude > 0.0 && magnitude < static_cast<double>((std::numeric_limits<T>::min)());
}

/// How a number in double is stored as T: rounded once, and flushed to zero where that is asked.
template <class T>
T stored(double value, bool flush) {
  const T rounded = round_once<T>(value);
  return flush && is_subnormal(rounded) ? T(0) : rounded;
}

/// error / terms; without terms there is nothing to be wrong about.
inline double relative(double error, double terms) {
  return error > 0.0 ? error / terms : 0.0;
}

/// The folded layer, computed but not written: what can fail fails here, and changes nothing.
/// Holds, per output channel, a few numbers and one for each tap. Computes number by number:
/// expressions of Eigen that do not depend on T are compiled wherever this is included.
/// @tparam T  scalar of the weights
template <class T>
class FoldPlan {
 public:
  /// @param bias  of the layer, one per output channel; zeros where it has none
  /// @throws std::domain_error when a weight or bias is not finite, or a folded one overflows
  FoldPlan(const char* function, const WeightView<T>& weights, const Eigen::VectorXd& bias,
           const InferenceMap& before, const InferenceMap& after, const FoldOptions& options)
      : function_(function),
        weights_(weights),
        bias_(bias),
        before_(before),
        after_(after),
        flush_(options.flush_subnormal),
        largest_input_(options.largest_input) {
    tap_shift_.setZero(weights.out_channels() * weights.taps());
    for (Eigen::VectorXd* sums : {&weight_terms_, &weight_error_, &shift_terms_}) {
      sums->setZero(weights.out_channels());
    }
    sum_weights();
    sum_biases();
  }

  const WeightView<T>& weights() const { return weights_; }
  const Eigen::VectorXd& bias() const { return bias_; }
  const InferenceMap& before() const { return before_; }
  const InferenceMap& after() const { return after_; }

  /// w' as it will be stored.
  T folded(const T& weight, Index out, Index in) const {
    return stored<T>(exact(weight, out, in), flush_);
  }

  /// b' as it will be stored, for every place of the output.
  template <class B>
  FoldedBias<B> folded_bias(const TapReach& reach) const {
    FoldedBias<B> bias{BiasMap<B>(weights_.out_channels(), reach.positions()),
                       Eigen::VectorXd::Zero(weights_.out_channels())};
    for (Index position = 0; position < reach.positions(); ++position) {
      const std::vector<Index> seen = reach.taps_at(position);
      for (Index out = 0; out < weights_.out_channels(); ++out) {
        const double value = exact_bias(out, seen);
        bias.map(out, position) = stored<B>(value, flush_);
        const double kept = static_cast<double>(bias.map(out, position));
        check_fits<B>("folded bias of output channel ", out, value, kept);
        bias.subnormal += is_subnormal(round_once<B>(value)) ? 1 : 0;
        bias.error[out] = (std::max)(bias.error[out], std::fabs(kept - value));
      }
    }
    return bias;
  }

  /// X sum |w s| + B: the unit of a certificate is 2^(1 - digits) of it.
  double terms(Index out, double largest_input) const {
    return largest_input * weight_terms_[out] + bias_terms_[out];
  }

  /// Writes what is known of the folded numbers into a certificate.
  template <class B>
  void certify(const FoldedBias<B>& bias, FoldCertificate& certificate) const {
    certificate.subnormal_weights = subnormal_;
    certificate.subnormal_biases = bias.subnormal;
    certificate.vanished_weights = vanished_;
    // What is divided and summed here is rounded as well.
    const double slack =
        1.0 + (static_cast<double>(weights_.terms()) + 16.0) * distance_after_one<double>();
    certificate.largest_input = largest_input_;
    for (Index out = 0; out < weights_.out_channels(); ++out) {
      const double bias_error = bias.error[out] + computing_error(out);
      const double at_zero = relative(bias_error, bias_terms_[out]);
      const double at_largest =
          relative(largest_input_ * weight_error_[out] + bias_error, terms(out, largest_input_));
      const double anywhere = relative(weight_error_[out], weight_terms_[out]);
      const auto raise = [&](double& bound, double error) {
        bound = (std::max)(bound, slack * error / distance_after_one<T>());
      };
      raise(certificate.bound_ulps, (std::max)(at_zero, anywhere));
      raise(certificate.bound_within_ulps, (std::max)(at_zero, at_largest));
    }
  }

 private:
  static constexpr double u = distance_after_one<double>() / 2;

  double exact(const T& weight, Index out, Index in) const {
    return static_cast<double>(weight) * before_.scale()[in] * after_.scale()[out];
  }

  double exact_bias(Index out, const std::vector<Index>& seen) const {
    double sum = 0.0;
    for (const Index tap : seen) sum += tap_shift_[out * weights_.taps() + tap];
    return (bias_[out] + sum - after_.mean()[out]) * after_.scale()[out] + after_.shift()[out];
  }

  void sum_weights() {
    const Index inputs = before_.channels();
    Eigen::VectorXd shift(inputs), terms(inputs);
    for (Index in = 0; in < inputs; ++in) {
      const double scaled_mean = before_.mean()[in] * before_.scale()[in];
      shift[in] = before_.shift()[in] - scaled_mean;
      terms[in] = before_.shift_terms()[in] + std::fabs(scaled_mean);
    }
    weights_.each([&](const T& weight, Index out, Index in, Index tap) {
      const double value = static_cast<double>(weight);
      check_finite("weight of output channel ", out, value);
      add_weight(weight, out, in);
      tap_shift_[out * weights_.taps() + tap] += value * shift[in];
      shift_terms_[out] += std::fabs(value) * terms[in];
    });
  }

  void add_weight(const T& weight, Index out, Index in) {
    const double value = exact(weight, out, in);
    const T rounded = round_once<T>(value);
    check_fits<T>("folded weight of output channel ", out, value, static_cast<double>(rounded));
    const double kept = static_cast<double>(folded(weight, out, in));
    const int roundings = before_.scale_roundings() + after_.scale_roundings() + 2;
    const bool zero = !(std::fabs(static_cast<double>(weight)) > 0.0) ||
                      !(std::fabs(before_.scale()[in]) > 0.0) ||
                      !(std::fabs(after_.scale()[out]) > 0.0);
    if (zero) return;
    weight_terms_[out] += std::fabs(value);
    weight_error_[out] += std::fabs(kept - value) + roundings * u * std::fabs(value) +
                          std::numeric_limits<double>::denorm_min();
    subnormal_ += is_subnormal(rounded) ? 1 : 0;
    vanished_ += std::fabs(static_cast<double>(rounded)) > 0.0 ? 0 : 1;
  }

  void sum_biases() {
    bias_terms_.resize(weights_.out_channels());
    for (Index out = 0; out < weights_.out_channels(); ++out) {
      const double sum = std::fabs(bias_[out]) + shift_terms_[out] + std::fabs(after_.mean()[out]);
      bias_terms_[out] = sum * std::fabs(after_.scale()[out]) + after_.shift_terms()[out];
      check_finite("bias of output channel ", out, bias_[out]);
      check_finite("sum of the terms of output channel ", out,
                   bias_terms_[out] + weight_terms_[out]);
    }
  }

  /// The error of b' in double.
  double computing_error(Index out) const {
    const double terms = static_cast<double>(weights_.terms());
    const double inner =
        (before_.scale_roundings() + before_.shift_roundings() + 4 + terms) * shift_terms_[out] +
        std::fabs(bias_[out]);
    const double outer =
        (after_.scale_roundings() + after_.shift_roundings() + 3) * bias_terms_[out];
    return u * (inner * std::fabs(after_.scale()[out]) + outer);
  }

  void check_finite(const char* rule, Index channel, double value) const {
    if (is_finite(value)) return;
    fail_domain(function_, text(rule, channel), "a finite number", "NaN, infinity or overflow");
  }

  /// Overflow is refused and not reported: the folded layer would give infinities.
  template <class S>
  void check_fits(const char* rule, Index channel, double value, double kept) const {
    if (is_finite(kept)) return;
    fail_domain(function_, text(rule, channel),
                text("a magnitude of at most ",
                     static_cast<double>((std::numeric_limits<S>::max)()), " in its type"),
                text(value));
  }

  const char* function_;
  const WeightView<T>& weights_;
  const Eigen::VectorXd& bias_;
  const InferenceMap& before_;
  const InferenceMap& after_;
  bool flush_;
  double largest_input_;
  Eigen::VectorXd tap_shift_;  ///< of every tap of every output channel
  Eigen::VectorXd weight_terms_, weight_error_, shift_terms_, bias_terms_;
  Index subnormal_ = 0;
  Index vanished_ = 0;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_FOLD_PLAN_HPP
