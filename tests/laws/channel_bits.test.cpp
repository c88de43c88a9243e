// SPDX-License-Identifier: MIT
// What is computed once per channel has the same bits whatever the number of channels beside it,
// its place among them and the instruction set: coefficients, running statistics, gradients, and
// the moments from given sums. (The sums themselves depend on how many lanes there are.)
#include <functional>
#include <vector>

#include "batchnorm/loops/channels.hpp"
#include "batchnorm/loops/numbers.hpp"
#include "batchnorm/loops/simd_dispatch.hpp"
#include "batchnorm/math/backward.hpp"
#include "batchnorm/math/backward_output.hpp"
#include "batchnorm/math/gradients.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/math/running.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

constexpr Index most_channels = 20;

/// A state, a minibatch's moments and the sums of its gradients: numbers of many digits.
template <class T>
struct Layer {
  using A = accumulator_t<T>;

  explicit Layer(Index channels) : state(channels), batch(channels), sums(channels) {}
  static Layer random(std::uint64_t seed) {
    Random numbers(seed);
    Layer layer(most_channels);
    const auto fill = [&](auto& vector, double low, double high) {
      using Number = typename std::decay_t<decltype(vector)>::Scalar;
      for (Index c = 0; c < most_channels; ++c) {
        vector[c] = static_cast<Number>(numbers.uniform(low, high));
      }
    };
    fill(layer.state.gamma, 0.3, 2);
    fill(layer.state.beta, -2, 2);
    fill(layer.state.running_mean, -9, 9);
    fill(layer.state.running_variance, 0.01, 9);
    fill(layer.batch.mean, -9, 9);
    fill(layer.batch.sum_of_squares, 1, 999);
    fill(layer.sums.output_gradient, -99, 99);
    fill(layer.sums.normalized, -99, 99);
    layer.count();
    return layer;
  }

  /// Some of the channels as a layer of their own.
  Layer part(Index first, Index channels) const {
    Layer some(channels);
    some.state.gamma = state.gamma.segment(first, channels);
    some.state.beta = state.beta.segment(first, channels);
    some.state.running_mean = state.running_mean.segment(first, channels);
    some.state.running_variance = state.running_variance.segment(first, channels);
    some.batch.mean = batch.mean.segment(first, channels);
    some.batch.sum_of_squares = batch.sum_of_squares.segment(first, channels);
    some.sums.output_gradient = sums.output_gradient.segment(first, channels);
    some.sums.normalized = sums.normalized.segment(first, channels);
    some.count();
    return some;
  }

  void count() {
    state.batches_seen = 3;
    state.samples_seen = 111;
    batch.count = 37;
  }

  State<T> state;
  Moments<A> batch;
  GradientSums<A> sums;
};

/// numbers[i][c] of channel c.
using Table = std::vector<std::vector<long double>>;

template <class Vector>
std::vector<long double> row(const Vector& vector) {
  std::vector<long double> numbers;
  for (Index c = 0; c < vector.size(); ++c) numbers.push_back(static_cast<long double>(vector[c]));
  return numbers;
}

template <int Count, class C, class Source>
Table numbers_of(const Source& source, Index channels) {
  std::vector<std::vector<C>> rows(Count, std::vector<C>(static_cast<Size>(channels)));
  C* to[Count];
  for (Size i = 0; i < Count; ++i) to[i] = rows[i].data();
  loops::Numbers<C, Count>(source).write(0, channels, to);
  Table table;
  for (const std::vector<C>& each : rows) table.emplace_back(each.begin(), each.end());
  return table;
}

template <class T>
Options options_of() {
  Options options;
  options.epilogue = Epilogue::leaky_relu(0.3);
  options.epsilon = 1e-3;
  return options;
}

template <class T>
Table forward(const Layer<T>& layer) {
  using A = accumulator_t<T>;
  const Options options = options_of<T>();
  const detail::BatchStatistics<A, Eigen::Dynamic> statistics(layer.batch);
  const detail::CentredCoefficients<T, Eigen::Dynamic, decltype(statistics)> coefficients(
      options, layer.state, statistics);
  Table table = numbers_of<3, parameter_t<T>>(coefficients, layer.state.channels());
  const detail::RunningStatistics<T, Eigen::Dynamic> running(layer.state);
  const detail::CentredCoefficients<T, Eigen::Dynamic, decltype(running)> frozen(
      options, layer.state, running);
  for (const auto& each : numbers_of<3, parameter_t<T>>(frozen, layer.state.channels())) {
    table.push_back(each);
  }
  return table;
}

/// The numbers that sums and map of a way of back-propagation are given, in both types.
template <class T, class Source, class Numbers>
Table backward_numbers(const Numbers& numbers, const Layer<T>& given) {
  using A = accumulator_t<T>;
  using C = parameter_t<T>;
  constexpr int own = Source::coefficients;
  Layer<T> layer = given;
  const Index channels = layer.state.channels();
  const detail::GradientReduction<Source, Numbers, T, Eigen::Dynamic> reduction(numbers,
                                                                                layer.sums);
  const detail::BackwardCoefficients<Source, Numbers, T, Eigen::Dynamic, false> through(
      numbers, layer.sums, layer.batch.count);
  const detail::BackwardCoefficients<Source, Numbers, T, Eigen::Dynamic, true> frozen(
      numbers, layer.sums, layer.batch.count);
  Table table;
  for (const Table& part :
       {numbers_of<2 + own, C>(reduction, channels), numbers_of<2 + own, A>(reduction, channels),
        numbers_of<4 + own, C>(through, channels), numbers_of<2 + own, C>(frozen, channels)}) {
    table.insert(table.end(), part.begin(), part.end());
  }
  return table;
}

template <class T>
Table backward(const Layer<T>& layer) {
  using A = accumulator_t<T>;
  const Options options = options_of<T>();
  using Statistics = detail::BatchStatistics<A, Eigen::Dynamic>;
  const Statistics statistics(layer.batch);
  const detail::InputNumbers<T, Eigen::Dynamic, Statistics> input(options, layer.state, statistics);
  const detail::OutputNumbers<T, Eigen::Dynamic, Statistics> output(options, layer.state,
                                                                    statistics);
  Table table = backward_numbers<T, detail::FromInput<parameter_t<T>, true, false>>(input, layer);
  for (const auto& each : backward_numbers<T, detail::FromOutput<true>>(output, layer)) {
    table.push_back(each);
  }
  return table;
}

/// The sums corrected and settled, all good ones at once or one by one, and the gradients.
template <class T, bool Together>
Table gradients(const Layer<T>& given) {
  using A = accumulator_t<T>;
  const Options options = options_of<T>();
  Layer<T> layer = given;
  const Index channels = layer.state.channels();
  using Statistics = detail::BatchStatistics<A, Eigen::Dynamic>;
  const Statistics statistics(layer.batch);
  using Numbers = detail::InputNumbers<T, Eigen::Dynamic, Statistics>;
  const Numbers numbers(options, layer.state, statistics);
  using Source = detail::FromInput<parameter_t<T>, true, false>;
  detail::GradientReduction<Source, Numbers, T, Eigen::Dynamic> reduction(numbers, layer.sums);
  if (Together) {
    REQUIRE(reduction.settle_good(0, channels) == channels);
  } else {
    for (Index c = 0; c < channels; ++c) {
      REQUIRE(reduction.settle(c, 0, false) == loops::Verdict::settled);
    }
  }
  Gradients<T> result(channels);
  loops::for_channels<A>(0, channels,
                         detail::GradientWriter<T, Eigen::Dynamic>{options, layer.sums, result});
  return {row(layer.sums.normalized), row(result.gamma), row(result.beta)};
}

/// Mean and squares from sums about guesses.
template <class T, bool Together>
Table settled_moments(const Layer<T>& given) {
  using C = parameter_t<T>;
  Layer<T> layer = given;
  const Index channels = layer.state.channels();
  Moments<accumulator_t<T>>& moments = layer.batch;
  moments.mean *= 2;  // as sums of deviations they are small beside the squares
  moments.sum_of_squares.array() += 100;
  detail::MomentsReduction<T, Eigen::Dynamic> reduction(moments);
  C* const pivots = reduction.pivots();
  for (Index c = 0; c < channels; ++c) pivots[c] = static_cast<C>(layer.state.running_mean[c]);
  if (Together) {
    REQUIRE(reduction.settle_good(0, channels) == channels);
  } else {
    for (Index c = 0; c < channels; ++c) {
      REQUIRE(reduction.settle(c, 0, false) == loops::Verdict::settled);
    }
  }
  return {row(moments.mean), row(moments.sum_of_squares)};
}

/// The running statistics by every kind of rule.
template <class T>
Table running(const Layer<T>& layer) {
  Table table;
  for (const RunningUpdate& rule : {RunningUpdate::take_new(0.1), RunningUpdate::take_new(1),
                                    RunningUpdate::cumulative(), RunningUpdate::population()}) {
    Options options;
    options.running = rule;
    State<T> state = layer.state;
    apply_running_update(options, layer.batch, state);
    table.push_back(row(state.running_mean));
    table.push_back(row(state.running_variance));
  }
  return table;
}

/// Every channel of every part, with every instruction set, as the channel alone.
template <class T>
void check_bits(const std::function<Table(const Layer<T>&)>& compute,
                const std::function<Table(const Layer<T>&)>& compute_alone) {
  const Layer<T> whole = Layer<T>::random(17);
  const InstructionSet before = limit_instruction_set(InstructionSet::baseline);
  std::vector<Table> alone;
  for (Index c = 0; c < most_channels; ++c) alone.push_back(compute_alone(whole.part(c, 1)));
  for (const InstructionSet limit : {InstructionSet::baseline, InstructionSet::best}) {
    limit_instruction_set(limit == InstructionSet::best ? before : limit);
    for (Index channels = 1; channels <= most_channels; ++channels) {
      for (const Index first :
           {Index{0}, (most_channels - channels) / 2, most_channels - channels}) {
        const Table together = compute(whole.part(first, channels));
        for (Index c = 0; c < channels; ++c) {
          for (Size i = 0; i < together.size(); ++i) {
            INFO("number " << i << " of channel " << c << " of " << channels);
            CHECK(together[i][static_cast<Size>(c)] == alone[static_cast<Size>(first + c)][i][0]);
          }
        }
      }
    }
  }
  limit_instruction_set(before);
}
template <class T>
void check_bits(const std::function<Table(const Layer<T>&)>& compute) {
  check_bits<T>(compute, compute);
}

}  // namespace

TEMPLATE_TEST_CASE("coefficients of the forward map", "", float, double, long double) {
  check_bits<TestType>(forward<TestType>);
}

TEMPLATE_TEST_CASE("coefficients of back-propagation", "", float, double, long double) {
  check_bits<TestType>(backward<TestType>);
}

TEMPLATE_TEST_CASE("gradients of the parameters, settled together or one by one", "", float, double,
                   long double) {
  check_bits<TestType>(gradients<TestType, true>, gradients<TestType, false>);
}

TEMPLATE_TEST_CASE("moments from sums, settled together or one by one", "", float, double,
                   long double) {
  check_bits<TestType>(settled_moments<TestType, true>, settled_moments<TestType, false>);
}

TEMPLATE_TEST_CASE("running statistics", "", float, double, long double, Eigen::half) {
  check_bits<TestType>(running<TestType>);
}
