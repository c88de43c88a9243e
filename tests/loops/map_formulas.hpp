// SPDX-License-Identifier: MIT
// Formulas for loop 2 that compute nothing but what shows a fault of the loop itself.
#ifndef BATCHNORM_TESTS_LOOPS_MAP_FORMULAS_HPP
#define BATCHNORM_TESTS_LOOPS_MAP_FORMULAS_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "batchnorm/loops/map.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"
#include "support/loop_formulas.hpp"

namespace batchnorm_test {

/// y = x k0 + k1, with k0 = c mod 5 - 2 and k1 = c mod 64 + 1 of channel c: exact for integers.
struct Line : batchnorm::loops::MapFormula<2> {
  template <class V>
  [[gnu::always_inline]] static void apply(V* y, const V* x, const V* k) {
    y[0] = x[0] * k[0] + k[1];
  }
};
struct LineNumbers {
  template <class C>
  void operator()(Index channel, C* k) const {
    k[0] = batchnorm::detail::from_index<C>(channel % 5 - 2);
    k[1] = batchnorm::detail::from_index<C>(channel % 64 + 1);
  }
};
inline Batch line_of(Batch batch) {
  batch.each([&](Size n, Size c, Size p) {
    const Real slope = static_cast<Real>(c % 5) - 2;
    batch.at(n, c, p) = batch.at(n, c, p) * slope + static_cast<Real>(c % 64) + 1;
  });
  return batch;
}

/// Two outputs of two inputs, with a constant, 3: y0 = x0 k0 + 3, y1 = x1 - x0 k0.
struct Pair : batchnorm::loops::MapFormula<1, 1, 2> {
  template <class V>
  [[gnu::always_inline]] static void apply(V* y, const V* x, const V* k) {
    const V product = x[0] * k[0];
    y[0] = product + k[1];
    y[1] = x[1] - product;
  }
};
struct PairNumbers {
  template <class C>
  void operator()(Index channel, C* k) const {
    k[0] = batchnorm::detail::from_index<C>(channel % 5 - 2);
  }
  template <class C>
  void constants(C* k) const {
    k[0] = C(3);
  }
};
inline std::pair<Batch, Batch> pair_of(Batch a, Batch b) {
  a.each([&](Size n, Size c, Size p) {
    const Real product = a.at(n, c, p) * (static_cast<Real>(c % 5) - 2);
    a.at(n, c, p) = product + 3;
    b.at(n, c, p) -= product;
  });
  return {a, b};
}

/// y = (x - k0) k1 + k2 with numbers that round.
struct Centred : batchnorm::loops::MapFormula<3> {
  template <class V>
  [[gnu::always_inline]] static void apply(V* y, const V* x, const V* k) {
    y[0] = (x[0] - k[0]) * k[1] + k[2];
  }
};
struct CentredNumbers {
  template <class C>
  void operator()(Index channel, C* k) const {
    const auto c = static_cast<C>(channel);
    k[0] = C(0.1) * c;
    k[1] = C(-1) / (c + C(3));
    k[2] = channel % 2 == 0 ? C(-0.0) : C(0.3) * c;
  }
};

/// Whether all numbers are the same to the last bit, the sign of zero included.
inline bool same_bits(const Batch& a, const Batch& b) {
  return a.values.size() == b.values.size() &&
         std::equal(a.values.begin(), a.values.end(), b.values.begin(),
                    [](Real x, Real y) { return x == y && std::signbit(x) == std::signbit(y); });
}

/// Calls body(job) for the job of mapping a region of some views, all of them without a region.
template <class C, class Map, class Numbers, class T, std::size_t O, std::size_t I, class Body>
void with_map_job(const Numbers& source, const batchnorm::loops::Views<T, O>& to,
                  const batchnorm::loops::Views<const T, I>& from,
                  const batchnorm::loops::Region* some, bool streaming, const Body& body) {
  namespace loops = batchnorm::loops;
  const auto plan =
      loops::plan_of(to, from, std::make_index_sequence<O>(), std::make_index_sequence<I>());
  const loops::Traversal& traversal = plan.traversal();
  const loops::Region region =
      some != nullptr ? *some : loops::Region{0, traversal.columns, 0, traversal.rows()};
  const loops::Numbers<C, Map::coefficients> numbers(source);
  const loops::MapData<T, I, O> data{loops::pointers_of(to), loops::pointers_of(from)};
  C constants[Map::constants + 1] = {};
  if constexpr (Map::constants > 0) source.constants(constants);
  body(loops::MapJob<C, Map, T, I>{numbers, constants, plan, data, region, {streaming, false, 0}});
  batchnorm::simd::finish_streaming();
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_LOOPS_MAP_FORMULAS_HPP
