// SPDX-License-Identifier: MIT
// Single calls of the inference path, each timed by itself.
#include <batchnorm/batchnorm.hpp>
#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "benchmarks/sections.hpp"
#include "benchmarks/statistics.hpp"
#include "benchmarks/table.hpp"

namespace batchnorm_benchmarks {
namespace {

constexpr std::size_t calls = 200'000;

template <class Body>
std::vector<double> seconds_of_calls(const Body& body) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> seconds(calls);
  for (double& time : seconds) {
    const Clock::time_point start = Clock::now();
    body();
    time = std::chrono::duration<double>(Clock::now() - start).count();
  }
  return seconds;
}

}  // namespace

std::string latency_section(Facts& facts) {
  // The clock's own time is measured and taken off.
  const double clock = median(seconds_of_calls([] {}));
  Table table({"one frozen example, f32", "p50", "p99", "p99.9"});
  for (const Eigen::Index channels : {64, 512}) {
    batchnorm::BatchNorm<float> layer(channels);
    const Eigen::MatrixXf in = Eigen::MatrixXf::Random(channels, 32);
    layer.train(in);
    const batchnorm::FrozenBatchNorm<float> frozen = layer.freeze();
    const Eigen::VectorXf example = in.col(0);
    Eigen::VectorXf out(channels);
    const std::vector<double> seconds = seconds_of_calls([&] { frozen(example, out); });
    const std::string name = "(1," + std::to_string(channels) + ")";
    Table::Line line = {name};
    for (const double share : {0.5, 0.99, 0.999}) {
      line.push_back(duration((std::max)(0.0, quantile(seconds, share) - clock)));
    }
    facts.emplace_back("latency " + name + " p50, p99, p99.9",
                       line[1] + ", " + line[2] + ", " + line[3]);
    table.add(line);
  }
  return table.text() + "(" + std::to_string(calls) + " calls; the clock's " + duration(clock) +
         " are taken off)\n";
}

}  // namespace batchnorm_benchmarks
