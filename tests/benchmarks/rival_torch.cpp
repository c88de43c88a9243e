// SPDX-License-Identifier: MIT
// libtorch, as its own modules call it, without recording gradients. Memory that it frees is kept
// and handed out again, so that none of its time is spent on new pages.
#include <ATen/Parallel.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/native_batch_norm.h>
#include <ATen/ops/native_batch_norm_backward.h>
#include <ATen/ops/tensor.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/api/include/torch/version.h>

#include <array>
#include <cstddef>
#include <map>
#include <tuple>

#include "benchmarks/contender.hpp"

namespace batchnorm_benchmarks {
namespace {

/// Keeps freed blocks by size. For the one thread that calls libtorch.
class ReusingAllocator : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) const override {
    std::vector<void*>& free = blocks_[bytes];
    void* data = nullptr;
    if (free.empty()) {
      data = c10::GetDefaultCPUAllocator()->raw_allocate(bytes);
      sizes_[data] = bytes;
    } else {
      data = free.back();
      free.pop_back();
    }
    return {data, data, &ReusingAllocator::give_back, c10::Device(c10::DeviceType::CPU)};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &ReusingAllocator::give_back; }

  /// Gives all that is free back to the system.
  static void clear() {
    for (auto& entry : blocks_) {
      for (void* data : entry.second) {
        sizes_.erase(data);
        c10::GetDefaultCPUAllocator()->raw_deallocate(data);
      }
    }
    blocks_.clear();
  }

 private:
  static void give_back(void* data) {
    if (data != nullptr) blocks_[sizes_.at(data)].push_back(data);
  }

  static std::map<std::size_t, std::vector<void*>> blocks_;
  static std::map<void*, std::size_t> sizes_;
};

std::map<std::size_t, std::vector<void*>> ReusingAllocator::blocks_;
std::map<void*, std::size_t> ReusingAllocator::sizes_;

at::ScalarType scalar_type(Element element) {
  return element == Element::f32   ? at::kFloat
         : element == Element::f64 ? at::kDouble
                                   : at::kBFloat16;
}

at::Tensor wrap(const Row& row, const void* data) {
  const Shape& s = row.shape;
  const auto options = at::TensorOptions().dtype(scalar_type(row.element));
  void* memory = const_cast<void*>(data);
  if (s.layout == Layout::rows) return at::from_blob(memory, {s.samples, s.channels}, options);
  const std::array<std::int64_t, 4> counts = {s.samples, s.channels, s.height, s.width};
  if (s.layout == Layout::nchw) return at::from_blob(memory, counts, options);
  const std::array<std::int64_t, 4> strides = {s.channels * s.positions(), 1, s.width * s.channels,
                                               s.channels};
  return at::from_blob(memory, counts, strides, options);
}

class TorchRunner : public Runner {
 public:
  explicit TorchRunner(const Problem& problem)
      : work_(problem.row.work),
        in_(wrap(problem.row, problem.in)),
        second_(wrap(problem.row, problem.out_gradient)) {
    at::set_num_threads(problem.row.threads);
    const auto numbers = [&](const std::vector<double>& values) {
      return at::tensor(values, at::kDouble).to(scalar_type(problem.row.element));
    };
    gamma_ = numbers(problem.gamma);
    beta_ = numbers(problem.beta);
    mean_ = numbers(problem.running_mean);
    variance_ = numbers(problem.running_variance);
    if (work_ == Work::backward) forward(true);
  }

  void run() override {
    const c10::InferenceMode no_gradients;
    switch (work_) {
      case Work::infer:
        return forward(false);
      case Work::infer_relu:
        forward(false);
        out_.relu_();
        return;
      case Work::infer_add_relu:
        forward(false);
        out_.add_(second_).relu_();
        return;
      case Work::train:
      case Work::train_checked:
        return forward(true);
      case Work::backward:
        std::tie(out_, gamma_gradient_, beta_gradient_) = at::native_batch_norm_backward(
            second_, in_, gamma_, mean_, variance_, saved_mean_, saved_inverse_std_dev_, true,
            epsilon, {true, true, true});
    }
  }

  const void* result() override {
    if (out_.strides() != in_.strides()) out_ = at::empty_like(in_).copy_(out_);
    return out_.data_ptr();
  }

  std::vector<double> parameter_gradients() override {
    std::vector<double> all;
    for (const at::Tensor& part : {gamma_gradient_, beta_gradient_}) {
      if (!part.defined()) continue;
      const std::vector<double> numbers = numbers_of(part);
      all.insert(all.end(), numbers.begin(), numbers.end());
    }
    return all;
  }

  // It keeps 1 / sqrt(variance + epsilon).
  BatchStatistics batch_statistics() override {
    if (!trains(work_)) return {};
    BatchStatistics statistics = {numbers_of(saved_mean_), numbers_of(saved_inverse_std_dev_)};
    for (double& number : statistics.variance) number = 1.0 / (number * number) - epsilon;
    return statistics;
  }

 private:
  static std::vector<double> numbers_of(const at::Tensor& per_channel) {
    const at::Tensor numbers = per_channel.to(at::kDouble).contiguous();
    const double* data = numbers.data_ptr<double>();
    return {data, data + numbers.numel()};
  }

  void forward(bool training) {
    std::tie(out_, saved_mean_, saved_inverse_std_dev_) = at::native_batch_norm(
        in_, gamma_, beta_, mean_, variance_, training, new_batch_weight, epsilon);
  }

  Work work_;
  at::Tensor in_, second_, gamma_, beta_, mean_, variance_;
  at::Tensor out_, saved_mean_, saved_inverse_std_dev_, gamma_gradient_, beta_gradient_;
};

class Torch : public Contender {
 public:
  Torch() { c10::SetCPUAllocator(&allocator(), 1); }

  std::string name() const override { return "libtorch"; }
  std::string version() const override { return TORCH_VERSION; }

  std::unique_ptr<Runner> prepare(const Problem& problem) const override {
    if (problem.row.work == Work::train_checked) return nullptr;
    ReusingAllocator::clear();
    return std::make_unique<TorchRunner>(problem);
  }

 private:
  static ReusingAllocator& allocator() {
    static ReusingAllocator instance;
    return instance;
  }
};

const Enlist<Torch> enlisted;

}  // namespace
}  // namespace batchnorm_benchmarks
