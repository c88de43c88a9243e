// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_SUPPORT_REPORT_HPP
#define BATCHNORM_EXAMPLES_SUPPORT_REPORT_HPP

#include <array>
#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

#include "support/network.hpp"
#include "support/statistics.hpp"

namespace example {

inline double percent(Eigen::Index right, Eigen::Index all) {
  return 100.0 * static_cast<double>(right) / static_cast<double>(all);
}

/// Images worth a look: the first one that is misread, and before it the first of other digits.
inline std::vector<Eigen::Index> choose_images(const FrozenNetwork& network, const Digits& digits) {
  constexpr std::size_t wanted = 4;
  std::vector<Eigen::Index> chosen;
  Eigen::Index misread = 0;
  while (misread < digits.count() - 1 &&
         network.classify(digits.images.col(misread)) == digits.label(misread)) {
    ++misread;
  }
  std::array<bool, classes> seen{};
  seen[static_cast<std::size_t>(digits.label(misread))] = true;
  for (Eigen::Index image = 0; image < digits.count() && chosen.size() + 1 < wanted; ++image) {
    bool& is_seen = seen[static_cast<std::size_t>(digits.label(image))];
    if (!is_seen) chosen.push_back(image);
    is_seen = true;
  }
  chosen.push_back(misread);
  return chosen;
}

/// Some images side by side, and below each what the network reads, given that image alone.
inline void print_readings(const FrozenNetwork& network, const Digits& digits) {
  constexpr const char* shades = " .:-=+*#@";  // nine of them, for brightness 0 to 16
  const std::vector<Eigen::Index> chosen = choose_images(network, digits);
  for (Eigen::Index row = 0; row < image_side; ++row) {
    std::string line = " ";
    for (const Eigen::Index image : chosen) {
      for (Eigen::Index column = 0; column < image_side; ++column) {
        const float pixel = digits.images(row * image_side + column, image);
        line.append(2, shades[static_cast<int>(pixel * brightest) / 2]);
      }
      line += "   ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    std::printf("%s\n", line.c_str());
  }
  for (const Eigen::Index image : chosen) {
    std::printf("  reads %d, it is %d%s", network.classify(digits.images.col(image)),
                digits.label(image), image == chosen.back() ? "\n\n" : "  ");
  }
}

/// One line of the table: a set of statistics and what it leads to.
struct Result {
  std::string name;
  Eigen::Index right;
  Distance from_population;
};

inline void print_results(const std::vector<Result>& results, Eigen::Index images) {
  std::printf("batch norm uses                       test accuracy     mean off   spread off\n");
  for (const Result& result : results) {
    std::printf("%-36s %6.1f %% (%3d)  %8.2f sd      x %.2f\n", result.name.c_str(),
                percent(result.right, images), static_cast<int>(result.right),
                result.from_population.mean, result.from_population.deviation);
  }
  std::printf(
      "\nEach image was read alone (in brackets: how many correctly). \"Off\" is the distance\n"
      "from the population, the statistics of all training images under the final\n"
      "weights, layer by layer: of the means in standard deviations (sd), of the\n"
      "standard deviations as a factor; root mean square over all channels.\n\n");
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_SUPPORT_REPORT_HPP
