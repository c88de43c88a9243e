// SPDX-License-Identifier: MIT
#include "benchmarks/facts.hpp"

#include <unistd.h>

#include <Eigen/Core>
#include <chrono>
#include <cstdint>
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

/// Ticks that the cores have been at work, for this system or for others on the same machine, and
/// all ticks.
struct CoreTime {
  double busy = 0.0;
  double all = 0.0;
};

CoreTime core_time() {
  std::ifstream file("/proc/stat");
  std::string name;
  file >> name;
  CoreTime time;
  // user, nice, system, idle, iowait, irq, softirq, steal
  for (int kind = 0; kind < 8; ++kind) {
    double ticks = 0.0;
    file >> ticks;
    time.all += ticks;
    if (kind != 3 && kind != 4) time.busy += ticks;
  }
  return time;
}

/// How many cores others kept busy while this program waited a second: where there are some, times
/// mean little. Not the load average, in which the building of this program is still to be seen.
std::string load() {
  const CoreTime before = core_time();
  std::this_thread::sleep_for(std::chrono::seconds(1));
  const CoreTime after = core_time();
  if (!(after.all > before.all)) return "unknown";
  const double busy = (after.busy - before.busy) / (after.all - before.all) *
                      static_cast<double>(std::thread::hardware_concurrency());
  return ratio(busy) + (busy < 0.2 ? "" : ", BUSY: the times of this run mean little");
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

Facts facts_of_build(const Contender& ours) {
  Facts facts = {{"date", today()},
                 {"processor", processor() + ", " +
                                   std::to_string(std::thread::hardware_concurrency()) + " cores"},
                 {"compiler", compiler() + " " + BATCHNORM_BENCHMARK_FLAGS},
                 {"batchnorm", ours.version()}};
  for (const auto& rival : rivals()) facts.emplace_back(rival->name(), rival->version());
  return facts;
}

Facts facts_of_this_run(const Contender& ours) {
  Facts facts = facts_of_build(ours);
  facts.insert(facts.begin() + 2, {{"level 2 cache", kibibytes(level_2_cache_bytes())},
                                   {"load before the run", load()}});
  return facts;
}

}  // namespace batchnorm_benchmarks
