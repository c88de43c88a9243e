// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_FOLD_LAYER_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_FOLD_LAYER_HPP

#include <algorithm>
#include <batchnorm/fold/fold.hpp>
#include <batchnorm/io/checkpoint.hpp>
#include <cmath>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/fold_arguments.hpp"
#include "support/planned_fold.hpp"
#include "support/random.hpp"
#include "support/weight_layer.hpp"

namespace example {

using batchnorm::FoldCertificate;
using batchnorm::InferenceMap;

/// The epsilon of a batch norm: of the command line for it, for all, or of the file.
inline batchnorm::LoadOptions load_options_for(const Tensors& tensors, const FoundBatchNorm& norm,
                                               const FoldArguments& arguments) {
  const auto own = arguments.epsilon_of.find(name_of(norm));
  if (own != arguments.epsilon_of.end()) return batchnorm::Epsilon(own->second);
  // Where the file carries another one, load_state says so.
  if (arguments.epsilon) return batchnorm::Epsilon(*arguments.epsilon);
  if (batchnorm::has_options(tensors, norm.prefix.parameters) ||
      norm.has(batchnorm::Role::epsilon)) {
    return batchnorm::LoadOptions::saved();
  }
  throw UsageError("--epsilon is needed: the file does not carry that of " + name_of(norm));
}

/// What stands in front of a layer and behind it, as one map each, in double.
struct FoldMaps {
  InferenceMap front, behind;

  FoldMaps(const Tensors& tensors, const PlannedFold& fold, const FoldArguments& arguments)
      : front(load(tensors, fold.front, fold.layer.in, arguments)),
        behind(load(tensors, fold.behind, fold.layer.out, arguments)) {}

 private:
  static InferenceMap load(const Tensors& tensors, const std::vector<FoundBatchNorm>& norms,
                           Index channels, const FoldArguments& arguments) {
    InferenceMap all = InferenceMap::identity(channels);
    for (const FoundBatchNorm& norm : norms) {
      const auto loaded = batchnorm::load_state<double>(
          tensors, norm.prefix, load_options_for(tensors, norm, arguments).named(norm.naming));
      const InferenceMap one(loaded.state, loaded.options);
      all = &norm == &norms.front() ? one : all.then(one);
    }
    return all;
  }
};

/// The certificate of two folds into one layer, the second into what the first has left.
inline FoldCertificate both(const FoldCertificate& first, FoldCertificate second) {
  if (first.largest_gain > second.largest_gain) {
    second.largest_gain = first.largest_gain;
    second.largest_gain_channel = first.largest_gain_channel;
  }
  const auto append = [](std::vector<Index>& all, const std::vector<Index>& more) {
    all.insert(all.end(), more.begin(), more.end());
  };
  append(second.zero_gamma, first.zero_gamma);
  append(second.negative_gamma, first.negative_gamma);
  second.vanished_weights += first.vanished_weights;
  second.bound_ulps += first.bound_ulps;
  second.bound_within_ulps += first.bound_within_ulps;
  second.measured_ulps += first.measured_ulps;
  second.evaluation_ulps += first.evaluation_ulps;
  return second;
}

/// @tparam T  type of the weights
/// @tparam B  type of the bias
template <class T, class B>
FoldCertificate fold_as(const Tensors& from, Tensors& to, const PlannedFold& fold,
                        const FoldMaps& maps, const batchnorm::FoldOptions& options) {
  const WeightLayer& layer = fold.layer;
  const bool has_bias = from.contains(layer.bias);
  std::vector<T> weights = from.values<T>(layer.weight);
  std::vector<B> bias;
  if (has_bias) bias = from.values<B>(layer.bias);
  const auto view = layer.view(weights.data());
  if (!fold.behind.empty() && !maps.behind.options().epilogue.is_identity()) {
    throw std::runtime_error("its options have an epilogue, which would be lost with them");
  }
  std::optional<FoldCertificate> certificate;
  if (!fold.behind.empty()) certificate = batchnorm::fold_after(view, bias, maps.behind, options);
  if (!fold.front.empty()) {
    const FoldCertificate front = batchnorm::fold_before(view, bias, maps.front, options);
    certificate = certificate ? both(*certificate, front) : front;
  }
  to.set(layer.weight, from.shape(layer.weight), weights);
  to.set(layer.bias, has_bias ? from.shape(layer.bias) : std::vector<Index>{layer.out}, bias);
  return *certificate;
}

/// Calls body with a number of the type of a tensor.
template <class Body>
FoldCertificate with_type_of(const char* part, const std::string& dtype, const Body& body) {
  if (dtype == "F64") return body(double{});
  if (dtype == "F32") return body(float{});
  if (dtype == "F16") return body(Eigen::half{});
  if (dtype == "BF16") return body(Eigen::bfloat16{});
  throw std::runtime_error(part + (" of " + dtype) + " are not folded");
}

/// Folds into weights and bias of `to`, each in the type in which it is stored, and takes the batch
/// norms out of it. A bias that comes into being has the type of the weights.
/// @throws std::exception with the reason when the fold cannot be done; `to` is then as it was
inline FoldCertificate fold_layer(const Tensors& from, Tensors& to, const PlannedFold& fold,
                                  const FoldMaps& maps, const FoldArguments& arguments) {
  batchnorm::FoldOptions options;
  options.padding = batchnorm::Padding::none;  // the plan has seen to it
  options.flush_subnormal = arguments.flush_subnormal;
  const std::string& dtype = from.dtype(fold.layer.weight);
  const bool has_bias = from.contains(fold.layer.bias);
  const std::string& bias_dtype = has_bias ? from.dtype(fold.layer.bias) : dtype;
  const FoldCertificate certificate = with_type_of("weights", dtype, [&](auto weight) {
    return with_type_of("biases", bias_dtype, [&](auto bias) {
      return fold_as<decltype(weight), decltype(bias)>(from, to, fold, maps, options);
    });
  });
  for (const FoundBatchNorm& norm : fold.norms()) {
    for (const std::string& key : norm.keys) to.erase(key);
    to.metadata().erase(batchnorm::detail::metadata_key(norm.prefix.parameters));
  }
  return certificate;
}

/// 2^(1 - significant bits) of a type of files.
inline double unit_of(const std::string& dtype) {
  if (dtype == "F64") return 0x1p-52;
  if (dtype == "F32") return 0x1p-23;
  return dtype == "F16" ? 0x1p-10 : 0x1p-7;
}

/// A layer as plain numbers.
struct PlainLayer {
  std::vector<double> weights, bias;

  PlainLayer(const Tensors& tensors, const WeightLayer& layer)
      : weights(tensors.values<double>(layer.weight)),
        bias(static_cast<std::size_t>(layer.out), 0.0) {
    if (tensors.contains(layer.bias)) bias = tensors.values<double>(layer.bias);
  }
};

inline double apply(const InferenceMap& map, Index channel, double x) {
  return (x - map.mean()[channel]) * map.scale()[channel] + map.shift()[channel];
}

/// The magnitude of all terms of a map, for an input whose terms have that magnitude.
inline double terms_of(const InferenceMap& map, Index channel, double magnitude) {
  return (magnitude + std::fabs(map.mean()[channel])) * std::fabs(map.scale()[channel]) +
         map.shift_terms()[channel];
}

/// The largest difference between the layer with its batch norms in one file and the folded layer
/// in the other, on random inputs. In units in the last place of the terms that an output is the
/// sum of (FoldCertificate has the formula); nothing of the library's folds is used for it.
inline double probe_both(const Tensors& before, const Tensors& after, const PlannedFold& fold,
                         const FoldMaps& maps, int probes) {
  const WeightLayer& layer = fold.layer;
  PlainLayer unfolded(before, layer);
  PlainLayer folded(after, layer);
  Random random(1);
  double worst = 0.0;
  for (int probe = 0; probe < probes; ++probe) {
    Eigen::MatrixXd input(layer.taps, layer.in);
    for (double& x : input.reshaped()) x = random.between(-1.0, 1.0);
    Eigen::VectorXd y = Eigen::Map<const Eigen::VectorXd>(unfolded.bias.data(), layer.out);
    Eigen::VectorXd terms = y.cwiseAbs();
    layer.view(unfolded.weights.data()).each([&](double w, Index out, Index in, Index tap) {
      y[out] += w * apply(maps.front, in, input(tap, in));
      terms[out] += std::fabs(w) * terms_of(maps.front, in, 1.0);
    });
    Eigen::VectorXd z = Eigen::Map<const Eigen::VectorXd>(folded.bias.data(), layer.out);
    layer.view(folded.weights.data()).each([&](double w, Index out, Index in, Index tap) {
      z[out] += w * input(tap, in);
    });
    for (Index out = 0; out < layer.out; ++out) {
      const double difference = std::fabs(z[out] - apply(maps.behind, out, y[out]));
      if (difference > 0.0) {
        worst = std::max(worst, difference / terms_of(maps.behind, out, terms[out]));
      } else if (std::isnan(difference)) {
        worst = HUGE_VAL;
      }
    }
  }
  return worst / unit_of(before.dtype(layer.weight));
}

/// How far the sums of probe_both may be off by themselves: two roundings of double for each term,
/// on both sides.
inline double probe_tolerance(const Tensors& tensors, const WeightLayer& layer) {
  return 4.0 * static_cast<double>(layer.in * layer.taps + 8) * 0x1p-53 /
         unit_of(tensors.dtype(layer.weight));
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_FOLD_LAYER_HPP
