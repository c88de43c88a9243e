// SPDX-License-Identifier: MIT
#include "batchnorm/recalibrate/reestimation.hpp"

#include <limits>
#include <stdexcept>
#include <vector>

#include "batchnorm/math/masked.hpp"
#include "batchnorm/math/moments_bytes.hpp"
#include "support/catch.hpp"
#include "support/two_norms.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

using Run = Reestimation<double>;

ReestimationOptions in_order(ReestimationOrder order) {
  ReestimationOptions options;
  options.order = order;
  return options;
}

/// A machine with a copy of the network and some of the examples.
struct Machine {
  Machine(const Eigen::MatrixXd& x, Index begin, Index count, const ReestimationOptions& options)
      : examples(x.middleCols(begin, count)), run({&net.first, &net.second}, options) {}
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  void collect() {
    if (examples.cols() == 0) return;  // an empty shard
    run.collect({examples.cols(), 8}, [&](Index first, Index count, auto& pass) {
      Eigen::MatrixXd y(3, count);
      pass(net.first, examples.middleCols(first, count), y);
      pass.see(net.second, net.hidden(y));
    });
  }

  TwoNorms net;
  Eigen::MatrixXd examples;
  Run run;
};

/// Through bytes, as between machines.
std::vector<Run::Series> sent(const std::vector<Run::Series>& all) {
  std::vector<Run::Series> received;
  for (const Run::Series& series : all) {
    Run::Series copy;
    copy.pooled = moments_from_bytes(to_bytes(series.pooled));
    copy.means = moments_from_bytes(to_bytes(series.means));
    copy.variances = moments_from_bytes(to_bytes(series.variances));
    copy.examples = series.examples;
    received.push_back(copy);
  }
  return received;
}

/// All machines collect, tell each other, and settle, until they are done.
void exchange_and_settle(const std::vector<Machine*>& machines) {
  while (!machines[0]->run.is_settled()) {
    for (Machine* machine : machines) machine->collect();
    std::vector<Run::Series> all = sent(machines[0]->run.series());
    for (Size other = 1; other < machines.size(); ++other) {
      const std::vector<Run::Series> message = sent(machines[other]->run.series());
      for (Size i = 0; i < all.size(); ++i) all[i].merge(message[i]);
    }
    for (Machine* machine : machines) {
      machine->run.share(all);
      machine->run.settle();
    }
  }
}

template <int Channels>
bool same_bits(const State<double, Channels>& a, const State<double, Channels>& b) {
  return a.running_mean == b.running_mean && a.running_variance == b.running_variance &&
         a.samples_seen == b.samples_seen && a.batches_seen == b.batches_seen;
}

template <int Channels>
ReferenceStatistics reference_of(const State<double, Channels>& state) {
  ReferenceStatistics statistics;
  for (Index c = 0; c < state.channels(); ++c) {
    statistics.mean.push_back(state.running_mean[c]);
    statistics.variance.push_back(state.running_variance[c]);
  }
  return statistics;
}

}  // namespace

TEST_CASE("shards lead to the statistics of one machine, with the same bits on all of them") {
  const Eigen::MatrixXd x = drifting_examples(72);
  for (const ReestimationOrder order :
       {ReestimationOrder::one_pass, ReestimationOrder::layer_after_layer}) {
    for (const Estimator& estimator : {Estimator::population(), Estimator::paper()}) {
      for (const Index last : {0, 24}) {  // the third shard is empty, or not
        ReestimationOptions options = in_order(order);
        options.estimator = estimator;
        Machine a(x, 0, 32, options), b(x, 32, 40 - last, options), c(x, 72 - last, last, options);
        exchange_and_settle({&a, &b, &c});
        Machine whole(x, 0, 72, options);
        while (!whole.run.is_settled()) {
          whole.collect();
          whole.run.settle();
        }
        for (Machine* machine : {&a, &b, &c, &whole}) machine->run.commit();
        CHECK(differs(a.net.first.state(), reference_of(whole.net.first.state())) == "");
        CHECK(differs(a.net.second.state(), reference_of(whole.net.second.state())) == "");
        for (const Machine* machine : {&b, &c}) {
          CHECK(same_bits(a.net.first.state(), machine->net.first.state()));
          CHECK(same_bits(a.net.second.state(), machine->net.second.state()));
        }
        CHECK(a.net.second.state().samples_seen == 72);
      }
    }
  }
}

TEST_CASE("collecting in parts is collecting once, and pieces of one machine merge in its order") {
  const Eigen::MatrixXd x = drifting_examples(64);
  Machine first(x, 0, 32, {}), second(x, 32, 32, {}), whole(x, 0, 64, {});
  first.collect();
  second.collect();
  first.run.merge(second.run);
  first.run.settle();
  first.run.commit();
  whole.collect();
  whole.run.settle();
  whole.run.commit();
  CHECK(differs(first.net.second.state(), reference_of(whole.net.second.state())) == "");

  Machine parts(x, 0, 0, {}), again(x, 0, 0, {});
  for (Machine* machine : {&parts, &again}) {
    for (const Index begin : {Index{0}, Index{32}}) {
      machine->examples = x.middleCols(begin, 32);
      machine->collect();
    }
    machine->run.settle();
    machine->run.commit();
  }
  CHECK(same_bits(parts.net.second.state(), again.net.second.state()));
  CHECK(differs(parts.net.second.state(), reference_of(whole.net.second.state())) == "");
}

TEST_CASE("lists of layers that cannot be are refused") {
  TwoNorms net;
  CHECK_THROWS_MATCHES(Run(std::vector<LayerHandle<double>>()), std::invalid_argument,
                       says("Reestimation: layers: expected at least one, got none"));
  CHECK_THROWS_MATCHES(Run({&net.first, &net.second, &net.first}), std::invalid_argument,
                       says("Reestimation: layer 2 of the list: expected listed once, got twice"));
  BatchNorm<double> empty;
  CHECK_THROWS_AS(Run({&empty}), std::invalid_argument);
}

TEST_CASE("layer after layer wants the list in the order of use, one pass does not mind") {
  const Eigen::MatrixXd x = drifting_examples(24);
  TwoNorms net;
  const auto forward = [&](Index first, Index count, auto& pass) {
    const Eigen::MatrixXd y = pass(net.first, x.middleCols(first, count));
    pass.see(net.second, net.hidden(y));
  };
  Run run({&net.second, &net.first}, in_order(ReestimationOrder::layer_after_layer));
  CHECK_THROWS_MATCHES(run.collect({24, 8}, forward), std::invalid_argument,
                       says("layer after layer follows the list of layers: expected use of layer 0 "
                            "of the list before, got layer 1 of the list first"));
  Run other({&net.second, &net.first});
  CHECK(other.collect({24, 8}, forward));
}

TEST_CASE("layer after layer collects of the layer whose turn it is") {
  const Eigen::MatrixXd x = drifting_examples(24);
  Machine machine(x, 0, 24, in_order(ReestimationOrder::layer_after_layer));
  machine.collect();
  CHECK(machine.run.series()[0].minibatches() == 3);
  CHECK(machine.run.series()[1].minibatches() == 3);  // for the comparison with one pass
  machine.run.settle();
  machine.collect();
  CHECK(machine.run.series()[0].minibatches() == 0);
  CHECK(machine.run.series()[1].minibatches() == 3);
}

TEST_CASE("steps out of order, and passes that were not completed, are refused") {
  const Eigen::MatrixXd x = drifting_examples(24);
  Machine machine(x, 0, 24, {});
  CHECK_THROWS_MATCHES(machine.run.commit(), std::invalid_argument,
                       says("Reestimation::commit: order of the steps: expected collect, merge and "
                            "settle until is_settled(), then commit"));
  machine.collect();
  machine.run.settle();
  CHECK(machine.run.is_settled());
  CHECK_THROWS_AS(machine.collect(), std::invalid_argument);
  CHECK_THROWS_AS(machine.run.settle(), std::invalid_argument);
  CHECK_THROWS_AS(machine.run.merge(machine.run.series()), std::invalid_argument);
  CHECK_THROWS_AS(machine.run.share(machine.run.series()), std::invalid_argument);

  Machine stopped(x, 0, 24, {}), other(x, 0, 24, {});
  const auto forward = [&](Index first, Index count, auto& pass) {
    pass.see(stopped.net.first, x.middleCols(first, count));
  };
  CHECK_FALSE(stopped.run.collect({24, 8}, forward,
                                  [](const ReestimationProgress&) { return Proceed::no; }));
  CHECK_THROWS_MATCHES(stopped.run.settle(), std::invalid_argument,
                       says("expected passes that were completed"));
  CHECK_THROWS_AS(stopped.run.collect({24, 8}, forward), std::invalid_argument);
  CHECK_THROWS_AS(other.run.merge(stopped.run), std::invalid_argument);
}

TEST_CASE("machines with other layers do not merge, and nothing is changed") {
  const Eigen::MatrixXd x = drifting_examples(24);
  Machine machine(x, 0, 24, {});
  machine.collect();
  TwoNorms net;
  CHECK_THROWS_MATCHES(machine.run.merge(Run({&net.first})), std::invalid_argument,
                       says("Reestimation::merge: layers of what was collected elsewhere: expected "
                            "as many, with as many channels each, got others"));
  CHECK_THROWS_AS(machine.run.merge(Run({&net.second, &net.first})), std::invalid_argument);
  CHECK_THROWS_AS(machine.run.share({}), std::invalid_argument);
  std::vector<Run::Series> less = Run({&machine.net.first, &machine.net.second}).series();
  CHECK_THROWS_MATCHES(machine.run.share(less), std::invalid_argument,
                       says("Reestimation::share: layer 0 of the list: expected at least the 24 "
                            "values that this machine has collected, got 0"));
  CHECK(machine.run.series()[0].pooled.count == 24);
  std::vector<Run::Series> odd = machine.run.series();
  odd[1].means = Run::Series(7).means;
  CHECK_THROWS_MATCHES(
      machine.run.merge(odd), std::invalid_argument,
      says("Reestimation::merge: numbers of channels of what is pooled, of means"));
  CHECK_THROWS_MATCHES(
      machine.run.share(odd), std::invalid_argument,
      says("Reestimation::share: numbers of channels of what is pooled, of means"));
  std::vector<Run::Series> full = machine.run.series();
  full[1].pooled.count = (std::numeric_limits<Index>::max)();
  CHECK_THROWS_AS(machine.run.merge(full), std::invalid_argument);
  std::vector<Run::Series> fewer = machine.run.series();
  fewer[1].examples -= 1;
  CHECK_THROWS_MATCHES(machine.run.share(fewer), std::invalid_argument,
                       says("Reestimation::share: layer 1 of the list: expected at least the 24 "
                            "examples that this machine has collected, got 23"));
  CHECK(machine.run.series()[0].pooled.count == 24);
  CHECK(machine.run.series()[1].means.channels() == machine.net.second.channels());
}

TEST_CASE("values that have no variance, and layers that changed their size, are refused") {
  const Eigen::MatrixXd x = drifting_examples(3);
  TwoNorms net;
  ReestimationOptions paper;
  paper.estimator = Estimator::paper();
  const auto see = [&](Index first, Index count, auto& pass) {
    pass.see(net.first, x.middleCols(first, count));
  };
  Run averages({&net.first}, paper);
  averages.collect({3, 1}, see);
  CHECK_THROWS_MATCHES(averages.settle(), std::invalid_argument,
                       says("layer 0 of the list: expected two values per channel or more, got a "
                            "minibatch of one"));
  Run single({&net.first});
  single.collect({1, 1}, see);
  CHECK_THROWS_MATCHES(single.settle(), std::invalid_argument, says("got one"));
  Run values({&net.first});
  values.collect({3, 1}, see);  // minibatches of one are values like others when all are pooled
  values.settle();
  net.first = BatchNorm<double>(2);
  CHECK_THROWS_MATCHES(values.commit(), std::invalid_argument,
                       says("Reestimation::commit: layer 0 of the list: expected 3 channels as "
                            "before, got 2"));
}

TEST_CASE("what the options do with values that are not finite is done here") {
  Eigen::MatrixXd x = drifting_examples(24);
  x(1, 20) = std::numeric_limits<double>::quiet_NaN();
  Options options;
  options.non_finite = NonFinite::skip_update;
  BatchNorm<double> layer(3, options);
  const auto normalise = [&](Index first, Index count, auto& pass) {
    static_cast<void>(pass(layer, x.middleCols(first, count)));
  };
  Run skipping({&layer});
  skipping.collect({24, 8}, normalise);
  CHECK(skipping.series()[0].pooled.count == 16);

  options.non_finite = NonFinite::propagate;
  layer = BatchNorm<double>(3, options);
  Run propagating({&layer});
  propagating.collect({24, 8}, normalise);
  CHECK_THROWS_MATCHES(propagating.settle(), std::domain_error,
                       says("Reestimation::settle: statistics of channel 1 of layer 0 of the list: "
                            "expected finite numbers"));
  CHECK(layer.state().batches_seen == 0);
}

TEST_CASE("progress counts the examples of all passes") {
  const Eigen::MatrixXd x = drifting_examples(20);
  using Seen = std::vector<Index>;
  for (const ReestimationOrder order :
       {ReestimationOrder::one_pass, ReestimationOrder::layer_after_layer}) {
    TwoNorms net;
    Run run({&net.first, &net.second}, in_order(order));
    Seen done, in_all;
    while (!run.is_settled()) {
      run.collect(
          {20, 5},
          [&](Index first, Index count, auto& pass) {
            const Eigen::MatrixXd y = pass(net.first, x.middleCols(first, count));
            pass.see(net.second, net.hidden(y));
          },
          [&](const ReestimationProgress& now) {
            done.push_back(now.examples_done);
            in_all.push_back(now.examples_in_all);
          });
      run.settle();
    }
    if (order == ReestimationOrder::one_pass) {
      CHECK(done == Seen{5, 10, 15, 20});
      CHECK(in_all == Seen(4, 20));
    } else {
      CHECK(done == Seen{5, 10, 15, 20, 25, 30, 35, 40});
      CHECK(in_all == Seen(8, 40));
    }
  }
}

TEST_CASE("a layer knows of as many values as frequencies count") {
  const Eigen::RowVectorXd x{{1, 3, 8, 4}};
  const Eigen::Vector4d times(1, 3, 2, 1);
  BatchNorm<double> layer(1);
  Run run({&layer});
  CHECK(run.collect({4, 2}, [&](Index first, Index count, auto& pass) {
    pass.see(layer,
             weighted(x.middleCols(first, count), times.segment(first, count), Weights::frequency));
  }));
  run.settle();
  run.commit();
  CHECK(layer.state().samples_seen == 7);
  CHECK_THAT(layer.state().running_mean[0], Catch::Matchers::WithinULP((1 + 9 + 16 + 4) / 7.0, 4));
}
