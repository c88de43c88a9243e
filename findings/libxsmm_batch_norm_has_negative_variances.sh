#!/bin/sh
# SPDX-License-Identifier: MIT
# LIBXSMM's fused batch normalisation, for deep learning, takes the square of the mean from the mean of
# the squares, in float, and does not keep the difference from going below 0. At a mean of 1000 and a
# deviation of 1, which an activation before its normalisation may well have, the variance is anything
# from -0.5 to 4: of 1000 minibatches a fifth come out as no numbers, whole channels of them, and a
# seventh are scaled by two times too much or too little. Nothing is reported, and epsilon, 1e-7, is no
# option.
#
# Version: LIBXSMM 1.17, Debian 12 (bookworm), package libxsmm-dev 1.17-2.
# Source:  src/template/libxsmm_dnn_fusedbatchnorm_st_fwd_custom_generic.tpl.c of libxsmm/libxsmm. The
#          documentation does not say how the variance is found.
# Seen on: AMD EPYC with AVX2; other registers round other sums.
#
# Output seen, for two images of 8 x 8 pixels, half of them 1 above and half 1 below the mean, whose
# variance is 1:
#
#   means 0 to 99: variances 1 to 1, 0 times no numbers, 0 times scaled wrong by 2 or more
#   means 1000 to 1999: variances -0.5 to 4, 197 times no numbers, 145 times scaled wrong by 2 or more
#   as stated
#
#   findings/libxsmm_batch_norm_has_negative_variances.sh
#
# Ends with 0 when the behaviour is as stated, with 1 when it has changed, and with 2 when it could
# not be tried. Unpacks the package into a temporary folder; needs apt-get and dpkg of Debian 12 on
# x86-64, and cc.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cannot_try() {
  echo "not tried: $1"
  exit 2
}

[ "$(uname -m)" = x86_64 ] || cannot_try "this is no x86-64"
apt-get download -qq -o APT::Sandbox::User=root libxsmm-dev=1.17-2 ||
  cannot_try "libxsmm-dev cannot be downloaded"
dpkg -x libxsmm-dev_*.deb unpacked

cat >program.c <<'C'
#include <libxsmm.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { images = 2, channels = 64, height = 8, width = 8, pixels = images * height * width };

static libxsmm_dnn_fusedbatchnorm* layer;

static void must(libxsmm_dnn_err_t error) {
  if (error == LIBXSMM_DNN_SUCCESS) return;
  printf("not tried: %s\n", libxsmm_dnn_get_error(error));
  exit(2);
}

static float* bind(libxsmm_dnn_tensor_type type, size_t count, float value) {
  libxsmm_dnn_err_t error = LIBXSMM_DNN_SUCCESS;
  float* numbers = libxsmm_aligned_malloc(count * sizeof *numbers, 64);
  libxsmm_dnn_tensor_datalayout* layout =
      libxsmm_dnn_fusedbatchnorm_create_tensor_datalayout(layer, type, &error);
  must(error);
  libxsmm_dnn_tensor* tensor = libxsmm_dnn_link_tensor(layout, numbers, &error);
  must(error);
  must(libxsmm_dnn_destroy_tensor_datalayout(layout));
  must(libxsmm_dnn_fusedbatchnorm_bind_tensor(layer, tensor, type));
  for (size_t i = 0; i < count; ++i) numbers[i] = value;
  return numbers;
}

int main(void) {
  libxsmm_dnn_fusedbatchnorm_desc description = {0};
  description.partN = description.fullN = images;
  description.C = channels;
  description.H = height;
  description.W = width;
  description.u = description.v = description.threads = 1;
  description.datatype_in = description.datatype_out = LIBXSMM_DNN_DATATYPE_F32;
  description.datatype_stats = LIBXSMM_DNN_DATATYPE_F32;
  description.buffer_format = LIBXSMM_DNN_TENSOR_FORMAT_LIBXSMM;
  description.fuse_order = LIBXSMM_DNN_FUSEDBN_ORDER_BN_ELTWISE_RELU;
  description.fuse_ops = LIBXSMM_DNN_FUSEDBN_OPS_BN;
  libxsmm_dnn_err_t error = LIBXSMM_DNN_SUCCESS;
  layer = libxsmm_dnn_create_fusedbatchnorm(description, &error);
  must(error);
  float* x = bind(LIBXSMM_DNN_REGULAR_INPUT, (size_t)pixels * channels, 0);
  const float* y = bind(LIBXSMM_DNN_REGULAR_OUTPUT, (size_t)pixels * channels, 0);
  const float* variance = bind(LIBXSMM_DNN_CHANNEL_VARIANCE, channels, 0);
  bind(LIBXSMM_DNN_REGULAR_CHANNEL_GAMMA, channels, 1);
  bind(LIBXSMM_DNN_REGULAR_CHANNEL_BETA, channels, 0);
  bind(LIBXSMM_DNN_CHANNEL_EXPECTVAL, channels, 0);
  bind(LIBXSMM_DNN_CHANNEL_RCPSTDDEV, channels, 0);
  const size_t scratch = libxsmm_dnn_fusedbatchnorm_get_scratch_size(layer, &error);
  must(error);
  must(libxsmm_dnn_fusedbatchnorm_bind_scratch(layer, libxsmm_aligned_malloc(scratch, 2097152)));

  int no_numbers[2] = {0, 0}, wrong[2] = {0, 0};
  for (int part = 0; part < 2; ++part) {
    const int first = part == 0 ? 0 : 1000, end = part == 0 ? 100 : 2000;
    float smallest = INFINITY, largest = -INFINITY;
    for (int mean = first; mean < end; ++mean) {
      /* All channels have the same values, whatever the order of the buffer is. */
      for (int i = 0; i < pixels * channels; ++i) x[i] = (float)mean + (i / channels % 2 ? 1 : -1);
      must(libxsmm_dnn_fusedbatchnorm_execute_st(layer, LIBXSMM_DNN_COMPUTE_KIND_FWD, 0, 0));
      smallest = fminf(smallest, variance[0]);
      largest = fmaxf(largest, variance[0]);
      no_numbers[part] += isnan(y[0]) != 0;
      wrong[part] += fabsf(y[0]) <= 0.5f || fabsf(y[0]) >= 2;
    }
    printf("means %d to %d: variances %.3g to %.3g, %d times no numbers, "
           "%d times scaled wrong by 2 or more\n", first, end - 1, smallest, largest, no_numbers[part],
           wrong[part]);
  }
  return no_numbers[0] != 0 || wrong[0] != 0 || no_numbers[1] == 0 || wrong[1] == 0;
}
C
cc -O1 -isystem unpacked/usr/include program.c -o program unpacked/usr/lib/libxsmm.a \
  unpacked/usr/lib/libxsmmnoblas.a -lm -ldl -pthread || cannot_try "the program cannot be built"
code=0
./program || code=$?
case $code in
  0) echo 'as stated' ;;
  2) exit 2 ;;
  *) echo 'changed'; exit 1 ;;
esac
