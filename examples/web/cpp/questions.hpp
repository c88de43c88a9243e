// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_EXAMPLES_WEB_QUESTIONS_HPP
#define BATCHNORM_EXAMPLES_WEB_QUESTIONS_HPP

#include <algorithm>
#include <batchnorm/batchnorm.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "support/corruption.hpp"
#include "support/digits.hpp"
#include "support/random.hpp"
#include "web/cpp/small_network.hpp"
#include "web/cpp/training_run.hpp"

// What the tasks of the page ask of the network after its training. Numbers go in and numbers come
// out, so that the page and a native program can ask the same.

namespace example {

using Numbers = std::vector<double>;
using Norm = batchnorm::BatchNorm<float>;
using FrozenNorm = batchnorm::FrozenBatchNorm<float>;

template <class Values>
void append(Numbers& to, const Values& values) {
  for (Eigen::Index k = 0; k < values.size(); ++k) to.push_back(static_cast<double>(values(k)));
}

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

/// A rule as numbers: 0 take_new(weight), 1 keep_old(weight), 2 keep_old_debiased(weight),
/// 3 cumulative().
inline batchnorm::RunningUpdate rule_of(double kind, double weight) {
  using Update = batchnorm::RunningUpdate;
  if (kind < 0.5) return Update::take_new(weight);
  if (kind < 1.5) return Update::keep_old(weight);
  return kind < 2.5 ? Update::keep_old_debiased(weight) : Update::cumulative();
}

/// A layer with nothing but the running statistics of the first `count` minibatches.
/// @param look  called with the state after each
template <class Look>
Norm follow(const TrainingRun& run, batchnorm::RunningUpdate rule, int count, Look&& look) {
  batchnorm::Options options;
  options.running = rule;
  Norm norm(hidden_channels, options);
  for (int k = 0; k < count; ++k) {
    norm.commit(run.moments()[static_cast<std::size_t>(k)]);
    look(norm.state());
  }
  return norm;
}
inline Norm follow(const TrainingRun& run, batchnorm::RunningUpdate rule, int count) {
  return follow(run, rule, count, [](const auto&) {});
}

/// {channel, kind, weight, first, count}: the running mean of a channel after minibatches first to
/// first + count - 1.
inline Numbers running_means(const TrainingRun& run, const Numbers& asked) {
  const auto channel = static_cast<Eigen::Index>(asked[0]);
  const auto first = static_cast<std::size_t>(asked[3]), count = static_cast<std::size_t>(asked[4]);
  Numbers means;
  follow(run, rule_of(asked[1], asked[2]), static_cast<int>(first + count),
         [&](const auto& state) { means.push_back(double{state.running_mean[channel]}); });
  means.erase(means.begin(), means.begin() + static_cast<std::ptrdiff_t>(first));
  return means;
}

/// {channel, first, count}: the means of the minibatches themselves.
inline Numbers minibatch_means(const TrainingRun& run, const Numbers& asked) {
  const auto channel = static_cast<Eigen::Index>(asked[0]);
  Numbers means;
  for (double k = asked[1]; k < asked[1] + asked[2]; ++k) {
    means.push_back(run.moments()[static_cast<std::size_t>(k)].mean[channel]);
  }
  return means;
}

/// {channel}: the mean over the whole training set under the weights of each of the first
/// minibatches.
inline Numbers whole_set_means(const TrainingRun& run, const Numbers& asked) {
  const auto channel = static_cast<Eigen::Index>(asked[0]);
  Numbers means;
  for (const Eigen::MatrixXf& weight : run.weights()) {
    const Eigen::MatrixXf row = weight.row(channel) * run.data().training.images;
    means.push_back(double{batchnorm::moments_of(row).mean[0]});
  }
  return means;
}

/// A network at test time with the running statistics of another layer.
inline FrozenNorm with_statistics(const SmallNetwork& network, const Norm& statistics) {
  batchnorm::State<float> state = network.hidden.norm.state();
  state.running_mean = statistics.state().running_mean;
  state.running_variance = statistics.state().running_variance;
  return FrozenNorm(state, network.hidden.norm.options());
}

/// How far the means are from those of a whole set, in its standard deviations: the root of the
/// mean square over all channels.
inline double distance(const Norm& norm, const Moments& whole) {
  double sum = 0.0;
  for (Eigen::Index channel = 0; channel < hidden_channels; ++channel) {
    const double off = double{norm.state().running_mean[channel]} - double{whole.mean[channel]};
    sum += off * off / double{whole.population_variance()[channel]};
  }
  return std::sqrt(sum / double{hidden_channels});
}

/// {stop, kind, weight}: after 20, 100 or 1000 minibatches (stop 0, 1 or 2), how far the estimate
/// of a rule is from the whole training set, and how many test images are read with it. Kind 4 is
/// the whole set itself, re-estimated.
inline Numbers estimate(const TrainingRun& run, const Numbers& asked) {
  const auto stop = static_cast<std::size_t>(asked[0]);
  const SmallNetwork& network = run.kept(stop);
  const Moments whole = network.moments(run.data().training.images);
  const auto read = [&](const Norm& norm) {
    const int right = count_right(network, with_statistics(network, norm), run.data().test);
    return Numbers{distance(norm, whole), static_cast<double>(right)};
  };
  if (asked[1] < 3.5) {
    return read(follow(run, rule_of(asked[1], asked[2]), TrainingRun::stops[stop]));
  }
  Norm again = network.hidden.norm;
  batchnorm::reestimate(
      again, {run.data().training.count(), 256},
      [&](Eigen::Index begin, Eigen::Index count) -> Eigen::MatrixXf {
        return network.hidden.dense(run.data().training.images.middleCols(begin, count));
      });
  return read(again);
}

/// {kind, weight}: how many test images the trained network reads with the statistics of a rule.
inline Numbers accuracy(const TrainingRun& run, const Numbers& asked) {
  const Norm norm = follow(run, rule_of(asked[0], asked[1]), run.done());
  const SmallNetwork& network = run.network();
  return {
      static_cast<double>(count_right(network, with_statistics(network, norm), run.data().test))};
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

/// A question by its name; nullptr when there is none.
using Question = Numbers (*)(const TrainingRun&, const Numbers&);
inline Question question_named(const std::string& name) {
  struct Entry {
    const char* name;
    Question question;
  };
  static constexpr Entry all[] = {{"accuracy", &accuracy},
                                  {"beta", &beta},
                                  {"changed_picture", &changed_picture},
                                  {"changed_world", &changed_world},
                                  {"company", &company},
                                  {"estimate", &estimate},
                                  {"folded", &folded},
                                  {"minibatch_means", &minibatch_means},
                                  {"offset_variance", &offset_variance},
                                  {"picture", &picture},
                                  {"refused", &refused},
                                  {"running_means", &running_means},
                                  {"test_accuracy", &test_accuracy},
                                  {"whole_set_means", &whole_set_means}};
  for (const Entry& entry : all) {
    if (name == entry.name) return entry.question;
  }
  return nullptr;
}

}  // namespace example

#endif  // BATCHNORM_EXAMPLES_WEB_QUESTIONS_HPP
