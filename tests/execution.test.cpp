// SPDX-License-Identifier: MIT
#include "batchnorm/execution.hpp"

#include <cstddef>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "support/catch.hpp"

using namespace batchnorm;
using batchnorm_test::says;

namespace {

/// How often each task ran.
std::vector<int> runs_of(const Execution& execution, Index tasks) {
  std::vector<int> runs(static_cast<std::size_t>(tasks), 0);
  execution.for_each(tasks, [&](Index task) { ++runs[static_cast<std::size_t>(task)]; });
  return runs;
}

/// The order in which tasks run.
std::vector<Index> order_of(const Execution& execution, Index tasks) {
  std::vector<Index> order;
  execution.for_each(tasks, [&](Index task) { order.push_back(task); });
  return order;
}

/// Every other task from the end, then the rest.
struct OddOrder {
  void operator()(Index tasks, Task task) {
    asked.push_back(tasks);
    for (Index i = tasks - 1; i >= 0; i -= 2) task(i);
    for (Index i = tasks - 2; i >= 0; i -= 2) task(i);
  }
  std::vector<Index> asked;
};

}  // namespace

TEST_CASE("an execution is serial unless told otherwise") {
  for (const Execution& execution : {Execution(), Execution::serial()}) {
    CHECK(execution.threads() == 1);
    CHECK(execution.instruction_set() == InstructionSet::best);
    CHECK(order_of(execution, 4) == std::vector<Index>{0, 1, 2, 3});
    CHECK(order_of(execution, 1) == std::vector<Index>{0});
    CHECK(order_of(execution, 0).empty());
  }
}

TEST_CASE("a parallel_for of the caller's runs every task") {
  OddOrder odd_order;
  const Execution execution = Execution::parallel_for(odd_order, 3);
  CHECK(execution.threads() == 3);
  CHECK(order_of(execution, 5) == std::vector<Index>{4, 2, 0, 3, 1});
  CHECK(runs_of(execution, 100) == std::vector<int>(100, 1));
  CHECK(odd_order.asked == std::vector<Index>{5, 100});
}

TEST_CASE("a parallel_for is not bothered with one task, nor for one thread") {
  OddOrder odd_order;
  CHECK(order_of(Execution::parallel_for(odd_order, 3), 1) == std::vector<Index>{0});
  CHECK(order_of(Execution::parallel_for(odd_order, 1), 3) == std::vector<Index>{0, 1, 2});
  CHECK(odd_order.asked.empty());
}

TEST_CASE("a parallel_for may be const, and a task may be kept by value") {
  const auto twice_collected = [](Index tasks, const Task& task) {
    std::vector<Task> collected(static_cast<std::size_t>(tasks), task);
    Index number = 0;
    for (const Task& each : collected) each(number++);
  };
  CHECK(runs_of(Execution::parallel_for(twice_collected, 2), 6) == std::vector<int>(6, 1));
}

TEST_CASE("executions are small values") {
  CHECK(std::is_trivially_copyable<Execution>::value);
  CHECK(std::is_trivially_copyable<Task>::value);
  OddOrder odd_order;
  const Execution original = Execution::parallel_for(odd_order, 2);
  Execution copy;
  copy = original;
  CHECK(copy.threads() == 2);
  CHECK(order_of(copy, 3) == std::vector<Index>{2, 0, 1});
}

TEST_CASE("with() limits the instructions and keeps the rest") {
  OddOrder odd_order;
  const Execution execution = Execution::parallel_for(odd_order, 5);
  const Execution limited = execution.with(InstructionSet::baseline);
  CHECK(limited.instruction_set() == InstructionSet::baseline);
  CHECK(limited.threads() == 5);
  CHECK(order_of(limited, 3) == std::vector<Index>{2, 0, 1});
  CHECK(execution.instruction_set() == InstructionSet::best);
  CHECK(limited.with(InstructionSet::best).instruction_set() == InstructionSet::best);
}

TEST_CASE("too few elements stay on this thread, with the same instructions") {
  OddOrder odd_order;
  const Execution execution = Execution::parallel_for(odd_order, 5).with(InstructionSet::baseline);
  const Index enough = Execution::least_shared_elements;
  for (const Index elements : {Index{0}, Index{1}, enough - 1}) {
    const Execution alone = execution.for_elements(elements);
    CHECK(alone.threads() == 1);
    CHECK(alone.instruction_set() == InstructionSet::baseline);
    CHECK(order_of(alone, 3) == std::vector<Index>{0, 1, 2});
  }
  CHECK(odd_order.asked.empty());
  for (const Index elements : {enough, enough + 1, Index{1} << 40}) {
    const Execution shared = execution.for_elements(elements);
    CHECK(shared.threads() == 5);
    CHECK(shared.instruction_set() == InstructionSet::baseline);
    CHECK(order_of(shared, 3) == std::vector<Index>{2, 0, 1});
  }
  CHECK(execution.threads() == 5);
  CHECK(Execution().for_elements(1).instruction_set() == InstructionSet::best);
}

TEST_CASE("the number of threads is positive") {
  OddOrder odd_order;
  CHECK_THROWS_MATCHES(
      Execution::parallel_for(odd_order, 0), std::invalid_argument,
      says("Execution::parallel_for: number of threads: expected at least 1, got 0"));
  CHECK_THROWS_MATCHES(Execution::parallel_for(odd_order, -2), std::invalid_argument,
                       says("expected at least 1, got -2"));
}

TEST_CASE("an execution is told from an output") {
  CHECK(detail::is_execution<Execution>);
  CHECK(detail::is_execution<const Execution&>);
  CHECK_FALSE(detail::is_execution<Task>);
  CHECK_FALSE(detail::is_execution<float*>);
}
