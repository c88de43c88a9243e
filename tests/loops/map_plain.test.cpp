// SPDX-License-Identifier: MIT
#include "batchnorm/loops/map_plain.hpp"

#include <vector>

#include "loops/map_formulas.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"

using batchnorm::BatchView;
using batchnorm::loops::PlainMapper;
using batchnorm::loops::Region;
using batchnorm::loops::Views;
using namespace batchnorm_test;

namespace {

template <class C, class T>
void map_line(const BatchView<T>& to, const BatchView<const T>& from,
              const Region* region = nullptr) {
  with_map_job<C, Line>(LineNumbers(), Views<T, 1>{to}, Views<const T, 1>{from}, region, false,
                        [](const auto& job) { PlainMapper(job).run(); });
}

struct Shape {
  Size samples, channels, positions;
};
/// Runs, more columns than are taken at once, short runs in rows, rows with cycles and a short end.
const std::vector<Shape> shapes = {{1, 1, 1},   {3, 5, 4},  {3, 600, 1}, {9, 70, 20},
                                   {161, 3, 1}, {20, 9, 7}, {2, 1100, 1}};

}  // namespace

TEST_CASE("every element is mapped with its channel's numbers, one by one") {
  Random random(1);
  for (const Shape& shape : shapes) {
    const Batch batch = integer_batch(random, shape.samples, shape.channels, shape.positions);
    for (const Layout layout : all_layouts) {
      INFO(shape.samples << " x " << shape.channels << " x " << shape.positions << ", "
                         << name_of(layout));
      Stored<long double> both(batch, layout);
      map_line<long double, long double>(both.view(), both.view());
      CHECK((both.read().values == line_of(batch).values));
      CHECK(both.gaps_are_untouched());
      const Stored<float> input(batch, Layout::channels_first);
      Stored<float> output = Stored<float>::like(batch, layout);
      map_line<float, float>(output.view(), input.view());
      CHECK((output.read().values == line_of(batch).values));
      CHECK(output.gaps_are_untouched());
    }
  }
}

TEST_CASE("nothing is written outside of the region") {
  Random random(2);
  const Batch batch = integer_batch(random, 30, 37, 17);
  for (const Layout layout : {Layout::channels_outermost, Layout::channels_last, Layout::padded}) {
    for (const Region& region : {Region{0, 37, 0, 510}, Region{2, 29, 0, 510}, Region{3, 4, 59, 60},
                                 Region{1, 10, 13, 476}}) {
      Batch expected = Stored<float>::like(batch, layout).read();
      const Batch line = line_of(batch);
      batch.each([&](Size n, Size c, Size p) {
        const auto channel = static_cast<Index>(c);
        const auto value = static_cast<Index>(n * 17 + p);
        if (channel >= region.first_column && channel < region.last_column &&
            value >= region.first_row && value < region.last_row) {
          expected.at(n, c, p) = line.at(n, c, p);
        }
      });
      const Stored<float> input(batch, layout);
      Stored<float> output = Stored<float>::like(batch, layout);
      map_line<float, float>(output.view(), input.view(), &region);
      INFO(name_of(layout) << ", columns " << region.first_column << " to " << region.last_column);
      CHECK((output.read().values == expected.values));
      CHECK(output.gaps_are_untouched());
    }
  }
}

TEST_CASE("two outputs, two inputs and a constant") {
  Random random(3);
  const Batch a = integer_batch(random, 9, 13, 5);
  const Batch b = integer_batch(random, 9, 13, 5);
  const auto expected = pair_of(a, b);
  for (const Layout layout : all_layouts) {
    const Stored<float> first(a, layout), second(b, Layout::padded);
    Stored<float> sum = Stored<float>::like(a, Layout::backwards);
    Stored<float> rest = Stored<float>::like(a, layout);
    with_map_job<float, Pair>(PairNumbers(), Views<float, 2>{sum.view(), rest.view()},
                              Views<const float, 2>{first.view(), second.view()}, nullptr, false,
                              [](const auto& job) { PlainMapper(job).run(); });
    INFO(name_of(layout));
    CHECK((sum.read().values == expected.first.values));
    CHECK((rest.read().values == expected.second.values));
    CHECK((sum.gaps_are_untouched() && rest.gaps_are_untouched()));
  }
}

TEST_CASE("a scalar whose default is not zero") {
  std::vector<Unset> numbers(30, Unset(7));
  const auto view = batchnorm::channels_last(numbers.data(), 5, 6, 1);
  map_line<Unset, Unset>(view, view);
  for (int i = 0; i < 30; ++i) {
    const int c = i % 6;
    CHECK(numbers[static_cast<Size>(i)] == Unset(7 * (c % 5 - 2) + c + 1));
  }
}
