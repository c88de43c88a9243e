// SPDX-License-Identifier: MIT
#include "batchnorm/loops/cache.hpp"

#include <cstddef>

#include "support/catch.hpp"

using batchnorm::Index;
using namespace batchnorm::loops;

namespace {

/// Makes Eigen report caches of known sizes, of all processors alike.
class Caches {
 public:
  Caches(Index second_level, Index last_level) {
    Eigen::setCpuCacheSizes(Index{32} << 10, second_level, last_level);
  }
  Caches(const Caches&) = delete;
  Caches& operator=(const Caches&) = delete;
  ~Caches() { Eigen::setCpuCacheSizes(first_, second_, last_); }

 private:
  std::ptrdiff_t first_ = Eigen::l1CacheSize(), second_ = Eigen::l2CacheSize(),
                 last_ = Eigen::l3CacheSize();
};

}  // namespace

TEST_CASE("a quarter of the second-level cache may be counted on, and the last level") {
  const Caches caches(Index{1} << 20, Index{8} << 20);
  CHECK(resident_bytes() == 262144);
  CHECK(last_level_bytes() == 8388608);
  CHECK_FALSE(worth_streaming(6291456));
  CHECK(worth_streaming(6291457));
}

TEST_CASE("what processors report of their last level is not believed beyond 32 MiB") {
  const Caches caches(Index{1} << 20, Index{256} << 20);
  CHECK(last_level_bytes() == 33554432);
}

TEST_CASE("the caches of this processor are found") {
  CHECK(resident_bytes() > 0);
  CHECK(last_level_bytes() > 0);
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
