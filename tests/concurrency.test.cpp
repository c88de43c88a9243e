// SPDX-License-Identifier: MIT
// Const members on many threads at once, and results that do not depend on the threads. Also run
// under ThreadSanitizer.
#include <cstring>
#include <thread>
#include <unsupported/Eigen/CXX11/ThreadPool>
#include <vector>

#include "batchnorm/layer.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"

using batchnorm::BatchNorm;
using batchnorm::Execution;
using batchnorm::Index;
using namespace batchnorm_test;

namespace {

/// As many std::threads as asked for, each taking every so-manieth task.
struct Threads {
  Index count;
  void operator()(Index tasks, batchnorm::Task task) {
    std::vector<std::thread> threads;
    for (Index thread = 0; thread < count; ++thread) {
      threads.emplace_back([=] {
        for (Index i = thread; i < tasks; i += count) task(i);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
};

/// What training, backward and inference of one layer give.
struct Results {
  std::vector<Real> output, in_gradient, inferred;
  batchnorm::State<float> state{1};
  batchnorm::Gradients<float> gradients{1};
};

Results run(const Batch& x, Layout layout, const Execution& execution) {
  BatchNorm<float> layer(static_cast<Index>(x.channels));
  const Stored<float> in(x, layout);
  Stored<float> y = Stored<float>::like(x, layout);
  Stored<float> dx = y;
  Stored<float> z = y;
  Results results;
  const auto batch = layer.train(in.view(), y.view(), execution);
  results.gradients = layer.backward(batch, in.view(), in.view(), dx.view(), execution);
  layer.infer(in.view(), z.view(), execution);
  results.output = y.read().values;
  results.in_gradient = dx.read().values;
  results.inferred = z.read().values;
  results.state = layer.state();
  return results;
}

void check_same_bits(const Results& a, const Results& b) {
  CHECK(a.output == b.output);
  CHECK(a.in_gradient == b.in_gradient);
  CHECK(a.inferred == b.inferred);
  CHECK(a.state.running_mean == b.state.running_mean);
  CHECK(a.state.running_variance == b.state.running_variance);
  CHECK(a.gradients.gamma == b.gradients.gamma);
  CHECK(a.gradients.beta == b.gradients.beta);
}

}  // namespace

TEST_CASE("bits do not depend on the number of threads", "[concurrency]") {
  Random random(11);
  const std::vector<Batch> shapes = {
      normal_batch(random, 3, 1, 50000, 1e3L, 1), normal_batch(random, 700, 300, 1),
      normal_batch(random, 5, 20, 1500, -5, 2), normal_batch(random, 1, 5, 30011)};
  Eigen::ThreadPool pool(3);
  for (const Batch& x : shapes) {
    for (const Layout layout : {Layout::channels_first, Layout::channels_last}) {
      INFO(name_of(layout) << ", " << x.channels << " channels");
      const Results serial = run(x, layout, Execution::serial());
      Threads two{2};
      Threads seven{7};
      check_same_bits(run(x, layout, Execution::parallel_for(two, 2)), serial);
      check_same_bits(run(x, layout, Execution::parallel_for(seven, 7)), serial);
      check_same_bits(run(x, layout, Execution::thread_pool(pool)), serial);
    }
  }
}

TEST_CASE("const members may run on many threads at once", "[concurrency]") {
  BatchNorm<float> trained(16);
  Eigen::MatrixXf x(16, 40);
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = static_cast<float>((i * 37) % 101);
  trained.train(x);
  const BatchNorm<float>& layer = trained;
  const auto frozen = layer.freeze();
  const Eigen::MatrixXf inferred = layer.infer(x);
  Eigen::MatrixXf normalised(16, 40);
  const auto batch = layer.normalize(x, normalised);
  const auto gradient = layer.backward(batch, x, x).in_gradient;

  std::vector<int> right(8, 0);
  std::vector<std::thread> threads;
  for (std::size_t thread = 0; thread < right.size(); ++thread) {
    threads.emplace_back([&, thread] {
      for (int round = 0; round < 20; ++round) {
        Eigen::MatrixXf y(16, 40);
        frozen(x, y);
        right[thread] += y == inferred ? 1 : 0;
        layer.infer(x, y);
        right[thread] += y == inferred ? 1 : 0;
        const auto own = layer.normalize(x, y);
        right[thread] += y == normalised ? 1 : 0;
        layer.backward(own, x, x, y);
        right[thread] += y == gradient ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const int count : right) CHECK(count == 80);
}

TEST_CASE("many threads may normalise examples of one batch into one output", "[concurrency]") {
  BatchNorm<float> layer(8);
  Eigen::MatrixXf x(8, 64);
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = static_cast<float>((i * 31) % 97);
  layer.train(x);
  const auto frozen = layer.freeze();
  const Eigen::MatrixXf expected = frozen(x);
  Eigen::MatrixXf y(8, 64);
  std::vector<std::thread> threads;
  for (Index thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (Index example = thread; example < 64; example += 4) {
        frozen(x.col(example), y.col(example));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(y == expected);
}
