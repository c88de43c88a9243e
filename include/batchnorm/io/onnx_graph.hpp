// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_ONNX_GRAPH_HPP
#define BATCHNORM_IO_ONNX_GRAPH_HPP

#include <onnx/onnx_pb.h>

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/io/onnx_model.hpp"
#include "batchnorm/version.hpp"

// Who makes a value of a model and who uses it. A name means something within one graph, within the
// graphs inside it (the branches of an If), and, as an argument, within the functions that it
// calls.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// Whether a domain is that of the operators of ONNX itself.
inline bool is_onnx_domain(const std::string& domain) {
  return domain.empty() || domain == "ai.onnx";
}

inline bool is_onnx_op(const onnx::NodeProto& node, const char* type) {
  return node.op_type() == type && is_onnx_domain(node.domain());
}

/// The version of ONNX' operators that a model or a function imports; 1 where none is named, as
/// before IR version 3.
template <class Imports>
Index onnx_opset(const Imports& imports, Index otherwise) {
  for (const auto& import : imports) {
    if (is_onnx_domain(import.domain())) return static_cast<Index>(import.version());
  }
  return otherwise;
}

inline const onnx::AttributeProto* onnx_attribute(const onnx::NodeProto& node, const char* name) {
  for (const onnx::AttributeProto& attribute : node.attribute()) {
    if (attribute.name() == name) return &attribute;
  }
  return nullptr;
}

/// The value of an attribute that is a whole number.
inline Index onnx_int(const onnx::NodeProto& node, const char* name, Index otherwise) {
  const onnx::AttributeProto* const attribute = onnx_attribute(node, name);
  return attribute == nullptr ? otherwise : static_cast<Index>(attribute->i());
}

/// An input or output of a node by its place; "" where it has none there.
template <class Names>
std::string onnx_value_at(const Names& names, int place) {
  return place < names.size() ? names[place] : std::string();
}

/// Calls visit(graph) for the graphs that are attributes of a node.
template <class Visit>
void each_onnx_subgraph(const onnx::NodeProto& node, const Visit& visit) {
  for (const onnx::AttributeProto& attribute : node.attribute()) {
    if (attribute.has_g()) visit(attribute.g());
    for (const onnx::GraphProto& graph : attribute.graphs()) visit(graph);
  }
}

/// Adds the names that a graph uses and does not make: those of the graph around it.
inline void collect_captured(const onnx::GraphProto& graph, std::set<std::string>& captured) {
  std::set<std::string> own;
  for (const auto& input : graph.input()) own.insert(input.name());
  for (const auto& tensor : graph.initializer()) own.insert(tensor.name());
  for (const auto& tensor : graph.sparse_initializer()) own.insert(tensor.values().name());
  for (const auto& node : graph.node()) own.insert(node.output().begin(), node.output().end());
  std::set<std::string> used;
  for (const auto& output : graph.output()) used.insert(output.name());
  for (const auto& node : graph.node()) {
    used.insert(node.input().begin(), node.input().end());
    each_onnx_subgraph(node, [&](const onnx::GraphProto& inner) { collect_captured(inner, used); });
  }
  for (const std::string& name : used) {
    if (own.count(name) == 0) captured.insert(name);
  }
}

/// One graph, or one call of a function. Points into the model, which must outlive it.
class OnnxScope {
 public:
  using Nodes = google::protobuf::RepeatedPtrField<onnx::NodeProto>;

  /// @param outer  the scope around the graph; nullptr for the graph of the model
  OnnxScope(const onnx::GraphProto& graph, const OnnxScope* outer, std::string path, Index opset)
      : graph_(&graph),
        nodes_(&graph.node()),
        outer_(outer),
        path_(std::move(path)),
        opset_(opset) {
    for (const auto& tensor : graph.initializer()) initialisers_[tensor.name()] = &tensor;
    for (const auto& tensor : graph.sparse_initializer()) sparse_.insert(tensor.values().name());
    for (const auto& input : graph.input()) inputs_.emplace(input.name(), inputs_.size());
    for (const auto& output : graph.output()) outputs_.insert(output.name());
    connect();
  }

  /// @param caller  the scope of the node that calls the function
  OnnxScope(const onnx::FunctionProto& function, const OnnxScope& caller,
            const onnx::NodeProto& call, std::string path)
      : nodes_(&function.node()),
        caller_(&caller),
        call_(&call),
        path_(std::move(path)),
        opset_(onnx_opset(function.opset_import(), caller.opset())) {
    for (const std::string& input : function.input()) inputs_.emplace(input, inputs_.size());
    outputs_.insert(function.output().begin(), function.output().end());
    connect();
  }

  const Nodes& nodes() const { return *nodes_; }
  const onnx::GraphProto* graph() const { return graph_; }  ///< nullptr in a function
  const OnnxScope* outer() const { return outer_; }
  const OnnxScope* caller() const { return caller_; }
  const onnx::NodeProto* call() const { return call_; }
  const std::string& path() const { return path_; }  ///< empty for the graph of the model
  Index opset() const { return opset_; }

  const onnx::NodeProto* maker(const std::string& name) const {
    const auto entry = makers_.find(name);
    return entry == makers_.end() ? nullptr : entry->second;
  }
  const onnx::TensorProto* initialiser(const std::string& name) const {
    const auto entry = initialisers_.find(name);
    return entry == initialisers_.end() ? nullptr : entry->second;
  }
  bool is_sparse(const std::string& name) const { return sparse_.count(name) != 0; }
  bool is_input(const std::string& name) const { return inputs_.count(name) != 0; }
  bool is_output(const std::string& name) const { return outputs_.count(name) != 0; }
  std::size_t input_place(const std::string& name) const { return inputs_.at(name); }

  /// The nodes that use a value, one entry for every time; a node whose subgraphs use it has one.
  const std::vector<const onnx::NodeProto*>& users(const std::string& name) const {
    static const std::vector<const onnx::NodeProto*> none;
    const auto entry = users_.find(name);
    return entry == users_.end() ? none : entry->second;
  }

 private:
  void connect() {
    for (const onnx::NodeProto& node : *nodes_) {
      for (const std::string& output : node.output()) {
        if (!output.empty()) makers_.emplace(output, &node);
      }
      for (const std::string& input : node.input()) {
        if (!input.empty()) users_[input].push_back(&node);
      }
      std::set<std::string> captured;
      each_onnx_subgraph(node, [&](const auto& graph) { collect_captured(graph, captured); });
      for (const std::string& name : captured) users_[name].push_back(&node);
    }
  }

  const onnx::GraphProto* graph_ = nullptr;
  const Nodes* nodes_;
  const OnnxScope* outer_ = nullptr;
  const OnnxScope* caller_ = nullptr;
  const onnx::NodeProto* call_ = nullptr;
  std::string path_;
  Index opset_;
  std::map<std::string, const onnx::NodeProto*> makers_;
  std::map<std::string, const onnx::TensorProto*> initialisers_;
  std::set<std::string> sparse_;
  std::map<std::string, std::size_t> inputs_;
  std::set<std::string> outputs_;
  std::map<std::string, std::vector<const onnx::NodeProto*>> users_;
};

/// Goes through all graphs of a model, and through its functions once for every call.
class OnnxWalk {
 public:
  OnnxWalk(const FileContext& context, const OnnxModel& model) : context_(context), model_(model) {
    for (const auto& function : model.proto.functions()) {
      functions_[{function.domain(), function.name()}] = &function;
    }
  }

  /// Calls visit(scope) for each, the outer ones first.
  template <class Visit>
  void run(const Visit& visit) {
    const Index opset = onnx_opset(model_.proto.opset_import(), 1);
    walk(OnnxScope(model_.proto.graph(), nullptr, "", opset), visit, 0);
  }

 private:
  template <class Visit>
  void walk(const OnnxScope& scope, const Visit& visit, int depth) {
    // A few nodes can make more calls than there is time for, when functions call each other twice.
    constexpr int deepest = 32;
    constexpr int most_nodes = 1000000;
    nodes_ += scope.nodes().size();
    if (depth > deepest || nodes_ > most_nodes) {
      fail_file(context_, "functions and graphs inside graphs",
                text("at most ", deepest, " inside each other and ", most_nodes, " nodes"),
                text("more, in ", in_quotes(scope.path())));
    }
    visit(scope);
    for (const onnx::NodeProto& node : scope.nodes()) {
      const std::string path = scope.path() + onnx_label(node) + "/";
      each_onnx_subgraph(node, [&](const onnx::GraphProto& graph) {
        walk(OnnxScope(graph, &scope, path, scope.opset()), visit, depth + 1);
      });
      const auto function = functions_.find({node.domain(), node.op_type()});
      if (function == functions_.end()) continue;
      walk(OnnxScope(*function->second, scope, node, path), visit, depth + 1);
    }
  }

  const FileContext& context_;
  const OnnxModel& model_;
  std::map<std::pair<std::string, std::string>, const onnx::FunctionProto*> functions_;
  int nodes_ = 0;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_ONNX_GRAPH_HPP
