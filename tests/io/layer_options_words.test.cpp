// SPDX-License-Identifier: MIT
// What file and caller say of a layer, against each other: every word, and what is taken.
#include "batchnorm/io/layer_options.hpp"

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "batchnorm/io/checkpoint.hpp"
#include "support/catch.hpp"
#include "support/layer_files.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

using Texts = std::vector<std::string>;

struct Resolved {
  Options options;
  detail::StoredForm form;
  detail::Expectations expectations;
  LoadReport report;

  Texts lines() const {
    Texts all;
    for (const LoadReport::Entry& entry : report.entries) {
      all.push_back((entry.is_error ? "error: " : "") + entry.text);
    }
    return all;
  }
};

Resolved resolve(const Tensors& tensors, const LoadOptions& given, const Naming& naming) {
  const auto layer = detail::locate(tensors, "bn.", naming);
  REQUIRE(layer);
  Resolved made;
  made.options = detail::resolve_options(tensors, *layer, given, made.report);
  made.form = detail::resolve_form(tensors, *layer, given, made.options, made.report);
  made.expectations = detail::expectations_of(tensors, *layer, given, made.options);
  return made;
}

Resolved resolve(const Tensors& tensors, const LoadOptions& given) {
  return resolve(tensors, given, Naming::pytorch());
}

/// A layer that this library has written, with an epsilon of 0.5.
Tensors own_layer(bool scale = true, bool shift = true) {
  Options options;
  options.epsilon = 0.5;
  options.scale = scale;
  options.shift = shift;
  Tensors tensors = pytorch_layer();
  tensors.metadata()["batchnorm:bn."] = detail::options_to_json(options).dump();
  return tensors;
}

Tensors named_layer(const LayerKeys& keys) {
  Tensors tensors("net");
  add_layer(tensors, keys);
  return tensors;
}

const LayerKeys core_ml = {"bn.gamma", "bn.beta", "bn.mean", "bn.variance"};
const LayerKeys ncnn = {"bn.slope", "bn.bias", "bn.mean", "bn.var"};

}  // namespace

TEST_CASE("an epsilon is usual to one part in a million, on either side") {
  for (const double share : {-0.9e-6, 0.0, 0.9e-6}) {
    CHECK(detail::is_usual(1e-5 * (1.0 + share), Naming::pytorch()));
  }
  for (const double share : {-1.0, -1.1e-6, 1.1e-6, 1.0}) {
    CHECK_FALSE(detail::is_usual(1e-5 * (1.0 + share), Naming::pytorch()));
  }
}

TEST_CASE("an epsilon is told with where it comes from, and what is usual") {
  const std::string rule = ", update rule of PyTorch, assumed";
  CHECK(resolve(pytorch_layer(), Epsilon(1e-5)).lines() == Texts{"epsilon 1e-05 as given" + rule});
  CHECK(resolve(pytorch_layer(), Epsilon(0.5)).lines() ==
        Texts{"epsilon 0.5 as given (PyTorch usually has 1e-05)" + rule});
  const LoadOptions told =
      LoadOptions(Epsilon(1e-5)).updating(RunningUpdate::cumulative(), VarianceEstimator::sample);
  CHECK(resolve(pytorch_layer(), told).lines() ==
        Texts{"epsilon 1e-05 as given, update rule of the caller"});
  Tensors tensors = pytorch_layer();
  tensors.set("bn.eps", {}, std::vector<double>{0.5});
  CHECK(resolve(tensors, LoadOptions::saved()).lines() == Texts{"epsilon 0.5 in the file" + rule});
  CHECK(resolve(tensors, Epsilon(0.25)).lines() ==
        Texts{"error: epsilon: expected that of the file, 0.5, got 0.25",
              "epsilon 0.5 in the file" + rule});
  // What ncnn stores has epsilon in it, so that another one is not unusual.
  CHECK(resolve(named_layer(ncnn), Epsilon(0.0), Naming::ncnn()).lines() ==
        Texts{"epsilon 0 as given, update rule of ncnn, assumed"});
}

TEST_CASE(
    "a number beside the vectors is one when it is single, floating, finite and not negative") {
  const auto number = [](const std::vector<Index>& shape, auto value) {
    Tensors tensors = pytorch_layer();
    std::size_t count = 1;
    for (const Index extent : shape) count *= static_cast<std::size_t>(extent);
    tensors.set("bn.eps", shape, std::vector<decltype(value)>(count, value));
    const FoundBatchNorm layer = find_batch_norms(tensors).at(0);
    return detail::number_in_file(tensors, layer, Role::epsilon);
  };
  CHECK(number({}, 0.25) == 0.25);
  CHECK(number({1, 1}, 0.25f) == 0.25);
  CHECK(number({}, 0.0) == 0.0);
  CHECK_FALSE(number({2}, 0.25));
  CHECK_FALSE(number({0}, 0.25));
  CHECK_FALSE(number({}, std::int64_t{1}));
  CHECK_FALSE(number({}, -0.25));
  CHECK_FALSE(number({}, HUGE_VAL));
  CHECK_FALSE(number({}, std::nan("")));
  const Tensors without = pytorch_layer();
  CHECK_FALSE(detail::number_in_file(without, find_batch_norms(without).at(0), Role::epsilon));
  Tensors wrong = pytorch_layer();
  wrong.set("bn.eps", {2}, std::vector<double>{1, 1});
  CHECK(resolve(wrong, LoadOptions::saved()).options.epsilon == 0.0);
}

TEST_CASE("an epsilon of 0 is 1e-5 for Core ML alone") {
  const Resolved zero = resolve(named_layer(core_ml), Epsilon(0.0), Naming::coreml());
  CHECK(zero.options.epsilon == 1e-5);
  REQUIRE(zero.lines().size() == 2);
  CHECK(zero.lines()[1] == "epsilon 0 counts as 1e-5, as Core ML has it");
  CHECK(zero.form.epsilon == 1e-5);
  CHECK(resolve(named_layer(core_ml), Epsilon(0.5), Naming::coreml()).options.epsilon == 0.5);
  CHECK(resolve(pytorch_layer(), Epsilon(0.0)).options.epsilon == 0.0);
}

TEST_CASE("scale and shift are there when gamma and beta are") {
  Tensors tensors = pytorch_layer();
  CHECK(resolve(tensors, Epsilon(1e-5)).options.scale);
  CHECK(resolve(tensors, Epsilon(1e-5)).options.shift);
  tensors.erase("bn.weight");
  CHECK_FALSE(resolve(tensors, Epsilon(1e-5)).options.scale);
  CHECK(resolve(tensors, Epsilon(1e-5)).options.shift);
}

TEST_CASE("the weight of a minibatch in the file may be all, and a caller knows better") {
  Tensors tensors = named_layer({"bn.scale", "bn.bias", "bn.running_mean", "bn.running_var"});
  tensors.set("bn.epsilon", {}, std::vector<double>{0.5});
  tensors.set("bn.momentum", {}, std::vector<double>{1.0});
  const LoadOptions saved = LoadOptions::saved();
  const Resolved all = resolve(tensors, saved, Naming::dfdx());
  CHECK(all.options.running == RunningUpdate::take_new(1.0));
  CHECK(all.options.running_variance == VarianceEstimator::sample);
  const LoadOptions told =
      saved.updating(RunningUpdate::cumulative(), VarianceEstimator::population);
  const Resolved other = resolve(tensors, told, Naming::dfdx());
  CHECK(other.options.running == RunningUpdate::cumulative());
  CHECK(other.options.running_variance == VarianceEstimator::population);
}

TEST_CASE("options of a file of this library are told and taken whole") {
  const Resolved own = resolve(own_layer(true, false), LoadOptions::saved());
  CHECK(own.lines() == Texts{"epsilon 0.5 and all else in the file"});
  CHECK(own.options.epsilon == 0.5);
  CHECK_FALSE(own.options.shift);
  CHECK(own.form.epsilon == 0.5);
  CHECK_FALSE(own.form.is_variance_unsaid);
  CHECK_FALSE(own.form.is_gamma_fixed);
  CHECK(own.expectations.options_decide);
  CHECK(own.expectations.shift == false);
  CHECK(resolve(own_layer(), Epsilon(0.25)).lines().at(1) ==
        "error: epsilon: expected that of the file, 0.5, got 0.25");
}

TEST_CASE("a caller cannot take from options of a file what they have") {
  const std::string contradiction =
      "error: scale and shift: expected those of the options in the file, got the word of the "
      "caller that there are none";
  const LoadOptions saved = LoadOptions::saved();
  CHECK(resolve(own_layer(), saved.without_scale()).lines().at(1) == contradiction);
  CHECK(resolve(own_layer(), saved.without_shift()).lines().at(1) == contradiction);
  CHECK(resolve(own_layer(false, true), saved.without_shift()).lines().at(1) == contradiction);
  CHECK(resolve(own_layer(false, true), saved.without_scale()).lines().size() == 1);
  CHECK(resolve(own_layer(true, false), saved.without_shift()).lines().size() == 1);
  const std::string got = ", got one that this library has written, in which gamma is gamma";
  CHECK(resolve(own_layer(), saved.from_inplace_abn()).lines().at(1) ==
        "error: weights of inplace_abn: expected a file of that package" + got);
  for (const LoadOptions& given :
       {saved.adding_one_to_gamma(), saved.epsilon_outside_root(), saved.without_fixed_gamma()}) {
    CHECK(resolve(own_layer(), given).lines().at(1) ==
          "error: numbers in another form: expected a file of another program" + got);
  }
}

TEST_CASE("a form is that of the system until the caller says another") {
  const LoadOptions given = Epsilon(0.5);
  const Tensors keras1 = named_layer({"bn.gamma", "bn.beta", "bn.running_mean", "bn.running_std"});
  const auto form = [&](const LoadOptions& options, const Naming& naming) {
    detail::StoredForm made;
    LoadReport report;
    const FoundBatchNorm layer{"bn.", naming, {}, 3, "F32"};
    Options resolved;
    resolved.epsilon = options.epsilon() ? options.epsilon()->value : 0.0;
    made = detail::resolve_form(keras1, layer, options, resolved, report);
    CHECK(report.errors() == 0);
    return made;
  };
  CHECK(form(given, Naming::keras1()).is_variance_unsaid);
  const detail::StoredForm told = form(given.storing(StoredVariance::deviation), Naming::keras1());
  CHECK(told.variance == StoredVariance::deviation);
  CHECK_FALSE(told.is_variance_unsaid);
  CHECK(told.epsilon == 0.5);
  CHECK(form(given, Naming::lasagne()).variance == StoredVariance::inverse_deviation);
  CHECK(form(given, Naming::mxnet()).is_gamma_fixed);
  CHECK_FALSE(form(given.without_fixed_gamma(), Naming::mxnet()).is_gamma_fixed);
  CHECK_FALSE(form(given, Naming::pytorch()).is_gamma_fixed);
  CHECK_FALSE(form(given, Naming::pytorch()).is_epsilon_outside_root);
  CHECK_FALSE(form(given, Naming::pytorch()).adds_one_to_gamma);
  CHECK(form(given.epsilon_outside_root(), Naming::pytorch()).is_epsilon_outside_root);
  CHECK(form(given.adding_one_to_gamma(), Naming::pytorch()).adds_one_to_gamma);
}

TEST_CASE("a system that has added epsilon gets none, unless the caller says what is stored") {
  const Tensors tensors = named_layer(ncnn);
  const auto lines = [&](const LoadOptions& given) {
    return resolve(tensors, given, Naming::ncnn()).lines();
  };
  REQUIRE(lines(Epsilon(0.5)).size() == 2);
  CHECK(lines(Epsilon(0.5))[1] ==
        "error: epsilon of ncnn: expected Epsilon(0), because its converters have added it to the "
        "variance, or LoadOptions::storing for what is stored, got 0.5");
  CHECK(lines(Epsilon(0.0)).size() == 1);
  CHECK(lines(LoadOptions(Epsilon(0.5)).storing(StoredVariance::variance)).size() == 1);
}

TEST_CASE("what the caller has said is expected, and nothing else") {
  const Resolved nothing = resolve(pytorch_layer(), Epsilon(1e-5));
  CHECK_FALSE(nothing.expectations.scale);
  CHECK_FALSE(nothing.expectations.shift);
  CHECK_FALSE(nothing.expectations.statistics);
  CHECK_FALSE(nothing.expectations.is_inplace_abn);
  CHECK_FALSE(nothing.expectations.options_decide);
  CHECK(nothing.expectations.options != nullptr);
  const LoadOptions given = Epsilon(1e-5);
  CHECK(resolve(pytorch_layer(), given.without_scale()).expectations.scale == false);
  CHECK(resolve(pytorch_layer(), given.without_shift()).expectations.shift == false);
  CHECK(resolve(pytorch_layer(), given.without_statistics()).expectations.statistics == false);
  CHECK(resolve(pytorch_layer(), given.from_inplace_abn()).expectations.is_inplace_abn);
}
