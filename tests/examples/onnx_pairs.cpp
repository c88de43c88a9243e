// SPDX-License-Identifier: MIT
// onnx_pairs FOLDER [--digits NET.safetensors DATA.csv] MODEL...
// Writes what onnx_runtime.mjs needs to try ONNX models in ONNX Runtime: for every MODEL a folder
// with
//   original.onnx, folded.onnx       the whole model, before and after
//   fold_K_before.onnx, ..._after    one layer and its norm, and the layer that both became
//   norm_K.onnx                      one norm as this library writes it
//   facts.json                       what to compare, and how far it may differ
// the same for models that it makes, one for every kind of fold,
// and with --digits the network of 02_digits as net.onnx with images and predictions; "drawn" in
// the place of DATA.csv takes the digits that 02_digits draws.

#include <batchnorm/io/onnx.hpp>
#include <cmath>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "onnx_made.hpp"
#include "support/digits_csv.hpp"
#include "support/drawn_digits.hpp"
#include "support/network_file.hpp"
#include "support/network_onnx.hpp"
#include "support/random.hpp"

namespace {

using namespace batchnorm;
using nlohmann::json;
namespace fs = std::filesystem;

/// The part of a model that makes `output` of `input`, as a model.
OnnxModel part_of(const OnnxModel& model, const std::string& input, const std::string& output,
                  int rank) {
  OnnxModel part;
  part.name = model.name;
  part.folder = model.folder;
  part.proto.set_ir_version(8);
  *part.proto.mutable_opset_import() = model.proto.opset_import();
  onnx::GraphProto& graph = *part.proto.mutable_graph();
  graph.set_name("part");
  const onnx::GraphProto& whole = model.proto.graph();
  std::set<std::string> wanted = {output};
  std::vector<const onnx::NodeProto*> nodes;
  for (int place = whole.node_size() - 1; place >= 0; --place) {
    const onnx::NodeProto& node = whole.node(place);
    if (node.output_size() == 0 || wanted.count(node.output(0)) == 0) continue;
    nodes.push_back(&node);
    for (const std::string& name : node.input()) {
      if (name != input) wanted.insert(name);
    }
  }
  for (auto node = nodes.rbegin(); node != nodes.rend(); ++node) *graph.add_node() = **node;
  for (const auto& tensor : whole.initializer()) {
    if (wanted.count(tensor.name()) != 0) *graph.add_initializer() = tensor;
  }
  const auto describe = [&](onnx::ValueInfoProto& value, const std::string& name, int axes) {
    value.set_name(name);
    auto& type = *value.mutable_type()->mutable_tensor_type();
    const std::string dtype = graph.initializer_size() > 0
                                  ? detail::dtype_of_onnx(graph.initializer(0).data_type())
                                  : "F32";
    type.set_elem_type(detail::onnx_type_of(dtype == "I64" ? "F32" : dtype));
    for (int axis = 0; axis < axes; ++axis) type.mutable_shape()->add_dim();
  };
  describe(*graph.add_input(), input, rank);
  graph.add_output()->set_name(output);
  auto& type = *graph.mutable_output(0)->mutable_type()->mutable_tensor_type();
  type.set_elem_type(graph.input(0).type().tensor_type().elem_type());
  return part;
}

/// Sizes of the layer of a fold, and the unit of its certificate by output channel:
/// unit (magnitude of inputs) = 2^(1 - digits) (magnitude gains + rest).
json facts_of(const OnnxModel& model, const OnnxBatchNorm& norm, const OnnxFold& fold) {
  const detail::OnnxScope scope(model.proto.graph(), nullptr, "", norm.opset);
  const onnx::NodeProto& node = *scope.maker(norm.output);
  const detail::OnnxFoldSite site =
      fold.into_front ? detail::OnnxSiteInFront(model, scope, node).find(norm.found.channels)
                      : detail::find_site_behind(model, scope, node, norm.found.channels);
  const auto loaded = load_state<double>(norm);
  const InferenceMap map(loaded.state, loaded.options);
  Tensors tensors;
  tensors.set("w", site.layer.weights.tensor);
  std::vector<double> weights = tensors.values<double>("w");
  std::vector<double> bias(static_cast<std::size_t>(site.layer.out_channels()), 0.0);
  if (site.layer.has_bias || site.adder != nullptr) {
    tensors.set("b", site.adder != nullptr ? site.added.tensor : site.layer.bias.tensor);
    bias = tensors.values<double>("b");
  }
  std::vector<double> gains(bias.size(), 0.0), rest(bias.size());
  for (std::size_t out = 0; out < bias.size(); ++out) rest[out] = std::fabs(bias[out]);
  site.layer.view(weights.data()).each([&](double& w, Index out, Index in, Index) {
    const Index channel = fold.into_front ? out : in;
    gains[static_cast<std::size_t>(out)] += std::fabs(w * map.scale()[channel]);
    if (fold.into_front) return;
    rest[static_cast<std::size_t>(out)] +=
        std::fabs(w) * (std::fabs(map.mean()[in] * map.scale()[in]) + std::fabs(map.shift()[in]));
  });
  for (std::size_t out = 0; fold.into_front && out < rest.size(); ++out) {
    const Index channel = static_cast<Index>(out);
    rest[out] = (rest[out] + std::fabs(map.mean()[channel])) * std::fabs(map.scale()[channel]) +
                std::fabs(map.shift()[channel]);
  }
  const bool matrix = site.layer.kind == LayerKind::linear;
  const bool adds_axis = matrix && fold.type == "MatMul" && site.norm_rank > 2;
  return {{"norm", fold.norm},
          {"layer", fold.type + " " + fold.layer},
          {"bound", fold.certificate.bound_within_ulps},
          {"dtype", fold.dtype},
          {"inputs", site.layer.in_channels()},
          {"terms", site.layer.sizes.in_per_group * site.layer.sizes.taps},
          {"rank", matrix ? 2 : static_cast<int>(site.layer.weights.tensor.shape.size())},
          {"kernel", site.layer.weights.tensor.shape},
          {"is_matrix", matrix},
          {"turned", adds_axis},
          {"gains", gains},
          {"rest", rest}};
}

/// A norm as one node, with what this library makes of some numbers.
json write_norm(const OnnxBatchNorm& norm, const std::string& path) {
  const auto loaded = load_state<float>(norm);
  const Index channels = loaded.state.channels();
  write_onnx(path, onnx_of(loaded.state, loaded.options, 3));
  example::Random random(1);
  constexpr Index positions = 3;
  std::vector<float> x(static_cast<std::size_t>(channels * positions)), y(x.size());
  std::vector<double> tolerance;
  const InferenceMap map(loaded.state.cast<double>(), loaded.options);
  for (Index c = 0; c < channels; ++c) {
    const double deviation = std::sqrt(loaded.state.running_variance[c] + loaded.options.epsilon);
    for (Index p = 0; p < positions; ++p) {
      x[static_cast<std::size_t>(c * positions + p)] =
          static_cast<float>(map.mean()[c] + deviation * random.normal());
    }
    // ONNX Runtime rounds the mean times the gain to float first.
    const double gain = std::fabs(map.scale()[c]);
    tolerance.push_back(0x1p-23 * (std::fabs(map.mean()[c]) * gain + 2 * std::fabs(map.shift()[c]) +
                                   8 * deviation * gain));
  }
  loaded.freeze()(channels_first(static_cast<const float*>(x.data()), 1, channels, positions),
                  channels_first(y.data(), 1, channels, positions));
  return {
      {"norm", norm.node}, {"channels", channels}, {"x", x}, {"y", y}, {"tolerance", tolerance}};
}

json write_pairs(const OnnxModel& model, const std::vector<OnnxBatchNorm>& norms,
                 const OnnxFoldResult& result, const fs::path& folder) {
  json facts = json::array();
  const detail::OnnxScope folded(result.model.proto.graph(), nullptr, "", 0);
  for (std::size_t k = 0; k < result.folds.size(); ++k) {
    const OnnxFold& fold = result.folds[k];
    // The output of a norm that was folded along with the next one is gone.
    if (folded.maker(fold.output) == nullptr) continue;
    for (const OnnxBatchNorm& norm : norms) {
      if (norm.node != fold.norm || !norm.path.empty()) continue;
      json one = facts_of(model, norm, fold);
      const int rank = one.at("turned").get<bool>() ? -1 : one.at("rank").get<int>();
      const std::string name = "fold_" + std::to_string(k);
      const int axes = rank < 0 ? 2 : rank;
      write_onnx((folder / (name + "_before.onnx")).string(),
                 part_of(model, fold.input, fold.output, axes));
      write_onnx((folder / (name + "_after.onnx")).string(),
                 part_of(result.model, fold.input, fold.output, axes));
      one["file"] = name;
      facts.push_back(one);
    }
  }
  return facts;
}

/// @param layers  whether single layers are written, too
void write_model(const OnnxModel& model, const fs::path& folder, bool layers) {
  fs::create_directories(folder);
  const std::vector<OnnxBatchNorm> norms = find_batch_norms(model);
  const OnnxFoldResult result = fold_batch_norms(model);
  write_onnx((folder / "original.onnx").string(), model);
  write_onnx((folder / "folded.onnx").string(), result.model);
  json facts = {{"path", model.name}, {"norms", json::array()}, {"folds", json::array()}};
  for (std::size_t k = 0; k < norms.size(); ++k) {
    if (!norms[k].can_be_frozen() || norms[k].found.dtype == "F64") continue;
    const std::string name = "norm_" + std::to_string(k);
    json one = write_norm(norms[k], (folder / (name + ".onnx")).string());
    one["file"] = name;
    facts["norms"].push_back(one);
  }
  if (layers) facts["folds"] = write_pairs(model, norms, result, folder);
  facts["folded"] = result.folds.size();
  facts["left"] = result.left.size();
  std::ofstream(folder / "facts.json") << facts;
}

/// One model for every kind of fold; each of them folds.
void write_made(const fs::path& folder) {
  int number = 0;
  for (const auto& models :
       {example::models_of_layers_in_front(), example::models_of_layers_behind()}) {
    for (const example::MadeModel& made : models) {
      if (fold_batch_norms(made.model).folds.size() != 1) {
        throw std::runtime_error(made.model.name + " does not fold");
      }
      write_model(made.model, folder / ("made_" + std::to_string(number++)), false);
    }
  }
}

void write_digits(const std::string& net, const std::string& csv, const fs::path& folder) {
  fs::create_directories(folder);
  const example::Network network = example::load_network(net);
  const example::DigitsData data =
      csv == "drawn" ? example::draw_digits(1) : example::read_digits(csv);
  example::save_network_onnx((folder / "net.onnx").string(), network);
  const example::FrozenNetwork frozen = network.freeze();
  json facts = {{"images", json::array()}, {"predictions", json::array()}};
  for (Eigen::Index image = 0; image < data.test.count(); ++image) {
    const Eigen::VectorXf pixels = data.test.images.col(image);
    facts["images"].push_back(std::vector<float>(pixels.data(), pixels.data() + pixels.size()));
    facts["predictions"].push_back(frozen.classify(pixels));
  }
  std::ofstream(folder / "digits.json") << facts;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    const fs::path folder = arguments.at(0);
    write_made(folder);
    std::size_t next = 1;
    if (arguments.size() > 3 && arguments[1] == "--digits") {
      write_digits(arguments[2], arguments[3], folder / "digits");
      next = 4;
    }
    for (std::size_t k = next; k < arguments.size(); ++k) {
      write_model(read_onnx(arguments[k]), folder / ("model_" + std::to_string(k - next)), true);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "onnx_pairs: %s\n", error.what());
    return 2;
  }
  return 0;
}
