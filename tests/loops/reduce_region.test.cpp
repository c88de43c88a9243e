// SPDX-License-Identifier: MIT
#include "batchnorm/loops/reduce_region.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include "loops/region_sums.hpp"
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

/// Reduces one region of a view into results that begin at the region's first channel.
template <class Formula, class Source>
Results<double> region_sums(InstructionSet set, const Source& source,
                            const BatchView<const float>& view, bool wide,
                            const Region* some = nullptr) {
  const Plan<1> plan(view);
  const Region region = some != nullptr ? *some : everything(plan.traversal());
  const Index channels =
      (std::min)(plan.traversal().channels, region.columns() / plan.traversal().repeat);
  Results<double> results(Formula::sums, static_cast<Size>(channels));
  const std::vector<double*> into = results.pointers();
  const std::array<const float*, 1> data = {view.data()};
  batchnorm::loops::reduce_region<Formula, float, double>(set, source, plan, data, region, wide,
                                                          into.data());
  return results;
}

struct ZeroCoefficients {
  template <class C>
  void operator()(Index, C* k) const {
    k[0] = k[1] = C(0);
  }
};

struct Shape {
  Size samples, channels, positions;
};
/// Runs, rows, short runs in rows and rows with cycles, none of more than 512 columns.
const std::vector<Shape> shapes = {{3, 5, 40}, {33, 41, 1}, {13, 30, 7}, {161, 3, 1}};

}  // namespace

TEST_CASE("vectors and single numbers give the same sums of integers, in every layout") {
  Random random(31);
  for (const Shape& shape : shapes) {
    const Batch batch = integer_batch(random, shape.samples, shape.channels, shape.positions);
    const Results<double> expected = PowerSums::of<double>(batch);
    for (const Layout layout : all_layouts) {
      const Stored<float> stored(batch, layout);
      INFO(shape.samples << " x " << shape.channels << " x " << shape.positions << ", "
                         << name_of(layout));
      for (const InstructionSet set : instruction_sets) {
        CHECK(region_sums<PowerSums>(set, SumCoefficients(), stored.view(), false) == expected);
        CHECK(region_sums<PowerSums>(set, SumCoefficients(), stored.view(), true) == expected);
      }
    }
  }
}

TEST_CASE("wide lanes hold what float does not") {
  // The squares of 1e30 are beyond float, and those of 1e-30 below it.
  for (const Shape& shape : shapes) {
    for (const float size : {1e30f, 1e-30f}) {
      Batch batch{shape.samples, shape.channels, shape.positions};
      batch.each(
          [&](Size n, Size c, Size p) { batch.at(n, c, p) = (n + p) % 2 == 0 ? size : -size; });
      const auto exact = static_cast<double>(size);
      const double wide_square = exact * exact;
      const double narrow_square = size > 1 ? std::numeric_limits<double>::infinity() : 0.0;
      for (const Layout layout : {Layout::channels_first, Layout::channels_last}) {
        const Stored<float> stored(batch, layout);
        for (const InstructionSet set : instruction_sets) {
          INFO(size << ", " << shape.channels << " channels, " << name_of(layout));
          const auto squares = [&](bool wide) {
            return region_sums<PowerSums>(set, ZeroCoefficients(), stored.view(), wide).of[1];
          };
          // A sum of equal numbers: one by one, each addition rounds.
          const double count = static_cast<double>(shape.samples * shape.positions);
          for (const double each : squares(true)) {
            CHECK_THAT(each, Catch::Matchers::WithinRel(count * wide_square, 1e-12));
          }
          CHECK(squares(false) == std::vector<double>(shape.channels, narrow_square));
        }
      }
    }
  }
}

TEST_CASE("odd vectors add nothing of their own, whatever the layout") {
  for (const Size values : {Size{1}, Size{5}, Size{7}, Size{2051}}) {
    for (const Size channels : {Size{1}, Size{3}, Size{5}, Size{7}, Size{255}}) {
      Batch batch{values, channels, 1};
      for (Real& value : batch.values) value = 0.1f;
      for (const Layout layout : all_layouts) {
        const Stored<float> stored(batch, layout);
        for (const InstructionSet set : instruction_sets) {
          INFO(values << " values, " << channels << " channels, " << name_of(layout));
          CHECK(region_sums<PlainSum>(set, ConstantPivot{0.1f}, stored.view(), false).of[0] ==
                std::vector<double>(channels, 0.0));
        }
      }
    }
  }
}

TEST_CASE("no channel looks at another") {
  for (const Shape& shape : shapes) {
    Batch batch{shape.samples, shape.channels, shape.positions};
    batch.each([&](Size n, Size c, Size p) {
      batch.at(n, c, p) = c % 2 == 0 ? 5.0L : std::numeric_limits<Real>::infinity();
    });
    for (const Layout layout : all_layouts) {
      const Stored<float> stored(batch, layout);
      for (const InstructionSet set : instruction_sets) {
        for (const bool wide : {false, true}) {
          INFO(name_of(layout) << ", " << shape.channels << " channels");
          const Results<double> sums =
              region_sums<PlainSum>(set, ConstantPivot{5}, stored.view(), wide);
          bool right = true;
          for (Size c = 0; c < shape.channels; ++c) {
            const double wanted = c % 2 == 0 ? 0 : std::numeric_limits<double>::infinity();
            right = right && sums.of[0][c] == wanted;
          }
          CHECK(right);
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
  const BatchView<const float> one_channel(memory, 1, 1, count, 0, 0, 1);
  // The same values as the last rows of four channels, which would be joined without the gaps.
  Batch corner{250, 4, 1};
  corner.each([&](Size n, Size c, Size p) {
    corner.at(n, c, p) = static_cast<Real>(memory[values - 1250 + 5 * n + c]);
  });
  const Region last_rows = {0, 4, count / 5 - 250, count / 5};
  const BatchView<const float> rows(memory + count % 5, count / 5, 4, 1, 5, 1, 5);
  for (const InstructionSet set : instruction_sets) {
    CHECK(region_sums<PowerSums>(set, SumCoefficients(), one_channel, false, &last_values) ==
          PowerSums::of<double>(tail));
    CHECK(region_sums<PowerSums>(set, SumCoefficients(), one_channel, true, &last_values) ==
          PowerSums::of<double>(tail));
    CHECK(region_sums<PowerSums>(set, SumCoefficients(), rows, false, &last_rows) ==
          PowerSums::of<double>(corner));
  }
}
