// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_BARS_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_BARS_HPP

#include <cstddef>
#include <string>
#include <vector>

#include "support/picture.hpp"

namespace example {

/// Bars that stand side by side, and what is written below them.
struct BarGroup {
  std::string name;
  std::vector<double> bars;
};

/// Saves a picture of accuracies in per cent as groups of bars, each under its number.
///
/// @param titles  of the first, second and further bar of all groups
/// @param names   how the names of the groups are written, as gnuplot's xtics want it
inline void save_bars(const std::string& path, const std::string& title,
                      const std::vector<std::string>& titles, const std::vector<BarGroup>& groups,
                      const std::string& names = "") {
  Picture picture(title, "", "test accuracy in %");
  picture.set("style fill solid noborder");
  picture.set("key below center horizontal");
  picture.set("yrange [0:105]");
  Picture::Rows rows;
  std::string tics;
  for (const BarGroup& group : groups) {
    const auto place = static_cast<double>(rows.size());
    tics += (rows.empty() ? "" : ", ") + quoted(group.name) + " " + std::to_string(rows.size());
    rows.push_back({place});
    rows.back().insert(rows.back().end(), group.bars.begin(), group.bars.end());
  }
  picture.set("xrange [-0.5:" + std::to_string(rows.size()) + "-0.5]");
  picture.set("xtics (" + tics + ") scale 0 " + names);
  picture.rows(rows);
  const double pitch = 0.81 / static_cast<double>(titles.size());
  for (std::size_t bar = 0; bar < titles.size(); ++bar) {
    const std::string column = std::to_string(bar + 2);
    const double middle = static_cast<double>(titles.size() - 1) / 2;
    const double shift = (static_cast<double>(bar) - middle) * pitch;
    const std::string place = "using ($1+" + std::to_string(shift) + "):";
    picture.draw(
        place + column + ":(" + std::to_string(pitch - 0.02) + ") with boxes " + colour(bar),
        titles[bar]);
    picture.draw(
        place + "($" + column + "+2):(sprintf('%.1f',$" + column + ")) with labels font ',10'", "");
  }
  picture.save(path);
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_BARS_HPP
