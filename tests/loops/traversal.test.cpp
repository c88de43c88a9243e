// SPDX-License-Identifier: MIT
#include "batchnorm/loops/traversal.hpp"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "loops/traversals.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"

using batchnorm::BatchView;
using batchnorm::loops::Runs;
using namespace batchnorm_test;

namespace {

/// Where two operands have the element that a loop meets together with its channel.
struct Meeting {
  Index channel, first, second;
  bool operator<(const Meeting& other) const {
    if (channel != other.channel) return channel < other.channel;
    return first != other.first ? first < other.first : second < other.second;
  }
  bool operator==(const Meeting& other) const { return !(*this < other) && !(other < *this); }
};

/// What a loop over the plan meets, its rows cut at random places, sorted.
std::vector<Meeting> walked(const Plan<2>& plan, Random& random) {
  const Traversal& traversal = plan.traversal();
  std::vector<Meeting> all;
  for (Index begin = 0; begin < traversal.rows();) {
    const Index left = traversal.rows() - begin;
    const Index end = begin + 1 + static_cast<Index>(random.below(static_cast<Size>(left)));
    for (Runs run(traversal, begin, end); run.more(); run.next()) {
      for (Index i = 0; i < run.length(); ++i, ++begin) {
        const bool very_last = begin + 1 == traversal.rows();
        const Index width = very_last ? traversal.last_width : traversal.columns;
        for (Index column = 0; column < width; ++column) {
          all.push_back({traversal.channel_of(column),
                         plan.layouts()[0].offset(column, run.outer(), run.inner() + i),
                         plan.layouts()[1].offset(column, run.outer(), run.inner() + i)});
        }
      }
    }
  }
  std::sort(all.begin(), all.end());
  return all;
}

/// The same from the views themselves, index by index.
std::vector<Meeting> looked_up(const BatchView<const float>& a, const BatchView<const float>& b) {
  std::vector<Meeting> all;
  for (Index n = 0; n < a.samples(); ++n) {
    for (Index c = 0; c < a.channels(); ++c) {
      for (Index p = 0; p < a.positions(); ++p) {
        all.push_back({c, &a(n, c, p) - a.data(), &b(n, c, p) - b.data()});
      }
    }
  }
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace

TEST_CASE("a walk meets every element of both operands once, the same ones at once") {
  Random random(41);
  // Among them short runs in rows (8 samples or more) and rows of few channels (many values).
  for (const Batch& shape :
       {zeros(3, 5, 4), zeros(1, 5, 4), zeros(3, 5, 1), zeros(3, 1, 4), zeros(1, 1, 1),
        zeros(7, 2, 3), zeros(2, 9, 2), zeros(9, 5, 4), zeros(8, 3, 20), zeros(99, 3, 1),
        zeros(128, 2, 1), zeros(20, 31, 1)}) {
    for (const Layout layout_a : all_layouts) {
      for (const Layout layout_b : all_layouts) {
        const Stored<float> a(shape, layout_a), b(shape, layout_b);
        INFO(shape.samples << " x " << shape.channels << " x " << shape.positions << ", "
                           << name_of(layout_a) << " and " << name_of(layout_b));
        const std::vector<Meeting> expected = looked_up(a.view(), b.view());
        const Plan<2> plan(a.view(), b.view());
        const bool same = walked(plan, random) == expected;
        CHECK(same);
        CHECK(plan.traversal().elements() == static_cast<Index>(expected.size()));
      }
    }
  }
}

TEST_CASE("samples inside of positions are walked as well") {
  Random random(42);
  const std::vector<float> memory(400);
  // Positions, channels, samples from the outside in; and broadcast along the samples.
  const BatchView<const float> inside_out(memory.data(), 4, 5, 6, 1, 4, 20);
  const BatchView<const float> broadcast(memory.data(), 4, 5, 6, 0, 6, 1);
  for (const auto& [a, b] : {std::pair(inside_out, broadcast), std::pair(broadcast, inside_out),
                             std::pair(inside_out, inside_out)}) {
    CHECK(walked(Plan<2>(a, b), random) == looked_up(a, b));
  }
  CHECK(walks(Plan<1>(inside_out).traversal(), 6, 4, false));
  const BatchView<const float> backwards(memory.data() + 399, 4, 5, 6, -1, -4, -20);
  CHECK(walks(Plan<1>(backwards).traversal(), 6, 4, false));
}

TEST_CASE("values that follow one another evenly are one axis") {
  // NCHW has a gap, the other channels, between two samples of a channel.
  CHECK(walks(traversal_of({zeros(3, 5, 4), Layout::channels_first}), 3, 4, false));
  CHECK(walks(traversal_of({zeros(3, 5, 4), Layout::channels_last}), 1, 12, true));
  CHECK(walks(traversal_of({zeros(3, 5, 4), Layout::channels_outermost}), 1, 12, false));
  CHECK(walks(traversal_of({zeros(3, 5, 4), Layout::backwards}), 1, 12, true));
  CHECK(walks(traversal_of({zeros(3, 5, 4), Layout::padded}), 3, 4, false));
  CHECK(walks(traversal_of({zeros(3, 1, 4), Layout::channels_first}), 1, 12, false));
  CHECK(walks(traversal_of({zeros(1, 5, 4), Layout::channels_first}), 1, 4, false));

  // Both operands have to be even.
  const Stored<float> even(zeros(3, 5, 4), Layout::channels_outermost);
  const Stored<float> uneven(zeros(3, 5, 4), Layout::channels_first);
  CHECK(Plan<2>(even.view(), even.view()).traversal().outer == 1);
  CHECK(Plan<2>(even.view(), uneven.view()).traversal().outer == 3);
  CHECK(Plan<2>(uneven.view(), even.view()).traversal().outer == 3);
}

TEST_CASE("a matrix is walked along its storage") {
  const Batch matrix = zeros(20, 6, 1);
  // Features x examples by columns: across the features. By rows: along the examples.
  CHECK(walks(traversal_of({matrix, Layout::channels_first}), 1, 20, true));
  CHECK(walks(traversal_of({matrix, Layout::channels_outermost}), 1, 20, false));
}

TEST_CASE("long vectors are for rows of some of them, and runs that are converted") {
  const auto suits = [](const Batch& batch, Layout layout, std::size_t bytes) {
    return traversal_of({batch, layout}).suits_long_vectors(bytes, false);
  };
  CHECK(suits(zeros(20, 64, 1), Layout::channels_last, 4));
  CHECK_FALSE(suits(zeros(20, 63, 1), Layout::channels_last, 4));
  CHECK(suits(zeros(20, 63, 1), Layout::channels_last, 8));
  // Rows of few channels are joined.
  CHECK(suits(zeros(1000, 3, 1), Layout::channels_last, 4));
  CHECK_FALSE(suits(zeros(3, 64, 1024), Layout::channels_first, 8));
  for (const Size positions : {Size{31}, Size{32}}) {
    const Traversal runs = traversal_of({zeros(3, 64, positions), Layout::channels_first});
    CHECK(runs.suits_long_vectors(4, true) == (positions == 32));
    CHECK_FALSE(runs.suits_long_vectors(8, false));
  }
}

TEST_CASE("few channels are not walked across where rows have gaps, one value is") {
  const std::vector<float> memory(400);
  const BatchView<const float> gaps(memory.data(), 20, 3, 1, 5, 1, 5);
  const BatchView<const float> no_gaps(memory.data(), 20, 3, 1, 3, 1, 3);
  const BatchView<const float> enough(memory.data(), 20, 4, 1, 5, 1, 5);
  CHECK(walks(Plan<1>(gaps).traversal(), 1, 20, false));
  CHECK(walks(Plan<1>(no_gaps).traversal(), 1, 20, true));
  CHECK(walks(Plan<1>(enough).traversal(), 1, 20, true));
  CHECK(walks(traversal_of({zeros(20, 1, 1), Layout::channels_last}), 1, 20, false));
  CHECK(walks(traversal_of({zeros(1, 2, 1), Layout::channels_last}), 1, 1, true));
  CHECK(walks(traversal_of({zeros(1, 1, 1), Layout::channels_last}), 1, 1, false));
}

TEST_CASE("operands are located and stepped through together") {
  const std::vector<float> memory(1000);
  const BatchView<const float> a(memory.data(), 3, 5, 4, 100, 20, 2);
  const BatchView<const float> b(memory.data(), 3, 5, 4, 200, 3, 40);
  const Plan<2> plan(a, b);
  const std::array<const float*, 2> data = {a.data(), b.data()};
  const auto both = plan.locate<0>(data, 2, 1, 3);
  CHECK(both[0] == &a(1, 2, 3));
  CHECK(both[1] == &b(1, 2, 3));
  const std::array<const float*, 1> second = {b.data()};
  CHECK(plan.locate<1>(second, 4, 2, 1)[0] == &b(2, 4, 1));
  using Layout = batchnorm::loops::Layout;
  CHECK((plan.steps<0, 2>(&Layout::inner_stride) == std::array<Index, 2>{2, 40}));
  CHECK((plan.steps<1, 1>(&Layout::outer_stride) == std::array<Index, 1>{200}));
}

TEST_CASE("the direction is that of most operands, then that of the first") {
  const Stored<float> along(zeros(3, 5, 4), Layout::channels_first);
  const Stored<float> across(zeros(3, 5, 4), Layout::channels_last);
  const auto crosses = [](const auto&... stored) {
    return Plan<sizeof...(stored)>(stored.view()...).traversal().along_rows;
  };
  CHECK_FALSE(crosses(along, along));
  CHECK(crosses(across, across));
  CHECK(crosses(along, across, across));
  CHECK_FALSE(crosses(across, along, along));
  CHECK_FALSE(crosses(along, across));
  CHECK(crosses(across, along));
}

TEST_CASE("contiguous means that every operand is") {
  const Stored<float> first(zeros(3, 5, 4), Layout::channels_first);
  const Stored<float> last(zeros(3, 5, 4), Layout::channels_last);
  const Stored<float> padded(zeros(3, 5, 4), Layout::padded);
  CHECK(Plan<1>(first.view()).contiguous());
  CHECK(Plan<1>(last.view()).contiguous());
  CHECK_FALSE(Plan<1>(padded.view()).contiguous());
  CHECK_FALSE(Plan<1>(Stored<float>(zeros(3, 5, 4), Layout::backwards).view()).contiguous());
  CHECK_FALSE(Plan<2>(first.view(), padded.view()).contiguous());
  CHECK_FALSE(Plan<2>(padded.view(), first.view()).contiguous());
  CHECK_FALSE(Plan<2>(first.view(), last.view()).contiguous());
  CHECK(Plan<2>(first.view(), first.view()).contiguous());
}

TEST_CASE("runs of a walk beyond 2^32 values") {
  const Index inner = (Index{1} << 32) + 7;
  const Traversal traversal = {3, 3, 5, inner, 1, 3, false};
  Runs run(traversal, 2 * inner - 3, 2 * inner + 4);
  CHECK((run.outer() == 1 && run.inner() == inner - 3 && run.length() == 3));
  run.next();
  CHECK((run.outer() == 2 && run.inner() == 0 && run.length() == 4));
  run.next();
  CHECK_FALSE(run.more());
  CHECK_FALSE(Runs(traversal, 8, 8).more());
}
