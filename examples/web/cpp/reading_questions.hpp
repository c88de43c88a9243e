// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_WEB_READING_QUESTIONS_HPP
#define BATCHNORM_EXAMPLES_WEB_READING_QUESTIONS_HPP

#include <algorithm>
#include <batchnorm/batchnorm.hpp>
#include <cstddef>
#include <vector>

#include "support/corruption.hpp"
#include "support/digits.hpp"
#include "support/random.hpp"
#include "web/cpp/numbers.hpp"
#include "web/cpp/small_network.hpp"
#include "web/cpp/training_run.hpp"

// Questions about test time: what the trained network reads, and with which statistics. Tasks 1, 2,
// 6 and 7 of the page.

namespace example {

/// A norm that gives beta whatever comes in: what is left when one value is normalised with its own
/// statistics, because x - mean is 0. This library refuses such a minibatch.
inline FrozenNorm beta_alone(const Norm& norm) {
  return FrozenNorm::from_scale_and_shift(Eigen::VectorXf::Zero(norm.channels()),
                                          norm.state().beta);
}

/// Test image `picture` with others beside it: its 32 outputs of the norm and its 10 probabilities,
/// with the statistics of this minibatch, and then the same of freeze().
inline Numbers company(const TrainingRun& run, const Numbers& pictures) {
  const SmallNetwork& network = run.network();
  const auto count = static_cast<Eigen::Index>(pictures.size());
  Eigen::MatrixXf weighted(hidden_channels, count), normalised;
  for (Eigen::Index k = 0; k < count; ++k) {
    const auto picture = static_cast<Eigen::Index>(pictures[static_cast<std::size_t>(k)]);
    weighted.col(k) = network.hidden.dense(run.data().test.images.col(picture));
  }
  const Norm& norm = network.hidden.norm;
  if (count == 1) {
    normalised = beta_alone(norm)(weighted);
  } else {
    normalised.resize(hidden_channels, count);
    norm.normalize(weighted, normalised);
  }
  Numbers result;
  for (const Eigen::MatrixXf& output : {normalised, norm.freeze()(weighted)}) {
    append(result, output.col(0));
    append(result, probabilities(network.logits(output.col(0))));
  }
  return result;
}

/// Normalises one image with its own statistics, which is refused.
inline Numbers refused(const TrainingRun& run, const Numbers& pictures) {
  const auto picture = static_cast<Eigen::Index>(pictures.front());
  const Eigen::MatrixXf weighted = run.network().hidden.dense(run.data().test.images.col(picture));
  Eigen::MatrixXf normalised(hidden_channels, 1);
  run.network().hidden.norm.normalize(weighted, normalised);
  return {};
}

/// The test images as another camera sees them.
inline Digits through(const TrainingRun& run, const Camera& camera) {
  Random random(1);
  return camera(run.data().test, random);
}

/// Reads images in groups, each with statistics that are adapted to it; returns how many of each
/// group are read correctly. With n = 1 and N = 0 nothing is left but beta.
inline Numbers read_adapted(const SmallNetwork& network, const Digits& digits, Eigen::Index n,
                            const batchnorm::Adaptation& how) {
  const bool alone =
      n == 1 && how.rule() == batchnorm::Adaptation::Rule::prior && !(how.prior_values() > 0.0);
  Numbers right;
  for (Eigen::Index begin = 0; begin < digits.count(); begin += n) {
    Digits group((std::min)(n, digits.count() - begin));
    group.images = digits.images.middleCols(begin, group.count());
    for (Eigen::Index k = 0; k < group.count(); ++k) group.label(k) = digits.label(begin + k);
    const FrozenNorm norm =
        alone ? beta_alone(network.hidden.norm)
              : batchnorm::adapt(network.hidden.norm, network.moments(group.images), how);
    right.push_back(static_cast<double>(count_right(network, norm, group)));
  }
  return right;
}

/// {contrast, brightness, noise, N, n, sorted}: how many images of each minibatch of n are read
/// correctly by adapt(..., Adaptation::prior(N)); a negative N stands for no adaptation. Sorted,
/// the images come one class after the other.
inline Numbers changed_world(const TrainingRun& run, const Numbers& asked) {
  using batchnorm::Adaptation;
  Digits digits = through(run, {asked[0], asked[1], asked[2]});
  if (asked[5] > 0.5) digits = sorted_by_class(digits);
  const Adaptation how = asked[3] < 0.0 ? Adaptation::source() : Adaptation::prior(asked[3]);
  return read_adapted(run.network(), digits, static_cast<Eigen::Index>(asked[4]), how);
}

/// {contrast, brightness, noise, picture}: the 64 pixels of a test image as that camera sees it.
inline Numbers changed_picture(const TrainingRun& run, const Numbers& asked) {
  Numbers result;
  append(
      result,
      through(run, {asked[0], asked[1], asked[2]}).images.col(static_cast<Eigen::Index>(asked[3])));
  return result;
}

/// The layer folded into the weights in front of it: the largest difference of any logit of the
/// test images, how many answers differ, and how many numbers layers hold at test time, before and
/// after.
inline Numbers folded(const TrainingRun& run, const Numbers&) {
  const SmallNetwork& network = run.network();
  const Eigen::MatrixXf& images = run.data().test.images;
  const FrozenNorm norm = network.hidden.norm.freeze();
  const Eigen::MatrixXf before = network.logits(norm(network.hidden.dense(images)));
  Dense dense = network.hidden.dense;
  batchnorm::fold_after(batchnorm::linear(dense.weight), dense.bias, network.hidden.norm);
  const Eigen::MatrixXf after = network.logits(dense(images));
  const std::vector<int> one = answers(before), two = answers(after);
  int other = 0;
  for (std::size_t k = 0; k < one.size(); ++k) other += one[k] == two[k] ? 0 : 1;
  const auto weights = static_cast<double>(dense.weight.size());
  const auto channels = static_cast<double>(hidden_channels);
  return {static_cast<double>((before - after).cwiseAbs().maxCoeff()), static_cast<double>(other),
          weights + 4 * channels, weights + channels};
}

/// {offset, n}: the variance of n numbers of variance 1 and mean `offset` in float, by
/// E[x^2] - E[x]^2, by this library, and by two passes in double.
inline Numbers offset_variance(const TrainingRun&, const Numbers& asked) {
  Random random(7);
  Eigen::RowVectorXf values(static_cast<Eigen::Index>(asked[1]));
  for (float& value : values) value = static_cast<float>(asked[0] + random.normal());
  const auto count = static_cast<float>(values.size());
  float sum = 0.0f, squares = 0.0f;
  for (const float value : values) {
    sum += value;
    squares += value * value;
  }
  const float mean = sum / count;
  double exact_mean = 0.0, exact = 0.0;
  for (const float value : values) exact_mean += double{value} / double{count};
  for (const float value : values) {
    exact += (double{value} - exact_mean) * (double{value} - exact_mean) / double{count};
  }
  return {double{squares / count - mean * mean},
          double{batchnorm::moments_of(values).population_variance()[0]}, exact};
}

/// {}: how many test images the network reads at test time, of how many.
inline Numbers test_accuracy(const TrainingRun& run, const Numbers&) {
  return {static_cast<double>(
              count_right(run.network(), run.network().hidden.norm.freeze(), run.data().test)),
          static_cast<double>(run.data().test.count())};
}

/// {picture}: the 64 pixels of a test image, and what it shows.
inline Numbers picture(const TrainingRun& run, const Numbers& asked) {
  const auto image = static_cast<Eigen::Index>(asked[0]);
  Numbers result;
  append(result, run.data().test.images.col(image));
  result.push_back(run.data().test.label(image));
  return result;
}

/// {}: the 32 numbers of beta.
inline Numbers beta(const TrainingRun& run, const Numbers&) {
  Numbers result;
  append(result, run.network().hidden.norm.state().beta);
  return result;
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_WEB_READING_QUESTIONS_HPP
