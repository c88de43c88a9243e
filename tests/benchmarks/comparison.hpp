// SPDX-License-Identifier: MIT
// What is made of the times of two commits, and of one of them a second time.
#ifndef BATCHNORM_TESTS_BENCHMARKS_COMPARISON_HPP
#define BATCHNORM_TESTS_BENCHMARKS_COMPARISON_HPP

#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "benchmarks/report.hpp"
#include "benchmarks/row.hpp"
#include "benchmarks/rows.hpp"
#include "benchmarks/statistics.hpp"
#include "benchmarks/table.hpp"

namespace batchnorm_benchmarks {

/// Seconds per call, one entry per round; in a round all are timed, one after the other.
struct Rounds {
  std::vector<double> before, now, again;  ///< again: the library of `before`, loaded once more
};

struct Compared {
  Row row;
  double before, now;         ///< seconds, of quiet rounds
  double change;              ///< now / before, the median over rounds
  double lower_quartile;      ///< the same in a round of the better ones
  double change_of_the_same;  ///< again / before, the median over rounds
};

inline std::vector<double> ratios(const std::vector<double>& above,
                                  const std::vector<double>& below) {
  std::vector<double> all;
  for (std::size_t i = 0; i < above.size(); ++i) all.push_back(above[i] / below[i]);
  return all;
}

/// Ratios are taken within a round: what slows the machine down, slows down both.
inline Compared compared(const Row& row, const Rounds& rounds) {
  const std::vector<double> changes = ratios(rounds.now, rounds.before);
  return {row,
          quantile(rounds.before, 0.25),
          quantile(rounds.now, 0.25),
          median(changes),
          quantile(changes, 0.25),
          median(ratios(rounds.again, rounds.before))};
}

/// How far the times of a library are from its own, in all but one of twenty rows.
inline double noise(const std::vector<Compared>& rows) {
  std::vector<double> distances;
  for (const Compared& each : rows)
    distances.push_back(std::fabs(std::log(each.change_of_the_same)));
  return std::exp(quantile(distances, 0.95)) - 1.0;
}

/// The rows that are slower by more than the noise, in three of four rounds at least.
inline std::vector<std::string> slower_rows(const std::vector<Compared>& rows) {
  const double least = 1.0 + noise(rows);
  std::vector<std::string> names;
  for (const Compared& each : rows) {
    if (each.change > least && each.lower_quartile > 1.0) {
      names.push_back(name_of(each.row) + ": " + digits(each.change));
    }
  }
  return names;
}

inline std::string change_table(const std::vector<Compared>& rows) {
  Table table({"row", "before", "now", "now / before", "before / before"});
  for (const Compared& each : rows) {
    table.add({name_of(each.row), duration(each.before), duration(each.now), digits(each.change),
               digits(each.change_of_the_same)});
  }
  return table.text();
}

/// One line per kind of work, for each scalar, and one for all.
inline std::string mean_changes(const std::vector<Compared>& rows) {
  Table table({"geometric means", "rows", "now / before", "before / before"});
  const auto add = [&](const std::string& name, const auto& counts) {
    std::vector<double> changes, same;
    for (const Compared& each : rows) {
      if (!counts(each.row)) continue;
      changes.push_back(each.change);
      same.push_back(each.change_of_the_same);
    }
    if (changes.empty()) return;
    table.add({name, std::to_string(changes.size()), digits(geometric_mean(changes), 4),
               digits(geometric_mean(same), 4)});
  };
  for (const Element element : {Element::f32, Element::bf16, Element::f64}) {
    for (const Work work : all_works()) {
      add(std::string(name_of(work)) + " " + name_of(element),
          [&](const Row& row) { return row.work == work && row.element == element; });
    }
  }
  add("all", [](const Row&) { return true; });
  return table.text();
}

inline std::string comparison(const std::vector<Compared>& rows) {
  return change_table(rows) + "\n" + mean_changes(rows) +
         "\nnoise: " + digits(100.0 * noise(rows), 2) + " %\n" +
         listed("rows that are slower by more than the noise", slower_rows(rows));
}

}  // namespace batchnorm_benchmarks

#endif  // BATCHNORM_TESTS_BENCHMARKS_COMPARISON_HPP
