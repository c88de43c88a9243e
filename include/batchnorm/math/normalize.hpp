// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_NORMALIZE_HPP
#define BATCHNORM_MATH_NORMALIZE_HPP

#include <cstddef>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/channels.hpp"
#include "batchnorm/loops/execution.hpp"
#include "batchnorm/loops/map.hpp"
#include "batchnorm/loops/resident.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"

// The forward map (Ioffe and Szegedy 2015, algorithm 1, lines 3 and 4),
//
//     y = gamma (x - mean) / sqrt(variance + epsilon) + beta
//
// is computed in its centred form,
//
//     y = (x - pivot) scale + shift        pivot = mean, rounded to the type computed in
//                                          scale = gamma / sqrt(variance + epsilon)
//                                          shift = beta - (mean - pivot) scale
//
// so that its error does not grow with the mean, as that of a x + b does: there, two large numbers
// of opposite sign meet. What rounding takes from the mean, the shift gives back. The epilogue f
// and the residual are applied to the result while it is in a register.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// The centred form of one value, z. Forward and backward share it, so that the sign that backward
/// finds is the one that forward saw.
template <class V>
[[gnu::always_inline]] inline void centred_form(V& z, const V& x, const V& pivot, const V& scale,
                                                const V& shift) {
  z = (x - pivot) * scale + shift;
}

/// The map y = f(z) or f(z + residual); its inputs are x and the residual, its constant the slope.
template <bool Rectified, bool Residual>
struct CentredMap : loops::MapFormula<3, Rectified ? 1 : 0> {
  template <class V>
  [[gnu::always_inline]] static void apply(V* y, const V* x, const V* k) {
    centred_form(y[0], x[0], k[0], k[1], k[2]);
    if constexpr (Residual) y[0] += x[1];
    if constexpr (Rectified) {
      // A slope of 0 gives 0 for minus infinity, too.
      V below = y[0] * k[3];
      simd::keep_where_positive(below, k[3], V{0});
      simd::replace_negative(y[0], below);
    }
  }
};

/// Calls body(std::true_type or false_type) for whether there is an epilogue.
template <class Body>
void with_epilogue(const Epilogue& epilogue, const Body& body) {
  if (epilogue.is_identity()) {
    body(std::false_type());
  } else {
    body(std::true_type());
  }
}

/// Normalises `in` into `out` with the given coefficients, and applies the epilogue; a residual is
/// added when there is one.
template <class C, class Coefficients, class T, std::size_t Inputs>
void normalize_view(const Execution& execution, const Epilogue& epilogue,
                    const Coefficients& coefficients, const BatchView<T>& out,
                    const loops::Views<const T, Inputs>& inputs) {
  with_epilogue(epilogue, [&](auto rectified) {
    using Map = CentredMap<decltype(rectified)::value, Inputs == 2>;
    loops::map<C, Map>(execution, coefficients, loops::Views<T, 1>{out}, inputs);
  });
}

/// The coefficients of CentredMap, computed in the accumulator and rounded once.
template <class T, int Channels, class Statistics>
class CentredCoefficients {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;

 public:
  CentredCoefficients(const Options& options, const State<T, Channels>& state,
                      const Statistics& statistics)
      : options_(options), state_(state), statistics_(statistics) {}

  void constants(C* k) const { k[0] = convert<C>(options_.epilogue.slope()); }

  template <class To, int Lanes>
  [[gnu::always_inline]] void write(const loops::ChannelGroup& group, To* const* to) const {
    using V = simd::Vector<A, Lanes>;
    V mean, variance, scale, shift;
    statistics_.template load<Lanes>(group, mean, variance);
    load_beta<Lanes>(shift, options_, state_, group);
    inverse_std_dev<A, Lanes>(scale, variance, options_.epsilon);
    scale_by_gamma<Lanes>(scale, options_, state_, group);
    V pivot = mean;
    loops::round_lanes<C, A, Lanes>(pivot);
    shift -= (mean - pivot) * scale;
    loops::store_channels<A, Lanes>(to[0], group, pivot);
    loops::store_channels<A, Lanes>(to[1], group, scale);
    loops::store_channels<A, Lanes>(to[2], group, shift);
  }

 private:
  const Options& options_;
  const State<T, Channels>& state_;
  const Statistics& statistics_;
};

/// Moments and output of a minibatch channel by channel, as far as the cache allows. Only where no
/// minibatch is rejected: a channel is written before the next one is read.
template <class T, int Channels, std::size_t Inputs>
Moments<accumulator_t<T>, Channels> normalize_resident(const Options& options,
                                                       const State<T, Channels>& state,
                                                       const loops::Views<const T, Inputs>& inputs,
                                                       const BatchView<T>& out,
                                                       const Execution& execution) {
  using A = accumulator_t<T>;
  Moments<A, Channels> batch(state.channels());
  batch.count = inputs[0].values_per_channel();
  MomentsReduction<T, Channels> reduction(batch);
  const BatchStatistics<A, Channels> statistics(batch);
  const CentredCoefficients<T, Channels, BatchStatistics<A, Channels>> coefficients(options, state,
                                                                                    statistics);
  with_epilogue(options.epilogue, [&](auto rectified) {
    using Map = CentredMap<decltype(rectified)::value, Inputs == 2>;
    loops::reduce_and_map<parameter_t<T>, Map>(execution, reduction,
                                               loops::Views<const T, 1>{inputs[0]}, coefficients,
                                               loops::Views<T, 1>{out}, inputs);
  });
  return batch;
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_NORMALIZE_HPP
