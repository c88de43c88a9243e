// SPDX-License-Identifier: MIT
// Compiled for each commit with that commit's headers and its ours.cpp.
#include "side.hpp"  // beside this file, not that commit's

#include <memory>
#include <string>
#include <vector>

#include "benchmarks/contender.hpp"
#include "benchmarks/rows.hpp"

namespace {

using namespace batchnorm_benchmarks;

struct Prepared {
  Problem problem;
  std::unique_ptr<Contender> ours;
  std::unique_ptr<Runner> runner;
};

std::vector<double> numbers(const double* from, std::size_t count) {
  return from == nullptr ? std::vector<double>() : std::vector<double>(from, from + count);
}

Problem problem_of(const Row& row, const SideProblem& side) {
  Problem problem;
  problem.row = row;
  problem.in = side.in;
  problem.residual = side.second;
  problem.out_gradient = side.second;
  problem.out = side.out;
  problem.gamma = numbers(side.gamma, side.channels);
  problem.beta = numbers(side.beta, side.channels);
  problem.running_mean = numbers(side.running_mean, side.channels);
  problem.running_variance = numbers(side.running_variance, side.channels);
  problem.batch_mean = numbers(side.batch_mean, side.channels);
  problem.batch_variance = numbers(side.batch_variance, side.channels);
  return problem;
}

}  // namespace

void* batchnorm_side_prepare(const SideProblem* side) {
  for (const Row& row : all_rows(side->most_threads)) {
    if (name_of(row) != side->row) continue;
    auto prepared = std::make_unique<Prepared>();
    prepared->problem = problem_of(row, *side);
    prepared->ours = make_ours();
    prepared->runner = prepared->ours->prepare(prepared->problem);
    return prepared->runner == nullptr ? nullptr : prepared.release();
  }
  return nullptr;
}

void batchnorm_side_run(void* prepared) {
  static_cast<Prepared*>(prepared)->runner->run();
}

void batchnorm_side_release(void* prepared) {
  delete static_cast<Prepared*>(prepared);
}
