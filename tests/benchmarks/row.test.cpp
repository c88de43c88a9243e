// SPDX-License-Identifier: MIT
#include "benchmarks/row.hpp"

#include "support/catch.hpp"

using namespace batchnorm_benchmarks;

TEST_CASE("a row is named by its work, shape, scalar and threads") {
  const Shape images = {Layout::nhwc, 32, 64, 112, 56};
  CHECK(name_of(Row{Work::train, images, Element::f32, 2}) == "train nhwc 32x64x112x56 f32 2t");
  const Shape matrix = {Layout::rows, 64, 512, 1, 1};
  CHECK(name_of(Row{Work::infer_relu, matrix, Element::bf16, 1}) == "infer+relu nc 64x512 bf16 1t");
}

TEST_CASE("a row knows its size") {
  const Shape images = {Layout::nchw, 2, 3, 5, 7};
  CHECK(images.values_per_channel() == 70);
  CHECK(images.elements() == 210);
  CHECK(bytes(Row{Work::infer, images, Element::bf16, 1}) == 420);
  CHECK(bytes(Row{Work::infer, images, Element::f32, 1}) == 840);
  CHECK(bytes(Row{Work::infer, images, Element::f64, 1}) == 1680);
}

TEST_CASE("each work either trains, infers or goes backward") {
  CHECK((infers(Work::infer) && infers(Work::infer_relu) && infers(Work::infer_add_relu)));
  CHECK((trains(Work::train) && trains(Work::train_checked)));
  CHECK_FALSE((infers(Work::train) || infers(Work::train_checked) || infers(Work::backward)));
  CHECK_FALSE((trains(Work::infer) || trains(Work::backward)));
}
