// SPDX-License-Identifier: MIT
// What a backward call refuses of its shapes and memory.
#include "batchnorm/view/check.hpp"

#include <stdexcept>
#include <string>
#include <vector>

#include "batchnorm/math/masked.hpp"
#include "batchnorm/view/residual.hpp"
#include "support/catch.hpp"

using namespace batchnorm;

namespace {

/// 2 samples, 3 channels, 4 positions: 24 elements, at any place of some memory.
struct Fixture {
  std::vector<float> memory = std::vector<float>(400);

  BatchView<float> at(Index place, Index samples = 2, Index channels = 3) {
    return channels_first(memory.data() + place, samples, channels, 4);
  }

  /// The text of the refusal of a layer with 3 channels, or "accepted".
  std::string call(const Input<float>& in, const Input<float>& dy,
                   const GradientOutput<float>& to) {
    try {
      detail::check_backward<float>("backward", 3, in, dy, to);
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "accepted";
  }
};

std::string overlap_of(const std::string& out, const std::string& in) {
  return "backward: " + out + " and " + in +
         " must be the same memory or disjoint: expected no partial overlap, got memory that "
         "partly overlaps";
}

std::string shape_of(const std::string& name) {
  return "backward: shape of " + name +
         " must be that of input: expected 2 samples x 3 channels x 4 positions, got 1 samples x 3 "
         "channels x 4 positions";
}

}  // namespace

TEST_CASE("backward of one input: shapes") {
  Fixture f;
  CHECK(f.call(f.at(0), f.at(40), f.at(80)) == "accepted");
  CHECK(f.call(f.at(0, 2, 5), f.at(40), f.at(80)) ==
        "backward: number of channels must be the layer's: expected 3, got 5 (2 samples x 5 "
        "channels x 4 positions)");
  CHECK(f.call(f.at(0), f.at(40, 1), f.at(80)) == shape_of("output gradient"));
  CHECK(f.call(f.at(0), f.at(40), f.at(80, 1)) == shape_of("input gradient"));
}

TEST_CASE("backward of one input: memory") {
  Fixture f;
  for (const Index place : {0, 40, 64}) {
    CHECK(f.call(f.at(0), f.at(40), f.at(place)) == "accepted");
  }
  CHECK(f.call(f.at(0), f.at(40), f.at(12)) == overlap_of("input gradient", "input"));
  CHECK(f.call(f.at(0), f.at(40), f.at(63)) == overlap_of("input gradient", "output gradient"));
  const BatchView<float> repeating(f.memory.data() + 80, 2, 3, 4, 0, 4, 1);
  CHECK(f.call(f.at(0), f.at(40), repeating) ==
        "backward: elements of input gradient must be distinct: expected strides that keep them "
        "apart, got a view in which two indices mean one element");
}

TEST_CASE("a mask, weights and residuals are not said at the output gradient") {
  Fixture f;
  const Eigen::Array<bool, 2, 1> mask(true, false);
  CHECK(f.call(f.at(0), masked(f.at(40), mask), f.at(80)) ==
        "backward: a mask and weights are said at the input: expected dy, got masked or weighted");
  CHECK(f.call(f.at(0), with_residual(f.at(40), f.at(120)), f.at(80)) ==
        "backward: an output has one gradient: expected dy, got with_residual of two");
  CHECK(f.call(masked(f.at(0), mask), f.at(40), f.at(80)) == "accepted");
}

TEST_CASE("an input with a residual has two gradients, and another one has one") {
  Fixture f;
  const auto x = f.at(0), r = f.at(120), dx = f.at(80), dr = f.at(160);
  CHECK(f.call(with_residual(x, r), f.at(40), with_residual(dx, dr)) == "accepted");
  const std::string rule = "backward: an input with a residual has gradients with a residual: ";
  CHECK(f.call(with_residual(x, r), f.at(40), dx) ==
        rule + "expected with_residual(dx, dr) for with_residual(x, r), got one output");
  CHECK(f.call(x, f.at(40), with_residual(dx, dr)) == rule + "expected dx for x, got two outputs");
  const auto short_r = f.at(120, 1), short_dr = f.at(160, 1);
  CHECK(f.call(with_residual(x, short_r), f.at(40), with_residual(dx, dr)) == shape_of("residual"));
  CHECK(f.call(with_residual(x, r), f.at(40), with_residual(dx, short_dr)) ==
        shape_of("residual gradient"));
}

TEST_CASE("both gradients of a residual block are apart, and nowhere half over what is read") {
  Fixture f;
  const auto x = f.at(0), r = f.at(120);
  const auto call = [&](Index to_x, Index to_r) {
    const auto dx = f.at(to_x), dr = f.at(to_r);
    return f.call(with_residual(x, r), f.at(40), with_residual(dx, dr));
  };
  CHECK(call(0, 120) == "accepted");  // in place
  CHECK(call(120, 40) == "accepted");
  CHECK(call(80, 104 + 40) == "accepted");
  CHECK(call(1, 160) == overlap_of("input gradient", "input"));
  CHECK(call(41, 160) == overlap_of("input gradient", "output gradient"));
  CHECK(call(121, 160) == overlap_of("input gradient", "residual"));
  CHECK(call(80, 23) == overlap_of("residual gradient", "input"));
  CHECK(call(80, 17) == overlap_of("residual gradient", "input"));
  CHECK(call(80, 63) == overlap_of("residual gradient", "output gradient"));
  CHECK(call(80, 119) == overlap_of("residual gradient", "residual"));
  const std::string twice =
      "backward: input gradient and residual gradient must be disjoint: expected no overlap, got "
      "memory that overlaps";
  CHECK(call(200, 200) == twice);
  CHECK(call(200, 223) == twice);
  CHECK(call(200, 224) == "accepted");
}

TEST_CASE("what cannot be undone is the output of a residual block") {
  Fixture f;
  const auto y = f.at(0), r = f.at(120);
  CHECK_NOTHROW(detail::check_no_residual<float>("f", y));
  CHECK_THROWS_WITH(detail::check_no_residual<float>("f", with_residual(y, r)),
                    "f: the output of a layer cannot be undone where a residual was added: "
                    "expected the output, got with_residual");
}
