// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_WEIGHTED_PRODUCTS_HPP
#define BATCHNORM_MATH_WEIGHTED_PRODUCTS_HPP

#include <algorithm>
#include <type_traits>
#include <vector>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/list_lines.hpp"
#include "batchnorm/kernels/place_bits.hpp"
#include "batchnorm/kernels/selected.hpp"
#include "batchnorm/kernels/traversal.hpp"
#include "batchnorm/kernels/tuning.hpp"
#include "batchnorm/kernels/weighted_reduce.hpp"
#include "batchnorm/kernels/weighted_terms.hpp"
#include "batchnorm/math/linearized.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"

// The sums of second_order.hpp where values have weights.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Sums of w v and w v h over the values that count, one by one in the accumulator: for what is
/// beyond the range of kernels, or would lose digits in them.
///
/// @param scale  what every weight is multiplied by
template <class T>
void weighted_products(const SelectedValues<T>& selected, const BatchView<const T>& x,
                       const BatchView<const T>& v, LinearizedNorm<T>& norm,
                       ProductReduction<T>& into, const Execution& execution,
                       const ChannelRange& range, double scale) {
  using A = accumulator_t<T>;
  const ValueList& list = selected.what().counted;
  const ViewShape shapes[] = {ViewShape(x), ViewShape(v)};
  const ListLayout layout(list, nullptr, 0, shapes, 2);
  const double* const weights = selected.what().weights.data();
  execution.for_elements(list.count() * range.count()).for_each(range.count(), [&](Index task) {
    const Index channel = range.first + task;
    ListLine line(layout);
    T values[2][ListLine::capacity + PlaceBits::per_byte];  // as copies may write a little more
    const A pivot = convert<A>(norm.tables.pivot()[channel]);
    const A r = norm.tables.wide_inverse()[channel];
    const A error = norm.tables.pivot_error()[channel];
    A sum(0), product(0);
    for (Index rank = 0; rank < list.count(); rank += line.length()) {
      line.locate(rank, (std::min)(packed_elements, list.count() - rank));
      line.copy(0, x.data() + channel * x.channel_stride(), values[0]);
      line.copy(1, v.data() + channel * v.channel_stride(), values[1]);
      for (Index i = 0; i < line.length(); ++i) {
        const A weighted = A(weights[rank + i] * scale) * convert<A>(values[1][i]);
        sum += weighted;
        product += weighted * ((convert<A>(values[0][i]) - pivot) * r - error);
      }
    }
    into.result(0)[channel] = sum;
    into.result(1)[channel] = product;
  });
}

/// The sums of products of a selection with weights, whose statistics depend on x. Weights
/// and what they are divided by are scaled (Selection), which changes no derivative.
template <class T>
class WeightedProducts {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;
  /// Not half and bfloat16, in which w v would lose digits that v has.
  static constexpr bool by_kernels = std::is_same<T, C>::value && std::is_floating_point<T>::value;

 public:
  /// @param operands  x, then others, and v as the last one
  /// @param what      GradientTerms, and what is summed of the operands as they are
  WeightedProducts(const SelectedValues<T>& selected, LinearizedNorm<T>& norm,
                   const BatchView<const T>& x, const BatchView<const T>& v,
                   const DerivativeOperands<T>& operands, const WeightedSums<T>& what)
      : selected_(selected),
        norm_(norm),
        x_(x),
        v_(v),
        data_(operands.inputs_alone()),
        shapes_(operands.inputs),
        what_(what),
        layout_(selected.what().counted, nullptr, 0, operands.inputs, data_.inputs),
        scale_(selected.what().scale) {
    norm.divisor.divisor *= A(scale_);
    const std::vector<double>& weights = selected.what().weights;
    weights_.reserve(weights.size());
    for (const double weight : weights) weights_.push_back(C(weight * scale_));
  }
  WeightedProducts(const WeightedProducts&) = delete;
  WeightedProducts& operator=(const WeightedProducts&) = delete;

  /// Weights as they are to be used with the divisor.
  const C* weights() const { return weights_.data(); }

  /// The sums of some channels.
  void sum(const Execution& execution, const ChannelRange& range, ProductReduction<T>& into) const {
    if constexpr (by_kernels) {
      WeightedReducer<T>(layout_, weights(), data_, what_, x_.channels())
          .run(execution, range, into.results());
      const std::vector<Index> again = finish(range, into);
      if (again.empty()) return;
      ProductReduction<T> wide(norm_, static_cast<int>(what_.sums), nullptr);
      sum_in_accumulator(execution, range, wide);
      for (const Index channel : again) into.sums.row(channel) = wide.sums.row(channel);
    } else {
      sum_in_accumulator(execution, range, into);
    }
  }

 private:
  /// @return channels that are beyond the range of the lanes
  static std::vector<Index> finish(const ChannelRange& range, ProductReduction<T>& into) {
    std::vector<Index> again;
    for (Index channel = range.first; channel < range.last; ++channel) {
      channel = into.finish_many(channel, range.last);
      if (channel == range.last) break;
      if (into.finish(channel, 0, false) != Outcome::done) again.push_back(channel);
    }
    return again;
  }

  void sum_in_accumulator(const Execution& execution, const ChannelRange& range,
                          ProductReduction<T>& into) const {
    if (what_.plain != nullptr) {
      selected_.reduce(execution, into, *what_.plain, data_, shapes_, what_.sums, ListOf::counted,
                       range);
    }
    weighted_products(selected_, x_, v_, norm_, into, execution, range, scale_);
  }

  const SelectedValues<T>& selected_;
  LinearizedNorm<T>& norm_;
  const BatchView<const T>& x_;
  const BatchView<const T>& v_;
  Operands<T> data_;
  const ViewShape* shapes_;
  WeightedSums<T> what_;
  ListLayout layout_;
  double scale_;
  std::vector<C> weights_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_WEIGHTED_PRODUCTS_HPP
