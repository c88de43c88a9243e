// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_ONNX_NODE_HPP
#define BATCHNORM_IO_ONNX_NODE_HPP

#include <onnx/onnx_pb.h>

#include <Eigen/Core>
#include <string>
#include <type_traits>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/frozen.hpp"
#include "batchnorm/io/onnx_edit.hpp"
#include "batchnorm/io/onnx_graph.hpp"
#include "batchnorm/io/onnx_model.hpp"
#include "batchnorm/io/onnx_tensor.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/math/statistics.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

// Layers of this library as nodes of an ONNX model.

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// The numbers of a BatchNormalization node.
template <class P>
struct OnnxNodeNumbers {
  std::vector<P> gamma, beta, mean, variance;
  float epsilon = 0.0f;
  Epilogue epilogue = Epilogue::none();

  std::size_t channels() const { return gamma.size(); }
};

/// Puts the node behind all others, and behind it one for the epilogue, if there is one.
template <class P>
void add_onnx_node(OnnxModel& model, const std::string& name, const std::string& input,
                   const std::string& output, const OnnxNodeNumbers<P>& numbers) {
  OnnxGraphEditor editor(model);
  onnx::GraphProto& graph = *model.proto.mutable_graph();
  const bool bare = numbers.epilogue.is_identity();
  const std::string normalised = bare ? output : output + "_normalised";
  onnx::NodeProto node;
  node.set_op_type("BatchNormalization");
  node.set_name(name);
  node.add_input(input);
  const auto add = [&](const char* part, const std::vector<P>& values) {
    Tensors tensors;
    tensors.set(part, {static_cast<Index>(values.size())}, values);
    node.add_input(editor.add_initialiser(name + "." + part, tensors.tensor(part)));
  };
  add("scale", numbers.gamma);
  add("B", numbers.beta);
  add("input_mean", numbers.mean);
  add("input_var", numbers.variance);
  node.add_output(normalised);
  onnx::AttributeProto& epsilon = *node.add_attribute();
  epsilon.set_name("epsilon");
  epsilon.set_type(onnx::AttributeProto::FLOAT);
  epsilon.set_f(numbers.epsilon);
  *graph.add_node() = node;
  if (bare) return;
  onnx::NodeProto& behind = *graph.add_node();
  const float slope = static_cast<float>(numbers.epilogue.slope());
  behind.set_op_type(slope > 0.0f ? "LeakyRelu" : "Relu");
  behind.set_name(name + "_epilogue");
  behind.add_input(normalised);
  behind.add_output(output);
  if (!(slope > 0.0f)) return;
  onnx::AttributeProto& alpha = *behind.add_attribute();
  alpha.set_name("alpha");
  alpha.set_type(onnx::AttributeProto::FLOAT);
  alpha.set_f(slope);
}

/// From a state: rounded to the type of the parameters, with epsilon as float.
template <class T, int Channels>
OnnxNodeNumbers<parameter_t<T>> onnx_numbers(const char* function, const State<T, Channels>& state,
                                             const Options& options) {
  using P = parameter_t<T>;
  validate_for<T>(options);
  check_state(function, state, NonFinite::reject);
  check_fresh(function, state.staleness, "set state().staleness to Staleness::fresh");
  OnnxNodeNumbers<P> numbers;
  numbers.epsilon = static_cast<float>(options.epsilon);
  numbers.epilogue = options.epilogue;
  if (!is_finite(numbers.epsilon)) {
    fail_argument(function, "epsilon is a float in ONNX", "one that fits", text(options.epsilon));
  }
  for (Index channel = 0; channel < state.channels(); ++channel) {
    const auto gamma = gamma_of(options, state, channel);
    const auto beta = beta_of(options, state, channel);
    if (!is_finite(gamma) || !is_finite(beta)) {
      fail_domain(function, text("gamma and beta of channel ", channel), "finite numbers",
                  "NaN or infinity");
    }
    numbers.gamma.push_back(convert<P>(gamma));
    numbers.beta.push_back(convert<P>(beta));
    numbers.mean.push_back(convert<P>(state.running_mean[channel]));
    numbers.variance.push_back(convert<P>(state.running_variance[channel]));
  }
  return numbers;
}

/// y = (x - pivot) scale + shift is a norm with variance 1 and epsilon 0: to the bit.
template <class T, int Channels>
OnnxNodeNumbers<parameter_t<T>> onnx_numbers(const char* function,
                                             const FrozenBatchNorm<T, Channels>& frozen) {
  using P = parameter_t<T>;
  if (frozen.channels() == 0) {
    fail_argument(function, "frozen layer", "one that was made", "an empty one");
  }
  OnnxNodeNumbers<P> numbers;
  numbers.epilogue = frozen.epilogue();
  for (Index channel = 0; channel < frozen.channels(); ++channel) {
    numbers.gamma.push_back(frozen.scale()[channel]);
    numbers.beta.push_back(frozen.shift()[channel]);
    numbers.mean.push_back(frozen.pivot()[channel]);
    numbers.variance.push_back(P(1));
  }
  return numbers;
}

inline void check_can_take_node(const char* function, const OnnxModel& model,
                                const std::string& input, const std::string& output) {
  const FileContext context{function, model.name};
  const OnnxScope scope(model.proto.graph(), nullptr, "", 0);
  const auto is_there = [&](const std::string& name) {
    return scope.is_input(name) || scope.maker(name) != nullptr ||
           scope.initialiser(name) != nullptr;
  };
  if (!is_there(input))
    fail_file(context, "input of the node", "a value of the graph", in_quotes(input));
  if (output.empty() || is_there(output)) {
    fail_file(context, "output of the node", "a new name", in_quotes(output));
  }
  const Index opset = onnx_opset(model.proto.opset_import(), 1);
  if (opset < 9) {
    fail_file(context, "version of the operators", "9 or later", text(opset));
  }
}

/// A model of one layer: x, of C channels on axis 1, to y.
template <class T, class Numbers>
OnnxModel onnx_of_numbers(const char* function, const Numbers& numbers, Index rank) {
  constexpr const char* dtype = dtype_name<T>();
  static_assert(dtype != nullptr, "batchnorm: ONNX has float, double, half and bfloat16");
  if (rank < 2 || rank > 8) {
    fail_argument(function, "number of axes", "2 (examples x channels) to 8", text(rank));
  }
  OnnxModel model;
  model.proto.set_ir_version(8);
  model.proto.set_producer_name("batchnorm");
  model.proto.add_opset_import()->set_version(15);
  onnx::GraphProto& graph = *model.proto.mutable_graph();
  graph.set_name("batch_norm");
  const auto describe = [&](onnx::ValueInfoProto& value, const char* name) {
    value.set_name(name);
    auto& type = *value.mutable_type()->mutable_tensor_type();
    type.set_elem_type(onnx_type_of(dtype));
    for (Index axis = 0; axis < rank; ++axis) {
      auto& dimension = *type.mutable_shape()->add_dim();
      if (axis == 1) {
        dimension.set_dim_value(static_cast<Index>(numbers.channels()));
      } else {
        dimension.set_dim_param(axis == 0 ? "examples" : std::string(text("positions_", axis - 1)));
      }
    }
  };
  describe(*graph.add_input(), "x");
  describe(*graph.add_output(), "y");
  add_onnx_node(model, "batch_norm", "x", "y", numbers);
  return model;
}

}  // namespace detail

/// Adds a layer to the graph of a model, behind all its nodes: BatchNormalization for inference,
/// and Relu or LeakyRelu behind it for an epilogue. Parameters are initialisers NAME.scale, NAME.B,
/// NAME.input_mean and NAME.input_var. Statistics are rounded to the type of gamma, epsilon to
/// float. Shapes: one number per channel. Cost: a copy of the state; one pass over the names of the
/// model. Source: the specification of ONNX, BatchNormalization-15.
/// @param name    of the node
/// @param options those of the layer, epsilon above all
/// @param input   a value of the graph with the channels on axis 1, of the type T
/// @param output  the name of the value that the node makes
/// @throws std::runtime_error naming the model, when it has no such value, has one of the name of
///         the output, or imports operators before version 9
/// @throws std::invalid_argument, std::domain_error for a state that cannot be frozen
template <class T, int Channels>
void add_batch_norm(OnnxModel& model, const std::string& name, const std::string& input,
                    const std::string& output, const State<T, Channels>& state,
                    const Options& options) {
  constexpr const char* function = "add_batch_norm";
  detail::check_can_take_node(function, model, input, output);
  detail::add_onnx_node(model, name, input, output, detail::onnx_numbers(function, state, options));
}

/// The same for a frozen layer: the node has its numbers exactly, as a norm with variance 1 and
/// epsilon 0.
template <class T, int Channels>
void add_batch_norm(OnnxModel& model, const std::string& name, const std::string& input,
                    const std::string& output, const FrozenBatchNorm<T, Channels>& frozen) {
  constexpr const char* function = "add_batch_norm";
  detail::check_can_take_node(function, model, input, output);
  detail::add_onnx_node(model, name, input, output, detail::onnx_numbers(function, frozen));
}

/// A model (opset 15) of one layer, its state and options, from `x` to `y`. Shapes: one number per
/// channel. Cost: a copy of the numbers.
/// @param rank  axes of x: 2 for examples x channels, 4 for NCHW
/// @throws std::invalid_argument, std::domain_error as add_batch_norm
template <class T, int Channels>
OnnxModel onnx_of(const State<T, Channels>& state, const Options& options, Index rank = 2) {
  return detail::onnx_of_numbers<T>("onnx_of", detail::onnx_numbers("onnx_of", state, options),
                                    rank);
}

/// The same for a frozen layer, with its numbers exactly.
template <class T, int Channels>
OnnxModel onnx_of(const FrozenBatchNorm<T, Channels>& frozen, Index rank = 2) {
  return detail::onnx_of_numbers<T>("onnx_of", detail::onnx_numbers("onnx_of", frozen), rank);
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_ONNX_NODE_HPP
