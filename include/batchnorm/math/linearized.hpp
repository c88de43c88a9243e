// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_LINEARIZED_HPP
#define BATCHNORM_MATH_LINEARIZED_HPP

#include <Eigen/Core>
#include <cstddef>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/channels.hpp"
#include "batchnorm/kernels/reduce.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/kernels/simd_memory.hpp"
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
};

/// Reads the entries of some channels of a table that need not be there.
template <class A, int Lanes, class C>
[[gnu::always_inline]] inline void load_or(simd::Vector<A, Lanes>& numbers, const C* table,
                                           const ChannelGroup& group, const A& otherwise) {
  simd::broadcast<A, Lanes>(numbers, otherwise);
  if (table != nullptr) load_channels<A, Lanes>(numbers, table, group);
}

/// A layer at an input: what its derivatives are made of.
template <class T>
struct LinearizedNorm {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;

  template <int Channels>
  LinearizedNorm(const Options& options, const State<T, Channels>& state,
                 const StatisticsView<A>& statistics, const MinibatchDivisor<A>& minibatch,
                 const ParameterDirection<C>& towards)
      : tables(state.channels()),
        parameters(parameters_of(options, state)),
        direction(towards),
        divisor(minibatch) {
    fill_input_tables(tables, state.channels(), CentredCoefficients<A, C>{statistics, parameters});
  }

  CombinationTables<T> tables;
  ParameterView<C> parameters;
  ParameterDirection<C> direction;
  MinibatchDivisor<A> divisor;
};

/// Writes the coefficients of a map from sums of products.
template <class T>
class DerivativeCoefficients {
 public:
  using A = accumulator_t<T>;
  /// @param sums  five tables, in the order of ProductTerms
  virtual void write(Index first, Index last, const A* const* sums) = 0;

  DerivativeCoefficients() = default;
  DerivativeCoefficients(const DerivativeCoefficients&) = default;
  DerivativeCoefficients& operator=(const DerivativeCoefficients&) = default;
  virtual ~DerivativeCoefficients() = default;
};

/// Takes from sums with h what the rounding of the pivot has put there. Stops at a group with a sum
/// that is not finite, unless these sums are final.
template <class A>
struct CorrectProducts {
  A* const* sums;
  int count;
  const A* pivot_error;
  bool final;
  Index& reached;

  template <int Lanes>
  [[gnu::always_inline]] bool run(const ChannelGroup& group) const {
    using V = simd::Vector<A, Lanes>;
    V sum[5], error;
    AllLanes<A, Lanes> good;
    for (int j = 0; j < count; ++j) {
      load_channels<A, Lanes>(sum[j], sums[j], group);
      good.finite(sum[j]);
    }
    if (!final && !good.passed()) {
      reached = group.first;
      return false;
    }
    load_channels<A, Lanes>(error, pivot_error, group);
    for (int j = 1; j < count; j += 2) {
      simd::store<A, Lanes>(sums[j] + group.first, V(sum[j] - error * sum[j - 1]));
    }
    return true;
  }
};

/// Reduces channels to sums of products, two (of jvp) or five (ProductTerms), and has coefficients
/// written from them.
template <class T>
class ProductReduction final : public Reduction<T> {
  using A = accumulator_t<T>;
  static constexpr bool lanes_are_wide = std::is_same<A, parameter_t<T>>::value;

 public:
  /// @param write  null: the sums are all that is wanted
  ProductReduction(LinearizedNorm<T>& norm, int count, DerivativeCoefficients<T>* write)
      : sums(ChannelTables<A, Eigen::Dynamic, 5>::Zero(norm.tables.channels(), 5)),
        pivot_error_(norm.tables.pivot_error()),
        count_(count),
        write_(write) {
    for (Index j = 0; j < 5; ++j) tables_[j] = sums.data() + j * sums.rows();
  }

  A* result(std::size_t j) override { return tables_[j]; }
  void prepare(const Plan&, const Operands<T>&, InstructionSet, Index, Index) override {}
  Index finish_many(Index first, Index last) override {
    return finish_some(first, last, lanes_are_wide);
  }
  /// A sum of floats that overflowed may fit in double.
  Outcome finish(Index channel, int, bool in_accumulator) override {
    const Index reached = finish_some(channel, channel + 1, in_accumulator);
    return reached > channel ? Outcome::done : Outcome::retry_in_accumulator;
  }

  /// Has coefficients written from sums that are there already: all, or those of [first, last).
  void write(DerivativeCoefficients<T>& coefficients) const { write(coefficients, 0, sums.rows()); }
  void write(DerivativeCoefficients<T>& coefficients, Index first, Index last) const {
    coefficients.write(first, last, tables_);
  }
  /// Where the sums are, one table each.
  A* const* results() const { return tables_; }

  ChannelTables<A, Eigen::Dynamic, 5> sums;

 private:
  Index finish_some(Index first, Index last, bool final) {
    Index reached = last;
    for_channels<A>(first, last, CorrectProducts<A>{tables_, count_, pivot_error_, final, reached});
    if (write_ != nullptr) write_->write(first, reached, tables_);
    return reached;
  }

  A* tables_[5];
  const A* pivot_error_;
  int count_;
  DerivativeCoefficients<T>* write_;
};

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
  /// Those of the sums.
  Operands<T> inputs_alone() const {
    Operands<T> alone = data;
    alone.outputs = 0;
    return alone;
  }
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_LINEARIZED_HPP
