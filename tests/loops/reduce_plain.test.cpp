// SPDX-License-Identifier: MIT
#include "batchnorm/loops/reduce_plain.hpp"

#include <vector>

#include "loops/region_sums.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"
#include "support/loop_formulas.hpp"

using batchnorm::BatchView;
using batchnorm::loops::PlainReducer;
using batchnorm::loops::Plan;
using batchnorm::loops::Region;
using batchnorm::loops::Traversal;
using namespace batchnorm_test;

namespace {

/// The sums of numbers T one by one in A.
template <class A, class T>
Results<A> plain_sums(const BatchView<const T>& view, const Region* region = nullptr) {
  return with_job<PowerSums, A, A>(SumCoefficients(), view, region, [](const auto& job) {
    PlainReducer(job).template run<batchnorm::simd::baseline_bytes>();
  });
}

Traversal traversal_of(const BatchView<const float>& view) {
  return Plan<1>(view).traversal();
}

struct Shape {
  Size samples, channels, positions;
};

}  // namespace

TEST_CASE("every element is counted once, in every layout") {
  // Runs, rows, short runs in rows, rows with cycles and a short end.
  Random random(1);
  for (const Shape& shape : {Shape{1, 1, 1}, Shape{1, 7, 1}, Shape{3, 2, 1}, Shape{13, 3, 5},
                             Shape{5, 3, 49}, Shape{9, 255, 1}, Shape{20, 30, 15}, Shape{161, 3, 1},
                             Shape{20, 9, 25}, Shape{8300, 1, 1}, Shape{9000, 4, 1}}) {
    const Batch batch = integer_batch(random, shape.samples, shape.channels, shape.positions);
    const Results<double> expected = PowerSums::of<double>(batch);
    for (const Layout layout : all_layouts) {
      INFO(shape.samples << " x " << shape.channels << " x " << shape.positions << ", "
                         << name_of(layout));
      const Stored<float> stored(batch, layout);
      CHECK(plain_sums<double, float>(stored.view()) == expected);
    }
  }
}

TEST_CASE("a region is all that is read, and its first channel comes first") {
  Random random(2);
  const Batch batch = integer_batch(random, 30, 37, 17);
  for (const Layout layout : all_layouts) {
    const Stored<float> stored(batch, layout);
    for (const Region& region : {Region{0, 37, 0, 510}, Region{2, 29, 0, 510},
                                 Region{0, 37, 7, 101}, Region{3, 4, 59, 60}}) {
      // All of these layouts number the values of a channel sample by sample.
      INFO(name_of(layout) << ", channels " << region.first_column << " to " << region.last_column);
      CHECK(plain_sums<double, float>(stored.view(), &region) ==
            sums_of_part(batch, static_cast<Size>(region.first_column),
                         static_cast<Size>(region.last_column), static_cast<Size>(region.first_row),
                         static_cast<Size>(region.last_row)));
    }
  }
}

TEST_CASE("regions of rows in which channels repeat themselves or cycle") {
  Random random(3);
  const Batch repeats = integer_batch(random, 20, 12, 7);
  const Stored<float> repeated(repeats, Layout::channels_first);
  REQUIRE(traversal_of(repeated.view()).repeat == 7);
  const Region some = {21, 70, 2, 19};
  CHECK(plain_sums<double, float>(repeated.view(), &some) == sums_of_part(repeats, 3, 10, 14, 133));

  const Batch cycle = integer_batch(random, 161, 3, 1);
  const Stored<float> cycling(cycle, Layout::channels_last);
  REQUIRE((traversal_of(cycling.view()).columns == 240 && traversal_of(cycling.view()).inner == 3));
  const Region head = {0, 240, 0, 2};
  const Region tail = {0, 240, 1, 3};
  CHECK(plain_sums<double, float>(cycling.view(), &head) == sums_of_part(cycle, 0, 3, 0, 160));
  CHECK(plain_sums<double, float>(cycling.view(), &tail) == sums_of_part(cycle, 0, 3, 80, 161));
}

TEST_CASE("numbers are added one by one in the type of the totals") {
  // In float, 2^30 less the pivot -3 would be 2^30 again.
  const std::vector<float> values = {1073741824, 4, -1073741824, 4};
  const BatchView<const float> view(values.data(), 1, 1, 4, 4, 4, 1);
  CHECK(plain_sums<double, float>(view).of[0] == std::vector<double>{8 + 4 * 3});
}

TEST_CASE("scalars without vectors, and one whose default is not zero") {
  Random random(4);
  const Batch batch = integer_batch(random, 45, 9, 7);
  for (const Layout layout : all_layouts) {
    INFO(name_of(layout));
    const Stored<long double> stored(batch, layout);
    CHECK(plain_sums<long double, long double>(stored.view()) == PowerSums::of<long double>(batch));
    const Stored<Eigen::half> halves(batch, layout);
    CHECK(plain_sums<double, Eigen::half>(halves.view()) == PowerSums::of<double>(batch));
  }
  const std::vector<Unset> sevens(15000, Unset(7));
  for (const batchnorm::Index channels : {1, 3, 5}) {
    for (const auto& view : {batchnorm::channels_first(sevens.data(), 3000, channels, 1),
                             batchnorm::channels_first(sevens.data(), 1, channels, 3000)}) {
      const Results<Unset> results = plain_sums<Unset, Unset>(view);
      for (Size c = 0; c < static_cast<Size>(channels); ++c) {
        const double deviation = 7 - (2 * static_cast<double>(c) - 3);
        CHECK(results.of[0][c] == Unset(3000 * deviation));
        CHECK(results.of[1][c] == Unset(3000 * deviation * deviation));
      }
    }
  }
}
