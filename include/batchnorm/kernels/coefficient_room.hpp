// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_KERNELS_COEFFICIENT_ROOM_HPP
#define BATCHNORM_KERNELS_COEFFICIENT_ROOM_HPP

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/kernels/simd.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Copies of the coefficients of some columns at known distances: of a formula with so many that
/// the pointers to their tables would not stay in registers, together with those to rows.
template <class C, int Lanes, Index Width, int Count>
class CoefficientRoom {
 public:
  static constexpr Index columns = 1024;  ///< at most: a row of 4 KiB of floats
  /// Those of a unit, read vector by vector.
  struct Unit {
    const CoefficientRoom* room;
    Index at;
    mutable simd::Vector<C, Lanes> of[Count];
    [[gnu::always_inline]] const simd::Vector<C, Lanes>* operator[](int v) const {
      room->load(of, at + v * Lanes);
      return of;
    }
  };
  /// How a kernel gets those of the columns [first, last), which are copied.
  struct Load {
    using K = Unit;
    const CoefficientRoom& room;
    Index first, last;
    template <class AnyTile>
    [[gnu::always_inline]] Index end(const AnyTile&) const {
      return last;
    }
    [[gnu::always_inline]] void operator()(Unit& k, Index at) const {
      k.room = &room;
      k.at = at - first;
    }
  };

  /// Those of `count` columns from `first` on, and of as many before the end as a unit has.
  [[gnu::always_inline]] void copy(const C* const (&tables)[Count], Index first, Index count) {
    for (Index at = 0; at + Lanes <= count; at += Lanes) copy_vector(tables, first, at);
    for (Index at = count - Width; at < count; at += Lanes) copy_vector(tables, first, at);
  }
  /// Those of the vector at a column of the copied ones.
  [[gnu::always_inline]] void load(simd::Vector<C, Lanes>* k, Index at) const {
#pragma GCC unroll 8
    for (int i = 0; i < Count; ++i) simd::read<C, Lanes>(k[i], of_[i] + Width + at);
  }

 private:
  [[gnu::always_inline]] void copy_vector(const C* const (&tables)[Count], Index first, Index at) {
#pragma GCC unroll 8
    for (int i = 0; i < Count; ++i) {
      simd::Vector<C, Lanes> k;
      simd::read<C, Lanes>(k, tables[i] + first + at);
      simd::write<C, Lanes>(of_[i] + Width + at, k);
    }
  }

  C of_[Count][Width + columns + 16];  // no power of two, so that they share no lines of the cache
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_KERNELS_COEFFICIENT_ROOM_HPP
