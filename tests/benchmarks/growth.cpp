// SPDX-License-Identifier: MIT
// That cost grows as it should: linearly in examples and in channels.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "benchmarks/buffers.hpp"
#include "benchmarks/measure.hpp"
#include "benchmarks/sections.hpp"
#include "benchmarks/streams.hpp"
#include "benchmarks/table.hpp"
#include "benchmarks/threads.hpp"

namespace batchnorm_benchmarks {
namespace {

constexpr std::int64_t fixed_count = 16;
constexpr std::int64_t largest_count = 1'000'000;

/// Seconds per element of copying, then of the three kinds of work.
std::vector<double> per_element(const Contender& ours, const Buffers& buffers, const Shape& shape,
                                int threads) {
  std::vector<std::unique_ptr<Problem>> problems;
  std::vector<std::unique_ptr<Runner>> runners;
  std::vector<Timed> functions;
  for (const Work work : {Work::infer, Work::train, Work::backward}) {
    problems.push_back(
        std::make_unique<Problem>(buffers.problem({work, shape, Element::f32, threads})));
    runners.push_back(ours.prepare(*problems.back()));
    functions.push_back({name_of(work), [runner = runners.back().get()] { runner->run(); }});
  }
  for (const Way& way : ways_of(*problems[0])) {
    if (way.stream == Stream::copy) functions.push_back({way.name, way.run});
  }
  const std::vector<std::vector<double>> seconds = time_interleaved(functions, {5, 0.002});
  std::vector<double> times = {median(seconds[3]), median(seconds[0]), median(seconds[1]),
                               median(seconds[2])};
  for (std::size_t i = 4; i < seconds.size(); ++i) {
    times[0] = (std::min)(times[0], median(seconds[i]));
  }
  for (double& time : times) time /= static_cast<double>(shape.elements());
  return times;
}

}  // namespace

std::string growth_section() {
  const std::unique_ptr<Contender> ours = make_ours();
  const Buffers buffers(Element::f32, static_cast<std::size_t>(fixed_count * largest_count));
  Table table({"ns per element, f32", "copy 1t", "infer 1t", "train 1t", "backward 1t", "copy 2t",
               "infer 2t", "train 2t", "backward 2t"});
  const auto add = [&](const std::string& name, const Shape& shape) {
    Table::Line line = {name};
    for (int threads = 1; threads <= most_threads(); ++threads) {
      for (const double time : per_element(*ours, buffers, shape, threads)) {
        line.push_back(digits(time * 1e9));
      }
    }
    table.add(line);
  };
  for (std::int64_t count = 100; count <= largest_count; count *= 10) {
    add(std::to_string(count) + " examples of 16 channels",
        {Layout::rows, count, fixed_count, 1, 1});
  }
  for (std::int64_t count = 100; count <= largest_count; count *= 10) {
    add("16 examples of " + std::to_string(count) + " channels",
        {Layout::rows, fixed_count, count, 1, 1});
  }
  return table.text();
}

}  // namespace batchnorm_benchmarks
