// SPDX-License-Identifier: MIT
// Units that are compiled for different instructions, or with kernels for fewer of them, in one
// program: each has its own code, they agree, and what is said to one of them holds for all.

#include <cmath>
#include <cstdio>
#include <cstring>

#include "flags/units.hpp"

using batchnorm_test::Unit;

namespace {

constexpr int best = 0, avx2_set = 1, baseline = 2;  // InstructionSet

bool failed = false;

void expect(bool holds, const char* what) {
  if (!holds) {
    std::printf("FAILED: %s\n", what);
    failed = true;
  }
}

/// The results of both with at most these instructions, said to the first of them.
float largest_difference(const Unit& first, const Unit& second, int set) {
  const int before = first.limit(set);
  float a[Unit::numbers] = {}, b[Unit::numbers] = {};
  first.learn(a);
  second.learn(b);
  first.limit(before);
  float largest = 0.0f, size = 0.0f;
  for (std::size_t i = 0; i < Unit::numbers; ++i) {
    largest = std::fmax(largest, std::fabs(a[i] - b[i]));
    size = std::fmax(size, std::fabs(a[i]));
  }
  expect(size > 0.5f, "there are results");
  return largest;
}

}  // namespace

int main() {
  using namespace batchnorm_test;
  const Unit* const others[] = {&up_to_avx2, &baseline_only, &avx2};
  for (const Unit* unit : others) {
    expect(std::strcmp(unit->inline_namespace, plain.inline_namespace) != 0, unit->name);
  }
  plain.limit(baseline);
  for (const Unit* unit : others) {
    expect(unit->limit(baseline) == baseline, "a limit holds in the other units");
  }
  plain.limit(best);

  expect(largest_difference(plain, baseline_only, baseline) <= 0.0f, "baseline: the same bits");
  expect(largest_difference(plain, up_to_avx2, baseline) <= 0.0f, "baseline: the same bits");
  expect(largest_difference(plain, up_to_avx2, avx2_set) <= 0.0f, "AVX2: the same bits");
  for (const Unit* unit : others) {
    expect(largest_difference(plain, *unit, best) < 1e-5f, "the same results with any of them");
  }
  if (!failed) std::puts("all units agree");
  return failed ? 1 : 0;
}
