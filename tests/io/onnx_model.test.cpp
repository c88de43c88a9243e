// SPDX-License-Identifier: MIT
#include "batchnorm/io/onnx_model.hpp"

#include <string>

#include "support/catch.hpp"
#include "support/onnx_models.hpp"
#include "support/temporary_folder.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
using Catch::Matchers::Contains;

TEST_CASE("a model comes back from bytes and from a file") {
  const std::string bytes = norm_alone().model.proto.SerializeAsString();
  const OnnxModel parsed = parse_onnx(bytes.data(), bytes.size(), "a.onnx");
  CHECK(parsed.proto.SerializeAsString() == bytes);
  CHECK(parsed.name == "a.onnx");
  CHECK(parsed.folder.empty());
  const TemporaryFolder folder;
  const std::string path = folder.file("m.onnx");
  write_bytes(path, bytes);
  const OnnxModel read = read_onnx(path);
  CHECK(read.proto.SerializeAsString() == bytes);
  CHECK(read.name == path);
  CHECK_FALSE(read.folder.empty());
}

TEST_CASE("every shorter file is refused, or is a model of fewer parts") {
  const std::string bytes = norm_alone().model.proto.SerializeAsString();
  int refused = 0;
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    try {
      parse_onnx(bytes.data(), size, "cut.onnx");
    } catch (const std::runtime_error& error) {
      CHECK_THAT(error.what(), Contains("parse_onnx: \"cut.onnx\": file: expected "));
      ++refused;
    }
  }
  // What ends between two fields behind the graph, such as the list of operator sets.
  CHECK(refused > static_cast<int>(bytes.size()) - 8);
}

TEST_CASE("what is no model is refused with the name of the file") {
  CHECK_THROWS_WITH(parse_onnx("", 0, "empty.onnx"),
                    Contains("\"empty.onnx\"") && Contains("graph"));
  CHECK_THROWS_WITH(parse_onnx("PK\3\4 and so on", 14, "zip.onnx"),
                    Contains("\"zip.onnx\"") && Contains("14 bytes"));
  CHECK_THROWS_AS(parse_onnx(nullptr, 3, "none"), std::invalid_argument);
  CHECK_THROWS_WITH(read_onnx("/no/such/folder/m.onnx"), Contains("/no/such/folder/m.onnx"));
}

TEST_CASE("graphs nested without end are refused") {
  onnx::ModelProto model;
  onnx::GraphProto* graph = model.mutable_graph();
  for (int depth = 0; depth < 60; ++depth) {
    onnx::AttributeProto& branch = add_attribute(*graph->add_node(), "then_branch");
    graph = branch.mutable_g();
  }
  const std::string bytes = model.SerializeAsString();
  CHECK_THROWS_WITH(parse_onnx(bytes.data(), bytes.size(), "deep.onnx"),
                    Contains("nested too deeply"));
}

TEST_CASE("a node is called by its name, or by what it makes") {
  onnx::NodeProto node;
  CHECK(detail::onnx_label(node) == "(without name and output)");
  node.add_output("");
  node.add_output("y");
  CHECK(detail::onnx_label(node) == "(makes y)");
  node.set_name("bn");
  CHECK(detail::onnx_label(node) == "bn");
}
