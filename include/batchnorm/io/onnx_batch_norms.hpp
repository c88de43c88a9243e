// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_IO_ONNX_BATCH_NORMS_HPP
#define BATCHNORM_IO_ONNX_BATCH_NORMS_HPP

#include <onnx/onnx_pb.h>

#include <Eigen/Core>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/io/batch_norms.hpp"
#include "batchnorm/io/examine.hpp"
#include "batchnorm/io/load_report.hpp"
#include "batchnorm/io/load_state.hpp"
#include "batchnorm/io/naming.hpp"
#include "batchnorm/io/onnx_attributes.hpp"
#include "batchnorm/io/onnx_constant.hpp"
#include "batchnorm/io/onnx_graph.hpp"
#include "batchnorm/io/onnx_model.hpp"
#include "batchnorm/io/tensors.hpp"
#include "batchnorm/options.hpp"
#include "batchnorm/state.hpp"
#include "batchnorm/version.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// A BatchNormalization node of an ONNX model, whatever it is good for. It holds its numbers and
/// does not need the model any more. Thread safety: a plain value.
struct OnnxBatchNorm {
  std::string node;      ///< its name, behind those of the nodes whose graphs or functions it is in
  std::string path;      ///< of those other nodes; empty in the graph of the model itself
  Index opset = 0;       ///< version of the operators that it is written for
  Options options;       ///< epsilon and update rule of the node; as float numbers of the file
  FoundBatchNorm found;  ///< which values are gamma, beta, mean and variance: inputs 1 to 4
  Tensors tensors;       ///< the numbers that are there
  bool trains = false;   ///< whether the node normalises with the statistics of a minibatch

  std::string input;                     ///< the value that is normalised
  std::string output;                    ///< the normalised value
  std::string behind;                    ///< what makes the input, such as "Conv conv1"
  std::vector<std::string> before;       ///< what uses the output
  std::vector<std::string> other_users;  ///< what else uses the input

  /// Everything there is to say about it, errors included.
  LoadReport report;
  /// Why it cannot be used as a frozen layer; empty when it can.
  std::string reason;

  /// Whether load_state takes it.
  bool can_be_frozen() const { return reason.empty(); }
};

/// What load_state does with a node that trains: its numbers are where it starts from.
enum class OnnxTraining {
  refuse,  ///< throw: freezing it would give other outputs than the model
  accept   ///< load it, to train on
};

namespace detail {

/// Looks at one node.
class OnnxNormExamination {
 public:
  OnnxNormExamination(const OnnxModel& model, const OnnxScope& scope, const onnx::NodeProto& node)
      : model_(model),
        scope_(scope),
        node_(node),
        norm_{scope.path() + onnx_label(node),
              scope.path(),
              scope.opset(),
              Options::onnx(),
              {LayerPrefix(scope.path() + onnx_label(node)), Naming::onnx(), {}, 0, ""},
              Tensors(model.name),
              false,
              onnx_value_at(node.input(), 0),
              onnx_value_at(node.output(), 0),
              "",
              {},
              {},
              {},
              ""} {
    norm_.report = LoadReport{norm_.node, model.name, {}};
  }

  OnnxBatchNorm run() {
    const OnnxNormAttributes attributes = OnnxNormReader(scope_, node_).read();
    norm_.options = attributes.options;
    norm_.trains = attributes.trains;
    if (!attributes.note.empty()) {
      note(norm_.report, Finding::options, "", attributes.note);
    }
    for (std::size_t role = 0; role < 4; ++role) read_vector(static_cast<Role>(role));
    if (norm_.report.errors() == 0) examine();
    if (!attributes.fault.empty()) {
      refuse(norm_.report, Finding::options, "", "mode of the node", "a frozen layer",
             attributes.fault);
    }
    for (const LoadReport::Entry& entry : norm_.report.entries) {
      if (entry.is_error) {
        norm_.reason += (norm_.reason.empty() ? "" : "; ") + LoadReport::line_of(entry);
      }
    }
    find_neighbours();
    return std::move(norm_);
  }

 private:
  void read_vector(Role role) {
    const int place = static_cast<int>(role) + 1;
    const std::string name = onnx_value_at(node_.input(), place);
    OnnxConstant constant = find_onnx_constant(model_, scope_, name);
    if (!constant.found()) {
      refuse(norm_.report, Finding::missing, name, text("input ", place), "numbers in the file",
             constant.fault);
      return;
    }
    // Not a name of a tensor in a collection; and arguments of functions may share their names.
    std::string key = constant.name == "__metadata__" ? "value __metadata__" : constant.name;
    if (norm_.tensors.contains(key) && norm_.tensors.tensor(key).bytes != constant.tensor.bytes &&
        !is_same(key, constant)) {
      key += text(" (input ", place, ")");
    }
    norm_.found.keys[static_cast<std::size_t>(role)] = key;
    if (role == Role::mean || norm_.found.channels == 0) {
      norm_.found.channels = vector_size(constant.tensor.shape);
      norm_.found.dtype = constant.tensor.dtype;
    }
    if (constant.is_graph_input) {
      note(norm_.report, Finding::used, key, "may be replaced by the caller: a graph input, too");
    }
    norm_.tensors.set(key, std::move(constant.tensor));
  }

  bool is_same(const std::string& key, const OnnxConstant& constant) const {
    for (const Role role : vector_roles) {
      if (norm_.found.key(role) != key) continue;
      return find_onnx_constant(model_, scope_,
                                onnx_value_at(node_.input(), static_cast<int>(role) + 1))
                 .proto == constant.proto;
    }
    return false;
  }

  void examine() {
    for (const Role role : vector_roles) {
      const std::vector<Index>& shape = norm_.tensors.shape(norm_.found.key(role));
      if (shape.size() == 1) continue;
      refuse(norm_.report, Finding::wrong_shape, norm_.found.key(role), "shape", "[channels]",
             shape_text(shape));
    }
    const LoadReport examined = examine_batch_norm(norm_.tensors, norm_.found, norm_.options);
    norm_.report.entries.insert(norm_.report.entries.end(), examined.entries.begin(),
                                examined.entries.end());
  }

  void find_neighbours() {
    const onnx::NodeProto* maker = scope_.maker(norm_.input);
    norm_.behind = maker != nullptr                             ? words(*maker)
                   : scope_.is_input(norm_.input)               ? "input " + norm_.input
                   : scope_.initialiser(norm_.input) != nullptr ? "initialiser " + norm_.input
                                                                : "value " + norm_.input;
    for (const onnx::NodeProto* user : scope_.users(norm_.input)) {
      if (user != &node_) norm_.other_users.push_back(words(*user));
    }
    if (scope_.is_output(norm_.input)) norm_.other_users.push_back("output " + norm_.input);
    for (const onnx::NodeProto* user : scope_.users(norm_.output)) {
      norm_.before.push_back(words(*user));
    }
    if (scope_.is_output(norm_.output)) norm_.before.push_back("output " + norm_.output);
  }

  static std::string words(const onnx::NodeProto& node) {
    return node.op_type() + " " + onnx_label(node);
  }

  const OnnxModel& model_;
  const OnnxScope& scope_;
  const onnx::NodeProto& node_;
  OnnxBatchNorm norm_;
};

}  // namespace detail

/// All BatchNormalization nodes of a model, in the order of the file: of its graph, of the graphs
/// inside it, and of its functions, once for every call. None is left out: one that cannot be a
/// frozen layer has a `reason`.
///
/// Roles come from the places of inputs, never from names. Numbers are found behind Identity nodes,
/// in initialisers (raw, typed or external) and in the nodes Constant and ConstantOfShape. Epsilon
/// is the float of the file, and double(1e-5f) where it is absent.
/// @throws std::runtime_error naming the file, when functions call each other without end, or a
///         file with external data cannot be read
/// Cost: reads the parameters of the nodes found and no others. Source: the specification of ONNX,
/// BatchNormalization-1 to -15.
inline std::vector<OnnxBatchNorm> find_batch_norms(const OnnxModel& model) {
  const detail::FileContext context{"find_batch_norms", model.name};
  std::vector<OnnxBatchNorm> norms;
  detail::OnnxWalk(context, model).run([&](const detail::OnnxScope& scope) {
    for (const onnx::NodeProto& node : scope.nodes()) {
      if (!detail::is_onnx_op(node, "BatchNormalization")) continue;
      norms.push_back(detail::OnnxNormExamination(model, scope, node).run());
    }
  });
  return norms;
}

/// A norm of find_batch_norms as State and Options. Counters are unknown: ONNX has none. Cost: a
/// copy of its numbers.
/// @param training  whether a node that trains may be loaded
/// @throws std::runtime_error, or std::domain_error for numbers that no data can have, naming file
///         and node, when it cannot be frozen
template <class T, int Channels = Eigen::Dynamic>
LoadedState<T, Channels> load_state(const OnnxBatchNorm& norm,
                                    OnnxTraining training = OnnxTraining::refuse) {
  const detail::FileContext context{"load_state", norm.report.file};
  std::size_t errors = 0;
  std::size_t of_numbers = 0;
  for (const LoadReport::Entry& entry : norm.report.entries) {
    const bool meant =
        training == OnnxTraining::accept && norm.trains && entry.finding == Finding::options;
    errors += entry.is_error && !meant ? 1 : 0;
    of_numbers += entry.is_error && entry.finding == Finding::suspicious ? 1 : 0;
  }
  if (errors > 0) {
    const std::string message = detail::text(detail::beginning(context), "node ",
                                             detail::in_quotes(norm.node), ": ", norm.reason);
    if (errors == of_numbers) detail::raise_domain_error(message);
    detail::raise_runtime_error(message);
  }
  State<double> state(norm.found.channels);
  const auto read = [&](Role role, auto& vector) {
    const std::vector<double> numbers = norm.tensors.values<double>(norm.found.key(role));
    for (std::size_t i = 0; i < numbers.size(); ++i) vector[static_cast<Index>(i)] = numbers[i];
  };
  read(Role::gamma, state.gamma);
  read(Role::beta, state.beta);
  read(Role::mean, state.running_mean);
  read(Role::variance, state.running_variance);
  state.batches_seen = state.samples_seen = State<double>::unknown;
  return {state.cast<T, Channels>(), norm.options, norm.found, norm.report};
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_IO_ONNX_BATCH_NORMS_HPP
