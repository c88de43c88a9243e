#!/bin/sh
# SPDX-License-Identifier: MIT
# oneDNN's batch normalisation with prop_kind::forward_inference normalises with the statistics of its
# input, as in training: that it is to use those that it is given is a flag of its own,
# use_global_stats. Without the flag the mean and the variance that are passed to execute() are not
# read, and nothing says so: no error, and no status. What is asked for as inference then depends on
# the whole minibatch, and a minibatch of one value gives 0 whatever it holds.
#
# Version: oneDNN 2.6.3, Debian 12 (bookworm), packages libdnnl2 and libdnnl-dev 2.6.3-1.
# Source:  oneDNN developer guide, Batch Normalization, table of the inputs by flag: forward_inference
#          reads mean and variance with use_global_stats only. That others are accepted is seen here.
#
# Output seen, for 10 and 14, then 10 alone, with mean 0 and variance 1 given, epsilon 1e-5,
# to four digits:
#
#   forward_inference: -1 1, alone 0
#   forward_inference with use_global_stats: 10 14, alone 10
#   as stated
#
#   findings/onednn_inference_ignores_the_statistics_it_is_given.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Unpacks the packages into a temporary folder; needs apt-get and dpkg of Debian 12,
# g++, and OpenMP's run-time library (libgomp1).
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
#include <cstdio>
#include <oneapi/dnnl/dnnl.hpp>
#include <vector>

using dnnl::memory;
using dnnl::normalization_flags;

std::vector<float> infer(std::vector<float> x, normalization_flags flags) {
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const memory::desc data({memory::dim(x.size()), 1}, memory::data_type::f32,
                          memory::format_tag::nc);
  const memory::desc channels({1}, memory::data_type::f32, memory::format_tag::x);
  const dnnl::batch_normalization_forward::primitive_desc primitive(
      {dnnl::prop_kind::forward_inference, data, 1e-5f, flags}, engine);
  std::vector<float> y(x.size()), mean{0}, variance{1};
  dnnl::batch_normalization_forward(primitive).execute(
      stream, {{DNNL_ARG_SRC, memory(data, engine, x.data())},
               {DNNL_ARG_DST, memory(data, engine, y.data())},
               {DNNL_ARG_MEAN, memory(channels, engine, mean.data())},
               {DNNL_ARG_VARIANCE, memory(channels, engine, variance.data())}});
  stream.wait();
  return y;
}

int main() {
  for (const auto flags : {normalization_flags::none, normalization_flags::use_global_stats}) {
    const std::vector<float> pair = infer({10, 14}, flags), alone = infer({10}, flags);
    std::printf("forward_inference%s: %.4g %.4g, alone %.4g\n",
                flags == normalization_flags::none ? "" : " with use_global_stats", pair[0],
                pair[1], alone[0]);
  }
}
CPP
g++ -std=c++17 -O2 -isystem unpacked/usr/include program.cpp -o program \
  -L "$library_folder" -ldnnl "-Wl,-rpath,$folder/$library_folder" ||
  cannot_try "the program cannot be built"
./program | tee seen
cat >expected <<'TXT'
forward_inference: -1 1, alone 0
forward_inference with use_global_stats: 10 14, alone 10
TXT
cmp -s seen expected || { echo 'changed'; exit 1; }
echo 'as stated'
