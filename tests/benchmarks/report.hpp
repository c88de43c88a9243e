// SPDX-License-Identifier: MIT
// The table of all rows, and the few numbers that sum it up.
#ifndef BATCHNORM_TESTS_BENCHMARKS_REPORT_HPP
#define BATCHNORM_TESTS_BENCHMARKS_REPORT_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "benchmarks/limit.hpp"
#include "benchmarks/result.hpp"
#include "benchmarks/row.hpp"
#include "benchmarks/statistics.hpp"
#include "benchmarks/table.hpp"

namespace batchnorm_benchmarks {

using Results = std::vector<RowResult>;

/// Every rival that was measured anywhere, in the order of first appearance.
inline std::vector<std::string> rival_names(const Results& results) {
  std::vector<std::string> names;
  for (const RowResult& result : results) {
    for (const Rival& rival : result.rivals) {
      if (std::find(names.begin(), names.end(), rival.name) == names.end()) {
        names.push_back(rival.name);
      }
    }
  }
  return names;
}

/// row, limit, ours, each rival, ours / limit, best rival / ours.
inline std::string main_table(const Results& results) {
  const std::vector<std::string> names = rival_names(results);
  Table::Line heading = {"row", "limit", "ours"};
  heading.insert(heading.end(), names.begin(), names.end());
  heading.insert(heading.end(), {"ours / limit", "best rival / ours"});
  Table table(heading);
  for (const RowResult& result : results) {
    Table::Line line = {name_of(result.row), duration(result.limit_seconds),
                        duration(result.ours.seconds)};
    for (const std::string& name : names) {
      const Rival* rival = rival_named(result, name);
      line.push_back(rival == nullptr ? "" : duration(rival->timing.seconds));
    }
    line.push_back(ratio(times_limit(result)));
    const Rival* best = best_rival(result);
    line.push_back(best == nullptr ? "" : ratio(times_faster(result, *best)));
    table.add(line);
  }
  return table.text();
}

/// Of everybody, the time over the limit and the largest error: speed and accuracy in one table.
inline std::string accuracy_table(const Results& results) {
  const std::vector<std::string> names = rival_names(results);
  Table::Line heading = {"time over limit, largest error", "ours"};
  heading.insert(heading.end(), names.begin(), names.end());
  Table table(heading);
  for (const RowResult& result : results) {
    const auto cell = [&](const Timing& timing, double error) {
      return ratio(timing.seconds / result.limit_seconds) + ", " + power(error);
    };
    Table::Line line = {name_of(result.row), cell(result.ours, result.error)};
    for (const std::string& name : names) {
      const Rival* rival = rival_named(result, name);
      line.push_back(rival == nullptr ? "" : cell(rival->timing, rival->error));
    }
    table.add(line);
  }
  return table.text();
}

/// The means are those of single precision.
inline bool is_single_precision(const Row& row) {
  return row.element == Element::f32;
}

/// A kind of rows that is summed up, how many times faster than the best rival it should be, and
/// how many times the limit it may take from 1 MiB on.
struct Group {
  const char* name;
  bool (*holds)(const Row& row);
  double bar;
  double limit_bar;
};

inline const std::vector<Group>& groups() {
  static const std::vector<Group> all = {
      {"inference", [](const Row& row) { return is_single_precision(row) && infers(row.work); },
       2.0, 1.25},
      {"training",
       [](const Row& row) { return is_single_precision(row) && row.work == Work::train; }, 2.0,
       1.35},
      {"backward",
       [](const Row& row) { return is_single_precision(row) && row.work == Work::backward; }, 1.7,
       1.35}};
  return all;
}

/// The geometric mean of `rival / ours`, or of what else `gain` is, over the rows that have the
/// library among their rivals, or with no name over all that have a rival: then the best one
/// counts.
inline double mean_gain(const Results& results, bool (*holds)(const Row&),
                        const std::string& library = "",
                        double (*gain)(const RowResult&, const Rival&) = times_faster) {
  std::vector<double> gains;
  for (const RowResult& result : results) {
    const Rival* other = best_of_library(result, library);
    if (holds(result.row) && other != nullptr) gains.push_back(gain(result, *other));
  }
  return geometric_mean(gains);
}

/// @param least  rows of fewer bytes are left out
inline double mean_times_limit(const Results& results, bool (*holds)(const Row&),
                               std::int64_t least = 0) {
  std::vector<double> ratios;
  for (const RowResult& result : results) {
    if (holds(result.row) && bytes(result.row) >= least) ratios.push_back(times_limit(result));
  }
  return geometric_mean(ratios);
}

/// The mean of a number that some results have: it is 0 for those that do not.
inline double mean_of(const Results& results, double (*number)(const Results&, const RowResult&)) {
  std::vector<double> numbers;
  for (const RowResult& result : results) {
    const double value = number(results, result);
    if (value > 0.0) numbers.push_back(value);
  }
  return geometric_mean(numbers);
}

/// Training and backward: what each library is compared over.
inline bool is_training_work(const Row& row) {
  return is_single_precision(row) && (row.work == Work::train || row.work == Work::backward);
}

/// A rival over all of training and backward, and how many times faster than it this should be.
struct Library {
  const char* name;
  const char* bar;
};

inline const std::vector<Library>& libraries() {
  static const std::vector<Library> all = {{"oneDNN", "4.00"}, {"libtorch", "3.00"}, {"Eigen", ""}};
  return all;
}

/// A number, or a dash when there was nothing to take it from.
inline std::string ratio_or_dash(double value) {
  return value > 0.0 ? ratio(value) : "-";
}

/// `rival / limit` is what `rival / ours` would be if every row took no longer than its limit.
inline std::string summary_table(const Results& results) {
  Table table({"geometric means, f32", "ours / limit", "rival / ours", "rival / limit", "bar"});
  const auto gains = [&](bool (*holds)(const Row&), const std::string& library) {
    return Table::Line{ratio_or_dash(mean_gain(results, holds, library)),
                       ratio_or_dash(mean_gain(results, holds, library, times_faster_at_limit))};
  };
  for (const Group& group : groups()) {
    const Table::Line gain = gains(group.holds, "");
    table.add({std::string(group.name) + ", best rival",
               ratio_or_dash(mean_times_limit(results, group.holds)), gain[0], gain[1],
               ratio(group.bar)});
    table.add({std::string(group.name) + ", from 1 MiB on",
               ratio_or_dash(mean_times_limit(results, group.holds, mebibyte)), "", "",
               ratio(group.limit_bar)});
  }
  for (const Library& library : libraries()) {
    const Table::Line gain = gains(is_training_work, library.name);
    table.add(
        {std::string("training and backward, ") + library.name, "", gain[0], gain[1], library.bar});
  }
  table.add({"gain from threads, of copy's", "", ratio_or_dash(mean_of(results, thread_efficiency)),
             "", "0.90"});
  table.add({"elements per second, bfloat16 of float's", "",
             ratio_or_dash(mean_of(results, bfloat16_gain)), "", "1.60"});
  return table.text();
}

/// A heading and the lines below it, or that there are none.
inline std::string listed(const std::string& heading, const std::vector<std::string>& lines) {
  std::string text = heading + (lines.empty() ? ": none\n" : ":\n");
  for (const std::string& line : lines) text += "  " + line + "\n";
  return text;
}

inline std::string report(const Results& results) {
  return main_table(results) + "\n" + accuracy_table(results) + "\n" + summary_table(results) +
         "\n" + listed("rows that miss their bar", missed_bars(results)) +
         listed("rows that gain too little from threads", missed_threads(results)) +
         listed("rows that are slower than a rival by more than the noise", lost_rows(results));
}

}  // namespace batchnorm_benchmarks

#endif  // BATCHNORM_TESTS_BENCHMARKS_REPORT_HPP
