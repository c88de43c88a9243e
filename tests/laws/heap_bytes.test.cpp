// SPDX-License-Identifier: MIT
// What training takes from the heap with a dynamic number of channels: vectors of that many
// numbers, and nothing that grows with the minibatch.
#include <cstddef>
#include <cstdlib>
#include <memory>

#include "batchnorm/layer.hpp"
#include "support/catch.hpp"
#include "support/heap_counter.hpp"

using namespace batchnorm;
using batchnorm_test::heap_bytes_during;

#ifdef BATCHNORM_TEST_HEAP_IS_COUNTED

namespace {

using Matrix = Eigen::MatrixXf;

Matrix examples(Index channels, Index count) {
  return Matrix::NullaryExpr(channels, count, [](Index c, Index n) {
    return static_cast<float>((7 * n + 3 * c) % 11) - 4.0f;
  });
}

/// One step of training into memory that is there already.
std::size_t bytes_of_training(Index channels, Index count, NonFinite policy) {
  Options options;
  options.non_finite = policy;
  BatchNorm<float> layer(channels, options);
  Matrix x = examples(channels, count), dy = x.reverse(), y = x, dx = x;
  return heap_bytes_during([&] {
    const auto batch = layer.train(x, y);
    layer.backward(batch, x, dy, dx);
    layer.backward_frozen(x, dy, dx);
    layer.commit(layer.normalize(x, y));
  });
}

}  // namespace

TEST_CASE("the bytes of every way to the heap are counted") {
  static void* volatile seen;  // or the compiler removes what nobody looks at
  const auto takes = [](std::size_t bytes, const auto& take) {
    CHECK(heap_bytes_during([&] {
            void* const memory = take();
            seen = memory;
            std::free(memory);
          }) == bytes);
  };
  takes(100, [] { return std::malloc(100); });
  takes(120, [] { return std::calloc(10, 12); });
  takes(140, [] { return std::realloc(nullptr, 140); });
  takes(256, [] { return std::aligned_alloc(64, 256); });
  CHECK(heap_bytes_during([] { seen = std::make_unique<char[]>(1000).get(); }) == 1000);
  CHECK(heap_bytes_during([] { seen = Eigen::VectorXd(1000).data(); }) >= 8000);
  CHECK(heap_bytes_during([] {}) == 0);
  CHECK(seen != nullptr);
}

TEST_CASE("training takes as many bytes for many examples as for few") {
  for (const NonFinite policy : {NonFinite::reject, NonFinite::propagate}) {
    const std::size_t few = bytes_of_training(4, 8, policy);
    CHECK(few > 0);
    CHECK(bytes_of_training(4, 50, policy) == few);
    CHECK(bytes_of_training(4, 50000, policy) == few);
  }
}

TEST_CASE("training takes some vectors per channel, which are a fraction of a usual minibatch") {
  for (const NonFinite policy : {NonFinite::reject, NonFinite::propagate}) {
    const std::size_t thousand = bytes_of_training(1000, 64, policy);
    const std::size_t two_thousand = bytes_of_training(2000, 64, policy);
    // Padding and alignment are no part of the slope.
    const std::size_t per_channel = (two_thousand - thousand) / 1000;
    INFO(per_channel << " bytes per channel");
    CHECK(two_thousand > thousand);
    CHECK(per_channel < 64 * sizeof(float));
  }
}

#else

TEST_CASE("the heap of this system is not counted") {
  WARN("there is no way to count the bytes that malloc gives: nothing is tested");
}

#endif
