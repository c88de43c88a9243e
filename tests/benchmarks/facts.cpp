// SPDX-License-Identifier: MIT
#include "benchmarks/facts.hpp"

#include <unistd.h>

#include <Eigen/Core>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <string>
#include <thread>

#include "benchmarks/table.hpp"

namespace batchnorm_benchmarks {
namespace {

std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.compare(0, 10, "model name") == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown processor";
}

std::string compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#elif defined(__GNUC__)
  return "g++ " __VERSION__;
#else
  return "unknown compiler";
#endif
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d", std::gmtime(&now));
  return text;
}

/// Whether others were at work: then times with several threads mean little.
std::string load() {
  double averages[1] = {0.0};
  if (getloadavg(averages, 1) != 1) return "unknown";
  const std::string number = ratio(averages[0]);
  return averages[0] < 0.5 ? number : number + ", BUSY: the times of this run mean little";
}

std::string kibibytes(std::int64_t bytes) {
  return std::to_string(bytes / 1024) + " KiB";
}

}  // namespace

std::int64_t level_2_cache_bytes() {
#if defined(_SC_LEVEL2_CACHE_SIZE)
  const long size = sysconf(_SC_LEVEL2_CACHE_SIZE);
  if (size > 0) return size;
#endif
  return Eigen::l2CacheSize();
}

Facts facts_of_this_run(const Contender& ours) {
  Facts facts = {{"date", today()},
                 {"processor", processor() + ", " +
                                   std::to_string(std::thread::hardware_concurrency()) + " cores"},
                 {"level 2 cache", kibibytes(level_2_cache_bytes())},
                 {"load before the run", load()},
                 {"compiler", compiler() + " " + BATCHNORM_BENCHMARK_FLAGS},
                 {"batchnorm", ours.version()}};
  for (const auto& rival : rivals()) facts.emplace_back(rival->name(), rival->version());
  return facts;
}

}  // namespace batchnorm_benchmarks
