// SPDX-License-Identifier: MIT
#include "benchmarks/rows.hpp"

#include <algorithm>
#include <set>

#include "support/catch.hpp"

using namespace batchnorm_benchmarks;

namespace {

long count_if(const std::vector<Row>& rows, bool (*holds)(const Row&)) {
  return std::count_if(rows.begin(), rows.end(), holds);
}

}  // namespace

TEST_CASE("no row is measured twice") {
  const std::vector<Row> rows = all_rows(2);
  std::set<std::string> names;
  for (const Row& row : rows) names.insert(name_of(row));
  CHECK(names.size() == rows.size());
}

TEST_CASE("all rows are there: 26 shapes, 22 of which can be trained with") {
  const std::vector<Row> rows = all_rows(1);
  const auto f32 = [](Work work) {
    long number = 0;
    for (const Row& row : all_rows(1)) {
      number += row.work == work && row.element == Element::f32 ? 1 : 0;
    }
    return number;
  };
  CHECK(f32(Work::infer) == 26);
  CHECK(f32(Work::infer_relu) == 26);
  CHECK(f32(Work::infer_add_relu) == 26);
  CHECK(f32(Work::train) == 22);
  CHECK(f32(Work::train_checked) == 22);
  CHECK(f32(Work::backward) == 22);
  CHECK(count_if(rows, [](const Row& row) { return row.element == Element::bf16; }) == 4 * 6);
  CHECK(count_if(rows, [](const Row& row) { return row.element == Element::f64; }) == 4 * 6);
  CHECK(all_rows(2).size() == 2 * rows.size());
}

TEST_CASE("the quick rows have every work, layout and scalar, and the smoke test two rows") {
  std::set<Work> works;
  std::set<Layout> layouts;
  std::set<Element> elements;
  const std::vector<Row> rows = all_rows(2);
  for (const Row& row : rows) {
    if (!is_quick(row)) continue;
    works.insert(row.work);
    layouts.insert(row.shape.layout);
    elements.insert(row.element);
  }
  CHECK(works.size() == 6);
  CHECK(layouts.size() == 3);
  CHECK(elements.size() == 3);
  CHECK(count_if(rows, is_quick) < 120);
  CHECK(count_if(rows, is_smoke) == 2);
}
