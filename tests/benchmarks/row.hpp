// SPDX-License-Identifier: MIT
// What is measured: one kind of work on one shape, of one scalar, with a number of threads.
#ifndef BATCHNORM_TESTS_BENCHMARKS_ROW_HPP
#define BATCHNORM_TESTS_BENCHMARKS_ROW_HPP

#include <cstdint>
#include <string>

namespace batchnorm_benchmarks {

enum class Work {
  infer,           ///< running statistics
  infer_relu,      ///< the same and a fused ReLU
  infer_add_relu,  ///< the same, a residual added before the ReLU
  train,           ///< own statistics; NaN goes through, as it does in every rival
  train_checked,   ///< own statistics; a minibatch with NaN is refused, as by default
  backward         ///< gradients of the input and of both parameters
};

enum class Layout {
  nchw,  ///< channel before positions
  nhwc,  ///< channel last
  rows   ///< one example per row: no positions
};

enum class Element { f32, bf16, f64 };

struct Shape {
  Layout layout;
  std::int64_t samples, channels, height, width;

  std::int64_t positions() const { return height * width; }
  std::int64_t values_per_channel() const { return samples * positions(); }
  std::int64_t elements() const { return values_per_channel() * channels; }
};

struct Row {
  Work work;
  Shape shape;
  Element element;
  int threads;
};

inline std::int64_t element_size(Element element) {
  return element == Element::bf16 ? 2 : element == Element::f32 ? 4 : 8;
}

/// Of one array of the row: the input, which is as large as the output.
inline std::int64_t bytes(const Row& row) {
  return row.shape.elements() * element_size(row.element);
}

inline bool trains(Work work) {
  return work == Work::train || work == Work::train_checked;
}

inline bool infers(Work work) {
  return !trains(work) && work != Work::backward;
}

inline const char* name_of(Work work) {
  switch (work) {
    case Work::infer:
      return "infer";
    case Work::infer_relu:
      return "infer+relu";
    case Work::infer_add_relu:
      return "infer+add+relu";
    case Work::train:
      return "train";
    case Work::train_checked:
      return "train, checked";
    case Work::backward:
      return "backward";
  }
  return "";
}

inline const char* name_of(Element element) {
  return element == Element::bf16 ? "bf16" : element == Element::f32 ? "f32" : "f64";
}

/// nchw 32x64x112x112, nhwc 1x2048x7x7 (counts in the order N, C, H, W for both), nc 64x512.
inline std::string name_of(const Shape& shape) {
  std::string counts = std::to_string(shape.samples) + "x" + std::to_string(shape.channels);
  if (shape.layout == Layout::rows) return "nc " + counts;
  counts += "x" + std::to_string(shape.height) + "x" + std::to_string(shape.width);
  return (shape.layout == Layout::nchw ? "nchw " : "nhwc ") + counts;
}

/// train nhwc 32x64x112x112 f32 2t
inline std::string name_of(const Row& row) {
  return std::string(name_of(row.work)) + " " + name_of(row.shape) + " " + name_of(row.element) +
         " " + std::to_string(row.threads) + "t";
}

}  // namespace batchnorm_benchmarks

#endif  // BATCHNORM_TESTS_BENCHMARKS_ROW_HPP
