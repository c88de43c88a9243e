// SPDX-License-Identifier: MIT
#include "batchnorm/view/check.hpp"

#include <stdexcept>
#include <string>
#include <vector>

#include "batchnorm/view/residual.hpp"
#include "support/catch.hpp"

using namespace batchnorm;

namespace {

/// The text of the refusal, or "accepted".
template <class Call>
std::string refusal(const Call& call) {
  try {
    call();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "accepted";
}

/// 3 samples, 4 channels, 5 positions in C order.
struct Sixty {
  std::vector<float> memory = std::vector<float>(200);
  BatchView<float> view(Index samples, Index channels, Index positions, Index offset = 0) {
    return channels_first(memory.data() + offset, samples, channels, positions);
  }
};

std::string channels_refusal(const BatchView<float>& view, Index expected) {
  return refusal([&] { detail::check_channels("train", view, expected); });
}
std::string shape_refusal(const BatchView<float>& a, const BatchView<const float>& b) {
  return refusal([&] { detail::check_same_shape("train", "input", a, "output", b); });
}
std::string output_refusal(const BatchView<float>& out, const BatchView<const float>& in) {
  return refusal([&] { detail::check_output("train", "output", out, "input", in); });
}

}  // namespace

TEST_CASE("a shape is written with its units") {
  Sixty data;
  CHECK(detail::shape_text(data.view(3, 4, 5)) == "3 samples x 4 channels x 5 positions");
}

TEST_CASE("the number of channels is the layer's") {
  Sixty data;
  CHECK(channels_refusal(data.view(3, 4, 5), 4) == "accepted");
  CHECK(channels_refusal(data.view(0, 4, 5), 4) == "accepted");
  CHECK(channels_refusal(data.view(3, 4, 5), 7) ==
        "train: number of channels must be the layer's: expected 7, got 4 (3 samples x 4 channels "
        "x 5 positions)");
}

TEST_CASE("a transposed matrix is recognised") {
  Sixty data;
  CHECK(channels_refusal(data.view(7, 4, 1), 7) ==
        "train: number of channels must be the layer's: expected 7, got 4 (7 samples x 4 channels "
        "x 1 positions); the matrix looks transposed: a plain matrix is read as features x "
        "examples, pass examples_in_rows(matrix) when each row is an example");
}

TEST_CASE("no transposed matrix is seen where turning would not help") {
  Sixty data;
  const std::string hint = "transposed";
  CHECK(channels_refusal(data.view(6, 4, 1), 7).find(hint) == std::string::npos);
  CHECK(channels_refusal(data.view(7, 4, 2), 7).find(hint) == std::string::npos);
  CHECK(channels_refusal(data.view(7, 4, 1), 7).find(hint) != std::string::npos);
}

TEST_CASE("two arguments of one call have one shape") {
  Sixty data;
  const auto view = data.view(3, 4, 5);
  CHECK(shape_refusal(view, channels_last(data.memory.data(), 3, 4, 5)) == "accepted");
  CHECK(shape_refusal(view, data.view(2, 4, 5)) ==
        "train: shape of output must be that of input: expected 3 samples x 4 channels x 5 "
        "positions, got 2 samples x 4 channels x 5 positions");
  CHECK(shape_refusal(view, data.view(3, 2, 5)) ==
        "train: shape of output must be that of input: expected 3 samples x 4 channels x 5 "
        "positions, got 3 samples x 2 channels x 5 positions");
  CHECK(shape_refusal(view, data.view(3, 4, 6)) ==
        "train: shape of output must be that of input: expected 3 samples x 4 channels x 5 "
        "positions, got 3 samples x 4 channels x 6 positions");
  // The same number of elements is not the same shape.
  CHECK(shape_refusal(view, data.view(5, 4, 3)) != "accepted");
}

TEST_CASE("positions are counted in one order") {
  Sixty data;
  const auto view = data.view(3, 4, 5);
  CHECK(shape_refusal(view, view.counted(PositionOrder::first_fastest)) ==
        "train: positions of output must be counted as those of input: expected tensors of one "
        "storage order, got a row-major and a column-major tensor");
  CHECK(shape_refusal(view.counted(PositionOrder::first_fastest), view) != "accepted");
  CHECK(shape_refusal(view.counted(PositionOrder::first_fastest),
                      view.counted(PositionOrder::first_fastest)) == "accepted");
  const auto flat = data.view(3, 4, 1);
  CHECK(shape_refusal(flat, flat.counted(PositionOrder::first_fastest)) == "accepted");
}

TEST_CASE("an output is the input's memory or none of it") {
  Sixty data;
  const auto view = data.view(3, 4, 5);
  CHECK(output_refusal(view, view) == "accepted");
  CHECK(output_refusal(view, data.view(3, 4, 5, 60)) == "accepted");
  CHECK(output_refusal(data.view(3, 4, 5, 60), view) == "accepted");
  const std::string partly =
      "train: output and input must be the same memory or disjoint: expected no partial overlap, "
      "got memory that partly overlaps";
  CHECK(output_refusal(view, data.view(3, 4, 5, 59)) == partly);
  CHECK(output_refusal(data.view(3, 4, 5, 1), view) == partly);
  // All of the memory in another order is no less wrong: an element is overwritten before its turn.
  CHECK(output_refusal(view, channels_last(data.memory.data(), 3, 4, 5)) == partly);
}

TEST_CASE("check_aliasing looks at memory alone") {
  Sixty data;
  const auto view = data.view(3, 4, 5);
  const auto call = [&](const BatchView<float>& in) {
    return refusal([&] { detail::check_aliasing("infer", "output", view, "residual", in); });
  };
  CHECK(call(view) == "accepted");
  CHECK(call(data.view(1, 4, 5, 60)) == "accepted");
  CHECK(call(data.view(1, 4, 5, 50)) ==
        "infer: output and residual must be the same memory or disjoint: expected no partial "
        "overlap, got memory that partly overlaps");
}

TEST_CASE("one example and its residual are checked as many are") {
  Sixty data;
  const auto call = [&](Index examples, Index residual_offset, Index residual_channels = 4) {
    const auto x = data.view(examples, 4, 1), y = data.view(examples, 4, 1, 60);
    const auto r = data.view(examples, residual_channels, 1, residual_offset);
    return refusal([&] { detail::check_forward<float>("infer", 4, with_residual(x, r), y); });
  };
  for (const Index examples : {1, 2}) {
    INFO(examples << " examples");
    for (const Index offset : {0, 1, 60, 80, 60 - 4 * 2})
      CHECK(call(examples, offset) == "accepted");
    for (const Index offset : {57, 59, 61, 63}) {
      CHECK(call(examples, offset) ==
            "infer: output and residual must be the same memory or disjoint: expected no partial "
            "overlap, got memory that partly overlaps");
    }
    CHECK(call(examples, 80, 3) ==
          "infer: shape of residual must be that of input: expected " + std::to_string(examples) +
              " samples x 4 channels x 1 positions, got " + std::to_string(examples) +
              " samples x 3 channels x 1 positions");
  }
}

TEST_CASE("one example is of the layer's channels, and its output is apart or the same") {
  Sixty data;
  const auto call = [&](Index examples, Index channels, Index place) {
    const auto x = data.view(examples, 4, 1, 20), y = data.view(examples, 4, 1, place);
    return refusal([&] { detail::check_forward<float>("infer", channels, x, y); });
  };
  for (const Index examples : {1, 2}) {
    INFO(examples << " examples");
    for (const Index place : {20, 20 - 4 * static_cast<int>(examples), 60}) {
      CHECK(call(examples, 4, place) == "accepted");
    }
    CHECK(call(examples, 5, 60) ==
          "infer: number of channels must be the layer's: expected 5, got 4 (" +
              std::to_string(examples) + " samples x 4 channels x 1 positions)");
    CHECK(call(examples, 4, 21) ==
          "infer: output and input must be the same memory or disjoint: expected no partial "
          "overlap, got memory that partly overlaps");
  }
}

TEST_CASE("an output has an element of its own for every index") {
  Sixty data;
  const BatchView<float> repeating(data.memory.data(), 3, 4, 5, 0, 5, 1);
  const BatchView<float> sliding(data.memory.data(), 3, 4, 5, 1, 10, 1);
  const std::string twice =
      "train: elements of output must be distinct: expected strides that keep them apart, got a "
      "view in which two indices mean one element";
  CHECK(output_refusal(repeating, data.view(3, 4, 5, 60)) == twice);
  CHECK(output_refusal(repeating, repeating) == twice);
  CHECK(output_refusal(sliding, sliding) == twice);
  // To read an element many times is fine.
  CHECK(output_refusal(data.view(3, 4, 5, 60), repeating) == "accepted");
}

TEST_CASE("an output has the shape of the input") {
  Sixty data;
  CHECK(output_refusal(data.view(3, 4, 5), data.view(3, 4, 6, 60)) ==
        "train: shape of output must be that of input: expected 3 samples x 4 channels x 6 "
        "positions, got 3 samples x 4 channels x 5 positions");
}

TEST_CASE("single examples that are one, or that do not touch, are proper at first sight") {
  Sixty data;
  const auto proper = [](const BatchView<float>& a, const BatchView<float>& b) {
    const bool answer = detail::are_proper_examples(a, b);
    CHECK(detail::are_proper_examples(b, a) == answer);
    return answer;
  };
  const auto example = data.view(1, 4, 1, 20);
  for (const Index offset : {0, 15, 16, 20, 24, 25, 190}) {
    INFO(offset);
    CHECK(proper(example, data.view(1, 4, 1, offset)));
  }
  for (const Index offset : {17, 18, 19, 21, 22, 23}) {
    INFO(offset);
    CHECK_FALSE(proper(example, data.view(1, 4, 1, offset)));
  }
  float* const elsewhere = data.memory.data() + 100;
  for (const auto& other :
       {data.view(2, 4, 1, 100), data.view(1, 4, 2, 100), data.view(0, 4, 1, 100),
        data.view(1, 3, 1, 100), BatchView<float>(elsewhere, 1, 4, 1, 8, 2, 1),
        BatchView<float>(elsewhere, 1, 4, 1, 4, -1, 1)}) {
    CHECK_FALSE(proper(example, other));
  }
}
