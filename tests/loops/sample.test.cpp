// SPDX-License-Identifier: MIT
#include "batchnorm/loops/sample.hpp"

#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/layouts.hpp"
#include "support/loop_formulas.hpp"

using batchnorm::BatchView;
using batchnorm::loops::Plan;
using batchnorm::loops::power_of_two_below;
using batchnorm::loops::rounded_guess;
using batchnorm::loops::Spots;
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

TEST_CASE("spots are spread over all rows, each in its share") {
  for (const Index rows : {Index{1}, Index{3}, Index{16}, Index{17}, Index{1000},
                           (Index{1} << 40) + 7, Index{1} << 46}) {
    const Spots spots(rows, 16);
    CHECK(spots.count() == (rows < 16 ? rows : 16));
    const Index share = rows / spots.count();
    std::set<Index> places;
    for (Index spot = 0; spot < spots.count(); ++spot) {
      INFO("spot " << spot << " of " << rows << " rows");
      const Index row = spots.row(spot);
      CHECK((row >= spot * share && row < (spot + 1) * share));
      places.insert(row - spot * share);
    }
    // In step with no period: not all at one place of their share.
    if (share > 16) CHECK(places.size() > 10);
  }
}

TEST_CASE("powers of two are found below every positive number") {
  CHECK(power_of_two_below(1.0f) == 1.0f);
  CHECK(power_of_two_below(1.99f) == 1.0f);
  CHECK(power_of_two_below(0.3f) == 0.25f);
  CHECK(power_of_two_below(1e30f) == 0x1p99f);
  CHECK(power_of_two_below(5.0) == 4.0);
  CHECK(power_of_two_below(0x1.8p-1022) == 0x1p-1022);
  CHECK(power_of_two_below(0.75L) == 0.5L);
  CHECK(power_of_two_below(4.0L) == 4.0L);
}

TEST_CASE("guesses are cut to a sixteenth of the deviations") {
  CHECK(rounded_guess(1.23456f, 1.0f) == 1.1875f);
  CHECK(rounded_guess(-1.23456f, 1.9f) == -1.1875f);
  CHECK(rounded_guess(1000.7, 40.0) == 1000.0);
  CHECK(rounded_guess(1001.99, 40.0) == 1000.0);
  CHECK(rounded_guess(1002.0, 40.0) == 1002.0);
  CHECK(rounded_guess(0.7L, 2.0L) == 0.625L);
}

TEST_CASE("guesses without a deviation, and beyond the grid, stay as they are") {
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(rounded_guess(0.1f, 0.0f) == 0.1f);
  CHECK(rounded_guess(0.1f, infinity) == 0.1f);
  CHECK(rounded_guess(0.1f, std::nanf("")) == 0.1f);
  CHECK(rounded_guess(1.1e30f, 1.0f) == 1.1e30f);
  CHECK(rounded_guess(-1.1e30, 1.0) == -1.1e30);
  CHECK(rounded_guess(Unset(0.1), Unset(1)) == Unset(0.1));
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
