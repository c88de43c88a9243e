// SPDX-License-Identifier: MIT
// What is computed once per channel has the same bits whatever the number of channels beside it,
// its place among them and the instruction set: coefficients, running statistics, gradients, and
// the moments from given sums. (The sums themselves depend on how many lanes there are.)
#include <functional>
#include <vector>

#include "batchnorm/kernels/instruction_set.hpp"
#include "batchnorm/math/backward.hpp"
#include "batchnorm/math/backward_output.hpp"
#include "batchnorm/math/gradients.hpp"
#include "batchnorm/math/moments.hpp"
#include "batchnorm/math/normalize.hpp"
#include "batchnorm/math/running.hpp"
#include "batchnorm/math/statistics.hpp"
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

Options some_options() {
  Options options;
  options.epilogue = Epilogue::leaky_relu(0.3);
  options.epsilon = 1e-3;
  return options;
}

/// Pivot, scale and shift, of the minibatch and running.
template <class T>
Table forward(const Layer<T>& layer) {
  using C = parameter_t<T>;
  const Index channels = layer.state.channels();
  const auto parameters = detail::parameters_of(some_options(), layer.state);
  Table table;
  for (const auto& statistics :
       {detail::statistics_of(layer.batch), detail::statistics_of(layer.state)}) {
    ChannelVector<C> numbers[3];
    C* to[3];
    for (int i = 0; i < 3; ++i) {
      numbers[i].resize(channels);
      to[i] = numbers[i].data();
    }
    detail::ForwardSource<T>(statistics, parameters).write(0, channels, to);
    for (const ChannelVector<C>& each : numbers) table.push_back(row(each));
  }
  return table;
}

/// All that back-propagation knows of a channel, once its sums are finished: all channels at once,
/// or one by one.
template <class T, bool Together>
Table backward(const Layer<T>& given) {
  const Options options = some_options();
  const auto statistics = detail::statistics_of(given.batch);
  Table table;
  for (const bool from_output : {false, true}) {
    Layer<T> layer = given;
    layer.sums.count = layer.batch.count;
    const Index channels = layer.state.channels();
    auto tables = from_output ? detail::output_tables(options, layer.state, statistics)
                              : detail::input_tables(options, layer.state, statistics);
    const auto count = static_cast<accumulator_t<T>>(layer.sums.count);
    detail::GradientReduction<T, Eigen::Dynamic> reduction(tables, layer.sums, count);
    if (Together) {
      REQUIRE(reduction.finish_many(0, channels) == channels);
    } else {
      for (Index c = 0; c < channels; ++c) {
        REQUIRE(reduction.finish(c, 0, false) == detail::Outcome::done);
      }
    }
    using Row = Eigen::Map<const ChannelVector<parameter_t<T>>>;
    for (const auto* numbers : {tables.pivot(), tables.scale(), tables.shift(), tables.inverse(),
                                tables.b(), tables.c()}) {
      table.push_back(row(Row(numbers, channels)));
    }
    const Gradients<T> gradients = detail::gradients_of<T>(options, layer.sums);
    table.push_back(row(layer.sums.normalized));
    table.push_back(row(gradients.gamma));
    table.push_back(row(gradients.beta));
  }
  return table;
}

/// Mean and squares from sums about pivots.
template <class T, bool Together>
Table moments(const Layer<T>& given) {
  Layer<T> layer = given;
  const Index channels = layer.state.channels();
  Moments<accumulator_t<T>>& moments = layer.batch;
  moments.mean *= 2;  // as sums of deviations they are small beside the squares
  moments.sum_of_squares.array() += 100;
  typename State<T>::Vector pivots =
      layer.state.running_mean.template cast<typename State<T>::Scalar>();
  const auto count = static_cast<accumulator_t<T>>(moments.count);
  detail::MomentsReduction<T> reduction(count, moments.mean.data(), moments.sum_of_squares.data(),
                                        pivots.data());
  if (Together) {
    REQUIRE(reduction.finish_many(0, channels) == channels);
  } else {
    for (Index c = 0; c < channels; ++c) {
      REQUIRE(reduction.finish(c, 0, false) == detail::Outcome::done);
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

TEMPLATE_TEST_CASE(
    "coefficients and gradients of back-propagation, finished together or one by one", "", float,
    double, long double) {
  check_bits<TestType>(backward<TestType, true>, backward<TestType, false>);
}

TEMPLATE_TEST_CASE("moments from sums, finished together or one by one", "", float, double,
                   long double) {
  check_bits<TestType>(moments<TestType, true>, moments<TestType, false>);
}

TEMPLATE_TEST_CASE("running statistics", "", float, double, long double, Eigen::half) {
  check_bits<TestType>(running<TestType>);
}
