// SPDX-License-Identifier: MIT
// Looks at the batch norms of an ONNX model, and folds them into the layers beside them:
//
//   14_fold_onnx inspect MODEL        a table of them, and what should be looked at
//   14_fold_onnx fold MODEL OUT       folds what can be folded and says what cannot, and why
//   14_fold_onnx                      both, for a small model that the program makes
//
// The file says which layer belongs to which norm, and every epsilon, so that nothing is asked for.
//
// Prints without arguments, below the table (last digits depend on compiler and processor),
//
//   folded "norm" into Conv "conv" in front, which has a bias now; bound 0.21 ulp, probes 0.069 ulp
//   ...
//   left "behind": in front: Relu "norm_epilogue" stands in front of it; behind: nothing uses "y"

#include <batchnorm/io/onnx.hpp>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "support/checks.hpp"
#include "support/random.hpp"

namespace {

using batchnorm::OnnxFoldResult;
using batchnorm::OnnxModel;

constexpr int done = 0;
constexpr int something_left = 1;
constexpr int bad_input = 2;

void print(const std::string& text) {
  std::fputs(text.c_str(), stdout);
}

void inspect(const OnnxModel& model) {
  print(batchnorm::inspect(batchnorm::find_batch_norms(model)));
}

OnnxFoldResult fold(const OnnxModel& model) {
  OnnxFoldResult result = batchnorm::fold_batch_norms(model);
  print(result.text());
  for (const batchnorm::OnnxFold& one : result.folds) {
    if (!one.certificate.probes_agree()) {
      throw std::runtime_error("probes of " + one.norm + " differ by more than certified");
    }
  }
  return result;
}

/// A model of operators 15 whose input x and output y are images of any size.
OnnxModel empty_model() {
  OnnxModel model;
  model.name = "small model";
  model.proto.set_ir_version(8);
  model.proto.add_opset_import()->set_version(15);
  onnx::GraphProto& graph = *model.proto.mutable_graph();
  graph.set_name("small");
  const auto describe = [](onnx::ValueInfoProto& value, const char* name) {
    value.set_name(name);
    onnx::TypeProto::Tensor& type = *value.mutable_type()->mutable_tensor_type();
    type.set_elem_type(onnx::TensorProto::FLOAT);
    for (int axis = 0; axis < 4; ++axis) type.mutable_shape()->add_dim();
  };
  describe(*graph.add_input(), "x");
  describe(*graph.add_output(), "y");
  return model;
}

void add_convolution(onnx::GraphProto& graph, example::Random& random) {
  onnx::TensorProto& weight = *graph.add_initializer();
  weight.set_name("weight");
  weight.set_data_type(onnx::TensorProto::FLOAT);
  for (const int extent : {4, 3, 3, 3}) weight.add_dims(extent);
  for (int i = 0; i < 4 * 3 * 3 * 3; ++i) {
    weight.add_float_data(static_cast<float>(random.normal()));
  }
  onnx::NodeProto& conv = *graph.add_node();
  conv.set_name("conv");
  conv.set_op_type("Conv");
  conv.add_input("x");
  conv.add_input("weight");
  conv.add_output("h");
}

/// x -> Conv conv -> BatchNormalization norm -> Relu -> BatchNormalization behind -> y
OnnxModel small_model() {
  OnnxModel model = empty_model();
  example::Random random(1);
  add_convolution(*model.proto.mutable_graph(), random);
  batchnorm::State<float> state(4);
  for (int channel = 0; channel < 4; ++channel) {
    state.gamma[channel] = static_cast<float>(1 + 0.3 * random.normal());
    state.beta[channel] = static_cast<float>(random.normal());
    state.running_mean[channel] = random.normal();
    state.running_variance[channel] = 1 + channel;
  }
  state.batches_seen = batchnorm::State<float>::unknown;
  batchnorm::Options options;
  options.epilogue = batchnorm::Epilogue::relu();
  batchnorm::add_batch_norm(model, "norm", "h", "r", state, options);
  batchnorm::add_batch_norm(model, "behind", "r", "y", state, batchnorm::Options());
  return model;
}

int demonstrate() {
  const OnnxModel model = small_model();
  inspect(model);
  print("\n");
  const OnnxFoldResult result = fold(model);
  example::Checks checks;
  checks.expect(result.folds.size() == 1 && result.folds[0].norm == "norm",
                "the norm behind the convolution to be folded");
  checks.expect(result.left.size() == 1 && result.left[0].norm == "behind",
                "the norm behind the ReLU to be left");
  batchnorm::check_onnx(result.model);
  return checks.exit_code();
}

int run(const std::vector<std::string>& arguments) {
  if (arguments.empty()) return demonstrate();
  if (arguments.size() == 2 && arguments[0] == "inspect") {
    inspect(batchnorm::read_onnx(arguments[1]));
    return done;
  }
  if (arguments.size() == 3 && arguments[0] == "fold") {
    const OnnxFoldResult result = fold(batchnorm::read_onnx(arguments[1]));
    batchnorm::write_onnx(arguments[2], result.model);
    std::printf("%zu folded, %zu left; wrote %s\n", result.folds.size(), result.left.size(),
                arguments[2].c_str());
    return result.left.empty() ? done : something_left;
  }
  print("usage: 14_fold_onnx inspect MODEL | fold MODEL OUT\n");
  return arguments[0] == "--help" ? done : bad_input;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "14_fold_onnx: %s\n", error.what());
  }
  return bad_input;
}
