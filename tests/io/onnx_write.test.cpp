// SPDX-License-Identifier: MIT
#include "batchnorm/io/onnx_write.hpp"

#include <string>

#include "batchnorm/io/onnx_constant.hpp"
#include "support/catch.hpp"
#include "support/onnx_models.hpp"
#include "support/temporary_folder.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
using Catch::Matchers::Contains;

TEST_CASE("a written model is read as it was") {
  const TemporaryFolder folder;
  const OnnxModel model = norm_alone().model;
  write_onnx(folder.file("m.onnx"), model);
  CHECK(read_onnx(folder.file("m.onnx")).proto.SerializeAsString() ==
        model.proto.SerializeAsString());
  CHECK(folder.number_of_files() == 1);
  CHECK_THROWS_WITH(write_onnx(folder.file("no/m.onnx"), model), Contains("no/m.onnx"));
}

TEST_CASE("numbers of other files come into the written one") {
  const TemporaryFolder folder;
  write_bytes(folder.file("w.bin"), std::string("\x00\x00\xc0\x3f\x00\x00\x00\xc0", 8));
  ModelMaker maker = norm_alone();
  auto& mean = *maker.graph().mutable_initializer(2);
  mean.clear_float_data();
  mean.set_data_location(onnx::TensorProto::EXTERNAL);
  mean.add_external_data()->set_key("location");
  mean.mutable_external_data(0)->set_value("w.bin");
  maker.model.folder = folder.path().string();
  write_onnx(folder.file("m.onnx"), maker.model);
  const std::string bytes = read_bytes(folder.file("m.onnx"));
  const OnnxModel alone = parse_onnx(bytes.data(), bytes.size(), "alone");
  const detail::OnnxScope scope(alone.proto.graph(), nullptr, "", 15);
  Tensors tensors;
  tensors.set("m", detail::find_onnx_constant(alone, scope, "m").tensor);
  CHECK(tensors.values<float>("m") == std::vector<float>{1.5f, -2});
  // The model in memory still names its file.
  CHECK(mean.external_data_size() == 1);
  mean.mutable_external_data(0)->set_value("gone.bin");
  CHECK_THROWS_WITH(write_onnx(folder.file("n.onnx"), maker.model),
                    Contains("n.onnx") && Contains("tensor \"m\"") && Contains("gone.bin"));
}

TEST_CASE("numbers of functions and of graphs inside come along, too") {
  const TemporaryFolder folder;
  write_bytes(folder.file("w.bin"), std::string("\x00\x00\xc0\x3f", 4));
  const auto outside = [](onnx::TensorProto& tensor) {
    tensor.set_data_type(onnx::TensorProto::FLOAT);
    tensor.add_dims(1);
    tensor.set_data_location(onnx::TensorProto::EXTERNAL);
    tensor.add_external_data()->set_key("location");
    tensor.mutable_external_data(0)->set_value("w.bin");
  };
  ModelMaker maker = norm_alone();
  onnx::FunctionProto& function = *maker.model.proto.add_functions();
  function.set_name("f");
  onnx::NodeProto& constant = add_node(function, "Constant", "c", {}, {"r"});
  outside(*add_attribute(constant, "value").mutable_t());
  onnx::NodeProto& branches = maker.node("If", "if", {"x"}, {"i"});
  onnx::GraphProto& branch = *add_attribute(branches, "then_branch").mutable_g();
  outside(*branch.add_initializer());
  outside(*add_attribute(branches, "all").add_graphs()->add_initializer());
  outside(*add_attribute(branches, "some").add_tensors());
  maker.model.folder = folder.path().string();
  write_onnx(folder.file("m.onnx"), maker.model);
  const onnx::ModelProto alone = read_onnx(folder.file("m.onnx")).proto;
  const auto& attributes = alone.graph().node(1).attribute();
  for (const onnx::TensorProto& tensor :
       {alone.functions(0).node(0).attribute(0).t(), attributes[0].g().initializer(0),
        attributes[1].graphs(0).initializer(0), attributes[2].tensors(0)}) {
    CHECK(tensor.external_data_size() == 0);
    CHECK(tensor.data_location() != onnx::TensorProto::EXTERNAL);
    CHECK(tensor.raw_data() == std::string("\x00\x00\xc0\x3f", 4));
  }
}

TEST_CASE("a graph whose values do not fit is no valid model") {
  const auto complaint = [](const auto& change) {
    ModelMaker maker = norm_alone();
    change(maker);
    try {
      check_onnx(maker.model);
    } catch (const std::runtime_error& error) {
      return std::string(error.what());
    }
    return std::string("none");
  };
  CHECK(complaint([](ModelMaker&) {}) == "none");
  CHECK_THAT(complaint([](ModelMaker& m) { m.graph().mutable_node(0)->set_input(0, "q"); }),
             Contains("check_onnx: \"made.onnx\": node \"bn\": inputs") && Contains("\"q\""));
  CHECK_THAT(complaint([](ModelMaker& m) { m.node("Relu", "again", {"x"}, {"y"}); }),
             Contains("node \"again\": outputs"));
  CHECK_THAT(complaint([](ModelMaker& m) { m.output("z", {1}); }), Contains("\"z\""));
  CHECK_THAT(complaint([](ModelMaker& m) {
               m.node("Relu", "late", {"e"}, {"d"});
               m.node("Relu", "early", {"x"}, {"e"});
             }),
             Contains("node \"late\""));
  CHECK_THAT(complaint([](ModelMaker& m) { m.model.proto.clear_ir_version(); }),
             Contains("IR version"));
  const auto branch = [&](const char* input) {
    return complaint([&](ModelMaker& m) {
      onnx::NodeProto& node = m.node("If", "if", {"x"}, {"i"});
      add_node(*add_attribute(node, "then_branch").mutable_g(), "Neg", "neg", {input}, {"n"});
    });
  };
  CHECK(branch("y") == "none");
  CHECK_THAT(branch("i"), Contains("node \"neg\""));
}
