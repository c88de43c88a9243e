#!/bin/sh
# SPDX-License-Identifier: MIT
# rolling_mean and rolling_variance of Boost.Accumulators hold the values of their window, and do not
# compute from them: each new value is added to a running sum and the one that leaves is subtracted
# from it. So one large value stays for ever. Of a window of 3 that holds 1, 2, 3 again, long after a
# 1e17 has left it, the mean is 4 and the variance 5.8e17; after an infinity both are no number from
# then on.
#
# Version: Boost 1.74.0, Debian 12 (bookworm), package libboost1.74-dev 1.74.0+ds1-21.
# Source:  boost/accumulators/statistics/rolling_mean.hpp and rolling_variance.hpp, the immediate
#          variants, which are the default: what leaves is subtracted. Documentation of both: over the
#          last N samples.
#
# Output seen, for a window of 3, at the end of each sequence:
#
#   1 2 3: mean 2, variance 1
#   1 2 3 1e+17 1 2 3 1 2 3: mean 4, variance 5.76e+17
#   1 2 3 inf 1 2 3 1 2 3: mean nan, variance nan
#   as stated
#
#   findings/boost_rolling_variance_remembers_what_left_its_window.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Unpacks the package into a temporary folder; needs Debian 12, apt-get and c++.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cannot_try() {
  echo "not tried: $1"
  exit 2
}

apt-get download -qq -o APT::Sandbox::User=root libboost1.74-dev=1.74.0+ds1-21 ||
  cannot_try "libboost1.74-dev cannot be downloaded"
dpkg -x libboost1.74-dev_*.deb unpacked

cat >program.cpp <<'CPP'
#include <boost/accumulators/accumulators.hpp>
#include <boost/accumulators/statistics/rolling_mean.hpp>
#include <boost/accumulators/statistics/rolling_variance.hpp>

#include <cmath>
#include <cstdio>
#include <vector>

namespace ba = boost::accumulators;

void print(const char* name, double value, const char* end) {
  if (std::isnan(value)) std::printf("%s nan%s", name, end);
  else std::printf("%s %.3g%s", name, value, end);
}

void roll(const std::vector<double>& values) {
  ba::accumulator_set<double, ba::stats<ba::tag::rolling_mean, ba::tag::rolling_variance>> window(
      ba::tag::rolling_window::window_size = 3);
  const char* before = "";
  for (const double value : values) {
    window(value);
    std::printf("%s%g", before, value);
    before = " ";
  }
  print(": mean", ba::rolling_mean(window), ", ");
  print("variance", ba::rolling_variance(window), "\n");
}

int main() {
  roll({1, 2, 3});
  roll({1, 2, 3, 1e17, 1, 2, 3, 1, 2, 3});
  roll({1, 2, 3, INFINITY, 1, 2, 3, 1, 2, 3});
}
CPP
c++ -std=c++17 -isystem unpacked/usr/include program.cpp -o program ||
  cannot_try "the program cannot be built"
./program | tee seen
cat >expected <<'TXT'
1 2 3: mean 2, variance 1
1 2 3 1e+17 1 2 3 1 2 3: mean 4, variance 5.76e+17
1 2 3 inf 1 2 3 1 2 3: mean nan, variance nan
TXT
cmp -s seen expected || { echo 'changed'; exit 1; }
echo 'as stated'
