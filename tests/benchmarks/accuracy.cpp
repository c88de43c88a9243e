// SPDX-License-Identifier: MIT
// How far everybody's mean, variance and output of a training are from the exact ones. Ends with 1
// when this library is further off than it promises, with 2 when there is nothing to measure.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "benchmarks/accuracy_errors.hpp"
#include "benchmarks/accuracy_report.hpp"
#include "benchmarks/accuracy_rows.hpp"
#include "benchmarks/arguments.hpp"
#include "benchmarks/contender.hpp"
#include "benchmarks/exact_batch.hpp"
#include "benchmarks/facts.hpp"
#include "benchmarks/files.hpp"
#include "benchmarks/report.hpp"
#include "benchmarks/threads.hpp"

namespace batchnorm_benchmarks {
namespace {

constexpr const char* accuracy_usage =
    "  --filter=TEXT      only rows whose name contains the text\n"
    "  --results=FOLDER   also write accuracy.json and accuracy.md there\n"
    "  --smoke            three small rows, to see that everything works\n";

/// Another way into a library, which is there to be fast.
bool is_second_way(const std::string& name) {
  return name.back() == '*';
}

void add_cell(AccuracyResult& result, const Contender& contender, const Problem& problem,
              const ExactBatch& batch) {
  const std::unique_ptr<Runner> runner = contender.prepare(problem);
  if (runner == nullptr) return;
  runner->run();
  result.cells.push_back(
      {contender.name(),
       errors_of(runner->batch_statistics(), static_cast<const float*>(runner->result()), batch,
                 shape_of(result.row), static_cast<double>(result.row.offset))});
}

AccuracyResult measure(const AccuracyRow& row, const ExactBatch& batch, const Contender& ours) {
  const Shape shape = shape_of(row);
  const std::vector<float> in = batch.stored(shape, static_cast<double>(row.offset));
  std::vector<float> out(in.size());
  const auto channels = static_cast<std::size_t>(shape.channels);
  const std::vector<double> zeros(channels, 0.0), ones(channels, 1.0);
  Problem problem;
  problem.row = {Work::train, shape, Element::f32, row.threads};
  problem.in = problem.residual = problem.out_gradient = in.data();
  problem.out = out.data();
  problem.gamma = problem.running_variance = problem.batch_variance = ones;
  problem.beta = problem.running_mean = problem.batch_mean = zeros;
  use_threads(row.threads);
  AccuracyResult result;
  result.row = row;
  add_cell(result, ours, problem, batch);
  for (const auto& rival : rivals()) {
    if (!is_second_way(rival->name())) add_cell(result, *rival, problem, batch);
  }
  return result;
}

AccuracyResults measure_all(const Arguments& arguments, const Contender& ours) {
  AccuracyResults results;
  std::unique_ptr<ExactBatch> batch;
  std::int64_t values = 0;
  for (const AccuracyRow& row : all_accuracy_rows(most_threads())) {
    if (name_of(row).find(arguments.filter) == std::string::npos) continue;
    if (arguments.rows == Arguments::Rows::smoke && !is_smoke(row)) continue;
    std::fprintf(stderr, "%s\n", name_of(row).c_str());
    if (row.values_per_channel != values) {
      values = row.values_per_channel;
      batch = std::make_unique<ExactBatch>(values, accuracy_channels, 1);
    }
    results.push_back(measure(row, *batch, ours));
  }
  return results;
}

/// The rivals that this program can be built with and was not.
std::string absent_rivals() {
  std::string text;
  for (const Library& library : libraries()) {
    const auto is_it = [&](const auto& rival) { return rival->name() == library.name; };
    if (std::any_of(rivals().begin(), rivals().end(), is_it)) continue;
    text += std::string("left out: ") + library.name + ", which was not found\n";
  }
  return text;
}

std::string tables(const Facts& facts, const AccuracyResults& results, const std::string& ours) {
  const auto all = [](const AccuracyRow&) { return true; };
  return "Each cell: error of the mean in deviations / of the variance as a share of it / largest "
         "of the\noutput. Float values of deviation 1 in 16 channels, of which the worst counts. "
         "Images are of\n100 x 100 where there are a million values. Empty: it has no such way "
         "or uses one thread.\n\n" +
         text_of(facts) + absent_rivals() + "\n" + accuracy_table(results, is_in_readme) +
         "\nAll of them:\n\n" + accuracy_table(results, all) + "\n" +
         listed("rows in which " + ours + " is further off than promised",
                rows_beyond_promise(results, ours));
}

int run(const Arguments& arguments) {
  const std::unique_ptr<Contender> ours = make_ours();
  Facts facts = facts_of_build(*ours);
  const auto second_ways = std::remove_if(
      facts.begin(), facts.end(), [](const auto& fact) { return is_second_way(fact.first); });
  facts.erase(second_ways, facts.end());
  const AccuracyResults results = measure_all(arguments, *ours);
  const std::string text = tables(facts, results, ours->name());
  std::printf("%s", text.c_str());
  if (!arguments.results.empty()) {
    write_file(arguments.results, "accuracy.json", json(facts, results));
    write_file(arguments.results, "accuracy.md", text);
  }
  if (results.empty()) return 2;
  return rows_beyond_promise(results, ours->name()).empty() ? 0 : 1;
}

}  // namespace
}  // namespace batchnorm_benchmarks

int main(int count, char** values) {
  const batchnorm_benchmarks::Arguments arguments =
      batchnorm_benchmarks::parse(std::vector<std::string>(values + 1, values + count));
  if (arguments.help || !arguments.wrong.empty()) {
    if (!arguments.wrong.empty()) std::printf("unknown argument: %s\n", arguments.wrong.c_str());
    std::printf("usage: benchmarks_accuracy [arguments]\n%s", batchnorm_benchmarks::accuracy_usage);
    return arguments.help ? 0 : 2;
  }
  return batchnorm_benchmarks::run(arguments);
}
