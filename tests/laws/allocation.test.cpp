// SPDX-License-Identifier: MIT
// What is taken from the heap: nothing at test time, nothing at all with a fixed number of
// channels. What training takes otherwise is counted in heap_bytes.test.cpp.
#define EIGEN_RUNTIME_NO_MALLOC
#include <vector>

#include "batchnorm/layer.hpp"
#include "support/allocation_counter.hpp"
#include "support/catch.hpp"

using namespace batchnorm;
using batchnorm_test::allocations_during;

namespace {

using Matrix = Eigen::MatrixXf;

Matrix examples(Index channels, Index count) {
  return Matrix::NullaryExpr(channels, count, [](Index c, Index n) {
    return static_cast<float>((7 * n + 3 * c) % 11) - 4.0f;
  });
}

template <int Channels>
BatchNorm<float, Channels> trained(Index channels) {
  BatchNorm<float, Channels> layer(channels);
  Matrix x = examples(channels, 8);
  layer.train(x, x);
  return layer;
}

}  // namespace

TEST_CASE("the counter counts") {
  struct alignas(64) Wide {
    float values[16];
  };
  static void* volatile seen;  // or the compiler removes pairs of new and delete
  const auto plain = [] {
    int* number = new int;
    seen = number;
    delete number;
  };
  const auto aligned = [] {
    Wide* wide = new Wide;
    seen = wide;
    delete wide;
  };
  CHECK(allocations_during(plain) == 1);
  CHECK(allocations_during(aligned) == 1);
  CHECK(allocations_during([] {}) == 0);
  CHECK(seen != nullptr);
}

TEST_CASE("inference allocates nothing, with a dynamic number of channels too") {
  const BatchNorm<float> layer = trained<Eigen::Dynamic>(300);
  const FrozenBatchNorm<float> frozen = layer.freeze();
  for (const Index count : {1, 2, 100}) {
    const Matrix x = examples(300, count);
    Matrix y(300, count);
    std::vector<float> rows(static_cast<std::size_t>(x.size()));
    const auto view = channels_last(rows.data(), count, Index{300}, Index{1});
    CHECK(allocations_during([&] { layer.infer(x, y); }) == 0);
    CHECK(allocations_during([&] { frozen(x, y); }) == 0);
    CHECK(allocations_during([&] { frozen(x, view); }) == 0);
    CHECK(allocations_during([&] { frozen(y, y); }) == 0);
    CHECK(allocations_during([&] { frozen(x.leftCols(1), y.leftCols(1)); }) == 0);
  }
}

TEST_CASE("with fixed channels nothing at all is allocated, training included") {
  CHECK(allocations_during([] { BatchNorm<float, 6> layer; }) == 0);
  BatchNorm<float, 6> layer = trained<6>(6);
  Matrix x = examples(6, 5000), dy = examples(6, 5000), y = x, dx = x;
  CHECK(allocations_during([&] {
          const auto batch = layer.train(x, y);
          layer.backward(batch, x, dy, dx);
          layer.backward_frozen(x, dy, dx);
          layer.commit(layer.normalize(x, y));
          layer.infer(x, y);
          layer.freeze()(x, y);
          const State<float, 6> copy = layer.state();
          layer.state() = copy;
        }) == 0);
}
