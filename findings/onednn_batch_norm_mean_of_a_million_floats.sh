#!/bin/sh
# SPDX-License-Identifier: MIT
# oneDNN's batch normalisation sums float values in float, one after another, where channels come
# last. Of a million values of mean 1000 and deviation 1 the mean is wrong by 8.9 deviations, the
# variance 80 times the right one, and the output wrong by up to 5.7.
#
# Version: oneDNN 2.6.3, Debian 12 (bookworm), packages libdnnl2 and libdnnl-dev 2.6.3-1.
# Source:  https://github.com/uxlfoundation/oneDNN/issues/354 has the maintainers say that float is
#          what mean and variance are computed in, and that the order depends on the threads.
# Seen on: AMD EPYC with AVX2, g++ 12.2, one thread.
#
# Output seen (the mean's error and the output are in deviations):
#
#   oneDNN 2.6.3
#   nc 1000000x16        mean off by 8.9089, variance 80.3116 x the right one, output off by 5.8268
#   nhwc 100x16x100x100  mean off by 8.9089, variance 80.3116 x the right one, output off by 5.8268
#   nchw 100x16x100x100  mean off by 0.0004, variance 1.0000 x the right one, output off by 0.0004
#   as stated
#
# The values are exact multiples of 1/16, so that whole numbers give the right answer. Nothing is
# installed: the packages are unpacked in a temporary folder.
#
#   findings/onednn_batch_norm_mean_of_a_million_floats.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Needs apt-get and dpkg of Debian 12, g++, and OpenMP's run-time library (libgomp1).
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cannot_try() {
  echo "not tried: $1"
  exit 2
}

for package in libdnnl2=2.6.3-1 libdnnl-dev=2.6.3-1; do
  apt-get download -qq -o APT::Sandbox::User=root "$package" ||
    cannot_try "$package cannot be downloaded"
done
for file in ./*.deb; do dpkg -x "$file" unpacked; done
library_folder=$(dirname "$(find unpacked -name libdnnl.so)")

cat >program.cpp <<'CPP'
#include <bitset>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <oneapi/dnnl/dnnl.hpp>
#include <vector>

using dnnl::memory;

namespace {

constexpr std::int64_t count = 1000000, channels = 16, offset = 1000;

/// SplitMix64.
std::uint64_t random_bits() {
  static std::uint64_t state = 1;
  std::uint64_t z = (state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

/// Binomial(1024, 1/2) - 512: nearly normal, of deviation 16.
int sixteenths() {
  int ones = 0;
  for (int word = 0; word < 16; ++word) ones += int(std::bitset<64>(random_bits()).count());
  return ones - 512;
}

struct Channel {
  std::int64_t sum = 0, squares = 0;
  double mean() const { return double(sum) / 16 / count; }
  double variance() const {
    return double(count * squares - sum * sum) / 256 / (double(count) * double(count));
  }
};

struct Errors {
  double mean = 0, variance_ratio = 0, output = 0;
};

std::vector<float> x(count* channels);
std::vector<Channel> exact(channels);

/// Where value i of channel c lies: channels last, or images of 100 x 100, channel first.
std::int64_t place(bool last, std::int64_t i, std::int64_t c) {
  return last ? i * channels + c : (i / 10000 * channels + c) * 10000 + i % 10000;
}

void make_data(bool last, std::vector<int>& units) {
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t c = 0; c < channels; ++c) {
      x[place(last, i, c)] = float(offset + units[i * channels + c] / 16.0);
    }
  }
}

Errors train(const memory::desc& desc, bool last, const std::vector<int>& units) {
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const dnnl::batch_normalization_forward::primitive_desc primitive(
      {dnnl::prop_kind::forward_training, desc, 0.0f, dnnl::normalization_flags::none}, engine);
  std::vector<float> y(x.size()), mean(channels), variance(channels);
  const memory::desc numbers({channels}, memory::data_type::f32, memory::format_tag::x);
  dnnl::batch_normalization_forward(primitive).execute(
      stream, {{DNNL_ARG_SRC, memory(desc, engine, x.data())},
               {DNNL_ARG_DST, memory(desc, engine, y.data())},
               {DNNL_ARG_MEAN, memory(numbers, engine, mean.data())},
               {DNNL_ARG_VARIANCE, memory(numbers, engine, variance.data())}});
  stream.wait();
  Errors errors;
  for (std::int64_t c = 0; c < channels; ++c) {
    const double m = exact[c].mean(), v = exact[c].variance();
    errors.mean = std::fmax(errors.mean, std::fabs(mean[c] - offset - m) / std::sqrt(v));
    errors.variance_ratio = std::fmax(errors.variance_ratio, variance[c] / v);
    for (std::int64_t i = 0; i < count; ++i) {
      const double right = (units[i * channels + c] / 16.0 - m) / std::sqrt(v);
      errors.output = std::fmax(errors.output, std::fabs(y[place(last, i, c)] - right));
    }
  }
  return errors;
}

void print(const char* layout, const Errors& errors) {
  std::printf("%-20s mean off by %.4f, variance %.4f x the right one, output off by %.4f\n", layout,
              errors.mean, errors.variance_ratio, errors.output);
}

}  // namespace

int main() {
  const dnnl_version_t* version = dnnl::version();
  std::printf("oneDNN %d.%d.%d\n", version->major, version->minor, version->patch);
  std::vector<int> units(x.size());
  for (std::int64_t at = 0; at < count * channels; ++at) {
    units[at] = sixteenths();
    exact[at % channels].sum += units[at];
    exact[at % channels].squares += units[at] * units[at];
  }
  using Tag = memory::format_tag;
  const auto type = memory::data_type::f32;
  make_data(true, units);
  const Errors matrix = train({{count, channels}, type, Tag::nc}, true, units);
  const Errors last = train({{100, channels, 100, 100}, type, Tag::nhwc}, true, units);
  make_data(false, units);
  const Errors first = train({{100, channels, 100, 100}, type, Tag::nchw}, false, units);
  print("nc 1000000x16", matrix);
  print("nhwc 100x16x100x100", last);
  print("nchw 100x16x100x100", first);
  const auto lost = [](const Errors& errors) {
    return errors.mean > 1 && errors.variance_ratio > 2 && errors.output > 1;
  };
  return lost(matrix) && lost(last) && first.mean < 0.01 ? 0 : 1;
}
CPP
g++ -std=c++17 -O2 -isystem unpacked/usr/include program.cpp -o program \
  -L "$library_folder" -ldnnl "-Wl,-rpath,$folder/$library_folder" ||
  cannot_try "the program cannot be built"
if OMP_NUM_THREADS=1 ./program; then
  echo "as stated"
else
  echo "CHANGED"
  exit 1
fi
