// SPDX-License-Identifier: MIT
// Runs the compiler that this program was built with.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <regex>
#include <string>
#include <vector>

#if defined(__unix__)
#include <sys/resource.h>
#endif

#include "benchmarks/sections.hpp"
#include "benchmarks/table.hpp"

namespace batchnorm_benchmarks {
namespace {

namespace fs = std::filesystem;

/// A folder for what is compiled, removed at the end.
class WorkFolder {
 public:
  WorkFolder() : path_(fs::temp_directory_path() / unique_name()) { fs::create_directory(path_); }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;
  ~WorkFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  fs::path file(const std::string& name) const { return path_ / name; }

 private:
  static std::string unique_name() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
    return "batchnorm_benchmarks_" + std::to_string(now);
  }
  fs::path path_;
};

std::string quoted(const fs::path& path) {
  return "\"" + path.string() + "\"";
}

/// What processes that were waited for have worked, in seconds: it depends little on what else
/// runs.
double worked_by_children() {
#if defined(__unix__)
  rusage used{};
  getrusage(RUSAGE_CHILDREN, &used);
  return static_cast<double>(used.ru_utime.tv_sec) +
         1e-6 * static_cast<double>(used.ru_utime.tv_usec);
#else
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
#endif
}

/// Compiles some of programs/ with -O2, unless `flags` say otherwise. Seconds of the compiler, or 0
/// when it failed.
double compile(const std::vector<std::string>& names, const std::string& flags,
               const fs::path& to) {
  std::string command = quoted(BATCHNORM_BENCHMARK_COMPILER) + " -std=c++17 -O2 " +
                        BATCHNORM_BENCHMARK_INCLUDES + " " + flags + " -o " + quoted(to);
  for (const std::string& name : names) {
    command += " " + quoted(fs::path(BATCHNORM_BENCHMARK_PROGRAMS) / (name + ".cpp"));
  }
  const double before = worked_by_children();
  if (std::system(command.c_str()) != 0) return 0.0;
  return worked_by_children() - before;
}

/// One file, compiled with -O2 and with -O0.
struct Cost {
  const char* what;
  const char* program;
  const char* flags;
  std::array<double, 2> seconds;
};

/// The fastest of some rounds each, in turn: a machine that slows down slows all of them down.
bool measure(const WorkFolder& folder, std::vector<Cost>& costs) {
  constexpr std::array<const char*, 2> levels = {"-O2", "-O0"};
  for (Cost& cost : costs) cost.seconds.fill(std::numeric_limits<double>::infinity());
  for (int round = 0; round < 3; ++round) {
    for (Cost& cost : costs) {
      for (std::size_t level = 0; level < levels.size(); ++level) {
        const std::string flags = std::string(levels[level]) + " -c " + cost.flags;
        const double seconds = compile({cost.program}, flags, folder.file("measured.o"));
        if (seconds <= 0.0) return false;
        cost.seconds[level] = (std::min)(cost.seconds[level], seconds);
      }
    }
  }
  return true;
}

/// What users wait for, beside what they would write without this library.
std::string compile_times(const WorkFolder& folder, Facts& facts) {
  std::vector<Cost> costs = {
      {"train, backward and freeze", "training", "", {}},
      {"the same with batchnorm::compiled", "training", "-include batchnorm/compiled.hpp", {}},
      {"ten lines of Eigen", "ten_lines_of_eigen", "", {}},
      {"FrozenBatchNorm alone", "inference", "", {}},
      {"the umbrella alone", "only_umbrella", "", {}},
      {"<Eigen/Core> alone", "only_eigen", "", {}}};
  if (!measure(folder, costs)) return "compile times: cannot compile\n";
  std::string text;
  const auto add = [&](const std::string& what, double optimised, double plain,
                       const std::string& unit) {
    const std::string numbers =
        digits(optimised) + unit + " at -O2, " + digits(plain) + unit + " at -O0";
    facts.emplace_back("compile time, " + what, numbers);
    text += "compile time, " + what + ": " + numbers + "\n";
  };
  for (const Cost& cost : costs) add(cost.what, cost.seconds[0], cost.seconds[1], " s");
  const auto over = [&](std::size_t ours, std::size_t other, const std::string& what) {
    add(what, costs[ours].seconds[0] / costs[other].seconds[0],
        costs[ours].seconds[1] / costs[other].seconds[1], " times");
  };
  over(0, 2, "train, backward and freeze over ten lines of Eigen");
  over(1, 2, "the same with batchnorm::compiled over them");
  over(3, 2, "FrozenBatchNorm over them");
  over(4, 5, "umbrella over <Eigen/Core>");
  return text;
}

/// How much machine code is there once per instruction set, from the symbols of training.cpp.
std::string functions_per_set(const WorkFolder& folder, Facts& facts) {
  const fs::path object = folder.file("training.o"), list = folder.file("symbols");
  const std::string command = "nm -C " + quoted(object) + " >" + quoted(list);
  if (compile({"training"}, "-c", object) <= 0.0 || std::system(command.c_str()) != 0) {
    return "functions with their own instruction set: cannot list them\n";
  }
  const std::regex wanted(" W .*run_(avx512|avx2|avx2_unfused|baseline)<");
  std::ifstream symbols(list);
  int count = 0;
  for (std::string line; std::getline(symbols, line);) count += std::regex_search(line, wanted);
  facts.emplace_back("functions with their own instruction set", std::to_string(count));
  return "functions with their own instruction set, of train, backward and freeze: " +
         std::to_string(count) + "\n";
}

/// Bytes of the stripped program, or 0 when it could not be built.
std::uintmax_t program_size(const WorkFolder& folder, const std::vector<std::string>& names) {
  const fs::path program = folder.file(names.front());
  if (compile(names, "-s", program) <= 0.0) return 0;
  return fs::file_size(program);
}

std::string added_size(const WorkFolder& folder, Facts& facts, const std::string& what,
                       const std::vector<std::string>& with, const std::string& without) {
  const std::uintmax_t large = program_size(folder, with);
  const std::uintmax_t small = program_size(folder, {without});
  if (large == 0 || small == 0) return "size of a program: cannot compile\n";
  const std::string text = std::to_string(large) + " bytes, without the layer " +
                           std::to_string(small) + ": " + std::to_string(large - small) + " more";
  facts.emplace_back("stripped program with one layer that " + what, text);
  return "stripped program with one layer that " + what + ": " + text + "\n";
}

}  // namespace

std::string build_cost_section(Facts& facts) {
  const WorkFolder folder;
  std::string text = compile_times(folder, facts);
  text += functions_per_set(folder, facts);
  text += added_size(folder, facts, "infers", {"inference"}, "without_inference");
  text += added_size(folder, facts, "trains", {"trained", "training"}, "without_training");
  return text;
}

}  // namespace batchnorm_benchmarks
