// SPDX-License-Identifier: MIT
#include "batchnorm/loops/partition.hpp"

#include <vector>

#include "support/catch.hpp"

using batchnorm::Index;
using batchnorm::loops::MergeWeights;
using batchnorm::loops::Partition;
using batchnorm::loops::Region;
using batchnorm::loops::Traversal;

namespace {

constexpr Index huge = Index{1} << 40;

/// Whether the regions follow one another without gap or overlap, none of them empty or too large,
/// up to the last channel and the last value.
bool tiles(const Traversal& traversal) {
  const Partition partition(traversal);
  if (partition.blocks < 1 || partition.slices < 1 || partition.slices > 16) return false;
  Index channel = 0;
  for (Index block = 0; block < partition.blocks; ++block) {
    Index value = 0;
    Region region{};
    for (Index slice = 0; slice < partition.slices; ++slice) {
      region = partition.region(traversal, block, slice);
      if (region.first_channel != channel || region.first_value != value) return false;
      if (region.channels() < 1 || region.channels() > 256 || region.values() < 1) return false;
      value = region.last_value;
    }
    if (value != traversal.values()) return false;
    channel = region.last_channel;
  }
  return channel == traversal.channels;
}

}  // namespace

TEST_CASE("regions tile the whole array") {
  int wrong = 0;
  for (const bool across : {false, true}) {
    for (const Index channels : {1, 2, 3, 4, 7, 255, 256, 257, 512, 1009, 4096, 99991}) {
      for (const Index values :
           {1, 2, 13, 16, 17, 49, 127, 2048, 32767, 32768, 32769, 65536, 104729, 524287, 1000003}) {
        const Traversal traversal = {channels, 1, values, across};
        if (!tiles(traversal)) {
          ++wrong;
          UNSCOPED_INFO(channels << " channels, " << values << " values, across " << across);
        }
      }
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("regions tile arrays of 2^40 values and more") {
  for (const bool across : {false, true}) {
    CHECK(tiles({1, 1, huge, across}));
    CHECK(tiles({3, huge / 8, 8, across}));
    CHECK(tiles({257, 1, huge + 1, across}));
    CHECK(tiles({1, 1, (huge << 20) - 1, across}));
    CHECK(tiles({4, 3, (huge << 18) + 1, across}));
    // The largest array that can be: 2^63 - 1 elements.
    CHECK(tiles({1, 1, 0x7fffffffffffffff, across}));
    CHECK(tiles({7, 1, 0x7fffffffffffffff / 7, across}));
    CHECK(tiles({1 << 20, 1, huge, across}));
  }
}

TEST_CASE("slices of a channel are of one size, give or take a value") {
  const Traversal traversal = {1, 1, 1000003, false};
  const Partition partition(traversal);
  REQUIRE(partition.slices == 16);
  for (Index slice = 0; slice < 16; ++slice) {
    const Index values = partition.region(traversal, 0, slice).values();
    CHECK((values == 1000003 / 16 || values == 1000003 / 16 + 1));
  }
}

TEST_CASE("little work is one region, much work is enough for many threads") {
  const auto regions = [](const Traversal& traversal) {
    const Partition partition(traversal);
    return partition.blocks * partition.slices;
  };
  CHECK(regions({1, 1, 1, false}) == 1);
  CHECK(regions({10, 1, 3000, false}) == 1);
  CHECK(regions({10, 1, 3000, true}) == 1);
  CHECK(regions({1, 1, 32767 * 2, false}) == 1);
  CHECK(regions({1, 1, 32768 * 2, false}) == 2);
  for (const bool across : {false, true}) {
    CHECK(regions({1, 1, 10000000, across}) >= 16);
    CHECK(regions({64, 1, 1000000, across}) >= 16);
    CHECK(regions({10000, 1, 1000, across}) >= 16);
    // Enough blocks need no slices, which would have to be merged.
    CHECK(Partition({10000, 1, 100000, across}).slices == 1);
  }
}

TEST_CASE("merging with nothing has weights that change nothing") {
  const MergeWeights<double> nothing_before(0, 12345);
  CHECK(nothing_before.share == 1);
  CHECK(nothing_before.product == 0);
  const MergeWeights<double> nothing_added(12345, 0);
  CHECK(nothing_added.share == 0);
  CHECK(nothing_added.product == 0);
}

TEST_CASE("merge weights are n_b / n and n_a n_b / n") {
  const MergeWeights<double> weights(3, 1);
  CHECK(weights.share == 0.25);
  CHECK(weights.product == 0.75);
  const MergeWeights<float> narrow(8, 24);
  CHECK(narrow.share == 0.75f);
  CHECK(narrow.product == 6.0f);
  // The product of the counts would not fit into an Index.
  const MergeWeights<long double> large(huge, 3 * huge);
  CHECK(large.share == 0.75L);
  CHECK(large.product == 0.75L * static_cast<long double>(huge));
}
