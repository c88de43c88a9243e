// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_VARIANTS_GHOST_HPP
#define BATCHNORM_VARIANTS_GHOST_HPP

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/layer.hpp"
#include "batchnorm/math/check_batch.hpp"
#include "batchnorm/math/gradient_sums.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/running.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/variants/checked_statistics.hpp"
#include "batchnorm/variants/substitute.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"
#include "batchnorm/view/check.hpp"
#include "batchnorm/view/input.hpp"
#include "batchnorm/view/residual.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// How the running statistics follow a minibatch that was normalised in k ghosts. They differ: of
/// the weight w of a new minibatch, each_ghost gives the minibatch 1 - (1 - w)^k, which for w 0.1
/// and 32 ghosts is 0.97, and each_ghost_scaled 1 - (1 - w/k)^k, a little less than w.
enum class GhostUpdate {
  pooled,      ///< one step with the moments of all values, the spread between ghosts included
  each_ghost,  ///< one step per ghost, in their order (Hoffer, Hubara and Soudry 2017)
  each_ghost_scaled  ///< one step per ghost with weight w / k; for take_new and keep_old alone
};

/// Minibatches that are normalised in parts. Errors: none; train_ghosts checks the size. Thread
/// safety: a plain value.
struct GhostBatches {
  Index size;                                ///< examples of a ghost, 2 or more
  GhostUpdate update = GhostUpdate::pooled;  ///< how the running statistics follow

  /// How many ghosts a minibatch of that many examples has: examples / size, and at least 1. What
  /// is left over joins the last one, so that none is smaller than `size`, and a ghost of one
  /// example does not exist.
  Index ghosts(Index examples) const { return (std::max<Index>)(1, examples / size); }
  /// The first example of a ghost, both counted from 0.
  Index first(Index ghost) const { return ghost * size; }
  /// How many examples a ghost has, of those of the minibatch.
  Index count(Index ghost, Index examples) const {
    return ghost + 1 == ghosts(examples) ? examples - first(ghost) : size;
  }
};

/// What train_ghosts leaves for its backward.
template <class A, int Channels = Eigen::Dynamic>
struct GhostMoments {
  GhostBatches cut;                            ///< how the minibatch was cut
  std::vector<Moments<A, Channels>> of_ghost;  ///< in the order of the examples
  Moments<A, Channels> all;                    ///< merged
};

namespace detail {

inline void check_ghosts(const char* function, const GhostBatches& ghosts, const Options& options) {
  if (ghosts.size < 2) {
    fail_argument(function, "examples of a ghost batch", "at least 2", text(ghosts.size));
  }
  if (ghosts.update != GhostUpdate::each_ghost_scaled ||
      options.running.rule() == RunningUpdate::Rule::exponential) {
    return;
  }
  fail_argument(function, "GhostUpdate::each_ghost_scaled divides the weight of a new minibatch",
                "RunningUpdate::take_new or keep_old", "a rule whose weight follows from a count");
}

/// The running statistics after all ghosts, checked before anything is written.
template <class T, int Channels>
State<T, Channels> ghost_step(const char* function, const Options& options,
                              const State<T, Channels>& state,
                              const GhostMoments<accumulator_t<T>, Channels>& ghosts) {
  State<T, Channels> next = state;
  if (ghosts.cut.update == GhostUpdate::pooled) {
    check_running_update(function, options, ghosts.all, next);
    apply_running_update(options, ghosts.all, next);
    return next;
  }
  Options each = options;
  if (ghosts.cut.update == GhostUpdate::each_ghost_scaled) {
    each.running = RunningUpdate::take_new(options.running.new_weight() /
                                           static_cast<double>(ghosts.of_ghost.size()));
  }
  for (const auto& batch : ghosts.of_ghost) {
    check_running_update(function, each, batch, next);
    apply_running_update(each, batch, next);
  }
  return next;
}

/// Calls body(samples, input of them) with views of some samples of an input.
template <class T, class Body>
void with_samples(const Input<T>& in, Index first, Index count, const Body& body) {
  const auto x = samples_of(in.view(), first, count);
  if (in.residual() == nullptr) {
    body(Input<T>(x));
  } else {
    const auto residual = samples_of(*in.residual(), first, count);
    body(Input<T>(with_residual(x, residual)));
  }
}

}  // namespace detail

/// Trains with ghost batches: each `size` examples are normalised with their own mean and
/// variance, as if they were a minibatch by themselves.
///
/// Which examples meet in a ghost is decided by their order: what is sorted should be shuffled
/// first. Inference knows no ghosts.
///
/// @param in, out, execution  as for BatchNorm::train of the layer
/// @return what backward_ghosts wants to have
/// Shapes: `in` and `out` are of one shape; examples beyond the last whole ghost join it.
/// @throws as BatchNorm::train, and std::invalid_argument for a size below 2, a mask or weights,
///         GhostUpdate::each_ghost_scaled beside another rule than take_new and keep_old, and a
///         Synchronize
/// Source: Hoffer, Hubara and Soudry 2017 (arXiv:1705.08741), algorithm 1.
/// Cost: two reads and one write of the data; allocates numbers per channel and ghost.
template <class T, int Channels>
GhostMoments<accumulator_t<T>, Channels> train_ghosts(BatchNorm<T, Channels>& layer,
                                                      const GhostBatches& ghosts,
                                                      const Input<detail::Exactly<T>>& in,
                                                      const Output<detail::Exactly<T>>& out,
                                                      const Execution& execution = {}) {
  constexpr const char* function = "train_ghosts";
  const Options& options = layer.options();
  detail::check_state_shape(function, layer.state());
  detail::check_ghosts(function, ghosts, options);
  detail::check_forward(function, layer.channels(), in, out);
  detail::refuse_mask(function, in, "ghosts are cut by examples, however few of them would count");
  const Index examples = in.view().samples();
  GhostMoments<accumulator_t<T>, Channels> result{ghosts, {}, {}};
  result.all = Moments<accumulator_t<T>, Channels>(layer.channels());
  if (in.view().empty()) return result;
  const Index count = ghosts.ghosts(examples);
  bool update = true;
  for (Index ghost = 0; ghost < count; ++ghost) {
    const auto part =
        detail::samples_of(in.view(), ghosts.first(ghost), ghosts.count(ghost, examples));
    const Input<T> given(part);
    auto checked = detail::checked_batch(function, layer, detail::SelectedInput<T>(function, given),
                                         execution);
    update = update && checked.update;
    detail::batch_statistics_of(function, layer, checked.batch);
    result.all.merge(checked.batch);
    result.of_ghost.push_back(std::move(checked.batch));
  }
  State<T, Channels> next = layer.state();
  if (update) next = detail::ghost_step(function, options, layer.state(), result);
  for (Index ghost = 0; ghost < count; ++ghost) {
    const Index first = ghosts.first(ghost), some = ghosts.count(ghost, examples);
    detail::with_samples(in, first, some, [&](const Input<T>& part) {
      layer.normalize(result.of_ghost[static_cast<std::size_t>(ghost)], part,
                      detail::samples_of(out.view(), first, some), execution);
    });
  }
  layer.state() = std::move(next);
  return result;
}

/// Back-propagates through train_ghosts: through the statistics of each ghost by itself.
///
/// @param batch  what train_ghosts returned for `in`
/// @param out_gradient, in_gradient, execution  as for BatchNorm::backward of the layer
/// @return dL/dgamma and dL/dbeta, summed over all ghosts
/// Shapes: as for BatchNorm::backward. Cost: two reads of `in` and out_gradient, one write.
/// @throws as BatchNorm::backward
template <class T, int Channels>
Gradients<T, Channels> backward_ghosts(
    const BatchNorm<T, Channels>& layer,
    const GhostMoments<accumulator_t<detail::Exactly<T>>, Channels>& batch,
    const Input<detail::Exactly<T>>& in, const Input<detail::Exactly<T>>& out_gradient,
    const GradientOutput<detail::Exactly<T>>& in_gradient, const Execution& execution = {}) {
  constexpr const char* function = "backward_ghosts";
  detail::check_state_shape(function, layer.state());
  detail::check_backward(function, layer.channels(), in, out_gradient, in_gradient);
  detail::refuse_mask(function, in, "ghosts are cut by examples, however few of them would count");
  const Index examples = in.view().samples();
  const Index count = in.view().empty() ? 0 : batch.cut.ghosts(examples);
  if (static_cast<Index>(batch.of_ghost.size()) != count) {
    detail::fail_argument(function, "the moments must be those of the ghosts of this input",
                          detail::text(count), detail::text(batch.of_ghost.size()));
  }
  GradientSums<accumulator_t<T>, Channels> all(layer.channels());
  for (Index ghost = 0; ghost < count; ++ghost) {
    const Index first = batch.cut.first(ghost), some = batch.cut.count(ghost, examples);
    const auto& moments = batch.of_ghost[static_cast<std::size_t>(ghost)];
    const auto dy = detail::samples_of(out_gradient.view(), first, some);
    auto dx = detail::samples_of(in_gradient.view(), first, some);
    detail::with_samples(in, first, some, [&](const Input<T>& part) {
      const auto sums = layer.backward_sums(moments, part, dy, execution);
      if (in_gradient.residual() == nullptr) {
        layer.backward(moments, sums, part, dy, dx, execution);
      } else {
        auto dr = detail::samples_of(*in_gradient.residual(), first, some);
        layer.backward(moments, sums, part, dy, with_residual(dx, dr), execution);
      }
      all.merge(sums);
    });
  }
  return layer.parameter_gradients(all);
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_VARIANTS_GHOST_HPP
