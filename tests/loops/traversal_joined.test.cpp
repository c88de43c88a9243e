// SPDX-License-Identifier: MIT
// Layouts that become longer rows: short runs one after the other, and rows of few channels.
#include <vector>

#include "batchnorm/loops/traversal.hpp"
#include "loops/traversals.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"

using batchnorm::BatchView;
using namespace batchnorm_test;

namespace {

/// Short runs in one row: each channel repeats itself.
bool repeats(const Traversal& traversal, Index rows, Index repeat) {
  return traversal.along_rows && traversal.outer == 1 && traversal.inner == rows &&
         traversal.repeat == repeat && traversal.columns == repeat * traversal.channels &&
         traversal.last_width == traversal.columns && !traversal.cycles();
}

/// Rows of `joined` positions each, the last one of `last`.
bool cycles(const Traversal& traversal, Index rows, Index joined, Index last) {
  return traversal.along_rows && traversal.outer == 1 && traversal.inner == rows &&
         traversal.repeat == 1 && traversal.columns == joined * traversal.channels &&
         traversal.last_width == last * traversal.channels && traversal.cycles();
}

}  // namespace

TEST_CASE("short runs that follow one another are one row per sample") {
  const auto lined_up = [](Size n, Size c, Size p, Layout layout = Layout::channels_first) {
    return traversal_of({zeros(n, c, p), layout});
  };
  CHECK(repeats(lined_up(9, 5, 9), 9, 9));
  CHECK(repeats(lined_up(8, 2, 15), 8, 15));
  CHECK(walks(lined_up(8, 2, 16), 8, 16, false));
  // Not worth it for fewer samples than eight; one channel is one run anyway.
  CHECK(walks(lined_up(7, 5, 15), 7, 15, false));
  CHECK(walks(lined_up(20, 1, 9), 1, 180, false));
  // Runs with gaps, or with gaps between them, backwards, or of samples.
  CHECK(walks(lined_up(9, 5, 9, Layout::padded), 9, 9, false));
  CHECK(walks(lined_up(9, 5, 9, Layout::channels_outermost), 1, 81, false));
  CHECK(walks(lined_up(9, 5, 9, Layout::backwards), 1, 81, true));
  const std::vector<float> memory(1000);
  const BatchView<const float> gaps(memory.data(), 9, 5, 10, 60, 11, 1);
  const BatchView<const float> backwards(memory.data() + 999, 9, 5, 10, -50, -10, -1);
  CHECK(walks(Plan<1>(gaps).traversal(), 9, 10, false));
  CHECK(walks(Plan<1>(backwards).traversal(), 9, 10, false));
}

TEST_CASE("a plan knows whether the runs of its channels follow one another") {
  const auto lined_up = [](Size n, Size c, Size p, Layout layout) {
    const Stored<float> stored(zeros(n, c, p), layout);
    return Plan<1>(stored.view()).lined_up();
  };
  CHECK(lined_up(2, 5, 49, Layout::channels_first));
  CHECK(lined_up(1, 5, 7, Layout::channels_first));
  CHECK(lined_up(3, 5, 7, Layout::channels_outermost));    // a channel's samples are one run
  CHECK_FALSE(lined_up(9, 5, 9, Layout::channels_first));  // those are rows
  CHECK_FALSE(lined_up(2, 5, 49, Layout::channels_last));
  CHECK_FALSE(lined_up(2, 5, 49, Layout::padded));
}

TEST_CASE("samples of lined up runs may be apart, but every operand has to be lined up") {
  const std::vector<float> memory(1000);
  const BatchView<const float> dense(memory.data(), 9, 5, 10, 50, 10, 1);
  const BatchView<const float> apart(memory.data(), 9, 5, 10, 77, 10, 1);
  const BatchView<const float> gaps(memory.data(), 9, 5, 10, 60, 11, 1);
  const Plan<2> plan(dense, apart);
  CHECK(repeats(plan.traversal(), 9, 10));
  CHECK(plan.contiguous());
  CHECK(plan.layouts()[0].inner_stride == 50);
  CHECK(plan.layouts()[1].inner_stride == 77);
  CHECK(walks(Plan<2>(dense, gaps).traversal(), 9, 10, false));
  CHECK(walks(Plan<2>(gaps, dense).traversal(), 9, 10, false));
}

TEST_CASE("rows of few channels are joined, and the channels cycle") {
  const auto rows_of = [](Size n, Size c, Size p, Layout layout = Layout::channels_last) {
    return traversal_of({zeros(n, c, p), layout});
  };
  CHECK(cycles(rows_of(1000, 3, 1), 13, 80, 40));
  CHECK(cycles(rows_of(10, 3, 100), 13, 80, 40));
  CHECK(cycles(rows_of(160, 3, 1), 2, 80, 80));
  CHECK(cycles(rows_of(161, 3, 1), 3, 80, 1));
  CHECK(cycles(rows_of(80, 3, 1), 1, 80, 80));
  CHECK(walks(rows_of(79, 3, 1), 1, 79, true));
  CHECK(cycles(rows_of(300, 2, 1), 3, 128, 44));
  CHECK(cycles(rows_of(8, 32, 1), 1, 8, 8));
  CHECK(walks(rows_of(1000, 33, 1), 1, 1000, true));
  CHECK(walks(rows_of(1000, 3, 1, Layout::channels_outermost), 1, 1000, false));
  // Rows with gaps, backwards, or of which one operand has gaps.
  const std::vector<float> memory(6000);
  const BatchView<const float> dense(memory.data(), 1000, 5, 1, 5, 1, 5);
  const BatchView<const float> gaps(memory.data(), 1000, 5, 1, 6, 1, 6);
  CHECK(cycles(Plan<1>(dense).traversal(), 21, 48, 40));
  CHECK(walks(Plan<1>(gaps).traversal(), 1, 1000, true));
  CHECK(walks(Plan<2>(dense, gaps).traversal(), 1, 1000, true));
  CHECK(walks(Plan<2>(gaps, dense).traversal(), 1, 1000, true));
  CHECK(walks(traversal_of({zeros(1000, 3, 1), Layout::backwards}), 1, 1000, false));
}

TEST_CASE("columns belong to channels, one by one, repeated or in cycles") {
  const Traversal plain = traversal_of({zeros(3, 50, 1), Layout::channels_last});
  const Traversal repeated = traversal_of({zeros(9, 5, 7), Layout::channels_first});
  const Traversal cycling = traversal_of({zeros(161, 3, 1), Layout::channels_last});
  REQUIRE((plain.columns == 50 && repeated.columns == 35 && cycling.columns == 240));
  for (Index column = 0; column < 50; ++column) CHECK(plain.channel_of(column) == column);
  for (Index column = 0; column < 35; ++column) CHECK(repeated.channel_of(column) == column / 7);
  for (Index column = 0; column < 240; ++column) CHECK(cycling.channel_of(column) == column % 3);
  CHECK(plain.elements() == 150);
  CHECK(repeated.elements() == 315);
  CHECK(cycling.elements() == 483);
}
