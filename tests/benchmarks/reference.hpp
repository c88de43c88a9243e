// SPDX-License-Identifier: MIT
// The right answer, from the formulas and in long double, sharing nothing with this library or a
// rival.
#ifndef BATCHNORM_TESTS_BENCHMARKS_REFERENCE_HPP
#define BATCHNORM_TESTS_BENCHMARKS_REFERENCE_HPP

#include <vector>

#include "benchmarks/contender.hpp"

namespace batchnorm_benchmarks {

/// Sets batch_mean and batch_variance of the problem.
void set_batch_statistics(Problem& problem);

/// Everything that defines the result of one row, known per channel: the result is
///     k[0] x + k[1] + k[2] second, and not below zero with a ReLU.
class Reference {
 public:
  explicit Reference(const Problem& problem);

  /// The largest |got - expected| / (1 + |expected|) over all elements.
  double error(const void* result) const;

  /// The same over the gradients of gamma and beta, as shares of the root of the number of values
  /// that each sums; 0 for none.
  double gradient_error(const std::vector<double>& gradients) const;

 private:
  using Numbers = std::vector<long double>;
  struct Coefficients {
    long double k[3];
  };

  void set_forward(const Numbers& mean, const Numbers& variance);
  void set_backward();
  template <class T>
  double error_as(const void* result) const;

  const Problem& problem_;
  std::vector<Coefficients> channels_;
  Numbers gradients_;
};

/// How large an error may be. Inputs are normal numbers: single precision that is summed naively
/// over 400 000 values has 1e-4, bfloat16 keeps eight bits.
double tolerance(Element element);

}  // namespace batchnorm_benchmarks

#endif  // BATCHNORM_TESTS_BENCHMARKS_REFERENCE_HPP
