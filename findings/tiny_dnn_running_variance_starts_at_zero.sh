#!/bin/sh
# SPDX-License-Identifier: MIT
# The running mean and the running variance of tiny-dnn's batch normalisation start at 0, both, and 0.999
# of them is kept at each minibatch, without a correction for the start. After 100 minibatches of the
# same data the running variance is 9.5 % of theirs, after 1000 it is 63 %: a network that was trained
# for a few epochs scales its channels three times too much when it predicts, and is not centred
# either. Before the first minibatch it divides by sqrt(epsilon). Other systems start at a variance of
# 1, or count.
#
# Version: tiny-dnn 1.0.0a3, Debian 12 (bookworm), package tiny-dnn 1.0.0a3+ds-3.
# Source:  tiny_dnn/layers/batch_normalization_layer.h, init() and post_update().
#
# Output seen, for minibatches of 10, 12, 14 and 16, whose mean is 13 and whose variance (n - 1) is
# 6.667, epsilon 1e-5, and what is predicted for 16:
#
#   after 0 minibatches: 5060, right 1.162
#   after 1 minibatches: 195.7, right 1.162
#   after 100 minibatches: 18.53, right 1.162
#   after 1000 minibatches: 3.789, right 1.162
#   as stated
#
#   findings/tiny_dnn_running_variance_starts_at_zero.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Unpacks the packages into a temporary folder; needs apt-get and dpkg of Debian 12 and
# g++.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cannot_try() {
  echo "not tried: $1"
  exit 2
}

# The package has none of the headers that its own include.
for package in tiny-dnn=1.0.0a3+ds-3 libcereal-dev=1.3.2+dfsg-4 rapidjson-dev=1.1.0+dfsg2-7.1 \
  libstb-dev=0.0~git20220908.8b5f1f3+ds-1 libgemmlowp-dev=0.0~git20211220.e844ffd-1; do
  apt-get download -qq -o APT::Sandbox::User=root "$package" ||
    cannot_try "$package cannot be downloaded"
done
for file in ./*.deb; do dpkg -x "$file" unpacked; done
mkdir third_party
ln -s "$folder/unpacked/usr/include/stb" third_party/stb

cat >program.cpp <<'CPP'
#include <cmath>
#include <cstdio>
#include <vector>

#include <tiny_dnn/tiny_dnn.h>

using namespace tiny_dnn;

int main() {
  network<sequential> network;
  network << fully_connected_layer<activation::identity>(1, 1) << batch_normalization_layer(1, 1);
  network.weight_init(weight_init::constant(1));
  network.bias_init(weight_init::constant(0));
  network.init_weight();
  const std::vector<vec_t> values{{10}, {12}, {14}, {16}}, anything{{0}, {0}, {0}, {0}};
  gradient_descent still;
  still.alpha = 0;  // what the layer normalises stays as it is
  int done = 0;
  for (const int minibatches : {0, 1, 100, 1000}) {
    if (minibatches > done) network.fit<mse>(still, values, anything, 4, minibatches - done);
    done = minibatches;
    network.set_netphase(net_phase::test);
    std::printf("after %d minibatches: %.4g, right %.4g\n", minibatches, network.predict(vec_t{16})[0],
                3 / std::sqrt(20.0 / 3 + 1e-5));
  }
}
CPP
g++ -std=c++14 -O0 -w -I. -isystem unpacked/usr/include program.cpp -o program -pthread ||
  cannot_try "the program cannot be built"
./program | tee seen
cat >expected <<'TXT'
after 0 minibatches: 5060, right 1.162
after 1 minibatches: 195.7, right 1.162
after 100 minibatches: 18.53, right 1.162
after 1000 minibatches: 3.789, right 1.162
TXT
cmp -s seen expected || { echo 'changed'; exit 1; }
echo 'as stated'
