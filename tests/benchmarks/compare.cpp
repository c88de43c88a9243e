// SPDX-License-Identifier: MIT
// Compares this library at two commits: both as shared libraries in this process, where all rows
// are run by turns, with the first library loaded twice to show the noise.
//
//   benchmarks_compare BEFORE.so NOW.so [--filter=TEXT] [--seconds=N] [--smoke]
#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "benchmarks/buffers.hpp"
#include "benchmarks/comparison.hpp"
#include "benchmarks/reference.hpp"
#include "benchmarks/rows.hpp"
#include "benchmarks/side.hpp"
#include "benchmarks/threads.hpp"

namespace batchnorm_benchmarks {
namespace {

struct Settings {
  std::string before, now, filter;
  double seconds = 0.3;  ///< for each row
  bool smoke = false;
  bool wrong = false;
};

Settings parse(int count, char** values) {
  Settings settings;
  std::vector<std::string> files;
  for (int i = 1; i < count; ++i) {
    const std::string argument = values[i];
    if (argument.compare(0, 9, "--filter=") == 0) {
      settings.filter = argument.substr(9);
    } else if (argument.compare(0, 10, "--seconds=") == 0) {
      settings.seconds = std::atof(argument.c_str() + 10);
      settings.wrong = settings.wrong || settings.seconds <= 0.0;
    } else if (argument == "--smoke") {
      settings.smoke = true;
      settings.seconds = 1e-3;
    } else {
      settings.wrong = settings.wrong || argument[0] == '-';
      files.push_back(argument);
    }
  }
  settings.wrong = settings.wrong || files.size() != 2;
  if (settings.wrong) return settings;
  settings.before = files[0];
  settings.now = files[1];
  return settings;
}

/// One commit. Each has everything for itself, but for the libraries that it shares with this
/// program; the second copy of a file, too, because the loader knows files that it has loaded.
class Side {
 public:
  explicit Side(const std::string& file)
      : handle_(dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND)) {
    if (handle_ == nullptr) {
      std::printf("%s\n", dlerror());
      std::exit(2);
    }
    find(prepare, "batchnorm_side_prepare");
    find(run, "batchnorm_side_run");
    find(release, "batchnorm_side_release");
  }

  decltype(&batchnorm_side_prepare) prepare = nullptr;
  decltype(&batchnorm_side_run) run = nullptr;
  decltype(&batchnorm_side_release) release = nullptr;

 private:
  template <class Function>
  void find(Function& function, const char* name) {
    void* const symbol = dlsym(handle_, name);
    if (symbol == nullptr) {
      std::printf("%s\n", dlerror());
      std::exit(2);
    }
    std::memcpy(&function, &symbol, sizeof function);
  }

  void* handle_;
};

/// A side that is ready for a row.
class Prepared {
 public:
  Prepared(const Side& side, const SideProblem& problem)
      : side_(side), prepared_(side.prepare(&problem)) {}
  Prepared(const Prepared&) = delete;
  Prepared& operator=(const Prepared&) = delete;
  ~Prepared() {
    if (prepared_ != nullptr) side_.release(prepared_);
  }
  bool is_there() const { return prepared_ != nullptr; }
  void run() const { side_.run(prepared_); }

 private:
  const Side& side_;
  void* prepared_;
};

SideProblem side_problem(const Problem& problem, const std::string& name, int threads) {
  const auto table = [](const std::vector<double>& numbers) {
    return numbers.empty() ? nullptr : numbers.data();
  };
  return {name.c_str(),
          threads,
          problem.in,
          problem.residual,
          problem.out,
          problem.gamma.size(),
          table(problem.gamma),
          table(problem.beta),
          table(problem.running_mean),
          table(problem.running_variance),
          table(problem.batch_mean),
          table(problem.batch_variance)};
}

/// What the output held before is spoilt first, so that none passes with another's answer.
bool is_right(const Problem& problem, const Reference& reference, const Prepared& side) {
  std::memset(problem.out, 0x7f, static_cast<std::size_t>(bytes(problem.row)));
  side.run();
  return reference.error(problem.out) <= tolerance(problem.row.element);
}

double seconds_of(const Prepared& side, int calls) {
  const auto start = std::chrono::steady_clock::now();
  for (int call = 0; call < calls; ++call) side.run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / calls;
}

/// Rounds in which every side is timed once, beginning with another one each time.
Rounds measure(const std::array<const Prepared*, 3>& sides, double seconds) {
  constexpr double shortest = 5e-4;  // of a timing: far more than the clock's steps
  const double one_call = seconds_of(*sides[0], 1);
  const int calls = static_cast<int>((std::max)(1.0, shortest / (one_call + 1e-9)));
  std::array<std::vector<double>, 3> times;
  double spent = 0.0;
  for (std::size_t round = 0; round < 5 || (spent < seconds && round < 3000); ++round) {
    for (std::size_t turn = 0; turn < sides.size(); ++turn) {
      const std::size_t side = (round + turn) % sides.size();
      times[side].push_back(seconds_of(*sides[side], calls));
      spent += times[side].back() * calls;
    }
  }
  return {times[0], times[1], times[2]};
}

/// The same file under another name.
std::string copied(const std::string& file) {
  const std::string copy = file + ".again";
  std::filesystem::copy_file(file, copy, std::filesystem::copy_options::overwrite_existing);
  return copy;
}

std::vector<Row> chosen_rows(const Settings& settings) {
  std::vector<Row> rows;
  for (const Row& row : all_rows(most_threads())) {
    const bool wanted = name_of(row).find(settings.filter) != std::string::npos;
    if (wanted && (!settings.smoke || is_smoke(row))) rows.push_back(row);
  }
  return rows;
}

int run(const Settings& settings) {
  const Side before(settings.before), now(settings.now), again(copied(settings.before));
  const std::vector<Row> rows = chosen_rows(settings);
  std::vector<Compared> all;
  std::unique_ptr<Buffers> buffers;
  bool wrong = false;
  for (const Row& row : rows) {
    if (buffers == nullptr || !buffers->serve(row)) {
      buffers.reset();  // before the new memory is taken
      buffers = std::make_unique<Buffers>(row.element, most_elements(rows, row.element));
    }
    const std::string name = name_of(row);
    const Problem problem = buffers->problem(row);
    const SideProblem plain = side_problem(problem, name, most_threads());
    const Prepared first(before, plain), second(now, plain), third(again, plain);
    if (!first.is_there() || !second.is_there()) {
      std::printf("left out, as not both have it: %s\n", name.c_str());
      continue;
    }
    const Reference reference(problem);
    if (!is_right(problem, reference, first) || !is_right(problem, reference, second)) {
      std::printf("left out, for a wrong answer: %s\n", name.c_str());
      wrong = true;
      continue;
    }
    all.push_back(compared(row, measure({&first, &second, &third}, settings.seconds)));
    std::fprintf(stderr, "%s: %s\n", name.c_str(), digits(all.back().change).c_str());
  }
  std::printf("%s", comparison(all).c_str());
  if (wrong || all.empty()) return 2;
  return settings.smoke || slower_rows(all).empty() ? 0 : 1;
}

}  // namespace
}  // namespace batchnorm_benchmarks

int main(int count, char** values) {
  const batchnorm_benchmarks::Settings settings = batchnorm_benchmarks::parse(count, values);
  if (settings.wrong) {
    std::printf(
        "usage: benchmarks_compare BEFORE.so NOW.so [--filter=TEXT] [--seconds=N] [--smoke]\n");
    return 2;
  }
  return batchnorm_benchmarks::run(settings);
}
