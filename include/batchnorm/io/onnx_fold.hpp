// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_ONNX_FOLD_HPP
#define BATCHNORM_IO_ONNX_FOLD_HPP

#include <onnx/onnx_pb.h>

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/fold/certificate.hpp"
#include "batchnorm/fold/fold.hpp"
#include "batchnorm/fold/inference_map.hpp"
#include "batchnorm/io/onnx_batch_norms.hpp"
#include "batchnorm/io/onnx_constant.hpp"
#include "batchnorm/io/onnx_edit.hpp"
#include "batchnorm/io/onnx_fold_site.hpp"
#include "batchnorm/io/onnx_graph.hpp"
#include "batchnorm/io/onnx_layer.hpp"
#include "batchnorm/io/onnx_model.hpp"
#include "batchnorm/io/onnx_write.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// A norm that has become a part of the layer beside it.
struct OnnxFold {
  std::string norm;             ///< name of the node that is gone, or is the Add of a bias now
  std::string layer;            ///< name of the node that has its place
  std::string type;             ///< Conv, ConvTranspose, Gemm or MatMul
  bool into_front = true;       ///< whether the layer stands in front of the norm, as usual
  bool new_bias = false;        ///< whether the layer had no bias and has one now
  std::string dtype;            ///< of the weights: F32, F64, F16 or BF16
  std::string input;            ///< the value that enters the layer
  std::string output;           ///< the value that leaves the two, and has kept its name
  FoldCertificate certificate;  ///< what that does to the output
};

/// A norm that is where it was.
struct OnnxLeft {
  std::string norm;    ///< name of its node
  std::string reason;  ///< why it could not be folded
};

/// What fold_batch_norms returns. Thread safety: a plain value.
struct OnnxFoldResult {
  OnnxModel model;              ///< the model, some of its norms folded
  std::vector<OnnxFold> folds;  ///< those
  std::vector<OnnxLeft> left;   ///< the others

  /// A line for every norm, for a person.
  std::string text() const {
    std::string lines;
    for (const OnnxFold& fold : folds) {
      lines +=
          detail::text("folded ", detail::in_quotes(fold.norm), " into ", fold.type, " ",
                       detail::in_quotes(fold.layer), fold.into_front ? " in front" : " behind",
                       fold.new_bias ? ", which has a bias now" : "", "; bound ",
                       fold.certificate.bound_within_ulps, " ulp, probes ",
                       fold.certificate.measured_ulps, " ulp\n");
    }
    for (const OnnxLeft& norm : left) {
      lines += detail::text("left ", detail::in_quotes(norm.norm), ": ", norm.reason, "\n");
    }
    return lines;
  }
};

namespace detail {

/// What a call complains about; empty when it does not. Without exceptions a complaint ends the
/// program, as everywhere.
template <class Call>
std::string complaint_of(const Call& call) {
#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
#else
  call();
#endif
  return {};
}

/// The numbers of a folded layer.
struct OnnxFoldedNumbers {
  Tensor weights;
  Tensor bias;
  FoldCertificate certificate;
};

/// Folds one norm of the graph of a model.
class OnnxFolder {
 public:
  OnnxFolder(OnnxModel& model, const OnnxBatchNorm& norm, const FoldOptions& options)
      : model_(model),
        norm_(norm),
        options_(options),
        scope_(model.proto.graph(), nullptr, "", norm.opset) {
    // Nothing pads between a norm and a layer that the graph allows here.
    if (options_.padding == Padding::unstated) options_.padding = Padding::none;
  }

  /// @return why nothing was done; empty when the norm is folded
  std::string run(OnnxFold& fold) {
    const onnx::NodeProto* const node = scope_.maker(norm_.output);
    if (norm_.output.empty() || node == nullptr || !is_onnx_op(*node, "BatchNormalization")) {
      return "nothing can use its output";
    }
    OnnxFoldSite site = OnnxSiteInFront(model_, scope_, *node).find(norm_.found.channels);
    fold.into_front = site.found();
    std::string reason = site.fault;
    if (!site.found()) {
      site = find_site_behind(model_, scope_, *node, norm_.found.channels);
      if (!site.found()) {
        return text("in front: ", reason, "; behind: ", site.fault);
      }
    }
    OnnxFoldedNumbers numbers;
    std::string complaint = complaint_of([&] { compute(site, fold.into_front, numbers); });
    if (!complaint.empty()) return complaint;
    describe(site, numbers, fold);
    write(site, numbers, fold);
    return {};
  }

 private:
  static bool is_matmul(const OnnxFoldSite& site) { return !site.layer.takes_bias; }

  void compute(const OnnxFoldSite& site, bool into_front, OnnxFoldedNumbers& numbers) {
    const std::string& dtype = site.layer.weights.tensor.dtype;
    if (dtype == "F64") return compute_as<double>(site, into_front, numbers);
    if (dtype == "F32") return compute_as<float>(site, into_front, numbers);
    if (dtype == "F16") return compute_as<Eigen::half>(site, into_front, numbers);
    compute_as<Eigen::bfloat16>(site, into_front, numbers);
  }

  template <class T>
  void compute_as(const OnnxFoldSite& site, bool into_front, OnnxFoldedNumbers& numbers) {
    Tensors tensors(model_.name);
    tensors.set("weights", site.layer.weights.tensor);
    std::vector<T> weights = tensors.values<T>("weights");
    const OnnxConstant* const old = old_bias(site);
    std::vector<T> bias;
    if (old != nullptr) {
      tensors.set("bias", old->tensor);
      bias = tensors.values<T>("bias");
    }
    const auto loaded = load_state<double>(norm_);
    const InferenceMap map(loaded.state, loaded.options);
    const auto view = site.layer.view(weights.data());
    numbers.certificate =
        into_front ? fold_after(view, bias, map, options_) : fold_before(view, bias, map, options_);
    std::vector<Index> shape = {static_cast<Index>(bias.size())};
    if (old != nullptr) {
      shape = old->tensor.shape;
    } else if (into_front && is_matmul(site)) {
      // One number per channel, and channels are axis 1 of what is normalised.
      shape.resize(static_cast<std::size_t>(site.norm_rank) - 1, 1);
    }
    tensors.set("weights", site.layer.weights.tensor.shape, weights);
    tensors.set("bias", shape, bias);
    numbers.weights = tensors.tensor("weights");
    numbers.bias = tensors.tensor("bias");
  }

  static const OnnxConstant* old_bias(const OnnxFoldSite& site) {
    if (site.adder != nullptr) return &site.added;
    return site.layer.has_bias ? &site.layer.bias : nullptr;
  }

  void describe(const OnnxFoldSite& site, const OnnxFoldedNumbers& numbers, OnnxFold& fold) const {
    fold.norm = norm_.node;
    fold.layer = onnx_label(*site.layer.node);
    fold.type = site.layer.node->op_type();
    fold.new_bias = old_bias(site) == nullptr;
    fold.dtype = site.layer.weights.tensor.dtype;
    fold.input = fold.into_front ? site.layer.node->input(0) : norm_.input;
    fold.output = fold.into_front ? norm_.output : site.layer.node->output(0);
    fold.certificate = numbers.certificate;
  }

  bool is_free(const OnnxConstant& constant) const {
    if (constant.scope != &scope_) return false;
    return std::none_of(constant.chain.begin(), constant.chain.end(), [&](const auto& name) {
      return scope_.users(name).size() > 1 || scope_.is_output(name);
    });
  }

  void write(const OnnxFoldSite& site, const OnnxFoldedNumbers& numbers, const OnnxFold& fold) {
    OnnxGraphEditor editor(model_);
    const std::string layer = site.layer.node->output(0);
    std::vector<std::string> unused = site.layer.weights.chain;
    editor.set_constant(layer, 1, site.layer.weights, true, numbers.weights);
    std::string new_bias;
    if (const OnnxConstant* old = old_bias(site)) {
      const bool in_adder = site.adder != nullptr;
      const std::string user = in_adder ? site.adder->output(0) : layer;
      unused.insert(unused.end(), old->chain.begin(), old->chain.end());
      editor.set_constant(user, in_adder ? site.adder_place : 2, *old, is_free(*old), numbers.bias);
    } else {
      new_bias = editor.add_initialiser(site.layer.weights.name + "_bias", numbers.bias);
      if (!is_matmul(site)) editor.add_input(layer, 2, new_bias);
    }
    const bool adds = is_matmul(site) && !new_bias.empty();
    const onnx::NodeProto& norm = *scope_.maker(norm_.output);
    for (int place = 1; place < norm.input_size(); ++place) unused.push_back(norm.input(place));
    if (fold.into_front && adds) {
      editor.turn_into_add(norm_.output, norm_.input, new_bias);
    } else if (fold.into_front) {
      editor.merge_into_maker(norm_.output, norm_.input);
    } else {
      editor.bypass(norm_.output, layer, norm_.input);
      if (adds) editor.add_behind(layer, new_bias);
    }
    editor.drop_unused(std::move(unused));
  }

  OnnxModel& model_;
  const OnnxBatchNorm& norm_;
  FoldOptions options_;
  OnnxScope scope_;
};

}  // namespace detail

/// Folds the norms of a model into the layers beside them, as far as that can be done: into Conv,
/// ConvTranspose, Gemm or MatMul in front (also through Squeeze, Unsqueeze, Transpose and Identity,
/// and a MatMul with an Add behind it), otherwise into Conv without padding, Gemm or MatMul behind.
/// A MatMul has no bias: the norm becomes an Add, or one is put behind.
///
/// The graph decides, no name. A norm is left, with the reason, when something else uses what is
/// between it and the layer or it is an output, when another operator stands between them, when the
/// weights are no constant (quantised weights), are used twice or belong to another graph, when it
/// trains, and in graphs inside the graph and functions. fold_after and fold_before say what else.
///
/// The model that comes back is otherwise the one that was given: names of inputs, outputs and all
/// values that are left, other nodes, metadata, unknown fields. Parameters that nobody uses any
/// more are gone.
/// @throws what find_batch_norms and check_onnx throw: nothing is folded in a graph that is not
///         valid; std::invalid_argument for options that no fold takes
///
/// Cost: a copy of the model, two passes over the weights that are folded, and for each norm one
/// over the names of the graph.
inline OnnxFoldResult fold_batch_norms(const OnnxModel& model, const FoldOptions& options = {}) {
  detail::check_fold_options("fold_batch_norms", options);
  check_onnx(model);
  OnnxFoldResult result{model, {}, {}};
  for (const OnnxBatchNorm& norm : find_batch_norms(model)) {
    OnnxFold fold;
    std::string reason = norm.reason;
    if (reason.empty() && !norm.path.empty()) {
      reason = detail::text("it is part of ", detail::in_quotes(norm.path),
                            ", and only norms of the graph of the model itself are folded");
    }
    if (reason.empty()) reason = detail::OnnxFolder(result.model, norm, options).run(fold);
    if (reason.empty()) {
      result.folds.push_back(std::move(fold));
    } else {
      result.left.push_back({norm.node, std::move(reason)});
    }
  }
  return result;
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_ONNX_FOLD_HPP
