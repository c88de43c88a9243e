// SPDX-License-Identifier: MIT
#include "batchnorm/compiled.hpp"

#include <type_traits>

#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

// A layer with a fixed number of channels is compiled here, one with a dynamic number elsewhere.
TEMPLATE_TEST_CASE("a layer compiled elsewhere has the bits of one compiled here", "[compiled]",
                   float, double, Eigen::half, Eigen::bfloat16) {
  constexpr int channels = 5;
  Random random(15);
  const Batch values = normal_batch(random, 7, channels, 33, 2);
  for (const Layout layout : {Layout::channels_first, Layout::channels_last, Layout::padded}) {
    INFO(name_of(layout));
    const Stored<TestType> x(values, layout);
    const auto use = [&](auto layer) {
      Stored<TestType> y = x, dx = x;
      const auto batch = layer.train(x.view(), y.view());
      const auto gradients = layer.backward(batch, x.view(), y.view(), dx.view());
      Batch all = y.read();
      const auto add = [&](const auto& numbers) {
        for (const auto& number : numbers) all.values.push_back(static_cast<Real>(number));
      };
      add(dx.read().values);
      add(batch.mean);
      add(batch.sum_of_squares);
      add(gradients.gamma);
      add(gradients.beta);
      const auto frozen = layer.freeze();
      frozen(x.view(), y.view());
      add(y.read().values);
      add(frozen.pivot());
      add(frozen.scale());
      add(frozen.shift());
      return all.values;
    };
    CHECK(use(BatchNorm<TestType>(channels)) == use(BatchNorm<TestType, channels>()));
  }
}
