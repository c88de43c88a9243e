// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_LOAD_STATE_HPP
#define BATCHNORM_IO_LOAD_STATE_HPP

#include <Eigen/Core>
#include <optional>
#include <string>
#include <utility>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/frozen.hpp"
#include "batchnorm/io/batch_norms.hpp"
#include "batchnorm/io/dtype.hpp"
#include "batchnorm/io/examine.hpp"
#include "batchnorm/io/load_options.hpp"
#include "batchnorm/io/load_report.hpp"
#include "batchnorm/io/naming.hpp"
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

/// A layer of a checkpoint, with all that is known about it. A plain value.
template <class T, int Channels = Eigen::Dynamic>
struct LoadedState {
  State<T, Channels> state;  ///< mean and variance are NaN when the file has no statistics
  Options options;           ///< of the file, or of the naming with the epsilon that was given
  FoundBatchNorm found;      ///< where it lies, and under which names
  LoadReport report;         ///< without errors, which are raised

  bool has_statistics() const { return found.has_statistics(); }

  /// The inference path.
  /// @throws std::domain_error when the file has no running statistics, or variance + epsilon is 0
  FrozenBatchNorm<T, Channels> freeze() const {
    if (!has_statistics()) {
      detail::fail_domain("LoadedState::freeze", "inference needs running statistics",
                          "a layer that has them",
                          detail::text("layer ", detail::in_quotes(found.prefix.parameters), " of ",
                                       detail::in_quotes(report.file), " without any"));
    }
    return FrozenBatchNorm<T, Channels>(state, options);
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

/// The options of a layer: those of the file, or those of its naming with the epsilon given. What
/// is wrong with them goes into the report.
inline Options resolve_options(const Tensors& tensors, const FoundBatchNorm& layer,
                               const LoadOptions& given, LoadReport& report) {
  const std::string& prefix = layer.prefix.parameters;
  if (!has_options(tensors, prefix)) {
    if (!given.epsilon()) fail_no_epsilon(tensors, prefix);
    Options options = layer.naming.options();
    options.epsilon = given.epsilon()->value;
    options.scale = layer.has(Role::gamma);
    options.shift = layer.has(Role::beta);
    note(report, Finding::options, "",
         text("epsilon ", options.epsilon, " as given, update rule of ", layer.naming.system()));
    return options;
  }
  const Options options = load_options(tensors, prefix);
  note(report, Finding::options, "",
       text("epsilon ", options.epsilon, " and all else in the file"));
  if (given.epsilon() && !is_exactly(given.epsilon()->value, options.epsilon)) {
    refuse(report, Finding::options, "", "epsilon", text("that of the file, ", options.epsilon),
           text(given.epsilon()->value));
  }
  if (given.is_inplace_abn()) {
    refuse(report, Finding::options, "", "weights of inplace_abn", "a file of that package",
           "one that this library has written, in which gamma is gamma");
  }
  return options;
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
/// are there, unless the file itself says so. The report lists what was used, what is missing and
/// what was taken instead, what stands beside it, what was converted, and what looks wrong.
/// @param prefix   what stands before the names, such as "1." or "encoder/bn3/"; a pair when
///                 parameters and statistics lie in different places. Flax's trees are found.
/// @param options  the epsilon, which files of the frameworks do not carry
/// @throws std::runtime_error naming file and tensors, all of them, when there is no such layer,
///         half of the statistics are missing, a shape or dtype is wrong, another vector stands
///         where gamma or beta is missing, or epsilon is neither given nor in the file, or differs;
///         std::domain_error when a variance is negative or a number is not finite (unless the
///         options in the file let it through) or does not fit into the scalar.
/// Cost: reads the elements of this layer and of no other. Thread safe.
template <class T, int Channels = Eigen::Dynamic>
LoadedState<T, Channels> load_state(const Tensors& tensors, const LayerPrefix& prefix,
                                    const LoadOptions& options) {
  using Scalar = typename State<T, Channels>::Scalar;
  const std::optional<FoundBatchNorm> found = detail::locate(tensors, prefix, options.naming());
  if (!found) {
    const Naming naming = options.naming().value_or(Naming::pytorch());
    detail::fail_no_layer(tensors, detail::key_of(prefix, naming, Role::mean));
  }
  LoadReport report{found->prefix.parameters, tensors.name(), {}};
  detail::note(report, Finding::options, "", "names of " + found->naming.system());
  const Options resolved = detail::resolve_options(tensors, *found, options, report);
  detail::Expectations expectations;
  expectations.options = &resolved;
  expectations.options_decide = has_options(tensors, found->prefix.parameters);
  expectations.statistics_required = false;
  expectations.is_inplace_abn = options.is_inplace_abn();
  expectations.dtype = detail::dtype_name<Scalar>();
  expectations.statistics_dtype = detail::dtype_name<typename State<T, Channels>::Statistic>();
  State<T, Channels> state = detail::load_layer<T, Channels>(tensors, *found, expectations, report);
  if (options.is_inplace_abn()) {
    detail::apply_inplace_abn(state, *found, resolved.epsilon, report);
  }
  return {std::move(state), resolved, *found, std::move(report)};
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_LOAD_STATE_HPP
