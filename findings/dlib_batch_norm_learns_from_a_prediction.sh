#!/bin/sh
# SPDX-License-Identifier: MIT
# A prediction with dlib trains its batch normalisation, as soon as two samples are predicted in one
# call: bn_fc and bn_con have no mode, they train on every tensor of more than one sample and infer
# from one only. Both samples are normalised with their own statistics, which are averaged into the
# layer's: the same sample alone gets another answer before and after. In a network that has not been
# trained the two replace the statistics at once; later they weigh as much as a minibatch of training.
#
# Version: dlib 19.24, Debian 12 (bookworm), package libdlib-dev 19.24+dfsg-1, with libblas3 and
#          liblapack3 3.11.0-2.
# Source:  dlib/dnn/layers.h, class bn_, forward; its documentation in layers_abstract.h calls what
#          happens a surprise, and has affine_ as the layer that does not do it.
#
# Output seen, to four digits, for gamma 1, beta 0 and the samples 10 and 14 (epsilon is 1e-4):
#
#   10 alone: 10
#   10 and 14 together: -1 1
#   10 alone: -0.7071
#   the same network with affine, 10 alone: -0.7071
#   10 and 14 together: -0.7071 0.7071
#   10 alone: -0.7071
#   as stated
#
#   findings/dlib_batch_norm_learns_from_a_prediction.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Unpacks the packages into a temporary folder; needs apt-get and dpkg of Debian 12 and
# g++ (and takes a minute or two to compile).
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cannot_try() {
  echo "not tried: $1"
  exit 2
}

# The last two are what the Fortran of the two before them needs to run.
for package in libdlib-dev=19.24+dfsg-1 libblas3=3.11.0-2 liblapack3=3.11.0-2 \
  libgfortran5=12.2.0-14+deb12u1 libquadmath0=12.2.0-14+deb12u1; do
  apt-get download -qq -o APT::Sandbox::User=root "$package" ||
    cannot_try "$package cannot be downloaded"
done
for file in ./*.deb; do dpkg -x "$file" unpacked; done
libraries=$(find "$folder/unpacked" -name '*.so*' -printf '%h\n' | sort -u | tr '\n' ':')

cat >program.cpp <<'CPP'
#include <dlib/dnn.h>

#include <cstdio>
#include <vector>

using Sample = dlib::matrix<float>;
template <template <typename> class NORM>
using Network = dlib::loss_mean_squared_multioutput<NORM<dlib::input<Sample>>>;

Sample sample(float value) {
  Sample made(1, 1);
  made = value;
  return made;
}

template <typename NETWORK>
void predict(NETWORK& network, const char* who) {
  std::printf("%s10 alone: %.4g\n", who, network(sample(10))(0));
  const std::vector<Sample> both = network(std::vector<Sample>{sample(10), sample(14)});
  std::printf("10 and 14 together: %.4g %.4g\n", both[0](0), both[1](0));
  std::printf("10 alone: %.4g\n", network(sample(10))(0));
}

int main() {
  Network<dlib::bn_fc> network;
  predict(network, "");
  Network<dlib::affine> frozen = network;
  predict(frozen, "the same network with affine, ");
}
CPP
g++ -std=c++14 -DDLIB_NO_GUI_SUPPORT -isystem unpacked/usr/include program.cpp -o program \
  "$(find unpacked -name libdlib.a)" "$(find unpacked -path '*/lapack/liblapack.so.3')" \
  "$(find unpacked -path '*/blas/libblas.so.3')" -pthread -Wl,--allow-shlib-undefined ||
  cannot_try "the program cannot be built"
LD_LIBRARY_PATH="$libraries" ./program | tee seen
cat >expected <<'TXT'
10 alone: 10
10 and 14 together: -1 1
10 alone: -0.7071
the same network with affine, 10 alone: -0.7071
10 and 14 together: -0.7071 0.7071
10 alone: -0.7071
TXT
cmp -s seen expected || { echo 'changed'; exit 1; }
echo 'as stated'
