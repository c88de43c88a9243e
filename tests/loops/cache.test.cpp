// SPDX-License-Identifier: MIT
#include "batchnorm/loops/cache.hpp"

#include "support/catch.hpp"

using batchnorm::Index;
using namespace batchnorm::loops;

TEST_CASE("some of the caches may be counted on") {
  CHECK(resident_bytes() > 0);
  CHECK(resident_bytes() <= static_cast<Index>(Eigen::l2CacheSize()) / 2);
  CHECK(last_level_bytes() > 0);
  CHECK(last_level_bytes() <= static_cast<Index>(Eigen::l3CacheSize()));
}

TEST_CASE("what processors report of their last level is not believed beyond 32 MiB") {
  CHECK(last_level_bytes() <= Index{32} << 20);
}

TEST_CASE("streaming is worth it from one size on") {
  CHECK_FALSE(worth_streaming(0));
  CHECK_FALSE(worth_streaming(1));
  CHECK_FALSE(worth_streaming(last_level_bytes() / 2));
  CHECK(worth_streaming(last_level_bytes()));
  CHECK(worth_streaming(Index{1} << 40));
  int changes = 0;
  for (Index bytes = 1; bytes < Index{1} << 40; bytes += bytes / 16 + 1) {
    if (worth_streaming(bytes) != worth_streaming(bytes + bytes / 16 + 1)) ++changes;
  }
  CHECK(changes == 1);
}

TEST_CASE("memory is far from one size on, the same on every processor") {
  CHECK_FALSE(is_far(0));
  CHECK_FALSE(is_far(Index{1} << 20));
  CHECK(is_far((Index{1} << 20) + 1));
  CHECK(is_far(Index{1} << 50));
}
