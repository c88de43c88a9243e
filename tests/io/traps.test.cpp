// SPDX-License-Identifier: MIT
// What makes an import silently wrong, each with the rule that catches it. The numbers count the
// traps; some rules stand in other headers (suspicion, stored_form, examine), and are tried here as
// a user meets them.
#include "batchnorm/io/traps.hpp"

#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "batchnorm/io/checkpoint.hpp"
#include "support/catch.hpp"
#include "support/layer_files.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

const LoadOptions given = Epsilon(1e-5);

/// Whether the report of a layer that loads warns of something.
bool warns(const Tensors& tensors, const LayerPrefix& prefix, const std::string& of,
           const LoadOptions& options = given) {
  for (const auto& entry : load_state<float>(tensors, prefix, options).report.warnings()) {
    if (LoadReport::line_of(entry).find(of) != std::string::npos) return true;
  }
  return false;
}

/// Whether it is among the findings of a layer, whether it loads or not.
bool examined(const Tensors& tensors, const std::string& what) {
  for (const FoundBatchNorm& layer : find_batch_norms(tensors)) {
    if (examine_batch_norm(tensors, layer).text().find(what) != std::string::npos) return true;
  }
  return false;
}

/// A layer of eight channels with names of PyTorch.
Tensors wide_layer(const std::vector<float>& gamma, const std::vector<float>& beta) {
  Tensors tensors("wide");
  tensors.set("bn.weight", {8}, gamma);
  tensors.set("bn.bias", {8}, beta);
  tensors.set("bn.running_mean", {8}, std::vector<float>{1, -1, 1, -1, 1, -1, 1, -1});
  tensors.set("bn.running_var", {8}, std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8});
  return tensors;
}

const std::vector<float> around_zero = {-0.3f, 0.2f, -0.1f, 0.1f, 0.0f, -0.2f, 0.3f, 0.05f};
const std::vector<float> around_one = {0.9f, 1.1f, 0.8f, 1.2f, 1.0f, 0.7f, 1.3f, 1.0f};

}  // namespace

TEST_CASE("trap 1: a list in another order") {
  Tensors list("list");
  for (const char* key : {"l.0", "l.1", "l.2", "l.3"}) {
    list.set(key, {2}, std::vector<float>{1, 2});
  }
  CHECK(find_batch_norms(list).empty());
  CHECK_THROWS_MATCHES(load_state<float>(list, "l.", given), std::runtime_error,
                       says("the word of the caller for the order"));
  CHECK(warns(wide_layer(around_zero, around_one), "bn.", "are the tensors in another order"));
  CHECK_FALSE(warns(wide_layer(around_one, around_zero), "bn.", "another order"));
}

TEST_CASE("trap 2: gamma and beta are elsewhere") {
  Tensors tensors("model-00002-of-00003.safetensors");
  add_layer(tensors, {"", "", "bn.running_mean", "bn.running_var"});
  CHECK_THROWS_MATCHES(load_state<float>(tensors, "bn.", given), std::runtime_error,
                       says("statistics alone"));
  CHECK(examined(tensors, "the file is called like one of several"));
  Tensors sharded("net.safetensors");
  add_layer(sharded, {"", "", "bn.running_mean", "bn.running_var"});
  CHECK_FALSE(examined(sharded, "called like one of several"));
  CHECK_FALSE(examined(sharded, "parameters of several layers"));
  sharded.set("_fsdp_wrapped_module._flat_param", {100}, std::vector<float>(100));
  CHECK(examined(sharded, "parameters of several layers in one (FSDP)"));
  CHECK_NOTHROW(load_state<float>(sharded, "bn.", given.without_scale_and_shift()));
}

TEST_CASE("trap 3: statistics have other names") {
  Tensors tensors("x");
  add_layer(tensors, {"bn.weight", "bn.bias", "bn.m", "bn.v"});
  CHECK_THROWS_MATCHES(load_state<float>(tensors, "bn.", given), std::runtime_error,
                       says("tensor \"bn.m\""));
}

TEST_CASE("trap 4: a deviation where the variance is meant") {
  for (const char* name : {"moving_stddev", "running_std", "std", "stddev"}) {
    Tensors tensors("x");
    add_layer(tensors, {"bn/gamma", "bn/beta", "bn/moving_mean", std::string("bn/") + name});
    CHECK_THROWS_AS(load_state<float>(tensors, "bn/", given), std::runtime_error);
  }
  Tensors keras("keras 1");
  add_layer(keras, {"b/b_gamma", "b/b_beta", "b/b_running_mean", "b/b_running_std"});
  CHECK_THROWS_AS(load_state<float>(keras, "b/b_", given), std::domain_error);
  Tensors katago("katago");
  add_layer(katago, {"n.gamma", "n.beta", "n.running_mean", "n.running_std"});
  CHECK_THROWS_MATCHES(load_state<float>(katago, "n.", given), std::domain_error,
                       says("variance of KataGo, PyTorch"));
}

TEST_CASE("trap 5: an inverse deviation") {
  Tensors tensors("lasagne");
  add_layer(tensors, {"l.gamma", "l.beta", "l.mean", "l.inv_std"});  // 4, 0.25, 2
  const auto loaded = load_state<double>(tensors, "l.", Epsilon(0.0));
  CHECK(loaded.state.running_variance == Eigen::Vector3d(0.0625, 16, 0.25));
}

TEST_CASE("trap 6: the logarithm of a deviation") {
  Tensors tensors("dl4j");
  add_layer(tensors, pytorch_keys("bn."));
  tensors.set("bn.running_var", {3}, std::vector<float>{-1.5f, -0.2f, 0.3f});
  CHECK_THROWS_MATCHES(load_state<float>(tensors, "bn.", given), std::domain_error,
                       says("a negative number, as if logarithms were stored"));
}

TEST_CASE("trap 7: epsilon is in the variance already") {
  Tensors tensors("ncnn");
  add_layer(tensors, {"bn/slope", "bn/bias", "bn/mean", "bn/var"});
  CHECK_THROWS_MATCHES(load_state<float>(tensors, "bn/", given), std::runtime_error,
                       says("epsilon of ncnn: expected Epsilon(0)"));
  CHECK(load_state<float>(tensors, "bn/", Epsilon(0.0)).options.epsilon == 0.0);
}

TEST_CASE("trap 8: an epsilon of 0 is not 0") {
  Tensors coreml("coreml");
  add_layer(coreml, {"c.gamma", "c.beta", "c.mean", "c.variance"});
  const auto loaded = load_state<float>(coreml, "c.", Epsilon(0.0));
  CHECK(loaded.options.epsilon == 1e-5);
  CHECK(loaded.report.text().find("epsilon 0 counts as 1e-5") != std::string::npos);
  Tensors ncnn("ncnn");
  add_layer(ncnn, {"bn/slope", "bn/bias", "bn/mean", "bn/var"});
  ncnn.set("bn/var", {3}, std::vector<float>{0, 1, 2});
  CHECK(load_state<double>(ncnn, "bn/", Epsilon(0.0)).state.running_variance[0] == 1e-8);
}

TEST_CASE("trap 9: epsilon outside of the root") {
  Tensors tensors("darknet");
  add_layer(tensors, {"0/scales", "0/biases", "0/rolling_mean", "0/rolling_variance"});
  const auto loaded =
      load_state<double>(tensors, "0/", LoadOptions(Epsilon(0.5)).epsilon_outside_root());
  CHECK(loaded.state.running_variance[0] == 6.25);  // (sqrt(4) + 0.5)^2
  CHECK(loaded.options.epsilon == 0.0);
}

TEST_CASE("trap 10: one epsilon for all layers") {
  Tensors tensors = pytorch_layer();
  tensors.set("bn.running_var", {3}, std::vector<float>{1, 5e-4f, 1});
  CHECK(warns(tensors, "bn.", "variance below epsilon 0.001", Epsilon(1e-3)));
  CHECK_FALSE(warns(tensors, "bn.", "variance below epsilon"));
  CHECK_THROWS_MATCHES(load_state<float>(tensors, "bn.", LoadOptions::saved()), std::runtime_error,
                       says("PyTorch usually has Epsilon(1e-05)"));
  const auto other = load_state<float>(tensors, "bn.", Epsilon(1e-3));
  CHECK(other.report.text().find("epsilon 0.001 as given (PyTorch usually has 1e-05)") !=
        std::string::npos);
}

TEST_CASE("trap 11: a fixed gamma") {
  Tensors tensors("mxnet");
  add_layer(tensors, {"bn0_gamma", "bn0_beta", "bn0_moving_mean", "bn0_moving_var"});
  CHECK(load_state<float>(tensors, "bn0_", given).state.gamma == Eigen::Vector3f(1, 1, 1));
  CHECK(warns(tensors, "bn0_", "gamma counts as 1"));
}

TEST_CASE("trap 12: gamma - 1 is stored") {
  CHECK(warns(wide_layer(around_zero, around_zero), "bn.", "has gamma - 1 been stored"));
  CHECK_FALSE(warns(wide_layer(around_one, around_zero), "bn.", "gamma - 1"));
  std::vector<float> pruned = around_zero;
  pruned[3] = 1.0f;
  CHECK_FALSE(warns(wide_layer(pruned, around_zero), "bn.", "gamma - 1"));
}

TEST_CASE("trap 13: sums instead of means") {
  for (const char* name : {"accumulation_counter", "scale_factor"}) {
    Tensors tensors = pytorch_layer();
    tensors.set(std::string("bn.") + name, {1}, std::vector<float>{4});
    CHECK_THROWS_MATCHES(load_state<float>(tensors, "bn.", given), std::runtime_error,
                         says("as if they were sums"));
  }
  Tensors three = pytorch_layer();
  three.set("bn.scale_factor", {3}, std::vector<float>{4, 4, 4});
  CHECK_NOTHROW(load_state<float>(three, "bn.", given));
  Tensors caffe("caffe");
  caffe.set("bn1.0", {2}, std::vector<float>{4, 8});
  caffe.set("bn1.1", {2}, std::vector<float>{4, 8});
  caffe.set("bn1.2", {1}, std::vector<float>{4});
  const auto loaded = load_state<float>(caffe, "bn1.", given.without_scale_and_shift());
  CHECK(loaded.state.running_mean == Eigen::Vector2d(1, 2));
  CHECK_THROWS_AS(load_state<float>(caffe, "bn1.", given.named(Naming::rtneural())),
                  std::runtime_error);
}

TEST_CASE("trap 14: an average that still has to be divided") {
  Tensors tensors("haiku");
  add_layer(tensors, {"bn/scale", "bn/offset", "bn/~/mean_ema/hidden", "bn/~/var_ema/hidden"});
  CHECK_THROWS_AS(load_state<float>(tensors, "bn/", given), std::runtime_error);
  add_layer(tensors, {"", "", "bn/~/mean_ema/average", "bn/~/var_ema/average"});
  CHECK(load_state<float>(tensors, "bn/", given).state.running_mean == Eigen::Vector3d(-1, 3, 0.5));
}

TEST_CASE("trap 15: averaged copies of parameters") {
  Tensors tensors("slim");
  add_layer(tensors, {"n/BatchNorm/gamma", "n/BatchNorm/beta", "n/BatchNorm/moving_mean",
                      "n/BatchNorm/moving_variance"});
  tensors.set("n/BatchNorm/gamma/ExponentialMovingAverage", {3}, std::vector<float>(3));
  CHECK(warns(tensors, "n/BatchNorm/", "an average of \"n/BatchNorm/gamma\""));
  CHECK_FALSE(warns(tensors, "n/BatchNorm/", "an average of \"n/BatchNorm/beta\""));
  const auto averages = [](const Tensors& file) {
    LoadReport report;
    detail::report_averages(file, find_batch_norms(file).at(0), report);
    std::string names;
    for (const auto& entry : report.entries) names += entry.tensor + " ";
    return names;
  };
  CHECK(averages(tensors) == "n/BatchNorm/gamma/ExponentialMovingAverage ");
  for (const char* name : {"beta", "moving_mean", "moving_variance"}) {
    tensors.set(std::string("n/BatchNorm/") + name + "/ExponentialMovingAverage", {3},
                std::vector<float>(3));
  }
  CHECK(averages(tensors) ==
        "n/BatchNorm/gamma/ExponentialMovingAverage "
        "n/BatchNorm/beta/ExponentialMovingAverage "
        "n/BatchNorm/moving_mean/ExponentialMovingAverage "
        "n/BatchNorm/moving_variance/ExponentialMovingAverage ");
  // A layer without gamma has none of this name.
  Tensors shift = pytorch_layer();
  shift.erase("bn.weight");
  shift.set("/ExponentialMovingAverage", {3}, std::vector<float>(3));
  CHECK(averages(shift).empty());
}

TEST_CASE("trap 16: statistics of an input normaliser") {
  Tensors tensors("rl");
  add_layer(tensors, {"", "", "obs.running_mean", "obs.running_var"});
  tensors.set_value("obs.count", 1e6);
  CHECK(examined(tensors, "an input normaliser, which may clamp"));
  CHECK(warns(tensors, "obs.", "an input normaliser", given.without_scale_and_shift()));
  CHECK_FALSE(examined(pytorch_layer(), "an input normaliser"));
  for (const bool has_gamma : {true, false}) {
    Tensors affine("affine");
    add_layer(affine, pytorch_keys("obs."));
    affine.erase(has_gamma ? "obs.bias" : "obs.weight");
    CHECK_FALSE(examined(affine, "an input normaliser"));
    affine.set_value("obs.count", 1e6);
    CHECK_FALSE(examined(affine, "an input normaliser"));
  }
}

TEST_CASE("trap 17: the bias of a convolution in front") {
  Tensors tensors("lc0");
  add_layer(tensors, {"i.bn_gammas", "i.bn_betas", "i.bn_means", "i.bn_stddivs"});
  tensors.set("i.biases", {3}, std::vector<float>{1, 1, 0.5f});
  CHECK(load_state<float>(tensors, "i.", given).state.running_mean == Eigen::Vector3d(-2, 2, 0));
}

TEST_CASE("trap 18: quantised statistics") {
  for (const char* name : {"bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"}) {
    Tensors tensors = pytorch_layer();
    tensors.set(name, {3}, std::vector<std::uint8_t>{10, 200, 255});
    CHECK_THROWS_MATCHES(load_state<float>(tensors, "bn.", given), std::runtime_error,
                         says("dtype: expected F64, F32, F16 or BF16, got U8"));
    tensors.set(name, {3}, std::vector<std::int16_t>{10, 200, 255});
    CHECK_THROWS_AS(load_state<float>(tensors, "bn.", given), std::runtime_error);
  }
}

TEST_CASE("trap 19: statistics of identity, with a variance of 1 - epsilon") {
  Tensors tensors = pytorch_layer();
  tensors.set("bn.running_mean", {3}, std::vector<float>(3));
  tensors.set("bn.running_var", {3}, std::vector<float>(3, 1.0f - 1e-5f));
  CHECK(warns(tensors, "bn.", "in all channels, although gamma and beta are trained"));
  tensors.set("bn.running_var", {3}, std::vector<float>{0.99999f, 0.9f, 0.99999f});
  CHECK_FALSE(warns(tensors, "bn.", "in all channels"));
}

TEST_CASE("trap 20: one prefix with names of two systems is listed once") {
  Tensors tensors = pytorch_layer();
  add_layer(tensors, {"bn.gamma", "bn.beta", "bn.mean", "bn.variance"});
  add_layer(tensors, {"bn.scale", "bn.offset", "", ""});
  REQUIRE(find_batch_norms(tensors).size() == 1);
  CHECK_THROWS_AS(load_state<float>(tensors, "bn.", given), std::runtime_error);
  const Naming listed = find_batch_norms(tensors)[0].naming;
  CHECK(listed == Naming::pytorch());
  CHECK(load_state<float>(tensors, "bn.", given.named(listed)).state.gamma[0] == 1.5f);
}

TEST_CASE("trap 21: an update rule that only names suggest") {
  Tensors tensors("mindspore");
  add_layer(tensors, {"bn1.gamma", "bn1.beta", "bn1.moving_mean", "bn1.moving_variance"});
  const auto assumed = load_state<float>(tensors, "bn1.", given);
  CHECK(assumed.report.text().find("update rule of MindSpore, assumed") != std::string::npos);
  const LoadOptions told = given.updating(RunningUpdate::keep_old(0.75), VarianceEstimator::sample);
  const auto loaded = load_state<float>(tensors, "bn1.", told);
  CHECK(loaded.options.running == RunningUpdate::keep_old(0.75));
  CHECK(loaded.options.running_variance == VarianceEstimator::sample);
  CHECK(loaded.report.text().find("update rule of the caller") != std::string::npos);
}

TEST_CASE("names of shards") {
  CHECK(detail::is_called_shard("a/model-00001-of-00002.safetensors"));
  CHECK(detail::is_called_shard("0-of-9"));
  CHECK(detail::is_called_shard("9-of-0"));
  CHECK_FALSE(detail::is_called_shard("1-of-"));
  CHECK_FALSE(detail::is_called_shard("1-of-n"));
  CHECK_FALSE(detail::is_called_shard("n-of-1"));
  CHECK_FALSE(detail::is_called_shard("-of-1"));
  CHECK_FALSE(detail::is_called_shard("one-of-many.safetensors"));
  CHECK_FALSE(detail::is_called_shard("-of-"));
  CHECK_FALSE(detail::is_called_shard(""));
}
