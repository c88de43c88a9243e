// SPDX-License-Identifier: MIT
#include "batchnorm/recalibrate/reestimate.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/layouts.hpp"
#include "support/two_norms.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

constexpr Index examples = 50;

/// The oracle's minibatches: 50 examples in 4 of at most 16.
std::vector<Batch> minibatches(const Eigen::MatrixXd& x) {
  return {columns(x, 0, 13), columns(x, 13, 13), columns(x, 26, 12), columns(x, 38, 12)};
}

/// Runs the network on examples, as a caller would write it.
auto forward_of(TwoNorms& net, const Eigen::MatrixXd& x) {
  return [&net, &x](Index first, Index count, auto& pass) {
    const Eigen::MatrixXd normalised = pass(net.first, x.middleCols(first, count));
    pass.see(net.second, net.hidden(normalised));
  };
}

ReestimationOptions choices(const Estimator& estimator, ReestimationOrder order) {
  ReestimationOptions options;
  options.estimator = estimator;
  options.order = order;
  return options;
}

/// A network that has run a few steps, and a copy that it is compared with.
struct Trained {
  Trained() {
    const Eigen::MatrixXd x = drifting_examples(30);
    for (int step = 0; step < 5; ++step) {
      net.second.train(net.hidden(Eigen::MatrixXd(net.first.train(x).output)));
    }
    before = net;
  }

  bool is_unchanged() const {
    return is_same(net.first.state(), before.first.state()) &&
           is_same(net.second.state(), before.second.state());
  }

  template <class S>
  static bool is_same(const S& a, const S& b) {
    return a.running_mean == b.running_mean && a.running_variance == b.running_variance &&
           a.batches_seen == b.batches_seen && a.samples_seen == b.samples_seen &&
           a.batches_given == b.batches_given && a.staleness == b.staleness;
  }

  TwoNorms net, before;
};

}  // namespace

TEST_CASE("a network gets the statistics of the whole training set, in either order") {
  const Eigen::MatrixXd x = drifting_examples(examples);
  const std::vector<Batch> batches = minibatches(x);
  for (const Estimator& estimator : {Estimator::population(), Estimator::paper()}) {
    const bool pooled = estimator.is_population();
    const ReferenceStatistics first = statistics_of(batches, pooled);
    for (const ReestimationOrder order :
         {ReestimationOrder::one_pass, ReestimationOrder::layer_after_layer}) {
      const bool one_pass = order == ReestimationOrder::one_pass;
      INFO((pooled ? "population" : "paper") << (one_pass ? ", one pass" : ", layer after layer"));
      Trained trained;
      TwoNorms& net = trained.net;
      net.second.state().mark_stale(Staleness::weights_quantized);
      const ReestimationReport report = reestimate<double>(
          {&net.first, &net.second}, {examples, 16}, forward_of(net, x), choices(estimator, order));
      CHECK(report.completed);
      CHECK(differs(net.first.state(), first) == "");
      const auto hidden = reference_hidden(net, batches, one_pass ? nullptr : &first);
      CHECK(differs(net.second.state(), statistics_of(hidden, pooled)) == "");
      CHECK(net.second.state().staleness == Staleness::fresh);
      CHECK(net.second.state().batches_seen == 4);
      CHECK(net.second.state().batches_given == 4);
      CHECK(net.second.state().samples_seen == examples);
      CHECK(net.first.state().gamma == trained.before.first.state().gamma);
      CHECK_NOTHROW(net.second.freeze());
    }
  }
}

TEST_CASE("the report says how far the running averages were, and the orders are apart") {
  const Eigen::MatrixXd x = drifting_examples(examples);
  const std::vector<Batch> batches = minibatches(x);
  Trained trained;
  const ReestimationReport report = reestimate<double>(
      {&trained.net.first, &trained.net.second}, {examples, 16}, forward_of(trained.net, x),
      choices(Estimator::population(), ReestimationOrder::layer_after_layer));
  const ReferenceStatistics first = statistics_of(batches, true);
  const auto now = statistics_of(reference_hidden(trained.net, batches, &first), true);
  const auto one_pass = statistics_of(reference_hidden(trained.net, batches, nullptr), true);
  const auto& before = trained.before.second.state();
  const LayerReestimate& layer = report.layers[1];
  CHECK(report.order == ReestimationOrder::layer_after_layer);
  CHECK(layer.mean == trained.net.second.state().running_mean);
  CHECK(layer.variance == trained.net.second.state().running_variance);
  CHECK(layer.series.minibatches() == 4);
  CHECK(layer.series.examples == examples);
  CHECK(layer.series.pooled.mean == layer.mean);
  const Real epsilon = trained.net.second.options().epsilon;
  for (Size c = 0; c < 2; ++c) {
    const auto i = static_cast<Index>(c);
    const Real unit = std::sqrt(now.variance[c] + epsilon);
    const auto near = [](Real a, Real b) { return std::fabs(a - b) <= 1e-11L; };
    CHECK(near(layer.running.mean[i], (before.running_mean[i] - now.mean[c]) / unit));
    CHECK(near(layer.running.deviation[i],
               std::sqrt(before.running_variance[i] + epsilon) / unit - 1));
    CHECK(near(layer.one_pass.mean[i], (one_pass.mean[c] - now.mean[c]) / unit));
    CHECK(near(layer.one_pass.deviation[i], std::sqrt(one_pass.variance[c] + epsilon) / unit - 1));
    CHECK(std::fabs(layer.one_pass.mean[i]) > 0.01);  // the drift makes the orders differ
  }
  CHECK(report.layers[0].one_pass.mean.norm() == 0.0);  // nothing stands in front of it
}

TEST_CASE("one layer, from its inputs, in every layout and scalar") {
  Random random(4);
  const Batch all = stored_as<float>(normal_batch(random, 23, 4, 6, 50));
  const Stored<float> stored(all, Layout::channels_last);
  const BatchView<const float> view = stored.view();
  const auto samples = [&](Index first, Index count) {
    return channels_last(view.data() + first * view.sample_stride(), count, view.channels(),
                         view.positions());
  };
  BatchNorm<float> layer(4);
  layer.state().running_mean.setConstant(std::numeric_limits<double>::quiet_NaN());  // to be mended
  const auto report = reestimate(layer, {23, 5}, samples);
  const auto pooled = moments_of(view);
  for (Index c = 0; c < 4; ++c) {
    CHECK(std::fabs(layer.state().running_mean[c] - pooled.mean[c]) <= 1e-6 * 4);
    CHECK(std::fabs(layer.state().running_variance[c] / pooled.sample_variance()[c] - 1) <= 1e-6);
  }
  CHECK(layer.state().samples_seen == 23 * 6);
  CHECK(layer.state().batches_seen == 5);
  CHECK(report.layers[0].series.examples == 23);
  CHECK(std::isnan(report.layers[0].running.mean[0]));

  Options flax = Options::flax();
  BatchNorm<Eigen::half> narrow(1, flax);
  const Eigen::Matrix<Eigen::half, 1, 4> x =
      Eigen::RowVector4f(1, 3, 8, 4).cast<Eigen::half>();  // mean 4, squares 26
  reestimate(narrow, {4, 2}, [&](Index first, Index count) { return x.middleCols(first, count); });
  CHECK(narrow.state().running_mean[0] == 4.0);
  CHECK(narrow.state().running_variance[0] == 6.5);  // the population variance, as Flax keeps it
}

TEST_CASE("a callback hears of every minibatch, and can stop before anything is changed") {
  const Eigen::MatrixXd x = drifting_examples(examples);
  Trained trained;
  TwoNorms& net = trained.net;
  std::vector<Index> done;
  const auto choice = choices(Estimator::population(), ReestimationOrder::layer_after_layer);
  const auto stopped =
      reestimate<double>({&net.first, &net.second}, {examples, 16}, forward_of(net, x), choice,
                         [&](const ReestimationProgress& progress) {
                           CHECK(progress.examples_in_all == 100);
                           CHECK(trained.is_unchanged());
                           done.push_back(progress.examples_done);
                           return done.size() == 6 ? Proceed::no : Proceed::yes;
                         });
  CHECK(done == std::vector<Index>{13, 26, 38, 50, 63, 76});
  CHECK_FALSE(stopped.completed);
  CHECK(stopped.layers.empty());
  CHECK(trained.is_unchanged());

  Index last = 0;
  const auto report = reestimate<double>(
      {&net.first, &net.second}, {examples, 50}, forward_of(net, x), {},
      [&](const ReestimationProgress& progress) { last = progress.examples_done; });
  CHECK(last == 50);
  CHECK(report.completed);
}

TEST_CASE("inputs that cannot be those of the examples asked for are refused") {
  Eigen::MatrixXf x(2, 10);
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = static_cast<float>((i * 7) % 11);
  BatchNorm<float> layer(2);
  const auto refused = [&](Index columns, const char* got) {
    const auto inputs = [&](Index, Index) { return x.leftCols(columns); };
    CHECK_THROWS_MATCHES(
        reestimate(layer, {10, 5}, inputs), std::invalid_argument,
        says(std::string("reestimate: samples of the inputs of some examples: expected 5, one of "
                         "each, or a multiple, got ") +
             got));
    CHECK(layer.state().batches_seen == 0);
  };
  refused(3, "3");
  refused(7, "7");
  refused(0, "0");
  // Two positions of every example, flattened into columns.
  CHECK_NOTHROW(reestimate(layer, {5, 5}, [&](Index, Index) { return x; }));
  CHECK(layer.state().samples_seen == 10);
}

TEST_CASE("whatever goes wrong, no layer is changed") {
  Eigen::MatrixXd x = drifting_examples(examples);
  Trained trained;
  TwoNorms& net = trained.net;
  const std::vector<LayerHandle<double>> both{&net.first, &net.second};
  const auto refuses = [&](const auto& forward, const char* text) {
    for (const ReestimationOrder order :
         {ReestimationOrder::one_pass, ReestimationOrder::layer_after_layer}) {
      CHECK_THROWS_MATCHES(reestimate<double>(both, {examples, 16}, forward,
                                              choices(Estimator::population(), order)),
                           std::exception, says(text));
      CHECK(trained.is_unchanged());
    }
  };
  refuses(
      [&](Index first, Index count, auto& pass) {
        if (first > 20) throw std::runtime_error("the disk is gone");
        forward_of(net, x)(first, count, pass);
      },
      "the disk is gone");
  refuses([&](Index first, Index count,
              auto& pass) { static_cast<void>(pass(net.first, x.middleCols(first, count))); },
          "Reestimation::settle: layer 1 of the list: expected used by the network, got no input");
  refuses(
      [&](Index first, Index count, auto& pass) {
        const BatchNorm<double> copy = net.first;
        pass.see(copy, x.middleCols(first, count));
      },
      "a pass is called with the layers themselves: expected one of the 2 given");
  const auto wrong_input = [&](Index first, Index count, auto& pass) {
    pass.see(net.second, x.middleCols(first, count));
  };
  CHECK_THROWS_MATCHES(reestimate<double>(both, {examples, 16}, wrong_input), std::invalid_argument,
                       says("ReestimationPass::see: number of channels must be the layer's: "
                            "expected 2, got 3"));
  CHECK(trained.is_unchanged());
  x(0, 45) = std::numeric_limits<double>::infinity();
  refuses(forward_of(net, x), "the statistics of a minibatch must be finite");
}

TEST_CASE("a layer that is used twice gets the statistics of both inputs") {
  const Eigen::MatrixXd x = drifting_examples(40);
  const Eigen::MatrixXd other = (x.array() * 3 + 10).matrix();
  std::vector<Batch> uses;
  for (Index first = 0; first < 40; first += 10) {
    uses.push_back(columns(x, first, 10));
    uses.push_back(columns(other, first, 10));
  }
  for (const Estimator& estimator : {Estimator::population(), Estimator::paper()}) {
    for (const ReestimationOrder order :
         {ReestimationOrder::one_pass, ReestimationOrder::layer_after_layer}) {
      TwoNorms net;
      const auto report = reestimate<double>(
          {&net.first}, {40, 10},
          [&](Index first, Index count, auto& pass) {
            static_cast<void>(pass(net.first, x.middleCols(first, count)));
            pass.see(net.first, other.middleCols(first, count));
          },
          choices(estimator, order));
      CHECK(differs(net.first.state(), statistics_of(uses, estimator.is_population())) == "");
      CHECK(net.first.state().samples_seen == 80);
      CHECK(net.first.state().batches_seen == 8);
      CHECK(report.layers[0].series.examples == 80);
    }
  }
}

TEST_CASE("training goes on from statistics that were taken anew") {
  const Eigen::MatrixXd x = drifting_examples(60);
  Options options;
  options.running = RunningUpdate::population();
  BatchNorm<double> layer(3, options);
  reestimate(layer, {40, 16}, [&](Index first, Index count) { return x.middleCols(first, count); });
  layer.train(Eigen::MatrixXd(x.rightCols(20)));
  CHECK(differs(layer.state(), statistics_of({columns(x, 0, 60)}, true)) == "");
  CHECK(layer.state().batches_seen == 4);
  CHECK(layer.state().batches_given == 3);
}
