// SPDX-License-Identifier: MIT
#include "benchmarks/reference.hpp"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace batchnorm_benchmarks {
namespace {

std::size_t size(std::int64_t count) {
  return static_cast<std::size_t>(count);
}

/// body(channel, index) for every element, in the order of memory.
template <class Body>
void each_element(const Shape& shape, const Body& body) {
  const bool apart = shape.layout == Layout::nchw;
  const std::size_t outer = size(apart ? shape.samples : shape.values_per_channel());
  const std::size_t run = size(apart ? shape.positions() : 1);
  std::size_t at = 0;
  for (std::size_t i = 0; i < outer; ++i) {
    for (std::size_t channel = 0; channel < size(shape.channels); ++channel) {
      for (std::size_t position = 0; position < run; ++position) body(channel, at++);
    }
  }
}

using Wide = long double;
using Numbers = std::vector<Wide>;

/// NaN stays.
void raise_to(double& worst, double error) {
  if (!std::isnan(worst) && !(error <= worst)) worst = error;
}

Numbers widened(const std::vector<double>& numbers) {
  return {numbers.begin(), numbers.end()};
}

/// The sum over each channel of value(channel, index).
template <class Value>
Numbers sums(const Shape& shape, const Value& value) {
  Numbers all(size(shape.channels), 0.0L);
  each_element(shape,
               [&](std::size_t channel, std::size_t at) { all[channel] += value(channel, at); });
  return all;
}

/// body(pointers of the row's scalar made from those of the problem).
template <class Body>
auto with_type(Element element, const Body& body) {
  if (element == Element::f32) return body(float());
  if (element == Element::f64) return body(double());
  return body(Eigen::bfloat16());
}

/// Mean and variance of every channel.
struct Statistics {
  Numbers mean;
  Numbers variance;
};

template <class T>
Statistics statistics_as(const Problem& problem) {
  const Shape& shape = problem.row.shape;
  const T* x = static_cast<const T*>(problem.in);
  const auto n = static_cast<Wide>(shape.values_per_channel());
  Statistics all;
  all.mean = sums(shape, [&](std::size_t, std::size_t at) { return static_cast<Wide>(x[at]); });
  for (Wide& value : all.mean) value /= n;
  all.variance = sums(shape, [&](std::size_t channel, std::size_t at) {
    const Wide deviation = static_cast<Wide>(x[at]) - all.mean[channel];
    return deviation * deviation;
  });
  for (Wide& value : all.variance) value /= n;
  return all;
}

Statistics statistics_of(const Problem& problem) {
  return with_type(problem.row.element,
                   [&](auto zero) { return statistics_as<decltype(zero)>(problem); });
}

}  // namespace

void set_batch_statistics(Problem& problem) {
  const Statistics all = statistics_of(problem);
  problem.batch_mean.assign(all.mean.begin(), all.mean.end());
  problem.batch_variance.assign(all.variance.begin(), all.variance.end());
}

Reference::Reference(const Problem& problem) : problem_(problem) {
  if (problem.row.work == Work::backward) {
    set_backward();
  } else if (infers(problem.row.work)) {
    set_forward(widened(problem.running_mean), widened(problem.running_variance));
  } else {
    const Statistics trained = statistics_of(problem);
    set_forward(trained.mean, trained.variance);
  }
}

void Reference::set_forward(const Numbers& mean, const Numbers& variance) {
  const Wide added = problem_.row.work == Work::infer_add_relu ? 1.0L : 0.0L;
  for (std::size_t c = 0; c < mean.size(); ++c) {
    const Wide scale = problem_.gamma[c] / std::sqrt(variance[c] + epsilon);
    channels_.push_back({{scale, problem_.beta[c] - scale * mean[c], added}});
  }
}

// dx = scale (dy - mean of dy - xhat mean of dy xhat), with scale = gamma / root (Ioffe and Szegedy
// 2015, section 3, simplified).
void Reference::set_backward() {
  const Shape& shape = problem_.row.shape;
  const auto n = static_cast<Wide>(shape.values_per_channel());
  const Numbers mean = widened(problem_.batch_mean);
  Numbers beta, products;
  with_type(problem_.row.element, [&](auto zero) {
    const auto* x = static_cast<const decltype(zero)*>(problem_.in);
    const auto* dy = static_cast<const decltype(zero)*>(problem_.out_gradient);
    beta = sums(shape, [&](std::size_t, std::size_t at) { return static_cast<Wide>(dy[at]); });
    products = sums(shape, [&](std::size_t channel, std::size_t at) {
      return static_cast<Wide>(dy[at]) * (static_cast<Wide>(x[at]) - mean[channel]);
    });
  });
  for (std::size_t c = 0; c < mean.size(); ++c) {
    const Wide root = std::sqrt(static_cast<Wide>(problem_.batch_variance[c]) + epsilon);
    const Wide scale = problem_.gamma[c] / root;
    const Wide slope = scale * products[c] / (root * root * n);
    channels_.push_back({{-slope, slope * mean[c] - scale * beta[c] / n, scale}});
    gradients_.push_back(products[c] / root);
  }
  gradients_.insert(gradients_.end(), beta.begin(), beta.end());
}

template <class T>
double Reference::error_as(const void* result) const {
  const T* x = static_cast<const T*>(problem_.in);
  const T* second = static_cast<const T*>(problem_.residual);
  const T* got = static_cast<const T*>(result);
  const bool uses_second = channels_[0].k[2] > 0.0L;
  const bool relu =
      problem_.row.work == Work::infer_relu || problem_.row.work == Work::infer_add_relu;
  double worst = 0.0;
  each_element(problem_.row.shape, [&](std::size_t channel, std::size_t at) {
    const Wide* k = channels_[channel].k;
    Wide expected = k[0] * static_cast<Wide>(x[at]) + k[1];
    if (uses_second) expected += k[2] * static_cast<Wide>(second[at]);
    if (relu) expected = (std::max)(expected, 0.0L);
    const Wide error = std::abs(static_cast<Wide>(got[at]) - expected);
    const auto relative = static_cast<double>(error / (1.0L + std::abs(expected)));
    raise_to(worst, relative);
  });
  return worst;
}

double Reference::error(const void* result) const {
  return with_type(problem_.row.element,
                   [&](auto zero) { return error_as<decltype(zero)>(result); });
}

double Reference::gradient_error(const std::vector<double>& gradients) const {
  if (gradients.size() != gradients_.size()) return std::numeric_limits<double>::infinity();
  const double root = std::sqrt(static_cast<double>(problem_.row.shape.values_per_channel()));
  double worst = 0.0;
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    const Wide error = std::abs(static_cast<Wide>(gradients[i]) - gradients_[i]);
    const auto relative = static_cast<double>(error / (root + std::abs(gradients_[i])));
    raise_to(worst, relative);
  }
  return worst;
}

double tolerance(Element element) {
  return element == Element::bf16 ? 2e-2 : element == Element::f32 ? 5e-4 : 1e-9;
}

}  // namespace batchnorm_benchmarks
