// SPDX-License-Identifier: MIT
// What is possible on rows that miss their bar: loops written for this one row and this processor,
// without checks, masks, epilogues, other layouts or a bound on errors.
#include <batchnorm/batchnorm.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "benchmarks/measure.hpp"
#include "benchmarks/sections.hpp"
#include "benchmarks/statistics.hpp"
#include "benchmarks/table.hpp"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

namespace batchnorm_benchmarks {
namespace {

using Index = Eigen::Index;
using Half = Eigen::bfloat16;
#define BATCHNORM_BY_HAND __attribute__((target("avx2,fma")))

/// Three numbers per channel: y = (x - pivot) scale + shift.
struct Coefficients {
  std::vector<float> pivot, scale, shift;
  explicit Coefficients(Index channels)
      : pivot(static_cast<std::size_t>(channels), 0.25f),
        scale(pivot.size(), 0.5f),
        shift(pivot.size(), 0.125f) {}
};

BATCHNORM_BY_HAND inline __m256 map_eight(__m256 x, const Coefficients& k, std::size_t channel) {
  return _mm256_fmadd_ps(_mm256_sub_ps(x, _mm256_loadu_ps(&k.pivot[channel])),
                         _mm256_loadu_ps(&k.scale[channel]), _mm256_loadu_ps(&k.shift[channel]));
}

/// Eight bfloat16 as floats.
BATCHNORM_BY_HAND inline __m256 widened(const Half* from) {
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

/// To nearest, ties to even; NaN becomes all ones.
BATCHNORM_BY_HAND inline __m256i rounded(__m256 y) {
  const __m256i bits = _mm256_castps_si256(y);
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(y, y, _CMP_UNORD_Q));
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i sum = _mm256_add_epi32(_mm256_add_epi32(bits, odd), _mm256_set1_epi32(0x7fff));
  return _mm256_srli_epi32(_mm256_or_si256(sum, nan), 16);
}

/// bfloat16 across channels, past the cache.
BATCHNORM_BY_HAND void infer_bfloat16(const Half* x, Half* y, Index rows, Index channels,
                                      const Coefficients& k) {
  for (Index row = 0; row < rows; ++row, x += channels, y += channels) {
    for (Index c = 0; c < channels; c += 16) {
      const auto channel = static_cast<std::size_t>(c);
      const __m256i low = rounded(map_eight(widened(x + c), k, channel));
      const __m256i high = rounded(map_eight(widened(x + c + 8), k, channel + 8));
      _mm256_stream_si256(reinterpret_cast<__m256i*>(y + c),
                          _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xd8));
    }
  }
  _mm_sfence();
}

/// Runs along channels, through the cache: vectors, and what is left of a run one by one.
BATCHNORM_BY_HAND void infer_runs(const float* x, float* y, Index samples, Index channels,
                                  Index run, const Coefficients& k) {
  for (Index i = 0; i < samples * channels; ++i, x += run, y += run) {
    const auto channel = static_cast<std::size_t>(i % channels);
    const __m256 pivot = _mm256_set1_ps(k.pivot[channel]);
    const __m256 scale = _mm256_set1_ps(k.scale[channel]);
    const __m256 shift = _mm256_set1_ps(k.shift[channel]);
    Index at = 0;
    for (; at + 8 <= run; at += 8) {
      const __m256 centred = _mm256_sub_ps(_mm256_loadu_ps(x + at), pivot);
      _mm256_storeu_ps(y + at, _mm256_fmadd_ps(centred, scale, shift));
    }
    for (; at < run; ++at) y[at] = (x[at] - k.pivot[channel]) * k.scale[channel] + k.shift[channel];
  }
}

/// Rows of one example.
BATCHNORM_BY_HAND void infer_example(const float* x, float* y, Index channels,
                                     const Coefficients& k) {
  for (Index c = 0; c < channels; c += 8) {
    _mm256_storeu_ps(y + c, map_eight(_mm256_loadu_ps(x + c), k, static_cast<std::size_t>(c)));
  }
}

/// to[i] += part i, in double.
BATCHNORM_BY_HAND inline void add_to(double* to, __m256 part) {
  for (const __m128 half : {_mm256_castps256_ps128(part), _mm256_extractf128_ps(part, 1)}) {
    _mm256_storeu_pd(to, _mm256_add_pd(_mm256_loadu_pd(to), _mm256_cvtps_pd(half)));
    to += 4;
  }
}

/// The two sums of backward over sixteen rows at a time, in float, and their totals in double.
BATCHNORM_BY_HAND void sum_rows(const float* x, const float* dy, Index rows, Index channels,
                                const Coefficients& k, double* sums) {
  for (Index first = 0; first < rows; first += 16) {
    for (Index c = 0; c < channels; c += 8) {
      const __m256 mean = _mm256_loadu_ps(&k.pivot[static_cast<std::size_t>(c)]);
      __m256 plain = _mm256_setzero_ps();
      __m256 product = plain;
      for (Index row = first; row < first + 16; ++row) {
        const __m256 g = _mm256_loadu_ps(dy + row * channels + c);
        const __m256 centred = _mm256_sub_ps(_mm256_loadu_ps(x + row * channels + c), mean);
        plain = _mm256_add_ps(plain, g);
        product = _mm256_fmadd_ps(g, centred, product);
      }
      add_to(sums + c, plain);
      add_to(sums + channels + c, product);
    }
  }
}

/// dx = scale (dy + (x - pivot) shift + pivot), which takes as long as with the right numbers.
BATCHNORM_BY_HAND void map_rows(const float* x, const float* dy, float* dx, Index rows,
                                Index channels, const Coefficients& k, bool stream) {
  for (Index at = 0; at < rows * channels; at += channels) {
    for (Index c = 0; c < channels; c += 8) {
      const auto channel = static_cast<std::size_t>(c);
      const __m256 pivot = _mm256_loadu_ps(&k.pivot[channel]);
      const __m256 centred = _mm256_sub_ps(_mm256_loadu_ps(x + at + c), pivot);
      const __m256 inner = _mm256_fmadd_ps(centred, _mm256_loadu_ps(&k.shift[channel]), pivot);
      const __m256 all = _mm256_mul_ps(_mm256_loadu_ps(&k.scale[channel]),
                                       _mm256_add_ps(inner, _mm256_loadu_ps(dy + at + c)));
      if (stream) {
        _mm256_stream_ps(dx + at + c, all);
      } else {
        _mm256_storeu_ps(dx + at + c, all);
      }
    }
  }
  _mm_sfence();
}

/// Both loops of backward over rows of channels. Nothing is computed per channel.
void backward_rows(const float* x, const float* dy, float* dx, Index rows, Index channels,
                   const Coefficients& k, bool stream) {
  std::vector<double> sums(static_cast<std::size_t>(2 * channels), 0.0);
  sum_rows(x, dy, rows, channels, k, sums.data());
  map_rows(x, dy, dx, rows, channels, k, stream);
}

/// The arrays of a row, each of which begins with a cache line.
template <class T>
class Data {
 public:
  Data(Index channels, Index values)
      : size_(channels * values), memory_(static_cast<std::size_t>(3 * (size_ + line))) {
    const auto address = reinterpret_cast<std::uintptr_t>(memory_.data());
    first_ = memory_.data() + (64 - address % 64) % 64 / sizeof(T);
    for (Index i = 0; i < size_; ++i) {
      in()[i] = static_cast<T>(static_cast<float>(i % 997) * 0.01f);
      second()[i] = static_cast<T>(static_cast<float>(i % 13) - 6.0f);
    }
  }
  T* in() const { return first_; }
  T* second() const { return first_ + padded(); }
  T* out() const { return first_ + 2 * padded(); }
  std::size_t bytes() const { return static_cast<std::size_t>(size_) * sizeof(T); }

 private:
  static constexpr Index line = 64;
  Index padded() const { return (size_ + line - 1) / line * line; }

  Index size_;
  std::vector<T> memory_;
  T* first_;
};

/// One row: this library, the loop by hand, and copying as much as one of its arrays has.
template <class T, class Ours, class ByHand>
void add_line(Table& table, const std::string& name, const Data<T>& data, const Ours& ours,
              const ByHand& by_hand) {
  const std::vector<Timed> functions = {
      {"ours", ours},
      {"by hand", by_hand},
      {"copy", [&] { std::memcpy(static_cast<void*>(data.out()), data.in(), data.bytes()); }}};
  const std::vector<std::vector<double>> seconds = time_interleaved(functions, {7, 0.05});
  const double mine = median(seconds[0]);
  table.add({name, duration(mine), duration(median(seconds[1])), duration(median(seconds[2])),
             ratio(mine / median(seconds[1]))});
}

void add_inference(Table& table) {
  const Coefficients k(2048);
  const auto frozen = [&](auto zero, Index channels) {
    using Vector = Eigen::VectorXf;
    return batchnorm::FrozenBatchNorm<decltype(zero)>::from_scale_and_shift(
        Vector(Vector::Constant(channels, 0.5f)), Vector(Vector::Constant(channels, 0.125f)));
  };
  {
    constexpr Index rows = 32 * 28 * 28;
    const Data<Half> data(512, rows);
    const auto layer = frozen(Half(), 512);
    const auto in = batchnorm::channels_last(data.in(), rows, 512, 1);
    const auto out = batchnorm::channels_last(data.out(), rows, 512, 1);
    add_line(
        table, "infer nhwc 32x512x28x28 bf16", data, [&] { layer(in, out); },
        [&] { infer_bfloat16(data.in(), data.out(), rows, 512, k); });
  }
  {
    const Data<float> data(2048, 32 * 49);
    const auto layer = frozen(float(), 2048);
    const auto in = batchnorm::channels_first(data.in(), 32, 2048, 49);
    const auto out = batchnorm::channels_first(data.out(), 32, 2048, 49);
    add_line(
        table, "infer nchw 32x2048x7x7 f32", data, [&] { layer(in, out); },
        [&] { infer_runs(data.in(), data.out(), 32, 2048, 49, k); });
  }
  for (const Index channels : {16, 64, 512}) {
    const Data<float> data(channels, 1);
    const auto layer = frozen(float(), channels);
    const Eigen::Map<const Eigen::VectorXf> in(data.in(), channels);
    Eigen::Map<Eigen::VectorXf> out(data.out(), channels);
    add_line(
        table, "infer nc 1x" + std::to_string(channels) + " f32", data, [&] { layer(in, out); },
        [&] { infer_example(data.in(), data.out(), channels, k); });
  }
}

void add_backward(Table& table, const std::string& name, Index channels, Index values,
                  bool stream) {
  const Data<float> data(channels, values);
  const Coefficients k(channels);
  batchnorm::BatchNorm<float> layer(channels);
  const auto in = batchnorm::channels_last(data.in(), values, channels, 1);
  const auto dy = batchnorm::channels_last(data.second(), values, channels, 1);
  const auto out = batchnorm::channels_last(data.out(), values, channels, 1);
  const auto batch = layer.train(in, out);
  add_line(
      table, name, data, [&] { layer.backward(batch, in, dy, out); },
      [&] { backward_rows(data.in(), data.second(), data.out(), values, channels, k, stream); });
}

}  // namespace

std::string possible_section() {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return "";
  Table table({"1 thread", "ours", "by hand", "copy", "ours / by hand"});
  add_inference(table);
  add_backward(table, "backward nc 64x512 f32", 512, 64, false);
  add_backward(table, "backward nc 256x1024 f32", 1024, 256, false);
  add_backward(table, "backward nhwc 32x512x28x28 f32", 512, 32 * 28 * 28, true);
  return table.text();
}

}  // namespace batchnorm_benchmarks
#else
namespace batchnorm_benchmarks {

std::string possible_section() {
  return "";
}

}  // namespace batchnorm_benchmarks
#endif
