// SPDX-License-Identifier: MIT
#include "batchnorm/loops/resident.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "loops/map_formulas.hpp"
#include "support/catch.hpp"
#include "support/loop_formulas.hpp"

using batchnorm::BatchView;
using batchnorm::Execution;
using batchnorm::InstructionSet;
using batchnorm::loops::last_level_bytes;
using batchnorm::loops::resident_bytes;
using batchnorm::loops::resident_channels;
using batchnorm::loops::Traversal;
using batchnorm::loops::Verdict;
using batchnorm::loops::Views;
using namespace batchnorm_test;

namespace {

struct SquareSums {
  static constexpr int sums = 2;
  static constexpr int coefficients = 1;
  template <class V>
  [[gnu::always_inline]] static void add(V* s, const V* x, const V* k) {
    const V deviation = x[0] - k[0];
    s[0] += deviation;
    s[1] += deviation * deviation;
  }
};

/// Sums of float about a guess, every third channel about a better one; and what a map takes from
/// them: y = (x - mean) k1 with a k1 that depends on the squares.
class Statistics {
 public:
  using Formula = SquareSums;
  using Accumulator = double;
  using Lane = float;

  Statistics(Size channels, Index count)
      : results(2, channels), guesses(channels, -1), settled(channels), count_(count) {}

  template <class C>
  void operator()(Index channel, C* k) const {
    k[0] = static_cast<C>(guesses[static_cast<Size>(channel)]);
  }
  double* result(int k) { return results.of[static_cast<Size>(k)].data(); }
  float* pivots() { return guesses.data(); }
  Verdict settle(Index channel, int tried, bool) {
    const auto c = static_cast<Size>(channel);
    if (channel % 3 == 1 && tried == 0) {
      guesses[c] += 0.25f;
      return Verdict::again_wide;
    }
    settled[c] = 1;
    return Verdict::settled;
  }

  Results<double> results;
  std::vector<float> guesses;
  std::vector<char> settled;

  /// The numbers of a channel for the map; notes whether others were not settled yet.
  struct Numbers {
    void operator()(Index channel, float* k) const {
      const auto c = static_cast<Size>(channel);
      asked.push_back(channel);
      if (statistics.settled[c] == 0) asked_too_early = true;
      for (const char each : statistics.settled) asked_before_all = asked_before_all || each == 0;
      const auto count = static_cast<double>(statistics.count_);
      k[0] = static_cast<float>(statistics.guesses[c] + statistics.results.of[0][c] / count);
      k[1] = static_cast<float>(count / (1 + statistics.results.of[1][c]));
    }
    const Statistics& statistics;
    mutable bool asked_too_early = false;
    mutable bool asked_before_all = false;
    mutable std::vector<Index> asked = {};
  };

 private:
  Index count_;
};

struct Scaled : batchnorm::loops::MapFormula<2> {
  template <class V>
  [[gnu::always_inline]] static void apply(V* y, const V* x, const V* k) {
    y[0] = (x[0] - k[0]) * k[1];
  }
};

struct Outcome {
  Outcome(Size channels, Index count) : statistics(channels, count) {}
  Statistics statistics;
  std::vector<float> output;
  bool in_groups = false;
  std::vector<Index> order;  ///< in which channels were mapped
  bool same_as(const Outcome& other) const {
    return statistics.results == other.statistics.results && output == other.output;
  }
};

/// One array and how it is seen.
struct Case {
  Index samples, channels, positions;
  bool channels_last;

  template <class T>
  BatchView<T> view(T* data) const {
    return channels_last ? batchnorm::channels_last(data, samples, channels, positions)
                         : batchnorm::channels_first(data, samples, channels, positions);
  }
  Outcome empty() const { return {static_cast<Size>(channels), samples * positions}; }
  Size size() const { return static_cast<Size>(samples * channels * positions); }
};

/// Both loops of reduce_and_map(), on an array of its own or in place.
Outcome together(const Case& shape, const std::vector<float>& input, const Execution& execution,
                 bool in_place) {
  Outcome outcome = shape.empty();
  const Statistics::Numbers numbers{outcome.statistics};
  outcome.output = in_place ? input : std::vector<float>(input.size(), -12345.0f);
  const float* const from = in_place ? outcome.output.data() : input.data();
  const BatchView<const float> in = shape.view(from);
  batchnorm::loops::reduce_and_map<float, Scaled>(
      execution, outcome.statistics, Views<const float, 1>{in}, numbers,
      Views<float, 1>{shape.view(outcome.output.data())}, Views<const float, 1>{in});
  CHECK_FALSE(numbers.asked_too_early);
  outcome.in_groups = numbers.asked_before_all;
  outcome.order = numbers.asked;
  return outcome;
}

/// One loop after the other.
Outcome apart(const Case& shape, const std::vector<float>& input) {
  Outcome outcome = shape.empty();
  const Statistics::Numbers numbers{outcome.statistics};
  outcome.output.resize(input.size());
  const BatchView<const float> in = shape.view(input.data());
  batchnorm::loops::reduce(Execution(), outcome.statistics, in);
  batchnorm::loops::map<float, Scaled>(Execution(), numbers,
                                       Views<float, 1>{shape.view(outcome.output.data())},
                                       Views<const float, 1>{in});
  return outcome;
}

std::vector<float> values_of(const Case& shape) {
  Random random(7);
  std::vector<float> values(shape.size());
  for (float& each : values) each = static_cast<float>(random.uniform(-1, 3));
  return values;
}

/// So many channels of so many values that they are twice what is expected to stay in the cache,
/// and enough for threads.
Case large(Index samples, Index positions, bool channels_last = false) {
  const auto shared = Execution::least_shared_elements * static_cast<Index>(sizeof(float));
  const Index bytes = (std::max)(2 * resident_bytes(), shared);
  const Index channel_bytes = samples * positions * static_cast<Index>(sizeof(float));
  return {samples, bytes / channel_bytes + 7, positions, channels_last};
}

Traversal runs(Index channels, Index values, Index samples = 1) {
  return {channels, channels, samples, values, 1, channels, false};
}

}  // namespace

TEST_CASE("groups of channels give the bits of one loop after the other") {
  LastFirst last_first;
  const Execution shared = Execution::parallel_for(last_first, 3);
  // Runs in both loops, runs that are read sample by sample, and short runs in rows.
  for (const Case& shape : {large(3, 1000), large(3, 196), large(60, 9)}) {
    const std::vector<float> input = values_of(shape);
    const Outcome expected = apart(shape, input);
    INFO(shape.samples << " x " << shape.channels << " x " << shape.positions);
    for (const Execution& execution : {Execution(), shared}) {
      for (const bool in_place : {false, true}) {
        const Outcome outcome = together(shape, input, execution, in_place);
        CHECK(outcome.in_groups);
        CHECK(outcome.same_as(expected));
      }
    }
  }
  CHECK(last_first.calls == 6);
}

TEST_CASE("a thread takes neighbouring channels, as it asks for the next ones ahead") {
  // Channels of which one is a group.
  const Case shape{1, 37, resident_bytes() / 8 + 1000, false};
  const std::vector<float> input = values_of(shape);
  const Outcome expected = apart(shape, input);
  LastFirst last_first;
  for (const Index threads : {1, 2}) {
    const Outcome outcome =
        together(shape, input, Execution::parallel_for(last_first, threads), false);
    CHECK(outcome.same_as(expected));
    CHECK(outcome.in_groups);
    REQUIRE(outcome.order.size() == 37);
    Index jumps = 0;
    for (Size i = 1; i < 37; ++i) jumps += outcome.order[i] == outcome.order[i - 1] + 1 ? 0 : 1;
    CHECK(jumps == (threads == 1 ? 0 : 15));
  }
}

TEST_CASE("where channels lie side by side or in short runs, or little is to do, all go at once") {
  LastFirst last_first;
  const Execution shared = Execution::parallel_for(last_first, 3);
  for (const Case& shape :
       {large(2000, 1, true), large(20, 49), Case{3, 5, 1000, false}, Case{70000, 3, 1, true}}) {
    const std::vector<float> input = values_of(shape);
    const Outcome expected = apart(shape, input);
    INFO(shape.samples << " x " << shape.channels << " x " << shape.positions);
    for (const Execution& execution : {Execution(), shared}) {
      const Outcome outcome = together(shape, input, execution, false);
      CHECK_FALSE(outcome.in_groups);
      CHECK(outcome.same_as(expected));
      CHECK(together(shape, input, execution, true).same_as(expected));
    }
  }
}

TEST_CASE("groups are worked on with the instructions that were asked for") {
  // Sums of float depend on the width of vectors, so that other instructions show.
  const Case shape = large(3, 1000);
  const std::vector<float> input = values_of(shape);
  LastFirst last_first;
  const Execution limited = Execution().with(InstructionSet::baseline);
  const Execution shared = Execution::parallel_for(last_first, 2).with(InstructionSet::baseline);
  const Outcome alone = together(shape, input, limited, false);
  CHECK(together(shape, input, shared, false).same_as(alone));
  const batchnorm::InstructionSet before =
      batchnorm::limit_instruction_set(InstructionSet::baseline);
  CHECK(together(shape, input, Execution(), false).same_as(alone));
  CHECK(apart(shape, input).same_as(alone));
  batchnorm::limit_instruction_set(before);
}

TEST_CASE("as many channels are taken as stay in the cache, or a share for each thread") {
  const Index bytes = 64 * resident_bytes();
  const Traversal many = runs(6400, 1000);
  CHECK(resident_channels(many, many, bytes, 1) == resident_bytes() / (bytes / 6400));
  CHECK(resident_channels(many, many, bytes, 4) == 100);
  CHECK(resident_channels(many, many, bytes, 100) == 6400 / 400);
  // Never none, however large a channel.
  const Traversal few = runs(8, 1000);
  const Index channel = resident_bytes() + 1;
  if (channel <= last_level_bytes() / 4) {
    CHECK(resident_channels(few, few, 8 * channel, 1) == 1);
    CHECK(resident_channels(few, few, 8 * channel, 4) == 1);
  }
}

TEST_CASE("all channels are taken at once where groups gain nothing") {
  const Traversal many = runs(6400, 1000);
  const Index bytes = 64 * resident_bytes();
  REQUIRE(resident_channels(many, many, bytes, 1) > 0);
  // What fits the cache anyway; too few channels for the threads; channels too large for any cache.
  CHECK(resident_channels(many, many, resident_bytes(), 1) == 0);
  CHECK(resident_channels(many, many, resident_bytes() + 6400, 1) > 0);
  CHECK(resident_channels(many, many, bytes, 3201) == 0);
  CHECK(resident_channels(many, many, bytes, 3200) > 0);
  const Traversal two = runs(2, 1000);
  CHECK(resident_channels(two, two, last_level_bytes(), 1) == 0);
  // Channels side by side, in one of the loops or in both; and those that cycle.
  const Traversal rows = {6400, 6400, 1, 1000, 1, 6400, true};
  const Traversal cycling = {3, 240, 1, 100000, 1, 240, true};
  CHECK(resident_channels(rows, many, bytes, 1) == 0);
  CHECK(resident_channels(many, rows, bytes, 1) == 0);
  CHECK(resident_channels(cycling, cycling, bytes, 1) == 0);
  // Short runs, in one of the loops or in both.
  const Traversal short_runs = runs(6400, 127);
  CHECK(resident_channels(short_runs, many, bytes, 1) == 0);
  CHECK(resident_channels(many, short_runs, bytes, 1) == 0);
  CHECK(resident_channels(runs(6400, 128), many, bytes, 1) > 0);
  // Runs that are read sample by sample: a group of channels of 4096 bytes each has so many samples
  // that it is 4096 bytes of every one, or more samples and fewer bytes.
  const Index group = resident_bytes() / 4096;
  REQUIRE(group > 0);
  for (const Index values : {Index{128}, Index{255}}) {
    const Traversal enough = runs(6400, values, group);
    const Traversal too_many = runs(6400, values, group + 1);
    CHECK(resident_channels(enough, enough, 6400 * 4096, 1) == group);
    CHECK(resident_channels(too_many, too_many, 6400 * 4096, 1) == 0);
  }
  const Traversal longer = runs(6400, 256, group + 1);
  CHECK(resident_channels(longer, longer, 6400 * 4096, 1) == group);
  // Short runs in rows are apart.
  const Traversal repeated = {6400, 6400 * 49, 1, 20, 49, 6400 * 49, true};
  CHECK(resident_channels(many, repeated, bytes, 1) > 0);
  CHECK(resident_channels(repeated, repeated, bytes, 1) > 0);
}
