// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_LOOPS_MAP_VECTOR_HPP
#define BATCHNORM_LOOPS_MAP_VECTOR_HPP

#include <array>
#include <cstddef>
#include <cstdint>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/loops/fetch.hpp"
#include "batchnorm/loops/map_job.hpp"
#include "batchnorm/loops/simd.hpp"
#include "batchnorm/loops/simd_memory.hpp"
#include "batchnorm/version.hpp"

// Loop 2 on one vector of neighbouring elements, or on a single number. All go through the same
// apply(), so that an element's bits do not depend on where it stands.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace loops {

template <class Job, int Lanes>
struct VectorMapper {
  using C = typename Job::C;
  using T = typename Job::T;
  using Map = typename Job::Map;
  using Data = typename Job::Data;
  using Steps = typename Job::Steps;
  using Tables = std::array<const C*, static_cast<std::size_t>(Map::coefficients)>;
  static constexpr std::size_t inputs = Job::inputs;
  static constexpr std::size_t outputs = Map::outputs;
  /// Numbers from tables, and with those that are the same for all channels behind them.
  static constexpr int tabled = Map::coefficients;
  static constexpr int numbers = tabled + Map::constants;
  static constexpr bool can_stream = simd::can_stream<C, Lanes, T>;
  static constexpr bool in_pairs = simd::narrows_in_pairs<C, Lanes, T>;
  /// Whether a pair is a whole line, which is written as one.
  static constexpr bool streams_pairs = in_pairs && 2 * Lanes * sizeof(T) == line_bytes;
  template <int N>
  using V = simd::Vector<C, N>;

  template <int N, bool Stream>
  [[gnu::always_inline]] static void map(const Data& at, Index element, const V<N>* k) {
    V<N> x[inputs];
#pragma GCC unroll 8
    for (std::size_t i = 0; i < inputs; ++i) {
      simd::load<C, N, true>(x[i], at.from[i] + element, 1);
    }
    V<N> y[outputs];
    Map::apply(y, x, k);
#pragma GCC unroll 4
    for (std::size_t i = 0; i < outputs; ++i) {
      if constexpr (Stream) {
        simd::stream<C, N>(at.to[i] + element, y[i]);
      } else {
        simd::store<C, N, true>(at.to[i] + element, 1, y[i]);
      }
    }
  }

  /// Two vectors side by side.
  template <bool Stream>
  [[gnu::always_inline]] static void map_pair(const Data& at, Index element, const V<Lanes>* k,
                                              const V<Lanes>* next_k) {
    if constexpr (!in_pairs) {
      map<Lanes, Stream>(at, element, k);
      map<Lanes, Stream>(at, element + Lanes, next_k);
    } else {
      V<Lanes> x[2][inputs], y[2][outputs];
#pragma GCC unroll 8
      for (std::size_t i = 0; i < inputs; ++i) {
        simd::load<C, Lanes, true>(x[0][i], at.from[i] + element, 1);
        simd::load<C, Lanes, true>(x[1][i], at.from[i] + element + Lanes, 1);
      }
      Map::apply(y[0], x[0], k);
      Map::apply(y[1], x[1], next_k);
#pragma GCC unroll 4
      for (std::size_t i = 0; i < outputs; ++i) {
        simd::Vector<std::uint16_t, 2 * Lanes> bits;
        simd::narrow_pair<Lanes>(bits, y[0][i], y[1][i], T());
        if constexpr (Stream && streams_pairs) {
          simd::stream_bits(at.to[i] + element, bits);
        } else if constexpr (Stream) {
          // In halves: aligned to what a vector is stored as.
          simd::Vector<std::uint16_t, Lanes> half[2];
          simd::copy_bits(half, bits);
          simd::stream_bits(at.to[i] + element, half[0]);
          simd::stream_bits(at.to[i] + element + Lanes, half[1]);
        } else {
          simd::write<std::uint16_t, 2 * Lanes>(at.to[i] + element, bits);
        }
      }
    }
  }

  [[gnu::always_inline]] static void advance(Data& at, const Steps& step) {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < outputs; ++i) at.to[i] += step.to[i];
#pragma GCC unroll 8
    for (std::size_t i = 0; i < inputs; ++i) at.from[i] += step.from[i];
  }

  /// Whether all outputs are as far from the next boundary that streams begin at.
  [[gnu::always_inline]] static bool aligned_alike(const Data& at) {
    bool alike = misaligned(at, 0, 0) % sizeof(T) == 0;
    for (std::size_t i = 1; i < outputs; ++i)
      alike = alike && misaligned(at, i, 0) == misaligned(at, 0, 0);
    return alike;
  }
  /// Elements from one of them up to it.
  [[gnu::always_inline]] static Index to_alignment(const Data& at, Index element) {
    return static_cast<Index>((stream_bytes - misaligned(at, 0, element)) % stream_bytes /
                              sizeof(T));
  }

  /// Whether a step leads from one boundary to another.
  [[gnu::always_inline]] static bool keeps_alignment(const Steps& step) {
    bool keeps = true;
    for (const Index each : step.to) {
      keeps = keeps && each % static_cast<Index>(stream_bytes / sizeof(T)) == 0;
    }
    return keeps;
  }

 private:
  /// What streams are aligned to.
  static constexpr std::size_t stream_bytes = (streams_pairs ? 2 : 1) * Lanes * sizeof(T);
  [[gnu::always_inline]] static std::size_t misaligned(const Data& at, std::size_t output,
                                                       Index element) {
    return reinterpret_cast<std::uintptr_t>(at.to[output] + element) % stream_bytes;
  }
};

}  // namespace loops
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_LOOPS_MAP_VECTOR_HPP
