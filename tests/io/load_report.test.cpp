// SPDX-License-Identifier: MIT
#include "batchnorm/io/load_report.hpp"

#include <stdexcept>
#include <string>

#include "support/catch.hpp"

using namespace batchnorm;
using batchnorm_test::says;

namespace {

LoadReport example_report() {
  LoadReport report{"bn.", "net", {}};
  detail::note(report, Finding::used, "bn.weight", "gamma, F32 [3]");
  detail::note(report, Finding::suspicious, "", "never trained");
  detail::note(report, Finding::unexpected, "bn.\nextra", "not read, F32 [7]");
  return report;
}

}  // namespace

TEST_CASE("a report is a text for a person, and safe to print") {
  CHECK(example_report().text() ==
        "layer \"bn.\" of \"net\"\n"
        "  used        tensor \"bn.weight\": gamma, F32 [3]\n"
        "  suspicious  never trained\n"
        "  unexpected  tensor \"bn.\\x0aextra\": not read, F32 [7]\n");
}

TEST_CASE("entries are chosen by kind") {
  const LoadReport report = example_report();
  CHECK(report.has(Finding::used));
  CHECK_FALSE(report.has(Finding::missing));
  REQUIRE(report.of(Finding::suspicious).size() == 1);
  CHECK(report.of(Finding::suspicious)[0].text == "never trained");
  CHECK(report.warnings().size() == 2);
  CHECK(report.errors() == 0);
}

TEST_CASE("every kind has a word of its own") {
  CHECK(LoadReport::name_of(Finding::used) == std::string("used"));
  CHECK(LoadReport::name_of(Finding::missing) == std::string("missing"));
  CHECK(LoadReport::name_of(Finding::unexpected) == std::string("unexpected"));
  CHECK(LoadReport::name_of(Finding::wrong_shape) == std::string("wrong shape"));
  CHECK(LoadReport::name_of(Finding::wrong_number) == std::string("wrong number"));
  CHECK(LoadReport::name_of(Finding::converted) == std::string("converted"));
  CHECK(LoadReport::name_of(Finding::suspicious) == std::string("suspicious"));
  CHECK(LoadReport::name_of(Finding::options) == std::string("options"));
}

TEST_CASE("without errors nothing is raised") {
  CHECK_NOTHROW(detail::raise_errors("load_state", example_report()));
}

TEST_CASE("one error is raised in the form of all messages") {
  LoadReport report = example_report();
  detail::refuse(report, Finding::wrong_shape, "bn.bias", "shape", "[3]", "[2]");
  CHECK(report.errors() == 1);
  CHECK(report.warnings().size() == 3);
  CHECK_THROWS_MATCHES(
      detail::raise_errors("load_state", report), std::runtime_error,
      says("load_state: \"net\": tensor \"bn.bias\": shape: expected [3], got [2]"));
  CHECK_THAT(report.text(),
             batchnorm_test::contains_text(
                 "  error       tensor \"bn.bias\": shape: expected [3], got [2]\n"));
}

TEST_CASE("several errors are raised together") {
  LoadReport report = example_report();
  detail::refuse(report, Finding::suspicious, "bn.running_var", "channel 1", "0 or more", "-1");
  CHECK_THROWS_AS(detail::raise_errors("load_state", report), std::domain_error);
  detail::refuse(report, Finding::wrong_shape, "bn.bias", "shape", "[3]", "[2]");
  CHECK_THROWS_MATCHES(detail::raise_errors("load_state", report), std::runtime_error,
                       says("load_state: \"net\": tensor \"bn.running_var\": channel 1: expected 0 "
                            "or more, got -1; tensor \"bn.bias\": shape: expected [3], got [2]"));
}
