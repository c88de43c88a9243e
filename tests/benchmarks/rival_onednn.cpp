// SPDX-License-Identifier: MIT
// oneDNN 2.x. A matrix of one example per row goes in twice: as it is, and as one image of C
// channels and N x 1 positions whose channels come last, for which oneDNN has faster code (*).
#include <oneapi/dnnl/dnnl_version.h>
#include <oneapi/dnnl/dnnl.hpp>

#include <cstddef>
#include <unordered_map>

#include "benchmarks/contender.hpp"
#include "benchmarks/threads.hpp"

namespace batchnorm_benchmarks {
namespace {

using dnnl::memory;
using dnnl::normalization_flags;
using Arguments = std::unordered_map<int, memory>;

const dnnl::engine& processor() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

memory::data_type data_type(Element element) {
  return element == Element::f32 ? memory::data_type::f32 : memory::data_type::bf16;
}

memory::desc data_desc(const Row& row, bool as_image) {
  const Shape& s = row.shape;
  const memory::data_type type = data_type(row.element);
  using Tag = memory::format_tag;
  if (s.layout == Layout::rows && as_image) {
    return {{1, s.channels, s.samples, 1}, type, Tag::nhwc};
  }
  if (s.layout == Layout::rows) return {{s.samples, s.channels}, type, Tag::nc};
  const memory::dims counts = {s.samples, s.channels, s.height, s.width};
  return {counts, type, s.layout == Layout::nchw ? Tag::nchw : Tag::nhwc};
}

memory wrap(const memory::desc& desc, const void* data) {
  return {desc, processor(), const_cast<void*>(data)};
}

memory per_channel(const std::vector<double>& values, std::size_t channels) {
  const memory::desc desc({static_cast<memory::dim>(channels)}, memory::data_type::f32,
                          memory::format_tag::x);
  memory numbers(desc, processor());
  auto* data = static_cast<float*>(numbers.get_data_handle());
  for (std::size_t i = 0; i < channels; ++i) {
    data[i] = values.empty() ? 0.0f : static_cast<float>(values[i]);
  }
  return numbers;
}

/// A primitive and what it works on.
struct Step {
  dnnl::primitive primitive;
  Arguments arguments;
};

class OneDnnRunner : public Runner {
 public:
  OneDnnRunner(const Problem& problem, bool as_image)
      : problem_(problem),
        data_(data_desc(problem.row, as_image)),
        stream_(processor()),
        in_(wrap(data_, problem.in)),
        out_(wrap(data_, problem.out)) {
    use_threads(problem.row.threads);
    if (problem.row.work == Work::backward) {
      add_backward();
    } else {
      add_forward();
    }
    if (problem.row.work == Work::infer_add_relu) add_residual();
  }

  void run() override {
    for (Step& step : steps_) step.primitive.execute(stream_, step.arguments);
    stream_.wait();
  }

  const void* result() override { return problem_.out; }

  std::vector<double> parameter_gradients() override {
    std::vector<double> all;
    for (const memory& part : gradients_) {
      const std::vector<double> numbers = numbers_of(part);
      all.insert(all.end(), numbers.begin(), numbers.end());
    }
    return all;
  }

  BatchStatistics batch_statistics() override {
    if (!trains(problem_.row.work)) return {};
    const Arguments& arguments = steps_[0].arguments;
    return {numbers_of(arguments.at(DNNL_ARG_MEAN)), numbers_of(arguments.at(DNNL_ARG_VARIANCE))};
  }

 private:
  std::vector<double> numbers_of(const memory& per_channel) const {
    const auto* data = static_cast<const float*>(per_channel.get_data_handle());
    return {data, data + problem_.gamma.size()};
  }

  static normalization_flags flags_for(Work work) {
    normalization_flags flags = normalization_flags::use_scale | normalization_flags::use_shift;
    if (infers(work)) flags = flags | normalization_flags::use_global_stats;
    if (work == Work::infer_relu) flags = flags | normalization_flags::fuse_norm_relu;
    return flags;
  }

  dnnl::batch_normalization_forward::primitive_desc forward_desc() const {
    const Work work = problem_.row.work;
    const auto kind =
        infers(work) ? dnnl::prop_kind::forward_inference : dnnl::prop_kind::forward_training;
    const auto flags = flags_for(work);
    return {{kind, data_, static_cast<float>(epsilon), flags}, processor()};
  }

  void add_forward() {
    const bool given = infers(problem_.row.work);
    const std::size_t channels = problem_.gamma.size();
    const std::vector<double> none;
    steps_.push_back(
        {dnnl::batch_normalization_forward(forward_desc()),
         {{DNNL_ARG_SRC, in_},
          {DNNL_ARG_DST, out_},
          {DNNL_ARG_SCALE, per_channel(problem_.gamma, channels)},
          {DNNL_ARG_SHIFT, per_channel(problem_.beta, channels)},
          {DNNL_ARG_MEAN, per_channel(given ? problem_.running_mean : none, channels)},
          {DNNL_ARG_VARIANCE, per_channel(given ? problem_.running_variance : none, channels)}}});
  }

  // Batch normalisation has no post-operation that adds: a second pass adds and clips.
  void add_residual() {
    dnnl::post_ops clip;
    clip.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
    dnnl::primitive_attr attributes;
    attributes.set_post_ops(clip);
    const dnnl::binary::desc sum(dnnl::algorithm::binary_add, data_, data_, data_);
    steps_.push_back({dnnl::binary({sum, attributes, processor()}),
                      {{DNNL_ARG_SRC_0, out_},
                       {DNNL_ARG_SRC_1, wrap(data_, problem_.residual)},
                       {DNNL_ARG_DST, out_}}});
  }

  void add_backward() {
    const std::size_t channels = problem_.gamma.size();
    const dnnl::batch_normalization_backward::primitive_desc desc(
        {dnnl::prop_kind::backward, data_, data_, static_cast<float>(epsilon),
         flags_for(Work::backward)},
        processor(), forward_desc());
    gradients_ = {per_channel({}, channels), per_channel({}, channels)};
    steps_.push_back({dnnl::batch_normalization_backward(desc),
                      {{DNNL_ARG_SRC, in_},
                       {DNNL_ARG_DIFF_DST, wrap(data_, problem_.out_gradient)},
                       {DNNL_ARG_DIFF_SRC, out_},
                       {DNNL_ARG_SCALE, per_channel(problem_.gamma, channels)},
                       {DNNL_ARG_SHIFT, per_channel(problem_.beta, channels)},
                       {DNNL_ARG_MEAN, per_channel(problem_.batch_mean, channels)},
                       {DNNL_ARG_VARIANCE, per_channel(problem_.batch_variance, channels)},
                       {DNNL_ARG_DIFF_SCALE, gradients_[0]},
                       {DNNL_ARG_DIFF_SHIFT, gradients_[1]}}});
  }

  const Problem& problem_;
  memory::desc data_;
  dnnl::stream stream_;
  memory in_, out_;
  std::vector<Step> steps_;
  std::vector<memory> gradients_;
};

class OneDnn : public Contender {
 public:
  explicit OneDnn(bool as_image) : as_image_(as_image) {}

  std::string name() const override { return as_image_ ? "oneDNN*" : "oneDNN"; }

  std::string version() const override {
    const dnnl_version_t* version = dnnl::version();
    return std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
           std::to_string(version->patch);
  }

  std::unique_ptr<Runner> prepare(const Problem& problem) const override {
    const Row& row = problem.row;
    if (row.element == Element::f64) return nullptr;
    if (as_image_ && row.shape.layout != Layout::rows) return nullptr;
    if (row.work == Work::train_checked) return nullptr;
    try {
      return std::make_unique<OneDnnRunner>(problem, as_image_);
    } catch (const dnnl::error& error) {
      // This processor has no such code: bfloat16 needs AVX-512.
      if (error.status == dnnl_unimplemented) return nullptr;
      throw;
    }
  }

 private:
  bool as_image_;
};

const Enlist<OneDnn> plain(false);
const Enlist<OneDnn> as_image(true);

}  // namespace
}  // namespace batchnorm_benchmarks
