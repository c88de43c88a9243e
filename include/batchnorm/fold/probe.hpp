// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_FOLD_PROBE_HPP
#define BATCHNORM_FOLD_PROBE_HPP

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "batchnorm/detail/rounding.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/fold/certificate.hpp"
#include "batchnorm/fold/geometry.hpp"
#include "batchnorm/fold/plan.hpp"
#include "batchnorm/fold/weights.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// SplitMix64 (Steele, Lea and Flood 2014): integers only, so that a seed means the same inputs on
/// every machine. The distributions of <random> differ between standard libraries.
class ProbeNumbers {
 public:
  explicit ProbeNumbers(std::uint64_t seed) : state_(seed) {}

  std::uint64_t bits() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  /// A number in [-1, 1).
  double uniform() {
    constexpr double step = power_of_two(-52);
    return static_cast<double>(bits() >> 11) * step - 1.0;
  }
  Index below(Index bound) {
    return static_cast<Index>(bits() % static_cast<std::uint64_t>(bound));
  }

 private:
  std::uint64_t state_;
};

/// Runs both layers on random inputs, as they stand: the unfolded one with its norms, and the
/// weights and biases that are about to be stored.
template <class T, class B>
class FoldProbe {
  using Wide = long double;

 public:
  FoldProbe(const FoldPlan<T>& plan, const BiasMap<B>& bias, const TapReach& reach)
      : plan_(plan), bias_(bias), reach_(reach) {}

  /// The largest change on `count` inputs, each seen from a random place of the output.
  void run(int count, std::uint64_t seed, FoldCertificate& certificate) const {
    ProbeNumbers numbers(seed);
    for (int probe = 0; probe < count; ++probe) {
      const Index position = numbers.below(reach_.positions());
      Eigen::VectorXd input(plan_.weights().in_channels() * plan_.weights().taps());
      for (Index i = 0; i < input.size(); ++i) input[i] = numbers.uniform();
      certificate.measured_ulps = (std::max)(certificate.measured_ulps, change(input, position));
    }
    certificate.probes = count;
    // Each side is a sum of no more than N + 8 roundings per term; twice that for both.
    const double roundings = 2.0 * static_cast<double>(plan_.weights().terms() + 8);
    certificate.evaluation_ulps =
        count == 0 ? 0.0 : roundings * distance_after_one<Wide>() / distance_after_one<T>();
  }

 private:
  /// @param input  what every tap of every input channel sees
  double change(const Eigen::VectorXd& input, Index position) const {
    const Index channels = plan_.weights().out_channels();
    const std::vector<bool> seen = seen_at(position);
    std::vector<Wide> unfolded(static_cast<std::size_t>(channels)), folded(unfolded.size());
    plan_.weights().each([&](const T& weight, Index out, Index in, Index tap) {
      if (!seen[static_cast<std::size_t>(tap)]) return;
      const Wide x = static_cast<Wide>(input[in * plan_.weights().taps() + tap]);
      const auto at = static_cast<std::size_t>(out);
      unfolded[at] += static_cast<Wide>(weight) * mapped(plan_.before(), in, x);
      folded[at] += static_cast<Wide>(plan_.folded(weight, out, in)) * x;
    });
    double largest = 0.0, most = 0.0;
    for (Index i = 0; i < input.size(); ++i) {
      largest = (std::max)(largest, std::fabs(input[i]));
    }
    for (Index out = 0; out < channels; ++out) {
      const auto at = static_cast<std::size_t>(out);
      const Wide y =
          mapped(plan_.after(), out, unfolded[at] + static_cast<Wide>(plan_.bias()[out]));
      const Wide difference = folded[at] + static_cast<Wide>(bias_(out, position)) - y;
      most = (std::max)(
          most, relative(static_cast<double>(std::fabs(difference)), plan_.terms(out, largest)));
    }
    return most / distance_after_one<T>();
  }

  /// Whether a tap lies inside the input.
  std::vector<bool> seen_at(Index position) const {
    std::vector<bool> seen(static_cast<std::size_t>(reach_.taps()));
    for (const Index tap : reach_.taps_at(position)) seen[static_cast<std::size_t>(tap)] = true;
    return seen;
  }

  static Wide mapped(const InferenceMap& norm, Index channel, Wide x) {
    return (x - static_cast<Wide>(norm.mean()[channel])) *
               static_cast<Wide>(norm.scale()[channel]) +
           static_cast<Wide>(norm.shift()[channel]);
  }

  const FoldPlan<T>& plan_;
  const BiasMap<B>& bias_;
  const TapReach& reach_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_FOLD_PROBE_HPP
