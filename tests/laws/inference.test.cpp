// SPDX-License-Identifier: MIT
// Test time, to the bit: frozen is infer, and an example's output does not depend on its company,
// its position, its layout or its alignment.
#include <limits>
#include <vector>

#include "support/catch.hpp"
#include "support/layers.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

template <class T>
struct Trained {
  Batch x;
  BatchNorm<T> layer;
};

/// A layer after three minibatches of different size under the given rule, and examples for it.
template <class T>
Trained<T> trained_layer(const RunningUpdate& rule, Size channels, Size positions) {
  Random random(30);
  const Batch x = stored_as<T>(normal_batch(random, 33, channels, positions, 7, 2));
  Options options;
  options.running = rule;
  Trained<T> trained{x, make_layer<T>(random_layer<T>(random, x), options)};
  trained.layer.state().batches_seen = 1;
  trained.layer.state().samples_seen = 3;
  for (const Size size : {5u, 2u, 11u}) {
    const Stored<T> batch(normal_batch(random, size, channels, positions, 6, 3),
                          Layout::channels_first);
    Stored<T> out = batch;
    trained.layer.train(batch.view(), out.view());
  }
  return trained;
}

const std::vector<RunningUpdate>& all_rules() {
  static const std::vector<RunningUpdate> rules = {RunningUpdate::take_new(0.3),
                                                   RunningUpdate::cumulative(),
                                                   RunningUpdate::windowed(2),
                                                   RunningUpdate::keep_old(0.25),
                                                   RunningUpdate::keep_old_debiased(0.75),
                                                   RunningUpdate::population()};
  return rules;
}

}  // namespace

TEMPLATE_TEST_CASE("frozen is infer to the bit, for every rule and layout", "", float, double,
                   Eigen::half, Eigen::bfloat16) {
  for (const RunningUpdate& rule : all_rules()) {
    const Trained<TestType> trained = trained_layer<TestType>(rule, 5, 3);
    const FrozenBatchNorm<TestType> frozen = trained.layer.freeze();
    for (const Layout layout : all_layouts) {
      INFO("rule " << static_cast<int>(rule.rule()) << ", " << name_of(layout));
      const Stored<TestType> x(trained.x, layout);
      Stored<TestType> inferred = Stored<TestType>::like(trained.x, layout), out = inferred;
      trained.layer.infer(x.view(), inferred.view());
      frozen(x.view(), out.view());
      CHECK(out.read().values == inferred.read().values);
    }
  }
}

TEMPLATE_TEST_CASE("an example's bits do not depend on company, position, layout or alignment", "",
                   float, double, Eigen::half, Eigen::bfloat16) {
  Random random(31);
  for (const Size channels : {1u, 3u, 37u}) {
    for (const Size positions : {1u, 2u, 13u}) {
      const Trained<TestType> trained =
          trained_layer<TestType>(RunningUpdate::population(), channels, positions);
      const FrozenBatchNorm<TestType> frozen = trained.layer.freeze();
      Batch alone = trained.x;
      for (Size n = 0; n < trained.x.samples; ++n) {
        Stored<TestType> one(pick(trained.x, {n}), Layout::channels_first);
        frozen(one.view(), one.view());
        const Batch result = one.read();
        result.each([&](Size, Size c, Size p) { alone.at(n, c, p) = result.at(0, c, p); });
      }
      for (const Layout layout : all_layouts) {
        for (Index offset = 0; offset < 4; ++offset) {
          INFO(channels << " channels, " << positions << " positions, " << name_of(layout)
                        << ", offset " << offset);
          std::vector<Size> company = indices(trained.x.samples);
          random.shuffle(company);
          company.resize(1 + random.below(company.size()));
          const Stored<TestType> x(pick(trained.x, company), layout, offset);
          Stored<TestType> y = Stored<TestType>::like(pick(trained.x, company), layout, 3 - offset);
          frozen(x.view(), y.view());
          CHECK(y.read().values == pick(alone, company).values);
        }
      }
    }
  }
}

TEST_CASE("a stranger of any kind in the batch changes nobody else's bits") {
  const Trained<float> trained = trained_layer<float>(RunningUpdate::cumulative(), 4, 1);
  const FrozenBatchNorm<float> frozen = trained.layer.freeze();
  Eigen::MatrixXf x = Eigen::MatrixXf::NullaryExpr(4, 9, [&](Index c, Index n) {
    return static_cast<float>(trained.x.at(static_cast<Size>(n), static_cast<Size>(c), 0));
  });
  const Eigen::MatrixXf before = frozen(x);
  x.col(4).setConstant(std::numeric_limits<float>::quiet_NaN());
  x.col(5).setConstant(std::numeric_limits<float>::infinity());
  const Eigen::MatrixXf after = frozen(x);
  CHECK(after.leftCols(4) == before.leftCols(4));
  CHECK(after.rightCols(3) == before.rightCols(3));
  CHECK(after.col(4).array().isNaN().all());
}
