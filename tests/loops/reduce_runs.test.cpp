// SPDX-License-Identifier: MIT
#include "batchnorm/loops/reduce_runs.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "loops/region_sums.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"
#include "support/loop_formulas.hpp"

using batchnorm::BatchView;
using batchnorm::InstructionSet;
using batchnorm::loops::Plan;
using batchnorm::loops::Region;
using batchnorm::loops::RunReducer;
using namespace batchnorm_test;

namespace {

template <class L>
Results<double> run_sums(InstructionSet set, const BatchView<const L>& view,
                         const Region* region = nullptr) {
  const Plan<1> plan(view);
  REQUIRE((plan.contiguous() && !plan.traversal().along_rows));
  return sums_in_lanes<RunReducer, PowerSums>(set, SumCoefficients(), view, region);
}

/// The same batch with a gap after every run: runs of any length stay runs.
template <class L>
class Gaps {
 public:
  explicit Gaps(const Batch& batch)
      : batch_(batch), memory_(batch.values.size() + batch.samples * batch.channels, L(-12345)) {
    batch.each([&](Size n, Size c, Size p) {
      memory_[(n * batch.channels + c) * (batch.positions + 1) + p] =
          static_cast<L>(batch.at(n, c, p));
    });
  }
  BatchView<const L> view() const {
    const auto run = static_cast<Index>(batch_.positions + 1);
    const auto channels = static_cast<Index>(batch_.channels);
    return {memory_.data(),
            static_cast<Index>(batch_.samples),
            channels,
            run - 1,
            channels * run,
            run,
            1};
  }

 private:
  Batch batch_;
  std::vector<L> memory_;
};

}  // namespace

TEST_CASE("runs of every length are summed to their end and no further") {
  // Up to more than eight chains of four vectors.
  Random random(1);
  for (Size length = 2; length < 300; ++length) {
    const Batch batch = integer_batch(random, length % 3 + 1, 2, length);
    const Results<double> expected = PowerSums::of<double>(batch);
    const Gaps<float> stored(batch);
    INFO(length << " values");
    for (const InstructionSet set : instruction_sets) {
      CHECK(run_sums(set, stored.view()) == expected);
    }
  }
}

TEST_CASE("a single value is a run") {
  const float value = 7;
  const BatchView<const float> single(&value, 1, 1, 1, 1, 1, 1);
  for (const InstructionSet set : instruction_sets) {
    CHECK(run_sums(set, single).of[1] == std::vector<double>{100});
  }
}

TEST_CASE("longer runs, and runs of double") {
  Random random(2);
  for (const Size length : std::vector<Size>{511, 512, 513, 2047, 8191, 8192, 8193, 20000}) {
    const Batch batch = integer_batch(random, 1, 1, length);
    const Results<double> expected = PowerSums::of<double>(batch);
    INFO(length << " values");
    for (const InstructionSet set : instruction_sets) {
      CHECK(run_sums(set, Gaps<float>(batch).view()) == expected);
      CHECK(run_sums(set, Gaps<double>(batch).view()) == expected);
    }
  }
}

TEST_CASE("many runs go on where the one before has ended") {
  Random random(3);
  for (const Size length : std::vector<Size>{2, 3, 5, 7, 9, 31, 33, 100, 129, 300}) {
    const Batch batch = integer_batch(random, 3000 / length, 2, length);
    const Results<double> expected = PowerSums::of<double>(batch);
    INFO("runs of " << length);
    for (const InstructionSet set : instruction_sets) {
      CHECK(run_sums(set, Gaps<float>(batch).view()) == expected);
    }
  }
}

TEST_CASE("a region is all that is read, and its first channel comes first") {
  Random random(4);
  const Batch batch = integer_batch(random, 30, 11, 17);
  const Gaps<float> stored(batch);
  for (const Region& region : {Region{0, 11, 0, 510}, Region{2, 9, 0, 510}, Region{0, 11, 7, 101},
                               Region{3, 4, 59, 60}, Region{1, 10, 13, 476}}) {
    INFO("channels " << region.first_column << " to " << region.last_column << ", values "
                     << region.first_row << " to " << region.last_row);
    for (const InstructionSet set : instruction_sets) {
      CHECK(run_sums(set, stored.view(), &region) ==
            sums_of_part(batch, static_cast<Size>(region.first_column),
                         static_cast<Size>(region.last_column), static_cast<Size>(region.first_row),
                         static_cast<Size>(region.last_row)));
    }
  }
}

TEST_CASE("odd vectors add nothing of their own") {
  // Of a constant channel the deviations are zero; whatever a lane past the end adds shows.
  for (Size length = 2; length < 80; ++length) {
    Batch batch{3, 2, length};
    for (Real& value : batch.values) value = 0.1f;
    const Gaps<float> stored(batch);
    for (const InstructionSet set : instruction_sets) {
      const Results<double> sums =
          sums_in_lanes<RunReducer, PlainSum>(set, ConstantPivot{0.1f}, stored.view());
      INFO(length << " values");
      CHECK(sums.of[0] == std::vector<double>(2, 0));
    }
  }
}

TEST_CASE("a lane adds up eight values, and four lanes are joined") {
  // 32 numbers of just below 2^19 have an exact sum in float; of more of them the last digit is
  // lost half of the time.
  Random random(5);
  for (const Size length :
       std::vector<Size>{2, 3, 5, 9, 31, 33, 63, 70, 131, 170, 263, 300, 520, 1000, 20000}) {
    Batch batch{20000 / length, 2, length};
    for (Real& value : batch.values) value = 524288 - static_cast<Real>(random.below(1000));
    std::vector<double> expected(2, 0);
    batch.each(
        [&](Size n, Size c, Size p) { expected[c] += static_cast<double>(batch.at(n, c, p)); });
    const Gaps<float> stored(batch);
    for (const InstructionSet set : instruction_sets) {
      INFO("runs of " << length);
      const Results<double> sums =
          sums_in_lanes<RunReducer, PlainSum>(set, ConstantPivot{0}, stored.view());
      CHECK(sums.of[0] == expected);
    }
  }
}

TEST_CASE("the rounding of a sum of float is that of some ten additions") {
  Random random(6);
  Batch batch{1, 1, 100000};
  Real sum = 0;
  for (Real& value : batch.values) sum += value = static_cast<float>(random.uniform());
  const Gaps<float> stored(batch);
  for (const InstructionSet set : instruction_sets) {
    const Results<double> sums =
        sums_in_lanes<RunReducer, PlainSum>(set, ConstantPivot{0}, stored.view());
    CHECK(std::fabs(static_cast<Real>(sums.of[0][0]) - sum) < 10 * 0x1p-24L * sum);
  }
}

TEST_CASE("the lanes of the totals are joined every 8192 rows") {
  Random random(6);
  const Batch batch = normal_batch(random, 1, 3, 20000);
  const Gaps<double> stored(batch);
  for (const InstructionSet set : instruction_sets) {
    const Results<double> all = run_sums(set, stored.view());
    Results<double> joined(3, 3);
    for (std::vector<double>& each : joined.of) each.assign(3, 0);
    for (Index row = 0; row < 20000; row += 8192) {
      const Region some = {0, 3, row, row + 8192 < 20000 ? row + 8192 : 20000};
      const Results<double> part = run_sums(set, stored.view(), &some);
      for (Size k = 0; k < 3; ++k) {
        for (Size c = 0; c < 3; ++c) joined.of[k][c] += part.of[k][c];
      }
    }
    CHECK(all == joined);
  }
}

TEST_CASE("infinity and NaN stay in their channel") {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const Size length : std::vector<Size>{2, 3, 9, 40, 133}) {
    Batch batch{2, 4, length};
    batch.each([&](Size n, Size c, Size p) { batch.at(n, c, p) = c == 1 ? infinity : 5.0f; });
    for (Size p = 0; p < length; ++p) batch.at(0, 3, p) = std::nanf("");
    const Gaps<float> stored(batch);
    for (const InstructionSet set : instruction_sets) {
      const Results<double> sums =
          sums_in_lanes<RunReducer, PlainSum>(set, ConstantPivot{2}, stored.view());
      CHECK(sums.of[0][0] == 6.0 * static_cast<double>(length));
      CHECK(sums.of[0][1] == std::numeric_limits<double>::infinity());
      CHECK(sums.of[0][2] == 6.0 * static_cast<double>(length));
      CHECK(std::isnan(sums.of[0][3]));
    }
  }
}
