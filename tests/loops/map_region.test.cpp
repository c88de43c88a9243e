// SPDX-License-Identifier: MIT
#include "batchnorm/loops/map_region.hpp"

#include <array>
#include <utility>
#include <vector>

#include "loops/map_formulas.hpp"
#include "loops/region_sums.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"

using batchnorm::InstructionSet;
using batchnorm::loops::Region;
using batchnorm::loops::Views;
using namespace batchnorm_test;

namespace {

template <class Map, class T, class Numbers, std::size_t O, std::size_t I>
void map_region(InstructionSet set, const Numbers& numbers, const Views<T, O>& to,
                const Views<const T, I>& from, bool streaming, const Region* region = nullptr) {
  with_map_job<float, Map>(numbers, to, from, region, streaming,
                           [&](const auto& job) { batchnorm::loops::map_region(set, job); });
}

struct Shape {
  Size samples, channels, positions;
};
/// Runs and rows of every kind, among them such as are long enough to be streamed (1024 bytes of a
/// run, 128 of a row), short runs in rows, rows with cycles and a short end, more columns than have
/// their numbers in memory at once, and samples one after the other.
const std::vector<Shape> shapes = {{1, 1, 1},   {3, 5, 4},    {2, 3, 300},  {1, 2, 1031},
                                   {20, 9, 49}, {161, 3, 1},  {7, 50, 1},   {3, 1100, 1},
                                   {9, 80, 20}, {1500, 2, 1}, {5, 1030, 2}, {600, 3, 1}};

/// Numbers that lie in tables as well.
struct LineTables : LineNumbers {
  explicit LineTables(Size channels) {
    for (std::vector<float>& table : stored) table.resize(channels);
    for (Size c = 0; c < channels; ++c) {
      float k[2];
      (*this)(static_cast<Index>(c), k);
      for (Size i = 0; i < 2; ++i) stored[i][c] = k[i];
    }
  }
  void tables(const float** where) const {
    where[0] = stored[0].data();
    where[1] = stored[1].data();
  }
  std::array<std::vector<float>, 2> stored;
};

}  // namespace

TEST_CASE("every element is mapped with its channel's numbers, streamed or not") {
  Random random(1);
  for (const Shape& shape : shapes) {
    const Batch batch = integer_batch(random, shape.samples, shape.channels, shape.positions, 50);
    const Batch expected = line_of(batch);
    const LineTables tables(shape.channels);
    for (const Layout layout : all_layouts) {
      const Stored<float> input(batch, layout, 5);
      for (const InstructionSet set : instruction_sets) {
        for (const bool streaming : {false, true}) {
          INFO(shape.samples << " x " << shape.channels << " x " << shape.positions << ", "
                             << name_of(layout) << ", streaming " << streaming);
          Stored<float> output = Stored<float>::like(batch, layout, 3);
          map_region<Line, float>(set, LineNumbers(), Views<float, 1>{output.view()},
                                  Views<const float, 1>{input.view()}, streaming);
          CHECK((output.read().values == expected.values));
          CHECK(output.gaps_are_untouched());
          Stored<float> both = input;
          map_region<Line, float>(set, tables, Views<float, 1>{both.view()},
                                  Views<const float, 1>{both.view()}, streaming);
          CHECK((both.read().values == expected.values));
          CHECK(both.gaps_are_untouched());
        }
      }
    }
  }
}

TEST_CASE("two outputs, two inputs and a constant") {
  Random random(2);
  for (const Shape& shape : shapes) {
    const Batch a = integer_batch(random, shape.samples, shape.channels, shape.positions, 30);
    const Batch b = integer_batch(random, shape.samples, shape.channels, shape.positions, 30);
    const auto expected = pair_of(a, b);
    for (const Layout layout : {Layout::channels_first, Layout::channels_last, Layout::padded}) {
      const Stored<float> first(a, layout), second(b, layout, 1);
      for (const bool streaming : {false, true}) {
        INFO(shape.samples << " x " << shape.channels << " x " << shape.positions << ", "
                           << name_of(layout) << ", streaming " << streaming);
        Stored<float> sum = Stored<float>::like(a, layout, 2);
        Stored<float> rest = Stored<float>::like(a, layout, streaming ? 2 : 7);
        map_region<Pair, float>(InstructionSet::best, PairNumbers(),
                                Views<float, 2>{sum.view(), rest.view()},
                                Views<const float, 2>{first.view(), second.view()}, streaming);
        CHECK((sum.read().values == expected.first.values));
        CHECK((rest.read().values == expected.second.values));
        CHECK((sum.gaps_are_untouched() && rest.gaps_are_untouched()));
      }
    }
  }
}

TEST_CASE("the bits are the same in every layout, streamed or not, for numbers that round") {
  Random random(3);
  for (const Shape& shape : shapes) {
    const Batch batch = normal_batch(random, shape.samples, shape.channels, shape.positions);
    for (const InstructionSet set : instruction_sets) {
      const auto centred = [&](Layout layout, Index offset, bool streaming) {
        const Stored<Eigen::half> input(batch, layout);
        Stored<Eigen::half> output = Stored<Eigen::half>::like(batch, layout, offset);
        map_region<Centred, Eigen::half>(set, CentredNumbers(),
                                         Views<Eigen::half, 1>{output.view()},
                                         Views<const Eigen::half, 1>{input.view()}, streaming);
        return output.read();
      };
      const Batch expected = centred(Layout::backwards, 0, false);
      for (const Layout layout : {Layout::channels_first, Layout::channels_last}) {
        for (const Index offset : {0, 3}) {
          for (const bool streaming : {false, true}) {
            INFO(shape.samples << " x " << shape.channels << " x " << shape.positions << ", "
                               << name_of(layout) << ", streaming " << streaming);
            CHECK(same_bits(centred(layout, offset, streaming), expected));
          }
        }
      }
    }
  }
}

TEST_CASE("nothing is written outside of the region") {
  Random random(4);
  const Batch batch = integer_batch(random, 6, 70, 270, 50);
  const Batch line = line_of(batch);
  for (const Layout layout : {Layout::channels_first, Layout::channels_last}) {
    for (const Region& region : {Region{0, 70, 0, 1620}, Region{2, 59, 300, 1100},
                                 Region{3, 4, 59, 1600}, Region{1, 40, 131, 137}}) {
      Batch expected = Stored<float>::like(batch, layout).read();
      batch.each([&](Size n, Size c, Size p) {
        const auto channel = static_cast<Index>(c);
        const auto value = static_cast<Index>(n * 270 + p);
        if (channel >= region.first_column && channel < region.last_column &&
            value >= region.first_row && value < region.last_row) {
          expected.at(n, c, p) = line.at(n, c, p);
        }
      });
      const Stored<float> input(batch, layout);
      Stored<float> output = Stored<float>::like(batch, layout);
      map_region<Line, float>(InstructionSet::best, LineNumbers(), Views<float, 1>{output.view()},
                              Views<const float, 1>{input.view()}, region.first_row == 300,
                              &region);
      INFO(name_of(layout) << ", columns " << region.first_column << " to " << region.last_column);
      CHECK((output.read().values == expected.values));
    }
  }
}

TEST_CASE("regions of rows in which channels repeat themselves or cycle") {
  Random random(5);
  const auto rows_of = [&](const Batch& batch, Layout layout, const Region& region,
                           const std::pair<Size, Size>& channels,
                           const std::pair<Size, Size>& values) {
    Batch expected = Stored<float>::like(batch, layout).read();
    const Batch line = line_of(batch);
    batch.each([&](Size n, Size c, Size p) {
      const Size value = n * batch.positions + p;
      if (c >= channels.first && c < channels.second && value >= values.first &&
          value < values.second) {
        expected.at(n, c, p) = line.at(n, c, p);
      }
    });
    const Stored<float> input(batch, layout);
    Stored<float> output = Stored<float>::like(batch, layout);
    map_region<Line, float>(InstructionSet::best, LineNumbers(), Views<float, 1>{output.view()},
                            Views<const float, 1>{input.view()}, false, &region);
    return output.read().values == expected.values;
  };
  const Batch repeats = integer_batch(random, 20, 12, 13);
  CHECK(rows_of(repeats, Layout::channels_first, {3 * 13, 10 * 13, 2, 19}, {3, 10},
                {2 * 13, 19 * 13}));
  const Batch cycle = integer_batch(random, 161, 3, 1);
  CHECK(rows_of(cycle, Layout::channels_last, {0, 240, 0, 2}, {0, 3}, {0, 160}));
  CHECK(rows_of(cycle, Layout::channels_last, {0, 240, 2, 3}, {0, 3}, {160, 161}));
  CHECK(rows_of(cycle, Layout::channels_last, {0, 240, 1, 3}, {0, 3}, {80, 161}));
}
