// SPDX-License-Identifier: MIT
#include "batchnorm/io/examine.hpp"

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/layer_files.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

LoadReport examined(const Tensors& tensors, const LayerPrefix& prefix = "bn.",
                    const std::optional<Options>& options = std::nullopt) {
  const auto layer = detail::locate(tensors, prefix, std::nullopt);
  REQUIRE(layer);
  return examine_batch_norm(tensors, *layer, options);
}

std::vector<std::string> lines_of(const LoadReport& report, bool errors) {
  std::vector<std::string> lines;
  for (const LoadReport::Entry& entry : report.entries) {
    if (entry.is_error == errors) lines.push_back(LoadReport::line_of(entry));
  }
  return lines;
}

std::vector<std::string> errors_of(const Tensors& tensors, const LayerPrefix& prefix = "bn.") {
  return lines_of(examined(tensors, prefix), true);
}

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("a layer that is complete is used whole") {
  CHECK(examined(pytorch_layer()).text() ==
        "layer \"bn.\" of \"pt\"\n"
        "  used        tensor \"bn.weight\": gamma, F32 [3]\n"
        "  used        tensor \"bn.bias\": beta, F32 [3]\n"
        "  used        tensor \"bn.running_mean\": running mean, F32 [3]\n"
        "  used        tensor \"bn.running_var\": running variance, F32 [3]\n"
        "  used        tensor \"bn.num_batches_tracked\": minibatches seen, 460\n");
}

TEST_CASE("what is not there is said, and what is taken instead") {
  Tensors tensors = pytorch_layer();
  tensors.erase("bn.bias");
  tensors.erase("bn.num_batches_tracked");
  const LoadReport report = examined(tensors);
  CHECK(report.errors() == 0);
  REQUIRE(report.of(Finding::missing).size() == 2);
  CHECK(LoadReport::line_of(report.of(Finding::missing)[0]) ==
        "tensor \"bn.bias\": beta is 0: a layer without shift");
  CHECK(LoadReport::line_of(report.of(Finding::missing)[1]) ==
        "tensor \"bn.num_batches_tracked\": the number of minibatches seen is unknown");
}

TEST_CASE("statistics alone are an error, unless the caller says that there is nothing else") {
  Tensors tensors = pytorch_layer();
  tensors.erase("bn.weight");
  tensors.erase("bn.bias");
  CHECK(errors_of(tensors) ==
        Texts{"scale and shift of the layer: expected \"bn.weight\" or \"bn.bias\", or "
              "LoadOptions::without_scale_and_shift() where there are none, got statistics alone"});
  Options options;
  CHECK(examined(tensors, "bn.", options).errors() == 1);
  options.scale = false;
  CHECK(examined(tensors, "bn.", options).errors() == 1);
  options.shift = false;
  const LoadReport report = examined(tensors, "bn.", options);
  CHECK(report.errors() == 0);
  REQUIRE(report.of(Finding::missing).size() == 2);
  CHECK(report.of(Finding::missing)[0].text == "gamma is 1: a layer without scale");
  CHECK(report.of(Finding::missing)[1].text == "beta is 0: a layer without shift");
}

TEST_CASE("without statistics a layer is told, half of them are an error") {
  Tensors tensors = pytorch_layer();
  tensors.erase("bn.running_var");
  CHECK(errors_of(tensors) == Texts{"tensor \"bn.running_var\": tensors of a batch norm layer: "
                                    "expected this one, got none"});
  tensors.erase("bn.running_mean");
  const LoadReport report = examined(tensors);
  CHECK(report.errors() == 0);
  REQUIRE(report.has(Finding::missing));
  CHECK_THAT(report.of(Finding::missing)[0].text, contains_text("no running statistics"));
}

TEST_CASE("every wrong shape is named") {
  Tensors tensors = pytorch_layer();
  tensors.set("bn.weight", {2}, std::vector<float>(2));
  tensors.set("bn.running_var", {3, 2}, std::vector<float>(6, 1.0f));
  CHECK(errors_of(tensors) == Texts{"tensor \"bn.weight\": shape: expected [3], got [2]",
                                    "tensor \"bn.running_var\": shape: expected [3], got [3, 2]"});
  tensors = pytorch_layer();
  for (const char* name : {"bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"}) {
    tensors.set(name, {0}, std::vector<float>());
  }
  const std::string rule = "\": shape: expected [channels], one or more, got [0]";
  CHECK(errors_of(tensors) == Texts{"tensor \"bn.weight" + rule, "tensor \"bn.bias" + rule,
                                    "tensor \"bn.running_mean" + rule,
                                    "tensor \"bn.running_var" + rule});
  tensors = pytorch_layer();
  tensors.set("bn.running_mean", {2, 2}, std::vector<float>(4));
  CHECK(errors_of(tensors) == Texts{"tensor \"bn.running_mean\": shape: expected [3], got [2, 2]"});
}

TEST_CASE("vectors may be stored with axes of one, and are reported as converted") {
  for (const std::vector<Index>& shape :
       std::vector<std::vector<Index>>{{1, 3}, {1, 3, 1, 1}, {1, 1, 1, 3}, {3, 1, 1}}) {
    INFO(detail::shape_text(shape));
    Tensors tensors = pytorch_layer();
    for (const char* name : {"bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"}) {
      tensors.set(name, shape, tensors.values<float>(name));
    }
    const LoadReport report = examined(tensors);
    CHECK(report.errors() == 0);
    REQUIRE(report.of(Finding::converted).size() == 4);
    CHECK(LoadReport::line_of(report.of(Finding::converted)[3]) ==
          "tensor \"bn.running_var\": " + detail::shape_text(shape) + " -> [3]");
  }
  Tensors single("one");
  for (const char* name : {"bn.weight", "bn.bias", "bn.running_mean"}) single.set_value(name, 2.0f);
  single.set("bn.running_var", {1}, std::vector<float>{4.0f});
  const LoadReport report = examined(single);
  CHECK(report.errors() == 0);
  REQUIRE(report.of(Finding::converted).size() == 3);
  CHECK(report.of(Finding::converted)[0].text == "[] -> [1]");
}

TEST_CASE("whole numbers are no gamma, beta, mean or variance, whatever their size") {
  const auto refused = [](const std::string& name, auto number) {
    using Number = decltype(number);
    Tensors tensors = pytorch_layer();
    tensors.set(name, {3}, std::vector<Number>(3, number));
    return errors_of(tensors);
  };
  for (const std::string name : {"bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"}) {
    const std::string rule = "tensor \"" + name + "\": dtype: expected F64, F32, F16 or BF16, got ";
    CHECK(refused(name, std::uint8_t{1}) == Texts{rule + "U8"});
    CHECK(refused(name, std::int8_t{1}) == Texts{rule + "I8"});
    CHECK(refused(name, std::int32_t{1}) == Texts{rule + "I32"});
    CHECK(refused(name, std::int64_t{1}) == Texts{rule + "I64"});
    CHECK(refused(name, true) == Texts{rule + "BOOL"});
  }
}

TEST_CASE("a counter that is none is named") {
  Tensors tensors = pytorch_layer();
  tensors.set_value("bn.num_batches_tracked", 4.0f);
  CHECK(errors_of(tensors).empty());
  tensors.set_value("bn.num_batches_tracked", 7.5f);
  CHECK(errors_of(tensors) == Texts{"tensor \"bn.num_batches_tracked\": number of minibatches: "
                                    "expected a whole number, 0 or more, got 7.5"});
  tensors.set("bn.num_batches_tracked", {2}, std::vector<std::int64_t>{1, 2});
  CHECK(errors_of(tensors) ==
        Texts{"tensor \"bn.num_batches_tracked\": number of elements: expected 1, got 2"});
}

TEST_CASE("numbers that no training gives are errors, each vector once") {
  const double nan = std::nan("");
  for (const double bad : {nan, HUGE_VAL, -HUGE_VAL}) {
    Tensors tensors = pytorch_layer();
    for (const char* name : {"bn.weight", "bn.bias", "bn.running_mean"}) {
      tensors.set(name, {3}, std::vector<double>{1.0, bad, bad});
    }
    tensors.set("bn.running_var", {3}, std::vector<double>{1.0, -1.0, bad});
    CHECK(errors_of(tensors) ==
          Texts{"tensor \"bn.weight\": channel 1: expected a finite number, got NaN or infinity",
                "tensor \"bn.bias\": channel 1: expected a finite number, got NaN or infinity",
                "tensor \"bn.running_mean\": channel 1: expected a finite number, got NaN or "
                "infinity",
                "tensor \"bn.running_var\": channel 1: expected a finite number, zero or larger, "
                "got a negative number"});
  }
  Tensors tensors = pytorch_layer();
  tensors.set("bn.running_var", {3}, std::vector<double>{0.0, 1.0, -HUGE_VAL});
  CHECK_THAT(errors_of(tensors).at(0), contains_text("channel 2: expected a finite number, zero "
                                                     "or larger, got a negative number"));
}

TEST_CASE("a layer that lets NaN through may have it, but no negative variance") {
  Tensors tensors = pytorch_layer();
  tensors.set("bn.running_mean", {3}, std::vector<double>{std::nan(""), 0.0, 0.0});
  Options options;
  options.non_finite = NonFinite::propagate;
  const LoadReport report = examined(tensors, "bn.", options);
  CHECK(report.errors() == 0);
  CHECK(report.has(Finding::suspicious));
  CHECK(examined(tensors, "bn.", Options::pytorch()).errors() == 1);
  tensors.set("bn.running_var", {3}, std::vector<double>{1.0, 1.0, -1e-30});
  CHECK(examined(tensors, "bn.", options).errors() == 1);
}

TEST_CASE("what stands beside a layer is listed, what stands elsewhere is not") {
  Tensors tensors = pytorch_layer();
  tensors.set("bn.anchor", {3}, std::vector<float>(3));
  tensors.set("bn.sub.weight", {3}, std::vector<float>(3));
  tensors.set("conv.weight", {3}, std::vector<float>(3));
  const LoadReport report = examined(tensors);
  REQUIRE(report.of(Finding::unexpected).size() == 1);
  CHECK(LoadReport::line_of(report.of(Finding::unexpected)[0]) ==
        "tensor \"bn.anchor\": not read, F32 [3]");
  CHECK(report.errors() == 0);
}

TEST_CASE("a list of three or five arrays is refused, because nobody can tell what is missing") {
  const auto list_errors = [](const Tensors& tensors) {
    const auto layer = detail::locate(tensors, "bn.", Naming::rtneural());
    REQUIRE(layer);
    return lines_of(examine_batch_norm(tensors, *layer), true);
  };
  const std::string text =
      "arrays of a batch norm layer: expected 4, or 2 without gamma and beta, got another number; "
      "nobody can tell which is missing";
  Tensors tensors("rt");
  add_layer(tensors, {"bn.0", "bn.1", "bn.2", ""});
  CHECK(list_errors(tensors).at(0) == text);
  add_layer(tensors, {"bn.0", "bn.1", "bn.2", "bn.3"});
  CHECK(list_errors(tensors).empty());
  tensors.set("bn.4", {3}, std::vector<float>(3, 1.0f));
  CHECK(list_errors(tensors) == Texts{text});
}

TEST_CASE("options in the file decide which tensors there must be") {
  Options options;
  options.shift = false;
  Tensors tensors = pytorch_layer();
  tensors.metadata()["batchnorm:bn."] = detail::options_to_json(options).dump();
  CHECK(errors_of(tensors) == Texts{"tensor \"bn.bias\": options of the layer: expected no such "
                                    "tensor, got one"});
  tensors.erase("bn.bias");
  CHECK(errors_of(tensors).empty());
  tensors.set("bn.anchor", {3}, std::vector<float>(3));
  CHECK(errors_of(tensors).empty());
  tensors.erase("bn.weight");
  CHECK(errors_of(tensors) == Texts{"tensor \"bn.weight\": tensors of a batch norm layer: expected "
                                    "this one, got none"});
}

TEST_CASE("with an epsilon there is more to say") {
  Tensors tensors = pytorch_layer();
  tensors.set("bn.running_var", {3}, std::vector<float>{1e-4f, 1.0f, 1.0f});
  CHECK_FALSE(examined(tensors).has(Finding::suspicious));
  CHECK_FALSE(examined(tensors, "bn.", Options::pytorch()).has(Finding::suspicious));
  CHECK(examined(tensors, "bn.", Options::keras()).has(Finding::suspicious));
  tensors.metadata()["batchnorm:bn."] = detail::options_to_json(Options::pytorch()).dump();
  CHECK_FALSE(examined(tensors).has(Finding::suspicious));
  tensors.metadata()["batchnorm:bn."] = detail::options_to_json(Options::keras()).dump();
  CHECK(examined(tensors).has(Finding::suspicious));
}

TEST_CASE("conversions are listed when somebody asked for a scalar") {
  Tensors tensors = pytorch_layer();
  tensors.set("bn.bias", {3}, std::vector<double>(3));
  const auto layer = detail::locate(tensors, "bn.", std::nullopt);
  LoadReport report;
  detail::Expectations expectations;
  expectations.dtype = "F32";
  detail::LayerExamination(tensors, *layer, expectations, report).run();
  REQUIRE(report.of(Finding::converted).size() == 1);
  CHECK(LoadReport::line_of(report.of(Finding::converted)[0]) == "tensor \"bn.bias\": F64 -> F32");
  expectations.dtype = nullptr;
  detail::LayerExamination(tensors, *layer, expectations, report).run();
  CHECK(report.of(Finding::converted).size() == 5);
}
