// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXECUTION_HPP
#define BATCHNORM_EXECUTION_HPP

#include <Eigen/Core>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <type_traits>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/collective.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

class Synchronize;

/// Which vector instructions the kernels use, from the most to the least demanding.
enum class InstructionSet {
  best,     ///< the best that this processor has, found out at run time
  avx2,     ///< AVX2 and FMA at most: on x86-64, the same with and without AVX-512
  baseline  ///< what the compiler assumes of every processor it compiles for
};

/// A piece of work that a parallel_for of the caller's runs for every task number: calls
/// `(*this)(task)`. A small value; valid only while the call that handed it out runs. Errors: none;
/// tasks do not throw. Thread safety: any number of threads may run different tasks.
class Task {
 public:
  /// Refers to a body that is called with a task number.
  template <class Body>
  explicit Task(const Body& body)
      : body_(&body),
        call_([](const void* stored, Index task) { (*static_cast<const Body*>(stored))(task); }) {}

  /// Does one task.
  void operator()(Index task) const { call_(body_, task); }

 private:
  const void* body_;
  void (*call_)(const void*, Index);
};

/// Who does the work of a call: this thread (the default), OpenMP, a thread pool, or a parallel_for
/// of the caller's. The library starts no threads. Results do not depend on it, to the last bit.
///
/// Calls with little work stay on this thread. What an Execution refers to must outlive it. A small
/// value. Errors: none, unless a maker says so. Thread safety: it may be copied and used from many
/// threads, as far as what it refers to may.
class Execution {
 public:
  /// This thread does everything; nothing is allocated.
  Execution() = default;
  /// The default by its name.
  static Execution serial() { return Execution(); }

  /// The caller's own loop: `parallel_for(tasks, task)` must call `task(i)` once for every i in
  /// [0, tasks), in any order and on any threads, and return when all calls have returned.
  ///
  /// @param parallel_for  callable with (Index, batchnorm::Task); referred to, not copied
  /// @param threads       how many calls may run at once. With one, nothing is handed over; the
  ///                      number decides nothing else, least of all how the work is cut
  /// @throws std::invalid_argument when threads is not positive
  template <class ParallelFor>
  static Execution parallel_for(ParallelFor& parallel_for, Index threads) {
    if (threads < 1) {
      detail::fail_argument("Execution::parallel_for", "number of threads", "at least 1",
                            detail::text(threads));
    }
    Execution execution;
    execution.context_ = const_cast<void*>(static_cast<const void*>(&parallel_for));
    execution.run_ = [](void* context, Index tasks, Task task) {
      (*static_cast<ParallelFor*>(context))(tasks, task);
    };
    execution.threads_ = threads;
    return execution;
  }

  /// Eigen::ThreadPool, or any pool with NumThreads() and Schedule(function). The calling thread
  /// works too, so that a call from inside a pool whose workers are all busy still ends. Handing
  /// work to a pool allocates.
  template <class Pool>
  static Execution thread_pool(Pool& pool) {
    Execution execution;
    execution.context_ = &pool;
    execution.run_ = [](void* context, Index tasks, Task task) {
      run_on_pool(*static_cast<Pool*>(context), tasks, task);
    };
    execution.threads_ = pool.NumThreads() + 1;
    return execution;
  }

  /// The same, with the vector instructions limited to an instruction_set. For comparing and for
  /// bit-equal results on different processors; reductions sum in an order that depends on the
  /// vector width. The process as a whole: limit_instruction_set.
  Execution with(InstructionSet instruction_set) const {
    Execution execution = *this;
    execution.instruction_set_ = instruction_set;
    return execution;
  }

  /// The same, by this rank and others at once: train, normalize and backward take the statistics
  /// of the minibatches of all ranks as one; distributed/synchronize.hpp has it. A Synchronize by
  /// itself is an Execution, too. Calls that need no statistics of a minibatch do not exchange any.
  ///
  /// @param layer  a number for the layer, the same on all ranks: those that call different layers
  ///               find out. With 0 for all, layers that are alike may be mistaken for each other
  inline Execution with(Synchronize& synchronize, std::uint64_t layer = 0) const;

  /// The same for another number of the layer, the layer_number().
  Execution with_layer(std::uint64_t layer) const {
    Execution execution = *this;
    execution.layer_ = layer;
    return execution;
  }

  /// Null for calls that concern this rank alone.
  detail::Collective* collective() const { return collective_; }
  /// The number of the layer that with() was given.
  std::uint64_t layer_number() const { return layer_; }

  /// The same for that many elements: too few are done by this thread, with the same instructions.
  /// Measured with OpenMP on two cores of Emerald Rapids: inference on 49 rows of 2048 floats
  /// takes one thread 19 us, and two of them 28, one of which has to be woken; training 32 us
  /// and 45.
  Execution for_elements(Index elements) const {
    return elements < least_shared_elements ? serial().with(instruction_set_) : *this;
  }
  /// Calls with fewer elements than this stay on the calling thread.
  static constexpr Index least_shared_elements = 131072;

  /// How many threads may work at once.
  Index threads() const { return threads_; }
  /// The most that the kernels of a call use.
  InstructionSet instruction_set() const { return instruction_set_; }

  /// Runs body(task) for every task in [0, tasks). The body must not throw.
  template <class Body>
  void for_each(Index tasks, const Body& body) const {
    if (run_ == nullptr || threads_ == 1 || tasks == 1) {
      for (Index task = 0; task < tasks; ++task) body(task);
    } else {
      run_(context_, tasks, Task(body));
    }
  }

 private:
  /// Shared by the caller and the pool's workers. A worker that comes late finds nothing to do and
  /// touches nothing but this, which it owns a share of.
  struct Progress {
    Progress(Index count, Task work) : tasks(count), task(work) {}
    void help() {
      for (Index i = next++; i < tasks; i = next++) {
        task(i);
        const std::lock_guard<std::mutex> lock(mutex);
        if (++finished == tasks) all_done.notify_all();
      }
    }
    void wait() {
      std::unique_lock<std::mutex> lock(mutex);
      all_done.wait(lock, [this] { return finished == tasks; });
    }
    const Index tasks;
    const Task task;
    std::atomic<Index> next{0};
    Index finished = 0;
    std::mutex mutex;
    std::condition_variable all_done;
  };

  template <class Pool>
  static void run_on_pool(Pool& pool, Index tasks, Task task) {
    const auto progress = std::make_shared<Progress>(tasks, task);
    const Index workers = static_cast<Index>(pool.NumThreads());
    for (Index worker = 0; worker < workers && worker < tasks - 1; ++worker) {
      pool.Schedule([progress] { progress->help(); });
    }
    progress->help();
    progress->wait();
  }

  void* context_ = nullptr;
  void (*run_)(void*, Index, Task) = nullptr;
  Index threads_ = 1;
  InstructionSet instruction_set_ = InstructionSet::best;
  detail::Collective* collective_ = nullptr;
  std::uint64_t layer_ = 0;
};

namespace detail {
/// Tells an Execution, or a Synchronize, from an output, where a call takes either.
template <class A>
inline constexpr bool is_execution = std::is_same<std::decay_t<A>, Execution>::value ||
                                     std::is_base_of<Collective, std::decay_t<A>>::value;
}  // namespace detail

#if defined(_OPENMP)
/// OpenMP, with as many threads as Eigen uses (Eigen::setNbThreads). Only there in translation
/// units that are compiled with OpenMP.
inline Execution openmp() {
  static const auto parallel_for = [](Index tasks, Task task) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(Eigen::nbThreads())
    for (Index i = 0; i < tasks; ++i) task(i);
  };
  return Execution::parallel_for(parallel_for, Eigen::nbThreads());
}
#endif

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_EXECUTION_HPP
