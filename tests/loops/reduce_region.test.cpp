// SPDX-License-Identifier: MIT
#include "batchnorm/loops/reduce_region.hpp"

#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"
#include "support/loop_formulas.hpp"
#include "support/sparse_memory.hpp"

using batchnorm::BatchView;
using batchnorm::InstructionSet;
using batchnorm::loops::Plan;
using batchnorm::loops::Region;
using namespace batchnorm_test;

namespace {

/// The mean about zero, from means that each chunk finds itself, and the sum of the squares about
/// the chunks' own means: merging leaves out what the chunks' means differ.
struct OwnMeans {
  using Accumulator = double;
  static constexpr int sums = 2;
  static constexpr bool recentres = true;

  static double origin(Index channel) { return 1000.0 * static_cast<double>(channel); }
  template <class V>
  [[gnu::always_inline]] static void add(V* s, const V* x, const V& pivot) {
    const V deviation = x[0] - pivot;
    s[0] += deviation;
    s[1] += deviation * deviation;
  }
  static void close(double* s, double place, double count) { s[0] = place + s[0] / count; }
  static void merge(double* into, const double* from,
                    const batchnorm::loops::MergeWeights<double>& weights) {
    into[0] += (from[0] - into[0]) * weights.share;
    into[1] += from[1];
  }
};

/// Reduces one region of a view into results that begin at the region's first channel.
template <class Reduction, class T>
Results<double> reduce_region(const Reduction& reduction, const BatchView<const T>& view,
                              const Region& region, InstructionSet instruction_set) {
  Results<double> results(Reduction::sums, static_cast<Size>(region.channels()));
  std::array<double*, static_cast<Size>(Reduction::sums)> into{};
  for (Size k = 0; k < into.size(); ++k) into[k] = results.of[k].data();
  const Plan<1> plan(view);
  const std::array<const T*, 1> data = {view.data()};
  batchnorm::simd::dispatch(instruction_set, batchnorm::loops::RegionReducer<Reduction, T, 1>(
                                                 reduction, plan, data, region, into.data()));
  return results;
}

/// Every other number of a channel is m - 1 or m + 1, m changing from one `period` to the next.
Batch steps_batch(Size values, Size channels, Size period) {
  Batch batch{values, channels, 1};
  batch.each([&](Size n, Size c, Size p) {
    const Real m = 1000 * static_cast<Real>(c) + 10 * static_cast<Real>(n / period);
    batch.at(n, c, p) = n % 2 == 0 ? m - 1 : m + 1;
  });
  return batch;
}

const std::vector<InstructionSet> instruction_sets = {InstructionSet::baseline,
                                                      InstructionSet::best};

}  // namespace

TEST_CASE("a region is all that is read, and its first channel comes first") {
  Random random(31);
  const Batch batch = integer_batch(random, 30, 11, 6);
  for (const Layout layout : all_layouts) {
    const Stored<float> stored(batch, layout);
    for (const Region& region : {Region{0, 11, 0, 180}, Region{2, 9, 0, 180}, Region{0, 11, 7, 101},
                                 Region{3, 4, 59, 60}, Region{1, 10, 13, 176}}) {
      // All of these layouts number the values of a channel sample by sample.
      Batch part{static_cast<Size>(region.values()), static_cast<Size>(region.channels()), 1};
      part.each([&](Size v, Size c, Size p) {
        const Size value = v + static_cast<Size>(region.first_value);
        part.at(v, c, p) =
            batch.at(value / 6, c + static_cast<Size>(region.first_channel), value % 6) -
            2 * static_cast<Real>(region.first_channel);
      });
      Results<double> unused(3, 11);
      for (const InstructionSet set : instruction_sets) {
        INFO(name_of(layout) << ", channels " << region.first_channel << " to "
                             << region.last_channel << ", values " << region.first_value << " to "
                             << region.last_value);
        CHECK(reduce_region(PowerSums<double>(unused), stored.view(), region, set) ==
              PowerSums<double>::of(part));
      }
    }
  }
}

TEST_CASE("walking along the values, every chunk of 2048 finds its own mean") {
  // Of whole numbers that a chunk's first value and count divide exactly: no rounding anywhere.
  for (const Size values : {Size{2}, Size{2048}, Size{4096}, Size{8192}}) {
    const Stored<double> stored(steps_batch(values, 3, 2048), Layout::channels_outermost);
    for (const InstructionSet set : instruction_sets) {
      const Region all = {0, 3, 0, static_cast<Index>(values)};
      const Results<double> results = reduce_region(OwnMeans(), stored.view(), all, set);
      const double steps = static_cast<double>((values - 1) / 2048);
      INFO(values << " values");
      CHECK(results.of[0] == std::vector<double>(3, 10 * steps / 2));
      CHECK(results.of[1] == std::vector<double>(3, static_cast<double>(values)));
    }
  }
}

TEST_CASE("walking across the channels, every chunk of 4096 elements finds its own mean") {
  for (const Size channels : {Size{4}, Size{8}, Size{64}, Size{256}}) {
    const Size rows = 4096 / channels;
    const Stored<double> stored(steps_batch(4 * rows, channels, rows), Layout::channels_last);
    for (const InstructionSet set : instruction_sets) {
      const Region all = {0, static_cast<Index>(channels), 0, static_cast<Index>(4 * rows)};
      const Results<double> results = reduce_region(OwnMeans(), stored.view(), all, set);
      INFO(channels << " channels");
      CHECK(results.of[0] == std::vector<double>(channels, 15));
      CHECK(results.of[1] == std::vector<double>(channels, static_cast<double>(4 * rows)));
    }
  }
}

TEST_CASE("results of recentred channels are relative to the channels' origins") {
  // Channel c has the mean 1000 c + 5, and its origin is 1000 c.
  for (const Layout layout : all_layouts) {
    const Stored<double> stored(steps_batch(4096, 8, 2048), layout);
    for (const InstructionSet set : instruction_sets) {
      INFO(name_of(layout));
      const Region some = {2, 7, 0, 4096};
      CHECK(reduce_region(OwnMeans(), stored.view(), some, set).of[0] == std::vector<double>(5, 5));
    }
  }
}

TEST_CASE("no channel looks at another, not even for a first guess of its mean") {
  Batch batch{3, 5, 1500};
  batch.each([&](Size n, Size c, Size p) {
    batch.at(n, c, p) = c % 2 == 0 ? 5.0L : std::numeric_limits<Real>::infinity();
  });
  for (const Layout layout : all_layouts) {
    const Stored<float> stored(batch, layout);
    for (const InstructionSet set : instruction_sets) {
      const Results<double> results =
          reduce_region(OwnMeans(), stored.view(), {0, 5, 0, 4500}, set);
      for (const Size c : {Size{0}, Size{2}, Size{4}}) {
        INFO(name_of(layout) << ", channel " << c);
        CHECK(results.of[0][c] == 5 - 1000 * static_cast<double>(c));
        CHECK(results.of[1][c] == 0);
      }
    }
  }
}

TEST_CASE("odd chunks and odd vectors add nothing of their own") {
  // Of a constant channel the deviations are zero; whatever a lane past the end adds shows.
  for (const Size values : {Size{1}, Size{5}, Size{7}, Size{2051}, Size{4099}}) {
    for (const Size channels : {Size{1}, Size{3}, Size{5}, Size{7}, Size{255}}) {
      Batch batch{values, channels, 1};
      for (Real& value : batch.values) value = 0.1L;
      for (const Layout layout : all_layouts) {
        const Stored<float> stored(batch, layout);
        for (const InstructionSet set : instruction_sets) {
          const Region all = {0, static_cast<Index>(channels), 0, static_cast<Index>(values)};
          const Results<double> results = reduce_region(OwnMeans(), stored.view(), all, set);
          INFO(values << " values, " << channels << " channels, " << name_of(layout));
          CHECK(results.of[1] == std::vector<double>(channels, 0.0));
        }
      }
    }
  }
}

TEST_CASE("values beyond 2^32 are read where they are") {
  const std::uint64_t values = (std::uint64_t{1} << 32) + 1000;
  const SparseMemory sparse(sizeof(float) * values);
  float* const memory = sparse.data<float>();
  if (memory == nullptr) {
    WARN("left out: this system grants no sparse memory of 16 GiB");
    return;
  }
  Random random(32);
  const Batch tail = integer_batch(random, 1501, 1, 1);
  for (Size i = 0; i < 1501; ++i) {
    memory[values - 1501 + i] = static_cast<float>(tail.at(i, 0, 0));
  }
  const auto count = static_cast<Index>(values);
  const Region last_values = {0, 1, count - 1501, count};
  Results<double> unused(3, 1);
  for (const InstructionSet set : instruction_sets) {
    const BatchView<const float> one_channel(memory, 1, 1, count, 0, 0, 1);
    CHECK(reduce_region(PowerSums<double>(unused), one_channel, last_values, set) ==
          PowerSums<double>::of(tail));
  }
}
