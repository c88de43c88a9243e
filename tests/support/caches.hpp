// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_TESTS_SUPPORT_CACHES_HPP
#define BATCHNORM_TESTS_SUPPORT_CACHES_HPP

#include <Eigen/Core>
#include <cstddef>

namespace batchnorm_test {

/// Tells Eigen, whom the loops ask, of other caches, while it lives.
class Caches {
 public:
  Caches(std::ptrdiff_t level_2, std::ptrdiff_t level_3)
      : before_{Eigen::l1CacheSize(), Eigen::l2CacheSize(), Eigen::l3CacheSize()} {
    Eigen::setCpuCacheSizes(before_[0], level_2, level_3);
  }
  ~Caches() { Eigen::setCpuCacheSizes(before_[0], before_[1], before_[2]); }
  Caches(const Caches&) = delete;
  Caches& operator=(const Caches&) = delete;

 private:
  std::ptrdiff_t before_[3];
};

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_CACHES_HPP
