// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_MASKED_HPP
#define BATCHNORM_MATH_MASKED_HPP

#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/gathered_list.hpp"
#include "batchnorm/kernels/gathered_map.hpp"
#include "batchnorm/kernels/list_lines.hpp"
#include "batchnorm/kernels/map.hpp"
#include "batchnorm/kernels/pack.hpp"
#include "batchnorm/kernels/reduce.hpp"
#include "batchnorm/kernels/selected.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/kernels/value_list.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/argument.hpp"
#include "batchnorm/view/batch_view.hpp"
#include "batchnorm/view/input.hpp"
#include "batchnorm/view/mask.hpp"

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
              const Operands<T>& data, const ViewShape* inputs, std::size_t sums,
              ListOf which) const override {
    const ValueList& list = which == ListOf::masked ? what().masked : what().counted;
    if (list.count() == 0) return;
    ViewShape dense[max_inputs];
    for (ViewShape& each : dense) each = dense_shape(list.count(), inputs[0]);
    const Plan plan(nullptr, 0, dense, data.inputs);
    const ListLayout layout(list, nullptr, 0, inputs, data.inputs);
    const double* const weights =
        which == ListOf::weighted && !what().weights.empty() ? what().weights.data() : nullptr;
    Operands<T> listed = data;
    const GatheredList<T> gathered(layout, weights, which == ListOf::masked, listed, plan);
    listed.gathered = &gathered;
    Reducer<T>(reduction, call, listed, plan, sums)
        .run(execution.for_elements(plan.traversal().elements()), 0, plan.traversal().channels);
  }

  void map(const Execution& execution, const FormulaCall<T>& call, const Operands<T>& data,
           const ViewShape* outputs, const ViewShape* inputs) const override {
    const ListLayout counted(what().counted, outputs, data.outputs, inputs, data.inputs);
    GatheredMap<T>(counted, call, data, inputs[0].channels).run(execution);
    fill(execution, data, outputs, inputs, 0);
  }

  void map_gradient(const Execution& execution, const FormulaCall<T>& call, const Operands<T>& data,
                    const ViewShape* outputs, const ViewShape* inputs) const override {
    const ListLayout counted(what().counted, outputs, data.outputs, inputs, data.inputs);
    FormulaCall<T> constant = call;
    constant.options.fixed_statistics = true;
    const Index channels = inputs[0].channels;
    if (what().weights.empty() || call.options.fixed_statistics) {
      GatheredMap<T>(counted, call, data, channels).run(execution);
    } else {
      GatheredMap<T>(counted, constant, data, channels)
          .run_weighted(execution, call, what().weights.data());
    }
    if (!this->maps_all()) return fill(execution, data, outputs, inputs, 1);
    const ListLayout masked(what().masked, outputs, data.outputs, inputs, data.inputs);
    GatheredMap<T>(masked, constant, data, channels).run(execution);
  }

  void fill(const Execution& execution, const Operands<T>& data, const ViewShape* outputs,
            const ViewShape* inputs, int kept_input) const override {
    const ListLayout masked(what().masked, outputs, data.outputs, inputs, data.inputs);
    const bool keep = what().output == MaskedOutput::keep;
    fill_list<T>(execution, masked, data, inputs[0].channels, keep ? kept_input : -1);
  }

 private:
  explicit ListedValues(Selection selection) : SelectedValues<T>(std::move(selection)) {}
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
/// read of the mask, and 16 bytes for each run of elements that count and each that does not.
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
