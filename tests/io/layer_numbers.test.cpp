// SPDX-License-Identifier: MIT
#include "batchnorm/io/layer_numbers.hpp"

#include <cmath>
#include <vector>

#include "batchnorm/io/checkpoint.hpp"
#include "support/catch.hpp"
#include "support/layer_files.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

TEST_CASE("numbers of a layer are those of the file until they are converted") {
  detail::LayerNumbers numbers;
  CHECK(numbers.batches_seen == -1);
  CHECK(numbers.factor == 1.0);
  numbers.of(Role::beta) = {1.0};
  CHECK(numbers.vectors[1].size() == 1);
  CHECK_FALSE(numbers.converts(Role::beta));
  numbers.is_converted[1] = true;
  CHECK(numbers.converts(Role::beta));
}

TEST_CASE("vectors are read as they lie there, and columns of one tensor apart") {
  const Tensors plain = pytorch_layer();
  const FoundBatchNorm layer = find_batch_norms(plain).at(0);
  CHECK(detail::stored_values<float>(plain, layer, Role::variance) ==
        std::vector<float>{4.0f, 0.25f, 2.0f});
  Tensors columns("mat");
  columns.set("b_g", {3}, std::vector<float>{1, 2, 3});
  columns.set("b_m", {3, 2}, std::vector<float>{1, 2, 3, 4, 5, 6});
  const FoundBatchNorm moments = find_batch_norms(columns).at(0);
  CHECK(detail::stored_values<float>(columns, moments, Role::mean) == std::vector<float>{1, 3, 5});
  CHECK(detail::stored_values<float>(columns, moments, Role::variance) ==
        std::vector<float>{2, 4, 6});
  CHECK(detail::stored_values<float>(columns, moments, Role::gamma) == std::vector<float>{1, 2, 3});
}

TEST_CASE("columns may also be rows") {
  Tensors rows("mat");
  rows.set("b_g", {3}, std::vector<float>{1, 2, 3});
  rows.set("b_m", {2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6});
  const FoundBatchNorm moments = find_batch_norms(rows).at(0);
  CHECK(detail::stored_values<float>(rows, moments, Role::mean) == std::vector<float>{1, 2, 3});
  CHECK(detail::stored_values<float>(rows, moments, Role::variance) == std::vector<float>{4, 5, 6});
}

TEST_CASE("numbers are exactly one another when neither is larger, and NaN is none") {
  CHECK(detail::is_exactly(1.5, 1.5));
  CHECK(detail::is_exactly(-0.0, 0.0));
  CHECK_FALSE(detail::is_exactly(1.0, std::nextafter(1.0, 2.0)));
  CHECK_FALSE(detail::is_exactly(std::nextafter(1.0, 2.0), 1.0));
  CHECK_FALSE(detail::is_exactly(std::nan(""), std::nan("")));
}
