// SPDX-License-Identifier: MIT
// This library, called as its users call it: views of memory that is theirs, an execution last.
#include <batchnorm/batchnorm.hpp>
#include <type_traits>
#include <utility>

#include "benchmarks/contender.hpp"
#include "benchmarks/threads.hpp"

namespace batchnorm_benchmarks {
namespace {

template <class T>
batchnorm::BatchView<T> view_of(const Problem& problem, T* data) {
  const Shape& shape = problem.row.shape;
  if (shape.layout == Layout::nchw) {
    return batchnorm::channels_first(data, shape.samples, shape.channels, shape.positions());
  }
  return batchnorm::channels_last(data, shape.samples, shape.channels, shape.positions());
}

template <class T>
batchnorm::BatchView<const T> input_of(const Problem& problem, const void* data) {
  return view_of(problem, static_cast<const T*>(data));
}

const void* second_of(const Problem& problem) {
  return problem.row.work == Work::backward ? problem.out_gradient : problem.residual;
}

template <class T>
batchnorm::BatchView<T> output_of(const Problem& problem) {
  return view_of(problem, static_cast<T*>(problem.out));
}

batchnorm::Options options_for(Work work) {
  batchnorm::Options options;
  options.epsilon = epsilon;
  options.running = batchnorm::RunningUpdate::take_new(new_batch_weight);
  if (work == Work::infer_relu || work == Work::infer_add_relu) {
    options.epilogue = batchnorm::Epilogue::relu();
  }
  if (work != Work::train_checked) options.non_finite = batchnorm::NonFinite::propagate;
  return options;
}

template <class T>
batchnorm::BatchNorm<T> layer_for(const Problem& problem) {
  batchnorm::State<T> state(problem.row.shape.channels);
  using Scalar = typename batchnorm::State<T>::Scalar;
  const auto assign = [](auto& to, const std::vector<double>& from) {
    for (std::size_t i = 0; i < from.size(); ++i) {
      to[static_cast<Eigen::Index>(i)] = static_cast<Scalar>(from[i]);
    }
  };
  assign(state.gamma, problem.gamma);
  assign(state.beta, problem.beta);
  assign(state.running_mean, problem.running_mean);
  assign(state.running_variance, problem.running_variance);
  return batchnorm::BatchNorm<T>(std::move(state), options_for(problem.row.work));
}

template <class T>
class OurRunner : public Runner {
 public:
  explicit OurRunner(const Problem& problem)
      : problem_(problem),
        layer_(layer_for<T>(problem)),
        in_(input_of<T>(problem, problem.in)),
        second_(input_of<T>(problem, second_of(problem))),
        out_(output_of<T>(problem)),
        execution_(execution_with(problem.row.threads)) {}

  const void* result() override { return problem_.out; }

 protected:
  const Problem& problem_;
  batchnorm::BatchNorm<T> layer_;
  batchnorm::BatchView<const T> in_, second_;
  batchnorm::BatchView<T> out_;
  batchnorm::Execution execution_;
};

template <class T>
class Infer : public OurRunner<T> {
 public:
  explicit Infer(const Problem& problem) : OurRunner<T>(problem), frozen_(this->layer_.freeze()) {}
  void run() override { frozen_(this->in_, this->out_, this->execution_); }

 private:
  batchnorm::FrozenBatchNorm<T> frozen_;
};

template <class T>
class InferAdd : public OurRunner<T> {
 public:
  explicit InferAdd(const Problem& problem)
      : OurRunner<T>(problem), frozen_(this->layer_.freeze()) {}
  void run() override {
    frozen_(with_residual(this->in_, this->second_), this->out_, this->execution_);
  }

 private:
  batchnorm::FrozenBatchNorm<T> frozen_;
};

template <class T>
class Train : public OurRunner<T> {
 public:
  using OurRunner<T>::OurRunner;
  void run() override { batch_ = this->layer_.train(this->in_, this->out_, this->execution_); }

  BatchStatistics batch_statistics() override {
    const auto variance = batch_.population_variance().eval();
    return {{batch_.mean.begin(), batch_.mean.end()}, {variance.begin(), variance.end()}};
  }

 private:
  typename batchnorm::BatchNorm<T>::BatchMoments batch_;
};

template <class T>
class Backward : public OurRunner<T> {
 public:
  explicit Backward(const Problem& problem)
      : OurRunner<T>(problem),
        batch_(this->layer_.normalize(this->in_, this->out_)),
        gradients_(problem.row.shape.channels) {}

  void run() override {
    gradients_ =
        this->layer_.backward(batch_, this->in_, this->second_, this->out_, this->execution_);
  }

  std::vector<double> parameter_gradients() override {
    std::vector<double> all;
    for (const auto& value : gradients_.gamma) all.push_back(static_cast<double>(value));
    for (const auto& value : gradients_.beta) all.push_back(static_cast<double>(value));
    return all;
  }

 private:
  typename batchnorm::BatchNorm<T>::BatchMoments batch_;
  typename batchnorm::BatchNorm<T>::ParameterGradients gradients_;
};

template <class T>
std::unique_ptr<Runner> prepare_as(const Problem& problem) {
  switch (problem.row.work) {
    case Work::infer:
    case Work::infer_relu:
      return std::make_unique<Infer<T>>(problem);
    case Work::infer_add_relu:
      return std::make_unique<InferAdd<T>>(problem);
    case Work::train:
    case Work::train_checked:
      return std::make_unique<Train<T>>(problem);
    case Work::backward:
      return std::make_unique<Backward<T>>(problem);
  }
  return nullptr;
}

class Ours : public Contender {
 public:
  std::string name() const override { return "batchnorm"; }
  std::string version() const override {
    return std::to_string(BATCHNORM_VERSION_MAJOR) + "." + std::to_string(BATCHNORM_VERSION_MINOR) +
           "." + std::to_string(BATCHNORM_VERSION_PATCH);
  }
  std::unique_ptr<Runner> prepare(const Problem& problem) const override {
    if (problem.row.element == Element::f32) return prepare_as<float>(problem);
    if (problem.row.element == Element::f64) return prepare_as<double>(problem);
    return prepare_as<Eigen::bfloat16>(problem);
  }
};

}  // namespace

std::unique_ptr<Contender> make_ours() {
  return std::make_unique<Ours>();
}

}  // namespace batchnorm_benchmarks
