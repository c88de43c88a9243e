// SPDX-License-Identifier: MIT
#include "batchnorm/loops/map.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"
#include "support/loop_formulas.hpp"
#include "support/sparse_memory.hpp"

using batchnorm::BatchView;
using batchnorm::Execution;
using batchnorm::InstructionSet;
using namespace batchnorm_test;

namespace {

/// y = x k0 + k1, with k0 = c mod 5 - 2 and k1 = c + 1 of channel c.
struct Line {
  static constexpr int coefficients = 2;
  template <class V>
  [[gnu::always_inline]] static void apply(V& y, const V* x, const V* k) {
    y = x[0] * k[0] + k[1];
  }
};
template <class C>
struct LineCoefficients {
  void operator()(Index channel, C* k) const {
    k[0] = static_cast<C>(channel % 5 - 2);
    k[1] = static_cast<C>(channel + 1);
  }
};
Batch line_of(Batch batch) {
  batch.each([&](Size n, Size c, Size p) {
    const Real slope = static_cast<Real>(c % 5) - 2;
    batch.at(n, c, p) = batch.at(n, c, p) * slope + static_cast<Real>(c) + 1;
  });
  return batch;
}

/// y = x0 k0 + x1 k1 + k2.
struct Plane {
  static constexpr int coefficients = 3;
  template <class V>
  [[gnu::always_inline]] static void apply(V& y, const V* x, const V* k) {
    y = x[0] * k[0] + x[1] * k[1] + k[2];
  }
};
struct PlaneCoefficients {
  void operator()(Index channel, double* k) const {
    for (int i = 0; i < 3; ++i) k[i] = static_cast<double>((channel + 1) * (i + 2) % 7);
  }
};

/// y = (x - k0) k1 + k2 with coefficients that round.
struct Centred {
  static constexpr int coefficients = 3;
  template <class V>
  [[gnu::always_inline]] static void apply(V& y, const V* x, const V* k) {
    y = (x[0] - k[0]) * k[1] + k[2];
  }
};
struct CentredCoefficients {
  void operator()(Index channel, float* k) const {
    const auto c = static_cast<float>(channel);
    k[0] = 0.1f * c;
    k[1] = -1.0f / (c + 3.0f);
    k[2] = channel % 2 == 0 ? -0.0f : 0.3f * c;
  }
};

const std::vector<Execution> executions = {Execution::serial(),
                                           Execution::serial().with(InstructionSet::baseline)};

/// Maps into other memory, and in place.
template <class T, class C>
void check_line(const Batch& batch, Layout from, Layout to) {
  const Batch expected = stored_as<T>(line_of(batch));
  for (const Execution& execution : executions) {
    const Stored<T> input(batch, from);
    Stored<T> output = Stored<T>::like(batch, to);
    batchnorm::loops::map<C, Line>(execution, LineCoefficients<C>(), output.view(), input.view());
    CHECK((output.read().values == expected.values));
    CHECK(output.gaps_are_untouched());
    CHECK((input.read().values == batch.values));
  }
  Stored<T> both(batch, to, 3);
  const BatchView<T> view = both.view();
  batchnorm::loops::map<C, Line>(Execution(), LineCoefficients<C>(), view, view);
  CHECK((both.read().values == expected.values));
  CHECK(both.gaps_are_untouched());
}

/// Whether all numbers are the same to the last bit, the sign of zero included.
bool same_bits(const Batch& a, const Batch& b) {
  return a.values.size() == b.values.size() &&
         std::equal(a.values.begin(), a.values.end(), b.values.begin(),
                    [](Real x, Real y) { return x == y && std::signbit(x) == std::signbit(y); });
}

Batch centred(const Batch& batch, Layout from, Layout to, Index offset,
              const Execution& execution) {
  const Stored<float> input(batch, from, offset);
  Stored<float> output = Stored<float>::like(batch, to, offset);
  batchnorm::loops::map<float, Centred>(execution, CentredCoefficients(), output.view(),
                                        input.view());
  return output.read();
}

}  // namespace

TEST_CASE("every element is mapped with its channel's numbers, from every layout to every other") {
  struct Shape {
    Size samples, channels, positions;
  };
  Random random(51);
  for (const Shape& shape : {Shape{1, 1, 1},
                             {3, 5, 4},
                             {1, 9, 1},
                             {17, 1, 1},
                             {2, 3, 49},
                             {5, 17, 1},
                             {3, 259, 2},
                             {2, 513, 1},
                             {1, 2, 2049}}) {
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

TEST_CASE("two inputs, of which one may be the output") {
  Random random(53);
  const Batch a = integer_batch(random, 6, 13, 5);
  const Batch b = integer_batch(random, 6, 13, 5);
  Batch expected = a;
  expected.each([&](Size n, Size c, Size p) {
    double k[3];
    PlaneCoefficients()(static_cast<Index>(c), k);
    expected.at(n, c, p) = a.at(n, c, p) * k[0] + b.at(n, c, p) * k[1] + k[2];
  });
  for (const Layout layout : all_layouts) {
    for (const Layout other : all_layouts) {
      INFO(name_of(layout) << " and " << name_of(other));
      Stored<double> first(a, layout), second(b, other);
      Stored<double> output = Stored<double>::like(a, Layout::channels_first);
      batchnorm::loops::map<double, Plane>(Execution(), PlaneCoefficients(), output.view(),
                                           first.view(), second.view());
      CHECK((output.read().values == expected.values));
      batchnorm::loops::map<double, Plane>(Execution(), PlaneCoefficients(), second.view(),
                                           first.view(), second.view());
      CHECK((second.read().values == expected.values));
      CHECK(second.gaps_are_untouched());
      CHECK((first.read().values == a.values));
    }
  }
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
  for (const Batch& batch : {normal_batch(random, 70001, 1, 1), normal_batch(random, 3, 300, 80),
                             normal_batch(random, 9000, 9, 1)}) {
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
  const Execution execution = Execution::parallel_for(last_first, 4);
  const int calls_before = last_first.calls;
  centred(normal_batch(random, 100, 600, 1), Layout::padded, Layout::padded, 0, execution);
  CHECK(last_first.calls == calls_before);
}

TEST_CASE("elements beyond 2^32 are mapped where they are") {
  const SparseMemory sparse(std::uint64_t{36} << 30);
  if (sparse.data<float>() == nullptr) {
    WARN("left out: this system grants no sparse memory of 36 GiB");
    return;
  }
  const BatchView<float> far(sparse.data<float>(), 2, 5, 6, (Index{1} << 32) + 3, (1 << 29) + 1, 7);
  Random random(55);
  const Batch batch = integer_batch(random, 2, 5, 6);
  const Stored<float> input(batch, Layout::channels_first);
  Stored<float> output = Stored<float>::like(batch, Layout::channels_last);
  for (const Execution& execution : executions) {
    const LineCoefficients<float> line;
    batchnorm::loops::map<float, Line>(execution, line, far, input.view());
    batchnorm::loops::map<float, Line>(execution, line, output.view(), far);
    CHECK((output.read().values == line_of(line_of(batch)).values));
  }
}
