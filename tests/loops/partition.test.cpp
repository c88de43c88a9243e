// SPDX-License-Identifier: MIT
#include "batchnorm/loops/partition.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "support/catch.hpp"

using batchnorm::Index;
using batchnorm::loops::Partition;
using batchnorm::loops::Region;
using batchnorm::loops::Traversal;

namespace {

constexpr Index huge = Index{1} << 40;

Traversal runs(Index channels, Index outer, Index inner) {
  return {channels, channels, outer, inner, 1, channels, false};
}
Traversal rows(Index channels, Index count, Index repeat = 1) {
  return {channels, channels * repeat, 1, count, repeat, channels * repeat, true};
}
/// Rows through which few channels cycle; the last one has `last` columns.
Traversal cycles(Index channels, Index count, Index times, Index last) {
  return {channels, channels * times, 1, count, 1, last, true};
}

/// Whether the regions of the channels [first, last) follow one another without gap or overlap,
/// none of them empty or too large, up to the last channel and the last row.
bool tiles(const Traversal& traversal, Index first, Index last) {
  const Partition partition(traversal, first, last);
  if (partition.blocks() < 1 || partition.slices() < 1 || partition.slices() > 16) return false;
  const Index columns_of_channel = traversal.cycles() ? 1 : traversal.repeat;
  Index channel = first;
  for (Index block = 0; block < partition.blocks(); ++block) {
    if (partition.first_channel(block) != channel) return false;
    channel = partition.last_channel(block);
    Index row = 0;
    for (Index slice = 0; slice < partition.slices(); ++slice) {
      const Region region = partition.region(block, slice);
      const Index first_column =
          traversal.cycles() ? 0 : partition.first_channel(block) * columns_of_channel;
      const Index last_column =
          traversal.cycles() ? traversal.columns : channel * columns_of_channel;
      if (region.first_column != first_column || region.last_column != last_column) return false;
      if (region.columns() < 1 || region.columns() > 512) return false;
      if (region.first_row != row || region.rows() < 1) return false;
      row = region.last_row;
    }
    if (row != traversal.rows()) return false;
  }
  return channel == last;
}

bool tiles(const Traversal& traversal) {
  return tiles(traversal, 0, traversal.channels);
}

/// The slices that a channel's rows are cut into, when the channels [first, last) are.
std::vector<Index> cuts(const Traversal& traversal, Index first, Index last) {
  const Partition partition(traversal, first, last);
  std::vector<Index> all;
  for (Index slice = 0; slice < partition.slices(); ++slice) {
    all.push_back(partition.region(0, slice).first_row);
  }
  return all;
}

}  // namespace

TEST_CASE("regions tile the whole array") {
  int wrong = 0;
  for (const Index channels : {1, 2, 3, 4, 7, 255, 256, 511, 512, 513, 1009, 4096, 9991}) {
    for (const Index values :
         {1, 2, 13, 16, 17, 49, 127, 2048, 32767, 32768, 32769, 65536, 104729, 524287, 1000003}) {
      for (const Traversal& traversal :
           {runs(channels, 1, values), runs(channels, values, 1), runs(channels, values, 3),
            rows(channels, values), rows(channels, values, 15), rows(channels, values, 256)}) {
        if (tiles(traversal)) continue;
        ++wrong;
        UNSCOPED_INFO(channels << " channels, " << values << " values, repeated "
                               << traversal.repeat << ", along rows " << traversal.along_rows);
      }
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("regions of rows with cycles have all columns") {
  for (const Index channels : {2, 3, 5, 32}) {
    for (const Index count : {1, 2, 17, 1000, 100003}) {
      const Index times = 256 / channels / 8 * 8;
      CHECK(tiles(cycles(channels, count, times, channels)));
      CHECK(tiles(cycles(channels, count, times, channels * times)));
    }
  }
}

TEST_CASE("regions tile arrays of 2^40 values and more") {
  for (const bool along_rows : {false, true}) {
    const auto either = [&](Index channels, Index outer, Index inner) {
      return Traversal{channels, channels, outer, inner, 1, channels, along_rows};
    };
    CHECK(tiles(either(1, 1, huge)));
    CHECK(tiles(either(3, huge / 8, 8)));
    CHECK(tiles(either(257, 1, huge + 1)));
    CHECK(tiles(either(1, 1, (huge << 20) - 1)));
    CHECK(tiles(either(4, 3, (huge << 18) + 1)));
    CHECK(tiles(either(1 << 20, 1, huge)));
  }
  // The largest array that can be: 2^63 - 1 elements. Rows are counted by the element.
  CHECK(tiles(runs(1, 1, 0x7fffffffffffffff)));
  CHECK(tiles(rows(1, 0x7fffffffffffffff)));
  CHECK(tiles(runs(7, 1, 0x7fffffffffffffff / 7)));
  CHECK(tiles(rows(7, 0x7fffffffffffffff / 7)));
  CHECK(tiles(rows(7, 0x7fffffffffffffff / 49, 7)));
}

TEST_CASE("some of the channels are tiled as all are") {
  for (const Traversal& traversal : {runs(1009, 3, 1000), rows(1009, 3000), rows(1009, 3000, 11)}) {
    for (const Index first : {0, 1, 500}) {
      for (const Index last : {501, 1000, 1009}) CHECK(tiles(traversal, first, last));
    }
  }
}

TEST_CASE("how a channel is sliced does not depend on which others are taken") {
  for (const Traversal& traversal : {runs(600, 7, 100003), runs(2, 1, 70001), rows(600, 5000),
                                     rows(40, 9001), rows(600, 900, 15), rows(3, 40000)}) {
    const Index channels = traversal.channels;
    const std::vector<Index> all = cuts(traversal, 0, channels);
    CHECK(all.size() > 1);
    CHECK(cuts(traversal, channels - 1, channels) == all);
    CHECK(cuts(traversal, 0, 1) == all);
    CHECK(cuts(traversal, channels / 3, (std::min<Index>)(channels, channels / 3 + 16)) == all);
  }
}

TEST_CASE("slices of a channel are of one size, give or take a row") {
  const Traversal traversal = runs(1, 1, 1000003);
  const Partition partition(traversal, 0, 1);
  REQUIRE(partition.slices() == 16);
  for (Index slice = 0; slice < 16; ++slice) {
    const Index count = partition.region(0, slice).rows();
    CHECK((count == 1000003 / 16 || count == 1000003 / 16 + 1));
  }
}

TEST_CASE("little work is one region, much work is enough for many threads") {
  const auto regions = [](const Traversal& traversal) {
    const Partition partition(traversal, 0, traversal.channels);
    return partition.blocks() * partition.slices();
  };
  CHECK(regions(runs(1, 1, 1)) == 1);
  CHECK(regions(runs(10, 1, 3000)) == 1);
  CHECK(regions(rows(10, 3000)) == 1);
  CHECK(regions(runs(1, 1, 32767 * 2)) == 1);
  CHECK(regions(runs(1, 1, 32768 * 2)) == 2);
  CHECK(regions(rows(3, 32767 * 2 / 3)) == 1);
  CHECK(regions(rows(2, 32768)) == 2);
  CHECK(regions(runs(1, 1, 10000000)) >= 16);
  CHECK(regions(rows(1, 10000000)) >= 16);
  CHECK(regions(runs(64, 1, 1000000)) >= 16);
  CHECK(regions(rows(64, 1000000)) >= 16);
  CHECK(regions(runs(10000, 1, 1000)) >= 16);
  CHECK(regions(rows(10000, 1000)) >= 16);
  CHECK(regions(cycles(3, 10000, 80, 240)) >= 16);
}

TEST_CASE("threads narrow the blocks of an array with few rows, and leave its slices") {
  const Traversal few_rows = rows(4096, 64);
  const Partition alone(few_rows, 0, 4096), shared(few_rows, 0, 4096, 4);
  CHECK((alone.blocks() == 8 && alone.slices() == 1));
  CHECK((shared.blocks() == 16 && shared.slices() == 1));
  CHECK(Partition(rows(128, 64), 0, 128, 16).block() == 64);
  CHECK(Partition(rows(100000, 8), 0, 100000, 2).block() == 512);
  // Runs are cut into channels anyway, and cycling channels cannot be taken apart.
  CHECK(Partition(runs(300, 1, 40000), 0, 300, 4).block() == 1);
  CHECK(Partition(cycles(3, 1000, 80, 240), 0, 3, 4).block() == 3);
}

TEST_CASE("to be mapped, an array is cut along memory where it can be") {
  using batchnorm::loops::MapPartition;
  const auto tiles_once = [](const Traversal& traversal, Index threads) {
    const MapPartition partition(traversal, threads);
    Index covered = 0;
    for (Index task = 0; task < partition.tasks(); ++task) {
      const Region region = partition.region(task);
      if (region.columns() < 1 || region.rows() < 1) return false;
      covered += region.columns() * region.rows();
    }
    return covered == traversal.columns * traversal.rows();
  };
  for (const Index threads : {2, 3, 64}) {
    for (const Traversal& traversal :
         {runs(7, 32, 5000), runs(7, 3, 50000), runs(300, 1, 700), runs(1, 1, 99999),
          rows(512, 1000), rows(5000, 3), rows(70, 900, 9), cycles(3, 1000, 80, 240)}) {
      CHECK(tiles_once(traversal, threads));
    }
  }
  // Whole samples of all channels, whole rows.
  CHECK(MapPartition(runs(7, 32, 5000), 2).region(1).columns() == 7);
  CHECK(MapPartition(runs(7, 32, 5000), 2).region(1).first_row % 5000 == 0);
  CHECK(MapPartition(rows(512, 1000), 2).region(0).columns() == 512);
  // Too few samples or rows for the threads: channels are shared.
  CHECK(MapPartition(runs(64, 3, 50000), 2).region(0).columns() < 64);
  CHECK(MapPartition(rows(5000, 3), 2).region(0).columns() <= 512);
}

TEST_CASE("slices to be mapped have 64 values of every channel, or channels are shared") {
  using batchnorm::loops::MapPartition;
  // What a channel's numbers take is paid once per slice: 16 rows of 100000 columns in 16 slices
  // would pay it for every element.
  for (const auto& [traversal, least] :
       {std::pair(rows(100000, 16), Index{16}), std::pair(rows(1000, 511), Index{64}),
        std::pair(rows(1000, 512), Index{64}), std::pair(rows(1000, 100000), Index{64}),
        std::pair(runs(2048, 32, 49), Index{98}), std::pair(runs(2048, 32, 14), Index{70}),
        std::pair(runs(2048, 32, 200), Index{200}), std::pair(rows(300, 2000, 9), Index{8})}) {
    const MapPartition partition(traversal, 2);
    CHECK(partition.tasks() >= 8);
    for (Index task = 0; task < partition.tasks(); ++task) {
      CHECK(partition.region(task).rows() >= least);
    }
  }
  CHECK(MapPartition(rows(1000, 512), 2).region(0).columns() == 1000);
  CHECK(MapPartition(rows(1000, 511), 2).region(0).columns() < 1000);
  // Few channels that cycle cost nothing.
  CHECK(MapPartition(cycles(3, 2000, 80, 240), 2).tasks() == 14);
}
