// SPDX-License-Identifier: MIT
// What is found in layers of systems that store more than four vectors, or store them otherwise;
// and what callers and options say of a layer.
#include "batchnorm/io/examine.hpp"

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/layer_files.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

using Numbers = std::vector<double>;
using Texts = std::vector<std::string>;

/// What an examination leaves behind.
struct Examined {
  detail::LayerNumbers numbers;
  LoadReport report;

  Texts errors() const {
    Texts lines;
    for (const LoadReport::Entry& entry : report.entries) {
      if (entry.is_error) lines.push_back(LoadReport::line_of(entry));
    }
    return lines;
  }
};

Examined examine(const Tensors& tensors, const LayerPrefix& prefix, const Naming& naming,
                 detail::Expectations expectations = {}) {
  const auto layer = detail::locate(tensors, prefix, naming);
  REQUIRE(layer);
  expectations.form = detail::usual_form(naming);
  Examined made;
  made.numbers = detail::LayerExamination(tensors, *layer, expectations, made.report).run();
  return made;
}

Examined examine_pytorch(const Tensors& tensors, const detail::Expectations& expectations = {}) {
  return examine(tensors, "bn.", Naming::pytorch(), expectations);
}

/// What examine_batch_norm calls errors.
Texts errors_with(const Tensors& tensors, const Naming& naming,
                  const std::optional<Options>& options = std::nullopt) {
  const auto layer = detail::locate(tensors, "bn.", naming);
  REQUIRE(layer);
  Examined made;
  made.report = examine_batch_norm(tensors, *layer, options);
  return made.errors();
}

Tensors layer_of_dfdx() {
  Tensors tensors("dfdx");
  add_layer(tensors, {"bn.scale", "bn.bias", "bn.running_mean", "bn.running_var"});
  tensors.set("bn.epsilon", {}, Numbers{0.5});
  tensors.set("bn.momentum", {1}, Numbers{0.25});
  return tensors;
}

/// Sums of two averages, as Caffe keeps them, and gamma and beta in the layer behind.
Tensors layer_of_caffe() {
  Tensors tensors("caffe");
  tensors.set("bn.0", {3}, Numbers{2, 4, 6});
  tensors.set("bn.1", {3}, Numbers{8, 10, 12});
  tensors.set("bn.2", {1}, Numbers{2});
  tensors.set("scale.0", {3}, Numbers{1, 2, 3});
  tensors.set("scale.1", {3}, Numbers{4, 5, 6});
  return tensors;
}

/// A layer of Leela Chess Zero, with the bias of the layer in front.
Tensors layer_with_bias(const Numbers& bias) {
  Tensors tensors("lc0");
  add_layer(tensors, {"bn.bn_gammas", "bn.bn_betas", "bn.bn_means", "bn.bn_stddivs"});
  tensors.set("bn.biases", {static_cast<Index>(bias.size())}, bias);
  return tensors;
}

}  // namespace

TEST_CASE("whole options decide what there is") {
  Options options;
  options.shift = false;
  detail::Expectations expectations;
  CHECK(expectations.options == nullptr);
  CHECK_FALSE(expectations.options_decide);
  CHECK_FALSE(expectations.is_named);
  CHECK_FALSE(expectations.is_inplace_abn);
  CHECK(expectations.dtype == nullptr);
  CHECK(expectations.statistics_dtype == nullptr);
  CHECK(expectations.dtype_matters);
  expectations.decide(options);
  CHECK(expectations.options == &options);
  CHECK(expectations.options_decide);
  CHECK(expectations.scale == true);
  CHECK(expectations.shift == false);
  CHECK_FALSE(expectations.statistics);
}

TEST_CASE("epsilon and the weight of a minibatch are single numbers, 0 or more") {
  const Examined whole = examine(layer_of_dfdx(), "bn.", Naming::dfdx());
  CHECK(whole.errors().empty());
  CHECK_THAT(whole.report.text(),
             contains_text("used        tensor \"bn.epsilon\": epsilon, 0.5\n"));
  CHECK_THAT(whole.report.text(),
             contains_text("used        tensor \"bn.momentum\": weight of a minibatch, 0.25\n"));
  const auto errors = [](const std::string& name, const std::vector<Index>& shape, auto number) {
    Tensors tensors = layer_of_dfdx();
    std::size_t count = 1;
    for (const Index extent : shape) count *= static_cast<std::size_t>(extent);
    tensors.set(name, shape, std::vector<decltype(number)>(count, number));
    return examine(tensors, "bn.", Naming::dfdx()).errors();
  };
  CHECK(errors("bn.epsilon", {}, 0.0).empty());
  CHECK(errors("bn.epsilon", {1, 1}, 0.75).empty());
  const std::string epsilon = "tensor \"bn.epsilon\": epsilon: expected ";
  CHECK(errors("bn.epsilon", {2}, 0.5) == Texts{epsilon + "one floating number, got F64 [2]"});
  CHECK(errors("bn.epsilon", {0}, 0.5) == Texts{epsilon + "one floating number, got F64 [0]"});
  CHECK(errors("bn.epsilon", {}, std::int64_t{1}) ==
        Texts{epsilon + "one floating number, got I64 []"});
  CHECK(errors("bn.epsilon", {}, -0.5) == Texts{epsilon + "a finite number, 0 or more, got -0.5"});
  CHECK(errors("bn.epsilon", {}, HUGE_VAL) ==
        Texts{epsilon + "a finite number, 0 or more, got inf"});
  CHECK(errors("bn.epsilon", {}, std::nan("")) ==
        Texts{epsilon + "a finite number, 0 or more, got nan"});
  CHECK(errors("bn.momentum", {}, -1.0) ==
        Texts{"tensor \"bn.momentum\": weight of a minibatch: expected a finite number, 0 or more, "
              "got -1"});
}

TEST_CASE("mean and variance are divided by the factor beside them, unless something is wrong") {
  const LayerPrefix prefix("scale.", "bn.");
  const Examined whole = examine(layer_of_caffe(), prefix, Naming::caffe());
  CHECK(whole.errors().empty());
  CHECK(whole.numbers.factor == 2.0);
  CHECK(whole.numbers.of(Role::gamma) == Numbers{1, 2, 3});
  CHECK(whole.numbers.of(Role::beta) == Numbers{4, 5, 6});
  CHECK(whole.numbers.of(Role::mean) == Numbers{1, 2, 3});
  CHECK(whole.numbers.of(Role::variance) == Numbers{4, 5, 6});
  Tensors tensors = layer_of_caffe();
  tensors.set("scale.0", {3}, Numbers{1, std::nan(""), 3});
  const Examined one_error = examine(tensors, prefix, Naming::caffe());
  CHECK(one_error.errors().size() == 1);
  CHECK(one_error.numbers.of(Role::mean) == Numbers{2, 4, 6});
  Tensors fixed("mxnet");
  add_layer(fixed, {"bn.gamma", "", "", ""});
  fixed.set("bn.beta", {3}, Numbers{0, std::nan(""), 0});
  const Examined without_statistics = examine(fixed, "bn.", Naming::mxnet());
  CHECK(without_statistics.errors().size() == 1);
  CHECK(without_statistics.numbers.of(Role::gamma) == Numbers{1.5, -2, 0.5});
  tensors = layer_of_caffe();
  tensors.set("bn.2", {1}, Numbers{-2});
  const Examined negative = examine(tensors, prefix, Naming::caffe());
  CHECK(negative.errors() ==
        Texts{"tensor \"bn.2\": factor of mean and variance: expected a finite "
              "number, 0 or more, got -2"});
  CHECK(negative.numbers.factor == 1.0);
  tensors.set("bn.2", {2}, Numbers{2, 2});
  const Examined two = examine(tensors, prefix, Naming::caffe());
  CHECK(two.errors() == Texts{"tensor \"bn.2\": factor of mean and variance: expected one floating "
                              "number, got F64 [2]"});
  CHECK(two.numbers.factor == 1.0);
}

TEST_CASE("the bias of the layer in front is taken off the mean, when it is a vector of numbers") {
  const Examined whole = examine(layer_with_bias({0.5, 1, -2}), "bn.", Naming::leela_chess_zero());
  CHECK(whole.errors().empty());
  CHECK(whole.numbers.input_bias == Numbers{0.5, 1, -2});
  CHECK(whole.numbers.of(Role::mean) == Numbers{-1.5, 2, 2.5});
  for (const double bad : {std::nan(""), HUGE_VAL}) {
    CHECK(examine(layer_with_bias({0.5, bad, bad}), "bn.", Naming::leela_chess_zero()).errors() ==
          Texts{"tensor \"bn.biases\": bias in front of the norm: expected finite numbers, got NaN "
                "or infinity"});
  }
  const Examined longer = examine(layer_with_bias({1, 2}), "bn.", Naming::leela_chess_zero());
  CHECK(longer.errors() == Texts{"tensor \"bn.biases\": shape: expected [3], got [2]"});
  CHECK(longer.numbers.input_bias.empty());
}

TEST_CASE("a vector that is refused leaves no numbers") {
  Tensors tensors = pytorch_layer();
  tensors.set("bn.weight", {2}, std::vector<float>(2));
  const Examined shape = examine_pytorch(tensors);
  CHECK(shape.errors() == Texts{"tensor \"bn.weight\": shape: expected [3], got [2]"});
  CHECK(shape.numbers.of(Role::gamma).empty());
  CHECK(shape.numbers.of(Role::beta) == Numbers{0.25, 0, -1});
  CHECK(shape.numbers.batches_seen == 460);
  Tensors single("one");
  for (const char* name : {"bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"}) {
    single.set(name, {1}, Numbers{1});
  }
  CHECK(examine_pytorch(single).numbers.batches_seen == -1);
  single.set("bn.weight", {2}, Numbers{1, 1});
  CHECK(examine_pytorch(single).errors() ==
        Texts{"tensor \"bn.weight\": shape: expected [1], got [2]"});
}

TEST_CASE("of three arrays the caller has to say what the first is, where lists shrink") {
  const auto errors = [](const Texts& names, const detail::Expectations& expectations = {}) {
    Tensors tensors("keras");
    for (const std::string& name : names) tensors.set(name, {3}, Numbers{1, 2, 3});
    return examine(tensors, "bn/vars/", Naming::of("Keras 3"), expectations).errors();
  };
  const Texts three = {"bn/vars/0", "bn/vars/1", "bn/vars/2"};
  CHECK(errors(three) ==
        Texts{"tensor \"bn/vars/0\": first of three arrays: expected the word of the caller for "
              "what it is: LoadOptions::without_scale() for beta, or without_shift() for gamma, "
              "got none"});
  detail::Expectations said;
  said.shift = false;
  CHECK(errors(three, said).empty());
  CHECK(errors({"bn/vars/0", "bn/vars/1", "bn/vars/2", "bn/vars/3"}).empty());
  detail::Expectations bare;
  bare.scale = bare.shift = false;
  CHECK(errors({"bn/vars/0", "bn/vars/1"}, bare).empty());
}

TEST_CASE("a fifth array is the epsilon of NAM") {
  Tensors tensors("nam");
  for (const char* name : {"bn.0", "bn.1", "bn.2", "bn.3"})
    tensors.set(name, {3}, Numbers{1, 2, 3});
  tensors.set("bn.4", {}, Numbers{0.5});
  CHECK(examine(tensors, "bn.", Naming::nam()).errors().empty());
}

TEST_CASE("statistics are what the caller has said of them") {
  detail::Expectations none;
  none.statistics = false;
  CHECK(examine_pytorch(pytorch_layer(), none).errors() ==
        Texts{"tensor \"bn.running_mean\": options of the layer: expected no such tensor, got one",
              "tensor \"bn.running_var\": options of the layer: expected no such tensor, got one"});
  Tensors bare = pytorch_layer();
  bare.erase("bn.running_mean");
  bare.erase("bn.running_var");
  CHECK(examine_pytorch(bare, none).errors().empty());
  detail::Expectations some;
  some.statistics = true;
  CHECK(examine_pytorch(pytorch_layer(), some).errors().empty());
  const Texts both = {
      "tensor \"bn.running_mean\": tensors of a batch norm layer: expected this one, got none",
      "tensor \"bn.running_var\": tensors of a batch norm layer: expected this one, got none"};
  CHECK(examine_pytorch(bare, some).errors() == both);
  Tensors half = pytorch_layer();
  half.erase("bn.running_mean");
  CHECK(examine_pytorch(half).errors() == Texts{both[0]});
}

TEST_CASE("statistics alone need the word that there is neither gamma nor beta") {
  Tensors tensors = pytorch_layer();
  tensors.erase("bn.weight");
  tensors.erase("bn.bias");
  detail::Expectations expectations;
  expectations.scale = false;
  CHECK(examine_pytorch(tensors, expectations).errors().size() == 1);
  expectations.shift = false;
  CHECK(examine_pytorch(tensors, expectations).errors().empty());
}

TEST_CASE("a vector beside a layer could be whatever is missing, in words") {
  const auto missing = [](const Texts& names, const detail::Expectations& expectations = {}) {
    Tensors tensors = pytorch_layer();
    for (const std::string& name : names) tensors.erase(name);
    tensors.set("bn.anchor", {3}, std::vector<float>(3));
    for (const std::string& error : examine_pytorch(tensors, expectations).errors()) {
      const std::string begin = "tensor \"bn.anchor\": names of PyTorch: expected ";
      const std::size_t end =
          error.find(" under them, or no other tensor of one number per channel");
      if (error.find(begin) != 0 || end == std::string::npos) continue;
      return error.substr(begin.size(), end - begin.size());
    }
    return std::string("nothing");
  };
  const Texts statistics = {"bn.running_mean", "bn.running_var"};
  CHECK(missing({}) == "nothing");
  CHECK(missing({"bn.weight"}) == "gamma");
  CHECK(missing({"bn.bias"}) == "beta");
  CHECK(missing({"bn.weight", "bn.bias"}) == "gamma and beta");
  CHECK(missing(statistics) == "running mean and variance");
  CHECK(missing({"bn.bias", "bn.running_mean", "bn.running_var"}) ==
        "beta, running mean and variance");
  detail::Expectations said;
  said.statistics = false;
  CHECK(missing(statistics, said) == "nothing");
  said = {};
  said.shift = false;
  CHECK(missing({"bn.bias"}, said) == "nothing");
  said = {};
  said.scale = false;
  CHECK(missing({"bn.weight"}, said) == "nothing");
}

TEST_CASE("what hints at a trap is told") {
  Tensors tensors = pytorch_layer();
  tensors.set("bn.weight/ExponentialMovingAverage", {3}, std::vector<float>(3));
  CHECK_THAT(examine_pytorch(tensors).report.text(), contains_text("not read: an average of"));
  // A file is called one of several only where something is missing.
  Tensors shard("model-00001-of-00002.safetensors");
  add_layer(shard, pytorch_keys("bn."));
  const std::string several = "called like one of several";
  CHECK(examine_pytorch(shard).report.text().find(several) == std::string::npos);
  shard.erase("bn.bias");
  CHECK_THAT(examine_pytorch(shard).report.text(), contains_text(several));
}

TEST_CASE("statistics may have the scalar of the data or their own") {
  detail::Expectations expectations;
  expectations.dtype = "F32";
  expectations.statistics_dtype = "F64";
  const auto converted = [&](const char* name, auto zero) {
    Tensors tensors = pytorch_layer();
    tensors.set(name, {3}, std::vector<decltype(zero)>(3, decltype(zero)(1)));
    Texts texts;
    for (const auto& entry : examine_pytorch(tensors, expectations).report.of(Finding::converted)) {
      texts.push_back(LoadReport::line_of(entry));
    }
    return texts;
  };
  CHECK(converted("bn.running_mean", 0.0f).empty());
  CHECK(converted("bn.running_mean", 0.0).empty());
  CHECK(converted("bn.running_var", 0.0).empty());
  CHECK(converted("bn.running_mean", Eigen::half(0)) ==
        Texts{"tensor \"bn.running_mean\": F16 -> F64"});
  CHECK(converted("bn.bias", 0.0) == Texts{"tensor \"bn.bias\": F64 -> F32"});
}

TEST_CASE("negative variances of which half or more are small look like logarithms") {
  const auto word = [](const Numbers& variances) {
    Tensors tensors("logs");
    for (const char* name : {"bn.weight", "bn.bias", "bn.running_mean"}) {
      tensors.set(name, {static_cast<Index>(variances.size())}, Numbers(variances.size(), 1.0));
    }
    tensors.set("bn.running_var", {static_cast<Index>(variances.size())}, variances);
    const Texts errors = examine_pytorch(tensors).errors();
    REQUIRE(errors.size() == 1);
    const std::string got = "got a negative number";
    return errors[0].substr(errors[0].find(got) + got.size());
  };
  const std::string logarithms = ", as if logarithms were stored";
  CHECK(word({-1, -2, 3}) == logarithms);
  CHECK(word({-1, -1, 1, 1}) == logarithms);
  CHECK(word({-4, 4, -4}) == logarithms);
  CHECK(word({-1, 2, 3}).empty());
  CHECK(word({-1, -1, 1, 1, 1}).empty());
  CHECK(word({-1, -1}).empty());
  CHECK(word({-4.5, -1, -1}).empty());
  CHECK(word({-1, -1, 5}).empty());
}

TEST_CASE("layers with options of their own may have a gamma and beta of NaN, and no such mean") {
  Options options;
  for (const char* name : {"bn.weight", "bn.bias", "bn.running_mean"}) {
    Tensors tensors = pytorch_layer();
    tensors.set(name, {3}, Numbers{1, std::nan(""), 1});
    detail::Expectations expectations;
    expectations.decide(options);
    const Examined made = examine_pytorch(tensors, expectations);
    const bool is_mean = std::string(name) == "bn.running_mean";
    CHECK(made.errors().size() == (is_mean ? 1 : 0));
    CHECK(made.report.has(Finding::suspicious));
    CHECK(examine_pytorch(tensors).errors().size() == 1);
  }
}

TEST_CASE("numbers are examined in the form of their system, unless this library wrote them") {
  Tensors fixed("mxnet");
  add_layer(fixed, {"bn.gamma", "bn.beta", "bn.moving_mean", "bn.moving_var"});
  const auto has_note = [](const Tensors& tensors, const Naming& naming, const std::string& text) {
    const auto layer = detail::locate(tensors, "bn.", naming);
    return examine_batch_norm(tensors, *layer).text().find(text) != std::string::npos;
  };
  CHECK(has_note(fixed, Naming::mxnet(), "gamma counts as 1"));
  fixed.metadata()["batchnorm:bn."] = detail::options_to_json(Options()).dump();
  CHECK_FALSE(has_note(fixed, Naming::mxnet(), "gamma counts as 1"));
  // 1 / sqrt(v + 4) = 1 has no such v.
  Tensors inverse("lasagne");
  add_layer(inverse, {"bn.gamma", "bn.beta", "bn.mean", ""});
  inverse.set("bn.inv_std", {3}, Numbers{1, 1, 1});
  Options four;
  four.epsilon = 4.0;
  CHECK(errors_with(inverse, Naming::lasagne()).empty());
  CHECK_FALSE(errors_with(inverse, Naming::lasagne(), four).empty());
  // ncnn has added epsilon already, and none is taken off.
  Tensors added("ncnn");
  add_layer(added, {"bn.slope", "bn.bias", "bn.mean", "bn.var"});
  CHECK(errors_with(added, Naming::ncnn(), four).empty());
}

TEST_CASE("beside a layer that this library wrote, a vector is none of it") {
  Tensors tensors = pytorch_layer();
  tensors.set("bn.gamma", {3}, std::vector<float>(3));
  CHECK(errors_with(tensors, Naming::pytorch()).size() == 1);
  tensors.metadata()["batchnorm:bn."] = detail::options_to_json(Options()).dump();
  CHECK(errors_with(tensors, Naming::pytorch()).empty());
}
