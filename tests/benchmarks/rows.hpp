// SPDX-License-Identifier: MIT
// Which rows there are. The quick ones are a sample of every layout, size and kind of work.
#ifndef BATCHNORM_TESTS_BENCHMARKS_ROWS_HPP
#define BATCHNORM_TESTS_BENCHMARKS_ROWS_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "benchmarks/row.hpp"

namespace batchnorm_benchmarks {

/// The layers of a ResNet-50 at 32 images and at one, in both layouts, and matrices from one
/// example of 16 features to minibatches that leave the cache.
inline std::vector<Shape> all_shapes() {
  std::vector<Shape> shapes;
  for (const Layout layout : {Layout::nchw, Layout::nhwc}) {
    shapes.push_back({layout, 32, 64, 112, 112});
    shapes.push_back({layout, 32, 256, 56, 56});
    shapes.push_back({layout, 32, 512, 28, 28});
    shapes.push_back({layout, 32, 1024, 14, 14});
    shapes.push_back({layout, 32, 2048, 7, 7});
    shapes.push_back({layout, 1, 64, 112, 112});
    shapes.push_back({layout, 1, 256, 56, 56});
    shapes.push_back({layout, 1, 2048, 7, 7});
  }
  for (const std::int64_t features : {16, 64, 512, 4096}) {
    shapes.push_back({Layout::rows, 1, features, 1, 1});
  }
  shapes.push_back({Layout::rows, 64, 64, 1, 1});
  shapes.push_back({Layout::rows, 64, 512, 1, 1});
  shapes.push_back({Layout::rows, 256, 1024, 1, 1});
  shapes.push_back({Layout::rows, 1024, 1024, 1, 1});
  shapes.push_back({Layout::rows, 6428, 256, 1, 1});
  shapes.push_back({Layout::rows, 16384, 512, 1, 1});
  return shapes;
}

/// The shapes that are also measured in bfloat16 and in double.
inline std::vector<Shape> other_scalar_shapes() {
  return {{Layout::nchw, 32, 512, 28, 28},
          {Layout::nhwc, 32, 512, 28, 28},
          {Layout::rows, 1024, 1024, 1, 1},
          {Layout::rows, 16384, 512, 1, 1}};
}

inline std::vector<Work> all_works() {
  return {Work::infer, Work::infer_relu,    Work::infer_add_relu,
          Work::train, Work::train_checked, Work::backward};
}

/// One value per channel can be inferred, and not trained with.
inline bool is_possible(Work work, const Shape& shape) {
  return infers(work) || shape.values_per_channel() > 1;
}

inline std::vector<Row> all_rows(int most_threads) {
  std::vector<Row> rows;
  const auto add = [&](const std::vector<Shape>& shapes, Element element) {
    for (const Work work : all_works()) {
      for (const Shape& shape : shapes) {
        for (int threads = 1; threads <= most_threads && is_possible(work, shape); ++threads) {
          rows.push_back({work, shape, element, threads});
        }
      }
    }
  };
  add(all_shapes(), Element::f32);
  add(other_scalar_shapes(), Element::bf16);
  add(other_scalar_shapes(), Element::f64);
  return rows;
}

/// Of the largest row with that scalar.
inline std::size_t most_elements(const std::vector<Row>& rows, Element element) {
  std::int64_t most = 0;
  for (const Row& row : rows) {
    if (row.element == element) most = (std::max)(most, row.shape.elements());
  }
  return static_cast<std::size_t>(most);
}

/// In the quick run: of single precision seven shapes with the plain kinds of work and three with
/// the fused ones, and one shape of the other scalars.
inline bool is_quick(const Row& row) {
  const std::string shape = name_of(row.shape);
  const auto one_of = [&](const std::vector<std::string>& names) {
    for (const std::string& name : names) {
      if (name == shape) return true;
    }
    return false;
  };
  const bool fused = row.work == Work::infer_relu || row.work == Work::infer_add_relu;
  if (row.element != Element::f32) return !fused && one_of({"nhwc 32x512x28x28"});
  if (fused) return one_of({"nchw 32x256x56x56", "nhwc 32x512x28x28", "nc 1024x1024"});
  if (row.work == Work::train_checked) return one_of({"nchw 32x256x56x56", "nc 16384x512"});
  return one_of({"nchw 32x256x56x56", "nchw 32x2048x7x7", "nhwc 32x512x28x28", "nhwc 1x64x112x112",
                 "nc 1x64", "nc 1x512", "nc 64x512", "nc 1024x1024", "nc 16384x512"});
}

/// The two rows of the smoke test.
inline bool is_smoke(const Row& row) {
  return row.element == Element::f32 && name_of(row.shape) == "nc 64x64" && row.threads == 1 &&
         (row.work == Work::infer || row.work == Work::backward);
}

}  // namespace batchnorm_benchmarks

#endif  // BATCHNORM_TESTS_BENCHMARKS_ROWS_HPP
