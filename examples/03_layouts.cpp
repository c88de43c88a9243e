// SPDX-License-Identifier: MIT
// One minibatch, held in memory in every usual way: 4 images of 3 channels and 2 x 5 pixels. Batch
// norm reads each of them where it lies, through a view, and gives the same numbers.
//
// Prints
//
//   NCHW, as PyTorch has it  means 5.03 110.15 214.55  pixel (1, 2, 3) becomes -0.2671
//   NHWC, as Keras has it    means 5.03 110.15 214.55  pixel (1, 2, 3) becomes -0.2671
//   features x examples      means 5.03 110.15 214.55  pixel (1, 2, 3) becomes -0.2671
//   examples x features      means 5.03 110.15 214.55  pixel (1, 2, 3) becomes -0.2671
//   Tensor, in place         means 5.03 110.15 214.55  pixel (1, 2, 3) becomes -0.2671
//   Tensor, column-major     means 5.03 110.15 214.55  pixel (1, 2, 3) becomes -0.2671
//   block of a larger matrix means 5.03 110.15 214.55  pixel (1, 2, 3) becomes -0.2671

#include <batchnorm/batchnorm.hpp>
#include <batchnorm/view/eigen_tensor.hpp>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "support/checks.hpp"

namespace {

using batchnorm::BatchView;
using batchnorm::Index;

constexpr Index samples = 4, channels = 3, height = 2, width = 5, positions = height * width;
constexpr Index size = samples * channels * positions;

/// The value of a pixel, wherever it is stored.
float pixel(Index sample, Index channel, Index position) {
  const Index mixed = (sample * 7 + channel * 5 + position * 3) % 11;
  return static_cast<float>(mixed * (channel + 1) + 100 * channel);
}

/// A pixel through a view. To batch norm every pixel of every image is one more value of its
/// channel, so a matrix holds one column (or row) per pixel.
float& at(const BatchView<float>& view, Index sample, Index channel, Index position) {
  if (view.positions() == 1) return view(sample * positions + position, channel, 0);
  return view(sample, channel, position);
}

/// What has to come out, by the formula, without the library.
double expected(Index sample, Index channel, Index position) {
  double mean = 0;
  double variance = 0;
  for (Index k = 0; k < samples * positions; ++k) {
    mean += double{pixel(k / positions, channel, k % positions)} / (samples * positions);
  }
  for (Index k = 0; k < samples * positions; ++k) {
    const double deviation = double{pixel(k / positions, channel, k % positions)} - mean;
    variance += deviation * deviation / (samples * positions);
  }
  return (double{pixel(sample, channel, position)} - mean) / std::sqrt(variance + 1e-5);
}

/// Writes the minibatch through one view, normalises it into another, and compares every number.
void train(const char* layout, const BatchView<float>& in, const BatchView<float>& out,
           example::Checks& checks) {
  for (Index k = 0; k < size; ++k) {
    const Index n = k / (channels * positions), c = k / positions % channels, p = k % positions;
    at(in, n, c, p) = pixel(n, c, p);
  }
  batchnorm::BatchNorm<float> layer(channels);
  const auto batch = layer.train(in, out);
  double worst = 0;
  for (Index k = 0; k < size; ++k) {
    const Index n = k / (channels * positions), c = k / positions % channels, p = k % positions;
    worst = std::fmax(worst, std::abs(double{at(out, n, c, p)} - expected(n, c, p)));
  }
  checks.expect(worst < 1e-6, std::string("the numbers of the formula from ") + layout);
  std::printf("%-24s means %.2f %.2f %.2f  pixel (1, 2, 3) becomes %.4f\n", layout, batch.mean[0],
              batch.mean[1], batch.mean[2], double{at(out, 1, 2, 3)});
}

}  // namespace

int main() {
  using namespace batchnorm;
  example::Checks checks;

  std::vector<float> in(size), out(size);
  train("NCHW, as PyTorch has it", channels_first(in.data(), samples, channels, positions),
        channels_first(out.data(), samples, channels, positions), checks);
  train("NHWC, as Keras has it", channels_last(in.data(), samples, channels, positions),
        channels_last(out.data(), samples, channels, positions), checks);

  Eigen::MatrixXf columns(channels, samples * positions), columns_out = columns;
  train("features x examples", examples_in_columns(columns), examples_in_columns(columns_out),
        checks);
  Eigen::MatrixXf rows(samples * positions, channels), rows_out = rows;
  train("examples x features", examples_in_rows(rows), examples_in_rows(rows_out), checks);

  Eigen::Tensor<float, 4, Eigen::RowMajor> tensor(samples, channels, height, width);
  train("Tensor, in place", channels_first(tensor), channels_first(tensor), checks);
  Eigen::Tensor<float, 4> last(samples, height, width, channels), last_out = last;
  train("Tensor, column-major", channels_last(last), channels_last(last_out), checks);

  // A part of a larger matrix, into a matrix of its own: the strides of both may differ.
  Eigen::MatrixXf large = Eigen::MatrixXf::Zero(2 * channels, samples * positions + 7);
  auto block = large.block(1, 5, channels, samples * positions);
  train("block of a larger matrix", examples_in_columns(block), examples_in_columns(columns_out),
        checks);
  return checks.exit_code();
}
