#!/bin/sh
# SPDX-License-Identifier: MIT
# Boost.Histogram's accumulators of mean and variance can be added, as threads and profiles do. In
# the version that Debian 12 installs as libboost-dev the sum has the right count and the right mean,
# and of the squared deviations only those from the two old means: how far these are apart, n_a n_b / n
# (mean_a - mean_b)^2, is left out. Of two shards about 2 and 102 the merged variance is 0.8, where
# 3000.8 is right. Merging the bins of a profile loses it too. Boost 1.81, in the same distribution, is
# right.
#
# Version: Boost 1.74.0, Debian 12 (bookworm), package libboost1.74-dev 1.74.0+ds1-21, which is the
#          distribution's libboost-dev; beside it libboost1.81-dev 1.81.0-5+deb12u1.
# Source:  boost/histogram/accumulators/mean.hpp and weighted_mean.hpp, operator+=.
#
# Output seen, for 1, 2, 3 and 101, 102, 103:
#
#   Boost 1.74: one by one 6 values, mean 52, variance 3000.8
#   Boost 1.74: two merged 6 values, mean 52, variance 0.8
#   Boost 1.74: weighted mean 52, variance 0.8
#   Boost 1.74: two bins of a profile made one: mean 52, variance 0.8
#   Boost 1.81: one by one 6 values, mean 52, variance 3000.8
#   Boost 1.81: two merged 6 values, mean 52, variance 3000.8
#   Boost 1.81: weighted mean 52, variance 3000.8
#   Boost 1.81: two bins of a profile made one: mean 52, variance 3000.8
#   as stated
#
#   findings/boost_histogram_1_74_merges_means_without_the_between_term.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Unpacks both packages into a temporary folder; needs Debian 12, apt-get and c++.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cannot_try() {
  echo "not tried: $1"
  exit 2
}

for package in libboost1.74-dev=1.74.0+ds1-21 libboost1.81-dev=1.81.0-5+deb12u1; do
  apt-get download -qq -o APT::Sandbox::User=root "$package" ||
    cannot_try "$package cannot be downloaded"
done
dpkg -x libboost1.74-dev_*.deb 1.74
dpkg -x libboost1.81-dev_*.deb 1.81

cat >program.cpp <<'CPP'
#include <boost/histogram/accumulators/mean.hpp>
#include <boost/histogram/accumulators/weighted_mean.hpp>
#include <boost/histogram/algorithm/reduce.hpp>
#include <boost/histogram/axis/regular.hpp>
#include <boost/histogram/make_profile.hpp>
#include <boost/version.hpp>

#include <cstdio>

namespace bh = boost::histogram;

int main() {
  const auto print = [](const char* what, double count, double mean, double variance) {
    std::printf("Boost 1.%d: %s %g values, mean %g, variance %g\n", BOOST_VERSION / 100 % 1000,
                what, count, mean, variance);
  };
  bh::accumulators::mean<> all, low, high;
  bh::accumulators::weighted_mean<> weighted_low, weighted_high;
  auto profile = bh::make_profile(bh::axis::regular<>(2, 0.0, 2.0));
  for (const double x : {1, 2, 3}) {
    all(x), low(x), weighted_low(bh::weight(1.0), x);
    profile(0.5, bh::sample(x));
  }
  for (const double x : {101, 102, 103}) {
    all(x), high(x), weighted_high(bh::weight(1.0), x);
    profile(1.5, bh::sample(x));
  }
  low += high;
  weighted_low += weighted_high;
  print("one by one", all.count(), all.value(), all.variance());
  print("two merged", low.count(), low.value(), low.variance());
  const int minor = BOOST_VERSION / 100 % 1000;
  std::printf("Boost 1.%d: weighted mean %g, variance %g\n", minor, weighted_low.value(),
              weighted_low.variance());
  const auto one_bin = bh::algorithm::reduce(profile, bh::algorithm::rebin(2));
  std::printf("Boost 1.%d: two bins of a profile made one: mean %g, variance %g\n", minor,
              one_bin.at(0).value(), one_bin.at(0).variance());
}
CPP
for version in 1.74 1.81; do
  c++ -std=c++17 -isystem "$version/usr/include" program.cpp -o "program.$version" ||
    cannot_try "the program cannot be built"
  "./program.$version" | tee -a seen
done
cat >expected <<'TXT'
Boost 1.74: one by one 6 values, mean 52, variance 3000.8
Boost 1.74: two merged 6 values, mean 52, variance 0.8
Boost 1.74: weighted mean 52, variance 0.8
Boost 1.74: two bins of a profile made one: mean 52, variance 0.8
Boost 1.81: one by one 6 values, mean 52, variance 3000.8
Boost 1.81: two merged 6 values, mean 52, variance 3000.8
Boost 1.81: weighted mean 52, variance 3000.8
Boost 1.81: two bins of a profile made one: mean 52, variance 3000.8
TXT
cmp -s seen expected || { echo 'changed'; exit 1; }
echo 'as stated'
