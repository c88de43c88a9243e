// SPDX-License-Identifier: MIT
// A channel is normalised while it is in the cache, before the next one is read. The bits are those
// of a cache that holds everything, where all channels are looked at first: under every policy, for
// small caches and large ones, results written past the cache or not, and on several threads. What
// a rejection leaves alone is the layer, and whatever was an input.
#include "batchnorm/kernels/fused.hpp"

#include <cmath>
#include <cstddef>
#include <limits>
#include <stdexcept>
#include <utility>
#include <vector>

#include "support/caches.hpp"
#include "support/catch.hpp"
#include "support/epilogues.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

constexpr Index large = Index{1} << 30;

/// Whether channels of that layout are reduced and mapped one after another, by one thread.
template <class T>
bool is_fused(const BatchView<const T>& in, const BatchView<T>& out) {
  using detail::Plan;
  using detail::ViewShape;
  const ViewShape input(in), output(out);
  const Plan reduced(nullptr, 0, &input, 1);
  const Plan mapped(&output, 1, &input, 1);
  const Index bytes = in.samples() * in.channels() * in.positions() * Index{sizeof(T)};
  return detail::fused_channels(reduced.traversal(), mapped.traversal(), bytes, 1) > 0;
}

/// A problem in memory of one layout.
template <class T>
struct StoredProblem {
  StoredProblem(const EpilogueProblem& given, Layout layout)
      : problem(given),
        x(given.x, layout),
        residual(given.residual, layout),
        unwritten(Stored<T>::like(given.x, layout)) {}

  const EpilogueProblem& problem;
  const Stored<T> x, residual, unwritten;
};

/// What train leaves behind.
template <class T>
struct Trained {
  Stored<T> out;
  typename BatchNorm<T>::BatchMoments batch;
  State<T> state;
};

template <class T>
Trained<T> train(const StoredProblem<T>& given, NonFinite policy, const Execution& execution) {
  Options options = given.problem.options();
  options.non_finite = policy;
  BatchNorm<T> layer = make_layer<T>(given.problem.layer, options);
  const auto& x = given.x;
  const auto residual = given.residual.view();
  Stored<T> out = given.unwritten, again = x;
  const bool has_residual = given.problem.has_residual;
  const auto batch = has_residual
                         ? layer.train(with_residual(x.view(), residual), out.view(), execution)
                         : layer.train(x.view(), out.view(), execution);
  // normalize, in place.
  const auto same =
      has_residual ? layer.normalize(with_residual(again.view(), residual), again.view(), execution)
                   : layer.normalize(again.view(), again.view(), execution);
  CHECK(again.same_bits(out));
  CHECK(same.mean == batch.mean);
  CHECK(same.sum_of_squares == batch.sum_of_squares);
  return {out, batch, layer.state()};
}

template <class T>
void check_same(const Trained<T>& a, const Trained<T>& b) {
  CHECK(a.out.same_bits(b.out));
  CHECK(a.batch.count == b.batch.count);
  CHECK(a.batch.mean == b.batch.mean);
  CHECK(a.batch.sum_of_squares == b.batch.sum_of_squares);
  CHECK(a.state.running_mean == b.state.running_mean);
  CHECK(a.state.running_variance == b.state.running_variance);
  CHECK(a.state.batches_seen == b.state.batches_seen);
  CHECK(a.state.samples_seen == b.state.samples_seen);
}

const auto from_the_end = [](Index tasks, Task task) {
  for (Index i = tasks - 1; i >= 0; --i) task(i);
};

}  // namespace

TEMPLATE_TEST_CASE("channel by channel gives the bits of one loop after the other", "", float,
                   double, Eigen::bfloat16) {
  Random random(90);
  const Execution shared = Execution::parallel_for(from_the_end, 3);
  const std::vector<Batch> batches = {normal_batch(random, 4, 9, 50, 1e3L, 1),
                                      normal_batch(random, 14, 24, 400, 5, 2),
                                      normal_batch(random, 300, 16, 1, -3, 1)};
  for (const Batch& values : batches) {
    for (const bool has_residual : {false, true}) {
      const EpilogueProblem problem =
          epilogue_problem<TestType>(random, values, has_residual ? 0.25L : 1.0L, has_residual);
      for (const Layout layout : all_layouts) {
        INFO(values.channels << " channels, residual " << has_residual << ", " << name_of(layout));
        const StoredProblem<TestType> stored(problem, layout);
        const Caches ample(large, large);
        const auto expected = train(stored, NonFinite::reject, Execution::serial());
        CHECK(expected.out.gaps_are_untouched());
        for (const auto& [level_2, level_3] :
             {std::pair<Index, Index>{large, large}, {16384, large}, {16384, 65536}}) {
          const Caches caches(level_2, level_3);
          for (const Execution& execution : {Execution::serial(), shared}) {
            check_same(train(stored, NonFinite::reject, execution), expected);
            check_same(train(stored, NonFinite::propagate, execution), expected);
          }
        }
      }
    }
  }
}

TEST_CASE(
    "channels that lie apart are fused in a small cache, others and all in a large one are not") {
  const Batch shape{7, 24, 400};
  const Caches caches(65536, large);
  for (const Layout layout : all_layouts) {
    INFO(name_of(layout));
    const Stored<float> x(shape, layout);
    Stored<float> out = x;
    const bool apart = layout != Layout::channels_last && layout != Layout::backwards;
    CHECK(is_fused<float>(x.view(), out.view()) == apart);
    const Caches ample(large, large);
    CHECK_FALSE(is_fused<float>(x.view(), out.view()));
  }
}

TEST_CASE("NaN stays in its channel, fused or not") {
  Random random(91);
  EpilogueProblem problem =
      epilogue_problem<float>(random, normal_batch(random, 3, 12, 500), 1, false);
  const auto clean = train(StoredProblem<float>(problem, Layout::channels_first), NonFinite::reject,
                           Execution::serial());
  const Batch clean_out = clean.out.read();
  problem.x.at(1, 5, 250) = std::numeric_limits<Real>::quiet_NaN();
  Options options;
  options.non_finite = NonFinite::propagate;
  for (const Index level_2 : {Index{4096}, large}) {
    const Caches caches(level_2, large);
    BatchNorm<float> layer = make_layer<float>(problem.layer, options);
    const Stored<float> x(problem.x, Layout::channels_first);
    Stored<float> out = Stored<float>::like(problem.x, Layout::channels_first);
    layer.train(x.view(), out.view());
    const Batch y = out.read();
    Size wrong = 0;
    y.each([&](Size n, Size c, Size p) {
      const Real value = y.at(n, c, p);
      const bool right = c == 5 ? std::isnan(value) : value == clean_out.at(n, c, p);
      wrong += right ? 0 : 1;
    });
    CHECK(wrong == 0);
    CHECK(std::isnan(layer.state().running_variance[5]));
    CHECK(layer.state().running_variance[4] == clean.state.running_variance[4]);
  }
}

TEST_CASE("the population rule looks at the state before anything is written") {
  const Caches caches(4096, large);
  Options options;
  options.non_finite = NonFinite::propagate;
  options.running = RunningUpdate::population();
  State<float> state(12);
  state.batches_seen = 10;  // of samples it says nothing
  BatchNorm<float> layer(state, options);
  Random random(92);
  const Batch values = stored_as<float>(normal_batch(random, 3, 12, 500));
  Stored<float> x(values, Layout::channels_first);
  CHECK_THROWS_MATCHES(layer.train(x.view(), x.view()), std::domain_error,
                       says("BatchNorm::train: the population rule weighs by samples seen"));
  CHECK(x.read().values == values.values);
  CHECK(layer.state().batches_seen == 10);
  CHECK((layer.state().running_mean.array() == 0.0f).all());
  CHECK_NOTHROW(layer.normalize(x.view(), x.view()));
  CHECK(x.read().values != values.values);
}

namespace {

/// A large minibatch in a small cache whose last channel is not finite.
struct Rejected {
  const Caches caches{4096, large};
  Random random{93};
  Stored<float> x, residual;
  BatchNorm<float> layer{12};

  Rejected()
      : x(bad_batch(), Layout::channels_first),
        residual(normal_batch(random, 3, 12, 500), Layout::channels_first) {
    layer.train(residual.view(), Stored<float>(residual).view());
  }
  Batch bad_batch() {
    Batch values = normal_batch(random, 3, 12, 500);
    values.at(2, 11, 499) = std::numeric_limits<Real>::infinity();
    return values;
  }

  /// Refused by train and normalize, by one thread and by three; the layer stays as it was.
  template <class In>
  void refuses(const In& in, const BatchView<float>& out) {
    const State<float> before = layer.state();
    for (const Execution& execution :
         {Execution::serial(), Execution::parallel_for(from_the_end, 3)}) {
      CHECK_THROWS_MATCHES(layer.train(in, out, execution), std::domain_error,
                           says("BatchNorm::train: the statistics of a minibatch must be finite: "
                                "expected finite values in every channel, got NaN, infinity or "
                                "overflow in channel 11"));
      CHECK_THROWS_MATCHES(layer.normalize(in, out, execution), std::domain_error,
                           says("overflow in channel 11"));
    }
    CHECK(layer.state().running_mean == before.running_mean);
    CHECK(layer.state().running_variance == before.running_variance);
    CHECK(layer.state().batches_seen == before.batches_seen);
    CHECK(layer.state().samples_seen == before.samples_seen);
  }
};

}  // namespace

TEST_CASE("a rejection leaves layer and input alone; an output of its own may hold anything") {
  Rejected test;
  const Stored<float> before = test.x;
  Stored<float> out = Stored<float>::like(test.bad_batch(), Layout::channels_first);
  REQUIRE(is_fused<float>(std::as_const(test.x).view(), out.view()));
  test.refuses(std::as_const(test.x).view(), out.view());
  CHECK(test.x.same_bits(before));
  CHECK(out.gaps_are_untouched());
  // The same call on what can be used succeeds afterwards, whatever the output holds.
  CHECK_NOTHROW(test.layer.train(test.residual.view(), out.view()));
}

TEST_CASE("a rejection in place loses nothing") {
  Rejected test;
  const Stored<float> before = test.x, residual_before = test.residual;
  test.refuses(test.x.view(), test.x.view());
  CHECK(test.x.same_bits(before));
  const BatchView<const float> residual = test.residual.view();
  test.refuses(with_residual(test.x.view(), residual), test.x.view());
  CHECK(test.x.same_bits(before));
  test.refuses(with_residual(test.x.view(), residual), test.residual.view());
  CHECK(test.residual.same_bits(residual_before));
}

TEST_CASE("parameters that are not finite lose no input either, whatever becomes of NaN") {
  Rejected test;
  Options options;
  options.non_finite = NonFinite::skip_update;
  BatchNorm<float> layer(12, options);
  layer.state().gamma[11] = std::numeric_limits<float>::infinity();
  const Stored<float> before = test.residual;
  CHECK_THROWS_MATCHES(layer.train(test.residual.view(), test.residual.view()), std::domain_error,
                       says("gamma of channel 11"));
  CHECK(test.residual.same_bits(before));
}

TEST_CASE("a deviation of zero is found before an input in place is lost") {
  const Caches caches(4096, large);
  Options options;
  options.epsilon = 0.0;
  options.non_finite = NonFinite::propagate;
  BatchNorm<float> layer(12, options);
  Random random(94);
  Batch values = normal_batch(random, 3, 12, 500);
  values.each([&](Size n, Size c, Size p) {
    if (c == 11) values.at(n, c, p) = 2;
  });
  Stored<float> x(values, Layout::channels_first);
  const Stored<float> before = x;
  CHECK_THROWS_MATCHES(layer.normalize(x.view(), x.view()), std::domain_error,
                       says("variance + epsilon of channel 11"));
  CHECK(x.same_bits(before));
}
