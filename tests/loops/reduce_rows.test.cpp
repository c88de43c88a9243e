// SPDX-License-Identifier: MIT
#include "batchnorm/loops/reduce_rows.hpp"

#include <vector>

#include "batchnorm/loops/cache.hpp"
#include "loops/region_sums.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"
#include "support/loop_formulas.hpp"

using batchnorm::BatchView;
using batchnorm::InstructionSet;
using batchnorm::loops::Plan;
using batchnorm::loops::Region;
using batchnorm::loops::RowReducer;
using batchnorm::loops::Traversal;
using namespace batchnorm_test;

namespace {

template <class L>
Results<double> row_sums(InstructionSet set, const BatchView<const L>& view,
                         const Region* region = nullptr) {
  const Plan<1> plan(view);
  REQUIRE((plan.contiguous() && plan.traversal().along_rows));
  return sums_in_lanes<RowReducer, PowerSums>(set, SumCoefficients(), view, region);
}

template <class L>
Traversal traversal_of(const BatchView<const L>& view) {
  return Plan<1>(view).traversal();
}

/// Rows as they are: one element more than the channels apart, so that they are not joined.
class Rows {
 public:
  explicit Rows(const Batch& batch)
      : batch_(batch), memory_(batch.samples * (batch.channels + 1), -12345.0f) {
    batch.each([&](Size n, Size c, Size) {
      memory_[n * (batch.channels + 1) + c] = static_cast<float>(batch.at(n, c, 0));
    });
  }
  BatchView<const float> view() const {
    const auto channels = static_cast<Index>(batch_.channels);
    return {memory_.data(), static_cast<Index>(batch_.samples), channels, 1, channels + 1, 1, 1};
  }

 private:
  Batch batch_;
  std::vector<float> memory_;
};

}  // namespace

TEST_CASE("rows of every width are summed, in columns") {
  Random random(1);
  for (const Size columns :
       std::vector<Size>{4,  5,  6,  7,  8,  9,  11, 12, 13, 15, 16,  17,  19,  20,
                         23, 24, 25, 27, 31, 32, 33, 39, 40, 41, 255, 256, 257, 512}) {
    for (const Size rows : std::vector<Size>{1, 2, 7, 8, 9, 15, 16, 17, 32, 35}) {
      const Batch batch = integer_batch(random, rows, columns, 1);
      const Rows stored(batch);
      REQUIRE((rows == 1 || traversal_of(stored.view()).columns == static_cast<Index>(columns)));
      INFO(columns << " columns, " << rows << " rows");
      for (const InstructionSet set : instruction_sets) {
        CHECK(row_sums(set, stored.view()) == PowerSums::of<double>(batch));
      }
    }
  }
}

TEST_CASE("long rows that come from memory, up to its very end") {
  // They are asked for ahead, and fewer of them are added up before the totals are touched.
  Random random(10);
  for (const Size columns : std::vector<Size>{257, 400, 512}) {
    const Batch batch = integer_batch(random, 1100, columns, 1);
    REQUIRE(batchnorm::loops::is_far(static_cast<Index>(batch.values.size() * sizeof(float))));
    const Results<double> expected = PowerSums::of<double>(batch);
    const Rows with_gaps(batch);
    const Stored<float> dense(batch, Layout::channels_last);
    INFO(columns << " columns");
    for (const InstructionSet set : instruction_sets) {
      CHECK(row_sums(set, with_gaps.view()) == expected);
      CHECK(row_sums<float>(set, dense.view()) == expected);
    }
  }
}

TEST_CASE("rows narrower than a vector") {
  Random random(2);
  for (const Size columns : std::vector<Size>{2, 3, 5, 7}) {
    // Not so many that they would be joined.
    const Batch batch = integer_batch(random, 30, columns, 1);
    const Stored<float> stored(batch, Layout::channels_last);
    REQUIRE(traversal_of<float>(stored.view()).columns == static_cast<Index>(columns));
    for (const InstructionSet set : instruction_sets) {
      CHECK(row_sums<float>(set, stored.view()) == PowerSums::of<double>(batch));
    }
  }
}

TEST_CASE("rows of double, and rows on two axes") {
  Random random(3);
  for (const Size columns : std::vector<Size>{4, 13, 70}) {
    const Batch batch = integer_batch(random, 5, columns, 19);
    const Stored<double> stored(batch, Layout::channels_last);
    // Samples five times as far apart as they need to be.
    std::vector<float> memory(25 * columns * 19);
    batch.each([&](Size n, Size c, Size p) {
      memory[n * 5 * columns * 19 + p * columns + c] = static_cast<float>(batch.at(n, c, p));
    });
    const auto channels = static_cast<Index>(columns);
    const BatchView<const float> apart(memory.data(), 5, channels, 19, 95 * channels, 1, channels);
    REQUIRE((traversal_of(apart).outer == 5 && traversal_of(apart).along_rows));
    for (const InstructionSet set : instruction_sets) {
      CHECK(row_sums<double>(set, stored.view()) == PowerSums::of<double>(batch));
      CHECK(row_sums(set, apart) == PowerSums::of<double>(batch));
    }
  }
}

TEST_CASE("the columns of a channel that repeats itself are joined") {
  Random random(4);
  for (const Size repeat : std::vector<Size>{2, 3, 7, 8, 15}) {
    const Batch batch = integer_batch(random, 20, 12, repeat);
    const Stored<float> stored(batch, Layout::channels_first);
    const auto columns = static_cast<Index>(repeat);
    REQUIRE(traversal_of<float>(stored.view()).repeat == columns);
    const Region some = {3 * columns, 10 * columns, 2, 19};
    INFO("repeated " << repeat << " times");
    for (const InstructionSet set : instruction_sets) {
      CHECK(row_sums<float>(set, stored.view()) == PowerSums::of<double>(batch));
      CHECK(row_sums<float>(set, stored.view(), &some) ==
            sums_of_part(batch, 3, 10, 2 * repeat, 19 * repeat));
    }
  }
}

TEST_CASE("channels that cycle through a row are joined, and the last row may be shorter") {
  Random random(5);
  for (const Size channels : std::vector<Size>{2, 3, 5, 7, 17, 32}) {
    const Size joined = 256 / channels / 8 * 8;
    for (const Size values : {joined * 2, joined * 2 + 1, joined * 5 - 1, joined + joined / 2}) {
      const Batch batch = integer_batch(random, values, channels, 1);
      const Stored<float> stored(batch, Layout::channels_last);
      const Traversal traversal = traversal_of<float>(stored.view());
      REQUIRE(traversal.columns == static_cast<Index>(joined * channels));
      const Region head = {0, traversal.columns, 0, 1};
      const Region tail = {0, traversal.columns, 1, traversal.rows()};
      INFO(values << " values of " << channels << " channels");
      for (const InstructionSet set : instruction_sets) {
        CHECK(row_sums<float>(set, stored.view()) == PowerSums::of<double>(batch));
        CHECK(row_sums<float>(set, stored.view(), &head) ==
              sums_of_part(batch, 0, channels, 0, joined));
        CHECK(row_sums<float>(set, stored.view(), &tail) ==
              sums_of_part(batch, 0, channels, joined, values));
      }
    }
  }
}

TEST_CASE("a region is all that is read, and its first channel comes first") {
  Random random(6);
  const Batch batch = integer_batch(random, 180, 41, 1);
  const Rows stored(batch);
  for (const Region& region : {Region{0, 41, 0, 180}, Region{2, 39, 0, 180}, Region{0, 41, 7, 101},
                               Region{3, 4, 59, 60}, Region{30, 41, 13, 176}}) {
    INFO("columns " << region.first_column << " to " << region.last_column << ", rows "
                    << region.first_row << " to " << region.last_row);
    for (const InstructionSet set : instruction_sets) {
      CHECK(row_sums(set, stored.view(), &region) ==
            sums_of_part(batch, static_cast<Size>(region.first_column),
                         static_cast<Size>(region.last_column), static_cast<Size>(region.first_row),
                         static_cast<Size>(region.last_row)));
    }
  }
}

TEST_CASE("odd vectors add nothing of their own") {
  // Of a constant channel the deviations are zero; whatever a lane before the last ones adds shows.
  for (Size columns = 4; columns < 60; ++columns) {
    Batch batch{19, columns, 1};
    for (Real& value : batch.values) value = 0.1f;
    const Rows stored(batch);
    for (const InstructionSet set : instruction_sets) {
      const Results<double> sums =
          sums_in_lanes<RowReducer, PlainSum>(set, ConstantPivot{0.1f}, stored.view());
      INFO(columns << " columns");
      CHECK(sums.of[0] == std::vector<double>(columns, 0));
    }
  }
}

TEST_CASE("the bits of a column do not depend on where it stands") {
  // In whole vectors, in the last one and in a row of less than one.
  Random random(7);
  const Batch batch = normal_batch(random, 100, 60, 1);
  const Rows stored(batch);
  for (const InstructionSet set : instruction_sets) {
    const Results<double> all = row_sums(set, stored.view());
    for (Index first = 0; first < 60; ++first) {
      for (const Index columns : {Index{1}, Index{3}, Index{8}, Index{21}}) {
        if (first + columns > 60) continue;
        const Region some = {first, first + columns, 0, 100};
        const Results<double> alone = row_sums(set, stored.view(), &some);
        for (Size k = 0; k < 3; ++k) {
          const auto from = all.of[k].begin() + first;
          if (alone.of[k] != std::vector<double>(from, from + columns)) {
            FAIL_CHECK(columns << " columns from " << first << " on");
          }
        }
      }
    }
  }
}

TEST_CASE("a lane adds up eight rows, and two of them are joined") {
  // 16 numbers of just below 2^20 have an exact sum in float; of more of them the last digit is
  // lost half of the time.
  Random random(8);
  for (const Size columns : std::vector<Size>{5, 8, 9, 16, 33, 70}) {
    Batch batch{3001, columns, 1};
    for (Real& value : batch.values) value = 1048576 - static_cast<Real>(random.below(1000));
    std::vector<double> expected(columns, 0);
    batch.each(
        [&](Size n, Size c, Size p) { expected[c] += static_cast<double>(batch.at(n, c, p)); });
    const Rows stored(batch);
    for (const InstructionSet set : instruction_sets) {
      INFO(columns << " columns");
      const Results<double> sums =
          sums_in_lanes<RowReducer, PlainSum>(set, ConstantPivot{0}, stored.view());
      CHECK(sums.of[0] == expected);
    }
  }
}

TEST_CASE("totals are joined every 8192 rows") {
  Random random(9);
  const Batch batch = normal_batch(random, 20000, 5, 1);
  const Rows stored(batch);
  for (const InstructionSet set : instruction_sets) {
    const Results<double> all = row_sums(set, stored.view());
    Results<double> joined(3, 5);
    for (std::vector<double>& each : joined.of) each.assign(5, 0);
    for (Index row = 0; row < 20000; row += 8192) {
      const Region some = {0, 5, row, row + 8192 < 20000 ? row + 8192 : 20000};
      const Results<double> part = row_sums(set, stored.view(), &some);
      for (Size k = 0; k < 3; ++k) {
        for (Size c = 0; c < 5; ++c) joined.of[k][c] += part.of[k][c];
      }
    }
    CHECK(all == joined);
  }
}
