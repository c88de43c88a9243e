// SPDX-License-Identifier: MIT
#include "batchnorm/loops/numbers.hpp"

#include <algorithm>
#include <vector>

#include "batchnorm/loops/channels.hpp"
#include "batchnorm/loops/simd.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"

using batchnorm::Index;
using batchnorm::loops::Numbers;
using batchnorm::loops::Plan;
using batchnorm::loops::Traversal;
using namespace batchnorm_test;

namespace {

/// 10 c and 10 c + 1 of channel c; notes how often it is asked.
struct Asked {
  template <class C>
  void operator()(Index channel, C* k) const {
    ++times;
    k[0] = static_cast<C>(10 * channel);
    k[1] = static_cast<C>(10 * channel + 1);
  }
  mutable int times = 0;
};

/// The same, where they lie.
struct InTables : Asked {
  explicit InTables(Index channels) : numbers(2, std::vector<float>()) {
    for (Index c = 0; c < channels; ++c) {
      numbers[0].push_back(static_cast<float>(10 * c));
      numbers[1].push_back(static_cast<float>(10 * c + 1));
    }
  }
  void tables(const float** tables) const {
    tables[0] = numbers[0].data();
    tables[1] = numbers[1].data();
  }
  std::vector<std::vector<float>> numbers;
};

/// The same, for some channels at a time; notes what it is asked for.
struct InVectors {
  template <class C, int Lanes>
  [[gnu::always_inline]] void write(const batchnorm::loops::ChannelGroup& group,
                                    C* const* to) const {
    most_lanes = std::max(most_lanes, Lanes);
    for (Index i = 0; i < group.count; ++i) {
      to[0][i] = static_cast<C>(10 * (group.first + i));
      to[1][i] = static_cast<C>(10 * (group.first + i) + 1);
    }
  }
  mutable int most_lanes = 0;
};

Traversal traversal_of(const Batch& shape, Layout layout) {
  const Stored<float> stored(shape, layout);
  return Plan<1>(stored.view()).traversal();
}

/// Whether the tables of some columns have the numbers of the columns' channels.
bool right(const Traversal& traversal, const Numbers<float, 2>& numbers, Index first,
           Index columns) {
  float room[2][600];
  const auto tables = batchnorm::loops::tables_of(numbers, traversal, first, columns, room);
  for (Index c = 0; c < columns; ++c) {
    const auto channel = static_cast<float>(traversal.channel_of(first + c));
    if (tables[0][c] != 10 * channel || tables[1][c] != 10 * channel + 1) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("numbers come from their source, in the type asked for") {
  const Asked source;
  double wide[2] = {};
  const Numbers<double, 2> of_double(source);
  of_double(7, wide);
  CHECK((wide[0] == 70 && wide[1] == 71));
  float narrow[2] = {};
  const Numbers<float, 2> of_float(source);
  of_float(3, narrow);
  CHECK((narrow[0] == 30 && narrow[1] == 31));
}

TEST_CASE("the numbers of some channels are written, and no others") {
  const Asked one_by_one;
  const InVectors together;
  for (const auto& numbers : {Numbers<float, 2>(one_by_one), Numbers<float, 2>(together)}) {
    for (const Index first : {0, 1, 5}) {
      for (Index count = 0; count < 20; ++count) {
        std::vector<std::vector<float>> got(2, std::vector<float>(24, -1)), wanted = got;
        for (Index i = 0; i < count; ++i) {
          const auto at = static_cast<std::size_t>(i + 2);
          wanted[0][at] = static_cast<float>(10 * (first + i));
          wanted[1][at] = static_cast<float>(10 * (first + i) + 1);
        }
        float* const to[] = {got[0].data() + 2, got[1].data() + 2};
        numbers.write(first, first + count, to);
        INFO(count << " channels from " << first << " on");
        CHECK(got == wanted);
      }
    }
  }
}

TEST_CASE("a source may have its numbers for vectors of channels") {
  CHECK(batchnorm::loops::has_vectors_of<InVectors, float>);
  CHECK_FALSE(batchnorm::loops::has_vectors_of<Asked, float>);
  const InVectors source;
  float k[2] = {};
  const Numbers<float, 2> of_float(source);
  of_float(6, k);
  CHECK((k[0] == 60 && k[1] == 61));
  double wide[2][16];
  double* const to[] = {wide[0], wide[1]};
  Numbers<double, 2>(source).write(0, 16, to);
  CHECK((wide[0][15] == 150 && wide[1][15] == 151));
  // As many as there are numbers of the accumulator in a vector.
  if (batchnorm::simd::has_vectors) CHECK(source.most_lanes >= 2);
  const InVectors others;
  Numbers<long double, 2> of_long_double(others);
  long double longer[2] = {};
  of_long_double(3, longer);
  CHECK((longer[0] == 30 && longer[1] == 31));
  CHECK(others.most_lanes == 1);
}

TEST_CASE("a source may have tables") {
  const Asked plain;
  const InTables tables(5);
  CHECK_FALSE(batchnorm::loops::has_tables<Asked, float>);
  CHECK(batchnorm::loops::has_tables<InTables, float>);
  CHECK_FALSE(batchnorm::loops::has_tables<InTables, double>);
  CHECK_FALSE(Numbers<float, 2>(plain).in_tables());
  REQUIRE(Numbers<float, 2>(tables).in_tables());
  const float* places[2] = {};
  Numbers<float, 2>(tables).tables(places);
  CHECK(places[0] == tables.numbers[0].data());
  CHECK(places[1] == tables.numbers[1].data());
}

TEST_CASE("columns have the numbers of their channels, from any column on") {
  const Traversal channels = traversal_of({3, 50, 1}, Layout::channels_last);
  const Traversal repeated = traversal_of({9, 50, 7}, Layout::channels_first);
  const Traversal cycling = traversal_of({1000, 3, 1}, Layout::channels_last);
  REQUIRE((channels.columns == 50 && repeated.columns == 350 && cycling.columns == 240));
  const Asked plain;
  const InVectors vectors;
  const InTables tables(50);
  for (const Traversal& traversal : {channels, repeated, cycling}) {
    for (const Index first : {0, 1, 6, 7, 20, 49}) {
      for (const Index columns : {Index{1}, Index{2}, Index{8}, traversal.columns - first}) {
        if (first + columns > traversal.columns) continue;
        INFO(traversal.columns << " columns, " << columns << " from " << first);
        CHECK(right(traversal, Numbers<float, 2>(plain), first, columns));
        CHECK(right(traversal, Numbers<float, 2>(vectors), first, columns));
        CHECK(right(traversal, Numbers<float, 2>(tables), first, columns));
      }
    }
  }
}

TEST_CASE("tables are used where they lie, and a channel is asked for once where it repeats") {
  const Traversal channels = traversal_of({3, 50, 1}, Layout::channels_last);
  const Traversal repeated = traversal_of({9, 50, 7}, Layout::channels_first);
  const InTables source(50);
  const Numbers<float, 2> numbers(source);
  float room[2][600];
  const auto in_place = batchnorm::loops::tables_of(numbers, channels, 5, 40, room);
  CHECK(in_place[0] == source.numbers[0].data() + 5);
  CHECK(in_place[1] == source.numbers[1].data() + 5);
  CHECK(source.times == 0);
  const auto spread = batchnorm::loops::tables_of(numbers, repeated, 7, 21, room);
  CHECK(spread[0] == room[0]);
  CHECK(source.times == 3);
}
