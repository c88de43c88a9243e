// SPDX-License-Identifier: MIT
// Channels whose sums are not good enough at first.
#include <cmath>
#include <functional>
#include <vector>

#include "batchnorm/loops/reduce.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"
#include "support/loop_formulas.hpp"

using batchnorm::Execution;
using batchnorm::InstructionSet;
using batchnorm::loops::Verdict;
using namespace batchnorm_test;

namespace {

struct Shape {
  Size samples, channels, positions;
};

const Execution serial = Execution::serial();
const Execution baseline = Execution::serial().with(InstructionSet::baseline);

/// Sums about a pivot that a verdict may change.
struct PivotSums {
  static constexpr int sums = 2;
  static constexpr int coefficients = 1;
  template <class V>
  [[gnu::always_inline]] static void add(V* s, const V* x, const V* k) {
    const V deviation = x[0] - k[0];
    s[0] += deviation;
    s[1] += deviation * deviation;
  }
};

/// A Reduction that asks for what its verdicts say: verdicts[c][t] after attempt t of channel c.
/// Every attempt of its own moves the pivot of a channel by one.
template <class Accumulator_, class Lane_>
struct Unsettled {
  using Formula = PivotSums;
  using Accumulator = Accumulator_;
  using Lane = Lane_;
  struct Question {
    int tried;
    bool wide;
    Accumulator sum;
  };

  explicit Unsettled(Size channels)
      : results(2, channels), verdicts(channels), pivot(channels, 0), asked(channels) {}

  template <class C>
  void operator()(Index channel, C* k) const {
    k[0] = static_cast<C>(pivot[static_cast<Size>(channel)]);
  }
  Accumulator* result(int k) { return results.of[static_cast<Size>(k)].data(); }
  Lane* pivots() { return guesses.empty() ? nullptr : guesses.data(); }
  Verdict settle(Index channel, int tried, bool wide) {
    const auto c = static_cast<Size>(channel);
    const Size attempt = asked[c].size();
    asked[c].push_back({tried, wide, results.of[0][c]});
    if (attempt >= verdicts[c].size()) return Verdict::settled;
    pivot[c] += 1;
    return verdicts[c][attempt];
  }

  Results<Accumulator> results;
  std::vector<std::vector<Verdict>> verdicts;
  std::vector<int> pivot;
  std::vector<Lane> guesses;
  std::vector<std::vector<Question>> asked;
};
using FloatUnsettled = Unsettled<double, float>;

/// The same, that settles in groups of three such channels as have no wish.
struct InGroups : FloatUnsettled {
  using FloatUnsettled::FloatUnsettled;

  Index settle_good(Index first, Index last) {
    calls.push_back(first);
    while (first < last) {
      const Index end = first + 3 < last ? first + 3 : last;
      for (Index channel = first; channel < end; ++channel) {
        if (!verdicts[static_cast<Size>(channel)].empty()) return first;
      }
      for (Index channel = first; channel < end; ++channel) {
        const auto c = static_cast<Size>(channel);
        asked[c].push_back({0, false, results.of[0][c]});
      }
      first = end;
    }
    return last;
  }

  std::vector<Index> calls;
};

/// Whether channel c was asked as often as its verdicts make it, with right numbers and sums.
template <class Reduction>
bool asked_rightly(const Reduction& reduction, Size c, Real sum, Real count, bool always_wide) {
  const auto& questions = reduction.asked[c];
  const auto& verdicts = reduction.verdicts[c];
  if (questions.size() != verdicts.size() + 1) return false;
  bool wide = always_wide;
  for (Size t = 0; t < questions.size(); ++t) {
    if (questions[t].tried != static_cast<int>(t)) return false;
    if (questions[t].wide != wide) return false;
    if (static_cast<Real>(questions[t].sum) != sum - static_cast<Real>(t) * count) return false;
    if (t < verdicts.size()) wide = always_wide || verdicts[t] == Verdict::again_wide;
  }
  return true;
}

/// Runs, plain numbers, rows in blocks, short runs in rows and rows with cycles.
struct Stand {
  Shape shape;
  Layout layout;
};
const std::vector<Stand> stands = {
    {{4, 40, 30}, Layout::channels_first}, {{4, 40, 30}, Layout::padded},
    {{30, 70, 2}, Layout::channels_last},  {{30, 600, 1}, Layout::backwards},
    {{20, 40, 7}, Layout::channels_first}, {{300, 7, 1}, Layout::channels_last}};

}  // namespace

TEST_CASE("channels are reduced again until they are settled, each as it asks for") {
  Random random(27);
  const std::vector<std::vector<Verdict>> wishes = {
      {},
      {Verdict::again},
      {},
      {Verdict::again_wide},
      {Verdict::again, Verdict::again, Verdict::again},
      {Verdict::again, Verdict::again_wide},
      {},
      {Verdict::again_wide, Verdict::again},
      {}};
  for (const Stand& stand : stands) {
    const auto [samples, channels, positions] = stand.shape;
    const Batch batch = integer_batch(random, samples, channels, positions);
    const Stored<float> stored(batch, stand.layout);
    for (const Execution& execution : {serial, baseline}) {
      FloatUnsettled reduction(channels);
      for (Size c = 0; c < channels; ++c) reduction.verdicts[c] = wishes[c % wishes.size()];
      batchnorm::loops::reduce(execution, reduction, stored.view());
      for (Size c = 0; c < channels; ++c) {
        Real sum = 0, squares = 0;
        const auto last_pivot = static_cast<Real>(reduction.verdicts[c].size());
        for (Size n = 0; n < samples; ++n) {
          for (Size p = 0; p < positions; ++p) {
            sum += batch.at(n, c, p);
            squares += std::pow(batch.at(n, c, p) - last_pivot, 2.0L);
          }
        }
        INFO("channel " << c << " of " << channels << ", " << name_of(stand.layout));
        CHECK(asked_rightly(reduction, c, sum, batch.count(), false));
        CHECK(static_cast<Real>(reduction.results.of[1][c]) == squares);
      }
    }
  }
}

TEST_CASE("a reduction may settle good channels in groups, and is asked about the others") {
  static_assert(batchnorm::loops::settles_many<InGroups>, "it has settle_good");
  static_assert(!batchnorm::loops::settles_many<FloatUnsettled>, "it has not");
  Random random(30);
  for (const Stand& stand : stands) {
    const auto [samples, channels, positions] = stand.shape;
    const Batch batch = integer_batch(random, samples, channels, positions);
    const Stored<float> stored(batch, stand.layout);
    for (const Size every : {Size{1}, Size{2}, Size{4}, Size{17}, Size{1000}}) {
      // Some of the channels are bad: all, every second one and so on, the last one, and none.
      InGroups reduction(channels);
      for (Size c = every - 1; c < channels; c += every) reduction.verdicts[c] = {Verdict::again};
      if (every == 17) reduction.verdicts[channels - 1] = {Verdict::again_wide, Verdict::again};
      batchnorm::loops::reduce(serial, reduction, stored.view());
      INFO("every " << every << "th of " << channels << ", " << name_of(stand.layout));
      for (Size c = 0; c < channels; ++c) {
        Real sum = 0;
        for (Size n = 0; n < samples; ++n) {
          for (Size p = 0; p < positions; ++p) sum += batch.at(n, c, p);
        }
        CHECK(asked_rightly(reduction, c, sum, batch.count(), false));
      }
      if (every == 1000) CHECK(reduction.calls == std::vector<Index>{0});
    }
  }
}

TEST_CASE("the bits of a channel do not depend on what is thought of the others") {
  // Inexact numbers in float lanes: whoever is reduced in double without having asked for it,
  // shows.
  Random random(28);
  for (const Stand& stand : stands) {
    const auto [samples, channels, positions] = stand.shape;
    const Stored<float> stored(normal_batch(random, samples, channels, positions, 3), stand.layout);
    const auto sums = [&, many = channels](const std::vector<Verdict>& mine,
                                           const std::function<std::vector<Verdict>(Size)>& others,
                                           Size me) {
      FloatUnsettled reduction(many);
      for (Size c = 0; c < many; ++c) reduction.verdicts[c] = c == me ? mine : others(c);
      batchnorm::loops::reduce(serial, reduction, stored.view());
      return std::vector<double>{reduction.results.of[0][me], reduction.results.of[1][me]};
    };
    const auto quiet = [](Size) { return std::vector<Verdict>{}; };
    const auto loud = [](Size c) {
      return c % 3 == 0   ? std::vector<Verdict>{Verdict::again_wide}
             : c % 3 == 1 ? std::vector<Verdict>{Verdict::again, Verdict::again}
                          : std::vector<Verdict>{Verdict::again, Verdict::again_wide};
    };
    for (const std::vector<Verdict>& mine :
         {std::vector<Verdict>{}, std::vector<Verdict>{Verdict::again},
          std::vector<Verdict>{Verdict::again_wide}}) {
      for (const Size me : {Size{0}, Size{2}, channels / 2, channels - 1}) {
        INFO("channel " << me << " of " << channels << ", " << name_of(stand.layout) << ", "
                        << mine.size() << " times again");
        CHECK(sums(mine, loud, me) == sums(mine, quiet, me));
      }
    }
  }
}

TEST_CASE("wide lanes are used when asked for, and are what they are when they need no asking") {
  Batch batch{100, 9, 1};
  batch.each([&](Size n, Size c, Size p) { batch.at(n, c, p) = n % 2 == 0 ? 1e30f : -1e30f; });
  for (const Layout layout : all_layouts) {
    const Stored<float> stored(batch, layout);
    FloatUnsettled reduction(9);
    for (Size c = 3; c < 6; ++c) reduction.verdicts[c] = {Verdict::again_wide};
    batchnorm::loops::reduce(serial, reduction, stored.view());
    INFO(name_of(layout));
    for (Size c = 3; c < 6; ++c) {
      CHECK_THAT(reduction.results.of[1][c], Catch::Matchers::WithinRel(1e62, 1e-6));
    }
  }
  for (Real& value : batch.values) value = value > 0 ? 1 : -1;
  const Stored<double> stored(batch, Layout::channels_last);
  Unsettled<double, double> reduction(9);
  for (Size c = 0; c < 9; ++c) reduction.verdicts[c] = {Verdict::again};
  batchnorm::loops::reduce(serial, reduction, stored.view());
  for (Size c = 0; c < 9; ++c) CHECK(asked_rightly(reduction, c, 0, 100, true));
}

TEST_CASE("threads settle channels as one thread does") {
  Random random(29);
  LastFirst last_first;
  for (const Layout layout : {Layout::channels_first, Layout::channels_last}) {
    const Stored<float> stored(normal_batch(random, 3000, 40, 2), layout);
    const auto results = [&](const Execution& execution) {
      FloatUnsettled reduction(40);
      for (Size c = 0; c < 40; c += 3) {
        reduction.verdicts[c] = {Verdict::again, c % 2 == 0 ? Verdict::again : Verdict::again_wide};
      }
      batchnorm::loops::reduce(execution, reduction, stored.view());
      return reduction.results;
    };
    CHECK(results(Execution::parallel_for(last_first, 3)) == results(serial));
  }
  CHECK(last_first.calls > 2);
}

TEST_CASE("guesses of the pivots are there before the first attempt, where they are wanted") {
  for (const Layout layout : all_layouts) {
    Batch batch{50, 9, 4};
    batch.each([&](Size n, Size c, Size p) { batch.at(n, c, p) = static_cast<Real>(c); });
    const Stored<float> stored(batch, layout);
    FloatUnsettled reduction(9);
    reduction.guesses.assign(9, -1);
    batchnorm::loops::reduce(serial, reduction, stored.view());
    INFO(name_of(layout));
    for (Size c = 0; c < 9; ++c) CHECK(reduction.guesses[c] == static_cast<float>(c));
  }
}
