// SPDX-License-Identifier: MIT
// A bar chart of the rows, drawn by gnuplot: this library and the best rival as multiples of the
// limit.
#ifndef BATCHNORM_TESTS_BENCHMARKS_CHART_HPP
#define BATCHNORM_TESTS_BENCHMARKS_CHART_HPP

#include <algorithm>
#include <cstddef>
#include <sstream>
#include <string>
#include <vector>

#include "benchmarks/result.hpp"
#include "benchmarks/row.hpp"
#include "benchmarks/rows.hpp"

namespace batchnorm_benchmarks {

/// The rows that are drawn: of the quick ones training, backward and plain inference in single
/// precision with most threads, where both bars exist. More would not be legible.
inline std::vector<RowResult> charted(const std::vector<RowResult>& results) {
  int threads = 1;
  for (const RowResult& result : results) threads = (std::max)(threads, result.row.threads);
  std::vector<RowResult> chosen;
  for (const RowResult& result : results) {
    const Work work = result.row.work;
    const bool plain = work == Work::infer || work == Work::train || work == Work::backward;
    if (plain && result.row.element == Element::f32 && result.row.threads == threads &&
        best_rival(result) != nullptr && is_quick(result.row) && !is_single_example(result.row)) {
      chosen.push_back(result);
    }
  }
  return chosen;
}

inline std::string label_of(const RowResult& result) {
  return std::string(name_of(result.row.work)) + "  " + name_of(result.row.shape);
}

inline std::string rows_threads(const std::vector<RowResult>& rows) {
  const int threads = rows.empty() ? 1 : rows[0].row.threads;
  return threads == 1 ? "1 thread" : std::to_string(threads) + " threads";
}

/// A gnuplot script that writes the SVG. Horizontal bars, one pair per row, top to bottom. Orange
/// and blue of Okabe and Ito's palette are told apart by colour-blind eyes and differ in lightness.
inline std::string chart_script(const std::vector<RowResult>& results, const std::string& svg) {
  const std::vector<RowResult> rows = charted(results);
  std::ostringstream script;
  script << "set terminal svg size 900," << 150 + 30 * rows.size()
         << " font 'sans-serif,13' background rgb 'white'\n"
         << "set output '" << svg << "'\n"
         << "set title 'Time over the limit that memory sets (f32, " << rows_threads(rows) << ")'\n"
         << "set xlabel 'multiple of the limit; shorter is better' offset 0,0.6\nset rmargin 12\n"
         << "set key below center horizontal samplen 2\n"
         << "set logscale x 2\nset xrange [0.5:*]\nset yrange [" << rows.size() << ":-1]\n"
         << "set grid xtics lc rgb '#d0d0d0' lt 1\nset border 2\nset tics nomirror scale 0\n"
         << "set style fill solid noborder\n"
         << "set arrow from 1, graph 0 to 1, graph 1 nohead lw 2 lc rgb '#404040'\n"
         << "set ytics (";
  for (std::size_t i = 0; i < rows.size(); ++i) {
    script << (i == 0 ? "" : ", ") << "'" << label_of(rows[i]) << "' " << i;
  }
  script << ")\n$rows << end_of_rows\n";
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const double rival = best_rival(rows[i])->timing.seconds / rows[i].limit_seconds;
    script << i << " " << times_limit(rows[i]) << " " << rival << " \""
           << ratio(times_limit(rows[i])) << "\" \"" << ratio(rival) << " "
           << best_rival(rows[i])->name << "\"\n";
  }
  script << "end_of_rows\n"
         << "plot $rows using (0.5):($1-0.19):(0.5):2:($1-0.36):($1-0.02)"
         << " with boxxyerror lc rgb '#0072B2' title 'batchnorm', \\\n"
         << "  $rows using (0.5):($1+0.19):(0.5):3:($1+0.02):($1+0.36)"
         << " with boxxyerror lc rgb '#E69F00' title 'best rival', \\\n"
         << "  $rows using 2:($1-0.19):4 with labels left offset 0.4,0 font ',10' notitle, \\\n"
         << "  $rows using 3:($1+0.19):5 with labels left offset 0.4,0 font ',10' notitle\n";
  return script.str();
}

}  // namespace batchnorm_benchmarks

#endif  // BATCHNORM_TESTS_BENCHMARKS_CHART_HPP
