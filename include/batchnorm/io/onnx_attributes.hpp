// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_ONNX_ATTRIBUTES_HPP
#define BATCHNORM_IO_ONNX_ATTRIBUTES_HPP

#include <onnx/onnx_pb.h>

#include <string>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/io/onnx_graph.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/version.hpp"

// What the attributes and outputs of a BatchNormalization node say, by the version of the operator
// (ONNX Operators.md and Changelog.md, BatchNormalization-1, -6, -7, -9, -14, -15):
//
//                  1, 6        7        9     14, 15
//     epsilon      float, 1e-5 in all
//     momentum     float, 0.9 in all, the weight of the old average
//     is_test      0           -        -     -
//     spatial      1           1        -     -
//     training     is_test 0, more than one output  ...  training_mode
//
// Numbers are float: 1e-5 of a file is double(1e-5f).

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

struct OnnxNormAttributes {
  Options options;
  bool trains = false;
  std::string fault;  ///< why the node is not batch norm with fixed statistics; empty when it is
  std::string note;   ///< what is worth to be known all the same
};

/// An attribute, or what the call of a function gives for it; nullptr where there is none.
inline const onnx::AttributeProto* resolved_attribute(const OnnxScope* scope,
                                                      const onnx::NodeProto& node,
                                                      const char* name) {
  const onnx::AttributeProto* attribute = onnx_attribute(node, name);
  while (attribute != nullptr && !attribute->ref_attr_name().empty()) {
    while (scope != nullptr && scope->call() == nullptr) scope = scope->outer();
    if (scope == nullptr) return nullptr;
    attribute = onnx_attribute(*scope->call(), attribute->ref_attr_name().c_str());
    scope = scope->caller();
  }
  return attribute;
}

class OnnxNormReader {
 public:
  OnnxNormReader(const OnnxScope& scope, const onnx::NodeProto& node)
      : scope_(scope), node_(node) {}

  OnnxNormAttributes read() {
    found_.options = Options::onnx();
    read_epsilon();
    read_momentum();
    if (scope_.opset() < 9 && number("spatial", 1) == 0) {
      object("spatial is 0: statistics of every place, and not of every channel");
    }
    if (scope_.opset() < 14) {
      read_early_mode();
    } else {
      read_mode();
    }
    return found_;
  }

 private:
  void object(const std::string& fault) {
    found_.fault += (found_.fault.empty() ? "" : "; ") + fault;
  }

  void note(const std::string& text) { found_.note += (found_.note.empty() ? "" : "; ") + text; }

  Index number(const char* name, Index otherwise) const {
    const onnx::AttributeProto* attribute = resolved_attribute(&scope_, node_, name);
    return attribute == nullptr ? otherwise : static_cast<Index>(attribute->i());
  }

  /// @return whether there is a number; false also where it has another type
  bool real(const char* name, double& value) {
    const onnx::AttributeProto* attribute = resolved_attribute(&scope_, node_, name);
    if (attribute == nullptr) return false;
    if (!attribute->has_f()) return object(text(name, " is no float")), false;
    value = static_cast<double>(attribute->f());
    return true;
  }

  void read_epsilon() {
    double epsilon = static_cast<double>(1e-5f);
    real("epsilon", epsilon);
    if (is_finite(epsilon) && epsilon >= 0.0) {
      found_.options.epsilon = epsilon;
    } else {
      object(text("epsilon is ", epsilon, ", and must be zero or larger"));
    }
  }

  /// Only training uses it.
  void read_momentum() {
    double momentum = static_cast<double>(0.9f);
    real("momentum", momentum);
    if (is_finite(momentum) && momentum >= 0.0 && momentum <= 1.0) {
      found_.options.running = RunningUpdate::keep_old(momentum);
    } else {
      note(text("momentum ", momentum, " is no share, and 0.9 is taken"));
    }
  }

  int named_outputs() const {
    int named = 0;
    for (const std::string& output : node_.output()) named += output.empty() ? 0 : 1;
    return named;
  }

  void read_early_mode() {
    const bool has_is_test = resolved_attribute(&scope_, node_, "is_test") != nullptr;
    if (scope_.opset() < 7 && has_is_test && number("is_test", 0) == 0) {
      train("is_test is 0: the node trains");
    } else if (named_outputs() > 1) {
      train("more than one output before opset 14: the node trains");
    } else if (scope_.opset() < 7 && !has_is_test) {
      note(
          "is_test is absent, which is 0 by the letter; taken as 1, because statistics that are "
          "learned would be outputs");
    }
    if (named_outputs() == 5) {
      note("the fifth output is 1 / sqrt(variance + epsilon) in practice, no variance");
    }
  }

  void read_mode() {
    if (number("training_mode", 0) != 0) {
      train("training_mode is 1: the node trains");
    } else if (named_outputs() > 1) {
      object("more than one output, although training_mode is 0, is no valid model");
    }
  }

  void train(const char* why) {
    found_.trains = true;
    object(why);
  }

  const OnnxScope& scope_;
  const onnx::NodeProto& node_;
  OnnxNormAttributes found_;
};

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_ONNX_ATTRIBUTES_HPP
