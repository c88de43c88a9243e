// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_LOAD_STATE_HPP
#define BATCHNORM_IO_LOAD_STATE_HPP

#include <Eigen/Core>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/frozen.hpp"
#include "batchnorm/io/batch_norms.hpp"
#include "batchnorm/io/dtype.hpp"
#include "batchnorm/io/examine.hpp"
#include "batchnorm/io/layer_options.hpp"
#include "batchnorm/io/load_options.hpp"
#include "batchnorm/io/load_report.hpp"
#include "batchnorm/io/naming.hpp"
#include "batchnorm/io/read_layer.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/io/safetensors_options.hpp"
#include "batchnorm/io/safetensors_state.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/layer.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// A layer of a checkpoint, with all that is known about it. Thread safety: a plain value.
template <class T, int Channels = Eigen::Dynamic>
struct LoadedState {
  State<T, Channels> state;  ///< mean and variance are NaN when the file has no statistics
  Options options;           ///< of the file, or of the naming with the epsilon that was given
  FoundBatchNorm found;      ///< where it lies, and under which names
  LoadReport report;         ///< without errors, which are raised

  /// Whether the file has running statistics.
  bool has_statistics() const { return found.has_statistics(); }

  /// The inference path.
  /// @throws std::domain_error when the file has no running statistics, they were saved as stale
  ///         (unless `stale` accepts them), or variance + epsilon is 0
  FrozenBatchNorm<T, Channels> freeze(StaleStatistics stale = StaleStatistics::refuse) const {
    if (!has_statistics()) {
      detail::fail_domain("LoadedState::freeze", "inference needs running statistics",
                          "a layer that has them",
                          detail::text("layer ", detail::in_quotes(found.prefix.parameters), " of ",
                                       detail::in_quotes(report.file), " without any"));
    }
    return FrozenBatchNorm<T, Channels>(state, options, stale);
  }

  /// A layer to train on. Without statistics in the file it starts as a new layer does, with the
  /// gamma and beta of the file, and cannot be frozen before it has seen a minibatch.
  BatchNorm<T, Channels> layer() const {
    if (has_statistics()) return BatchNorm<T, Channels>(state, options);
    BatchNorm<T, Channels> fresh(state.channels(), options);
    fresh.state().gamma = state.gamma;
    fresh.state().beta = state.beta;
    return fresh;
  }
};

namespace detail {

/// A prefix at which no layer was found. A list of arrays may lie there, whose order nobody knows.
[[noreturn]] inline void fail_not_found(const Tensors& tensors, const LayerPrefix& prefix,
                                        const LoadOptions& options) {
  const Naming list = Naming::rtneural();
  const FoundBatchNorm arrays = look_at(tensors, prefix, list);
  if (!options.naming() && arrays.has_statistics() && !is_of_optimizer(arrays)) {
    fail_tensor(FileContext{"load_state", tensors.name()}, arrays.key(Role::mean),
                "list of arrays without names",
                "the word of the caller for the order gamma, beta, mean, variance: "
                "LoadOptions::named(Naming::rtneural())",
                "none");
  }
  const Naming naming = options.naming().value_or(Naming::pytorch());
  fail_no_layer(tensors, key_of(prefix, naming, Role::mean));
}

/// gamma = |weight| + epsilon.
template <class T, int Channels>
void apply_inplace_abn(State<T, Channels>& state, const FoundBatchNorm& layer, double epsilon,
                       LoadReport& report) {
  using Scalar = typename State<T, Channels>::Scalar;
  if (!layer.has(Role::gamma)) return;
  for (Index channel = 0; channel < state.channels(); ++channel) {
    Scalar& gamma = state.gamma[channel];
    gamma = (is_negative(gamma) ? Scalar(-gamma) : gamma) + static_cast<Scalar>(epsilon);
  }
  note(report, Finding::converted, layer.key(Role::gamma),
       text("gamma is |weight| + ", epsilon, ", as inplace_abn computes it"));
}

}  // namespace detail

/// Takes a layer out of a checkpoint, under the names of any system, converting it to the scalar
/// asked for, and says what it did.
///
/// Whether the layer has scale, shift and running statistics is recognised from the tensors that
/// are there, unless the file itself or the caller says so. A vector of one number per channel that
/// stands beside them could be what is missing, under the name of an unknown system; then the layer
/// is refused, and LoadOptions::without_scale and the like say that nothing is missing. Where
/// vectors have the names of two systems, LoadOptions::named says which of them are the layer. The
/// report lists what was used, what is missing and what was taken instead, what stands beside it,
/// what was converted, and what looks wrong.
/// @param prefix   what stands before the names, such as "1." or "encoder/bn3/"; a pair when
///                 parameters and statistics lie in different places. Flax's trees are found.
/// @param options  the epsilon, which files of the frameworks do not carry
/// @throws std::runtime_error naming file and tensors, all of them, when there is no such layer,
///         half of the statistics are missing, a shape or dtype is wrong, another vector stands
///         where something is missing, gamma and beta are both missing without a word of the
///         caller, or epsilon is neither given nor in the file, or differs; std::domain_error when
///         a variance is negative or a number is not finite (unless the options in the file let it
///         through) or does not fit into the scalar.
/// Cost: reads the elements of this layer and of no other.
template <class T, int Channels = Eigen::Dynamic>
LoadedState<T, Channels> load_state(const Tensors& tensors, const LayerPrefix& prefix,
                                    const LoadOptions& options) {
  using Scalar = typename State<T, Channels>::Scalar;
  std::optional<FoundBatchNorm> found = detail::locate(tensors, prefix, options.naming());
  if (!found) detail::fail_not_found(tensors, prefix, options);
  detail::assign_first_of_three(*found, options.has_scale(), options.has_shift());
  LoadReport report{found->prefix.parameters, tensors.name(), {}};
  detail::note(report, Finding::options, "", "names of " + found->naming.system());
  Options resolved = detail::resolve_options(tensors, *found, options, report);
  detail::Expectations expectations = detail::expectations_of(tensors, *found, options, resolved);
  expectations.form = detail::resolve_form(tensors, *found, options, resolved, report);
  // Whoever says what a layer has not, has looked at what lies beside it.
  expectations.is_named = options.naming() || options.has_scale() || options.has_shift() ||
                          has_options(tensors, found->prefix.parameters);
  expectations.dtype = detail::dtype_name<Scalar>();
  expectations.statistics_dtype = detail::dtype_name<typename State<T, Channels>::Statistic>();
  State<T, Channels> state = detail::load_layer<T, Channels>(tensors, *found, expectations, report);
  if (options.is_inplace_abn()) {
    detail::apply_inplace_abn(state, *found, resolved.epsilon, report);
  }
  if (expectations.form.is_epsilon_outside_root) resolved.epsilon = 0.0;
  return {std::move(state), resolved, std::move(*found), std::move(report)};
}

/// Refuses a bare number when compiled, because nobody can tell that it is an epsilon.
template <class T, int Channels = Eigen::Dynamic, class Source, class Prefix, class Number,
          std::enable_if_t<std::is_arithmetic<Number>::value, int> = 0>
LoadedState<T, Channels> load_state(const Source&, const Prefix&, Number) {
  static_assert(sizeof(Number) == 0,
                "batchnorm: a bare number does not say that it is epsilon; write Epsilon(1e-5)");
  detail::raise_runtime_error("load_state");
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_LOAD_STATE_HPP
