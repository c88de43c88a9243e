// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_WEIGHTED_TERMS_HPP
#define BATCHNORM_KERNELS_WEIGHTED_TERMS_HPP

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/kernels/simd_memory.hpp"
#include "batchnorm/version.hpp"

// Weights for kernels, which know none: what is multiplied by them lies in the cache, between two
// kernels. These loops wait for it more than they compute, so that they are compiled for the
// baseline alone.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// A factor of elements: one for all of them.
template <class C>
struct OneFactor {
  C number;
  template <int Lanes>
  [[gnu::always_inline]] void load(simd::Vector<C, Lanes>& to, Index) const {
    simd::broadcast<C, Lanes>(to, number);
  }
};
/// One for each of them.
template <class C>
struct TableFactor {
  const C* numbers;
  template <int Lanes>
  [[gnu::always_inline]] void load(simd::Vector<C, Lanes>& to, Index i) const {
    simd::read<C, Lanes>(to, numbers + i);
  }
};

/// Element by element in vectors, and the rest one by one: body.run<Lanes>(i).
template <class C, class Body>
[[gnu::always_inline]] inline void for_vectors(Index count, const Body& body) {
  constexpr int lanes = simd::lanes_of<C, simd::baseline_bytes>;
  Index i = 0;
  for (; i + lanes <= count; i += lanes) body.template run<lanes>(i);
  for (; i < count; ++i) body.template run<1>(i);
}

template <class C, class Factor>
struct Weigh {
  C* to;
  const C* values;
  Factor weights;
  template <int Lanes>
  [[gnu::always_inline]] void run(Index i) const {
    simd::Vector<C, Lanes> value, weight;
    simd::read<C, Lanes>(value, values + i);
    weights.template load<Lanes>(weight, i);
    value *= weight;
    simd::write<C, Lanes>(to + i, value);
  }
};

/// to = weights values.
template <class C, class Factor>
void weigh(C* to, const C* values, const Factor& weights, Index count) {
  for_vectors<C>(count, Weigh<C, Factor>{to, values, weights});
}

template <class T, class C, class Factor, class Weights>
struct AddWeighted {
  T* to;
  const T* values;
  Factor factors;
  const T* terms;
  Weights weights;
  template <int Lanes>
  [[gnu::always_inline]] void run(Index i) const {
    simd::Vector<C, Lanes> value, factor, term, weight;
    simd::load<C, Lanes>(value, values + i);
    factors.template load<Lanes>(factor, i);
    simd::load<C, Lanes>(term, terms + i);
    weights.template load<Lanes>(weight, i);
    value = factor * value + weight * term;
    simd::store<C, Lanes>(to + i, value);
  }
};

/// to = factors values + weights terms.
template <class C, class T, class Factor, class Weights>
void add_weighted(T* to, const T* values, const Factor& factors, const T* terms,
                  const Weights& weights, Index count) {
  for_vectors<C>(count, AddWeighted<T, C, Factor, Weights>{to, values, factors, terms, weights});
}

/// Columns that are taken together where the channels of a value are neighbours: sixteen rows of
/// them stay in the first cache.
inline constexpr Index weighted_columns = 128;

/// The next of `left` columns: at most twice as many as that, so that the last ones are not left
/// alone, which might be too few for a kernel.
inline Index next_weighted_columns(Index left) {
  return left < 2 * weighted_columns ? left : weighted_columns;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_WEIGHTED_TERMS_HPP
