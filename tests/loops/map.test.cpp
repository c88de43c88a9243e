// SPDX-License-Identifier: MIT
#include "batchnorm/loops/map.hpp"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "batchnorm/loops/cache.hpp"
#include "loops/map_formulas.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"
#include "support/sparse_memory.hpp"

using batchnorm::BatchView;
using batchnorm::Execution;
using batchnorm::InstructionSet;
using batchnorm::loops::Views;
using namespace batchnorm_test;

namespace {

const std::vector<Execution> executions = {Execution::serial(),
                                           Execution::serial().with(InstructionSet::avx2),
                                           Execution::serial().with(InstructionSet::baseline)};

template <class C, class Map, class T, class Numbers>
void map_one(const Execution& execution, const Numbers& numbers, const BatchView<T>& to,
             const BatchView<const T>& from) {
  batchnorm::loops::map<C, Map>(execution, numbers, Views<T, 1>{to}, Views<const T, 1>{from});
}

/// Maps into other memory, and in place.
template <class T, class C>
void check_line(const Batch& batch, Layout from, Layout to) {
  const Batch expected = stored_as<T>(line_of(batch));
  for (const Execution& execution : executions) {
    const Stored<T> input(batch, from);
    Stored<T> output = Stored<T>::like(batch, to);
    map_one<C, Line, T>(execution, LineNumbers(), output.view(), input.view());
    CHECK((output.read().values == expected.values));
    CHECK(output.gaps_are_untouched());
    CHECK((input.read().values == batch.values));
  }
  Stored<T> both(batch, to, 3);
  map_one<C, Line, T>(Execution(), LineNumbers(), both.view(), both.view());
  CHECK((both.read().values == expected.values));
  CHECK(both.gaps_are_untouched());
}

Batch centred(const Batch& batch, Layout from, Layout to, Index offset,
              const Execution& execution) {
  const Stored<float> input(batch, from, offset);
  Stored<float> output = Stored<float>::like(batch, to, offset);
  map_one<float, Centred, float>(execution, CentredNumbers(), output.view(), input.view());
  return output.read();
}

}  // namespace

TEST_CASE("every element is mapped with its channel's numbers, from every layout to every other") {
  struct Shape {
    Size samples, channels, positions;
  };
  Random random(51);
  for (const Shape& shape : {Shape{1, 1, 1}, Shape{3, 5, 4}, Shape{1, 9, 1}, Shape{17, 1, 1},
                             Shape{2, 3, 49}, Shape{9, 3, 49}, Shape{100, 3, 1}, Shape{5, 17, 1},
                             Shape{3, 259, 2}, Shape{2, 1025, 1}, Shape{1, 2, 2049}}) {
    const Batch batch = integer_batch(random, shape.samples, shape.channels, shape.positions);
    for (const Layout from : all_layouts) {
      for (const Layout to : all_layouts) {
        INFO(shape.samples << " x " << shape.channels << " x " << shape.positions << ", "
                           << name_of(from) << " to " << name_of(to));
        check_line<float, float>(batch, from, to);
      }
    }
  }
}

TEST_CASE("scalars that are converted, and scalars without vectors") {
  Random random(52);
  const Batch batch = integer_batch(random, 5, 11, 3, 30);
  for (const Layout layout : all_layouts) {
    INFO(name_of(layout));
    check_line<Eigen::bfloat16, float>(batch, layout, layout);
    check_line<long double, long double>(batch, layout, Layout::channels_last);
  }
}

TEST_CASE("two inputs and two outputs, of which some may be the same") {
  Random random(53);
  const Batch a = integer_batch(random, 6, 13, 5);
  const Batch b = integer_batch(random, 6, 13, 5);
  const auto expected = pair_of(a, b);
  for (const Layout layout : all_layouts) {
    for (const Layout other : all_layouts) {
      INFO(name_of(layout) << " and " << name_of(other));
      Stored<double> first(a, layout), second(b, other);
      Stored<double> sum = Stored<double>::like(a, Layout::channels_first);
      batchnorm::loops::map<double, Pair>(Execution(), PairNumbers(),
                                          Views<double, 2>{sum.view(), second.view()},
                                          Views<const double, 2>{first.view(), second.view()});
      CHECK((sum.read().values == expected.first.values));
      CHECK((second.read().values == expected.second.values));
      CHECK(second.gaps_are_untouched());
      CHECK((first.read().values == a.values));
    }
  }
}

TEST_CASE("of nothing, nothing is mapped") {
  const BatchView<float> nothing(nullptr, 0, 3, 4, 12, 4, 1);
  map_one<float, Line, float>(Execution(), LineNumbers(), nothing, nothing);
  SUCCEED("nothing was touched");
}

TEST_CASE("the same element gives the same bits wherever it stands") {
  // A channel of nothing but one value per channel: all its elements are those of a single one.
  constexpr Size channels = 21;
  Batch single{1, channels, 1};
  single.each([&](Size n, Size c, Size p) {
    single.at(n, c, p) = c % 2 == 0 ? 0.1f * static_cast<float>(c) : 0.7f * static_cast<float>(c);
  });
  for (const Execution& execution : executions) {
    const Batch alone =
        centred(single, Layout::channels_first, Layout::channels_first, 0, execution);
    for (const Size samples : {Size{1}, Size{2}, Size{7}, Size{16}}) {
      for (const Size positions : {Size{1}, Size{3}, Size{37}}) {
        Batch batch{samples, channels, positions};
        Batch expected = batch;
        batch.each([&](Size n, Size c, Size p) {
          batch.at(n, c, p) = single.at(0, c, 0);
          expected.at(n, c, p) = alone.at(0, c, 0);
        });
        for (const Layout from : all_layouts) {
          for (const Layout to : all_layouts) {
            INFO(samples << " x " << positions << ", " << name_of(from) << " to " << name_of(to));
            const Index offset = static_cast<Index>(samples % 4);
            CHECK(same_bits(centred(batch, from, to, offset, execution), expected));
          }
        }
      }
    }
  }
}

TEST_CASE("the bits do not depend on who does the work, nor in which order") {
  Random random(54);
  LastFirst last_first;
  for (const Batch& batch : {normal_batch(random, 140001, 1, 1), normal_batch(random, 6, 300, 80),
                             normal_batch(random, 40, 70, 49), normal_batch(random, 18000, 9, 1)}) {
    for (const Layout layout : {Layout::channels_first, Layout::channels_last, Layout::padded}) {
      const Batch alone = centred(batch, layout, layout, 0, Execution());
      const int calls_before = last_first.calls;
      for (const Index threads : {2, 64}) {
        const Execution execution = Execution::parallel_for(last_first, threads);
        CHECK((centred(batch, layout, layout, 0, execution).values == alone.values));
      }
      CHECK(last_first.calls == calls_before + 2);
    }
  }
}

TEST_CASE("little work is not handed out") {
  Random random(56);
  LastFirst last_first;
  const Execution execution = Execution::parallel_for(last_first, 4);
  centred(normal_batch(random, 50, 600, 1), Layout::padded, Layout::padded, 0, execution);
  CHECK(last_first.calls == 0);
}

TEST_CASE("what does not stay in the cache is streamed, with the same bits") {
  // Input and output together are as large as the last-level cache.
  const auto half = batchnorm::loops::last_level_bytes() / static_cast<Index>(2 * sizeof(float));
  REQUIRE(batchnorm::loops::worth_streaming(2 * half * static_cast<Index>(sizeof(float))));
  const Index rows = half / 50;
  const auto size = static_cast<Size>(rows * 50);
  std::vector<float> input(size), output(size + 60);
  for (Size i = 0; i < size; ++i) input[i] = static_cast<float>(i % 1013) - 500.0f;
  LastFirst last_first;
  const Execution shared = Execution::parallel_for(last_first, 3);
  for (const bool rows_of_channels : {false, true}) {
    // One row of 50 channels, or 50 runs.
    const auto view = [&](auto* data, Index some) {
      return rows_of_channels ? batchnorm::channels_last(data, some, 50, 1)
                              : batchnorm::channels_first(data, 1, 50, some);
    };
    for (const Execution& execution : {Execution(), shared}) {
      const Size offset = execution.threads() > 1 ? 13 : 0;
      std::fill(output.begin(), output.end(), -12345.0f);
      map_one<float, Centred, float>(execution, CentredNumbers(),
                                     view(output.data() + offset, rows),
                                     view(static_cast<const float*>(input.data()), rows));
      // Some of the same values again, too few to be streamed: every 50 rows or every run's first.
      float k[3];
      int wrong = 0;
      for (Size i = 0; i < size; i += 997) {
        const auto channel = static_cast<Index>(rows_of_channels ? i % 50 : i / (size / 50));
        CentredNumbers()(channel, k);
        const float value = input[i];
        float mapped[1] = {};
        struct OfChannel {
          const float* numbers;
          void operator()(Index, float* to) const { std::copy(numbers, numbers + 3, to); }
        };
        map_one<float, Centred, float>(Execution(), OfChannel{k},
                                       BatchView<float>(mapped, 1, 1, 1, 1, 1, 1),
                                       BatchView<const float>(&value, 1, 1, 1, 1, 1, 1));
        if (mapped[0] != output[i + offset]) ++wrong;
      }
      CHECK(wrong == 0);
      CHECK(std::count(output.begin(), output.end(), -12345.0f) == 60);
    }
  }
  CHECK(last_first.calls == 2);
}

TEST_CASE("elements beyond 2^32 are mapped where they are") {
  const SparseMemory sparse(std::uint64_t{36} << 30);
  if (sparse.data<float>() == nullptr) {
    WARN("left out: this system grants no sparse memory of 36 GiB");
    return;
  }
  const BatchView<float> far(sparse.data<float>(), 2, 5, 6, (Index{1} << 32) + 3, (1 << 29) + 1, 7);
  // The same with neighbouring elements, along runs and along rows.
  const BatchView<float> runs(sparse.data<float>(), 2, 5, 6, (Index{1} << 32) + 3, (1 << 29) + 1,
                              1);
  const BatchView<float> rows(sparse.data<float>(), 2, 5, 6, (Index{1} << 32) + 3, 1,
                              (1 << 29) + 1);
  Random random(55);
  const Batch batch = integer_batch(random, 2, 5, 6);
  const Stored<float> first(batch, Layout::channels_first), last(batch, Layout::channels_last);
  Stored<float> output = Stored<float>::like(batch, Layout::channels_last);
  for (const Execution& execution : executions) {
    for (const BatchView<float>& there : {far, runs, rows}) {
      const Stored<float>& input = there.channel_stride() == 1 ? last : first;
      map_one<float, Line, float>(execution, LineNumbers(), there, input.view());
      map_one<float, Line, float>(execution, LineNumbers(), output.view(), there);
      CHECK((output.read().values == line_of(line_of(batch)).values));
    }
  }
}
