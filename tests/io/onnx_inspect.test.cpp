// SPDX-License-Identifier: MIT
#include "batchnorm/io/onnx_inspect.hpp"

#include <string>

#include "support/catch.hpp"
#include "support/onnx_models.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;

TEST_CASE("the table has a line for every node") {
  CHECK(
      inspect(find_batch_norms(norm_alone().model)) ==
      "batch norm  names    channels  type  epsilon  mean     variance   parameters   stands behind"
      "  stands before  input used by  frozen\n"
      "bn          ONNX 15  2         F32   1e-05    -2 to 1  0.25 to 4  gamma, beta  input x      "
      "  output y       -              yes\n");
}

TEST_CASE("what should be looked at stands below the table") {
  ModelMaker maker = norm_alone();
  maker.node("BatchNormalization", "b2", {"y", "s", "b", "m", "n"}, {"z"});
  CHECK_THAT(
      inspect(find_batch_norms(maker.model)),
      Contains("-              yes\n") && Contains("output y       no\n") &&
          Catch::Matchers::EndsWith("\n\nb2: error: tensor \"n\": input 4: expected numbers in "
                                    "the file, got nothing makes \"n\"\n"));
}

TEST_CASE("names of a file cannot move the cursor") {
  ModelMaker maker = norm_alone();
  maker.graph().mutable_node(0)->set_name("evil\n\x1b[2J");
  const std::string table = inspect(find_batch_norms(maker.model));
  CHECK_THAT(table, Contains("evil\\x0a\\x1b[2J"));
  // Types of nodes are names of the file, too.
  maker.node("more\x1b[2J", "c", {"x"}, {"computed"});
  maker.node("BatchNormalization", "b2", {"x", "s", "b", "computed", "v"}, {"z"});
  const std::string with_type = inspect(find_batch_norms(maker.model));
  CHECK_THAT(with_type, Contains("it is computed by more\\x1b[2J \"c\""));
  CHECK((table + with_type).find('\x1b') == std::string::npos);
}

TEST_CASE("a model without a node has an empty table") {
  ModelMaker maker;
  CHECK_THAT(inspect(find_batch_norms(maker.model)), StartsWith("batch norm  names"));
}
