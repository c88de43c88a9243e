// SPDX-License-Identifier: MIT
#include "batchnorm/loops/sample.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"
#include "support/loop_formulas.hpp"

using batchnorm::BatchView;
using batchnorm::loops::Plan;
using namespace batchnorm_test;

namespace {

/// The guesses of all channels; those outside [first, last) stay -12345.
template <class L, class T>
std::vector<L> guesses_of(const BatchView<const T>& view, Index first, Index last) {
  std::vector<L> guesses(static_cast<Size>(view.channels()), L(-12345));
  const Plan<1> plan(view);
  batchnorm::loops::sample_means(batchnorm::InstructionSet::best, plan, view.data(), first, last,
                                 guesses.data());
  return guesses;
}
template <class L, class T>
std::vector<L> guesses_of(const Stored<T>& stored) {
  const BatchView<const T> view = stored.view();
  return guesses_of<L>(view, 0, view.channels());
}

struct Shape {
  Size samples, channels, positions;
};
/// Runs, rows, short runs in rows, rows with cycles, and more columns than a block has.
const std::vector<Shape> shapes = {{1500, 40, 1}, {40, 60, 15}, {20, 40, 49},
                                   {700, 3, 2},   {1000, 9, 1}, {300, 520, 1}};

/// How far the guesses are from the means, in deviations: the root of the mean square.
template <class T>
Real error_of_guesses(const std::vector<float>& guesses, const Batch& batch) {
  const Batch stored = stored_as<T>(batch);
  const PerChannel mean = reference::mean(stored);
  const PerChannel variance = reference::variance(stored, mean);
  Real sum = 0;
  for (Size c = 0; c < batch.channels; ++c) {
    const Real error = static_cast<Real>(guesses[c]) - mean[c];
    sum += error * error / variance[c];
  }
  return std::sqrt(sum / static_cast<Real>(batch.channels));
}

}  // namespace

// Where a row is all there is of a channel's columns, the deviations are those between the columns.
TEST_CASE("guesses of data of few digits have few digits, however the rows are joined") {
  struct Kind {
    Shape shape;
    Layout layout;
    float grid;
  };
  // Integers up to 100: their deviations are about 50, and one of few values, as of a column of
  // its own, is hardly below 1.
  const std::vector<Kind> kinds = {{{16, 5, 3}, Layout::channels_last, 1},
                                   {{16, 5, 3}, Layout::channels_first, 1},
                                   {{48, 5, 1}, Layout::channels_last, 0.0625f},
                                   {{47, 3, 1}, Layout::channels_last, 1},
                                   {{700, 3, 2}, Layout::channels_last, 1},
                                   {{90, 40, 7}, Layout::channels_first, 1},
                                   {{30, 20, 49}, Layout::channels_first, 1},
                                   {{1500, 40, 1}, Layout::channels_outermost, 1},
                                   {{800, 40, 1}, Layout::channels_last, 0.0625f},
                                   {{800, 40, 1}, Layout::backwards, 0.0625f}};
  Random random(5);
  for (const Kind& kind : kinds) {
    const auto [samples, channels, positions] = kind.shape;
    const Batch batch = integer_batch(random, samples, channels, positions);
    const Stored<float> stored(batch, kind.layout);
    const std::vector<float> guesses = guesses_of<float>(stored);
    for (Size c = 0; c < channels; ++c) {
      INFO(samples << " x " << channels << " x " << positions << ", " << name_of(kind.layout)
                   << ", channel " << c);
      CHECK(std::fmod(guesses[c], kind.grid) == 0.0f);
    }
    CHECK(error_of_guesses<float>(guesses, batch) < 0.4L);
  }
}

// The deviation is taken from few values, which may all be the same though the others are not. Then
// it is the number of values that keeps the digits few: a power of two.
TEST_CASE("guesses of mostly constant integers have few digits") {
  Random random(6);
  for (const Shape& shape : {Shape{16, 5, 3}, Shape{24, 40, 1}, Shape{48, 40, 1}, Shape{100, 40, 1},
                             Shape{250, 40, 1}, Shape{700, 40, 1}, Shape{1100, 40, 1}}) {
    Batch batch{shape.samples, shape.channels, shape.positions};
    for (Real& value : batch.values) value = random.below(4) == 0 ? 3 : 0;
    for (const Layout layout : all_layouts) {
      const std::vector<float> guesses = guesses_of<float>(Stored<float>(batch, layout));
      bool few_digits = true;
      for (const float guess : guesses) few_digits = few_digits && std::fmod(guess, 0x1p-10f) == 0;
      INFO(shape.samples << " x " << shape.channels << " x " << shape.positions << ", "
                         << name_of(layout));
      CHECK(few_digits);
    }
  }
}

TEST_CASE("guesses of normal data are about a quarter of a deviation from the mean") {
  // Within half a deviation most of them; the others are for Reduction::settle to find.
  Random random(1);
  for (const Shape& shape : shapes) {
    for (const Real mean : {0.0L, 1000.0L}) {
      const Batch batch =
          normal_batch(random, shape.samples, shape.channels, shape.positions, mean);
      for (const Layout layout : all_layouts) {
        INFO(shape.samples << " x " << shape.channels << " x " << shape.positions << ", "
                           << name_of(layout) << ", mean " << mean);
        const std::vector<float> guesses = guesses_of<float>(Stored<float>(batch, layout));
        CHECK(error_of_guesses<float>(guesses, batch) < 0.35L);
      }
    }
  }
}

TEST_CASE("guesses of half precision data are sums of float") {
  Random random(2);
  const Batch batch = normal_batch(random, 500, 40, 3, 20);
  for (const Layout layout : all_layouts) {
    const std::vector<float> guesses = guesses_of<float>(Stored<Eigen::half>(batch, layout));
    CHECK(error_of_guesses<Eigen::half>(guesses, batch) < 0.35L);
  }
}

TEST_CASE("of a constant channel the guess is exact") {
  for (const Shape& shape : shapes) {
    Batch batch{shape.samples, shape.channels, shape.positions};
    std::vector<float> expected;
    for (Size c = 0; c < shape.channels; ++c) {
      expected.push_back(c % 3 == 0 ? 0.1f : c % 3 == 1 ? -1e30f : 1e-40f);
    }
    batch.each([&](Size n, Size c, Size p) { batch.at(n, c, p) = expected[c]; });
    for (const Layout layout : all_layouts) {
      INFO(shape.samples << " x " << shape.channels << " x " << shape.positions << ", "
                         << name_of(layout));
      CHECK(guesses_of<float>(Stored<float>(batch, layout)) == expected);
    }
  }
}

TEST_CASE("arrays of few values are sampled where they are") {
  for (const Shape& shape : {Shape{1, 1, 1}, Shape{1, 5, 1}, Shape{2, 1, 1}, Shape{1, 2, 3},
                             Shape{9, 2, 2}, Shape{3, 2, 5}}) {
    Batch batch{shape.samples, shape.channels, shape.positions};
    batch.each([&](Size n, Size c, Size p) { batch.at(n, c, p) = 7 + static_cast<Real>(c); });
    for (const Layout layout : all_layouts) {
      const std::vector<float> guesses = guesses_of<float>(Stored<float>(batch, layout, 3));
      for (Size c = 0; c < shape.channels; ++c) CHECK(guesses[c] == 7 + static_cast<float>(c));
    }
  }
}

TEST_CASE("NaN and infinity do not get through, and stay in their channel") {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float odd : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()}) {
    for (const Shape& shape : shapes) {
      Batch batch{shape.samples, shape.channels, shape.positions};
      batch.each([&](Size n, Size c, Size p) {
        batch.at(n, c, p) = c % 2 == 0 ? 5.0f : odd;
        if (c % 4 == 3 && n % 2 == 0) batch.at(n, c, p) = 5.0f;
      });
      for (const Layout layout : all_layouts) {
        const std::vector<float> guesses = guesses_of<float>(Stored<float>(batch, layout));
        bool right = true;
        for (Size c = 0; c < shape.channels; ++c) {
          right = right && (guesses[c] == 5.0f || (c % 2 == 1 && guesses[c] == 0.0f));
          if (c % 2 == 0) right = right && guesses[c] == 5.0f;
        }
        INFO(odd << ", " << shape.channels << " channels, " << name_of(layout));
        CHECK(right);
      }
    }
  }
}

TEST_CASE("some channels are guessed as all are, and no others are written") {
  Random random(3);
  for (const Shape& shape : {Shape{1500, 40, 1}, Shape{40, 60, 15}, Shape{300, 520, 1}}) {
    const Batch batch = normal_batch(random, shape.samples, shape.channels, shape.positions, 3);
    for (const Layout layout : {Layout::channels_first, Layout::channels_last, Layout::padded}) {
      INFO(shape.channels << " channels, " << name_of(layout));
      const Stored<float> stored(batch, layout);
      std::vector<float> expected = guesses_of<float>(stored);
      const std::vector<float> some = guesses_of<float>(stored.view(), 3, 21);
      for (Size c = 0; c < shape.channels; ++c) {
        if (c < 3 || c >= 21) expected[c] = -12345;
      }
      CHECK(some == expected);
    }
  }
}

TEST_CASE("other scalars are guessed one by one") {
  Random random(4);
  const Batch batch = normal_batch(random, 800, 3, 1, 50);
  const Stored<long double> stored(batch, Layout::channels_outermost);
  const PerChannel mean = reference::mean(batch);
  const std::vector<long double> guesses = guesses_of<long double>(stored);
  for (Size c = 0; c < 3; ++c) CHECK(std::fabs(guesses[c] - mean[c]) < 1);

  // What a default-made number holds must not get into the sums.
  const std::vector<Unset> sevens(3000, Unset(7));
  for (const auto& view : {batchnorm::channels_first(sevens.data(), 1, 3, 1000),
                           batchnorm::channels_last(sevens.data(), 1000, 3, 1)}) {
    CHECK(guesses_of<Unset>(view, 0, 3) == std::vector<Unset>(3, Unset(7)));
  }
}
