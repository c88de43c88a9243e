// SPDX-License-Identifier: MIT
#include "batchnorm/io/layer_options.hpp"

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "batchnorm/io/checkpoint.hpp"
#include "support/catch.hpp"
#include "support/layer_files.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

Options resolved(const Tensors& tensors, const LoadOptions& given, std::string* lines = nullptr) {
  LoadReport report;
  const FoundBatchNorm layer = find_batch_norms(tensors).at(0);
  const Options options = detail::resolve_options(tensors, layer, given, report);
  if (lines != nullptr) *lines = report.text();
  return options;
}

}  // namespace

TEST_CASE("an epsilon is usual when it is that of the system, in float or double") {
  CHECK(detail::is_usual(1e-5, Naming::pytorch()));
  CHECK(detail::is_usual(static_cast<double>(1e-5f), Naming::pytorch()));
  CHECK_FALSE(detail::is_usual(1e-3, Naming::pytorch()));
  CHECK(detail::is_usual(1e-3, Naming::keras()));
}

TEST_CASE("options are those of the system with the epsilon given") {
  Tensors tensors("keras");
  add_layer(tensors, {"bn/gamma", "", "bn/moving_mean", "bn/moving_variance"});
  const Options options = resolved(tensors, Epsilon(0.5));
  CHECK(options.epsilon == 0.5);
  CHECK(options.scale);
  CHECK_FALSE(options.shift);
  CHECK(options.running == RunningUpdate::keep_old(0.99));
  CHECK(options.running_variance == VarianceEstimator::population);
}

TEST_CASE("a caller who knows the update rule decides") {
  std::string lines;
  const LoadOptions told =
      LoadOptions(Epsilon(1e-5)).updating(RunningUpdate::cumulative(), VarianceEstimator::sample);
  const Options options = resolved(pytorch_layer(), told, &lines);
  CHECK(options.running == RunningUpdate::cumulative());
  CHECK(lines.find("update rule of the caller") != std::string::npos);
}

TEST_CASE("an epsilon of the file needs no caller, and contradicts one") {
  Tensors tensors = pytorch_layer();
  tensors.set("bn.eps", {1}, std::vector<float>{0.5f});
  CHECK(resolved(tensors, LoadOptions::saved()).epsilon == 0.5);
  CHECK(resolved(tensors, Epsilon(0.5)).epsilon == 0.5);
  std::string lines;
  resolved(tensors, Epsilon(0.25), &lines);
  CHECK(lines.find("error       epsilon: expected that of the file, 0.5, got 0.25") !=
        std::string::npos);
  CHECK_THROWS_AS(resolved(pytorch_layer(), LoadOptions::saved()), std::runtime_error);
}

TEST_CASE("an epsilon that differs by its rounding to float is the same") {
  const double rounded = static_cast<double>(1e-5f);
  for (const auto& [saved, given] :
       {std::pair(1e-5, rounded), std::pair(rounded, 1e-5), std::pair(1e-5, 1e-5)}) {
    Tensors tensors = pytorch_layer();
    tensors.set("bn.eps", {1}, std::vector<double>{saved});
    std::string lines;
    CHECK(resolved(tensors, Epsilon(given), &lines).epsilon == saved);
    CHECK(lines.find("error") == std::string::npos);
    const bool is_told = lines.find("differ by rounding to float") != std::string::npos;
    CHECK(is_told == (saved < given || saved > given));
  }
}

TEST_CASE("the weight of a minibatch is that of the file, unless it is no share") {
  Tensors tensors;
  add_layer(tensors, {"bn.scale", "bn.bias", "bn.running_mean", "bn.running_var"});
  tensors.set("bn.epsilon", {}, std::vector<double>{0.5});
  tensors.set("bn.momentum", {}, std::vector<double>{0.25});
  CHECK(resolved(tensors, LoadOptions::saved()).running == RunningUpdate::take_new(0.25));
  tensors.set("bn.momentum", {}, std::vector<double>{1.5});
  CHECK(resolved(tensors, LoadOptions::saved()).running == RunningUpdate::take_new(0.1));
}

TEST_CASE("an epsilon of the file that is no number is said to be none") {
  for (const std::vector<Index>& shape : std::vector<std::vector<Index>>{{2}, {0}}) {
    Tensors tensors = pytorch_layer();
    tensors.set("bn.eps", shape, std::vector<float>(static_cast<std::size_t>(shape[0]), 0.5f));
    CHECK_THROWS_MATCHES(load_state<float>(tensors, "bn.", LoadOptions::saved()),
                         std::runtime_error, says("epsilon: expected one floating number"));
  }
}

TEST_CASE("what changes numbers is refused for a file of this library") {
  Tensors tensors;
  save_state(tensors, "bn.", State<float>(3), Options());
  for (const LoadOptions& given :
       {LoadOptions::saved().adding_one_to_gamma(), LoadOptions::saved().epsilon_outside_root(),
        LoadOptions::saved().without_fixed_gamma(), LoadOptions::saved().from_inplace_abn()}) {
    CHECK_THROWS_MATCHES(load_state<float>(tensors, "bn.", given), std::runtime_error,
                         says("one that this library has written, in which gamma is gamma"));
  }
}
