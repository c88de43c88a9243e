// SPDX-License-Identifier: MIT
// A network that PyTorch trained on the UCI digits and saved, Sequential(Linear(64, 32, no bias),
// BatchNorm1d(32), ReLU, Linear(32, 10)), gives the same logits here.
//
//   05_pytorch_checkpoint [checkpoint [reference]]
//
// checkpoint  a safetensors file; by default tests/reference/digits_mlp.safetensors, which is found
//             from the top folder of the source tree
// reference   images `x` and the logits that PyTorch gave them; without it the logits are compared
//             with the same network written out in plain loops, on digits drawn by this program
//
// Prints, without a reference,
//
//   200 digits drawn by this program, which PyTorch never saw: 159 recognised
//   largest error of a logit: 0.13 of what is allowed

#include <algorithm>
#include <batchnorm/batchnorm.hpp>
#include <batchnorm/io/checkpoint.hpp>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/checks.hpp"
#include "support/drawn_digits.hpp"

namespace {

using batchnorm::Index;
using batchnorm::Tensors;

struct Network {
  Eigen::MatrixXf first, last;
  batchnorm::FrozenBatchNorm<float> norm;
  Eigen::VectorXf bias;

  /// PyTorch's files do not say which epsilon was used: it has to be known, and given.
  explicit Network(const Tensors& file)
      : first(file.matrix<float>("0.weight")),
        last(file.matrix<float>("3.weight")),
        norm(batchnorm::load_state<float>(file, "1.", batchnorm::Epsilon(1e-5)).freeze()),
        bias(file.matrix<float>("3.bias")) {
    const Index units = norm.channels();
    if (first.rows() != units || first.cols() != example::pixels || last.cols() != units ||
        last.rows() != example::classes || bias.size() != example::classes) {
      throw std::runtime_error(file.name() + ": the layers do not fit 64 pixels, 10 digits and " +
                               std::to_string(units) + " units");
    }
  }

  Eigen::VectorXf logits(const Eigen::VectorXf& image) const {
    const Eigen::VectorXf weighted = first * image;
    return last * norm(weighted).cwiseMax(0.0f) + bias;
  }
};

/// The same network from the numbers in the file, without the library and without Eigen.
std::vector<double> plain_logits(const Tensors& file, const Eigen::VectorXf& image) {
  const auto numbers = [&](const char* key) { return file.values<double>(key); };
  const auto first = numbers("0.weight"), gamma = numbers("1.weight"), beta = numbers("1.bias"),
             mean = numbers("1.running_mean"), variance = numbers("1.running_var"),
             last = numbers("3.weight"), bias = numbers("3.bias");
  std::vector<double> logits = bias;
  for (std::size_t unit = 0; unit < mean.size(); ++unit) {
    long double x = 0;
    for (std::size_t pixel = 0; pixel < 64; ++pixel) {
      const float brightness = image[static_cast<Index>(pixel)];
      x +=
          static_cast<long double>(first[64 * unit + pixel]) * static_cast<long double>(brightness);
    }
    const long double xhat = (x - mean[unit]) / std::sqrt(variance[unit] + 1e-5L);
    const long double activation = std::fmax(gamma[unit] * xhat + beta[unit], 0.0L);
    for (std::size_t digit = 0; digit < logits.size(); ++digit) {
      logits[digit] += static_cast<double>(last[mean.size() * digit + unit] * activation);
    }
  }
  return logits;
}

/// How far logits are from the expected ones, in units of what is allowed: 1e-5 of the number and
/// 2e-5 besides, the rounding of float in sums of 64 terms.
double error(const Eigen::VectorXf& logits, const double* expected) {
  double worst = 0;
  for (Index digit = 0; digit < logits.size(); ++digit) {
    const double allowed = 2e-5 + 1e-5 * std::abs(expected[digit]);
    const double off = std::abs(double{logits[digit]} - expected[digit]) / allowed;
    if (!std::isfinite(off)) return std::numeric_limits<double>::infinity();
    worst = std::max(worst, off);
  }
  return worst;
}

double compare_with_loops(const Network& network, const Tensors& file, example::Checks& checks) {
  example::Random random(1);
  double worst = 0;
  int read = 0;
  constexpr int images = 200;
  const example::Handwriting tidy{0.3, 0.4, 0.1, 1.0};
  for (int image = 0; image < images; ++image) {
    const int digit = image % 10;
    const Eigen::VectorXf drawn = example::draw_digit(digit, tidy, random);
    const Eigen::VectorXf logits = network.logits(drawn);
    worst = std::max(worst, error(logits, plain_logits(file, drawn).data()));
    Index best = 0;
    logits.maxCoeff(&best);
    if (best == digit) ++read;
  }
  std::printf("%d digits drawn by this program, which PyTorch never saw: %d recognised\n", images,
              read);
  checks.expect(2 * read > images, "most of the digits to be recognised");
  return worst;
}

double compare_with_pytorch(const Network& network, const std::string& path) {
  const Tensors reference = batchnorm::read_safetensors(path);
  const Eigen::MatrixXf images = reference.matrix<float>("x").transpose();
  const std::vector<double> logits = reference.values<double>("logits.f64");
  if (images.rows() != example::pixels ||
      reference.shape("logits.f64") != std::vector<Index>{images.cols(), example::classes}) {
    throw std::runtime_error(path + ": expected images x of 64 pixels and 10 logits for each");
  }
  double worst = 0;
  for (Index image = 0; image < images.cols(); ++image) {
    worst = std::max(worst, error(network.logits(images.col(image)),
                                  &logits[10 * static_cast<std::size_t>(image)]));
  }
  std::printf("%d images of the UCI digits: compared with the logits of PyTorch\n",
              static_cast<int>(images.cols()));
  return worst;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const std::string path = argc > 1 ? argv[1] : "tests/reference/digits_mlp.safetensors";
    const Tensors file = batchnorm::read_safetensors(path);
    const Network network(file);
    example::Checks checks;
    const double worst = argc > 2 ? compare_with_pytorch(network, argv[2])
                                  : compare_with_loops(network, file, checks);
    std::printf("largest error of a logit: %.2f of what is allowed\n", worst);
    checks.expect(worst <= 1.0, "logits within 1e-5 of the number and 2e-5 besides");
    return checks.exit_code();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "05_pytorch_checkpoint: %s\n", error.what());
    return 2;
  }
}
