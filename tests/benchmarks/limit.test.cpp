// SPDX-License-Identifier: MIT
#include "benchmarks/limit.hpp"

#include "support/catch.hpp"

using Catch::Matchers::WithinAbs;
using namespace batchnorm_benchmarks;

namespace {

constexpr Streams streams = {1.0, 10.0, 100.0};  // copy, read, triad
constexpr std::int64_t level_2 = 1 << 20;

double limit_of(Work work, const Shape& shape, Element element = Element::f32) {
  return limit({work, shape, element, 1}, streams, level_2);
}

Bar bar_of(Work work, const Shape& shape) {
  return bar({work, shape, Element::f32, 1});
}

constexpr Shape large = {Layout::rows, 16384, 512, 1, 1};
constexpr Shape mebibyte_matrix = {Layout::rows, 256, 1024, 1, 1};

}  // namespace

TEST_CASE("the limit counts reads and writes of memory") {
  CHECK_THAT(limit_of(Work::infer, large), WithinAbs(1.0, 0.0));
  CHECK_THAT(limit_of(Work::infer_relu, large), WithinAbs(1.0, 0.0));
  CHECK_THAT(limit_of(Work::infer_add_relu, large), WithinAbs(100.0, 0.0));
  CHECK_THAT(limit_of(Work::train, large), WithinAbs(11.0, 0.0));
  CHECK_THAT(limit_of(Work::backward, large), WithinAbs(120.0, 0.0));
}

TEST_CASE("the second read is free where the data fits in half of the second-level cache") {
  const Shape half = {Layout::rows, 128, 1024, 1, 1};  // 512 KiB
  const Shape more = {Layout::rows, 129, 1024, 1, 1};
  const Shape quarter = {Layout::rows, 64, 1024, 1, 1};
  CHECK_THAT(limit_of(Work::train, half), WithinAbs(1.0, 0.0));
  CHECK_THAT(limit_of(Work::train, more), WithinAbs(11.0, 0.0));
  CHECK_THAT(limit_of(Work::train, more, Element::bf16), WithinAbs(1.0, 0.0));
  CHECK_THAT(limit_of(Work::backward, half), WithinAbs(120.0, 0.0));
  CHECK_THAT(limit_of(Work::backward, quarter), WithinAbs(100.0, 0.0));
}

TEST_CASE("where channels lie apart, one channel has to fit") {
  const Shape first = {Layout::nchw, 32, 256, 56, 56};  // 401 KB a channel
  const Shape last = {Layout::nhwc, 32, 256, 56, 56};
  CHECK_THAT(limit_of(Work::train, first), WithinAbs(1.0, 0.0));
  CHECK_THAT(limit_of(Work::train, last), WithinAbs(11.0, 0.0));
  CHECK_THAT(limit_of(Work::backward, first), WithinAbs(120.0, 0.0));
}

TEST_CASE("a training that refuses NaN moves as much as one that does not") {
  const Shape small = {Layout::rows, 64, 64, 1, 1};
  CHECK_THAT(limit_of(Work::train_checked, small), WithinAbs(1.0, 0.0));
  CHECK_THAT(limit_of(Work::train_checked, large), WithinAbs(11.0, 0.0));
}

TEST_CASE("bars are tight from 1 MiB on") {
  CHECK_THAT(bar_of(Work::infer, mebibyte_matrix).times_limit, WithinAbs(1.15, 0.0));
  CHECK_THAT(bar_of(Work::infer_add_relu, large).times_limit, WithinAbs(1.15, 0.0));
  CHECK_THAT(bar_of(Work::train, mebibyte_matrix).times_limit, WithinAbs(1.25, 0.0));
  CHECK_THAT(bar_of(Work::train_checked, large).times_limit, WithinAbs(1.25, 0.0));
  CHECK_THAT(bar_of(Work::backward, large).times_limit, WithinAbs(1.25, 0.0));
  const Shape below = {Layout::rows, 255, 1024, 1, 1};
  CHECK_THAT(bar_of(Work::infer, below).times_limit, WithinAbs(2.0, 0.0));
  CHECK_THAT(bar_of(Work::train, below).times_limit, WithinAbs(0.0, 0.0));
  CHECK_THAT(bar_of(Work::train, below).times_faster, WithinAbs(1.0, 0.0));
}

TEST_CASE("the bar of single examples is the best rival") {
  for (const std::int64_t channels : {64, 512}) {
    const Bar wanted = bar_of(Work::infer, {Layout::rows, 1, channels, 1, 1});
    CHECK_THAT(wanted.times_limit, WithinAbs(0.0, 0.0));
    CHECK_THAT(wanted.times_faster, WithinAbs(3.0, 0.0));
  }
  CHECK_THAT(bar_of(Work::infer, {Layout::rows, 1, 16, 1, 1}).times_limit, WithinAbs(2.0, 0.0));
}
