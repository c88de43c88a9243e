// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_MATH_BACKWARD_HPP
#define BATCHNORM_MATH_BACKWARD_HPP

#include <cstddef>
#include <type_traits>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/channels.hpp"
#include "batchnorm/loops/execution.hpp"
#include "batchnorm/loops/map.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/math/gradients.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"

// Back-propagation, for one channel of n values. Given dy = dL/dy, and with
//
//     r = 1 / sqrt(v + epsilon)     xhat_i = (x_i - m) r     y_i = gamma xhat_i + beta
//
// the parameters follow at once (Ioffe and Szegedy 2015, section 3, the last two equations):
//
//     dL/dbeta  = sum_i dy_i                    = S1
//     dL/dgamma = sum_i dy_i xhat_i             = r S2,    S2 = sum_i dy_i (x_i - m)
//
// Statistics held constant (frozen): y is linear in x, so dL/dx_i = gamma r dy_i.
//
// Through the minibatch's statistics, m and v depend on every x_i. With g_i = gamma dy_i =
// dL/dxhat_i the paper's equations are
//
//     dL/dv   = sum_i g_i (x_i - m) (-1/2) r^3             = -(1/2) gamma r^3 S2
//     dL/dm   = -r sum_i g_i + dL/dv (-2/n) sum_i (x_i - m) = -gamma r S1
//     dL/dx_i = g_i r + dL/dv (2/n) (x_i - m) + dL/dm / n
//
// where the second sum of dL/dm vanishes because m is the mean. Inserted:
//
//     dL/dx_i = gamma r [ dy_i - S1/n - (x_i - m) r^2 S2/n ]
//
// which is one reduction to (S1, r S2) and one map. As in normalize.hpp x is taken relative to the
// pivot p, m rounded: x_i - m = (x_i - p) - (m - p), so
//
//     r S2 = sum_i dy_i (x_i - p) r - (m - p) r S1
//     dL/dx_i = a [ dy_i + (x_i - p) b + c ]
//     a = gamma r     b = -r (r S2) / n     c = -S1/n - (m - p) b
//
// The terms of r S2 are products of numbers of the order of one, so that they stay in the range of
// float whatever the range of the data.
//
// With an epilogue f, and a residual, y = f(z), z = gamma xhat + beta + residual, everything above
// holds for f'(z) dL/dy in the place of dL/dy. Nothing is stored for it: z is computed again from
// the inputs. dL/dresidual = f'(z) dL/dy.
//
namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// What the two inputs of backward are made of, value by value: g = f'(z) dy, and the centred value
/// that xhat is a multiple of.
///
/// From the input x, after dy and a residual. k: scale, shift, slope, when there is an epilogue.
///
/// @tparam C  the type that forward computes in. The sign of z is found in it also where sums are
///            wider: a last bit more could turn it around.
template <class C, bool Rectified, bool Residual>
struct FromInput {
  static constexpr std::size_t inputs = Residual ? 3 : 2;
  static constexpr int coefficients = Rectified ? 3 : 0;

  template <class V>
  [[gnu::always_inline]] static void split(V& g, V& centred, const V* x, const V& pivot,
                                           const V* k) {
    const V& last = x[inputs - 1];
    centred = last - pivot;
    g = x[0];
    if constexpr (Rectified) {
      // What a slope of 0 cuts off is 0, be it infinite.
      V below = g * k[2];
      simd::keep_where_positive(below, k[2], V{0});
      V z;
      if constexpr (std::is_arithmetic<V>::value && !std::is_same<V, C>::value) {
        C narrow;
        centred_form(narrow, convert<C>(last), convert<C>(pivot), convert<C>(k[0]),
                     convert<C>(k[1]));
        if constexpr (Residual) narrow += convert<C>(x[1]);
        z = convert<V>(narrow);
      } else {
        centred_form(z, last, pivot, k[0], k[1]);
        if constexpr (Residual) z += x[1];
      }
      simd::keep_where_positive(g, z, below);
    } else {
      static_cast<void>(k);
    }
  }
};

/// The numbers of channels for backward from the input: p, r, (m - p) r and a = gamma r.
template <class T, int Channels, class Statistics>
class InputNumbers : public Scales<T, Channels, Statistics> {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;
  template <int Lanes>
  using V = simd::Vector<A, Lanes>;

 public:
  InputNumbers(const Options& options, const State<T, Channels>& state,
               const Statistics& statistics)
      : Scales<T, Channels, Statistics>(options, state, statistics), statistics_(statistics) {}

  template <int Lanes>
  [[gnu::always_inline]] void load(const loops::ChannelGroup& group, V<Lanes>& pivot, V<Lanes>& r,
                                   V<Lanes>& pivot_error) const {
    V<Lanes> variance;
    statistics_.template load<Lanes>(group, pivot, variance);
    pivot_error = pivot;
    loops::round_lanes<C, A, Lanes>(pivot);
    this->template load_inverse_std_dev<Lanes>(group, r);
    pivot_error = (pivot_error - pivot) * r;
  }

  /// Those of the forward map, rounded as there, and the slope.
  template <class K, int Lanes>
  [[gnu::always_inline]] void write_source(const loops::ChannelGroup& group, K* const* to) const {
    C forward[3][Lanes];
    C* const parts[] = {forward[0], forward[1], forward[2]};
    CentredCoefficients<T, Channels, Statistics>(this->options_, this->state_, statistics_)
        .template write<C, Lanes>(group, parts);
    for (Index lane = 0; lane < group.count; ++lane) {
      to[0][lane] = convert<K>(forward[1][lane]);
      to[1][lane] = convert<K>(forward[2][lane]);
      to[2][lane] = convert<K>(this->options_.epilogue.slope());
    }
  }

 private:
  const Statistics& statistics_;
};

/// Backward from dy, a residual when there is one, and x, to dL/dx and dL/dresidual.
template <class T, int Channels, bool Constant, bool Residual, class Statistics>
Gradients<T, Channels> input_gradients(const Options& options, const State<T, Channels>& state,
                                       const Statistics& statistics,
                                       const loops::Views<const T, Residual ? 3 : 2>& inputs,
                                       const loops::Views<T, Residual ? 2 : 1>& outputs,
                                       const Execution& execution) {
  const InputNumbers<T, Channels, Statistics> numbers(options, state, statistics);
  Gradients<T, Channels> result(state.channels());
  with_epilogue(options.epilogue, [&](auto rectified) {
    using Source = FromInput<parameter_t<T>, decltype(rectified)::value, Residual>;
    result =
        backward_view<Source, Constant, Channels>(execution, options, numbers, inputs, outputs);
  });
  return result;
}

/// The sums of input_gradients over a piece of a minibatch, from dy, a residual when there is one,
/// and x, with the statistics of the whole.
template <class T, int Channels, bool Residual, class Statistics>
GradientSums<accumulator_t<T>, Channels> input_sums(
    const Options& options, const State<T, Channels>& state, const Statistics& statistics,
    const loops::Views<const T, Residual ? 3 : 2>& inputs, const Execution& execution) {
  const InputNumbers<T, Channels, Statistics> numbers(options, state, statistics);
  GradientSums<accumulator_t<T>, Channels> result(state.channels());
  with_epilogue(options.epilogue, [&](auto rectified) {
    using Source = FromInput<parameter_t<T>, decltype(rectified)::value, Residual>;
    result = sums_of_view<Source, Channels>(execution, numbers, inputs);
  });
  return result;
}

/// dL/dx and dL/dresidual of a piece of a minibatch, with statistics and sums of the whole.
template <class T, int Channels, bool Constant, bool Residual, class Statistics>
void piece_gradients(const Options& options, const State<T, Channels>& state,
                     const Statistics& statistics,
                     const GradientSums<accumulator_t<T>, Channels>& sums,
                     const loops::Views<const T, Residual ? 3 : 2>& inputs,
                     const loops::Views<T, Residual ? 2 : 1>& outputs, const Execution& execution) {
  const InputNumbers<T, Channels, Statistics> numbers(options, state, statistics);
  with_epilogue(options.epilogue, [&](auto rectified) {
    using Source = FromInput<parameter_t<T>, decltype(rectified)::value, Residual>;
    backward_from_sums<Source, Constant>(execution, numbers, sums, inputs, outputs);
  });
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_MATH_BACKWARD_HPP
