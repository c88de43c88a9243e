// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_ONNX_EDIT_HPP
#define BATCHNORM_IO_ONNX_EDIT_HPP

#include <onnx/onnx_pb.h>

#include <Eigen/Core>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/io/onnx_constant.hpp"
#include "batchnorm/io/onnx_graph.hpp"
#include "batchnorm/io/onnx_model.hpp"
#include "batchnorm/io/onnx_tensor.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/version.hpp"

// Changes of a graph that keep it valid. Nodes are named by the value that they make first, because
// places change.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// The graph of a model under change.
class OnnxGraphEditor {
 public:
  explicit OnnxGraphEditor(OnnxModel& model)
      : model_(model), graph_(*model.proto.mutable_graph()) {}

  /// The place of the node that makes a value; -1 where there is none.
  int place_of(const std::string& output) const {
    for (int place = 0; place < graph_.node_size(); ++place) {
      for (const std::string& name : graph_.node(place).output()) {
        if (name == output) return place;
      }
    }
    return -1;
  }

  onnx::NodeProto& maker(const std::string& output) {
    return *graph_.mutable_node(place_of(output));
  }

  /// Adds an initialiser; before IR version 4 each has to be a graph input, too.
  /// @return its name, the wanted one or that with a number
  std::string add_initialiser(const std::string& wanted, const Tensor& tensor) {
    std::string name = unused(wanted);
    onnx::TensorProto& proto = *graph_.add_initializer();
    proto.set_name(name);
    set_onnx_tensor(proto, tensor);
    if (model_.proto.ir_version() < 4) {
      onnx::ValueInfoProto& input = *graph_.add_input();
      input.set_name(name);
      auto& type = *input.mutable_type()->mutable_tensor_type();
      type.set_elem_type(proto.data_type());
      type.mutable_shape();
      for (const Index extent : tensor.shape) {
        type.mutable_shape()->add_dim()->set_dim_value(extent);
      }
    }
    return name;
  }

  /// Puts other numbers in the place of a constant of one node: where they lie when nobody else
  /// sees them, in a new initialiser otherwise.
  void set_constant(const std::string& node_output, int input, const OnnxConstant& constant,
                    bool is_free, const Tensor& tensor) {
    if (is_free && set_in_place(constant, tensor)) return;
    const std::string name = add_initialiser(constant.name + "_folded", tensor);
    maker(node_output).set_input(input, name);
  }

  /// Gives a node an input that it did not have.
  void add_input(const std::string& node_output, int input, const std::string& name) {
    onnx::NodeProto& node = maker(node_output);
    while (node.input_size() <= input) node.add_input("");
    node.set_input(input, name);
  }

  /// Takes away the node that makes `output` of `input`; its users get it from the maker of
  /// `input`, which nothing else may use.
  void merge_into_maker(const std::string& output, const std::string& input) {
    const int place = place_of(output);
    onnx::NodeProto& node = maker(input);
    for (int i = 0; i < node.output_size(); ++i) {
      if (node.output(i) == input) node.set_output(i, output);
    }
    graph_.mutable_node()->DeleteSubrange(place, 1);
    forget_shape(input);
  }

  /// Takes away the node that makes `output`; the one node that uses it takes `input`.
  void bypass(const std::string& output, const std::string& user_output, const std::string& input) {
    maker(user_output).set_input(0, input);
    graph_.mutable_node()->DeleteSubrange(place_of(output), 1);
    forget_shape(output);
  }

  /// Turns the node that makes `output` into the sum of a value and a constant.
  void turn_into_add(const std::string& output, const std::string& value,
                     const std::string& constant) {
    onnx::NodeProto& node = maker(output);
    node.set_op_type("Add");
    node.clear_attribute();
    node.clear_input();
    node.clear_output();
    node.add_input(value);
    node.add_input(constant);
    node.add_output(output);
  }

  /// Puts the sum with a constant behind the node that makes `output`.
  void add_behind(const std::string& output, const std::string& constant) {
    const int place = place_of(output);
    const std::string inner = unused(output + "_without_bias");
    onnx::NodeProto& layer = *graph_.mutable_node(place);
    for (int i = 0; i < layer.output_size(); ++i) {
      if (layer.output(i) == output) layer.set_output(i, inner);
    }
    const std::string name = layer.name().empty() ? "" : layer.name() + "_bias";
    onnx::NodeProto& sum = *graph_.add_node();
    sum.set_name(name);
    sum.add_output(output);
    turn_into_add(output, inner, constant);
    for (int last = graph_.node_size() - 1; last > place + 1; --last) {
      graph_.mutable_node()->SwapElements(last, last - 1);
    }
  }

  /// Takes away what made these values, as far as nothing uses them any more.
  void drop_unused(std::vector<std::string> values) {
    while (!values.empty()) {
      const std::string value = values.back();
      values.pop_back();
      const OnnxScope scope(graph_, nullptr, "", 0);
      if (value.empty() || !scope.users(value).empty() || scope.is_output(value)) continue;
      const int place = place_of(value);
      if (place >= 0) {
        const onnx::NodeProto& node = graph_.node(place);
        if (node.output_size() != 1) continue;
        values.insert(values.end(), node.input().begin(), node.input().end());
        graph_.mutable_node()->DeleteSubrange(place, 1);
      } else if (scope.initialiser(value) != nullptr) {
        erase(*graph_.mutable_initializer(), value);
        erase(*graph_.mutable_input(), value);
      }
      forget_shape(value);
    }
  }

 private:
  template <class List>
  static void erase(List& list, const std::string& name) {
    for (int place = list.size() - 1; place >= 0; --place) {
      if (list.Get(place).name() == name) list.DeleteSubrange(place, 1);
    }
  }

  void forget_shape(const std::string& value) { erase(*graph_.mutable_value_info(), value); }

  bool set_in_place(const OnnxConstant& constant, const Tensor& tensor) {
    if (constant.proto == nullptr) return false;
    for (onnx::TensorProto& proto : *graph_.mutable_initializer()) {
      if (&proto != constant.proto) continue;
      set_onnx_tensor(proto, tensor);
      return true;
    }
    const int place = place_of(constant.name);
    if (place < 0) return false;
    for (onnx::AttributeProto& attribute : *graph_.mutable_node(place)->mutable_attribute()) {
      if (!attribute.has_t() || &attribute.t() != constant.proto) continue;
      set_onnx_tensor(*attribute.mutable_t(), tensor);
      return true;
    }
    return false;
  }

  std::string unused(const std::string& wanted) const {
    std::set<std::string> taken;
    collect_names(graph_, taken);
    std::string name = wanted;
    for (int number = 2; taken.count(name) != 0; ++number) name = text(wanted, "_", number);
    return name;
  }

  /// All names of values, those of graphs inside included: a name must not be hidden by another.
  static void collect_names(const onnx::GraphProto& graph, std::set<std::string>& names) {
    for (const auto& value : graph.input()) names.insert(value.name());
    for (const auto& value : graph.output()) names.insert(value.name());
    for (const auto& value : graph.value_info()) names.insert(value.name());
    for (const auto& tensor : graph.initializer()) names.insert(tensor.name());
    for (const auto& tensor : graph.sparse_initializer()) names.insert(tensor.values().name());
    for (const auto& node : graph.node()) {
      names.insert(node.input().begin(), node.input().end());
      names.insert(node.output().begin(), node.output().end());
      each_onnx_subgraph(node, [&](const auto& inner) { collect_names(inner, names); });
    }
  }

  OnnxModel& model_;
  onnx::GraphProto& graph_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_ONNX_EDIT_HPP
