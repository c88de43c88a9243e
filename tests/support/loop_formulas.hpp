// SPDX-License-Identifier: MIT
// Formulas for the two loops that compute nothing but what shows a fault of the loops themselves.
#ifndef BATCHNORM_TESTS_SUPPORT_LOOP_FORMULAS_HPP
#define BATCHNORM_TESTS_SUPPORT_LOOP_FORMULAS_HPP

#include <vector>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/execution.hpp"
#include "batchnorm/loops/partition.hpp"
#include "support/generators.hpp"

namespace batchnorm_test {

using batchnorm::Index;

/// The results of a reduction: `of[k][channel]`, at first numbers that no reduction gives.
template <class A>
struct Results {
  Results(int sums, Size channels)
      : of(static_cast<Size>(sums), std::vector<A>(channels, A(-12345))) {}
  bool operator==(const Results& other) const { return of == other.of; }
  std::vector<std::vector<A>> of;
};

/// A reduction's means to write its results, and a pivot for every channel: 2 c - 3.
template <class A, int Sums>
class SumsBase {
 public:
  using Accumulator = A;
  static constexpr int sums = Sums;
  static constexpr bool recentres = false;

  explicit SumsBase(Results<A>& results) : results_(&results) {}
  static A pivot(Index channel) { return batchnorm::detail::from_index<A>(2 * channel - 3); }
  A* result(int k) const { return results_->of[static_cast<Size>(k)].data(); }

 protected:
  /// Joins the counts in the last result. Weights that are not those of the counts leave a mark.
  static void merge_counts(A* into, const A* from, const batchnorm::loops::MergeWeights<A>& w) {
    const A n = into[Sums - 1] + from[Sums - 1];
    const bool right = w.share == from[Sums - 1] / n && w.product == into[Sums - 1] * w.share;
    into[Sums - 1] = right ? n : A(-1e30);
  }

 private:
  Results<A>* results_;
};

/// Sum and sum of squares about the pivot, and the number of values.
template <class A>
struct PowerSums : SumsBase<A, 3> {
  using SumsBase<A, 3>::SumsBase;

  template <class V>
  [[gnu::always_inline]] static void add(V* s, const V* x, const V& pivot) {
    const V deviation = x[0] - pivot;
    s[0] += deviation;
    s[1] += deviation * deviation;
  }
  static void close(A* s, const A&, const A& count) { s[2] = count; }
  static void merge(A* into, const A* from, const batchnorm::loops::MergeWeights<A>& weights) {
    into[0] += from[0];
    into[1] += from[1];
    SumsBase<A, 3>::merge_counts(into, from, weights);
  }

  /// The same of a batch, element by element.
  static Results<A> of(const Batch& batch) {
    Results<A> expected(3, batch.channels);
    for (std::vector<A>& channel : expected.of) channel.assign(batch.channels, A(0));
    batch.each([&](Size n, Size c, Size p) {
      const A deviation =
          static_cast<A>(batch.at(n, c, p)) - PowerSums::pivot(static_cast<Index>(c));
      expected.of[0][c] += deviation;
      expected.of[1][c] += deviation * deviation;
      expected.of[2][c] += A(1);
    });
    return expected;
  }
};

/// Of two inputs: the sum of the first, the sum of its products with the second about the pivot,
/// and the number of values.
template <class A>
struct ProductSums : SumsBase<A, 3> {
  using SumsBase<A, 3>::SumsBase;

  template <class V>
  [[gnu::always_inline]] static void add(V* s, const V* x, const V& pivot) {
    s[0] += x[0];
    s[1] += x[0] * (x[1] - pivot);
  }
  static void close(A* s, const A&, const A& count) { s[2] = count; }
  static void merge(A* into, const A* from, const batchnorm::loops::MergeWeights<A>& weights) {
    PowerSums<A>::merge(into, from, weights);
  }

  static Results<A> of(const Batch& first, const Batch& second) {
    Results<A> expected(3, first.channels);
    for (std::vector<A>& channel : expected.of) channel.assign(first.channels, A(0));
    first.each([&](Size n, Size c, Size p) {
      const A x = static_cast<A>(first.at(n, c, p));
      const A deviation =
          static_cast<A>(second.at(n, c, p)) - ProductSums::pivot(static_cast<Index>(c));
      expected.of[0][c] += x;
      expected.of[1][c] += x * deviation;
      expected.of[2][c] += A(1);
    });
    return expected;
  }
};

/// A parallel_for that runs the tasks from the last to the first, and counts its calls.
struct LastFirst {
  void operator()(Index tasks, batchnorm::Task task) {
    ++calls;
    for (Index i = tasks - 1; i >= 0; --i) task(i);
  }
  int calls = 0;
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
