// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_LINEARIZED_HPP
#define BATCHNORM_MATH_LINEARIZED_HPP

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/kernels/list_lines.hpp"
#include "batchnorm/kernels/pack.hpp"
#include "batchnorm/kernels/reduce.hpp"
#include "batchnorm/kernels/selected.hpp"
#include "batchnorm/math/backward.hpp"
#include "batchnorm/math/combination.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"

// A layer at one input, and the sums that its derivatives there depend on. What they are stands in
// second_order.hpp.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Changes of gamma and beta, or cotangents of their gradients; null: none.
template <class C>
struct ParameterDirection {
  const C* gamma = nullptr;
  const C* beta = nullptr;

  template <class A>
  static A at(const C* numbers, Index channel) {
    return numbers != nullptr ? convert<A>(numbers[channel]) : A(0);
  }
};

/// A layer at an input: what its derivatives are made of.
template <class T>
struct LinearizedNorm {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;

  template <int Channels>
  LinearizedNorm(const Options& options, const State<T, Channels>& state,
                 const StatisticsView<A>& statistics, const MinibatchDivisor<A>& minibatch,
                 const ParameterDirection<C>& towards)
      : tables(state.channels()), gamma(state.channels()), direction(towards), divisor(minibatch) {
    for (Index channel = 0; channel < state.channels(); ++channel) {
      const A& mean = statistics.mean[channel];
      A& r = tables.inverse()[channel];
      inverse_std_dev<A, 1>(r, A(statistics.variance[channel] / statistics.divisor),
                            options.epsilon);
      const C pivot = convert<C>(mean);
      tables.pivot()[channel] = pivot;
      tables.rounded_inverse()[channel] = convert<C>(r);
      tables.pivot_error()[channel] = A(mean - convert<A>(pivot)) * r;
      gamma[channel] = gamma_of(options, state, channel);
    }
  }

  CombinationTables<T> tables;
  Eigen::Array<A, Eigen::Dynamic, 1> gamma;
  ParameterDirection<C> direction;
  MinibatchDivisor<A> divisor;
};

/// Writes the coefficients of a map from the sums of a channel.
template <class T>
class DerivativeCoefficients {
 public:
  using A = accumulator_t<T>;
  virtual void write(Index channel, const A* sums) = 0;

  DerivativeCoefficients() = default;
  DerivativeCoefficients(const DerivativeCoefficients&) = default;
  DerivativeCoefficients& operator=(const DerivativeCoefficients&) = default;
  virtual ~DerivativeCoefficients() = default;
};

/// Reduces channels to sums of products, two (of jvp) or five (ProductTerms), and has coefficients
/// written from them.
template <class T>
class ProductReduction final : public Reduction<T> {
  using A = accumulator_t<T>;
  static constexpr bool lanes_are_wide = std::is_same<A, parameter_t<T>>::value;

 public:
  using Sums = Eigen::Matrix<A, Eigen::Dynamic, 5>;

  /// @param write  null: the sums are all that is wanted
  ProductReduction(LinearizedNorm<T>& norm, int count, DerivativeCoefficients<T>* write)
      : sums(Sums::Zero(norm.tables.channels(), 5)), norm_(norm), count_(count), write_(write) {}

  A* result(std::size_t j) override { return sums.col(static_cast<Index>(j)).data(); }
  void prepare(const Plan&, const Operands<T>&, InstructionSet, Index, Index) override {}
  Index finish_many(Index first, Index last) override {
    while (first < last && finish(first, 0, lanes_are_wide) == Outcome::done) ++first;
    return first;
  }
  /// A sum of floats that overflowed may fit in double.
  Outcome finish(Index channel, int, bool in_accumulator) override {
    for (int j = 0; j < count_ && !in_accumulator; ++j) {
      if (!is_finite(sums(channel, j))) return Outcome::retry_in_accumulator;
    }
    const A& error = norm_.tables.pivot_error()[channel];
    sums(channel, 1) -= error * sums(channel, 0);
    if (count_ > 2) sums(channel, 3) -= error * sums(channel, 2);
    if (write_ != nullptr) write(channel, *write_);
    return Outcome::done;
  }

  void write(Index channel, DerivativeCoefficients<T>& coefficients) const {
    A row[5];
    for (int j = 0; j < 5; ++j) row[j] = sums(channel, j);
    coefficients.write(channel, row);
  }

  Sums sums;

 private:
  LinearizedNorm<T>& norm_;
  int count_;
  DerivativeCoefficients<T>* write_;
};

/// Sums of w v and w v h over the values that count, in the accumulator, as no kernel knows
/// weights.
template <class T>
void weighted_products(const SelectedValues<T>& selected, const BatchView<const T>& x,
                       const BatchView<const T>& v, LinearizedNorm<T>& norm,
                       typename ProductReduction<T>::Sums& sums, const Execution& execution) {
  using A = accumulator_t<T>;
  const ValueList& list = selected.what().counted;
  const ViewShape shapes[] = {ViewShape(x), ViewShape(v)};
  const ListLayout layout(list, nullptr, 0, shapes, 2);
  const double* const weights = selected.what().weights.data();
  execution.for_elements(list.count() * x.channels()).for_each(x.channels(), [&](Index channel) {
    ListLine line(layout);
    T values[2][ListLine::capacity];
    const A pivot = convert<A>(norm.tables.pivot()[channel]);
    const A r = norm.tables.inverse()[channel];
    const A error = norm.tables.pivot_error()[channel];
    A sum(0), product(0);
    for (Index rank = 0; rank < list.count(); rank += line.length()) {
      line.locate(rank, (std::min)(packed_elements, list.count() - rank));
      line.copy(0, x.data() + channel * x.channel_stride(), values[0]);
      line.copy(1, v.data() + channel * v.channel_stride(), values[1]);
      for (Index i = 0; i < line.length(); ++i) {
        const A weighted = A(weights[rank + i]) * convert<A>(values[1][i]);
        sum += weighted;
        product += weighted * ((convert<A>(values[0][i]) - pivot) * r - error);
      }
    }
    sums(channel, 0) = sum;
    sums(channel, 1) = product;
  });
}

/// The operands of one loop, in the order of a formula.
template <class T>
struct DerivativeOperands {
  Operands<T> data;
  ViewShape outputs[2];
  ViewShape inputs[3];

  void read(const BatchView<const T>& view) {
    data.from[data.inputs] = view.data();
    inputs[data.inputs++] = ViewShape(view);
  }
  void write(const BatchView<T>& view) {
    data.to[data.outputs] = view.data();
    outputs[data.outputs++] = ViewShape(view);
  }
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_LINEARIZED_HPP
