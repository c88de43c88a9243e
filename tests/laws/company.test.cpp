// SPDX-License-Identifier: MIT
// The bits of a channel depend on its own values and on the shape of the minibatch, and on nothing
// else: not on how many threads share the work, nor on what the channels beside it hold.
#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "batchnorm/kernels/pivot.hpp"
#include "batchnorm/layer.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

const auto from_the_end = [](Index tasks, Task task) {
  for (Index i = tasks - 1; i >= 0; --i) task(i);
};

template <class T>
std::vector<T> numbers(Random& random, Index count, double mean) {
  std::vector<T> values(static_cast<std::size_t>(count));
  for (T& value : values) value = static_cast<T>(mean + random.uniform(-1, 1));
  return values;
}

/// The bits of moments, sums of gradients, output and input gradient.
template <class T>
std::string results(const BatchView<const T>& x, const BatchView<const T>& dy,
                    const Execution& execution) {
  const BatchNorm<T> layer(x.channels());
  const std::size_t size = static_cast<std::size_t>(x.samples() * x.channels() * x.positions());
  std::vector<T> y(size), dx(size);
  const auto out = channels_first(y.data(), x.samples(), x.channels(), x.positions());
  const auto gradient = channels_last(dx.data(), x.samples(), x.channels(), x.positions());
  const auto batch = layer.normalize(x, out, execution);
  const auto sums = layer.backward_sums(batch, x, dy, execution);
  layer.backward(batch, x, dy, gradient, execution);
  std::string all;
  const auto add = [&](const auto& list) {
    all.append(reinterpret_cast<const char*>(list.data()),
               static_cast<std::size_t>(list.size()) * sizeof *list.data());
  };
  add(batch.mean);
  add(batch.sum_of_squares);
  add(sums.output_gradient);
  add(sums.normalized);
  add(y);
  add(dx);
  return all;
}

/// Channels that need more than one attempt: their sampled values tell another story than the rest,
/// or their squares overflow in the type of the data.
enum class Trouble { misleading, overflowing };

/// A minibatch in which some channels are in trouble.
std::vector<float> with_trouble(const std::vector<float>& good, Index rows, Index channels,
                                const std::vector<Index>& troubled, Trouble trouble) {
  std::vector<float> values = good;
  const detail::SampledRows sampled(rows, 64);
  for (const Index c : troubled) {
    const auto at = [&](Index row) -> float& {
      return values[static_cast<std::size_t>(row * channels + c)];
    };
    if (trouble == Trouble::overflowing) {
      for (Index row = 0; row < rows; ++row) at(row) *= 1e25f;
    } else {
      for (Index s = 0; s < sampled.count(); ++s) at(sampled.row(s)) = 1e4f;
    }
  }
  return values;
}

}  // namespace

TEMPLATE_TEST_CASE("channels side by side have the same bits on any number of threads", "", float,
                   double, Eigen::half) {
  Random random(40);
  for (const Index channels : {70, 100, 130, 500, 520, 1100}) {
    const Index rows = 140000 / channels + 600;
    const auto x = numbers<TestType>(random, rows * channels, 3);
    const auto dy = numbers<TestType>(random, rows * channels, 0);
    for (const bool backwards : {false, true}) {
      const Index first = backwards ? rows * channels - 1 : 0, step = backwards ? -1 : 1;
      const auto view = [&](const std::vector<TestType>& memory) {
        return BatchView<const TestType>(memory.data() + first, rows, channels, 1, step * channels,
                                         step, 1);
      };
      const auto alone = results<TestType>(view(x), view(dy), Execution::serial());
      for (const Index threads : {2, 3, 5, 16}) {
        INFO(channels << " channels, backwards " << backwards << ", " << threads << " threads");
        const auto execution = Execution::parallel_for(from_the_end, threads);
        const bool same = results<TestType>(view(x), view(dy), execution) == alone;
        CHECK(same);
      }
    }
  }
}

TEMPLATE_TEST_CASE("the same for every layout and kind of shape", "", float, double,
                   Eigen::bfloat16) {
  Random random(41);
  for (const auto& [samples, channels, positions] : {std::array<Size, 3>{150000, 1, 1},
                                                     {50000, 3, 1},
                                                     {700, 60, 4},
                                                     {9, 37, 500},
                                                     {3, 2, 25000}}) {
    const Batch x = normal_batch(random, samples, channels, positions, -3);
    for (const Layout layout : all_layouts) {
      const Stored<TestType> stored(x, layout);
      const BatchView<const TestType> view = stored.view();
      const auto alone = results<TestType>(view, view, Execution::serial());
      for (const Index threads : {2, 7}) {
        INFO(samples << " x " << channels << " x " << positions << ", " << name_of(layout));
        const auto execution = Execution::parallel_for(from_the_end, threads);
        const bool same = results<TestType>(view, view, execution) == alone;
        CHECK(same);
      }
    }
  }
}

TEST_CASE("a channel that is reduced again has the bits that it has among others in no trouble") {
  Random random(42);
  constexpr Index channels = 45, rows = 3000;
  const auto good = numbers<float>(random, rows * channels, 0.3);
  const auto moments = [&](const std::vector<Index>& troubled, Trouble trouble) {
    const auto x = with_trouble(good, rows, channels, troubled, trouble);
    return moments_of(channels_last(x.data(), rows, channels, Index{1}));
  };
  const auto untroubled = moments({}, Trouble::misleading);
  std::vector<Index> all;
  for (Index c = 0; c < channels; ++c) all.push_back(c);
  for (const Trouble trouble : {Trouble::misleading, Trouble::overflowing}) {
    const auto together = moments(all, trouble);
    for (const Index c : {0, 1, 15, 16, 29, 30, 38, 44}) {
      INFO("channel " << c << ", overflowing " << (trouble == Trouble::overflowing));
      const auto alone = moments({c}, trouble), pair = moments({c == 0 ? 1 : c / 2, c}, trouble);
      CHECK(alone.mean[c] == together.mean[c]);
      CHECK(alone.mean[c] == pair.mean[c]);
      CHECK(alone.sum_of_squares[c] == together.sum_of_squares[c]);
      CHECK(alone.sum_of_squares[c] == pair.sum_of_squares[c]);
      CHECK(alone.sum_of_squares[c] > 2 * untroubled.sum_of_squares[c]);
      const Index other = (c + 7) % channels;
      CHECK(alone.mean[other] == untroubled.mean[other]);
      CHECK(alone.sum_of_squares[other] == untroubled.sum_of_squares[other]);
    }
  }
}
