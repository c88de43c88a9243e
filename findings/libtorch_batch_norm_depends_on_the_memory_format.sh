#!/bin/sh
# SPDX-License-Identifier: MIT
# What libtorch's batch normalisation learns depends on the memory format: channels-first sums float
# values in double, channels-last and matrices in float, one after another. Of the same million
# values of mean 1000 and deviation 1 the mean is right in one format, and wrong by 8.9 deviations
# in the others, with a variance that is 80 times the right one. The number of threads changes both.
#
# Version: libtorch 1.13.1, Debian 12 (bookworm), package libtorch-dev 1.13.1+dfsg-4. (Its own
#          version.h says 1.13.0.)
# Source:  aten/src/ATen/native/cpu/batch_norm_kernel.cpp of pytorch/pytorch: the sums of
#          batch_norm_cpu_collect_stats_contiguous_impl are of acc_type, which is double for float;
#          the buffers of batch_norm_cpu_collect_stats_channels_last_impl are of the input's type.
# Seen on: AMD EPYC with AVX2, g++ 12.2.
#
# Output seen (the mean's error and the output are in deviations):
#
#   libtorch 1.13.0
#   nchw 100x16x100x100  1t  mean off by 0.0000, variance 1.0000 x the right one, output off by 0.0001
#   nhwc 100x16x100x100  1t  mean off by 8.9089, variance 80.3116 x the right one, output off by 5.8268
#   nc 1000000x16        1t  mean off by 8.9089, variance 80.3116 x the right one, output off by 5.8268
#   nchw 100x16x100x100  2t  mean off by 0.0000, variance 1.0000 x the right one, output off by 0.0001
#   nhwc 100x16x100x100  2t  mean off by 3.7154, variance 14.8066 x the right one, output off by 4.9776
#   nc 1000000x16        2t  mean off by 3.7154, variance 14.8066 x the right one, output off by 4.9776
#   as stated
#
# The values are exact multiples of 1/16, so that whole numbers give the right answer. Nothing is
# installed: the packages and what they depend on are unpacked in a temporary folder (110 MB).
#
#   findings/libtorch_batch_norm_depends_on_the_memory_format.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Needs apt-get and dpkg of Debian 12 and g++.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cannot_try() {
  echo "not tried: $1"
  exit 2
}

# Of a system without packages, so that everything is downloaded whatever is installed here.
mkdir -p archives/partial
: >no_packages
apt-get install -qq --download-only --no-install-recommends -o APT::Sandbox::User=root \
  -o Debug::NoLocking=1 -o Dir::State::status="$folder/no_packages" \
  -o Dir::Cache::archives="$folder/archives" libtorch-dev=1.13.1+dfsg-4 >/dev/null ||
  cannot_try "libtorch-dev cannot be downloaded"
for file in archives/*.deb; do
  case $file in
    */libc6_* | */libgcc-s1_* | */libstdc++6_*) ;; # those of the compiler that is here
    *) dpkg -x "$file" unpacked ;;
  esac
done
libraries=$(find "$folder/unpacked" -name '*.so*' -printf '%h\n' | sort -u | tr '\n' ':')

cat >program.cpp <<'CPP'
#include <ATen/Parallel.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/native_batch_norm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/api/include/torch/version.h>

#include <bitset>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <vector>

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

Errors train(const at::Tensor& in, bool last, const std::vector<int>& units) {
  const at::Tensor zeros = at::zeros({channels}), ones = at::ones({channels});
  // Running statistics that take the whole of the new ones: the variance is the unbiased one.
  const at::Tensor running_mean = zeros.clone(), running_variance = ones.clone();
  const at::Tensor out = std::get<0>(
      at::native_batch_norm(in, ones, zeros, running_mean, running_variance, true, 1.0, 0.0));
  const float* mean = running_mean.data_ptr<float>();
  const float* variance = running_variance.data_ptr<float>();
  const float* y = out.data_ptr<float>();
  Errors errors;
  for (std::int64_t c = 0; c < channels; ++c) {
    const double m = exact[c].mean(), v = exact[c].variance();
    errors.mean = std::fmax(errors.mean, std::fabs(mean[c] - offset - m) / std::sqrt(v));
    errors.variance_ratio =
        std::fmax(errors.variance_ratio, variance[c] / v * (count - 1.0) / count);
    for (std::int64_t i = 0; i < count; ++i) {
      const double right = (units[i * channels + c] / 16.0 - m) / std::sqrt(v);
      errors.output = std::fmax(errors.output, std::fabs(y[place(last, i, c)] - right));
    }
  }
  return errors;
}

void print(const char* layout, int threads, const Errors& errors) {
  std::printf("%-20s %dt  mean off by %.4f, variance %.4f x the right one, output off by %.4f\n",
              layout, threads, errors.mean, errors.variance_ratio, errors.output);
}

}  // namespace

int main() {
  std::printf("libtorch %s\n", TORCH_VERSION);
  std::vector<int> units(x.size());
  for (std::int64_t at = 0; at < count * channels; ++at) {
    units[at] = sixteenths();
    exact[at % channels].sum += units[at];
    exact[at % channels].squares += units[at] * units[at];
  }
  const auto lost = [](const Errors& errors) {
    return errors.mean > 1 && errors.variance_ratio > 2 && errors.output > 1;
  };
  bool as_stated = true;
  for (const int threads : {1, 2}) {
    at::set_num_threads(threads);
    make_data(false, units);
    const Errors first = train(at::from_blob(x.data(), {100, channels, 100, 100}), false, units);
    make_data(true, units);
    const Errors last = train(at::from_blob(x.data(), {100, channels, 100, 100},
                                            {10000 * channels, 1, 100 * channels, channels}),
                              true, units);
    const Errors matrix = train(at::from_blob(x.data(), {count, channels}), true, units);
    print("nchw 100x16x100x100", threads, first);
    print("nhwc 100x16x100x100", threads, last);
    print("nc 1000000x16", threads, matrix);
    as_stated = as_stated && first.mean < 1e-4 && lost(last) && lost(matrix);
  }
  return as_stated ? 0 : 1;
}
CPP
LD_LIBRARY_PATH="$libraries" g++ -std=c++17 -O2 -isystem unpacked/usr/include program.cpp \
  -o program -L "$(dirname "$(find unpacked -name libtorch_cpu.so)")" -ltorch_cpu -lc10 \
  -Wl,--allow-shlib-undefined || cannot_try "the program cannot be built"
if LD_LIBRARY_PATH="$libraries" ./program; then
  echo "as stated"
else
  echo "CHANGED"
  exit 1
fi
