// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_RECALIBRATE_REESTIMATION_HPP
#define BATCHNORM_RECALIBRATE_REESTIMATION_HPP

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/frozen.hpp"
#include "batchnorm/layer.hpp"
#include "batchnorm/math/check_batch.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/together.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/recalibrate/layer_handle.hpp"
#include "batchnorm/recalibrate/minibatch_series.hpp"
#include "batchnorm/recalibrate/minibatches.hpp"
#include "batchnorm/recalibrate/reestimation_report.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/argument.hpp"
#include "batchnorm/view/check.hpp"
#include "batchnorm/view/eigen.hpp"
#include "batchnorm/view/input.hpp"

// Re-estimation step by step, for data that lie on several machines; reestimate.hpp has it in one
// call.
// Longer than most: a pass and the run that it belongs to, which check each other's steps.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

template <class T>
class Reestimation;

/// Stands for the layers while a network runs on a minibatch: wherever the network would call one
/// of its batch norm layers, it calls pass(layer, in) instead, and gets its output. Shapes: as for
/// BatchNorm::normalize. Cost: as there. Thread safety: that of the Reestimation.
template <class T>
class ReestimationPass {
 public:
  /// Notes the statistics of `in`, a view, a matrix or with_residual of two, and normalises it to
  /// `out`.
  /// @throws std::invalid_argument for a layer that is not on the list, or a copy of one that is,
  ///         and what BatchNorm::normalize throws
  template <int Channels>
  void operator()(const BatchNorm<T, Channels>& layer, const Input<T>& in, const Output<T>& out) {
    run_.normalize(layer, in, out);
  }

  /// The same into a new matrix or tensor of the kind of `in`.
  template <int Channels, class In>
  [[nodiscard]] auto operator()(const BatchNorm<T, Channels>& layer, const In& in) {
    auto output = detail::make_owner_like(detail::lead_of(in));
    run_.normalize(layer, in, detail::view_of_owner(detail::lead_of(in), output));
    return output;
  }

  /// Notes the statistics of `in` and does no more: for the last layer, whose output nobody needs.
  /// @throws what operator() throws
  template <int Channels>
  void see(const BatchNorm<T, Channels>& layer, const Input<T>& in) {
    run_.see(layer, in);
  }

 private:
  friend class Reestimation<T>;
  explicit ReestimationPass(Reestimation<T>& run) : run_(run) {}

  Reestimation<T>& run_;
};

/// Takes the statistics of the layers of a network anew, from a whole training set and with the
/// weights as they are (Ioffe and Szegedy 2015, section 3.1; Wu and Johnson 2021, arXiv:2105.07576,
/// "precise BN"). The network stays where it is; what this class needs of it is a function that
/// runs it on a minibatch. Layers are changed by commit() alone, all of them or none.
///
///     Reestimation<float> run({&first, &second});
///     while (!run.is_settled()) {       // once; for layer_after_layer once per layer
///       run.collect(data, forward);     // forward(first example, number of examples, pass)
///       run.merge(other_run);           // of another part of the data; or, between machines,
///       run.share(all_series);          // what all of them collected, merged in a fixed order
///       run.settle();
///     }
///     run.commit();
///
/// Shards lead to the result of one machine up to rounding, and shared in a fixed order to the same
/// bits everywhere. A layer that the network uses several times gets the statistics of all its
/// inputs; for Estimator::paper() each use is a minibatch. Layers that `forward` does not call with
/// a pass stay as they are. Augmentation is a matter of taste, dropout is not: it belongs off.
///
/// Shapes: those of the layers. Cost: settle, merge and share a few operations per channel. Thread
/// safety: not for several threads at once: give each one its own, and merge.
template <class T>
class Reestimation {
  using A = accumulator_t<T>;
  using Size = std::size_t;

 public:
  using Series = MinibatchSeries<A>;  ///< what a pass leaves of a layer

  /// Of layers given by their addresses, which must stay where they are, for layer_after_layer in
  /// the order in which the network uses them first; the options are its choices.
  /// @throws std::invalid_argument when there are none, one is empty, or one is there twice
  explicit Reestimation(std::vector<LayerHandle<T>> layers, const ReestimationOptions& options = {})
      : options_(options), layers_(std::move(layers)) {
    if (layers_.empty()) {
      detail::fail_argument("Reestimation", "layers", "at least one", "none");
    }
    for (const LayerHandle<T>& layer : layers_) {
      if (find(layer.address()) != states_.size()) {
        detail::fail_argument("Reestimation", text_of(states_.size()), "listed once", "twice");
      }
      states_.push_back(layer.state());
      series_.emplace_back(states_.back().channels());
    }
    settled_series_ = series_;
    used_.assign(layers_.size(), false);
  }

  /// One pass over some data: all that this machine has, or a part of it.
  ///
  /// @param forward   runs the network, forward(begin, count, pass) on examples begin ... begin +
  ///                  count - 1; called once per minibatch, and in every pass with the same ones
  /// @param progress  called after each minibatch with a ReestimationProgress; returns Proceed, or
  ///                  nothing
  /// @return whether the pass was completed. After one that was stopped, or that an exception
  ///         ended, this object is of no more use.
  /// @throws what `forward` throws, std::invalid_argument when everything is settled
  template <class Forward, class Callback>
  bool collect(const Minibatches& data, Forward&& forward, Callback&& progress) {
    check_whole("Reestimation::collect");
    check_settled("Reestimation::collect", false);
    is_broken_ = true;
    ReestimationPass<T> pass(*this);
    for (Index k = 0; k < data.count(); ++k) {
      used_.assign(layers_.size(), false);
      forward(data.begin(k), data.begin(k + 1) - data.begin(k), pass);
      const ReestimationProgress now{as_index(passes_) * data.examples() + data.begin(k + 1),
                                     as_index(passes_in_all()) * data.examples()};
      if constexpr (std::is_void<decltype(progress(now))>::value) {
        progress(now);
      } else {
        if (progress(now) == Proceed::no) return false;
      }
    }
    is_broken_ = false;
    return true;
  }
  /// The same without progress.
  template <class Forward>
  bool collect(const Minibatches& data, Forward&& forward) {
    return collect(data, forward, [](const ReestimationProgress&) {});
  }

  /// What was collected in this pass, one series per layer in the order given: what another machine
  /// merges. Of layers that are not looked at in this pass it is empty.
  const std::vector<Series>& series() const { return series_; }

  /// What somebody else has collected in the same pass: of another part of the data, on another
  /// thread.
  /// @throws std::invalid_argument when it has other layers or channels, and what else
  ///         MinibatchSeries::merge throws. Nothing is changed then.
  void merge(const std::vector<Series>& other) {
    check_series("Reestimation::merge", other);
    std::vector<Series> both = series_;
    for (Size i = 0; i < both.size(); ++i) both[i].merge(other[i]);
    series_ = std::move(both);
  }
  /// The same of another run.
  void merge(const Reestimation& other) {
    other.check_whole("Reestimation::merge");
    merge(other.series_);
  }

  /// What all machines have collected, this one among them, takes the place of what this one has:
  /// merged in an order that is the same everywhere, it has the same bits everywhere.
  /// @throws std::invalid_argument as merge, and when it is less than this machine has
  void share(std::vector<Series> all) {
    check_series("Reestimation::share", all);
    for (Size i = 0; i < series_.size(); ++i) {
      const auto check = [&](const char* what, Index shared, Index own) {
        if (shared >= own) return;
        detail::fail_argument(
            "Reestimation::share", text_of(i),
            detail::text("at least the ", own, what, " that this machine has collected"),
            detail::text(shared));
      };
      check(" values", all[i].pooled.count, series_[i].pooled.count);
      check(" minibatches", all[i].means.count, series_[i].means.count);
      check(" variances", all[i].variances.count, series_[i].variances.count);
      check(" examples", all[i].examples, series_[i].examples);
    }
    series_ = std::move(all);
  }

  /// Ends a pass over all data: makes statistics of it.
  /// @throws std::invalid_argument when a layer was never used, or had too few values
  /// @throws std::domain_error when statistics are not finite, or cannot be normalised with
  void settle() {
    check_whole("Reestimation::settle");
    check_settled("Reestimation::settle", false);
    const bool one_pass = options_.order == ReestimationOrder::one_pass;
    if (passes_ == 0) {
      std::vector<State<T>> estimates;
      for (Size i = 0; i < layers_.size(); ++i) estimates.push_back(estimate(i));
      one_pass_ = std::move(estimates);
      if (one_pass) new_ = one_pass_;
    }
    if (one_pass) {
      settled_series_ = series_;
    } else {
      State<T> state = passes_ == 0 ? one_pass_[0] : estimate(passes_);
      frozen_.emplace_back(state, layers_[passes_].options());
      new_.push_back(std::move(state));
      settled_series_[passes_] = series_[passes_];
      for (Series& series : series_) series = Series(series.channels());
    }
    ++passes_;
  }

  /// Whether the statistics of all layers are there, to be committed.
  bool is_settled() const { return new_.size() == layers_.size(); }

  /// Gives all layers their new statistics, which are fresh then (State::staleness), and count as
  /// seen what they come from.
  /// @throws std::invalid_argument before everything is settled
  ReestimationReport commit() {
    check_settled("Reestimation::commit", true);
    for (Size i = 0; i < layers_.size(); ++i) {
      const Index channels = layers_[i].state().channels();
      if (channels == new_[i].channels()) continue;
      detail::fail_argument("Reestimation::commit", text_of(i),
                            detail::text(new_[i].channels(), " channels as before"),
                            detail::text(channels));
    }
    ReestimationReport report;
    report.estimator = options_.estimator;
    report.order = options_.order;
    report.completed = true;
    for (Size i = 0; i < layers_.size(); ++i) report.layers.push_back(report_on(i));
    for (Size i = 0; i < layers_.size(); ++i) layers_[i].set_statistics(new_[i]);
    return report;
  }

 private:
  friend class ReestimationPass<T>;

  static std::string text_of(Size layer) { return detail::text("layer ", layer, " of the list"); }
  static Index as_index(Size number) { return static_cast<Index>(number); }

  Size passes_in_all() const {
    return options_.order == ReestimationOrder::one_pass ? 1 : layers_.size();
  }

  /// The place of a layer among the first states_.size() ones; that number when it is not there.
  Size find(const void* address) const {
    Size i = 0;
    while (i < states_.size() && layers_[i].address() != address) ++i;
    return i;
  }

  void check_whole(const char* function) const {
    if (!is_broken_) return;
    detail::fail_argument(function, "all minibatches of a pass belong to a re-estimation",
                          "passes that were completed",
                          "one that was stopped or has thrown; begin a new Reestimation");
  }
  void check_settled(const char* function, bool settled) const {
    if (is_settled() == settled) return;
    detail::fail_argument(function, "order of the steps",
                          "collect, merge and settle until is_settled(), then commit",
                          settled ? "one of the last before" : "one of the first after it");
  }

  void check_series(const char* function, const std::vector<Series>& other) const {
    check_whole(function);
    check_settled(function, false);
    bool alike = other.size() == series_.size();
    for (Size i = 0; alike && i < series_.size(); ++i) {
      alike = other[i].channels() == series_[i].channels();
    }
    for (Size i = 0; alike && i < series_.size(); ++i) other[i].check(function);
    if (alike) return;
    detail::fail_argument(function, "layers of what was collected elsewhere",
                          "as many, with as many channels each", "others");
  }

  /// The layer that a pass was called with, once it has turned out to be one of the list.
  Size use(const void* address) {
    const Size i = find(address);
    if (i == layers_.size()) {
      detail::fail_argument("ReestimationPass", "a pass is called with the layers themselves",
                            detail::text("one of the ", layers_.size(), " given to Reestimation"),
                            "another layer, or a copy of one");
    }
    const bool in_order = i == 0 || used_[i - 1];
    if (options_.order == ReestimationOrder::layer_after_layer && !in_order) {
      detail::fail_argument("ReestimationPass", "layer after layer follows the list of layers",
                            detail::text("use of ", text_of(i - 1), " before"),
                            detail::text(text_of(i), " first"));
    }
    used_[i] = true;
    return i;
  }
  template <int Channels>
  void normalize(const BatchNorm<T, Channels>& layer, const Input<T>& in, const Output<T>& out) {
    const Size i = use(&layer);
    if (i < frozen_.size()) {
      frozen_[i](in, out, options_.execution);
    } else {
      note(i, layer.normalize(in, out, options_.execution.with_layer(i + 1)), in);
    }
  }

  template <int Channels>
  void see(const BatchNorm<T, Channels>& layer, const Input<T>& in) {
    const Size i = use(&layer);
    constexpr const char* function = "ReestimationPass::see";
    if (i < frozen_.size()) return detail::check_channels(function, in.view(), layer.channels());
    const auto check = [&] { detail::check_channels(function, in.view(), layer.channels()); };
    const Execution numbered = options_.execution.with_layer(i + 1);
    note(i, detail::moments_seen<Channels>(function, layer, in, numbered, check), in);
  }

  template <int Channels>
  void note(Size i, const Moments<A, Channels>& batch, const Input<T>& in) {
    if (passes_ > 0 && i != passes_) return;  // looked at in the first pass, or in one to come
    const Options& options = layers_[i].options();
    if (!detail::check_finite<parameter_t<T>>("ReestimationPass", options, batch)) return;
    series_[i].add(batch, detail::samples_seen(in, options_.execution));
  }

  /// A state with the statistics that the series of a layer leads to.
  State<T> estimate(Size i) const {
    constexpr const char* function = "Reestimation::settle";
    const Series& seen = series_[i];
    if (seen.pooled.count == 0) {
      detail::fail_argument(function, text_of(i), "used by the network", "no input");
    }
    const bool pooled = options_.estimator.is_population();
    const bool sample = layers_[i].options().running_variance == VarianceEstimator::sample;
    if (pooled ? sample && !seen.pooled.has_sample_variance()
               : seen.variances.count < seen.means.count) {
      detail::fail_argument(function, text_of(i), "two values per channel or more",
                            pooled ? "one" : "a minibatch of one");
    }
    const auto& mean = pooled ? seen.pooled.mean : seen.means.mean;
    const typename Moments<A>::Vector variance =
        pooled ? seen.pooled.sum_of_squares / seen.pooled.divisor(sample ? 1 : 0)
               : seen.variances.mean;
    using P = parameter_t<T>;
    for (Index channel = 0; channel < mean.size(); ++channel) {
      if (detail::is_finite_as<P>(mean[channel]) && detail::is_finite_as<P>(variance[channel])) {
        continue;
      }
      detail::fail_domain(function,
                          detail::text("statistics of channel ", channel, " of ", text_of(i)),
                          "finite numbers", "NaN, infinity or overflow");
    }
    State<T> state = states_[i];
    state.set_statistics(mean, variance, seen.minibatches(), detail::values_of(seen.pooled));
    return state;
  }

  LayerReestimate report_on(Size i) const {
    LayerReestimate layer;
    layer.mean = new_[i].running_mean.template cast<double>();
    layer.variance = new_[i].running_variance.template cast<double>();
    const double epsilon = layers_[i].options().epsilon;
    layer.running = detail::gap_between(states_[i], new_[i], epsilon);
    if (options_.order == ReestimationOrder::layer_after_layer) {
      layer.one_pass = detail::gap_between(one_pass_[i], new_[i], epsilon);
    }
    layer.series = settled_series_[i].template cast<double>();
    return layer;
  }

  ReestimationOptions options_;
  std::vector<LayerHandle<T>> layers_;
  std::vector<State<T>> states_;            ///< as they were
  std::vector<Series> series_;              ///< of this pass
  std::vector<Series> settled_series_;      ///< that the new statistics come from
  std::vector<State<T>> one_pass_;          ///< the statistics of the first pass
  std::vector<State<T>> new_;               ///< those that are settled
  std::vector<FrozenBatchNorm<T>> frozen_;  ///< layers that normalise with them already
  std::vector<bool> used_;                  ///< in this minibatch
  Size passes_ = 0;                         ///< completed
  bool is_broken_ = false;
};

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_RECALIBRATE_REESTIMATION_HPP
