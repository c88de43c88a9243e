// SPDX-License-Identifier: MIT
// Data whose statistics and normalised values are exact in every scalar type: no tolerance at all.
#include <algorithm>

#include "support/catch.hpp"
#include "support/instances.hpp"
#include "support/layers.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

TEMPLATE_TEST_CASE("exact data is normalised exactly, in training and at test time", "", float,
                   double, long double, Eigen::half, Eigen::bfloat16) {
  Random random(20);
  const ExactBatch exact = exact_batch(random, 32, 5, 3);
  const Size channels = exact.values.channels;
  const reference::Layer plain{PerChannel(channels, 2), PerChannel(channels, -1), exact.mean,
                               exact.variance, 0};
  Batch expected = exact.values;
  expected.each([&](Size n, Size c, Size p) {
    Real& value = expected.at(n, c, p);
    value = 2 * (value - exact.mean[c]) / exact.deviation[c] - 1;
  });
  Options options;
  options.running = RunningUpdate::population();
  options.running_variance = VarianceEstimator::population;
  for (const Layout layout : all_layouts) {
    INFO(name_of(layout));
    BatchNorm<TestType> layer = make_layer<TestType>(plain, options);
    layer.state().forget_statistics();
    const Stored<TestType> x(exact.values, layout);
    Stored<TestType> y = Stored<TestType>::like(exact.values, layout);
    layer.train(x.view(), y.view());
    CHECK(y.read().values == expected.values);
    CHECK(layer.state().running_mean == to_vector<accumulator_t<TestType>>(exact.mean));
    CHECK(layer.state().running_variance == to_vector<accumulator_t<TestType>>(exact.variance));
    CHECK(layer.state().batches_seen == 1);
    CHECK(layer.state().samples_seen == 96);

    Stored<TestType> inferred = Stored<TestType>::like(exact.values, layout);
    layer.infer(x.view(), inferred.view());
    CHECK(inferred.read().values == expected.values);
  }
}

// dy = 1 everywhere is absorbed by the mean; dy = xhat by the mean and the variance.
TEMPLATE_TEST_CASE("gradients along the directions that normalisation removes are exactly zero", "",
                   float, double, Eigen::bfloat16) {
  Random random(21);
  const ExactBatch exact = exact_batch(random, 16, 4, 1);
  const BatchNorm<TestType> layer =
      make_layer<TestType>(plain_layer(exact.values, 0), Options::pytorch());
  Batch ones = exact.values, along = exact.values;
  ones.each([&](Size n, Size c, Size p) {
    ones.at(n, c, p) = 1;
    along.at(n, c, p) = (exact.values.at(n, c, p) - exact.mean[c]) / exact.deviation[c];
  });
  for (const Layout layout : all_layouts) {
    INFO(name_of(layout));
    const Stored<TestType> x(exact.values, layout);
    Stored<TestType> y = Stored<TestType>::like(exact.values, layout);
    const auto batch = layer.normalize(x.view(), y.view());
    for (const Batch& direction : {ones, along}) {
      const Stored<TestType> dy(direction, layout);
      Stored<TestType> dx = Stored<TestType>::like(direction, layout);
      const Gradients<TestType> gradients = layer.backward(batch, x.view(), dy.view(), dx.view());
      const Batch result = dx.read();
      CHECK(std::all_of(result.values.begin(), result.values.end(),
                        [](Real value) { return value == 0; }));
      const bool all_ones = direction.values == ones.values;
      CHECK((gradients.beta.array() == parameter_t<TestType>(all_ones ? 16 : 0)).all());
      CHECK((gradients.gamma.array() == parameter_t<TestType>(all_ones ? 0 : 16)).all());
    }
  }
}
