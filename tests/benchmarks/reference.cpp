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

/// The sum over each channel of value(channel, index).
template <class Value>
std::vector<double> sums(const Shape& shape, const Value& value) {
  std::vector<double> all(size(shape.channels), 0.0);
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

template <class T>
void set_statistics_as(Problem& problem) {
  const Shape& shape = problem.row.shape;
  const T* x = static_cast<const T*>(problem.in);
  const auto n = static_cast<double>(shape.values_per_channel());
  std::vector<double>& mean = problem.batch_mean;
  mean = sums(shape, [&](std::size_t, std::size_t at) { return static_cast<double>(x[at]); });
  for (double& value : mean) value /= n;
  problem.batch_variance = sums(shape, [&](std::size_t channel, std::size_t at) {
    const double deviation = static_cast<double>(x[at]) - mean[channel];
    return deviation * deviation;
  });
  for (double& value : problem.batch_variance) value /= n;
}

}  // namespace

void set_batch_statistics(Problem& problem) {
  with_type(problem.row.element, [&](auto zero) { set_statistics_as<decltype(zero)>(problem); });
}

Reference::Reference(const Problem& problem) : problem_(problem) {
  if (problem.row.work == Work::backward) {
    set_backward();
  } else if (infers(problem.row.work)) {
    set_forward(problem.running_mean, problem.running_variance);
  } else {
    Problem trained = problem;
    set_batch_statistics(trained);
    set_forward(trained.batch_mean, trained.batch_variance);
  }
}

void Reference::set_forward(const std::vector<double>& mean, const std::vector<double>& variance) {
  const double added = problem_.row.work == Work::infer_add_relu ? 1.0 : 0.0;
  for (std::size_t c = 0; c < mean.size(); ++c) {
    const double scale = problem_.gamma[c] / std::sqrt(variance[c] + epsilon);
    channels_.push_back({{scale, problem_.beta[c] - scale * mean[c], added}});
  }
}

// dx = scale (dy - mean of dy - xhat mean of dy xhat), with scale = gamma / root (Ioffe and Szegedy
// 2015, section 3, simplified).
void Reference::set_backward() {
  const Shape& shape = problem_.row.shape;
  const auto n = static_cast<double>(shape.values_per_channel());
  const std::vector<double>& mean = problem_.batch_mean;
  std::vector<double> beta, products;
  with_type(problem_.row.element, [&](auto zero) {
    const auto* x = static_cast<const decltype(zero)*>(problem_.in);
    const auto* dy = static_cast<const decltype(zero)*>(problem_.out_gradient);
    beta = sums(shape, [&](std::size_t, std::size_t at) { return static_cast<double>(dy[at]); });
    products = sums(shape, [&](std::size_t channel, std::size_t at) {
      return static_cast<double>(dy[at]) * (static_cast<double>(x[at]) - mean[channel]);
    });
  });
  for (std::size_t c = 0; c < mean.size(); ++c) {
    const double root = std::sqrt(problem_.batch_variance[c] + epsilon);
    const double scale = problem_.gamma[c] / root;
    const double slope = scale * products[c] / (root * root * n);
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
  const bool uses_second = channels_[0].k[2] > 0.0;
  const bool relu =
      problem_.row.work == Work::infer_relu || problem_.row.work == Work::infer_add_relu;
  double worst = 0.0;
  each_element(problem_.row.shape, [&](std::size_t channel, std::size_t at) {
    const double* k = channels_[channel].k;
    double expected = k[0] * static_cast<double>(x[at]) + k[1];
    if (uses_second) expected += k[2] * static_cast<double>(second[at]);
    if (relu) expected = (std::max)(expected, 0.0);
    const double error = std::abs(static_cast<double>(got[at]) - expected);
    const double relative = error / (1.0 + std::abs(expected));
    if (!(relative <= worst)) worst = relative;  // NaN stays
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
    const double error = std::abs(gradients[i] - gradients_[i]);
    const double relative = error / (root + std::abs(gradients_[i]));
    if (!(relative <= worst)) worst = relative;
  }
  return worst;
}

double tolerance(Element element) {
  return element == Element::bf16 ? 2e-2 : element == Element::f32 ? 5e-4 : 1e-9;
}

}  // namespace batchnorm_benchmarks
