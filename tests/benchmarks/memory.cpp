// SPDX-License-Identifier: MIT
// What calls take from the heap besides the input and output that they are given: numbers per
// channel, whatever the number of examples. Ends with 1 when it grows with the examples.
#include <batchnorm/batchnorm.hpp>
#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

#include "benchmarks/heap.hpp"
#include "benchmarks/table.hpp"
#include "benchmarks/threads.hpp"

namespace batchnorm_benchmarks {
namespace {

using Eigen::Index;

struct Peaks {
  std::size_t infer, train, backward;
};

template <class Body>
std::size_t peak_during(const Body& body) {
  restart_heap_count();
  body();
  return peak_heap_bytes();
}

Peaks peaks_of(Index examples, Index channels, int threads) {
  using Layer = batchnorm::BatchNorm<float>;
  Layer layer(channels);
  const Eigen::MatrixXf in = Eigen::MatrixXf::Random(channels, examples);
  Eigen::MatrixXf out(channels, examples);
  const batchnorm::Execution execution = execution_with(threads);
  // Once beforehand: what OpenMP and the C library set up for good is nobody's cost.
  const Layer::BatchMoments batch = layer.train(in, out, execution);
  layer.backward(batch, in, in, out, execution);
  const batchnorm::FrozenBatchNorm<float> frozen = layer.freeze();
  return {peak_during([&] { frozen(in, out, execution); }),
          peak_during([&] { layer.train(in, out, execution); }),
          peak_during([&] { layer.backward(batch, in, in, out, execution); })};
}

struct Line {
  Index examples, channels;
  Peaks peaks;
};

/// Whether a hundred times as many examples take more. With threads they may take so many numbers
/// per channel more, because a small minibatch is not cut into tasks, and each task has its own.
bool grows(std::size_t few, std::size_t many, Index channels, int threads) {
  const auto per_task = static_cast<std::size_t>(64 * channels) * sizeof(double);
  return many > few + (threads > 1 ? per_task : 0);
}

bool print_table(int threads) {
  Table table({"peak bytes of the heap, f32, " + std::to_string(threads) + " threads", "infer",
               "train", "backward", "backward per channel"});
  std::vector<Line> lines;
  for (const Index channels : {64, 6400}) {
    for (const Index examples : {100, 10000}) {
      const Peaks peaks = peaks_of(examples, channels, threads);
      lines.push_back({examples, channels, peaks});
      table.add(
          {std::to_string(examples) + " examples of " + std::to_string(channels) + " channels",
           std::to_string(peaks.infer), std::to_string(peaks.train), std::to_string(peaks.backward),
           digits(static_cast<double>(peaks.backward) / static_cast<double>(channels))});
    }
  }
  std::printf("%s\n", table.text().c_str());
  bool grown = false;
  for (std::size_t i = 0; i + 1 < lines.size(); i += 2) {
    const Peaks& few = lines[i].peaks;
    const Peaks& many = lines[i + 1].peaks;
    const Index channels = lines[i].channels;
    grown = grown || grows(few.infer, many.infer, channels, threads) ||
            grows(few.train, many.train, channels, threads) ||
            grows(few.backward, many.backward, channels, threads);
  }
  return grown;
}

}  // namespace
}  // namespace batchnorm_benchmarks

int main() {
  using namespace batchnorm_benchmarks;
  if (!heap_is_counted()) {
    std::printf("memory: left out, the heap cannot be counted with this C library\n");
    return 0;
  }
  bool grown = false;
  for (int threads = 1; threads <= most_threads(); ++threads) {
    grown = print_table(threads) || grown;
  }
  if (grown) std::printf("the memory taken grows with the number of examples\n");
  return grown ? 1 : 0;
}
