// SPDX-License-Identifier: MIT
#include "batchnorm/loops/reduce.hpp"

#include <algorithm>
#include <vector>

#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"
#include "support/loop_formulas.hpp"

using batchnorm::Execution;
using batchnorm::InstructionSet;
using namespace batchnorm_test;

namespace {

struct Shape {
  Size samples, channels, positions;
};

/// A scalar as other libraries may define it: its default is not zero.
struct Unset {
  Unset() = default;
  explicit Unset(double number) : value(number) {}
  Unset& operator+=(const Unset& other) {
    value += other.value;
    return *this;
  }
  friend Unset operator+(const Unset& a, const Unset& b) { return Unset(a.value + b.value); }
  friend Unset operator-(const Unset& a, const Unset& b) { return Unset(a.value - b.value); }
  friend Unset operator*(const Unset& a, const Unset& b) { return Unset(a.value * b.value); }
  friend Unset operator/(const Unset& a, const Unset& b) { return Unset(a.value / b.value); }
  friend bool operator==(const Unset& a, const Unset& b) { return a.value == b.value; }
  double value = 99;
};

/// Around every limit of the loops: vectors, rows of four, chunks of 2048 values and of 4096
/// elements, blocks of 256 channels, tasks of 32768 elements.
const std::vector<Shape> shapes = {
    {1, 1, 1},     {1, 7, 1},     {3, 2, 1},     {13, 1, 1},   {13, 3, 5},   {9, 4, 1},
    {6, 5, 3},     {2047, 1, 1},  {2048, 3, 1},  {2049, 4, 1}, {4097, 2, 1}, {1, 3, 2049},
    {5, 3, 49},    {33, 5, 7},    {9, 255, 1},   {9, 256, 2},  {17, 257, 1}, {3, 513, 2},
    {70001, 1, 1}, {3, 2, 16500}, {2, 260, 130}, {26, 17, 150}};

template <class T>
Results<double> power_sums(const Execution& execution, const Stored<T>& stored, Size channels) {
  Results<double> results(3, channels);
  batchnorm::loops::reduce(execution, PowerSums<double>(results), stored.view());
  return results;
}

template <class T>
Results<double> product_sums(const Execution& execution, const Stored<T>& first,
                             const Stored<T>& second, Size channels) {
  Results<double> results(3, channels);
  batchnorm::loops::reduce(execution, ProductSums<double>(results), first.view(), second.view());
  return results;
}

const Execution serial = Execution::serial();
const Execution baseline = Execution::serial().with(InstructionSet::baseline);

}  // namespace

TEST_CASE("every element is counted once, in every layout") {
  Random random(21);
  for (const Shape& shape : shapes) {
    const Batch batch = integer_batch(random, shape.samples, shape.channels, shape.positions);
    const Results<double> expected = PowerSums<double>::of(batch);
    for (const Layout layout : all_layouts) {
      INFO(shape.samples << " x " << shape.channels << " x " << shape.positions << ", "
                         << name_of(layout));
      const Stored<float> stored(batch, layout);
      CHECK(power_sums(serial, stored, shape.channels) == expected);
      CHECK(power_sums(baseline, stored, shape.channels) == expected);
    }
  }
}

TEST_CASE("two inputs are walked together, each in its own layout") {
  Random random(22);
  for (const Shape& shape :
       {Shape{13, 3, 5}, {2049, 4, 1}, {9, 257, 2}, {5, 6, 49}, {1, 5, 3}, {2, 40, 900}}) {
    const Batch a = integer_batch(random, shape.samples, shape.channels, shape.positions);
    const Batch b = integer_batch(random, shape.samples, shape.channels, shape.positions);
    const Results<double> expected = ProductSums<double>::of(a, b);
    for (const Layout layout_a : all_layouts) {
      for (const Layout layout_b : all_layouts) {
        INFO(shape.samples << " x " << shape.channels << " x " << shape.positions << ", "
                           << name_of(layout_a) << " and " << name_of(layout_b));
        const Stored<double> first(a, layout_a), second(b, layout_b);
        CHECK(product_sums(serial, first, second, shape.channels) == expected);
        CHECK(product_sums(baseline, first, second, shape.channels) == expected);
      }
    }
  }
}

TEST_CASE("scalars that are converted, and scalars without vectors") {
  Random random(23);
  const Batch batch = integer_batch(random, 45, 9, 7);
  const Results<double> expected = PowerSums<double>::of(batch);
  for (const Layout layout : all_layouts) {
    INFO(name_of(layout));
    CHECK(power_sums(serial, Stored<Eigen::half>(batch, layout), 9) == expected);
    Results<long double> results(3, 9);
    const Stored<long double> stored(batch, layout);
    batchnorm::loops::reduce(serial, PowerSums<long double>(results), stored.view());
    CHECK(results == PowerSums<long double>::of(batch));
  }
}

TEST_CASE("a scalar whose default is not zero") {
  const std::vector<Unset> sevens(15000, Unset(7));
  for (const batchnorm::Index channels : {1, 3, 5}) {
    for (const auto& view : {batchnorm::channels_first(sevens.data(), 3000, channels, 1),
                             batchnorm::channels_first(sevens.data(), 1, channels, 3000)}) {
      Results<Unset> results(3, static_cast<Size>(channels));
      batchnorm::loops::reduce(serial, PowerSums<Unset>(results), view);
      for (Size c = 0; c < static_cast<Size>(channels); ++c) {
        const double deviation = 7 - (2 * static_cast<double>(c) - 3);
        CHECK(results.of[0][c] == Unset(3000 * deviation));
        CHECK(results.of[1][c] == Unset(3000 * deviation * deviation));
        CHECK(results.of[2][c] == Unset(3000));
      }
    }
  }
}

TEST_CASE("an input may repeat its elements") {
  const std::vector<float> one_sample = {1, 5, 2};
  const batchnorm::BatchView<const float> repeated(one_sample.data(), 1000, 3, 20, 0, 1, 0);
  Batch batch{1000, 3, 20};
  batch.each([&](Size n, Size c, Size p) { batch.at(n, c, p) = one_sample[c]; });
  Results<double> results(3, 3);
  batchnorm::loops::reduce(serial, PowerSums<double>(results), repeated);
  CHECK(results == PowerSums<double>::of(batch));
}

TEST_CASE("the bits do not depend on who does the work, nor in which order") {
  Random random(24);
  LastFirst last_first;
  for (const Shape& shape : {Shape{170001, 1, 1},
                             {9000, 9, 1},
                             {3, 2, 16500},
                             {300, 257, 1},
                             {26, 17, 150},
                             {2, 5000, 7}}) {
    const Batch batch = normal_batch(random, shape.samples, shape.channels, shape.positions, -3);
    for (const Layout layout : {Layout::channels_first, Layout::channels_last, Layout::padded}) {
      INFO(shape.samples << " x " << shape.channels << " x " << shape.positions << ", "
                         << name_of(layout));
      const Stored<double> stored(batch, layout);
      const Results<double> alone = power_sums(serial, stored, shape.channels);
      for (const Index threads : {2, 3, 7, 64}) {
        const Execution execution = Execution::parallel_for(last_first, threads);
        const int calls_before = last_first.calls;
        CHECK(power_sums(execution, stored, shape.channels) == alone);
        CHECK(last_first.calls == calls_before + 1);
        CHECK(product_sums(execution, stored, stored, shape.channels) ==
              product_sums(serial, stored, stored, shape.channels));
      }
      const Execution one_thread = Execution::parallel_for(last_first, 1);
      CHECK(power_sums(one_thread, stored, shape.channels) == alone);
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
  CHECK_FALSE(power_sums(serial, forth, 1) == power_sums(serial, back, 1));
}

TEST_CASE("little work is not handed out") {
  Random random(26);
  LastFirst last_first;
  const Execution execution = Execution::parallel_for(last_first, 4);
  const Stored<float> stored(integer_batch(random, 100, 600, 1), Layout::channels_first);
  power_sums(execution, stored, 600);
  CHECK(last_first.calls == 0);
}
