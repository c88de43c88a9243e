// SPDX-License-Identifier: MIT
// Data for tests: seeded, and the same bits on every compiler, standard library and machine (only
// integer operations, and + - * / on numbers that IEEE 754 rounds one way).
#ifndef BATCHNORM_TESTS_SUPPORT_GENERATORS_HPP
#define BATCHNORM_TESTS_SUPPORT_GENERATORS_HPP

#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "support/reference_batch_norm.hpp"

namespace batchnorm_test {

using reference::Batch;
using reference::PerChannel;
using reference::Real;
using reference::Size;

/// SplitMix64 (Steele, Lea and Flood 2014). The distributions of <random> are not used, because
/// the standard leaves their algorithms to each library.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t bits() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  /// A number in [0, 1) of 53 bits.
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
  double uniform(double low, double high) { return low + (high - low) * uniform(); }

  /// Mean 0, deviation 1, within +-6: the sum of twelve uniforms, which needs no logarithm.
  double normal() {
    double sum = -6.0;
    for (int term = 0; term < 12; ++term) sum += uniform();
    return sum;
  }

  /// An integer in [0, bound).
  Size below(Size bound) { return static_cast<Size>(bits() % bound); }

  template <class Value>
  void shuffle(std::vector<Value>& values) {
    for (Size left = values.size(); left > 1; --left) {
      std::swap(values[left - 1], values[below(left)]);
    }
  }

 private:
  std::uint64_t state_;
};

/// The numbers as they are once stored as T, so that oracle and library solve one problem.
template <class T>
Batch stored_as(Batch batch) {
  for (Real& value : batch.values) value = static_cast<Real>(static_cast<T>(value));
  return batch;
}

template <class T>
PerChannel stored_as(PerChannel values) {
  for (Real& value : values) value = static_cast<Real>(static_cast<T>(value));
  return values;
}

/// Normal values about a mean; each channel gets a mean and a deviation of its own nearby.
inline Batch normal_batch(Random& random, Size samples, Size channels, Size positions,
                          Real mean = 0, Real deviation = 1) {
  Batch batch{samples, channels, positions};
  batch.each([&](Size n, Size c, Size p) {
    const Real own = static_cast<Real>(c % 7) / 4;
    batch.at(n, c, p) = mean + deviation * (own + (1 + own) * random.normal());
  });
  return batch;
}

inline PerChannel uniform_channels(Random& random, Size channels, double low, double high) {
  PerChannel values(channels);
  for (Real& value : values) value = random.uniform(low, high);
  return values;
}

/// A batch whose statistics are exact in any floating point type with at least 8 bits of mantissa,
/// whatever the order of the additions, as long as it is summed in one piece (pieces of other sizes
/// have means that are not exact). Channel c has 16 k values: mean 3 (c mod 5) - 4, and deviations
/// +-5 s once and +-s seven times, so that the variance is 4 s^2 with s = 2^(c mod 3 - 1). With
/// epsilon 0 the normalised values are exactly +-2.5 and +-0.5.
struct ExactBatch {
  Batch values;
  PerChannel mean, variance, deviation;
};

inline ExactBatch exact_batch(Random& random, Size samples, Size channels, Size positions) {
  ExactBatch exact{{samples, channels, positions}, {}, {}, {}};
  const Size count = samples * positions;
  if (count == 0 || count % 16 != 0)
    return exact;  // the mean and variance stay empty: a test fails
  for (Size c = 0; c < channels; ++c) {
    const Real scale = c % 3 == 0 ? 0.5L : c % 3 == 1 ? 1.0L : 2.0L;
    const Real mean = 3 * static_cast<Real>(c % 5) - 4;
    std::vector<Real> channel(count);
    for (Size i = 0; i < count; ++i) {
      const Real size = i % 16 < 2 ? 5 * scale : scale;
      channel[i] = mean + (i % 2 == 0 ? size : -size);
    }
    random.shuffle(channel);
    for (Size i = 0; i < count; ++i) exact.values.at(i / positions, c, i % positions) = channel[i];
    exact.mean.push_back(mean);
    exact.variance.push_back(4 * scale * scale);
    exact.deviation.push_back(2 * scale);
  }
  return exact;
}

/// Some of the samples, in the order of `chosen`.
inline Batch pick(const Batch& batch, const std::vector<Size>& chosen) {
  Batch some{chosen.size(), batch.channels, batch.positions};
  some.each([&](Size n, Size c, Size p) { some.at(n, c, p) = batch.at(chosen[n], c, p); });
  return some;
}

/// The numbers 0 .. count - 1.
inline std::vector<Size> indices(Size count) {
  std::vector<Size> all(count);
  for (Size i = 0; i < count; ++i) all[i] = i;
  return all;
}

/// Cuts a batch into parts of very different sizes; some may be empty.
inline std::vector<Batch> split(Random& random, const Batch& batch, Size parts) {
  std::vector<std::vector<Size>> chosen(parts);
  Size part = 0;
  for (const Size sample : indices(batch.samples)) {
    if (random.below(4) == 0) part = random.below(parts);
    chosen[part].push_back(sample);
  }
  std::vector<Batch> batches;
  for (const std::vector<Size>& samples : chosen) batches.push_back(pick(batch, samples));
  return batches;
}

struct Named {
  std::string name;
  Batch values;
};

/// Finite batches that break careless implementations. The values are stored as T.
template <class T>
std::vector<Named> adversarial_batches(std::uint64_t seed) {
  Random random(seed);
  std::vector<Named> all;
  const auto add = [&](const char* name, const Batch& values) {
    all.push_back({name, stored_as<T>(values)});
  };
  add("mean of 1e6 deviations", normal_batch(random, 257, 3, 1, 1e6L, 1));
  add("mean of -1e6 deviations, small scale", normal_batch(random, 64, 2, 9, -1.0L, 1e-6L));
  add("tiny scale", normal_batch(random, 33, 2, 2, 0, 1e-15L));
  add("huge scale", normal_batch(random, 33, 2, 2, 0, 1e15L));
  add("two values", normal_batch(random, 2, 5, 1, 3, 1));
  add("one channel", normal_batch(random, 19, 1, 7));
  add("37 channels", normal_batch(random, 11, 37, 1, -2, 3));
  add("257 channels of three values", normal_batch(random, 3, 257, 1, 5, 1));
  add("runs of 49", normal_batch(random, 5, 3, 49, 100, 1));
  add("many values", normal_batch(random, 41, 2, 1000, 10, 0.1L));

  Batch outlier = normal_batch(random, 65, 2, 3);
  for (Size c = 0; c < 2; ++c) outlier.at(0, c, 0) = 1e6L;
  add("one outlier, first", outlier);

  Batch constant = normal_batch(random, 37, 3, 1);
  for (Size n = 0; n < 37; ++n) constant.at(n, 1, 0) = 0.1L;
  add("a constant channel among others", constant);

  Batch alternating{64, 2, 1};
  alternating.each([&](Size n, Size c, Size p) {
    alternating.at(n, c, p) = (n % 2 == 0 ? 1e6L : -1e6L) + static_cast<Real>(c);
  });
  add("alternating signs", alternating);

  Batch drift{5000, 1, 1};
  drift.each([&](Size n, Size c, Size p) {
    drift.at(n, c, p) = 1e6L + 1e-3L * static_cast<Real>(n) + random.uniform();
  });
  add("slow drift about a large mean", drift);

  Batch steps{100, 1, 1};
  steps.each([&](Size n, Size c, Size p) { steps.at(n, c, p) = static_cast<Real>(n * n); });
  add("ordered squares", steps);
  return all;
}

/// The hard cases of summing about a guessed pivot, as many values per channel as asked for.
template <class T>
std::vector<Named> pivot_batches(std::uint64_t seed, Size samples, Size channels, Size positions) {
  Random random(seed);
  std::vector<Named> all;
  const auto add = [&](const char* name, const auto& value) {
    Batch batch{samples, channels, positions};
    Real i = 0;
    batch.each([&](Size n, Size c, Size p) { batch.at(n, c, p) = value(n, c, p, i++); });
    all.push_back({name, stored_as<T>(batch)});
  };
  const auto noise = [&] { return static_cast<Real>(random.normal()); };
  add("mean of 1e6 deviations", [&](Size, Size c, Size, Real) {
    return 1e6L * static_cast<Real>(c + 1) + static_cast<Real>(c + 1) * noise();
  });
  add("one outlier of 1e6 deviations, first",
      [&](Size n, Size, Size p, Real) { return n == 0 && p == 0 ? 1e6L : noise(); });
  add("slow drift", [&](Size n, Size, Size p, Real) {
    return 1e3L + 1e-2L * static_cast<Real>(n * positions + p) + noise();
  });
  add("sparse spikes",
      [&](Size, Size, Size, Real) { return random.below(1000) == 0 ? 1e4L + noise() : 0; });
  add("two values", [&](Size, Size, Size, Real) { return random.below(3) == 0 ? 255.0L : 254.0L; });
  add("values of 1e30", [&](Size, Size, Size, Real) { return 1e30L * (3 + noise()); });
  add("a constant", [&](Size, Size c, Size, Real) { return 0.1L + static_cast<Real>(c); });
  return all;
}

/// Numbers below the smallest normal one. They vanish when the processor flushes them to zero.
template <class T>
Batch denormal_batch(Random& random, Size samples, Size channels, Size positions) {
  Batch batch{samples, channels, positions};
  const Real smallest = static_cast<Real>(std::numeric_limits<T>::denorm_min());
  for (Real& value : batch.values) value = smallest * static_cast<Real>(random.below(100));
  return batch;
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_GENERATORS_HPP
