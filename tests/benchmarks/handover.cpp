// SPDX-License-Identifier: MIT
// Where results are left: the next layer reads what this one has written, so a result that was
// written past the cache in less time may cost more in the end.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "benchmarks/buffers.hpp"
#include "benchmarks/measure.hpp"
#include "benchmarks/sections.hpp"
#include "benchmarks/streams.hpp"
#include "benchmarks/table.hpp"
#include "benchmarks/threads.hpp"

namespace batchnorm_benchmarks {
namespace {

constexpr std::int64_t columns = 1024;
constexpr std::int64_t largest_result = 64 * mebibyte;
constexpr std::int64_t result_in_facts = 4 * mebibyte;

std::function<void()> way_named(const Problem& problem, const std::string& name) {
  for (const Way& way : ways_of(problem)) {
    if (way.name == name) return way.run;
  }
  return {};
}

struct Handover {
  double cached = 0.0;      ///< seconds of copying through the cache, and then reading the copy
  double past_cache = 0.0;  ///< of copying past it; 0 where that cannot be done
  double ours = 0.0;        ///< of inference, and then reading its result
};

Handover hand_over(const Contender& ours, const Buffers& buffers, std::int64_t bytes) {
  const Shape shape = {Layout::rows, bytes / (columns * 4), columns, 1, 1};
  const Problem problem = buffers.problem({Work::infer, shape, Element::f32, 1});
  Problem next = problem;
  next.in = problem.out;
  auto read = way_named(next, "read@1");
  const std::unique_ptr<Runner> runner = ours.prepare(problem);

  std::vector<Timed> functions;
  const auto add = [&](const std::string& name, const std::function<void()>& write) {
    functions.push_back({name, [write, read] {
                           write();
                           read();
                         }});
  };
  add("infer, read", [&] { runner->run(); });
  auto cached = way_named(problem, "copy@1");
  if (!cached) cached = way_named(problem, "memcpy@1");
  add("copy, read", cached);
  const auto past_cache = way_named(problem, "copy, non-temporal@1");
  if (past_cache) add("copy past the cache, read", past_cache);

  const std::vector<std::vector<double>> seconds = time_interleaved(functions, {5, 0.005});
  return {median(seconds[1]), past_cache ? median(seconds[2]) : 0.0, median(seconds[0])};
}

}  // namespace

std::string handover_section(Facts& facts) {
  use_threads(1);
  const std::unique_ptr<Contender> ours = make_ours();
  const Buffers buffers(Element::f32, static_cast<std::size_t>(largest_result / 4));
  Table table({"a result, written and then read, f32 1t", "copied through the cache",
               "copied past the cache", "inferred"});
  for (std::int64_t bytes = mebibyte; bytes <= largest_result; bytes *= 2) {
    const Handover times = hand_over(*ours, buffers, bytes);
    const Table::Line line = {std::to_string(bytes / mebibyte) + " MiB", duration(times.cached),
                              times.past_cache > 0.0 ? duration(times.past_cache) : "",
                              duration(times.ours)};
    if (bytes == result_in_facts) {
      facts.emplace_back(line[0] + " copied through the cache, past it, inferred, each then read",
                         line[1] + ", " + line[2] + ", " + line[3]);
    }
    table.add(line);
  }
  return table.text();
}

}  // namespace batchnorm_benchmarks
