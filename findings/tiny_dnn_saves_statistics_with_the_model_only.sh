#!/bin/sh
# SPDX-License-Identifier: MIT
# tiny-dnn saves a network's weights, its model, or both. The running mean and variance of a batch
# normalisation are no weights to it: a file of the weights is read into the same network without an
# error, and its statistics stay what they were, 0 and 0 in a new one, which then divides by
# sqrt(epsilon). They are in the file of the model, which is the architecture otherwise. The same
# weights as text, by the operators << and >>, have them.
#
# Version: tiny-dnn 1.0.0a3, Debian 12 (bookworm), package tiny-dnn 1.0.0a3+ds-3.
# Source:  tiny_dnn/layers/batch_normalization_layer.h: serialize(), which the model is saved with, and
#          save(), which the text is, have mean and variance; tiny_dnn/layers/layer.h, serialize(), which
#          weights are saved with, has weights() only.
#
# Output seen, for a network that was trained on 10, 12, 14 and 16, and what is predicted for 16:
#
#   trained: 3.789
#   content_type::weights_and_model, into an empty network: 3.789
#   operators << and >>, into a new network: 3.789
#   content_type::weights, into a new network: 5060
#   as stated
#
# (3.789 is not 1.162 for the reason that tiny_dnn_running_variance_starts_at_zero.sh has.)
#
#   findings/tiny_dnn_saves_statistics_with_the_model_only.sh
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
#include <cstdio>
#include <sstream>
#include <vector>

#include <tiny_dnn/tiny_dnn.h>

using namespace tiny_dnn;
using Network = network<sequential>;

void predict(const char* name, Network& network) {
  network.set_netphase(net_phase::test);
  std::printf("%s: %.4g\n", name, network.predict(vec_t{16})[0]);
}

void add_layers(Network& network) {
  network << fully_connected_layer<activation::identity>(1, 1) << batch_normalization_layer(1, 1);
}

int main() {
  Network trained;
  add_layers(trained);
  trained.weight_init(weight_init::constant(1));
  trained.bias_init(weight_init::constant(0));
  trained.init_weight();
  const std::vector<vec_t> values{{10}, {12}, {14}, {16}}, anything{{0}, {0}, {0}, {0}};
  gradient_descent still;
  still.alpha = 0;  // what the layer normalises stays as it is
  trained.fit<mse>(still, values, anything, 4, 1000);
  predict("trained", trained);

  trained.save("both", content_type::weights_and_model);
  Network both;
  both.load("both", content_type::weights_and_model);
  predict("content_type::weights_and_model, into an empty network", both);

  std::stringstream stream;
  stream << trained;
  Network text;
  add_layers(text);
  stream >> text;
  predict("operators << and >>, into a new network", text);

  trained.save("weights", content_type::weights);
  Network weights;
  add_layers(weights);
  weights.load("weights", content_type::weights);
  predict("content_type::weights, into a new network", weights);
}
CPP
g++ -std=c++14 -O0 -w -I. -isystem unpacked/usr/include program.cpp -o program -pthread ||
  cannot_try "the program cannot be built"
./program | tee seen
cat >expected <<'TXT'
trained: 3.789
content_type::weights_and_model, into an empty network: 3.789
operators << and >>, into a new network: 3.789
content_type::weights, into a new network: 5060
TXT
cmp -s seen expected || { echo 'changed'; exit 1; }
echo 'as stated'
