// SPDX-License-Identifier: MIT
// The one interface of everything that is measured against this library.
#ifndef BATCHNORM_TESTS_BENCHMARKS_CONTENDER_HPP
#define BATCHNORM_TESTS_BENCHMARKS_CONTENDER_HPP

#include <memory>
#include <string>
#include <vector>

#include "benchmarks/row.hpp"

namespace batchnorm_benchmarks {

constexpr double epsilon = 1e-5;
constexpr double new_batch_weight = 0.1;

/// One row's data. Elements are of the row's scalar, lie densely in the row's layout and are
/// there before the clock starts, the output included. There is one number per channel in the
/// parameters; contenders copy them into whatever they need.
struct Problem {
  Row row{};
  const void* in = nullptr;
  const void* residual = nullptr;
  const void* out_gradient = nullptr;
  void* out = nullptr;  ///< output of the forward works, gradient of the input of backward
  std::vector<double> gamma, beta, running_mean, running_variance;
  std::vector<double> batch_mean, batch_variance;  ///< of `in`, for backward; biased
};

/// Of a minibatch, one number per channel.
struct BatchStatistics {
  std::vector<double> mean, variance;  ///< biased
};

/// A contender that is ready for one problem, which outlives it.
class Runner {
 public:
  Runner() = default;
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;
  virtual ~Runner() = default;

  /// The measured work. Calling it again does the same again.
  virtual void run() = 0;

  /// Where the last run left its result, laid out as the input.
  virtual const void* result() = 0;

  /// Of the last run of backward: the gradients of gamma and then those of beta. Otherwise empty.
  virtual std::vector<double> parameter_gradients() { return {}; }

  /// Of the last run of a training, in the precision in which it hands them out. Otherwise empty.
  virtual BatchStatistics batch_statistics() { return {}; }
};

class Contender {
 public:
  Contender() = default;
  Contender(const Contender&) = delete;
  Contender& operator=(const Contender&) = delete;
  virtual ~Contender() = default;

  virtual std::string name() const = 0;
  virtual std::string version() const = 0;

  /// Null when it has no such work, layout or scalar, or does not use that many threads.
  virtual std::unique_ptr<Runner> prepare(const Problem& problem) const = 0;
};

/// This library.
std::unique_ptr<Contender> make_ours();

/// The rivals whose libraries were there when this program was built. Each adds itself from its own
/// translation unit, so that none needs to be known here.
std::vector<std::unique_ptr<Contender>>& rivals();

template <class SomeContender>
struct Enlist {
  template <class... Arguments>
  explicit Enlist(Arguments... arguments) {
    rivals().push_back(std::make_unique<SomeContender>(arguments...));
  }
};

}  // namespace batchnorm_benchmarks

#endif  // BATCHNORM_TESTS_BENCHMARKS_CONTENDER_HPP
