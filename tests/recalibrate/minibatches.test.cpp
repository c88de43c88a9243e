// SPDX-License-Identifier: MIT
#include "batchnorm/recalibrate/minibatches.hpp"

#include <limits>
#include <stdexcept>

#include "support/catch.hpp"

using batchnorm::Index;
using batchnorm::Minibatches;
using batchnorm_test::says;

TEST_CASE("minibatches cover all examples once and differ in size by one at most") {
  for (Index examples = 1; examples <= 40; ++examples) {
    for (Index size = 1; size <= 45; ++size) {
      const Minibatches data(examples, size);
      INFO(examples << " in minibatches of " << size);
      REQUIRE(data.examples() == examples);
      CHECK(data.count() == (examples + size - 1) / size);  // as few as there can be
      CHECK(data.begin(0) == 0);
      CHECK(data.begin(data.count()) == examples);
      Index least = examples, most = 0;
      for (Index k = 0; k < data.count(); ++k) {
        const Index count = data.begin(k + 1) - data.begin(k);
        least = (std::min)(least, count);
        most = (std::max)(most, count);
      }
      CHECK(least >= 1);
      CHECK(most <= size);
      CHECK(most - least <= 1);
    }
  }
}

TEST_CASE("many examples do not overflow") {
  constexpr Index most = (std::numeric_limits<Index>::max)();
  const Minibatches data(most, 3);
  CHECK(data.count() == most / 3 + 1);
  CHECK(data.begin(data.count()) == most);
  CHECK(Minibatches(5, most).count() == 1);
}

TEST_CASE("no examples, or none in a minibatch, are refused") {
  CHECK_THROWS_MATCHES(Minibatches(0, 8), std::invalid_argument,
                       says("Minibatches: examples, and their number in a minibatch: expected 1 or "
                            "more of both, got 0 and 8"));
  CHECK_THROWS_AS(Minibatches(8, 0), std::invalid_argument);
  CHECK_THROWS_AS(Minibatches(-1, 8), std::invalid_argument);
}
