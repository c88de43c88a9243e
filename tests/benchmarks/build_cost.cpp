// SPDX-License-Identifier: MIT
// Runs the compiler that this program was built with.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <string>

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

/// Compiles one of programs/ with -O2, unless `flags` say otherwise. Seconds, or 0 when it failed.
double compile(const std::string& name, const std::string& flags, const fs::path& to) {
  const std::string command = quoted(BATCHNORM_BENCHMARK_COMPILER) + " -std=c++17 -O2 " +
                              BATCHNORM_BENCHMARK_INCLUDES + " " + flags + " " +
                              quoted(fs::path(BATCHNORM_BENCHMARK_PROGRAMS) / (name + ".cpp")) +
                              " -o " + quoted(to);
  const auto start = std::chrono::steady_clock::now();
  if (std::system(command.c_str()) != 0) return 0.0;
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// What users wait for: a file that uses a layer, not one that includes it.
std::string training_time(const WorkFolder& folder, Facts& facts) {
  const double optimised = compile("training", "-c", folder.file("training.o"));
  const double plain = compile("training", "-O0 -c", folder.file("training.o"));
  if (optimised <= 0.0 || plain <= 0.0) return "compile time of training: cannot compile\n";
  const std::string text = digits(optimised) + " s at -O2, " + digits(plain) + " s at -O0";
  facts.emplace_back("compile time of train, backward and freeze", text);
  return "compile time of train, backward and freeze: " + text + "\n";
}

/// The fastest of some rounds each: two medians differ by more than what is looked for when the
/// machine slows down between them.
std::string including_time(const WorkFolder& folder, Facts& facts) {
  double eigen = std::numeric_limits<double>::infinity();
  double umbrella = eigen;
  for (int round = 0; round < 7; ++round) {
    eigen = (std::min)(eigen, compile("only_eigen", "-c", folder.file("eigen.o")));
    umbrella = (std::min)(umbrella, compile("only_umbrella", "-c", folder.file("umbrella.o")));
    if (eigen <= 0.0 || umbrella <= 0.0) return "time to include: cannot compile\n";
  }
  const std::string text = digits(umbrella) + " s, of which <Eigen/Core> " + digits(eigen) +
                           " s: " + digits(umbrella - eigen) + " s more (bar 0.35)";
  facts.emplace_back("compile time of the include alone", text);
  return "compile time of the include alone: " + text + "\n";
}

/// Bytes of the stripped program, or 0 when it could not be built.
std::uintmax_t program_size(const WorkFolder& folder, const std::string& name) {
  const fs::path program = folder.file(name);
  if (compile(name, "-s", program) <= 0.0) return 0;
  return fs::file_size(program);
}

std::string program_sizes(const WorkFolder& folder, Facts& facts) {
  const std::uintmax_t with = program_size(folder, "inference");
  const std::uintmax_t without = program_size(folder, "without_inference");
  if (with == 0 || without == 0) return "size of an inference program: cannot compile\n";
  const std::string text = std::to_string(with) + " bytes, without the layer " +
                           std::to_string(without) + ": " + std::to_string(with - without) +
                           " more";
  facts.emplace_back("stripped program with one inference layer", text);
  return "stripped program with one inference layer: " + text + "\n";
}

}  // namespace

std::string build_cost_section(Facts& facts) {
  const WorkFolder folder;
  return training_time(folder, facts) + including_time(folder, facts) +
         program_sizes(folder, facts);
}

}  // namespace batchnorm_benchmarks
