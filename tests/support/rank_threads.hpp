// SPDX-License-Identifier: MIT
// Ranks that are threads of one process: an exchange through memory that they share, and a runner.
#ifndef BATCHNORM_TESTS_SUPPORT_RANK_THREADS_HPP
#define BATCHNORM_TESTS_SUPPORT_RANK_THREADS_HPP

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstring>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "batchnorm/distributed/synchronize.hpp"

namespace batchnorm_test {

/// Where the messages of all ranks meet.
class Meeting {
 public:
  explicit Meeting(int ranks) : ranks_(static_cast<std::size_t>(ranks)) {}

  /// @throws std::runtime_error when not all ranks have come within `patience`
  void gather(int rank, const void* mine, std::size_t bytes, void* all,
              std::chrono::milliseconds patience) {
    if (bytes == 0) throw std::logic_error("an exchange of nothing");
    std::unique_lock<std::mutex> lock(mutex_);
    if (arrived_ == 0) messages_.assign(bytes * ranks_, 0);
    if (messages_.size() != bytes * ranks_) throw std::logic_error("messages of unequal lengths");
    std::memcpy(messages_.data() + bytes * static_cast<std::size_t>(rank), mine, bytes);
    const std::size_t round = rounds_;
    if (++arrived_ == ranks_) {
      arrived_ = 0;
      ++rounds_;
      complete_ = messages_;
      all_here_.notify_all();
    } else if (!all_here_.wait_for(lock, patience, [&] { return rounds_ != round; })) {
      throw std::runtime_error("a rank did not come");
    }
    std::memcpy(all, complete_.data(), complete_.size());
  }

  std::size_t ranks() const { return ranks_; }

 private:
  std::size_t ranks_;
  std::size_t arrived_ = 0;
  std::size_t rounds_ = 0;
  std::vector<unsigned char> messages_, complete_;
  std::mutex mutex_;
  std::condition_variable all_here_;
};

/// What a rank hands to Synchronize.
class ThreadExchange {
 public:
  ThreadExchange(Meeting& meeting, int rank,
                 std::chrono::milliseconds patience = std::chrono::seconds(60))
      : meeting_(meeting), rank_(rank), patience_(patience) {}

  void operator()(const void* mine, std::size_t bytes, void* all) const {
    meeting_.gather(rank_, mine, bytes, all, patience_);
  }
  std::size_t ranks() const { return meeting_.ranks(); }

 private:
  Meeting& meeting_;
  int rank_;
  std::chrono::milliseconds patience_;
};

/// The same for exchanges that can sum: in the order of the ranks.
class SummingExchange : public ThreadExchange {
 public:
  using ThreadExchange::ThreadExchange;

  void sum(const double* mine, std::size_t n, double* all) {
    ++sums;
    std::vector<double> parts(n * ranks());
    (*this)(mine, n * sizeof(double), parts.data());
    for (std::size_t i = 0; i < n; ++i) {
      all[i] = 0.0;
      for (std::size_t part = i; part < parts.size(); part += n) all[i] += parts[part];
    }
  }

  int sums = 0;  ///< calls of it
};

/// Runs body(rank) for every rank at once.
/// @return what each of them failed with; empty where it did not
template <class Body>
std::vector<std::string> run_ranks(int ranks, const Body& body) {
  std::vector<std::string> errors(static_cast<std::size_t>(ranks));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        body(rank);
      } catch (const std::exception& error) {
        errors[static_cast<std::size_t>(rank)] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return errors;
}

/// The same of body(rank, together): ranks that make their calls as one.
template <class Exchange = ThreadExchange, class Body>
std::vector<std::string> run_together(int ranks, const batchnorm::SynchronizeOptions& options,
                                      const Body& body) {
  Meeting meeting(ranks);
  return run_ranks(ranks, [&](int rank) {
    Exchange exchange(meeting, rank);
    batchnorm::Synchronize together(exchange, rank, ranks, options);
    body(rank, together);
  });
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_RANK_THREADS_HPP
