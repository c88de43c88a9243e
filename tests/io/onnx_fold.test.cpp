// SPDX-License-Identifier: MIT
#include "batchnorm/io/onnx_fold.hpp"

#include <string>
#include <vector>

#include "batchnorm/io/onnx_write.hpp"
#include "support/catch.hpp"
#include "support/onnx_models.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
using Catch::Matchers::Contains;

// With epsilon 0 the norm of two_channels is y = x - 1 + 0.5 and y = 6 (x + 2) - 1: whole numbers
// and halves, so that every folded number is exact.

namespace {

using Floats = std::vector<float>;

/// x -> layer -> h -> norm -> y, for a layer that a test adds first.
struct FoldCase : ModelMaker {
  explicit FoldCase(std::int64_t opset = 15, std::int64_t ir_version = 8)
      : ModelMaker(opset, ir_version) {
    two_channels();
  }
  void norm_of(const std::string& from, const std::string& to) {
    set_float(norm(from, to), "epsilon", 0);
  }
  OnnxFoldResult fold() { return fold_batch_norms(model); }
};

Floats values_of(const OnnxModel& model, const std::string& name) {
  const detail::OnnxScope scope(model.proto.graph(), nullptr, "", 15);
  const detail::OnnxConstant found = detail::find_onnx_constant(model, scope, name);
  INFO(found.fault);
  REQUIRE(found.found());
  Tensors tensors;
  tensors.set("t", found.tensor);
  return tensors.values<float>("t");
}

std::vector<Index> shape_of(const OnnxModel& model, const std::string& name) {
  const detail::OnnxScope scope(model.proto.graph(), nullptr, "", 15);
  return detail::find_onnx_constant(model, scope, name).tensor.shape;
}

/// The only fold, of a model that is still valid.
OnnxFold only(const OnnxFoldResult& result) {
  INFO(result.text());
  REQUIRE(result.folds.size() == 1);
  CHECK(result.left.empty());
  CHECK_NOTHROW(check_onnx(result.model));
  CHECK(result.folds[0].certificate.probes_agree());
  CHECK(result.folds[0].certificate.bound_within_ulps > 0);
  return result.folds[0];
}

std::string reason(const OnnxFoldResult& result) {
  REQUIRE(result.left.size() == 1);
  CHECK(result.folds.empty());
  return result.left[0].reason;
}

Names names_of_nodes(const OnnxModel& model) {
  Names names;
  for (const auto& node : model.proto.graph().node()) {
    names.push_back(node.op_type() + " " + node.name());
  }
  return names;
}

Names names_of_initialisers(const OnnxModel& model) {
  Names names;
  for (const auto& tensor : model.proto.graph().initializer()) names.push_back(tensor.name());
  return names;
}

}  // namespace

TEST_CASE("a norm goes into the convolution in front, which keeps its names") {
  FoldCase made;
  made.input("x", {-1, 1, 4});
  made.output("y", {-1, 2, 4});
  set_ints(made.node("Conv", "conv", {"x", "w", "c"}, {"h"}), "pads", {1, 1});
  made.floats("w", {2, 1, 3}, {1, 2, 3, 4, 5, 6});
  made.floats("c", {2}, {10, 20});
  made.norm_of("h", "y");
  const OnnxFoldResult result = made.fold();
  const OnnxFold fold = only(result);
  CHECK(fold.norm == "bn");
  CHECK(fold.layer == "conv");
  CHECK(fold.type == "Conv");
  CHECK(fold.into_front);
  CHECK_FALSE(fold.new_bias);
  CHECK(fold.dtype == "F32");
  CHECK(fold.input == "x");
  CHECK(fold.output == "y");
  CHECK(values_of(result.model, "w") == Floats{1, 2, 3, 24, 30, 36});
  CHECK(values_of(result.model, "c") == Floats{9.5f, 131});
  CHECK(names_of_nodes(result.model) == Names{"Conv conv"});
  CHECK(result.model.proto.graph().node(0).output(0) == "y");
  CHECK(names_of_initialisers(result.model) == Names{"w", "c"});
}

TEST_CASE("a convolution without bias gets one") {
  for (const int ir_version : {3, 8}) {
    FoldCase made(9, ir_version);
    made.input("x", {-1, 1, 4});
    made.output("y", {-1, 2, 4});
    made.node("Conv", "conv", {"x", "w"}, {"h"});
    made.floats("w", {2, 1, 1}, {1, 4});
    if (ir_version == 3) {
      for (const char* name : {"s", "b", "m", "v"}) made.input(name, {2});
      made.input("w", {2, 1, 1});
    }
    made.norm_of("h", "y");
    const OnnxFoldResult result = made.fold();
    CHECK(only(result).new_bias);
    const auto& node = result.model.proto.graph().node(0);
    REQUIRE(node.input_size() == 3);
    CHECK(values_of(result.model, node.input(1)) == Floats{1, 24});
    CHECK(values_of(result.model, node.input(2)) == Floats{-0.5f, 11});
    // Before IR version 4 every initialiser is an input of the graph.
    CHECK(result.model.proto.graph().input_size() == (ir_version == 3 ? 3 : 1));
  }
}

TEST_CASE("a norm goes into a transposed convolution with groups") {
  FoldCase made;
  made.input("x", {-1, 4, 4});
  set_int(made.node("ConvTranspose", "up", {"x", "w"}, {"h"}), "group", 2);
  made.floats("w", {4, 1, 2}, {1, 2, 3, 4, 5, 6, 7, 8});
  made.norm_of("h", "y");
  made.output("y", {-1, 2, -1});
  const OnnxFoldResult result = made.fold();
  CHECK(only(result).type == "ConvTranspose");
  CHECK(values_of(result.model, "w") == Floats{1, 2, 3, 4, 30, 36, 42, 48});
}

TEST_CASE("a norm goes into Gemm, turned or not, through Unsqueeze too") {
  for (const bool turned : {false, true}) {
    FoldCase made;
    made.input("x", {-1, 3});
    set_int(made.node("Gemm", "fc", {"x", "w", "c"}, {"h"}), "transB", turned ? 1 : 0);
    made.floats("w", turned ? Extents{2, 3} : Extents{3, 2}, {1, 2, 3, 4, 5, 6});
    made.floats("c", {1, 2}, {10, 20});
    set_ints(made.node("Unsqueeze", "un", {"h"}, {"u"}), "axes", {2});
    made.norm_of("u", "y");
    made.output("y", {-1, 2, 1});
    const OnnxFoldResult result = made.fold();
    only(result);
    CHECK(values_of(result.model, "w") ==
          (turned ? Floats{1, 2, 3, 24, 30, 36} : Floats{1, 12, 3, 24, 5, 36}));
    CHECK(values_of(result.model, "c") == Floats{9.5f, 131});
    CHECK(shape_of(result.model, "c") == std::vector<Index>{1, 2});
    CHECK(names_of_nodes(result.model) == Names{"Gemm fc", "Unsqueeze un"});
    CHECK(result.model.proto.graph().node(1).output(0) == "y");
  }
}

TEST_CASE("behind a MatMul the norm becomes the sum with a bias") {
  FoldCase made;
  made.input("x", {-1, 3});
  made.node("MatMul", "mm", {"x", "w"}, {"h"});
  made.floats("w", {3, 2}, {1, 2, 3, 4, 5, 6});
  made.norm_of("h", "y");
  made.output("y", {-1, 2});
  const OnnxFoldResult result = made.fold();
  CHECK(only(result).new_bias);
  CHECK(values_of(result.model, "w") == Floats{1, 12, 3, 24, 5, 36});
  CHECK(names_of_nodes(result.model) == Names{"MatMul mm", "Add bn"});
  const auto& sum = result.model.proto.graph().node(1);
  REQUIRE(sum.input_size() == 2);
  CHECK(sum.input(0) == "h");
  CHECK(sum.attribute_size() == 0);
  CHECK(values_of(result.model, sum.input(1)) == Floats{-0.5f, 11});
  CHECK(shape_of(result.model, sum.input(1)) == std::vector<Index>{2});
}

TEST_CASE("between Unsqueeze and Squeeze, and behind Transpose, the bias lies along the channels") {
  FoldCase squeezed;
  squeezed.input("x", {-1, 3});
  squeezed.node("MatMul", "mm", {"x", "w"}, {"h"});
  squeezed.floats("w", {3, 2}, {1, 2, 3, 4, 5, 6});
  set_ints(squeezed.node("Unsqueeze", "", {"h"}, {"u"}), "axes", {2});
  squeezed.norm_of("u", "n");
  set_ints(squeezed.node("Squeeze", "", {"n"}, {"y"}), "axes", {2});
  squeezed.output("y", {-1, 2});
  OnnxFoldResult result = squeezed.fold();
  only(result);
  CHECK(shape_of(result.model, result.model.proto.graph().node(2).input(1)) ==
        std::vector<Index>{2, 1});

  FoldCase turned;
  turned.input("x", {-1, 7, 3});
  turned.node("MatMul", "mm", {"x", "w"}, {"h"});
  turned.floats("w", {3, 2}, {1, 2, 3, 4, 5, 6});
  set_ints(turned.node("Transpose", "", {"h"}, {"t"}), "perm", {0, 2, 1});
  turned.norm_of("t", "y");
  turned.output("y", {-1, 2, 7});
  result = turned.fold();
  only(result);
  CHECK(values_of(result.model, "w") == Floats{1, 12, 3, 24, 5, 36});
  CHECK(shape_of(result.model, result.model.proto.graph().node(2).input(1)) ==
        std::vector<Index>{2, 1});
}

TEST_CASE("the Add of a constant behind a MatMul is its bias") {
  for (const int place : {0, 1}) {
    FoldCase made;
    made.input("x", {-1, 3});
    made.node("MatMul", "mm", {"x", "w"}, {"h"});
    made.floats("w", {3, 2}, {1, 2, 3, 4, 5, 6});
    made.floats("c", {2}, {10, 20});
    made.node("Add", "add", place == 0 ? Names{"c", "h"} : Names{"h", "c"}, {"a"});
    made.norm_of("a", "y");
    made.output("y", {-1, 2});
    const OnnxFoldResult result = made.fold();
    CHECK_FALSE(only(result).new_bias);
    CHECK(names_of_nodes(result.model) == Names{"MatMul mm", "Add add"});
    CHECK(values_of(result.model, "c") == Floats{9.5f, 131});
    CHECK(result.model.proto.graph().node(1).output(0) == "y");
  }
}

TEST_CASE("a norm goes into the layer behind it where none is in front") {
  // s = 1, 6; shift - mean s = -0.5, 11. w = 1, 2; 3, 4 by rows of outputs: b' = b - 0.5 + 22 and
  // b - 1.5 + 44.
  FoldCase conv;
  conv.input("x", {-1, 2, 4});
  conv.norm_of("x", "h");
  conv.node("Conv", "conv", {"h", "w", "c"}, {"y"});
  conv.floats("w", {2, 2, 1}, {1, 2, 3, 4});
  conv.floats("c", {2}, {10, 20});
  conv.output("y", {-1, 2, 4});
  OnnxFoldResult result = conv.fold();
  CHECK_FALSE(only(result).into_front);
  CHECK(only(result).output == "y");
  CHECK(values_of(result.model, "w") == Floats{1, 12, 3, 24});
  CHECK(values_of(result.model, "c") == Floats{31.5f, 62.5f});
  CHECK(result.model.proto.graph().node(0).input(0) == "x");

  FoldCase gemm;
  gemm.input("x", {-1, 2});
  gemm.norm_of("x", "h");
  gemm.node("Gemm", "fc", {"h", "w"}, {"y"});
  gemm.floats("w", {2, 2}, {1, 3, 2, 4});
  gemm.output("y", {-1, 2});
  result = gemm.fold();
  CHECK(only(result).new_bias);
  CHECK(values_of(result.model, "w") == Floats{1, 3, 12, 24});
  CHECK(values_of(result.model, result.model.proto.graph().node(0).input(2)) ==
        Floats{21.5f, 42.5f});

  FoldCase matmul;
  matmul.input("x", {-1, 2});
  matmul.norm_of("x", "h");
  matmul.node("MatMul", "mm", {"h", "w"}, {"y"});
  matmul.node("Relu", "relu", {"y"}, {"z"});
  matmul.floats("w", {2, 2}, {1, 3, 2, 4});
  matmul.output("z", {-1, 2});
  result = matmul.fold();
  only(result);
  CHECK(names_of_nodes(result.model) == Names{"MatMul mm", "Add mm_bias", "Relu relu"});
  const auto& sum = result.model.proto.graph().node(1);
  CHECK(sum.output(0) == "y");
  CHECK(sum.input(0) == result.model.proto.graph().node(0).output(0));
  CHECK(values_of(result.model, sum.input(1)) == Floats{21.5f, 42.5f});
}

TEST_CASE("norms in a row all go into one layer") {
  FoldCase made;
  made.input("x", {-1, 1, 4});
  made.node("Conv", "conv", {"x", "w"}, {"h"});
  made.floats("w", {2, 1, 1}, {1, 1});
  made.norm_of("h", "k");
  made.norm_of("k", "y");
  made.output("y", {-1, 2, 4});
  const OnnxFoldResult result = made.fold();
  CHECK(result.folds.size() == 2);
  CHECK(values_of(result.model, "w") == Floats{1, 36});
  CHECK(names_of_nodes(result.model) == Names{"Conv conv"});
}

TEST_CASE("weights in Constant and ConstantOfShape nodes, in double and half") {
  FoldCase made;
  made.input("x", {-1, 1, 4});
  onnx::TensorProto& w =
      *add_attribute(made.node("Constant", "cw", {}, {"w"}), "value").mutable_t();
  w.set_data_type(onnx::TensorProto::FLOAT16);
  for (const int extent : {2, 1, 1}) w.add_dims(extent);
  for (const int bits : {0x3c00, 0x4400}) w.add_int32_data(bits);  // 1, 4
  made.node("Conv", "conv", {"x", "w"}, {"h"});
  made.norm_of("h", "y");
  made.output("y", {-1, 2, 4});
  OnnxFoldResult result = made.fold();
  CHECK(only(result).dtype == "F16");
  CHECK(values_of(result.model, "w") == Floats{1, 24});
  CHECK(names_of_nodes(result.model) == Names{"Constant cw", "Conv conv"});

  FoldCase filled;
  filled.input("x", {-1, 1, 4});
  onnx::TensorProto& shape = *filled.graph().add_initializer();
  shape.set_name("shape");
  shape.set_data_type(onnx::TensorProto::INT64);
  shape.add_dims(3);
  for (const int extent : {2, 1, 1}) shape.add_int64_data(extent);
  onnx::TensorProto& four =
      *add_attribute(filled.node("ConstantOfShape", "fill", {"shape"}, {"w"}), "value").mutable_t();
  four.set_data_type(onnx::TensorProto::DOUBLE);
  four.add_dims(1);
  four.add_double_data(4);
  filled.node("Conv", "conv", {"x", "w"}, {"h"});
  filled.norm_of("h", "y");
  filled.output("y", {-1, 2, 4});
  result = filled.fold();
  CHECK(only(result).dtype == "F64");
  CHECK(names_of_nodes(result.model) == Names{"Conv conv"});
  CHECK(values_of(result.model, result.model.proto.graph().node(0).input(1)) == Floats{4, 24});
}

TEST_CASE("what others use of a folded norm stays, a shared bias too") {
  FoldCase made;
  made.input("x", {-1, 1, 4});
  made.node("Conv", "conv", {"x", "w", "b"}, {"h"});  // b is beta, too
  made.floats("w", {2, 1, 1}, {1, 4});
  made.norm_of("h", "y");
  made.node("Mul", "other", {"y", "v"}, {"z"});
  made.output("z", {-1, 2, 4});
  const OnnxFoldResult result = made.fold();
  only(result);
  const auto& conv = result.model.proto.graph().node(0);
  CHECK(values_of(result.model, conv.input(2)) == Floats{0, 5});
  CHECK(values_of(result.model, "v") == Floats{4, 0.25f});
  CHECK(names_of_initialisers(result.model) == Names{"v", "w", "b_folded"});
}

TEST_CASE("what is not folded is kept, unknown fields too") {
  FoldCase made;
  made.input("x", {-1, 1, 4});
  made.node("Conv", "conv", {"x", "w"}, {"h"});
  made.floats("w", {2, 1, 1}, {1, 4});
  made.norm_of("h", "y");
  made.output("y", {-1, 2, 4});
  auto& note = *made.model.proto.add_metadata_props();
  note.set_key("author"), note.set_value("somebody");
  made.model.proto.mutable_unknown_fields()->AddVarint(1000, 7);
  onnx::NodeProto& other = made.node("Strange", "other", {"x"}, {"o"});
  other.set_domain("some.where");
  other.mutable_unknown_fields()->AddLengthDelimited(1001, "new");
  const std::string before = other.SerializeAsString();
  const OnnxFoldResult result = made.fold();
  only(result);
  const onnx::ModelProto& after = result.model.proto;
  CHECK(after.graph().node(1).SerializeAsString() == before);
  CHECK(after.metadata_props(0).value() == "somebody");
  CHECK(after.unknown_fields().field_count() == 1);
  CHECK(after.graph().input(0).SerializeAsString() == made.graph().input(0).SerializeAsString());
}

namespace {

/// x -> Conv conv -> h -> BatchNormalization bn -> y, before a test puts something in the way.
FoldCase in_the_way() {
  FoldCase made;
  made.input("x", {-1, 1, 4});
  made.node("Conv", "conv", {"x", "w"}, {"h"});
  made.floats("w", {2, 1, 1}, {1, 4});
  made.norm_of("h", "y");
  made.output("y", {-1, 2, 4});
  return made;
}

}  // namespace

TEST_CASE("a norm is left, with the reason, when anything stands in the way") {
  FoldCase made = in_the_way();
  made.node("Neg", "neg", {"h"}, {"n"});
  CHECK_THAT(reason(made.fold()), Contains("\"h\" is used by Neg \"neg\", too"));

  made = in_the_way();
  made.output("h", {-1, 2, 4});
  CHECK_THAT(reason(made.fold()), Contains("\"h\" is an output of the model"));

  made = in_the_way();
  made.node("Relu", "relu", {"h"}, {"r"});
  made.graph().mutable_node()->SwapElements(1, 2);
  made.graph().mutable_node(2)->set_input(0, "r");
  CHECK_THAT(reason(made.fold()), Contains("Relu \"relu\" stands in front of it"));

  made = in_the_way();
  made.node("Quant", "quant", {"w", "v"}, {"q"});
  made.graph().mutable_node()->SwapElements(0, 2);
  made.graph().mutable_node()->SwapElements(1, 2);
  made.graph().mutable_node(1)->set_input(1, "q");
  CHECK_THAT(reason(made.fold()), Contains("weights are quantised") && Contains("\"quant\""));

  made = in_the_way();
  made.node("Conv", "twin", {"x", "w"}, {"t"});
  CHECK_THAT(reason(made.fold()), Contains("weights \"w\" are used 2 times"));

  made = in_the_way();
  onnx::NodeProto& branch = made.node("If", "if", {"x"}, {"i"});
  add_node(*add_attribute(branch, "then_branch").mutable_g(), "Neg", "", {"h"}, {"n"});
  CHECK_THAT(reason(made.fold()), Contains("\"h\" is used by If \"if\", too"));

  made = in_the_way();
  made.graph().mutable_initializer(4)->set_dims(0, 1);
  made.graph().mutable_initializer(4)->set_dims(1, 2);
  CHECK_THAT(reason(made.fold()), Contains("has 1 outputs for 2 channels"));

  made = in_the_way();
  made.graph().mutable_initializer(4)->set_float_data(1, 3e38f);
  CHECK_THAT(reason(made.fold()), Contains("fold_after") && Contains("channel 1"));
}

TEST_CASE("nothing of the model is touched when nothing is folded") {
  FoldCase made = in_the_way();
  made.output("h", {-1, 2, 4});
  CHECK(made.fold().model.proto.SerializeAsString() == made.model.proto.SerializeAsString());
}

TEST_CASE("a layer behind takes a norm only where one bias is right at all places") {
  const auto behind = [](const auto& layer) {
    FoldCase made;
    made.input("x", {-1, 2, 4});
    made.norm_of("x", "h");
    layer(made);
    made.output("y", {-1, 2, 4});
    return reason(made.fold());
  };
  const Floats four = {1, 2, 3, 4};
  CHECK_THAT(behind([&](FoldCase& made) {
               set_ints(made.node("Conv", "conv", {"h", "w"}, {"y"}), "pads", {0, 1});
               made.floats("w", {2, 2, 1}, four);
             }),
             Contains("Conv \"conv\" pads with zeros"));
  CHECK_THAT(
      behind([&](FoldCase& made) {
        add_attribute(made.node("Conv", "conv", {"h", "w"}, {"y"}), "auto_pad").set_s("SAME_UPPER");
        made.floats("w", {2, 2, 1}, four);
      }),
      Contains("auto_pad"));
  CHECK_THAT(behind([&](FoldCase& made) {
               made.node("ConvTranspose", "up", {"h", "w"}, {"y"});
               made.floats("w", {2, 2, 1}, four);
             }),
             Contains("another bias at every place"));
  CHECK_THAT(behind([&](FoldCase& made) {
               made.node("MatMul", "mm", {"h", "w"}, {"y"});
               made.floats("w", {4, 4}, Floats(16, 1));
             }),
             Contains("another axis than the channels"));
  CHECK_THAT(behind([&](FoldCase& made) {
               made.node("Relu", "relu", {"h"}, {"r"});
               made.node("Conv", "conv", {"r", "w"}, {"y"});
               made.floats("w", {2, 2, 1}, four);
             }),
             Contains("Relu \"relu\" stands behind it"));
}

TEST_CASE("a MatMul is left when the channels are not its columns, or nobody knows") {
  const auto left = [](const Extents& input, std::int64_t opset) {
    FoldCase made(opset);
    made.graph().add_input()->set_name("x");  // nobody knows its shape
    if (!input.empty()) made.describe(*made.graph().mutable_input(0), "x", input);
    made.node("MatMul", "mm", {"x", "w"}, {"h"});
    made.floats("w", {2, 2}, {1, 2, 3, 4});
    made.norm_of("h", "y");
    return reason(made.fold());
  };
  CHECK_THAT(left({-1, 2, 2}, 15), Contains("channels are not those of MatMul \"mm\""));
  CHECK_THAT(left({}, 15), Contains("nobody knows how many axes"));
  CHECK_THAT(left({-1, 2}, 6), Contains("before opset 7"));
}

TEST_CASE("norms in branches and functions are left") {
  FoldCase made = in_the_way();
  onnx::NodeProto& branch = made.node("If", "if", {"x"}, {"i"});
  add_node(*add_attribute(branch, "then_branch").mutable_g(), "BatchNormalization", "inner",
           {"y", "s", "b", "m", "v"}, {"z"});
  const OnnxFoldResult result = made.fold();
  CHECK(result.folds.size() == 1);
  REQUIRE(result.left.size() == 1);
  CHECK(result.left[0].norm == "if/inner");
  CHECK_THAT(result.left[0].reason, Contains("it is part of \"if/\""));
  // The branch still has its parameters.
  CHECK(values_of(result.model, "s") == Floats{2, 3});
}

TEST_CASE("nothing is folded in a graph that is not valid") {
  FoldCase twice = in_the_way();
  twice.node("Relu", "again", {"x"}, {"h"});
  CHECK_THROWS_WITH(twice.fold(), Contains("\"made.onnx\": node \"again\": outputs"));
  FoldCase circle = in_the_way();
  circle.graph().mutable_node(0)->set_input(0, "y");
  CHECK_THROWS_WITH(circle.fold(), Contains("node \"conv\": inputs"));
}

TEST_CASE("the result has a line for every norm") {
  const std::string folded = in_the_way().fold().text();
  CHECK_THAT(folded, Contains("folded \"bn\" into Conv \"conv\" in front, which has a bias now; "
                              "bound "));
  FoldCase made = in_the_way();
  made.output("h", {-1, 2, 4});
  CHECK_THAT(made.fold().text(), Contains("left \"bn\": in front: \"h\" is an output"));
}

TEST_CASE("a fold that says nothing went into the layer in front, with the bias that it had") {
  const OnnxFold usual;
  CHECK(usual.into_front);
  CHECK_FALSE(usual.new_bias);
}
