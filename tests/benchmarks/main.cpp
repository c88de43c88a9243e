// SPDX-License-Identifier: MIT
// The benchmark: every row against its limit and its rivals, then what else is worth measuring.
// Ends with 1 when a row is slower than a rival by more than the noise, with 2 when this library
// gives a wrong answer or there is nothing to measure.
#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "benchmarks/arguments.hpp"
#include "benchmarks/buffers.hpp"
#include "benchmarks/chart.hpp"
#include "benchmarks/facts.hpp"
#include "benchmarks/files.hpp"
#include "benchmarks/json.hpp"
#include "benchmarks/measure.hpp"
#include "benchmarks/report.hpp"
#include "benchmarks/rows.hpp"
#include "benchmarks/sections.hpp"
#include "benchmarks/threads.hpp"

namespace batchnorm_benchmarks {
namespace {

std::vector<Row> chosen_rows(const Arguments& arguments) {
  std::vector<Row> rows = all_rows(most_threads());
  const auto unwanted = [&](const Row& row) {
    if (name_of(row).find(arguments.filter) == std::string::npos) return true;
    if (arguments.rows == Arguments::Rows::quick) return !is_quick(row);
    return arguments.rows == Arguments::Rows::smoke && !is_smoke(row);
  };
  rows.erase(std::remove_if(rows.begin(), rows.end(), unwanted), rows.end());
  return rows;
}

Effort effort_for(Arguments::Rows rows) {
  if (rows == Arguments::Rows::smoke) return {2, 1e-4};
  return rows == Arguments::Rows::full ? Effort{7, 0.02} : Effort{5, 0.01};
}

struct Measured {
  Results results;
  std::vector<std::string> left_out;
  bool wrong_answer = false;
};

Measured measure(const std::vector<Row>& rows, const Contender& ours, const Effort& effort) {
  Measured all;
  std::unique_ptr<Buffers> buffers;
  for (const Row& row : rows) {
    if (buffers == nullptr || !buffers->serve(row)) {
      buffers.reset();  // before the new memory is taken
      buffers = std::make_unique<Buffers>(row.element, most_elements(rows, row.element));
    }
    std::fprintf(stderr, "%s\n", name_of(row).c_str());
    const Problem problem = buffers->problem(row);
    use_threads(row.threads);
    const MeasuredRow measured = measure_row(problem, ours, effort);
    if (measured.measured) all.results.push_back(measured.result);
    all.wrong_answer = all.wrong_answer || measured.ours_is_wrong;
    all.left_out.insert(all.left_out.end(), measured.left_out.begin(), measured.left_out.end());
  }
  return all;
}

void write_files(const std::string& folder, const Facts& facts, const Results& results) {
  write_file(folder, "results.json", json(facts, results));
  write_file(folder, "report.md", text_of(facts) + "\n" + report(results));
  if (charted(results).empty()) return;
  write_file(folder, "chart.gnuplot", chart_script(results, "chart.svg"));
  const std::string draw = "cd \"" + folder + "\" && gnuplot chart.gnuplot 2>/dev/null";
  if (std::system(draw.c_str()) != 0) std::printf("no chart: gnuplot did not run\n");
}

int run(const Arguments& arguments) {
  prepare_google_benchmark();
  const std::unique_ptr<Contender> ours = make_ours();
  Facts facts = facts_of_this_run(*ours);
  std::printf("%s\n", text_of(facts).c_str());
  const Measured measured = measure(chosen_rows(arguments), *ours, effort_for(arguments.rows));
  std::printf("%s\n", report(measured.results).c_str());
  std::printf("%s\n", listed("left out, for a wrong answer", measured.left_out).c_str());
  if (!arguments.rows_only) {
    std::printf("%s\n", growth_section().c_str());
    std::printf("%s\n", alignment_section().c_str());
    std::printf("%s\n", masks_section().c_str());
    std::printf("%s\n", derivatives_section().c_str());
    std::printf("%s\n", possible_section().c_str());
    std::printf("%s\n", handover_section(facts).c_str());
    std::printf("%s\n", latency_section(facts).c_str());
    std::printf("%s\n", build_cost_section(facts).c_str());
  }
  if (!arguments.results.empty()) write_files(arguments.results, facts, measured.results);
  if (measured.wrong_answer || measured.results.empty()) return 2;
  if (arguments.rows == Arguments::Rows::smoke) return 0;
  return lost_rows(measured.results).empty() ? 0 : 1;
}

}  // namespace
}  // namespace batchnorm_benchmarks

int main(int count, char** values) {
  const batchnorm_benchmarks::Arguments arguments =
      batchnorm_benchmarks::parse(std::vector<std::string>(values + 1, values + count));
  if (arguments.help || !arguments.wrong.empty()) {
    if (!arguments.wrong.empty()) std::printf("unknown argument: %s\n", arguments.wrong.c_str());
    std::printf("usage: benchmarks [arguments]\n%s", batchnorm_benchmarks::usage);
    return arguments.help ? 0 : 2;
  }
  return batchnorm_benchmarks::run(arguments);
}
