// SPDX-License-Identifier: MIT
#include "benchmarks/buffers.hpp"

#include <Eigen/Core>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#include "benchmarks/reference.hpp"
#include "support/generators.hpp"

namespace batchnorm_benchmarks {
namespace {

constexpr std::size_t page = 4096;

template <class T>
void fill_as(void* memory, std::size_t elements, std::uint64_t seed) {
  batchnorm_test::Random random(seed);
  T* values = static_cast<T*>(memory);
  for (std::size_t i = 0; i < elements; ++i) values[i] = static_cast<T>(random.normal());
}

void fill(Element element, void* memory, std::size_t elements, std::uint64_t seed) {
  if (element == Element::f32) return fill_as<float>(memory, elements, seed);
  if (element == Element::f64) return fill_as<double>(memory, elements, seed);
  fill_as<Eigen::bfloat16>(memory, elements, seed);
}

/// Parameters as a trained layer has them, exactly representable in single precision.
std::vector<double> parameters(std::int64_t channels, double low, double high, std::uint64_t seed) {
  batchnorm_test::Random random(seed);
  std::vector<double> values(static_cast<std::size_t>(channels));
  for (double& value : values) value = static_cast<float>(random.uniform(low, high));
  return values;
}

}  // namespace

void Buffers::Free::operator()(void* memory) const {
  std::free(memory);
}

Buffers::Memory Buffers::take(std::size_t bytes) {
  void* memory = std::aligned_alloc(page, (bytes + page - 1) / page * page);
  if (memory == nullptr) throw std::bad_alloc();
  std::memset(memory, 0, bytes);
  return Memory(memory);
}

Buffers::Buffers(Element element, std::size_t elements)
    : element_(element),
      elements_(elements),
      in_(take(elements * static_cast<std::size_t>(element_size(element)))),
      second_(take(elements * static_cast<std::size_t>(element_size(element)))),
      out_(take(elements * static_cast<std::size_t>(element_size(element)))) {
  fill(element, in_.get(), elements, 1);
  fill(element, second_.get(), elements, 2);
}

bool Buffers::serve(const Row& row) const {
  return row.element == element_ && row.shape.elements() <= static_cast<std::int64_t>(elements_);
}

Problem Buffers::problem(const Row& row) const {
  Problem problem;
  problem.row = row;
  problem.in = in_.get();
  problem.residual = second_.get();
  problem.out_gradient = second_.get();
  problem.out = out_.get();
  const std::int64_t channels = row.shape.channels;
  problem.gamma = parameters(channels, 0.5, 1.5, 3);
  problem.beta = parameters(channels, -0.5, 0.5, 4);
  problem.running_mean = parameters(channels, -0.2, 0.2, 5);
  problem.running_variance = parameters(channels, 0.5, 1.5, 6);
  if (row.work == Work::backward) set_batch_statistics(problem);
  return problem;
}

}  // namespace batchnorm_benchmarks
