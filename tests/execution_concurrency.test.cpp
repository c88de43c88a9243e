// SPDX-License-Identifier: MIT
// Layers on real threads. Also run under ThreadSanitizer.
#include <array>
#include <atomic>
#include <cstddef>
#include <functional>
#include <thread>
#include <unsupported/Eigen/CXX11/ThreadPool>
#include <utility>
#include <vector>

#include "batchnorm/execution.hpp"
#include "batchnorm/layer.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"

using batchnorm::Execution;
using batchnorm::Index;
using batchnorm::Task;
using namespace batchnorm_test;

namespace {

/// A parallel_for as a caller may write it: threads that take the next task each.
struct OnThreads {
  void operator()(Index tasks, Task task) const {
    std::atomic<Index> next{0};
    const auto work = [&] {
      for (Index i = next++; i < tasks; i = next++) task(i);
    };
    std::vector<std::thread> others;
    for (int i = 1; i < count; ++i) others.emplace_back(work);
    work();
    for (std::thread& other : others) other.join();
  }
  int count;
};

std::vector<int> runs_of(const Execution& execution, Index tasks) {
  std::vector<int> runs(static_cast<std::size_t>(tasks), 0);
  execution.for_each(tasks, [&](Index task) { ++runs[static_cast<std::size_t>(task)]; });
  return runs;
}

/// All that a step of training gives.
struct Step {
  Batch y, dx;
  Eigen::VectorXd mean, squares, gamma, beta;

  bool operator==(const Step& other) const {
    return y.values == other.y.values && dx.values == other.dx.values && mean == other.mean &&
           squares == other.squares && gamma == other.gamma && beta == other.beta;
  }
};

Step step(const Execution& execution, const Stored<double>& x) {
  Stored<double> y = x, dx = x;
  const batchnorm::BatchNorm<double> layer(x.view().channels());
  const auto batch = layer.normalize(x.view(), y.view(), execution);
  const auto gradients = layer.backward(batch, x.view(), x.view(), dx.view(), execution);
  return {y.read(), dx.read(), batch.mean, batch.sum_of_squares, gradients.gamma, gradients.beta};
}

const std::vector<Batch>& batches() {
  static const std::vector<Batch> all = [] {
    Random random(61);
    return std::vector<Batch>{normal_batch(random, 140001, 1, 1, -3),
                              normal_batch(random, 6, 300, 90, -3),
                              normal_batch(random, 2500, 70, 1, -3)};
  }();
  return all;
}

}  // namespace

TEST_CASE("a pool runs every task once and helps the caller") {
  Eigen::ThreadPool pool(3);
  const Execution execution = Execution::thread_pool(pool);
  CHECK(execution.threads() == 4);
  for (const Index tasks : {2, 3, 4, 5, 1000}) {
    CHECK(runs_of(execution, tasks) == std::vector<int>(static_cast<std::size_t>(tasks), 1));
  }
  for (int round = 0; round < 200; ++round) CHECK(runs_of(execution, 7) == std::vector<int>(7, 1));
}

TEST_CASE("a pool gets no more work than its threads can share with the caller") {
  struct CountingPool {
    int NumThreads() const { return 3; }
    void Schedule(const std::function<void()>& work) {
      ++scheduled;
      work();
    }
    int scheduled = 0;
  };
  for (const auto& [tasks, expected] : {std::pair<Index, int>{2, 1}, {3, 2}, {4, 3}, {50, 3}}) {
    CountingPool pool;
    CHECK(runs_of(Execution::thread_pool(pool), tasks) ==
          std::vector<int>(static_cast<std::size_t>(tasks), 1));
    CHECK(pool.scheduled == expected);
  }
}

TEST_CASE("the workers of a pool and the caller work at the same time") {
  Eigen::ThreadPool pool(3);
  Eigen::Barrier all_are_here(4);
  std::vector<int> runs(4, 0);
  Execution::thread_pool(pool).for_each(4, [&](Index task) {
    all_are_here.Notify();
    all_are_here.Wait();  // for ever, when a task has to wait for the end of another
    ++runs[static_cast<std::size_t>(task)];
  });
  CHECK(runs == std::vector<int>(4, 1));
}

TEST_CASE("the bits do not depend on threads") {
  Eigen::ThreadPool small(1), large(5);
  const OnThreads threads = {3};
  for (const Batch& batch : batches()) {
    for (const Layout layout : {Layout::channels_first, Layout::channels_last, Layout::padded}) {
      INFO(batch.samples << " x " << batch.channels << " x " << batch.positions << ", "
                         << name_of(layout));
      const Stored<double> stored(batch, layout);
      const Step alone = step(Execution(), stored);
      CHECK(step(Execution::thread_pool(small), stored) == alone);
      CHECK(step(Execution::thread_pool(large), stored) == alone);
      CHECK(step(Execution::parallel_for(threads, 3), stored) == alone);
    }
  }
}

TEST_CASE("a call from inside a pool whose workers are all busy ends") {
  constexpr int workers = 2;
  Eigen::ThreadPool pool(workers);
  const Execution execution = Execution::thread_pool(pool);
  const Stored<double> stored(batches()[0], Layout::channels_first);
  const Step alone = step(Execution(), stored);
  std::array<bool, workers> right{};
  Eigen::Barrier all_workers_are_here(workers);
  Eigen::Barrier finished(workers);
  for (int worker = 0; worker < workers; ++worker) {
    pool.Schedule([&, worker] {
      all_workers_are_here.Notify();
      all_workers_are_here.Wait();
      right[static_cast<std::size_t>(worker)] = step(execution, stored) == alone;
      finished.Notify();
    });
  }
  finished.Wait();
  CHECK(right == std::array<bool, workers>{true, true});
}

TEST_CASE("tasks may hand out tasks themselves") {
  Eigen::ThreadPool pool(2);
  const Execution execution = Execution::thread_pool(pool);
  std::vector<std::vector<int>> runs(9);
  execution.for_each(
      9, [&](Index task) { runs[static_cast<std::size_t>(task)] = runs_of(execution, 5 + task); });
  for (std::size_t task = 0; task < 9; ++task) CHECK(runs[task] == std::vector<int>(5 + task, 1));
}

TEST_CASE("one execution serves many threads at once") {
  Eigen::ThreadPool pool(2);
  const Execution execution = Execution::thread_pool(pool);
  const Stored<double> stored(batches()[2], Layout::channels_last);
  const Step alone = step(Execution(), stored);
  std::array<bool, 3> right{};
  std::vector<std::thread> callers;
  for (bool& mine : right) {
    callers.emplace_back([&] { mine = step(execution, stored) == alone; });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(right == std::array<bool, 3>{true, true, true});
}
