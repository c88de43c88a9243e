// SPDX-License-Identifier: MIT
// A minibatch of more than 2^31 elements: bfloat16, in place, 4.3 GB. Started by hand. Infers,
// takes moments and trains, and compares some channels and elements with naive sums. Ends with 1
// when something differs.
#include <batchnorm/batchnorm.hpp>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "benchmarks/table.hpp"
#include "benchmarks/threads.hpp"

namespace batchnorm_benchmarks {
namespace {

using Eigen::Index;
using T = Eigen::bfloat16;
using Layer = batchnorm::BatchNorm<T>;

constexpr Index channels = 4096;
constexpr Index samples = (Index{1} << 31) / channels + 1;
constexpr Index elements = samples * channels;

/// A number that depends on its place: about the mean channel % 5, between -4 and +4 of it.
T value_at(Index sample, Index channel) {
  auto bits = static_cast<std::uint64_t>(sample * channels + channel) * 0x9e3779b97f4a7c15u;
  bits ^= bits >> 29;
  bits *= 0xbf58476d1ce4e5b9u;
  const double uniform = static_cast<double>(bits >> 11) * 0x1p-53;
  return static_cast<T>(static_cast<double>(channel % 5) + 8 * uniform - 4);
}

/// Places at both ends, about 2^31, and between.
std::vector<Index> some_samples() {
  return {0, 1, samples / 3, samples / 2, samples - 2, samples - 1};
}
std::vector<Index> some_channels() {
  return {0, 1, 2047, channels - 1};
}

struct Naive {
  double mean = 0.0, variance = 0.0;
};

Naive naive_moments(Index channel) {
  Naive naive;
  const auto n = static_cast<double>(samples);
  for (Index i = 0; i < samples; ++i) naive.mean += static_cast<double>(value_at(i, channel)) / n;
  for (Index i = 0; i < samples; ++i) {
    const double deviation = static_cast<double>(value_at(i, channel)) - naive.mean;
    naive.variance += deviation * deviation / n;
  }
  return naive;
}

class Trial {
 public:
  explicit Trial(int threads)
      : memory_(static_cast<T*>(std::malloc(static_cast<std::size_t>(elements) * sizeof(T)))),
        threads_(threads),
        execution_(execution_with(threads)) {
    for (const Index channel : some_channels()) naive_.push_back(naive_moments(channel));
  }

  bool has_memory() const { return memory_ != nullptr; }

  void infer() {
    fill();
    batchnorm::State<T> state(channels);
    state.running_mean.setConstant(1.5f);
    state.running_variance.setConstant(4.0f);
    const Layer layer(state, batchnorm::Options());
    timed("infer", [&] { layer.infer(view(), view(), execution_); });
    for (std::size_t i = 0; i < naive_.size(); ++i) check_outputs("infer", i, {1.5, 4.0});
  }

  void moments() {
    fill();
    batchnorm::Moments<double> moments(channels);
    const batchnorm::BatchView<const T> in = view();
    timed("moments", [&] { moments = batchnorm::moments_of(in, execution_); });
    check_moments("moments", moments);
  }

  void train() {
    fill();
    Layer layer(channels);
    Layer::BatchMoments moments(channels);
    timed("train", [&] { moments = layer.train(view(), view(), execution_); });
    check_moments("train", moments);
    for (std::size_t i = 0; i < naive_.size(); ++i) check_outputs("train", i, naive_[i]);
  }

  int faults() const { return faults_; }

 private:
  struct Free {
    void operator()(T* memory) const { std::free(memory); }
  };

  batchnorm::BatchView<T> view() const {
    return batchnorm::channels_last(memory_.get(), samples, channels, 1);
  }

  void fill() {
    T* data = memory_.get();
    split(threads_, static_cast<std::size_t>(samples), 1, [&](std::size_t first, std::size_t last) {
      for (auto i = static_cast<Index>(first); i < static_cast<Index>(last); ++i) {
        for (Index c = 0; c < channels; ++c) data[i * channels + c] = value_at(i, c);
      }
    });
  }

  template <class Body>
  void timed(const char* name, const Body& body) const {
    const auto start = std::chrono::steady_clock::now();
    body();
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    std::printf("%s of %lld bfloat16, in place: %s, %s ns per element\n", name,
                static_cast<long long>(elements), duration(time.count()).c_str(),
                digits(time.count() * 1e9 / static_cast<double>(elements)).c_str());
  }

  void expect(const char* name, double got, double expected, double allowed) {
    if (std::abs(got - expected) <= allowed) return;
    std::printf("%s: got %.9g, expected %.9g\n", name, got, expected);
    ++faults_;
  }

  void check_moments(const char* name, const batchnorm::Moments<double>& moments) {
    for (std::size_t i = 0; i < naive_.size(); ++i) {
      const Index c = some_channels()[i];
      expect(name, moments.mean[c], naive_[i].mean, 1e-6);
      expect(name, moments.sum_of_squares[c] / static_cast<double>(samples), naive_[i].variance,
             1e-5);
    }
  }

  void check_outputs(const char* name, std::size_t which, const Naive& statistics) {
    const Index channel = some_channels()[which];
    for (const Index sample : some_samples()) {
      const double x = static_cast<double>(value_at(sample, channel));
      const double expected = (x - statistics.mean) / std::sqrt(statistics.variance + 1e-5);
      const double got = static_cast<double>(memory_.get()[sample * channels + channel]);
      expect(name, got, expected, 0.005 * (std::abs(expected) + 0.01));
    }
  }

  std::unique_ptr<T, Free> memory_;
  int threads_;
  batchnorm::Execution execution_;
  std::vector<Naive> naive_;
  int faults_ = 0;
};

}  // namespace
}  // namespace batchnorm_benchmarks

int main() {
  batchnorm_benchmarks::Trial trial(batchnorm_benchmarks::most_threads());
  if (!trial.has_memory()) {
    std::printf("there is no memory for 4.3 GB\n");
    return 2;
  }
  trial.infer();
  trial.moments();
  trial.train();
  std::printf("%s\n", trial.faults() == 0 ? "right" : "WRONG");
  return trial.faults() == 0 ? 0 : 1;
}
