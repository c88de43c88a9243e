// SPDX-License-Identifier: MIT
// Ranks that are processes: an exchange through pipes, with rank 0 in the middle.
#ifndef BATCHNORM_TESTS_SUPPORT_RANK_PIPES_HPP
#define BATCHNORM_TESTS_SUPPORT_RANK_PIPES_HPP

#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <vector>

namespace batchnorm_test {

/// One direction.
class Pipe {
 public:
  Pipe() {
    if (pipe(ends_) != 0) throw std::runtime_error("no pipe");
  }
  void write_all(const void* from, std::size_t bytes) const {
    const char* next = static_cast<const char*>(from);
    while (bytes > 0) {
      const ssize_t done = write(ends_[1], next, bytes);
      if (done <= 0) throw std::runtime_error("a pipe takes nothing");
      next += done;
      bytes -= static_cast<std::size_t>(done);
    }
  }
  void read_all(void* to, std::size_t bytes) const {
    char* next = static_cast<char*>(to);
    while (bytes > 0) {
      const ssize_t done = read(ends_[0], next, bytes);
      if (done <= 0) throw std::runtime_error("a pipe gives nothing");
      next += done;
      bytes -= static_cast<std::size_t>(done);
    }
  }

 private:
  int ends_[2];
};

struct PipePair {
  Pipe to_rank_0, from_rank_0;
};

struct PipeExchange {
  const std::vector<PipePair>& pipes;  ///< of all ranks; those of rank 0 are not used
  std::size_t rank;

  void operator()(const void* mine, std::size_t bytes, void* all) const {
    char* const parts = static_cast<char*>(all);
    if (rank != 0) {
      pipes[rank].to_rank_0.write_all(mine, bytes);
      pipes[rank].from_rank_0.read_all(parts, bytes * pipes.size());
      return;
    }
    std::memcpy(parts, mine, bytes);
    for (std::size_t other = 1; other < pipes.size(); ++other) {
      pipes[other].to_rank_0.read_all(parts + other * bytes, bytes);
    }
    for (std::size_t other = 1; other < pipes.size(); ++other) {
      pipes[other].from_rank_0.write_all(parts, bytes * pipes.size());
    }
  }
};

/// Runs body(rank, pipes) in a process of its own for every rank but 0, which is this one. A body
/// returns whether all went well.
template <class Body>
bool run_processes(std::size_t ranks, const Body& body) {
  const std::vector<PipePair> pipes(ranks);
  std::vector<pid_t> children;
  for (std::size_t rank = 1; rank < ranks; ++rank) {
    const pid_t child = fork();
    if (child < 0) throw std::runtime_error("no process");
    if (child == 0) {
      alarm(60);  // ends a child that waits for a rank that has failed
      bool good = false;
      try {
        good = body(rank, pipes);
      } catch (...) {
      }
      _exit(good ? 0 : 1);
    }
    children.push_back(child);
  }
  bool good = body(std::size_t{0}, pipes);
  for (const pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    good = good && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }
  return good;
}

}  // namespace batchnorm_test

#endif  // BATCHNORM_TESTS_SUPPORT_RANK_PIPES_HPP
