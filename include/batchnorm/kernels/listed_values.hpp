// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_LISTED_VALUES_HPP
#define BATCHNORM_KERNELS_LISTED_VALUES_HPP

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/blended_map.hpp"
#include "batchnorm/kernels/blended_rows.hpp"
#include "batchnorm/kernels/fill_list.hpp"
#include "batchnorm/kernels/fused.hpp"
#include "batchnorm/kernels/gathered_list.hpp"
#include "batchnorm/kernels/gathered_map.hpp"
#include "batchnorm/kernels/gradient_scan.hpp"
#include "batchnorm/kernels/join_results.hpp"
#include "batchnorm/kernels/list_lines.hpp"
#include "batchnorm/kernels/map.hpp"
#include "batchnorm/kernels/pack.hpp"
#include "batchnorm/kernels/reduce.hpp"
#include "batchnorm/kernels/selected.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/kernels/value_list.hpp"
#include "batchnorm/kernels/weighted_rows.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"
#include "batchnorm/view/mask.hpp"

// The driver of the loops over what a mask or weights select: which of them is taken is decided
// here.
// Longer than most: forward, backward and weights choose between the same loops.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// What a mask or weights select of arrays of one scalar: the only code of the library that is
/// compiled for masks.
template <class T>
class ListedValues final : public SelectedValues<T> {
 public:
  using SelectedValues<T>::what;

  static SelectedPointer<T> select(const char* function, const MaskArgument& mask,
                                   const BatchView<const T>& view) {
    const bool other_order =
        mask.ordered && view.positions() > 1 &&
        mask.last_fastest != (view.position_order() == PositionOrder::last_fastest);
    if (other_order) {
      fail_argument(function, "positions of a mask must be counted as those of the input",
                    "tensors of one storage order", "a row-major and a column-major tensor");
    }
    const Index step = view.positions() > 1 ? view.position_stride() : view.sample_stride();
    Selection selection =
        Selector(function, mask, view.samples(), view.positions(), step == 1).select();
    // Weights that are all 1 say nothing. A mask without a hole is still a mask, so that its bits
    // are those of the same values with padding between them.
    const bool nothing_said =
        mask.read != nullptr && selection.weights.empty() && selection.masked.count() == 0;
    if (nothing_said) return nullptr;
    return SelectedPointer<T>(new ListedValues(std::move(selection)));
  }

  void reduce(const Execution& execution, Reduction<T>& reduction, const FormulaCall<T>& call,
              const Operands<T>& data, const ViewShape* inputs, std::size_t sums, ListOf which,
              const ChannelRange& channels) const override {
    const ValueList& list = which == ListOf::masked ? what().masked : what().counted;
    if (list.count() == 0) return;
    const ListLayout layout(list, nullptr, 0, inputs, data.inputs);
    ViewShape dense[max_inputs];
    const Traversal as_it_lies = Plan(nullptr, 0, inputs, data.inputs).traversal();
    for (ViewShape& each : dense) each = dense_shape(list.count(), as_it_lies);
    const Plan plan(nullptr, 0, dense, data.inputs);
    const double* const weights =
        which == ListOf::weighted && !what().weights.empty() ? what().weights.data() : nullptr;
    Operands<T> listed = data;
    const GatheredList<T> gathered(layout, weights, which == ListOf::masked, listed, plan);
    listed.gathered = &gathered;
    Reducer<T>(reduction, call, listed, plan, sums)
        .run(execution.for_elements(plan.traversal().elements()), channels.first, channels.last);
  }

  void map(const Execution& execution, const FormulaCall<T>& call, const Operands<T>& data,
           const ViewShape* outputs, const ViewShape* inputs) const override {
    map_some(execution, call, data, outputs, inputs, {0, inputs[0].channels});
  }

  void map_gradient(const Execution& execution, const FormulaCall<T>& call, const Operands<T>& data,
                    const ViewShape* outputs, const ViewShape* inputs, const ChannelRange& channels,
                    bool masked_gradients) const override {
    map_gradient_with(place_weights(), execution, call, data, outputs, inputs, channels,
                      masked_gradients);
  }

  bool reduce_and_map(const Execution& given, const ReduceAndMap<T>& work, const ViewShape* outputs,
                      const ViewShape* inputs) const override {
    const FusedGroups<T> groups(given, work.reduced, work.mapped, outputs, inputs);
    groups.run([&](const Execution& part, const ChannelRange& range) {
      reduce(part, work.reduction, work.reduce_call, work.reduced, inputs, work.sums,
             ListOf::weighted, range);
      if (!groups.is_fused()) return;
      if (this->maps_all()) {
        map_everything(Mapper<T>(work.map_call, work.mapped, plan_of(work.mapped, outputs, inputs)),
                       part, range, inputs[0].channels);
      } else {
        map_some(part, work.map_call, work.mapped, outputs, inputs, range);
      }
    });
    return groups.is_fused();
  }

  void reduce_and_map_gradient(const Execution& given, const ReduceAndMap<T>& work,
                               MaskedSums<T>& masked, const ViewShape* outputs,
                               const ViewShape* inputs) const override {
    const std::vector<C> weights = place_weights();
    const auto run = [&](const Execution& part, const ChannelRange& range) {
      const auto found = masked_gradients_of(part, work.reduced, inputs, range);
      sum_gradient(part, work.reduction, work.reduce_call, work.reduced, masked, inputs, work.sums,
                   range, found);
      map_gradient_with(weights, part, work.map_call, work.mapped, outputs, inputs, range,
                        found.any());
      fill_others(part, work.mapped, outputs, inputs, range, found);
    };
    FusedGroups<T>(given, work.reduced, work.mapped, outputs, inputs).run(run);
  }

  void fill(const Execution& execution, const Operands<T>& data, const ViewShape* outputs,
            const ViewShape* inputs, int kept_input) const override {
    if (what().masked.count() == 0) return;
    const ListLayout masked(what().masked, outputs, data.outputs, inputs, data.inputs);
    fill_list<T>(execution, masked, data, {0, inputs[0].channels}, kept(kept_input), false);
  }

  void reduce_gradient(const Execution& execution, Reduction<T>& reduction,
                       const FormulaCall<T>& call, const Operands<T>& data, MaskedSums<T>& masked,
                       const ViewShape* inputs, std::size_t sums) const override {
    const ChannelRange all{0, inputs[0].channels};
    sum_gradient(execution, reduction, call, data, masked, inputs, sums, all,
                 masked_gradients_of(execution, data, inputs, all));
  }

 private:
  using A = accumulator_t<T>;
  using C = parameter_t<T>;

  explicit ListedValues(Selection selection) : SelectedValues<T>(std::move(selection)) {}

  /// Channels in which masked outputs have gradients, too, are summed as without a mask, unless
  /// something that is masked is not finite: that is left out value by value. How a channel is
  /// summed depends on no other.
  void sum_gradient(const Execution& execution, Reduction<T>& reduction, const FormulaCall<T>& call,
                    const Operands<T>& data, MaskedSums<T>& masked, const ViewShape* inputs,
                    std::size_t sums, const ChannelRange& channels,
                    const FoundChannels& found) const {
    std::vector<A> known;
    // Where nothing counts, the list of it resets no sums.
    if (found.any() && what().counted.count() > 0) {
      const Plan plan = plan_of(data, nullptr, inputs);
      Reducer<T>(reduction, call, data, plan, sums)
          .run(execution.for_elements(plan.traversal().elements()), channels.first, channels.last);
      known = results_of(reduction, sums, channels);
      if (found.all() && std::all_of(known.begin(), known.end(), is_finite<A>)) return;
    }
    reduce(execution, reduction, call, data, inputs, sums, ListOf::counted, channels);
    if (!found.any()) return;
    reduce(execution, masked.reduction(), call, data, inputs, sums, ListOf::masked, channels);
    masked.join(channels.first, channels.last);
    if (known.empty()) return;
    restore(reduction, known, sums, channels, found);
    masked.finish(channels.first, channels.last);
  }

  static std::vector<A> results_of(Reduction<T>& reduction, std::size_t sums,
                                   const ChannelRange& channels) {
    std::vector<A> all;
    all.reserve(sums * static_cast<std::size_t>(channels.count()));
    for (std::size_t j = 0; j < sums; ++j) {
      const A* const result = reduction.result(j);
      all.insert(all.end(), result + channels.first, result + channels.last);
    }
    return all;
  }
  /// Those of the channels that were found, where they are finite.
  static void restore(Reduction<T>& reduction, const std::vector<A>& known, std::size_t sums,
                      const ChannelRange& channels, const FoundChannels& found) {
    const auto of = [&](std::size_t j, Index c) {
      return known[j * static_cast<std::size_t>(channels.count()) +
                   static_cast<std::size_t>(c - channels.first)];
    };
    for (Index c = channels.first; c < channels.last; ++c) {
      bool good = found.has(c - channels.first);
      for (std::size_t j = 0; j < sums; ++j) good = good && is_finite(of(j, c));
      for (std::size_t j = 0; good && j < sums; ++j) reduction.result(j)[c] = of(j, c);
    }
  }

  FoundChannels masked_gradients_of(const Execution& execution, const Operands<T>& data,
                                    const ViewShape* inputs, const ChannelRange& channels) const {
    if (!this->maps_all() || what().masked.count() == 0) return FoundChannels(channels.count());
    const ListLayout masked(what().masked, nullptr, 0, inputs, data.inputs);
    return GradientScan<T>::find(execution, masked, 1, data.from[1], channels);
  }

  /// After a map of masked gradients: channels without one get the zeros that they get alone.
  void fill_others(const Execution& execution, const Operands<T>& data, const ViewShape* outputs,
                   const ViewShape* inputs, const ChannelRange& channels,
                   const FoundChannels& found) const {
    if (!found.any() || found.all()) return;
    const ListLayout masked(what().masked, outputs, data.outputs, inputs, data.inputs);
    for (Index c = channels.first; c < channels.last; ++c) {
      if (!found.has(c - channels.first)) {
        fill_list<T>(execution, masked, data, {c, c + 1}, -1, false);
      }
    }
  }

  void map_gradient_with(const std::vector<C>& weights, const Execution& execution,
                         const FormulaCall<T>& call, const Operands<T>& data,
                         const ViewShape* outputs, const ViewShape* inputs,
                         const ChannelRange& channels, bool masked_gradients) const {
    FormulaCall<T> constant = call;
    constant.options.fixed_statistics = true;
    const Index all = inputs[0].channels;
    const ListLayout masked(what().masked, outputs, data.outputs, inputs, data.inputs);
    const bool has_masked = what().masked.count() > 0;
    const bool maps_masked = this->maps_all() && masked_gradients && has_masked;
    const int others_keep = this->maps_all() ? -1 : kept(1);
    const bool streaming = streams(call, data, outputs, inputs);
    if (!what().weights.empty() && !call.options.fixed_statistics) {
      const ListLayout counted(what().counted, outputs, data.outputs, inputs, data.inputs);
      const bool may_write_all = maps_masked || !has_masked || !data.is_in_place();
      if (may_write_all && BlendedMap<T>::fits_weights(counted, call)) {
        BlendedMap<T>(counted, constant, {&call, -1, weights.data()}, data, all, streaming)
            .run(execution, channels);
        if (maps_masked) return;
      } else {
        map_weighted(counted, execution, constant, call, data, all, streaming, channels);
      }
    } else if (has_masked && BlendedRows<T>::fits(masked, call, all)) {
      return BlendedRows<T>(masked, call, maps_masked ? &constant : nullptr, others_keep, data, all,
                            streaming)
          .run(execution, channels);
    } else if (maps_masked && masked.is_along_channels()) {
      const ListLayout counted(what().counted, outputs, data.outputs, inputs, data.inputs);
      return GatheredMap<T>(counted, call, data, all, streaming)
          .run_with(GatheredMap<T>(masked, constant, data, all, streaming), execution, channels);
    } else if (has_masked && BlendedMap<T>::fits(masked, call)) {
      return BlendedMap<T>(masked, call, {maps_masked ? &constant : nullptr, others_keep, nullptr},
                           data, all, streaming)
          .run(execution, channels);
    } else {
      map_counted(execution, call, data, outputs, inputs, channels);
    }
    if (maps_masked) {
      GatheredMap<T>(masked, constant, data, all, false).run(execution, channels);
    } else if (has_masked) {
      fill_list<T>(execution, masked, data, channels, others_keep, streaming);
    }
  }

  /// dL/dx of what counts, with its weights, where values of a channel are no neighbours.
  ///
  /// @param constant  the call with constant statistics
  void map_weighted(const ListLayout& counted, const Execution& execution,
                    const FormulaCall<T>& constant, const FormulaCall<T>& call,
                    const Operands<T>& data, Index all, bool streaming,
                    const ChannelRange& channels) const {
    const double* const weights = what().weights.data();
    const double scale = what().scale;
    if (WeightedRowMap<T>::fits(counted, call, all)) {
      WeightedRowMap<T>(counted, constant, call, data, all, weights, scale, streaming)
          .run(execution, channels);
    } else {
      GatheredMap<T>(counted, constant, data, all, false)
          .run_weighted(execution, channels, call, weights, scale);
    }
  }

  /// The scaled weights of all places, 0 where nothing counts; none where all are 1.
  std::vector<C> place_weights() const {
    std::vector<C> weights;
    if (what().weights.empty()) return weights;
    const ValueList& list = what().counted;
    weights.assign(static_cast<std::size_t>(list.count() + what().masked.count() +
                                            WeightedTermsKernel<T>::room),
                   C(0));
    for (Index i = 0; i < list.intervals(); ++i) {
      std::transform(what().weights.begin() + list.rank(i),
                     what().weights.begin() + list.rank(i + 1), weights.begin() + list.begin(i),
                     [&](double weight) { return C(weight * what().scale); });
    }
    return weights;
  }

  /// The number of the input that masked outputs keep, or -1.
  int kept(int input) const { return what().output == MaskedOutput::keep ? input : -1; }

  static bool streams(const FormulaCall<T>& call, const Operands<T>& data, const ViewShape* outputs,
                      const ViewShape* inputs) {
    return Mapper<T>(call, data, plan_of(data, outputs, inputs)).streams();
  }

  /// Maps what counts, and fills what does not.
  void map_some(const Execution& execution, const FormulaCall<T>& call, const Operands<T>& data,
                const ViewShape* outputs, const ViewShape* inputs,
                const ChannelRange& channels) const {
    const ListLayout masked(what().masked, outputs, data.outputs, inputs, data.inputs);
    const bool streaming = streams(call, data, outputs, inputs);
    if (what().masked.count() > 0 && BlendedMap<T>::fits(masked, call)) {
      return BlendedMap<T>(masked, call, {nullptr, kept(0), nullptr}, data, inputs[0].channels,
                           streaming)
          .run(execution, channels);
    }
    if (what().masked.count() > 0 && BlendedRows<T>::fits(masked, call, inputs[0].channels)) {
      return BlendedRows<T>(masked, call, nullptr, kept(0), data, inputs[0].channels, streaming)
          .run(execution, channels);
    }
    map_counted(execution, call, data, outputs, inputs, channels);
    if (what().masked.count() == 0) return;
    fill_list<T>(execution, masked, data, channels, kept(0), streaming);
  }

  /// Maps what counts. Where that is less work it maps everything: what is masked is written
  /// afterwards, and must not be lost before, as it would be where an output is an input.
  void map_counted(const Execution& execution, const FormulaCall<T>& call, const Operands<T>& data,
                   const ViewShape* outputs, const ViewShape* inputs,
                   const ChannelRange& channels) const {
    const ListLayout counted(what().counted, outputs, data.outputs, inputs, data.inputs);
    const bool streaming = streams(call, data, outputs, inputs);
    const bool in_pieces = counted.is_along_channels() || !what().masked.is_fragmented();
    const Index all = inputs[0].channels;
    if (data.is_in_place() || (streaming && in_pieces)) {
      GatheredMap<T>(counted, call, data, all, streaming).run(execution, channels);
      return;
    }
    map_everything(Mapper<T>(call, data, plan_of(data, outputs, inputs), true), execution, channels,
                   all);
  }

  static void map_everything(const Mapper<T>& mapper, const Execution& execution,
                             const ChannelRange& channels, Index all) {
    if (channels.count() == all) {
      mapper.run(execution);
    } else {
      mapper.run_channels(execution.instruction_set(), channels.first, channels.last,
                          channels.next == 0 ? channels.last : all);
    }
  }
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_LISTED_VALUES_HPP
