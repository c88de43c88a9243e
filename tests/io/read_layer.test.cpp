// SPDX-License-Identifier: MIT
#include "batchnorm/io/read_layer.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <vector>

#include "support/catch.hpp"
#include "support/layer_files.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

State<float> state_of(const Tensors& tensors, const LayerPrefix& prefix = "bn.") {
  const auto layer = detail::locate(tensors, prefix, std::nullopt);
  REQUIRE(layer);
  return detail::read_layer<float, Eigen::Dynamic>(tensors, *layer, detail::LayerNumbers());
}

constexpr Index unknown = State<float>::unknown;

}  // namespace

TEST_CASE("a layer is read role by role") {
  const State<float> state = state_of(pytorch_layer());
  CHECK(state.gamma == Eigen::Vector3f(1.5f, -2.0f, 0.5f));
  CHECK(state.beta == Eigen::Vector3f(0.25f, 0.0f, -1.0f));
  CHECK(state.running_mean == Eigen::Vector3d(-1.0, 3.0, 0.5));
  CHECK(state.running_variance == Eigen::Vector3d(4.0, 0.25, 2.0));
}

TEST_CASE("what is not in the file is that of a new layer, statistics are NaN") {
  Tensors tensors("net");
  add_layer(tensors, {"bn.weight", "", "", ""});
  State<float> state = state_of(tensors);
  CHECK(state.beta == Eigen::Vector3f(0, 0, 0));
  CHECK(std::isnan(state.running_mean[0]));
  CHECK(std::isnan(state.running_variance[2]));
  tensors = pytorch_layer();
  tensors.erase("bn.weight");
  CHECK(state_of(tensors).gamma == Eigen::Vector3f(1, 1, 1));
}

TEST_CASE("counters come from the tensor, from the metadata, or are unknown") {
  Tensors tensors = pytorch_layer();
  CHECK(state_of(tensors).batches_seen == 460);
  CHECK(state_of(tensors).samples_seen == unknown);
  tensors.set("bn.num_batches_tracked", {1}, std::vector<double>{5.0});
  CHECK(state_of(tensors).batches_seen == 5);
  tensors.set_value("bn.num_batches_tracked", std::int64_t{0});
  CHECK(state_of(tensors).batches_seen == 0);
  CHECK(state_of(tensors).samples_seen == 0);
  tensors.metadata()["batchnorm:bn."] = "{}";
  CHECK(state_of(tensors).batches_seen == 0);
  CHECK(state_of(tensors).samples_seen == unknown);
  tensors.metadata()["batchnorm:bn."] = "{\"samples_seen\":7,\"batches_seen\":3}";
  CHECK(state_of(tensors).batches_seen == 0);
  CHECK(state_of(tensors).samples_seen == 7);
  tensors.erase("bn.num_batches_tracked");
  CHECK(state_of(tensors).batches_seen == 3);
  tensors.metadata()["batchnorm:bn."] = "{\"samples_seen\":0,\"batches_seen\":0}";
  CHECK(state_of(tensors).batches_seen == 0);
  CHECK(state_of(tensors).samples_seen == 0);
  tensors.metadata()["batchnorm:bn."] = "{\"samples_seen\":-1}";
  CHECK_THROWS_MATCHES(state_of(tensors), std::runtime_error, says("samples_seen"));
  tensors.metadata().clear();
  CHECK(state_of(tensors).batches_seen == unknown);
  CHECK(state_of(tensors).samples_seen == unknown);
}

TEST_CASE("numbers that were converted are taken instead of those of the file") {
  const Tensors tensors = pytorch_layer();
  const auto layer = detail::locate(tensors, "bn.", std::nullopt);
  REQUIRE(layer);
  detail::LayerNumbers numbers;
  numbers.of(Role::variance) = {1.0, 2.0, 3.0};
  numbers.of(Role::gamma) = {7.0, 8.0, 9.0};
  numbers.is_converted[static_cast<std::size_t>(Role::variance)] = true;
  const auto state = detail::read_layer<float, Eigen::Dynamic>(tensors, *layer, numbers);
  CHECK(state.running_variance == Eigen::Vector3d(1, 2, 3));
  CHECK(state.gamma == Eigen::Vector3f(1.5f, -2.0f, 0.5f));
  numbers.of(Role::beta) = {1e39, 0.0, 0.0};
  numbers.is_converted[static_cast<std::size_t>(Role::beta)] = true;
  CHECK_THROWS_MATCHES((detail::read_layer<float, Eigen::Dynamic>(tensors, *layer, numbers)),
                       std::domain_error, says("\"bn.bias\", channel 0"));
}

TEST_CASE("a layer without an epsilon names file, layer and what its system usually has") {
  CHECK_THROWS_MATCHES(
      detail::fail_no_epsilon(Tensors("net"), "bn.", Naming::keras()), std::runtime_error,
      says("net") && says("layer \"bn.\": epsilon is needed") && says("Epsilon(0.001)"));
}

TEST_CASE("a layer is examined before it is read") {
  Tensors tensors = pytorch_layer();
  const auto load = [&] {
    return detail::load_exactly<float, Eigen::Dynamic>(tensors, "bn.", Options());
  };
  CHECK(load().channels() == 3);
  tensors.set("bn.anything", {3}, std::vector<float>(3));
  CHECK(load().channels() == 3);
  tensors.erase("bn.running_var");
  CHECK_THROWS_MATCHES(load(), std::runtime_error,
                       says("tensor \"bn.running_var\": tensors of a batch norm layer: expected "
                            "this one, got none"));
  tensors.erase("bn.running_mean");
  CHECK_THROWS_MATCHES(load(), std::runtime_error, says("tensor \"bn.running_mean\""));
}

TEST_CASE("a type with a fixed number of channels takes layers of that number") {
  const Tensors tensors = pytorch_layer();
  CHECK(detail::load_exactly<float, 3>(tensors, "bn.", Options()).channels() == 3);
  CHECK_THROWS_MATCHES(
      (detail::load_exactly<float, 2>(tensors, "bn.", Options())), std::runtime_error,
      says("\"bn.running_mean\": number of channels is fixed by the type: expected "
           "2, got 3"));
  const FoundBatchNorm layer{"bn.", Naming::pytorch(), {}, 3, "F32"};
  LoadReport report;
  detail::check_fixed_channels<3>(layer, report);
  detail::check_fixed_channels<Eigen::Dynamic>(layer, report);
  CHECK(report.entries.empty());
  detail::check_fixed_channels<4>(layer, report);
  REQUIRE(report.entries.size() == 1);
  CHECK(report.entries[0].is_error);
  CHECK(report.entries[0].tensor.empty());
}
