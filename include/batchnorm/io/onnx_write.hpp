// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_ONNX_WRITE_HPP
#define BATCHNORM_IO_ONNX_WRITE_HPP

#include <onnx/onnx_pb.h>

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <utility>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/io/atomic_file.hpp"
#include "batchnorm/io/onnx_graph.hpp"
#include "batchnorm/io/onnx_model.hpp"
#include "batchnorm/io/onnx_tensor.hpp"
#include "batchnorm/io/safetensors_layout.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Checks the wiring of a graph: every value is made once, and before it is used.
class OnnxGraphCheck {
 public:
  explicit OnnxGraphCheck(const FileContext& context) : context_(context) {}

  /// @param around  the values of the graphs around this one
  void check(const onnx::GraphProto& graph, std::set<std::string> around) {
    std::set<std::string> made;
    for (const auto& input : graph.input()) made.insert(input.name());
    for (const auto& tensor : graph.initializer()) made.insert(tensor.name());
    for (const auto& tensor : graph.sparse_initializer()) made.insert(tensor.values().name());
    around.insert(made.begin(), made.end());
    for (const onnx::NodeProto& node : graph.node()) {
      for (const std::string& input : node.input()) {
        if (input.empty() || around.count(input) != 0) continue;
        fail_node(context_, onnx_label(node), "inputs", "values that are made before",
                  in_quotes(input));
      }
      each_onnx_subgraph(node, [&](const auto& inner) { check(inner, around); });
      for (const std::string& output : node.output()) {
        if (output.empty()) continue;
        if (!made.insert(output).second) {
          fail_node(context_, onnx_label(node), "outputs", "values that nothing else makes",
                    in_quotes(output));
        }
        around.insert(output);
      }
    }
    for (const auto& output : graph.output()) {
      if (around.count(output.name()) != 0) continue;
      fail_file(context_, "outputs of the graph", "values that are made", in_quotes(output.name()));
    }
  }

 private:
  const FileContext& context_;
};

template <class Visit>
void each_onnx_tensor(onnx::GraphProto& graph, const Visit& visit);

/// Calls visit(tensor) for every tensor of these nodes and of the graphs inside them.
template <class Visit>
void each_onnx_tensor(google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes,
                      const Visit& visit) {
  for (onnx::NodeProto& node : nodes) {
    for (onnx::AttributeProto& attribute : *node.mutable_attribute()) {
      if (attribute.has_t()) visit(*attribute.mutable_t());
      for (onnx::TensorProto& tensor : *attribute.mutable_tensors()) visit(tensor);
      if (attribute.has_g()) each_onnx_tensor(*attribute.mutable_g(), visit);
      for (onnx::GraphProto& inner : *attribute.mutable_graphs()) each_onnx_tensor(inner, visit);
    }
  }
}

/// The same for a graph.
template <class Visit>
void each_onnx_tensor(onnx::GraphProto& graph, const Visit& visit) {
  for (onnx::TensorProto& tensor : *graph.mutable_initializer()) visit(tensor);
  each_onnx_tensor(*graph.mutable_node(), visit);
}

/// Takes the numbers that lie in other files into the model, those of its functions, too.
inline void take_external_data(const FileContext& context, OnnxModel& model) {
  const auto take = [&](onnx::TensorProto& proto) {
    if (proto.data_location() != onnx::TensorProto::EXTERNAL) return;
    OnnxTensorReader reader(proto, model);
    Tensor tensor;
    if (!reader.read(tensor)) {
      fail_tensor(context, proto.name(), "numbers", "those of its file", reader.fault());
    }
    set_onnx_tensor(proto, tensor);
  };
  each_onnx_tensor(*model.proto.mutable_graph(), take);
  for (onnx::FunctionProto& function : *model.proto.mutable_functions()) {
    each_onnx_tensor(*function.mutable_node(), take);
  }
}

}  // namespace detail

/// Checks of a model that every value of the graph is made once and before it is used, and that
/// outputs are made. It is not asked whether operators know their inputs. Cost: one pass over the
/// names.
/// @throws std::runtime_error naming file and node
inline void check_onnx(const OnnxModel& model) {
  const detail::FileContext context{"check_onnx", model.name};
  if (model.proto.ir_version() < 1 || !model.proto.has_graph()) {
    detail::fail_file(context, "model", "an IR version and a graph", "none");
  }
  detail::OnnxGraphCheck(context).check(model.proto.graph(), {});
}

/// Writes a model into one file, the path: what lay in files beside it is taken in. The file
/// appears whole or not at all. Cost: a copy of the model, one write.
/// @throws std::runtime_error when the model is not valid (check_onnx), is larger than 2 GB, or the
///         file cannot be written
inline void write_onnx(const std::string& path, const OnnxModel& model) {
  const detail::FileContext context{"write_onnx", path};
  check_onnx(model);
  OnnxModel whole = model;
  detail::take_external_data(context, whole);
  const std::uint64_t size = whole.proto.ByteSizeLong();
  if (size > detail::largest_onnx_file) {
    detail::fail_file(context, "bytes of the model",
                      detail::text("at most ", detail::largest_onnx_file), detail::text(size));
  }
  const std::string bytes = whole.proto.SerializeAsString();
  detail::AtomicFile file(path);
  file.write(bytes.data(), bytes.size());
  if (!file.commit()) {
    detail::raise_runtime_error(detail::beginning(context) + "file: " + file.failure());
  }
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_ONNX_WRITE_HPP
