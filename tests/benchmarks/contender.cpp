// SPDX-License-Identifier: MIT
#include "benchmarks/contender.hpp"

std::vector<std::unique_ptr<batchnorm_benchmarks::Contender>>& batchnorm_benchmarks::rivals() {
  static std::vector<std::unique_ptr<Contender>> all;
  return all;
}
