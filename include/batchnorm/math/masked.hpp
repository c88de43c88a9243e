// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_MASKED_HPP
#define BATCHNORM_MATH_MASKED_HPP

#include <algorithm>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/blended_map.hpp"
#include "batchnorm/kernels/fill_list.hpp"
#include "batchnorm/kernels/fused.hpp"
#include "batchnorm/kernels/gathered_list.hpp"
#include "batchnorm/kernels/gathered_map.hpp"
#include "batchnorm/kernels/gradient_scan.hpp"
#include "batchnorm/kernels/list_lines.hpp"
#include "batchnorm/kernels/map.hpp"
#include "batchnorm/kernels/pack.hpp"
#include "batchnorm/kernels/reduce.hpp"
#include "batchnorm/kernels/selected.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/kernels/value_list.hpp"
#include "batchnorm/kernels/weighted_rows.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/argument.hpp"
#include "batchnorm/view/batch_view.hpp"
#include "batchnorm/view/input.hpp"
#include "batchnorm/view/mask.hpp"

// Inputs of which some elements count, and the loops over them: all that is compiled for masks.
// Longer than most: two public functions and one class between them and the loops.

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
    Selection selection = Selector(function, mask, view.samples(), view.positions()).select();
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
    map_counted(execution, call, data, outputs, inputs, {0, inputs[0].channels});
    if (what().masked.count() == 0) return;
    const ListLayout masked(what().masked, outputs, data.outputs, inputs, data.inputs);
    fill_list<T>(execution, masked, data, {0, inputs[0].channels}, kept(0),
                 streams(call, data, outputs, inputs));
  }

  void map_gradient(const Execution& execution, const FormulaCall<T>& call, const Operands<T>& data,
                    const ViewShape* outputs, const ViewShape* inputs, const ChannelRange& channels,
                    bool masked_gradients) const override {
    FormulaCall<T> constant = call;
    constant.options.fixed_statistics = true;
    const Index all = inputs[0].channels;
    const bool maps_masked = this->maps_all() && masked_gradients && what().masked.count() > 0;
    const ListLayout counted(what().counted, outputs, data.outputs, inputs, data.inputs);
    const ListLayout masked(what().masked, outputs, data.outputs, inputs, data.inputs);
    const bool is_weighted = !what().weights.empty() && !call.options.fixed_statistics;
    if (is_weighted && WeightedRowMap<T>::fits(counted, call, all)) {
      WeightedRowMap<T>(counted, constant, call, data, all, what().weights.data())
          .run(execution, channels);
    } else if (is_weighted) {
      GatheredMap<T>(counted, constant, data, all, false)
          .run_weighted(execution, channels, call, what().weights.data());
    } else if (maps_masked && masked.is_along_channels()) {
      const bool streaming = streams(call, data, outputs, inputs);
      GatheredMap<T>(counted, call, data, all, streaming)
          .run_with(GatheredMap<T>(masked, constant, data, all, streaming), execution, channels);
      return;
    } else if (maps_masked && BlendedMap<T>::fits(masked, call)) {
      return BlendedMap<T>(masked, call, constant, data, all).run(execution, channels);
    } else {
      map_counted(execution, call, data, outputs, inputs, channels);
    }
    if (what().masked.count() == 0) return;
    if (maps_masked) {
      GatheredMap<T>(masked, constant, data, all, false).run(execution, channels);
    } else {
      fill_list<T>(execution, masked, data, channels, this->maps_all() ? -1 : kept(1),
                   streams(call, data, outputs, inputs));
    }
  }

  void reduce_and_map_gradient(const Execution& given, const ReduceAndMap<T>& work,
                               MaskedSums<T>& masked, const ViewShape* outputs,
                               const ViewShape* inputs) const override {
    const Plan reduced = plan_of(work.reduced, outputs, inputs);
    const Plan mapped = plan_of(work.mapped, outputs, inputs);
    const Index elements = reduced.traversal().elements();
    const Index bytes = elements * static_cast<Index>(sizeof(T) * work.mapped.inputs);
    const Execution execution = given.for_elements(elements);
    const Index channels = inputs[0].channels;
    // Of all channels, as bits depend on it, and must not on which of them are taken together.
    const bool more = has_masked_gradients(given, work.reduced, inputs, {0, channels});
    const auto run = [&](const Execution& part, const ChannelRange& range) {
      sum_gradient(part, work.reduction, work.reduce_call, work.reduced, masked, inputs, work.sums,
                   range, more);
      map_gradient(part, work.map_call, work.mapped, outputs, inputs, range, more);
    };
    const Index together =
        fused_channels(reduced.traversal(), mapped.traversal(), bytes, execution.threads());
    if (together == 0) return run(given, {0, channels});
    const Execution alone = Execution::serial().with(execution.instruction_set());
    for_groups(execution, channels, together, [&](Index first, Index last, Index end) {
      run(alone, {first, last, last < end ? last - first : 0});
    });
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
                 has_masked_gradients(execution, data, inputs, all));
  }

 private:
  using A = accumulator_t<T>;

  explicit ListedValues(Selection selection) : SelectedValues<T>(std::move(selection)) {}

  /// Where masked outputs have gradients, too, channels are summed as without a mask, except those
  /// of which something that is masked is not finite: it is left out value by value.
  void sum_gradient(const Execution& execution, Reduction<T>& reduction, const FormulaCall<T>& call,
                    const Operands<T>& data, MaskedSums<T>& masked, const ViewShape* inputs,
                    std::size_t sums, const ChannelRange& channels, bool more) const {
    std::vector<A> known;
    if (more && what().counted.count() > 0) {
      const Plan plan = plan_of(data, nullptr, inputs);
      Reducer<T>(reduction, call, data, plan, sums)
          .run(execution.for_elements(plan.traversal().elements()), channels.first, channels.last);
      known = results_of(reduction, sums, channels);
      if (std::all_of(known.begin(), known.end(), is_finite<A>)) return;
    }
    reduce(execution, reduction, call, data, inputs, sums, ListOf::counted, channels);
    if (!more) return;
    reduce(execution, masked.reduction(), call, data, inputs, sums, ListOf::masked, channels);
    masked.join(channels.first, channels.last);
    if (known.empty()) return;
    restore(reduction, known, sums, channels);
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
  /// Those of channels all of whose results are finite.
  static void restore(Reduction<T>& reduction, const std::vector<A>& known, std::size_t sums,
                      const ChannelRange& channels) {
    const auto of = [&](std::size_t j, Index c) {
      return known[j * static_cast<std::size_t>(channels.count()) +
                   static_cast<std::size_t>(c - channels.first)];
    };
    for (Index c = channels.first; c < channels.last; ++c) {
      bool finite = true;
      for (std::size_t j = 0; j < sums; ++j) finite = finite && is_finite(of(j, c));
      for (std::size_t j = 0; finite && j < sums; ++j) reduction.result(j)[c] = of(j, c);
    }
  }

  bool has_masked_gradients(const Execution& execution, const Operands<T>& data,
                            const ViewShape* inputs, const ChannelRange& channels) const {
    if (!this->maps_all() || what().masked.count() == 0) return false;
    const ListLayout masked(what().masked, nullptr, 0, inputs, data.inputs);
    return GradientScan<T>(masked, 1, data.from[1], channels).any(execution);
  }

  /// The number of the input that masked outputs keep, or -1.
  int kept(int input) const { return what().output == MaskedOutput::keep ? input : -1; }

  static bool streams(const FormulaCall<T>& call, const Operands<T>& data, const ViewShape* outputs,
                      const ViewShape* inputs) {
    return Mapper<T>(call, data, plan_of(data, outputs, inputs)).streams();
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
    if (is_in_place(data) || (streaming && in_pieces)) {
      GatheredMap<T>(counted, call, data, all, streaming).run(execution, channels);
      return;
    }
    const Mapper<T> mapper(call, data, plan_of(data, outputs, inputs), true);
    if (channels.count() == all) {
      mapper.run(execution);
    } else {
      mapper.run_channels(execution.instruction_set(), channels.first, channels.last,
                          channels.next == 0 ? channels.last : all);
    }
  }

  static bool is_in_place(const Operands<T>& data) {
    for (std::size_t o = 0; o < data.outputs; ++o) {
      for (std::size_t i = 0; i < data.inputs; ++i) {
        if (data.to[o] == data.from[i]) return true;
      }
    }
    return false;
  }
};

template <class In>
struct ScalarOf {
  using Type = std::remove_cv_t<typename In::Scalar>;
};
template <class First, class Residual>
struct ScalarOf<WithResidual<First, Residual>> : ScalarOf<std::remove_reference_t<First>> {};

/// Refuses, when compiled, what cannot be masked.
template <class In>
void check_maskable() {
  static_assert(!is_masked_input<In>,
                "batchnorm: an input has one mask or one set of weights; a weight of 0 masks");
  static_assert(is_argument<In> || is_with_residual<In> || is_masked_input<In>,
                "batchnorm: what is masked is a BatchView, an Eigen matrix, array, map, ref, block "
                "or expression, or with_residual of two");
}

template <bool Weighted, class In, class M>
auto make_masked(In&& in, const M& mask, Weights kind, MaskedOutput output) {
  using Plain = std::remove_cv_t<std::remove_reference_t<In>>;
  check_maskable<Plain>();
  using T = std::remove_cv_t<typename ScalarOf<Plain>::Type>;
  MaskedInput<In, T> masked{std::forward<In>(in), {}};
  describe_mask<Weighted>(masked.mask, mask);
  masked.mask.kind = kind;
  masked.mask.output = output;
  masked.mask.select = &ListedValues<T>::select;
  return masked;
}

}  // namespace detail

/// An input of which only some elements count: the frames of sequences of different lengths, say,
/// without their padding.
///
///     layer.train(masked(x, m), y);                    true in m: counts
///     layer.backward(batch, masked(x, m), dy, dx);
///     moments_of(masked(x, m));
///
/// Statistics are those of the elements that count, and of nothing else: their bits are the same
/// however much padding lies between them, on as many threads as there are. What does not count is
/// never read for them, so that NaN under the mask changes nothing. It is normalised with them,
/// though, and gets dL/dx = gamma / sqrt(variance + epsilon) dL/dy, unless `output` says otherwise.
/// Where nothing counts, no statistics follow, the moments have a count of 0, and outputs that were
/// to be normalised are 0.
///
/// Backward (math/backward.hpp derives it): an output under the mask counts for the loss where it
/// has a gradient that is not 0 and it and its input are finite; under MaskedOutput::zero and keep
/// it never does.
///
/// @param in      a view, an Eigen object, or with_residual of two
/// @param mask    bool: an Eigen vector of one entry per example (features x examples), an Eigen
///                matrix or array of samples x positions, an expression of these, or a BatchView of
///                one channel
/// @param output  what becomes of the elements that do not count
/// The call that it is written in throws std::invalid_argument for a mask of another shape. Cost: a
/// read of the mask, and 16 bytes for each run of elements that count and each that does not; where
/// these are shorter than 16 elements, 9 bytes per eight elements more.
template <class In, class Mask>
auto masked(In&& in, const Mask& mask, MaskedOutput output = MaskedOutput::normalize) {
  return detail::make_masked<false>(std::forward<In>(in), mask, Weights::frequency, output);
}

/// An input whose elements count with weights:
///
///     mean = sum(w x) / W     variance = sum(w (x - mean)^2) / W     W = sum(w)
///
///     layer.train(weighted(x, w, Weights::frequency), y);
///
/// The kind decides the unbiased variance that goes into the running one
/// (VarianceEstimator::sample); see Weights. An element of weight 0 is masked. Weights that are all
/// 1 give the bits of no weights at all. Weights do not weigh the loss: that is for dy to do.
///
/// @param weights  as a mask of masked, but real numbers, in any type
/// The call that it is written in throws std::domain_error for weights that are negative, NaN,
/// infinite, or whose squares overflow; and for a sum of W - 1 that is not positive, where a
/// running variance is divided by it. Cost: sums in double, a few times those without weights;
/// 8 bytes more per value of a channel.
template <class In, class Weight>
auto weighted(In&& in, const Weight& weights, Weights kind,
              MaskedOutput output = MaskedOutput::normalize) {
  return detail::make_masked<true>(std::forward<In>(in), weights, kind, output);
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_MASKED_HPP
