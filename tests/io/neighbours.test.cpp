// SPDX-License-Identifier: MIT
#include "batchnorm/io/neighbours.hpp"

#include <stdexcept>
#include <string>
#include <vector>

#include "batchnorm/io/examine.hpp"
#include "batchnorm/io/load_state.hpp"
#include "support/catch.hpp"
#include "support/layer_files.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

using Texts = std::vector<std::string>;

FoundBatchNorm layer_of(const Tensors& tensors, const LayerPrefix& prefix = "bn.") {
  const auto layer = detail::locate(tensors, prefix, std::nullopt);
  REQUIRE(layer);
  return *layer;
}

LoadReport reported(const Tensors& tensors, const std::string& missing,
                    const LayerPrefix& prefix = "bn.") {
  LoadReport report;
  detail::report_neighbours(tensors, layer_of(tensors, prefix), missing, false, report);
  return report;
}

/// The names that are called errors.
Texts refused(const Tensors& tensors, const LayerPrefix& prefix = "bn.") {
  Texts names;
  for (const LoadReport::Entry& entry : reported(tensors, "beta", prefix).entries) {
    if (entry.is_error) names.push_back(entry.tensor);
  }
  return names;
}

/// A layer without beta, and one more vector.
Tensors with_vector(const std::string& name, const std::vector<Index>& shape = {3}) {
  Tensors tensors = pytorch_layer();
  tensors.erase("bn.bias");
  const auto count = static_cast<std::size_t>(*detail::count_elements(shape));
  tensors.set(name, shape, std::vector<float>(count, 1.0f));
  return tensors;
}

}  // namespace

TEST_CASE("whatever begins with the prefix could be what is missing") {
  for (const std::string name : {"bn.beta", "bn.bias_", "bn.beta:0", "bn.affine.bias", "bn.a/b.c",
                                 "bn._buffers_bias", "bn.", "bn./x"}) {
    INFO(name);
    CHECK(refused(with_vector(name)) == Texts{name});
  }
  for (const std::string name : {"bn2.beta", "bn", "conv.bias", "b"}) {
    INFO(name);
    CHECK(refused(with_vector(name)).empty());
  }
}

TEST_CASE("a prefix may end without a separator") {
  Tensors tensors("mx");
  add_layer(tensors, {"bn_g", "bn_b", "bn_running_mean", "bn_running_var"});
  CHECK(refused(tensors, "bn_") == Texts{"bn_b", "bn_g"});
}

TEST_CASE("one number per channel counts, in any shape and of any type") {
  for (const std::vector<Index>& shape :
       std::vector<std::vector<Index>>{{3}, {1, 3}, {1, 3, 1, 1}, {1, 1, 1, 3}}) {
    CHECK(refused(with_vector("bn.beta", shape)).size() == 1);
  }
  for (const std::vector<Index>& shape :
       std::vector<std::vector<Index>>{{}, {2}, {4}, {3, 3}, {0}}) {
    CHECK(refused(with_vector("bn.beta", shape)).empty());
  }
  Tensors quantised = with_vector("bn.beta");
  quantised.set("bn.beta", {3}, std::vector<std::int8_t>{1, 2, 3});
  CHECK(refused(quantised) == Texts{"bn.beta"});
  quantised.set("bn.beta", {3}, std::vector<bool>{true, false, true});
  CHECK(refused(quantised).empty());
}

TEST_CASE("its own tensors and those of an optimizer are not what is missing") {
  CHECK(refused(with_vector("conv.bias")).empty());
  CHECK(refused(with_vector("bn.weight/Momentum")).empty());
  CHECK(refused(with_vector("bn.optimizer.bias")).empty());
  Tensors single("one");
  single.set("bn.weight", {1}, std::vector<float>{1});
  single.set("bn.running_mean", {1}, std::vector<float>{1});
  single.set("bn.running_var", {1}, std::vector<float>{1});
  single.set("bn.num_batches_tracked", {1}, std::vector<float>{4});
  CHECK(refused(single).empty());
}

TEST_CASE("when nothing is missing, what stands right beside a layer is listed") {
  Tensors tensors = pytorch_layer();
  tensors.set("bn.anchor", {3}, std::vector<float>(3));
  tensors.set("bn.sub.weight", {3}, std::vector<float>(3));
  const LoadReport report = reported(tensors, "");
  REQUIRE(report.entries.size() == 1);
  CHECK(LoadReport::line_of(report.entries[0]) == "tensor \"bn.anchor\": not read, F32 [3]");
  CHECK_FALSE(report.entries[0].is_error);
}

TEST_CASE("both places of a layer are looked at") {
  Tensors tensors("fl");
  add_layer(tensors, {"params/bn/scale", "", "batch_stats/bn/mean", "batch_stats/bn/var"});
  tensors.set("params/bn/offset", {3}, std::vector<float>(3));
  tensors.set("batch_stats/bn/average/mean", {3}, std::vector<float>(3));
  CHECK(refused(tensors, "bn/") == Texts{"params/bn/offset", "batch_stats/bn/average/mean"});
}

TEST_CASE("a report names what is missing, and not hundreds of tensors") {
  Tensors tensors = with_vector("bn.a");
  LoadReport report = reported(tensors, "beta");
  CHECK(LoadReport::line_of(report.entries.at(0)) ==
        "tensor \"bn.a\": names of PyTorch: expected beta under them, or no other tensor of one "
        "number per channel, got this one");
  for (int i = 0; i < 100; ++i) {
    tensors.set("bn.x" + std::to_string(i), {3}, std::vector<float>(3));
  }
  report = reported(tensors, "beta");
  REQUIRE(report.entries.size() == 9);
  CHECK(LoadReport::line_of(report.entries[8]) ==
        "names of PyTorch: expected no other tensor of one number per channel, got 93 more of "
        "them");
}

TEST_CASE("vectors under the names of two systems are not chosen from") {
  for (const std::string name : {"bn.gamma", "bn.beta", "bn.scale", "bn.moving_variance",
                                 "bn.running_std", "bn.mean", "bn.inv_std"}) {
    INFO(name);
    Tensors tensors = pytorch_layer();
    tensors.set(name, {3}, std::vector<float>(3));
    const LoadReport report = reported(tensors, "");
    REQUIRE(report.entries.size() == 1);
    CHECK(LoadReport::line_of(report.entries[0]) ==
          "tensor \"" + name +
              "\": vectors of a layer: expected those of one system, or the word of the caller: "
              "LoadOptions::named, here PyTorch, got this one, too");
    LoadReport named;
    detail::report_neighbours(tensors, layer_of(tensors), "", true, named);
    CHECK(named.errors() == 0);
    CHECK(named.entries.size() == 1);
    const auto found = find_batch_norms(tensors);
    REQUIRE(found.size() == 1);
    CHECK(examine_batch_norm(tensors, found[0]).errors() == 1);
    CHECK_THROWS_AS(load_state<float>(tensors, "bn.", Epsilon(1e-5)), std::runtime_error);
    const auto loaded =
        load_state<float>(tensors, "bn.", LoadOptions(Epsilon(1e-5)).named(Naming::pytorch()));
    CHECK(loaded.state.gamma[1] == -2.0f);
    CHECK(loaded.state.running_variance[0] == 4.0);
  }
}

TEST_CASE("numbers, other sizes and what lies deeper are no vectors of another system") {
  Tensors tensors = pytorch_layer();
  tensors.set("bn.scale", {}, std::vector<float>(1));
  tensors.set("bn.gamma", {4}, std::vector<float>(4));
  tensors.set("bn.deeper.gamma", {3}, std::vector<float>(3));
  CHECK(reported(tensors, "").errors() == 0);
  Tensors single("one");
  for (const char* name : {"bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"}) {
    single.set(name, {1}, std::vector<float>(1));
  }
  single.set("bn.scale", {}, std::vector<float>(1));
  CHECK(reported(single, "").errors() == 0);
}

TEST_CASE("missing statistics may lie beside the prefix") {
  Tensors tensors("beside");
  add_layer(tensors, {"a.bn1.weight", "a.bn1.bias", "a.bn1_mean", "a.bn1_var"});
  add_layer(tensors, {"a.bn1_2.weight", "a.bn1_2.bias", "a.bn11_mean", "a.bn1x"});
  CHECK(refused(tensors, "a.bn1.") == Texts{"a.bn1_mean", "a.bn1_var"});
  CHECK_THROWS_AS(load_state<float>(tensors, "a.bn1.", Epsilon(1e-5)), std::runtime_error);
  Tensors complete = pytorch_layer("bn1.");
  complete.erase("bn1.bias");
  complete.set("bn1_bias", {3}, std::vector<float>(3));
  CHECK(refused(complete, "bn1.").empty());
}
