// SPDX-License-Identifier: MIT
#include "benchmarks/measure.hpp"

#include <benchmark/benchmark.h>

#include <cmath>
#include <cstddef>
#include <cstring>
#include <map>

#include "benchmarks/facts.hpp"
#include "benchmarks/reference.hpp"
#include "benchmarks/streams.hpp"

namespace batchnorm_benchmarks {
namespace {

/// Prints nothing, keeps the time per call of every repetition.
class Collector : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      if (run.run_type != Run::RT_Iteration || run.iterations == 0) continue;
      seconds[run.run_name.function_name].push_back(run.real_accumulated_time /
                                                    static_cast<double>(run.iterations));
    }
  }
  std::map<std::string, std::vector<double>> seconds;
};

/// A contender whose answer is right.
struct Ready {
  std::string name;
  std::unique_ptr<Runner> runner;
  double error;
};

/// The error of the second of two runs, because the second is what is timed. What the output held
/// before is spoilt first, so that nobody passes with another's answer. NaN stays.
double largest_error(const Problem& problem, const Reference& reference, Runner& runner) {
  std::memset(problem.out, 0x7f, static_cast<std::size_t>(bytes(problem.row)));
  runner.run();
  runner.run();
  const double error = reference.error(runner.result());
  const double gradient_error = reference.gradient_error(runner.parameter_gradients());
  return std::isnan(error) || gradient_error <= error ? error : gradient_error;
}

std::vector<Ready> ready_contenders(const Problem& problem, const Contender& ours,
                                    MeasuredRow& row) {
  const Reference reference(problem);
  std::vector<Ready> ready;
  const auto add = [&](const Contender& contender) {
    std::unique_ptr<Runner> runner = contender.prepare(problem);
    if (runner == nullptr) return false;
    const double error = largest_error(problem, reference, *runner);
    const double allowed = tolerance(problem.row.element);
    const bool right = error <= allowed;
    if (right) {
      ready.push_back({contender.name(), std::move(runner), error});
    } else {
      row.left_out.push_back(name_of(problem.row) + ": " + contender.name() +
                             " differs from the naive answer by " + digits(error) + ", allowed " +
                             digits(allowed));
    }
    return right;
  };
  if (!add(ours)) {
    row.ours_is_wrong = !row.left_out.empty();
    return {};
  }
  for (const auto& rival : rivals()) add(*rival);
  return ready;
}

Streams best_streams(const std::vector<Way>& ways,
                     const std::vector<std::vector<double>>& seconds) {
  std::map<Stream, double> best;
  for (std::size_t i = 0; i < ways.size(); ++i) {
    const double time = median(seconds[i]);
    const auto known = best.find(ways[i].stream);
    if (known == best.end() || time < known->second) best[ways[i].stream] = time;
  }
  return {best[Stream::copy], best[Stream::read], best[Stream::triad]};
}

}  // namespace

void prepare_google_benchmark() {
  char program[] = "benchmarks";
  char interleaved[] = "--benchmark_enable_random_interleaving=true";
  char* arguments[] = {program, interleaved, nullptr};
  int count = 2;
  benchmark::Initialize(&count, arguments);
}

std::vector<std::vector<double>> time_interleaved(const std::vector<Timed>& functions,
                                                  const Effort& effort) {
  benchmark::ClearRegisteredBenchmarks();
  for (const Timed& timed : functions) {
    benchmark::RegisterBenchmark(timed.name.c_str(),
                                 [&timed](benchmark::State& state) {
                                   for (auto _ : state) timed.run();
                                 })
        ->Repetitions(effort.repetitions)
        ->MinTime(effort.seconds_per_repetition)
        ->UseRealTime();
  }
  Collector collector;
  benchmark::RunSpecifiedBenchmarks(&collector, std::string("all"));
  benchmark::ClearRegisteredBenchmarks();
  std::vector<std::vector<double>> seconds;
  seconds.reserve(functions.size());
  for (const Timed& timed : functions) seconds.push_back(collector.seconds[timed.name]);
  return seconds;
}

MeasuredRow measure_row(const Problem& problem, const Contender& ours, const Effort& effort) {
  MeasuredRow row;
  row.result.row = problem.row;
  const std::vector<Ready> ready = ready_contenders(problem, ours, row);
  if (ready.empty()) return row;
  const std::vector<Way> ways = ways_of(problem);
  std::vector<Timed> functions;
  for (const Way& way : ways) functions.push_back({way.name, way.run});
  for (const Ready& one : ready) {
    functions.push_back({one.name, [runner = one.runner.get()] { runner->run(); }});
  }
  const std::vector<std::vector<double>> seconds = time_interleaved(functions, effort);
  row.result.streams = best_streams(ways, seconds);
  row.result.limit_seconds = limit(problem.row, row.result.streams, level_2_cache_bytes());
  for (std::size_t i = 0; i < ready.size(); ++i) {
    const Timing timing = timing_of(seconds[ways.size() + i]);
    if (i == 0) {
      row.result.ours = timing;
      row.result.error = ready[i].error;
    } else {
      row.result.rivals.push_back({ready[i].name, timing, ready[i].error});
    }
  }
  row.measured = true;
  return row;
}

}  // namespace batchnorm_benchmarks
