// SPDX-License-Identifier: MIT
#include "batchnorm/io/norm_table.hpp"

#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace batchnorm;
using detail::NormTable;

namespace {

/// A layer "bn." of two channels under PyTorch's names.
Tensors two_channels() {
  Tensors tensors("net");
  tensors.set("bn.weight", {2}, std::vector<float>{1, 2});
  tensors.set("bn.running_mean", {2}, std::vector<float>{-0.5f, 3});
  tensors.set("bn.running_var", {2}, std::vector<float>{1e-6f, 1234.5f});
  return tensors;
}

}  // namespace

TEST_CASE("the shortest decimal number of a float is the one that was meant") {
  CHECK(detail::shortest_float(9.9999997473787516e-06) == "1e-05");
  CHECK(detail::shortest_float(0.0010000000474974513) == "0.001");
  CHECK(detail::shortest_float(1.0000000656873453e-05) == "1.0000001e-05");
  CHECK(detail::shortest_float(0) == "0");
}

TEST_CASE("columns are as wide as their longest text, and lines end without spaces") {
  CHECK(detail::lines_of({{"a", "bcd", "e"}, {"fgh", "i", "jk"}}) == "a    bcd  e\nfgh  i    jk\n");
}

TEST_CASE("a layer is called by its prefix without what ends it") {
  CHECK(detail::layer_name("a.b.") == "a.b");
  CHECK(detail::layer_name("bn0_") == "bn0");
  CHECK(detail::layer_name("") == "(top)");
}

TEST_CASE("a range goes from the least number to the greatest, and text has none") {
  Tensors tensors = two_channels();
  tensors.set("count", {1}, std::vector<std::int64_t>{7});
  CHECK(detail::range_in(tensors, "bn.running_mean") == "-0.5 to 3");
  CHECK(detail::range_in(tensors, "bn.running_var") == "1e-06 to 1.23e+03");
  CHECK(detail::range_in(tensors, "count") == "-");
  CHECK(detail::range_in(tensors, "") == "-");
}

TEST_CASE("a line for every norm, and below what should be looked at") {
  const Tensors tensors = two_channels();
  const auto norms = find_batch_norms(tensors);
  REQUIRE(norms.size() == 1);
  LoadReport report{"bn.", "net", {}};
  detail::note(report, Finding::used, "bn.weight", "not worth a line");
  detail::note(report, Finding::suspicious, "bn.weight", "odd");
  NormTable table({"more"});
  table.add("bn", "PyTorch", norms[0], tensors, 1e-5, report, {"x"});
  CHECK(table.with_errors() == 0);
  detail::refuse(report, Finding::missing, "", "beta", "one", "none");
  table.add("evil\x1b[2J", "PyTorch", norms[0], tensors, std::nullopt, report, {"y"});
  table.remark("the end");
  CHECK(table.with_errors() == 1);
  CHECK(table.lines() ==
        "batch norm   names    channels  type  epsilon  mean       variance           parameters"
        "  more\n"
        "bn           PyTorch  2         F32   1e-05    -0.5 to 3  1e-06 to 1.23e+03  gamma     "
        "  x\n"
        "evil\\x1b[2J  PyTorch  2         F32   -        -0.5 to 3  1e-06 to 1.23e+03  gamma     "
        "  y\n"
        "\n"
        "bn: tensor \"bn.weight\": odd\n"
        "evil\\x1b[2J: tensor \"bn.weight\": odd\n"
        "evil\\x1b[2J: error: beta: expected one, got none\n"
        "the end\n");
}
