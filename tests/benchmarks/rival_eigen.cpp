// SPDX-License-Identifier: MIT
// What a competent user of Eigen writes by hand: whole-array expressions, every temporary that is
// worth it in a vector per channel, nothing allocated of the size of the data. Inference is there
// twice: from the layer's parameters, as the other rivals are called, and with scale and shift made
// up once and for all (*). One thread, because such expressions use no more.
#include <Eigen/Core>

#include "benchmarks/contender.hpp"

namespace batchnorm_benchmarks {
namespace {

using Eigen::Index;

std::string eigen_version() {
  return std::to_string(EIGEN_WORLD_VERSION) + "." + std::to_string(EIGEN_MAJOR_VERSION) + "." +
         std::to_string(EIGEN_MINOR_VERSION);
}

template <class T>
using Vector = Eigen::Array<T, Eigen::Dynamic, 1>;

template <class T>
Vector<T> vector_of(const std::vector<double>& values) {
  return Eigen::Map<const Eigen::ArrayXd>(values.data(), static_cast<Index>(values.size()))
      .template cast<T>();
}

/// Parameters, and what training and backward learn.
template <class T>
struct Layer {
  explicit Layer(const Problem& problem)
      : gamma(vector_of<T>(problem.gamma)),
        beta(vector_of<T>(problem.beta)),
        running_mean(vector_of<T>(problem.running_mean)),
        running_variance(vector_of<T>(problem.running_variance)),
        mean(vector_of<T>(problem.batch_mean)),
        variance(vector_of<T>(problem.batch_variance)) {
    fold();
  }

  void fold() {
    scale = gamma / (running_variance + T(epsilon)).sqrt();
    shift = beta - running_mean * scale;
  }

  void commit(Index count) {
    const T weight = static_cast<T>(new_batch_weight);
    const T unbias = static_cast<T>(count) / static_cast<T>(count - 1);
    running_mean += weight * (mean - running_mean);
    running_variance += weight * (unbias * variance - running_variance);
  }

  Vector<T> gamma, beta, running_mean, running_variance, mean, variance;
  Vector<T> scale, shift;  // of inference
  Vector<T> gamma_gradient, beta_gradient;
};

/// Channel last, or one example per row: a matrix with a column for every value of a channel.
template <class T>
class ChannelsLast {
 public:
  using In = Eigen::Map<const Eigen::Array<T, Eigen::Dynamic, Eigen::Dynamic>>;
  using Out = Eigen::Map<Eigen::Array<T, Eigen::Dynamic, Eigen::Dynamic>>;

  explicit ChannelsLast(const Problem& problem)
      : channels_(problem.row.shape.channels),
        count_(problem.row.shape.values_per_channel()),
        x_(static_cast<const T*>(problem.in), channels_, count_),
        second_(static_cast<const T*>(problem.residual), channels_, count_),
        y_(static_cast<T*>(problem.out), channels_, count_) {}

  void infer(const Layer<T>& l) { y_ = (x_.colwise() * l.scale).colwise() + l.shift; }
  void infer_relu(const Layer<T>& l) {
    y_ = ((x_.colwise() * l.scale).colwise() + l.shift).max(T(0));
  }
  void infer_add_relu(const Layer<T>& l) {
    y_ = ((x_.colwise() * l.scale).colwise() + l.shift + second_).max(T(0));
  }

  void train(Layer<T>& l) {
    l.mean = x_.rowwise().mean();
    l.variance = (x_.colwise() - l.mean).square().rowwise().mean();
    const Vector<T> scale = l.gamma / (l.variance + T(epsilon)).sqrt();
    y_ = ((x_.colwise() - l.mean).colwise() * scale).colwise() + l.beta;
    l.commit(count_);
  }

  void backward(Layer<T>& l) {
    const Vector<T> inverse = T(1) / (l.variance + T(epsilon)).sqrt();
    const auto xhat = (x_.colwise() - l.mean).colwise() * inverse;
    l.beta_gradient = second_.rowwise().sum();
    l.gamma_gradient = (second_ * xhat).rowwise().sum();
    const T n = static_cast<T>(count_);
    const Vector<T> scale = l.gamma * inverse, dbeta = l.beta_gradient / n;
    const Vector<T> dgamma = l.gamma_gradient / n;
    y_ = ((second_.colwise() - dbeta) - xhat.colwise() * dgamma).colwise() * scale;
  }

 private:
  Index channels_, count_;
  In x_, second_;
  Out y_;
};

/// Channel first: a vector for every channel of every sample.
template <class T>
class ChannelsFirst {
 public:
  using In = Eigen::Map<const Vector<T>>;
  using Out = Eigen::Map<Vector<T>>;

  explicit ChannelsFirst(const Problem& problem) : problem_(problem), shape_(problem.row.shape) {}

  void infer(const Layer<T>& l) {
    each_plane([&](Index c, const In& x, const In&, Out& y) { y = x * l.scale[c] + l.shift[c]; });
  }
  void infer_relu(const Layer<T>& l) {
    each_plane([&](Index c, const In& x, const In&, Out& y) {
      y = (x * l.scale[c] + l.shift[c]).max(T(0));
    });
  }
  void infer_add_relu(const Layer<T>& l) {
    each_plane([&](Index c, const In& x, const In& second, Out& y) {
      y = (x * l.scale[c] + l.shift[c] + second).max(T(0));
    });
  }

  void train(Layer<T>& l) {
    const T n = static_cast<T>(shape_.values_per_channel());
    for (Index c = 0; c < shape_.channels; ++c) {
      T sum(0), squares(0);
      each_sample(c, [&](const In& x, const In&, Out&) { sum += x.sum(); });
      const T mean = sum / n;
      each_sample(c, [&](const In& x, const In&, Out&) { squares += (x - mean).square().sum(); });
      l.mean[c] = mean;
      l.variance[c] = squares / n;
      const T scale = l.gamma[c] / std::sqrt(l.variance[c] + T(epsilon));
      each_sample(c, [&](const In& x, const In&, Out& y) { y = (x - mean) * scale + l.beta[c]; });
    }
    l.commit(shape_.values_per_channel());
  }

  void backward(Layer<T>& l) {
    const T n = static_cast<T>(shape_.values_per_channel());
    l.beta_gradient.resize(shape_.channels);
    l.gamma_gradient.resize(shape_.channels);
    for (Index c = 0; c < shape_.channels; ++c) {
      const T mean = l.mean[c];
      T sum(0), products(0);
      each_sample(c, [&](const In& x, const In& dy, Out&) {
        sum += dy.sum();
        products += (dy * (x - mean)).sum();
      });
      const T inverse = T(1) / std::sqrt(l.variance[c] + T(epsilon));
      const T scale = l.gamma[c] * inverse, slope = products * inverse * inverse / n;
      l.beta_gradient[c] = sum;
      l.gamma_gradient[c] = products * inverse;
      each_sample(c, [&](const In& x, const In& dy, Out& dx) {
        dx = (dy - sum / n - (x - mean) * slope) * scale;
      });
    }
  }

 private:
  template <class Body>
  void plane(Index n, Index c, const Body& body) {
    const Index size = shape_.positions(), at = (n * shape_.channels + c) * size;
    Out y(static_cast<T*>(problem_.out) + at, size);
    body(In(static_cast<const T*>(problem_.in) + at, size),
         In(static_cast<const T*>(problem_.residual) + at, size), y);
  }

  template <class Body>
  void each_sample(Index c, const Body& body) {
    for (Index n = 0; n < shape_.samples; ++n) plane(n, c, body);
  }

  template <class Body>
  void each_plane(const Body& body) {
    for (Index n = 0; n < shape_.samples; ++n) {
      for (Index c = 0; c < shape_.channels; ++c) {
        plane(n, c, [&](const In& x, const In& second, Out& y) { body(c, x, second, y); });
      }
    }
  }

  const Problem& problem_;
  Shape shape_;
};

template <class T, template <class> class Code>
class EigenRunner : public Runner {
 public:
  EigenRunner(const Problem& problem, bool folded)
      : problem_(problem), folded_(folded), layer_(problem), code_(problem) {
    if (trains(problem.row.work)) {
      layer_.mean.resize(problem.row.shape.channels);
      layer_.variance.resize(problem.row.shape.channels);
    }
  }

  void run() override {
    if (!folded_ && infers(problem_.row.work)) layer_.fold();
    switch (problem_.row.work) {
      case Work::infer:
        return code_.infer(layer_);
      case Work::infer_relu:
        return code_.infer_relu(layer_);
      case Work::infer_add_relu:
        return code_.infer_add_relu(layer_);
      case Work::train:
      case Work::train_checked:
        return code_.train(layer_);
      case Work::backward:
        return code_.backward(layer_);
    }
  }

  const void* result() override { return problem_.out; }

  BatchStatistics batch_statistics() override {
    if (!trains(problem_.row.work)) return {};
    return {{layer_.mean.begin(), layer_.mean.end()},
            {layer_.variance.begin(), layer_.variance.end()}};
  }

  std::vector<double> parameter_gradients() override {
    std::vector<double> all;
    for (const T value : layer_.gamma_gradient) all.push_back(static_cast<double>(value));
    for (const T value : layer_.beta_gradient) all.push_back(static_cast<double>(value));
    return all;
  }

 private:
  const Problem& problem_;
  bool folded_;
  Layer<T> layer_;
  Code<T> code_;
};

class PlainEigen : public Contender {
 public:
  explicit PlainEigen(bool folded) : folded_(folded) {}

  std::string name() const override { return folded_ ? "Eigen*" : "Eigen"; }
  std::string version() const override { return eigen_version(); }

  // bfloat16 arithmetic in Eigen rounds after every operation: its sums are no answer. What is
  // small is also compared with what more threads do.
  std::unique_ptr<Runner> prepare(const Problem& problem) const override {
    const Row& row = problem.row;
    if (row.threads > 1 && bytes(row) >= 1 << 20) return nullptr;
    if (row.work == Work::train_checked || (folded_ && !infers(row.work))) return nullptr;
    if (row.element == Element::f32) return prepare_as<float>(problem);
    if (row.element == Element::f64) return prepare_as<double>(problem);
    return nullptr;
  }

 private:
  template <class T>
  std::unique_ptr<Runner> prepare_as(const Problem& problem) const {
    if (problem.row.shape.layout == Layout::nchw) {
      return std::make_unique<EigenRunner<T, ChannelsFirst>>(problem, folded_);
    }
    return std::make_unique<EigenRunner<T, ChannelsLast>>(problem, folded_);
  }

  bool folded_;
};

const Enlist<PlainEigen> from_parameters(false);
const Enlist<PlainEigen> folded(true);

}  // namespace
}  // namespace batchnorm_benchmarks
