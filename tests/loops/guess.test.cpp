// SPDX-License-Identifier: MIT
#include "batchnorm/loops/guess.hpp"

#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "batchnorm/loops/simd.hpp"
#include "loops/vector_widths.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/loop_formulas.hpp"

using batchnorm::Index;
using batchnorm::loops::Spots;
using namespace batchnorm_test;
namespace simd = batchnorm::simd;

namespace {

template <class L>
L rounded(L guess, const L& deviation) {
  batchnorm::loops::round_guess<L, 1>(guess, deviation);
  return guess;
}

struct RoundsEveryLane {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    const C infinity = std::numeric_limits<C>::infinity();
    const std::vector<C> numbers = {C(1.23456), C(-700.3), infinity, C(0.1), C(3e30), C(-0.7)};
    const std::vector<C> deviations = {C(1), C(40), C(1), C(0), C(2), infinity};
    for (Size first = 0; first < numbers.size(); ++first) {
      C guesses[Lanes], sizes[Lanes];
      for (int lane = 0; lane < Lanes; ++lane) {
        const Size i = (first + static_cast<Size>(lane)) % numbers.size();
        guesses[lane] = numbers[i];
        sizes[lane] = deviations[i];
      }
      simd::Vector<C, Lanes> guess, deviation;
      simd::read<C, Lanes>(guess, guesses);
      simd::read<C, Lanes>(deviation, sizes);
      batchnorm::loops::round_guess<C, Lanes>(guess, deviation);
      const std::vector<C> got = lanes_of_vector<C, Lanes>(guess);
      for (int lane = 0; lane < Lanes; ++lane) {
        CHECK(got[static_cast<Size>(lane)] == rounded(guesses[lane], sizes[lane]));
      }
    }
  }
};

}  // namespace

TEST_CASE("spots are spread over all rows, each in its share") {
  for (const Index rows : {Index{1}, Index{3}, Index{16}, Index{17}, Index{1000},
                           (Index{1} << 40) + 7, Index{1} << 46}) {
    const Spots spots(rows, 16);
    CHECK(spots.count() == (rows < 2 ? 1 : rows < 4 ? 2 : 16));
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

TEST_CASE("guesses are cut to a sixteenth of the deviations") {
  CHECK(rounded(1.23456f, 1.0f) == 1.25f);
  CHECK(rounded(-1.23456f, 1.9f) == -1.25f);
  CHECK(rounded(1.21f, 1.0f) == 1.1875f);
  CHECK(rounded(1000.7, 40.0) == 1000.0);
  CHECK(rounded(1001.99, 40.0) == 1002.0);
  CHECK(rounded(1002.0, 63.9) == 1002.0);
  CHECK(rounded(1.0, 64.0) == 0.0);
  CHECK(rounded(0x1.8p-1000, 0x1p-1000) == 0x1.8p-1000);
  CHECK(rounded(0.7L, 2.0L) == 0.75L);
}

TEST_CASE("guesses without a deviation, and beyond the grid, stay as they are") {
  CHECK(rounded(0.1f, 0.0f) == 0.1f);
  CHECK(rounded(0.1, 0.0) == 0.1);
  CHECK(rounded(1e-40f, 0.0f) == 1e-40f);
  CHECK(rounded(1.1e30f, 1.0f) == 1.1e30f);
  CHECK(rounded(-1.1e30, 1.0) == -1.1e30);
  CHECK(rounded(Unset(0.1), Unset(1)) == Unset(0.1));
}

TEMPLATE_TEST_CASE("guesses that are not finite become zero", "", float, double, long double) {
  const TestType infinity = std::numeric_limits<TestType>::infinity();
  const TestType nan = std::numeric_limits<TestType>::quiet_NaN();
  for (const TestType deviation : {TestType(0), TestType(1), infinity, nan}) {
    CHECK(rounded(infinity, deviation) == 0);
    CHECK(rounded(-infinity, deviation) == 0);
    CHECK(rounded(nan, deviation) == 0);
  }
}

TEST_CASE("a guess is finite, be its deviations as large as can be") {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float deviation : {1e30f, std::numeric_limits<float>::max(), infinity}) {
    CHECK(std::isfinite(rounded(3e38f, deviation)));
    CHECK(std::isfinite(rounded(-1.0f, deviation)));
  }
}

TEST_CASE("every lane is rounded by its own deviation") {
  at_every_width<RoundsEveryLane, float>();
  at_every_width<RoundsEveryLane, double>();
}
