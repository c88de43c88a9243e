// SPDX-License-Identifier: MIT
#include "benchmarks/accuracy_rows.hpp"

#include <algorithm>
#include <set>

#include "support/catch.hpp"

using namespace batchnorm_benchmarks;

namespace {

long count_if(const std::vector<AccuracyRow>& rows, bool (*holds)(const AccuracyRow&)) {
  return std::count_if(rows.begin(), rows.end(), holds);
}

}  // namespace

TEST_CASE("every count, offset and layout is measured once with each number of threads") {
  const std::vector<AccuracyRow> rows = all_accuracy_rows(2);
  CHECK(rows.size() == 3 * 4 * 3 * 2);
  CHECK(all_accuracy_rows(1).size() == 3 * 4 * 3);
  std::set<std::string> names;
  for (const AccuracyRow& row : rows) names.insert(name_of(row));
  CHECK(names.size() == rows.size());
}

TEST_CASE("offsets reach from nothing to a million deviations") {
  std::int64_t least = 1, most = 0;
  for (const AccuracyRow& row : all_accuracy_rows(1)) {
    least = (std::min)(least, row.offset);
    most = (std::max)(most, row.offset);
  }
  CHECK(least == 0);
  CHECK(most == 1'000'000);
}

TEST_CASE("a shape has the row's values per channel, in square images") {
  for (const AccuracyRow& row : all_accuracy_rows(1)) {
    const Shape shape = shape_of(row);
    CHECK(shape.layout == row.layout);
    CHECK(shape.values_per_channel() == row.values_per_channel);
    CHECK(shape.height == shape.width);
    CHECK(shape.channels == accuracy_channels);
  }
  CHECK(name_of(shape_of({Layout::nchw, 1'000'000, 0, 1})) == "nchw 100x16x100x100");
  CHECK(name_of(shape_of({Layout::nhwc, 100, 0, 1})) == "nhwc 100x16x1x1");
  CHECK(name_of(shape_of({Layout::rows, 100, 0, 1})) == "nc 100x16");
}

TEST_CASE("names say everything") {
  CHECK(name_of(AccuracyRow{Layout::nchw, 10'000, 1000, 1}) ==
        "NCHW, 10000 values, mean 1000, 1 thread");
  CHECK(name_of(AccuracyRow{Layout::rows, 100, 0, 2}) ==
        "features x examples, 100 values, mean 0, 2 threads");
}

TEST_CASE("the README shows four rows, of every layout, and the smoke test three") {
  const std::vector<AccuracyRow> rows = all_accuracy_rows(2);
  std::set<Layout> shown, smoked;
  for (const AccuracyRow& row : rows) {
    if (is_in_readme(row)) shown.insert(row.layout);
    if (is_smoke(row)) smoked.insert(row.layout);
  }
  CHECK(count_if(rows, is_in_readme) == 4);
  CHECK(shown.size() == 3);
  CHECK(count_if(rows, is_smoke) == 3);
  CHECK(smoked.size() == 3);
}
