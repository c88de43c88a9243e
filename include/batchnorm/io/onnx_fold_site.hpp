// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_ONNX_FOLD_SITE_HPP
#define BATCHNORM_IO_ONNX_FOLD_SITE_HPP

#include <onnx/onnx_pb.h>

#include <Eigen/Core>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/io/onnx_constant.hpp"
#include "batchnorm/io/onnx_graph.hpp"
#include "batchnorm/io/onnx_layer.hpp"
#include "batchnorm/io/onnx_model.hpp"
#include "batchnorm/io/onnx_rank.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/version.hpp"

// Which layer of the graph a norm goes into. The graph decides and nothing else, no name: between
// the two may stand only what moves axes, and nobody else may see what is between them.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// A layer that takes the norm, or why there is none. Points into the model.
struct OnnxFoldSite {
  OnnxWeightLayer layer;
  /// The Add of a constant behind a MatMul, which holds its bias; nullptr where there is none.
  const onnx::NodeProto* adder = nullptr;
  int adder_place = 0;   ///< the input of the Add that is the constant
  OnnxConstant added;    ///< that constant
  Index norm_rank = -1;  ///< axes of the values that are normalised; -1 where nobody knows
  std::string fault;     ///< empty: the norm can be folded

  bool found() const { return fault.empty(); }
};

/// Why a value cannot change: someone else sees it. Empty when only one node does.
inline std::string seen_by_others(const OnnxScope& scope, const std::string& value,
                                  const onnx::NodeProto& user) {
  if (scope.is_output(value)) return text(in_quotes(value), " is an output of the model");
  bool seen = false;
  for (const onnx::NodeProto* other : scope.users(value)) {
    if (other != &user || seen) {
      return text(in_quotes(value), " is used by ", onnx_words(*other), ", too");
    }
    seen = true;
  }
  return {};
}

/// Whether a node makes one value and no other.
inline bool makes_only(const onnx::NodeProto& node, const std::string& value) {
  return node.output_size() == 1 && node.output(0) == value;
}

/// Looks for the layer in front of a norm.
class OnnxSiteInFront {
 public:
  OnnxSiteInFront(const OnnxModel& model, const OnnxScope& scope, const onnx::NodeProto& norm)
      : model_(model), scope_(scope), norm_(norm), ranks_(model, scope) {}

  OnnxFoldSite find(Index channels) {
    channels_ = channels;
    const onnx::NodeProto* user = &norm_;
    std::string value = norm_.input(0);
    site_.norm_rank = ranks_.of(value);
    rank_ = site_.norm_rank;
    constexpr int most_steps = 16;
    for (int step = 0; step < most_steps; ++step) {
      const std::string seen = seen_by_others(scope_, value, *user);
      if (!seen.empty()) return fail(seen);
      const onnx::NodeProto* maker = scope_.maker(value);
      if (maker == nullptr) return fail(text("no layer makes ", in_quotes(value)));
      if (!makes_only(*maker, value)) return fail(onnx_words(*maker) + " has several outputs");
      if (is_weight_layer(*maker)) return end_at(*maker);
      if (!step_over(*maker, value)) return std::move(site_);
      user = maker;
    }
    return fail(text("more than ", most_steps, " nodes stand between it and a layer"));
  }

 private:
  OnnxFoldSite fail(std::string fault) {
    site_.fault = std::move(fault);
    return std::move(site_);
  }

  /// Goes on to the value in front of a node, if the norm can change places with the node.
  bool step_over(const onnx::NodeProto& node, std::string& value) {
    if (is_onnx_op(node, "Add")) return step_over_add(node, value);
    const OnnxAxisStep step = axis_before(model_, scope_, ranks_, node, axis_);
    if (!step.known) {
      site_.fault = onnx_words(node) + " stands in front of it";
      return false;
    }
    moves_ += step.rank >= 0 && rank_ >= 0 ? rank_ - step.rank : 0;
    axis_ = step.axis;
    rank_ = step.rank;
    value = node.input(0);
    return true;
  }

  /// A constant of one number per channel is the bias of a MatMul in front of it.
  bool step_over_add(const onnx::NodeProto& node, std::string& value) {
    const auto fault = [&](const char* why) {
      site_.fault = onnx_words(node) + why;
      return false;
    };
    if (node.input_size() != 2 || scope_.opset() < 7) return fault(" stands in front of it");
    for (int place = 0; place < 2; ++place) {
      OnnxConstant constant = find_onnx_constant(model_, scope_, node.input(place));
      if (!constant.found()) continue;
      const onnx::NodeProto* const maker = scope_.maker(node.input(1 - place));
      if (maker == nullptr || !is_onnx_op(*maker, "MatMul")) break;
      const std::vector<Index>& shape = constant.tensor.shape;
      // The channels of a MatMul are its last axis, and so is that of one number for each.
      if (shape.empty() || shape.back() != channels_) break;
      for (std::size_t i = 0; i + 1 < shape.size(); ++i) {
        if (shape[i] != 1) return fault(" adds more than one number per channel");
      }
      site_.adder = &node;
      site_.adder_place = place;
      site_.added = std::move(constant);
      value = node.input(1 - place);
      return true;
    }
    return fault(" stands in front of it");
  }

  OnnxFoldSite end_at(const onnx::NodeProto& node) {
    site_.layer = OnnxLayerReader(model_, scope_, node).read();
    if (!site_.layer.fault.empty()) return fail(site_.layer.fault);
    if (site_.layer.out_channels() != channels_) {
      return fail(text(onnx_words(node), " has ", site_.layer.out_channels(), " outputs for ",
                       channels_, " channels"));
    }
    if (!is_onnx_op(node, "MatMul")) {
      if (axis_ == 1) return std::move(site_);
      return fail("the channels are not those of " + onnx_words(node));
    }
    const Index rank = rank_ >= 0 ? rank_ : ranks_.of(node.output(0));
    if (rank < 0) {
      return fail(text("nobody knows how many axes ", onnx_words(node),
                       " gives, and so which of them are the channels"));
    }
    if (axis_ != rank - 1) return fail("the channels are not those of " + onnx_words(node));
    if (site_.norm_rank < 0) site_.norm_rank = rank + moves_;
    if (site_.norm_rank < 2) return fail("nobody knows how many axes it has");
    if (scope_.opset() < 7) return fail("adding a bias is another operator before opset 7");
    return std::move(site_);
  }

  const OnnxModel& model_;
  const OnnxScope& scope_;
  const onnx::NodeProto& norm_;
  OnnxRanks ranks_;
  OnnxFoldSite site_;
  Index channels_ = 0;
  Index axis_ = 1;   ///< of the channels, at the value that is looked at
  Index rank_ = -1;  ///< of that value; -1 where nobody knows
  Index moves_ = 0;
};

/// Why a convolution pads its input; empty when it does not.
inline std::string padding_of(const onnx::NodeProto& node) {
  if (const onnx::AttributeProto* pads = onnx_attribute(node, "pads")) {
    for (const auto pad : pads->ints()) {
      if (pad != 0) return "pads with zeros, which are not what the norm makes of zeros";
    }
  }
  const onnx::AttributeProto* automatic = onnx_attribute(node, "auto_pad");
  if (automatic == nullptr || automatic->s().empty() || automatic->s() == "NOTSET" ||
      automatic->s() == "VALID") {
    return {};
  }
  return "pads with zeros (auto_pad), which are not what the norm makes of zeros";
}

/// The layer behind a norm.
inline OnnxFoldSite find_site_behind(const OnnxModel& model, const OnnxScope& scope,
                                     const onnx::NodeProto& norm, Index channels) {
  OnnxFoldSite site;
  const auto fail = [&](const std::string& fault) {
    site.fault = fault;
    return site;
  };
  const std::string& value = norm.output(0);
  const auto& users = scope.users(value);
  if (users.empty()) return fail(text("nothing uses ", in_quotes(value)));
  const onnx::NodeProto& node = *users.front();
  const std::string seen = seen_by_others(scope, value, node);
  if (!seen.empty()) return fail(seen);
  if (!is_weight_layer(node)) return fail(onnx_words(node) + " stands behind it");
  if (node.output_size() != 1 || node.output(0).empty()) {
    return fail(onnx_words(node) + " has several outputs");
  }
  if (is_onnx_op(node, "ConvTranspose")) {
    return fail(onnx_words(node) + " needs another bias at every place");
  }
  if (node.input_size() < 2 || node.input(0) != value) {
    return fail(onnx_words(node) + " takes it for its weights");
  }
  if (is_onnx_op(node, "Conv") && !padding_of(node).empty()) {
    return fail(onnx_words(node) + " " + padding_of(node));
  }
  if (is_onnx_op(node, "Gemm") && onnx_int(node, "transA", 0) != 0) {
    return fail(onnx_words(node) + " turns its input");
  }
  if (is_onnx_op(node, "MatMul")) {
    if (OnnxRanks(model, scope).of(value) != 2) {
      return fail(onnx_words(node) + " may take another axis than the channels");
    }
    if (scope.opset() < 7) return fail("adding a bias is another operator before opset 7");
  }
  site.layer = OnnxLayerReader(model, scope, node).read();
  if (!site.layer.fault.empty()) return fail(site.layer.fault);
  if (site.layer.in_channels() == channels) return site;
  return fail(text(onnx_words(node), " has ", site.layer.in_channels(), " inputs for ", channels,
                   " channels"));
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_ONNX_FOLD_SITE_HPP
