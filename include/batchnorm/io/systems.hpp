// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_SYSTEMS_HPP
#define BATCHNORM_IO_SYSTEMS_HPP

#include <cstddef>

#include "batchnorm/options.hpp"
#include "batchnorm/version.hpp"

// How systems store a batch norm layer: one table. Nothing else in this folder knows a system by
// its name; naming.hpp makes a Naming of a row.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// What a tensor of a batch norm layer is.
enum class Role {
  gamma,       ///< scale, one number per channel
  beta,        ///< shift, one number per channel
  mean,        ///< running mean, one number per channel
  variance,    ///< running variance, or what is stored in its place, one number per channel
  counter,     ///< minibatches seen, a single whole number
  epsilon,     ///< the number under the root, where a system saves it
  new_weight,  ///< weight of a new minibatch in the running statistics, where a system saves it
  factor,      ///< what mean and variance have to be divided by
  input_bias   ///< bias of the layer in front, to be taken off the mean; one number per channel
};

/// Number of roles.
inline constexpr std::size_t roles = 9;

/// What stands in the place of the running variance v, with the epsilon e of the layer.
enum class StoredVariance {
  variance,                ///< v
  variance_with_epsilon,   ///< v + e
  deviation,               ///< sqrt(v)
  deviation_with_epsilon,  ///< sqrt(v + e)
  inverse_deviation        ///< 1 / sqrt(v + e)
};

namespace detail {

/// Weight convention of the running statistics: of the new minibatch, or of the old average.
struct UpdateWeight {
  enum class Of { new_one, old_average, old_debiased } of;
  double weight;
};

/// One system. Texts with several alternatives separate them by spaces; the first is written.
struct System {
  const char* name;
  const char* gamma;
  const char* beta;
  const char* mean;
  const char* variance;
  const char* others;  ///< further tensors, such as "counter=num_batches_tracked"; "-" is no role
  const char* separators;  ///< letters that may end the prefix of a layer
  const char* endings;     ///< what may stand behind each name; "" is always allowed when it is ""
  const char* place;       ///< "trees:A B" of parameters and statistics; "folder:A" what the last
                           ///< part of the prefix begins with
  StoredVariance stored;
  double epsilon;  ///< the usual one: for messages and presets, never used to load
  UpdateWeight update;
  VarianceEstimator estimator;
  unsigned peculiar;
};

// The words of the table; they are too short for the room around it.
namespace system_table {

// ---- peculiarities; a row has the sum of those that apply

/// Names mean statistics of batch norm and nothing else: a layer is listed even when it is faulty.
inline constexpr unsigned telling = 1;
/// Names are numbers, or those of another system: tried only when the caller says which it is.
inline constexpr unsigned asked_for = 2;
/// The tensors are a list, told apart by their number alone.
inline constexpr unsigned list = 4;
/// A list that shrinks without gamma or beta.
inline constexpr unsigned shrinks = 8;
/// gamma and beta lie in a list of their own, in a layer called scale where this one is called bn.
inline constexpr unsigned scale_layer = 16;
/// gamma counts as 1, whatever is stored, unless the layer says otherwise.
inline constexpr unsigned fixed_gamma = 32;
/// Versions store different things in place of the variance: the caller has to say which.
inline constexpr unsigned variance_unsaid = 64;
/// Mean and what stands for the variance are the two columns of one tensor.
inline constexpr unsigned moments = 128;
/// beta is stored times sqrt(v + e).
inline constexpr unsigned scaled_beta = 256;
/// A deviation of exactly 0 counts as 1e-4.
inline constexpr unsigned zero_deviation = 512;
/// An epsilon of 0 counts as 1e-5.
inline constexpr unsigned zero_epsilon = 1024;
/// Names are those of another system, from which a layer differs by its epsilon in the file.
inline constexpr unsigned with_epsilon = 2048;
/// Names only count tensors, so that any layer may have them: the prefix has to say batch norm.
inline constexpr unsigned called = 4096;

inline constexpr UpdateWeight takes(double weight) {
  return {UpdateWeight::Of::new_one, weight};
}
inline constexpr UpdateWeight keeps(double weight) {
  return {UpdateWeight::Of::old_average, weight};
}
inline constexpr UpdateWeight debiased(double weight) {
  return {UpdateWeight::Of::old_debiased, weight};
}

inline constexpr VarianceEstimator pop = VarianceEstimator::population;
inline constexpr VarianceEstimator sample = VarianceEstimator::sample;
inline constexpr StoredVariance var = StoredVariance::variance;
inline constexpr StoredVariance var_eps = StoredVariance::variance_with_epsilon;
inline constexpr StoredVariance dev_eps = StoredVariance::deviation_with_epsilon;
inline constexpr StoredVariance inverse = StoredVariance::inverse_deviation;
inline constexpr const char* saved_model = "/.ATTRIBUTES/VARIABLE_VALUE";

// In the order in which they are tried: where two rows explain the same tensors, the first counts.
// Sources: the code of the systems that save and load these files.
// clang-format off
inline constexpr System systems[] = {
// system              gamma              beta               mean                       variance
//   further tensors                      separators  endings         place
//   stored   usual e  update             estimator   peculiarities
  {"PyTorch",          "weight",          "bias",            "running_mean",            "running_var running_variance",
     "counter=num_batches_tracked",       "./",       "",             "",
     var,     1e-5,    takes(0.1),        sample,     telling},
  {"TF-slim",          "gamma",           "beta",            "moving_mean",             "moving_variance",
     "",                                  "./",       " :0",            "folder:BatchNorm",
     var,     1e-3,    keeps(0.999),      sample,     telling},
  {"Keras",            "gamma",           "beta",            "moving_mean",             "moving_variance",
     "",                                  "/",        " :0 _1:0",     "",
     var,     1e-3,    keeps(0.99),       pop,        telling},
  {"MindSpore",        "gamma",           "beta",            "moving_mean",             "moving_variance",
     "",                                  ".",        "",             "",
     var,     1e-5,    keeps(0.9),        sample,     telling},
  {"TF-slim, frozen",  "Const",           "beta",            "moving_mean",             "moving_variance",
     "",                                  "/",        "",             "",
     var,     1e-3,    keeps(0.999),      sample,     0},
  {"TensorFlow 2",     "gamma",           "beta",            "moving_mean",             "moving_variance",
     "",                                  "/",        saved_model,    "",
     var,     1e-3,    keeps(0.99),       pop,        telling},
  {"Keras 3",          "0",               "1",               "2",                       "3",
     "",                                  "./",       "",             "folder:vars",
     var,     1e-3,    keeps(0.99),       pop,        list + shrinks},
  {"Keras 1",          "gamma",           "beta",            "running_mean",            "running_std",
     "",                                  "/_",       " :0 _1:0",     "",
     var,     1e-3,    keeps(0.99),       pop,        variance_unsaid},
  {"Flax",             "scale",           "bias",            "mean",                    "var",
     "",                                  "./",       " .value /value", "trees:params batch_stats",
     var,     1e-5,    keeps(0.99),       pop,        0},
  {"Haiku",            "scale",           "offset",          "~/mean_ema/average mean_ema/average", "~/var_ema/average var_ema/average",
     "counter=~/mean_ema/counter -=~/mean_ema/hidden -=~/var_ema/hidden -=~/var_ema/counter", "./", "", "trees:params state",
     var,     1e-5,    debiased(0.99),    pop,        telling},
  {"ONNX",             "scale",           "B",               "input_mean mean",         "input_var var",
     "",                                  "./",       "",             "",
     var,     1e-5,    keeps(0.9),        pop,        0},
  {"tf2onnx",          "ReadVariableOp:0", "ReadVariableOp_1:0", "FusedBatchNormV3/ReadVariableOp:0 FusedBatchNorm/ReadVariableOp:0",
     "FusedBatchNormV3/ReadVariableOp_1:0 FusedBatchNorm/ReadVariableOp_1:0",
     "",                                  "/",        "",             "",
     var,     1e-3,    keeps(0.99),       pop,        0},
  {"torch.fx",         "parameters_weight_ weight", "parameters_bias_ bias", "buffers_running_mean_ running_mean", "buffers_running_var_ running_var",
     "counter=buffers_num_batches_tracked_ counter=num_batches_tracked", "_", "", "trees:p b",
     var,     1e-5,    takes(0.1),        sample,     0},
  {"MXNet Module",     "gamma",           "beta",            "moving_mean",             "moving_var",
     "",                                  "_./",      "",             "trees:arg aux",
     var,     1e-3,    keeps(0.9),        pop,        fixed_gamma},
  {"Gluon or burn",    "gamma",           "beta",            "running_mean",            "running_var",
     "",                                  "./_",      "",             "trees:arg aux",
     var,     1e-5,    keeps(0.9),        pop,        0},
  {"dfdx",             "scale",           "bias",            "running_mean",            "running_var",
     "epsilon=epsilon new_weight=momentum", "./",     "",             "",
     var,     1e-5,    takes(0.1),        sample,     0},
  {"Lux",              "scale",           "bias",            "running_mean",            "running_var",
     "-=training",                        "./",       "",             "trees:ps st",
     var,     1e-5,    takes(0.1),        sample,     0},
  {"Paddle",           "weight",          "bias",            "_mean",                   "_variance",
     "",                                  "./",       "",             "",
     var,     1e-5,    keeps(0.9),        pop,        0},
  {"Paddle, static",   "w_0",             "b_0",             "w_1",                     "w_2",
     "",                                  "./",       "",             "",
     var,     1e-5,    keeps(0.9),        pop,        called},
  {"Chainer",          "gamma",           "beta",            "avg_mean",                "avg_var",
     "-=N",                               "./",       "",             "",
     var,     2e-5,    keeps(0.9),        sample,     telling},
  {"Caffe",            "0",               "1",               "0",                       "1",
     "factor=2",                          "./",       "",             "",
     var,     1e-5,    debiased(0.999),   sample,     list + scale_layer},
  {"Caffe2",           "s",               "b",               "rm",                      "riv",
     "",                                  "_",        " _0",          "",
     var,     1e-5,    keeps(0.9),        sample,     0},
  {"Darknet",          "scales",          "biases",          "rolling_mean",            "rolling_variance",
     "",                                  "./",       "",             "",
     var,     1e-5,    keeps(0.99),       sample,     telling},
  {"ncnn",             "slope",           "bias",            "mean",                    "var",
     "",                                  "./",       "",             "",
     var_eps, 0.0,     keeps(0.99),       pop,        zero_deviation},
  {"Lasagne",          "gamma",           "beta",            "mean",                    "inv_std",
     "",                                  "./",       "",             "",
     inverse, 1e-4,    takes(0.1),        pop,        0},
  {"MatConvNet",       "g",               "b",               "m",                       "m",
     "",                                  "_",        "",             "",
     dev_eps, 1e-4,    takes(0.1),        pop,        moments},
  {"KataGo",           "gamma",           "beta",            "mean",                    "variance",
     "epsilon=epsilon",                   "./",       "",             "",
     var,     1e-20,   takes(0.001),      pop,        with_epsilon},
  {"Core ML",          "gamma",           "beta offset",     "mean",                    "variance",
     "",                                  "./",       "",             "",
     var,     1e-5,    keeps(0.9),        pop,        zero_epsilon},
  {"KataGo, PyTorch",  "gamma",           "beta",            "running_mean",            "running_std",
     "",                                  ".",        "",             "",
     dev_eps, 1e-4,    takes(0.001),      pop,        variance_unsaid},
  {"Leela Zero",       "",                "conv_biases",     "batchnorm_means bn_means", "batchnorm_variances bn_variances",
     "",                                  "./",       "",             "",
     var,     1e-5,    keeps(0.99),       pop,        scaled_beta},
  {"Leela Chess Zero", "bn_gammas",       "bn_betas",        "bn_means",                "bn_stddivs",
     "input_bias=biases",                 "./",       "",             "",
     var,     1e-5,    keeps(0.99),       pop,        0},
  {"Stable Baselines", "scale weight",    "bias",            "ra_mean",                 "ra_var",
     "counter=steps",                     "./",       "",             "",
     var,     1e-3,    keeps(0.99),       pop,        0},
  {"RTNeural",         "0",               "1",               "2",                       "3",
     "",                                  "./",       "",             "",
     var,     1e-3,    keeps(0.99),       pop,        list},
  {"NAM",              "2",               "3",               "0",                       "1",
     "epsilon=4",                         "./",       "",             "",
     var,     1e-5,    takes(0.1),        sample,     list + asked_for},
  {"MLX",              "weight",          "bias",            "running_mean",            "running_var",
     "",                                  "./",       "",             "",
     var,     1e-5,    takes(0.1),        sample,     asked_for},
  {"tinygrad",         "weight",          "bias",            "running_mean",            "running_var",
     "counter=num_batches_tracked",       "./",       "",             "",
     var,     1e-5,    takes(0.1),        sample,     asked_for},
  {"candle",           "weight",          "bias",            "running_mean",            "running_var",
     "",                                  "./",       "",             "",
     var,     1e-5,    takes(0.1),        sample,     asked_for},
};
// clang-format on

}  // namespace system_table

using system_table::systems;

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_SYSTEMS_HPP
