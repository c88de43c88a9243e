// SPDX-License-Identifier: MIT
// Formulas for the two loops that compute nothing but what shows a fault of the loops themselves.
#ifndef BATCHNORM_TESTS_SUPPORT_LOOP_FORMULAS_HPP
#define BATCHNORM_TESTS_SUPPORT_LOOP_FORMULAS_HPP

#include <vector>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/execution.hpp"
#include "batchnorm/loops/reduce.hpp"
#include "support/generators.hpp"

namespace batchnorm_test {

using batchnorm::Index;

/// The results of a reduction: `of[k][channel]`, at first numbers that no reduction gives.
template <class A>
struct Results {
  Results(int sums, Size channels)
      : of(static_cast<Size>(sums), std::vector<A>(channels, A(-12345))) {}
  bool operator==(const Results& other) const { return of == other.of; }
  std::vector<A*> pointers() {
    std::vector<A*> first;
    for (std::vector<A>& each : of) first.push_back(each.data());
    return first;
  }
  std::vector<std::vector<A>> of;
};

/// The coefficients of a channel: small integers, so that float sums of squares are exact.
inline Index pivot_of(Index channel) {
  return 2 * (channel % 16) - 3;
}
inline Index weight_of(Index channel) {
  return channel % 7 - 3;
}

/// Sum and sum of squares about the pivot, and the first again, weighted.
struct PowerSums {
  static constexpr int sums = 3;
  static constexpr int coefficients = 2;

  template <class V>
  [[gnu::always_inline]] static void add(V* s, const V* x, const V* k) {
    const V deviation = x[0] - k[0];
    s[0] += deviation;
    s[1] += deviation * deviation;
    s[2] += deviation * k[1];
  }

  /// The same of a batch, element by element.
  template <class A>
  static Results<A> of(const Batch& batch) {
    Results<A> expected(sums, batch.channels);
    for (std::vector<A>& channel : expected.of) channel.assign(batch.channels, A(0));
    batch.each([&](Size n, Size c, Size p) {
      const auto channel = static_cast<Index>(c);
      const Real deviation = batch.at(n, c, p) - static_cast<Real>(pivot_of(channel));
      expected.of[0][c] += static_cast<A>(deviation);
      expected.of[1][c] += static_cast<A>(deviation * deviation);
      expected.of[2][c] += static_cast<A>(deviation * static_cast<Real>(weight_of(channel)));
    });
    return expected;
  }
};

/// Of two inputs: the weighted sum of the first, and the sum of its products with the second about
/// the pivot.
struct ProductSums {
  static constexpr int sums = 2;
  static constexpr int coefficients = 2;

  template <class V>
  [[gnu::always_inline]] static void add(V* s, const V* x, const V* k) {
    s[0] += x[0] * k[1];
    s[1] += x[0] * (x[1] - k[0]);
  }

  static Results<double> of(const Batch& first, const Batch& second) {
    Results<double> expected(sums, first.channels);
    for (std::vector<double>& channel : expected.of) channel.assign(first.channels, 0);
    first.each([&](Size n, Size c, Size p) {
      const auto channel = static_cast<Index>(c);
      const Real x = first.at(n, c, p);
      const Real deviation = second.at(n, c, p) - static_cast<Real>(pivot_of(channel));
      expected.of[0][c] += static_cast<double>(x * static_cast<Real>(weight_of(channel)));
      expected.of[1][c] += static_cast<double>(x * deviation);
    });
    return expected;
  }
};

/// Where both get their coefficients.
struct SumCoefficients {
  template <class C>
  void operator()(Index channel, C* k) const {
    k[0] = batchnorm::detail::from_index<C>(pivot_of(channel));
    k[1] = batchnorm::detail::from_index<C>(weight_of(channel));
  }
};

/// A Reduction that takes its first sums as they are.
template <class Formula_, class Accumulator_, class Lane_>
class Sums : public SumCoefficients {
 public:
  using Formula = Formula_;
  using Accumulator = Accumulator_;
  using Lane = Lane_;

  explicit Sums(Results<Accumulator>& results) : results_(&results) {}

  Accumulator* result(int k) const { return results_->of[static_cast<Size>(k)].data(); }
  static Lane* pivots() { return nullptr; }
  static batchnorm::loops::Verdict settle(Index, int, bool) {
    return batchnorm::loops::Verdict::settled;
  }

 private:
  Results<Accumulator>* results_;
};

/// Reduces what is stored; the lanes sum in L, the totals are in A.
template <class A, class L, class View>
Results<A> power_sums(const batchnorm::Execution& execution, const View& view) {
  Results<A> results(PowerSums::sums, static_cast<Size>(view.channels()));
  Sums<PowerSums, A, L> reduction(results);
  batchnorm::loops::reduce(execution, reduction, view);
  return results;
}

template <class L, class View>
Results<double> product_sums(const batchnorm::Execution& execution, const View& first,
                             const View& second) {
  Results<double> results(ProductSums::sums, static_cast<Size>(first.channels()));
  Sums<ProductSums, double, L> reduction(results);
  batchnorm::loops::reduce(execution, reduction, first, second);
  return results;
}

/// A parallel_for that runs the tasks from the last to the first, and counts its calls.
struct LastFirst {
  void operator()(Index tasks, batchnorm::Task task) {
    ++calls;
    for (Index i = tasks - 1; i >= 0; --i) task(i);
  }
  int calls = 0;
};

/// A scalar as other libraries may define it: its default is not zero.
struct Unset {
  Unset() = default;
  explicit Unset(double number) : value(number) {}
  Unset& operator+=(const Unset& other) {
    value += other.value;
    return *this;
  }
  friend Unset operator-(const Unset& a) { return Unset(-a.value); }
  friend Unset operator+(const Unset& a, const Unset& b) { return Unset(a.value + b.value); }
  friend Unset operator-(const Unset& a, const Unset& b) { return Unset(a.value - b.value); }
  friend Unset operator*(const Unset& a, const Unset& b) { return Unset(a.value * b.value); }
  friend Unset operator/(const Unset& a, const Unset& b) { return Unset(a.value / b.value); }
  friend bool operator==(const Unset& a, const Unset& b) { return a.value == b.value; }
  friend bool operator<(const Unset& a, const Unset& b) { return a.value < b.value; }
  friend bool operator>(const Unset& a, const Unset& b) { return a.value > b.value; }
  double value = 99;
};

/// Integers from -bound to bound: sums and products of them are exact, whatever their order.
inline Batch integer_batch(Random& random, Size samples, Size channels, Size positions,
                           Size bound = 100) {
  Batch batch{samples, channels, positions};
  for (Real& value : batch.values) {
    value = static_cast<Real>(random.below(2 * bound + 1)) - static_cast<Real>(bound);
  }
  return batch;
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_LOOP_FORMULAS_HPP
