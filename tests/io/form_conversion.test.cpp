// SPDX-License-Identifier: MIT
// Conversions of stored numbers one by one: what each changes, what it says, and when it is left.
#include "batchnorm/io/stored_form.hpp"

#include <cmath>
#include <string>
#include <vector>

#include "batchnorm/io/checkpoint.hpp"
#include "support/catch.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

using Numbers = std::vector<double>;

/// A layer of two channels: gamma 2, 1; beta 0.5, 1; mean 1, -1; and what stands for the variance.
struct Layer {
  Tensors tensors{"net"};
  Naming naming;
  LayerPrefix prefix;
  detail::StoredForm form = detail::usual_form(naming);
  detail::LayerNumbers numbers;
  LoadReport report;

  Layer(const Naming& names, const LayerPrefix& place, const Numbers& variance)
      : naming(names), prefix(place) {
    const auto add = [&](Role role, const Numbers& values) {
      if (names.names(role).empty()) return;
      tensors.set(place.of(role) + names.name(role), {2}, values);
    };
    add(Role::gamma, {2, 1});
    add(Role::beta, {0.5, 1});
    add(Role::mean, {1, -1});
    add(Role::variance, variance);
  }

  /// Converts; what is said of it, as lines.
  std::string run() {
    const auto found = detail::locate(tensors, prefix, naming);
    REQUIRE(found);
    for (const Role role : detail::vector_roles) {
      if (found->has(role)) numbers.of(role) = detail::stored_values<double>(tensors, *found, role);
    }
    detail::FormConversion(tensors, *found, form, numbers, report).run();
    std::string lines;
    for (const LoadReport::Entry& entry : report.entries) lines += entry.text + "\n";
    return lines;
  }
};

Layer caffe(double factor) {
  Layer layer(Naming::caffe(), LayerPrefix("scale.", "bn."), {4, 8});
  layer.tensors.set("bn.2", {1}, Numbers{factor});
  layer.numbers.factor = factor;
  return layer;
}

/// The variances that a state gets when `stored` is v + 1, in the type of the values.
template <class T>
bool is_accepted(double stored) {
  Tensors tensors("net");
  for (const char* name : {"bn.weight", "bn.bias", "bn.running_mean"}) {
    tensors.set(name, {1}, Numbers{1});
  }
  tensors.set("bn.running_var", {1}, std::vector<T>{static_cast<T>(stored)});
  const FoundBatchNorm found = find_batch_norms(tensors).at(0);
  detail::StoredForm form;
  form.variance = StoredVariance::variance_with_epsilon;
  form.epsilon = 1.0;
  detail::LayerNumbers numbers;
  numbers.of(Role::variance) = {stored};
  LoadReport report;
  detail::FormConversion(tensors, found, form, numbers, report).run();
  CHECK((report.errors() > 0 || numbers.of(Role::variance) == Numbers{0}));
  return report.errors() == 0;
}

}  // namespace

TEST_CASE("forms of a variance have words") {
  using S = StoredVariance;
  CHECK(std::string(detail::words_for(S::variance)) == "variance");
  CHECK(std::string(detail::words_for(S::variance_with_epsilon)) == "variance + epsilon");
  CHECK(std::string(detail::words_for(S::deviation)) == "standard deviation");
  CHECK(std::string(detail::words_for(S::deviation_with_epsilon)) == "sqrt(variance + epsilon)");
  CHECK(std::string(detail::words_for(S::inverse_deviation)) == "1 / sqrt(variance + epsilon)");
}

TEST_CASE("a form begins as that of a plain variance") {
  const detail::StoredForm form;
  CHECK(form.variance == StoredVariance::variance);
  CHECK_FALSE(form.is_variance_unsaid);
  CHECK(form.epsilon == 0.0);
  CHECK_FALSE(form.is_epsilon_outside_root);
  CHECK_FALSE(form.adds_one_to_gamma);
  CHECK_FALSE(form.is_gamma_fixed);
  CHECK(detail::usual_form(Naming::keras1()).is_variance_unsaid);
  CHECK(detail::usual_form(Naming::mxnet()).is_gamma_fixed);
  CHECK(detail::usual_form(Naming::lasagne()).variance == StoredVariance::inverse_deviation);
}

TEST_CASE("any factor above 0 divides, and 1 changes nothing") {
  Layer half = caffe(0.5);
  CHECK(half.run() == "divided by the factor 0.5\ndivided by the factor 0.5\n");
  CHECK(half.numbers.of(Role::mean) == Numbers{2, -2});
  CHECK(half.numbers.of(Role::variance) == Numbers{8, 16});
  CHECK(half.numbers.converts(Role::mean));
  CHECK(half.numbers.converts(Role::variance));
  CHECK_FALSE(half.numbers.converts(Role::gamma));
  Layer two = caffe(2.0);
  two.run();
  CHECK(two.numbers.of(Role::mean) == Numbers{0.5, -0.5});
  Layer one = caffe(1.0);
  CHECK(one.run() == "");
  CHECK(one.numbers.of(Role::mean) == Numbers{1, -1});
  CHECK_FALSE(one.numbers.converts(Role::mean));
  CHECK_THAT(caffe(0.0).run(), contains_text("expected a number above 0, got 0: never trained"));
  CHECK_THAT(caffe(-2.0).run(), contains_text("expected a number above 0, got -2"));
}

TEST_CASE("where something is wrong nothing is converted") {
  Layer layer = caffe(2.0);
  layer.form.adds_one_to_gamma = true;
  detail::refuse(layer.report, Finding::suspicious, "bn.0", "rule", "this", "that");
  layer.run();
  CHECK(layer.report.entries.size() == 1);
  CHECK(layer.numbers.of(Role::mean) == Numbers{1, -1});
  CHECK(layer.numbers.of(Role::gamma) == Numbers{2, 1});
  Layer inverse(Naming::lasagne(), "l.", {0.5, 1});
  detail::refuse(inverse.report, Finding::suspicious, "l.mean", "rule", "this", "that");
  inverse.run();
  CHECK(inverse.numbers.of(Role::variance) == Numbers{0.5, 1});
}

TEST_CASE("a difference may be below 0 by what four roundings of the stored number are") {
  const auto below_one = [](double share) { return 1.0 - share; };
  CHECK(is_accepted<double>(below_one(4 * 0x1p-52)));
  CHECK_FALSE(is_accepted<double>(below_one(5 * 0x1p-52)));
  CHECK(is_accepted<float>(below_one(4 * 0x1p-23)));
  CHECK_FALSE(is_accepted<float>(below_one(5 * 0x1p-23)));
  CHECK(is_accepted<Eigen::half>(below_one(4 * 0x1p-10)));
  CHECK_FALSE(is_accepted<Eigen::half>(below_one(5 * 0x1p-10)));
  CHECK(is_accepted<Eigen::bfloat16>(below_one(4 * 0x1p-7)));
  CHECK_FALSE(is_accepted<Eigen::bfloat16>(below_one(5 * 0x1p-7)));
}

TEST_CASE("a conversion says what it was") {
  Layer inverse(Naming::lasagne(), "l.", {0.5, 1});
  inverse.form.epsilon = 0.25;
  CHECK(inverse.run() == "variance from 1 / sqrt(variance + epsilon), epsilon 0.25\n");
  CHECK(inverse.numbers.of(Role::variance) == Numbers{3.75, 0.75});
  Layer scaled(Naming::leela_zero(), "z.", {3.75, 0.75});
  scaled.form.epsilon = 0.25;
  CHECK(scaled.run() ==
        "beta from a bias in front of the norm: divided by sqrt(variance + epsilon)\n");
  CHECK(scaled.numbers.of(Role::beta) == Numbers{0.25, 1});
  CHECK(scaled.numbers.converts(Role::beta));
  Layer outside(Naming::pytorch(), "bn.", {4, 1});
  outside.form.epsilon = 0.5;
  outside.form.is_epsilon_outside_root = true;
  CHECK(outside.run() == "(sqrt(variance) + 0.5)^2, with epsilon 0\n");
  CHECK(outside.numbers.of(Role::variance) == Numbers{6.25, 2.25});
  Layer one_more(Naming::pytorch(), "bn.", {4, 1});
  one_more.form.adds_one_to_gamma = true;
  CHECK(one_more.run() == "gamma is 1 more than stored\n");
  CHECK(one_more.numbers.of(Role::gamma) == Numbers{3, 2});
  Layer biased(Naming::leela_chess_zero(), "i.", {4, 1});
  biased.tensors.set("i.biases", {2}, Numbers{3, 4});
  biased.numbers.input_bias = {3, 4};
  CHECK(biased.run() == "the bias in front of the norm is taken off: \"i.biases\"\n");
  CHECK(biased.numbers.of(Role::mean) == Numbers{-2, -5});
  CHECK(biased.numbers.converts(Role::mean));
}

TEST_CASE("a variance of 0 is replaced for ncnn alone, without an epsilon, and counted") {
  const auto run = [](const Naming& naming, double epsilon, const Numbers& variance) {
    Layer layer(naming, "bn.", variance);
    layer.form.variance = StoredVariance::variance;
    layer.form.epsilon = epsilon;
    const std::string said = layer.run();
    CHECK(layer.numbers.converts(Role::variance) == !said.empty());
    return said;
  };
  CHECK(run(Naming::ncnn(), 0.0, {0, 4}) ==
        "variance 0 counts as 1e-8, as ncnn has it: 1 channels\n");
  CHECK(run(Naming::ncnn(), 0.0, {0, 0}) ==
        "variance 0 counts as 1e-8, as ncnn has it: 2 channels\n");
  CHECK(run(Naming::ncnn(), 0.0, {1, 4}) == "");
  CHECK(run(Naming::ncnn(), 0.25, {0, 4}) == "");
  CHECK(run(Naming::pytorch(), 0.0, {0, 4}) == "");
}

TEST_CASE("a fixed gamma is told where another is stored") {
  Layer fixed(Naming::mxnet(), "bn.", {4, 1});
  CHECK_THAT(fixed.run(), contains_text("gamma counts as 1, as MXNet Module has it by default"));
  CHECK(fixed.numbers.of(Role::gamma) == Numbers{1, 1});
  Layer ones(Naming::mxnet(), "bn.", {4, 1});
  ones.tensors.set("bn.gamma", {2}, Numbers{1, 1});
  CHECK(ones.run() == "");
  CHECK_FALSE(ones.numbers.converts(Role::gamma));
}
