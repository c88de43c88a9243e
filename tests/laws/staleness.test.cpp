// SPDX-License-Identifier: MIT
// Statistics that are marked as stale: which calls refuse them, what takes the mark along, and what
// takes it away.
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "batchnorm/batchnorm.hpp"
#include "batchnorm/io/checkpoint.hpp"
#include "support/catch.hpp"

using namespace batchnorm;
using batchnorm_test::contains_text;
using batchnorm_test::says;

namespace {

const Eigen::MatrixXf data{{1, 3, 8, 4}, {10, 30, 20, 0}};

BatchNorm<float> trained() {
  BatchNorm<float> layer(2);
  layer.train(data);
  return layer;
}

BatchNorm<float> stale() {
  BatchNorm<float> layer = trained();
  layer.state().mark_stale(Staleness::weights_averaged);
  return layer;
}

const char* const reason = "got statistics from before the weights were averaged";

}  // namespace

TEST_CASE("a stale layer is frozen only where that is meant") {
  const BatchNorm<float> layer = stale();
  CHECK_THROWS_MATCHES(layer.freeze(), std::domain_error, says(reason));
  CHECK_THROWS_MATCHES(layer.freeze(), std::domain_error,
                       says("where the old ones are meant, freeze(StaleStatistics::accept)"));
  CHECK_THROWS_MATCHES(layer.freeze(StaleStatistics::refuse), std::domain_error, says("freeze: "));
  CHECK_THROWS_MATCHES(FrozenBatchNorm<float>(layer.state(), layer.options()), std::domain_error,
                       says("FrozenBatchNorm(state, options, StaleStatistics::accept)"));
  const Eigen::MatrixXf expected = trained().freeze()(data);
  CHECK(layer.freeze(StaleStatistics::accept)(data) == expected);
  CHECK(FrozenBatchNorm<float>(layer.state(), layer.options(), StaleStatistics::accept)(data) ==
        expected);
  CHECK(layer.infer(data) == expected);  // says nothing: it stands between training steps
}

TEST_CASE("accepting stale statistics accepts nothing else") {
  BatchNorm<float> untrained(2);
  untrained.state().mark_stale(Staleness::weights_changed);
  CHECK_THROWS_MATCHES(untrained.freeze(StaleStatistics::accept), std::domain_error,
                       says("the running statistics must come from data"));
}

TEST_CASE("a stale layer is folded only once it has been frozen") {
  const BatchNorm<float> layer = stale();
  Eigen::MatrixXf weight = Eigen::MatrixXf::Ones(2, 3), other = weight;
  Eigen::VectorXf bias, other_bias;
  CHECK_THROWS_MATCHES(fold_after(linear(weight), bias, layer), std::domain_error,
                       says("freeze(StaleStatistics::accept), and fold that"));
  CHECK_THROWS_MATCHES(InferenceMap(layer.state(), layer.options()), std::domain_error,
                       says(reason));
  CHECK(weight == Eigen::MatrixXf::Ones(2, 3));
  fold_after(linear(weight), bias, layer.freeze(StaleStatistics::accept));
  fold_after(linear(other), other_bias, trained().freeze());
  CHECK(weight == other);
}

TEST_CASE("layers that are copied, moved and made from a stale state are stale") {
  BatchNorm<float> layer = stale();
  const BatchNorm<float> copy = layer;
  CHECK_THROWS_AS(copy.freeze(), std::domain_error);
  const std::vector<BatchNorm<float>> many(2, layer);
  CHECK_THROWS_AS(many[1].freeze(), std::domain_error);
  const BatchNorm<double, 2> wide(layer.state().cast<double, 2>(), layer.options());
  CHECK_THROWS_AS(wide.freeze(), std::domain_error);
  const BatchNorm<float> moved = std::move(layer);
  CHECK_THROWS_AS(moved.freeze(), std::domain_error);
}

TEST_CASE("training does not make statistics fresh, taking them anew does") {
  BatchNorm<float> layer = stale();
  for (int step = 0; step < 100; ++step) layer.train(data);
  CHECK_THROWS_AS(layer.freeze(), std::domain_error);
  layer.state().mark_stale(Staleness::fresh);
  CHECK_NOTHROW(layer.freeze());

  layer = stale();
  layer.state().forget_statistics();
  CHECK_THROWS_AS(layer.freeze(), std::domain_error);  // of another reason: nothing seen
  layer.train(data);
  CHECK_NOTHROW(layer.freeze());

  layer = stale();
  layer.state().set_statistics(Eigen::Vector2f(4, 15), Eigen::Vector2f(9, 100));
  CHECK_NOTHROW(layer.freeze());
}

TEST_CASE("a stale layer is saved as one, and loaded as one") {
  for (const Staleness staleness :
       {Staleness::weights_averaged, Staleness::weights_quantized, Staleness::weights_pruned,
        Staleness::weights_changed, Staleness::fresh}) {
    BatchNorm<float> layer = trained();
    layer.state().mark_stale(staleness);
    layer.state().batches_given = 1;
    Tensors file;
    save_state(file, "1.", layer.state(), layer.options());
    CHECK(load_state<float>(file, "1.").staleness == staleness);
    CHECK(load_state<float>(file, "1.").batches_given == 1);
    save_state(file, "keras/", layer.state(), layer.options(), Naming::keras());
    const LoadedState<float> loaded = load_state<float>(file, "keras/", LoadOptions::saved());
    CHECK(loaded.state.staleness == staleness);
    if (staleness == Staleness::fresh) continue;
    CHECK_THROWS_AS(loaded.freeze(), std::domain_error);
    CHECK_NOTHROW(loaded.freeze(StaleStatistics::accept));
    CHECK_THROWS_AS(loaded.layer().freeze(), std::domain_error);
    CHECK(loaded.report.has(Finding::suspicious));
    CHECK_THAT(loaded.report.text(),
               contains_text("running statistics from before the weights were"));
  }
}

TEST_CASE("files that say nothing are fresh, and those that say nonsense are refused") {
  BatchNorm<float> layer = trained();
  Tensors file;
  save_state(file, "1.", layer.state(), layer.options());
  std::string& text = file.metadata()["batchnorm:1."];
  CHECK(text.find("stale") == std::string::npos);
  CHECK(text.find("given") == std::string::npos);
  CHECK(load_state<float>(file, "1.").batches_given == 0);
  const std::string before = text;
  text = before;
  text.insert(1, "\"staleness\":\"weights_eaten\",");
  CHECK_THROWS_MATCHES(load_state<float>(file, "1."), std::runtime_error,
                       says("staleness: expected one of the names that this version knows"));
  text = before;
  text.insert(1, "\"batches_given\":-3,");
  CHECK_THROWS_MATCHES(load_state<float>(file, "1."), std::runtime_error,
                       says("batches_given: expected a whole number from 0"));
  layer.state().set_statistics(Eigen::Vector2f(4, 15), Eigen::Vector2f(9, 100));
  save_state(file, "1.", layer.state(), layer.options());
  CHECK(load_state<float>(file, "1.").batches_given == State<float>::unknown);
}
