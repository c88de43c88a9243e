// SPDX-License-Identifier: MIT
#include "batchnorm/io/safetensors_moments.hpp"

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "batchnorm/io/batch_norms.hpp"
#include "batchnorm/io/safetensors.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using namespace batchnorm;
using batchnorm_test::says;

namespace {

Moments<double> some_moments() {
  Moments<double> moments = moments_of(Eigen::MatrixXd{{0.1, 0.7, 9}, {-3, 1e6, 5}});
  moments.set_weight(2.5, 2.25);  // 1, 1 and 0.5
  return moments;
}

}  // namespace

TEST_CASE("moments come back from a file to the last bit") {
  const batchnorm_test::TemporaryFolder folder;
  const std::string path = folder.file("moments.safetensors");
  const Moments<double> moments = some_moments();
  Tensors tensors;
  save_moments(tensors, "1.", moments);
  save_moments(tensors, "2.", Moments<double, 3>());
  write_safetensors(path, tensors);
  const Tensors read = read_safetensors(path);
  const Moments<double> loaded = load_moments(read, "1.");
  CHECK(loaded.count == 3);
  CHECK(loaded.weight() == 2.5);
  CHECK(loaded.squared_weight() == 2.25);
  CHECK(loaded.mean == moments.mean);
  CHECK(loaded.sum_of_squares == moments.sum_of_squares);
  CHECK(load_moments<double, 3>(read, "2.").count == 0);
  CHECK(read.dtype("1.moments.count") == "I64");
  CHECK(read.dtype("1.moments.mean") == "F64");
  CHECK(read.shape("1.moments.weight").empty());
}

TEST_CASE("the kind of weights comes back, and others than are known are refused") {
  for (const Weights kind : {Weights::frequency, Weights::reliability, Weights::importance}) {
    Moments<double> moments = some_moments();
    moments.set_weight(2.5, 2.25, kind);
    Tensors tensors;
    save_moments(tensors, "", moments);
    CHECK(load_moments(tensors, "").weights() == kind);
    // Files from before there were kinds have none, and are of the first.
    CHECK(tensors.contains("moments.weights") == (kind != Weights::frequency));
    tensors.set_value("moments.weights", std::int64_t{3});
    CHECK_THROWS_AS(load_moments(tensors, ""), std::invalid_argument);
  }
}

TEST_CASE("moments are no batch norm layer, and do not disturb one beside them") {
  Tensors tensors;
  save_state(tensors, "1.", State<float>(2), Options::pytorch());
  save_moments(tensors, "1.", some_moments());
  const std::vector<FoundBatchNorm> found = find_batch_norms(tensors);
  REQUIRE(found.size() == 1);
  CHECK(found[0].prefix.parameters == "1.");
  CHECK(load_state<float>(tensors, "1.").channels() == 2);
}

TEST_CASE("a file without moments, and with such as no data leave behind, are refused") {
  Tensors tensors;
  CHECK_THROWS_AS(load_moments(tensors, ""), std::runtime_error);
  save_moments(tensors, "", some_moments());
  CHECK_THROWS_MATCHES((load_moments<double, 3>(tensors, "")), std::runtime_error,
                       says("\"moments.mean\""));
  const auto with = [&](const char* name, const auto& value) {
    Tensors changed = tensors;
    changed.set(name, value);
    return changed;
  };
  CHECK_THROWS_AS(load_moments(with("moments.mean", Eigen::MatrixXd(2, 1)), ""),
                  std::runtime_error);
  CHECK_THROWS_MATCHES(load_moments(with("moments.sum_of_squares", Eigen::VectorXd{{1, 2, 3}}), ""),
                       std::runtime_error, says("\"moments.sum_of_squares\""));
  CHECK_THROWS_MATCHES(load_moments(with("moments.sum_of_squares", Eigen::Vector2d(1, -1)), ""),
                       std::domain_error,
                       says("load_moments: mean and sum of squares of channel 1"));
  Tensors heavy = tensors;
  heavy.set_value("moments.weight", 9.0);
  CHECK_THROWS_MATCHES(load_moments(heavy, ""), std::invalid_argument,
                       says("load_moments: sums of weights and of their squares"));
  Tensors negative = tensors;
  negative.set_value("moments.count", std::int64_t{-1});
  CHECK_THROWS_AS(load_moments(negative, ""), std::invalid_argument);

  Moments<double> broken = some_moments();
  broken.mean[0] = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_MATCHES(save_moments(tensors, "9.", broken), std::domain_error,
                       says("save_moments: mean and sum of squares of channel 0"));
  CHECK_FALSE(tensors.contains("9.moments.count"));
}
