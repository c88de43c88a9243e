// SPDX-License-Identifier: MIT
#include "batchnorm/loops/reduce.hpp"

#include <algorithm>
#include <vector>

#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"
#include "support/loop_formulas.hpp"

using batchnorm::BatchView;
using batchnorm::Execution;
using batchnorm::InstructionSet;
using namespace batchnorm_test;

namespace {

struct Shape {
  Size samples, channels, positions;
};

/// Around every limit of the loops: vectors, chains of 8 of them, 16 rows, short runs in rows of up
/// to 512 columns, rows joined to 256, blocks of 512 channels, tasks of 32768 elements.
const std::vector<Shape> shapes = {
    {1, 1, 1},   {1, 7, 1},     {3, 2, 1},     {13, 1, 1},    {13, 3, 5},   {9, 4, 1},
    {6, 5, 3},   {2047, 1, 1},  {2048, 3, 1},  {2049, 4, 1},  {4097, 2, 1}, {1, 3, 2049},
    {5, 3, 49},  {33, 5, 7},    {9, 255, 1},   {9, 256, 2},   {17, 257, 1}, {3, 513, 2},
    {8, 40, 15}, {70001, 1, 1}, {3, 2, 16500}, {2, 260, 130}, {26, 17, 150}};

const Execution serial = Execution::serial();
const Execution baseline = Execution::serial().with(InstructionSet::baseline);

}  // namespace

TEST_CASE("every element is counted once, in every layout") {
  Random random(21);
  for (const Shape& shape : shapes) {
    const Batch batch = integer_batch(random, shape.samples, shape.channels, shape.positions);
    const Results<double> expected = PowerSums::of<double>(batch);
    for (const Layout layout : all_layouts) {
      INFO(shape.samples << " x " << shape.channels << " x " << shape.positions << ", "
                         << name_of(layout));
      const Stored<float> stored(batch, layout);
      CHECK(power_sums<double, float>(serial, stored.view()) == expected);
      CHECK(power_sums<double, float>(baseline, stored.view()) == expected);
    }
  }
}

TEST_CASE("two inputs are walked together, each in its own layout") {
  Random random(22);
  for (const Shape& shape : {Shape{13, 3, 5}, Shape{2049, 4, 1}, Shape{9, 257, 2}, Shape{5, 6, 49},
                             Shape{1, 5, 3}, Shape{2, 40, 900}, Shape{140, 515, 1}}) {
    const Batch a = integer_batch(random, shape.samples, shape.channels, shape.positions);
    const Batch b = integer_batch(random, shape.samples, shape.channels, shape.positions);
    const Results<double> expected = ProductSums::of(a, b);
    for (const Layout layout_a : all_layouts) {
      for (const Layout layout_b : all_layouts) {
        INFO(shape.samples << " x " << shape.channels << " x " << shape.positions << ", "
                           << name_of(layout_a) << " and " << name_of(layout_b));
        const Stored<double> first(a, layout_a), second(b, layout_b);
        CHECK(product_sums<double>(serial, first.view(), second.view()) == expected);
        CHECK(product_sums<double>(baseline, first.view(), second.view()) == expected);
      }
    }
  }
}

TEST_CASE("scalars that are converted, and scalars without vectors") {
  Random random(23);
  const Batch batch = integer_batch(random, 45, 9, 7);
  for (const Layout layout : all_layouts) {
    INFO(name_of(layout));
    const Stored<Eigen::half> half(batch, layout);
    CHECK(power_sums<double, float>(serial, half.view()) == PowerSums::of<double>(batch));
    const Stored<long double> wide(batch, layout);
    CHECK(power_sums<long double, long double>(serial, wide.view()) ==
          PowerSums::of<long double>(batch));
  }
}

TEST_CASE("a scalar whose default is not zero") {
  const std::vector<Unset> sevens(15000, Unset(7));
  for (const batchnorm::Index channels : {1, 3, 5}) {
    for (const auto& view : {batchnorm::channels_first(sevens.data(), 3000, channels, 1),
                             batchnorm::channels_first(sevens.data(), 1, channels, 3000)}) {
      const Results<Unset> results = power_sums<Unset, Unset>(serial, view);
      for (Size c = 0; c < static_cast<Size>(channels); ++c) {
        const double deviation = 7 - (2 * static_cast<double>(c) - 3);
        CHECK(results.of[0][c] == Unset(3000 * deviation));
        CHECK(results.of[1][c] == Unset(3000 * deviation * deviation));
      }
    }
  }
}

TEST_CASE("an input may repeat its elements") {
  const std::vector<float> one_sample = {1, 5, 2};
  const BatchView<const float> repeated(one_sample.data(), 1000, 3, 20, 0, 1, 0);
  Batch batch{1000, 3, 20};
  batch.each([&](Size n, Size c, Size p) { batch.at(n, c, p) = one_sample[c]; });
  CHECK(power_sums<double, float>(serial, repeated) == PowerSums::of<double>(batch));
}

TEST_CASE("the bits do not depend on who does the work, nor in which order") {
  Random random(24);
  LastFirst last_first;
  for (const Shape& shape : {Shape{170001, 1, 1}, Shape{18000, 9, 1}, Shape{3, 2, 33000},
                             Shape{600, 257, 1}, Shape{52, 17, 150}, Shape{60, 500, 7}}) {
    const Batch batch = normal_batch(random, shape.samples, shape.channels, shape.positions, -3);
    for (const Layout layout : {Layout::channels_first, Layout::channels_last, Layout::padded}) {
      INFO(shape.samples << " x " << shape.channels << " x " << shape.positions << ", "
                         << name_of(layout));
      const Stored<double> stored(batch, layout);
      const BatchView<const double> view = stored.view();
      const Results<double> alone = power_sums<double, double>(serial, view);
      for (const Index threads : {2, 7, 64}) {
        const Execution execution = Execution::parallel_for(last_first, threads);
        const int calls_before = last_first.calls;
        CHECK(power_sums<double, double>(execution, view) == alone);
        CHECK(last_first.calls == calls_before + 1);
        CHECK(product_sums<double>(execution, view, view) ==
              product_sums<double>(serial, view, view));
      }
      const Execution one_thread = Execution::parallel_for(last_first, 1);
      CHECK(power_sums<double, double>(one_thread, view) == alone);
    }
  }
}

TEST_CASE("the sums are not exact, so that the bits had a chance to differ") {
  // In another order of addition the same numbers give other bits.
  Random random(25);
  const Batch batch = normal_batch(random, 70001, 1, 1, -3);
  Batch reversed = batch;
  std::reverse(reversed.values.begin(), reversed.values.end());
  const Stored<double> forth(batch, Layout::channels_first), back(reversed, Layout::channels_first);
  CHECK_FALSE(power_sums<double, double>(serial, forth.view()) ==
              power_sums<double, double>(serial, back.view()));
}

TEST_CASE("little work is not handed out") {
  Random random(26);
  LastFirst last_first;
  const Execution execution = Execution::parallel_for(last_first, 4);
  const Stored<float> stored(integer_batch(random, 50, 600, 1), Layout::channels_first);
  power_sums<double, float>(execution, stored.view());
  CHECK(last_first.calls == 0);
}
