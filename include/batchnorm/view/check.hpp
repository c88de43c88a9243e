// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_VIEW_CHECK_HPP
#define BATCHNORM_VIEW_CHECK_HPP

#include <cstdint>
#include <string>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"
#include "batchnorm/view/input.hpp"
#include "batchnorm/view/overlap.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

inline std::string shape_text(const ViewMemory& view) {
  return text(view.samples, " samples x ", view.channels, " channels x ", view.positions,
              " positions");
}

/// The message knows the commonest slip: a matrix handed over with examples and features swapped.
[[noreturn]] inline void fail_channels(const char* function, const ViewMemory& view,
                                       Index expected) {
  std::string got = text(view.channels, " (", shape_text(view), ")");
  if (view.positions == 1 && view.samples == expected) {
    got += text("; the matrix looks transposed: a plain matrix is read as features x examples, ",
                "pass examples_in_rows(matrix) when each row is an example");
  }
  fail_argument(function, "number of channels must be the layer's", text(expected), got);
}

template <class T>
void check_channels(const char* function, const BatchView<T>& view, Index expected) {
  if (view.channels() != expected) fail_channels(function, view, expected);
}

/// Two arguments of one call must mean the same element by the same index.
inline void check_same_shape(const char* function, const char* name_a, const ViewMemory& a,
                             const char* name_b, const ViewMemory& b) {
  if (a.samples != b.samples || a.channels != b.channels || a.positions != b.positions) {
    fail_argument(function, text("shape of ", name_b, " must be that of ", name_a), shape_text(a),
                  shape_text(b));
  }
  if (a.positions > 1 && a.order != b.order) {
    fail_argument(function, text("positions of ", name_b, " must be counted as those of ", name_a),
                  "tensors of one storage order", "a row-major and a column-major tensor");
  }
}

/// An output may be the very memory of an input, or none of it.
inline void check_aliasing(const char* function, const char* out_name, const ViewMemory& out,
                           const char* in_name, const ViewMemory& in) {
  if (same_memory(out, in) || !overlap(out, in)) return;
  fail_argument(function, text(out_name, " and ", in_name, " must be the same memory or disjoint"),
                "no partial overlap", "memory that partly overlaps");
}

/// Two outputs of one call must not share memory.
inline void check_disjoint(const char* function, const char* name_a, const ViewMemory& a,
                           const char* name_b, const ViewMemory& b) {
  if (!overlap(a, b)) return;
  fail_argument(function, text(name_a, " and ", name_b, " must be disjoint"), "no overlap",
                "memory that overlaps");
}

/// Whether two views are one example each, of neighbouring elements, and are the same memory or
/// far enough apart: what can be seen at once of the smallest calls, whose time is that of checks.
template <class A, class B>
[[gnu::always_inline]] inline bool are_proper_examples(const BatchView<A>& a,
                                                       const BatchView<B>& b) {
  if (a.samples() != 1 || b.samples() != 1 || a.positions() != 1 || b.positions() != 1 ||
      a.channel_stride() != 1 || b.channel_stride() != 1 || a.channels() != b.channels()) {
    return false;
  }
  const auto address_a = reinterpret_cast<std::uintptr_t>(a.data());
  const auto address_b = reinterpret_cast<std::uintptr_t>(b.data());
  const auto bytes = static_cast<std::uintptr_t>(a.channels()) * sizeof(A);
  // Unsigned differences: the one of the wrong sign is huge.
  return address_a == address_b ||
         (address_a - address_b >= bytes && address_b - address_a >= bytes);
}

/// Everything an output must fulfil with regard to one input of the same shape.
[[gnu::noinline]] inline void check_output_in_full(const char* function, const char* out_name,
                                                   const ViewMemory& out, const char* in_name,
                                                   const ViewMemory& in) {
  check_same_shape(function, in_name, in, out_name, out);
  if (repeats_elements(out)) {
    fail_argument(function, text("elements of ", out_name, " must be distinct"),
                  "strides that keep them apart", "a view in which two indices mean one element");
  }
  check_aliasing(function, out_name, out, in_name, in);
}

template <class Out, class In>
void check_output(const char* function, const char* out_name, const BatchView<Out>& out,
                  const char* in_name, const BatchView<In>& in) {
  if (!are_proper_examples(out, in)) check_output_in_full(function, out_name, out, in_name, in);
}

/// The shapes and memory of a forward call.
template <class T>
void check_forward_in_full(const char* function, Index channels, const Input<T>& in,
                           const Output<T>& out) {
  const BatchView<const T>* const residual = in.residual();
  check_channels(function, in.view(), channels);
  if (residual != nullptr) check_same_shape(function, "input", in.view(), "residual", *residual);
  check_output(function, "output", out.view(), "input", in.view());
  if (residual != nullptr) check_output(function, "output", out.view(), "residual", *residual);
}

template <class T>
[[gnu::always_inline]] inline void check_forward(const char* function, Index channels,
                                                 const Input<T>& in, const Output<T>& out) {
  const BatchView<const T>* const residual = in.residual();
  const bool proper = in.view().channels() == channels &&
                      are_proper_examples(out.view(), in.view()) &&
                      (residual == nullptr || are_proper_examples(out.view(), *residual));
  if (!proper) check_forward_in_full(function, channels, in, out);
}

template <class T>
void check_no_residual(const char* function, const Input<T>& in) {
  if (in.residual() == nullptr) return;
  fail_argument(function, "the output of a layer cannot be undone where a residual was added",
                "the output", "with_residual");
}

/// The shapes of what backward reads.
template <class T>
void check_backward_inputs(const char* function, Index channels, const Input<T>& in,
                           const Input<T>& out_gradient) {
  check_channels(function, in.view(), channels);
  check_same_shape(function, "input", in.view(), "output gradient", out_gradient.view());
  if (in.residual() != nullptr) {
    check_same_shape(function, "input", in.view(), "residual", *in.residual());
  }
  if (out_gradient.mask() != nullptr) {
    fail_argument(function, "a mask and weights are said at the input", "dy", "masked or weighted");
  }
  if (out_gradient.residual() == nullptr) return;
  fail_argument(function, "an output has one gradient", "dy", "with_residual of two");
}

/// The shapes and memory of a backward call.
template <class T>
void check_backward(const char* function, Index channels, const Input<T>& in,
                    const Input<T>& out_gradient, const GradientOutput<T>& gradients) {
  check_backward_inputs(function, channels, in, out_gradient);
  const bool residual = in.residual() != nullptr;
  if (residual != (gradients.residual() != nullptr)) {
    fail_argument(function, "an input with a residual has gradients with a residual",
                  residual ? "with_residual(dx, dr) for with_residual(x, r)" : "dx for x",
                  residual ? "one output" : "two outputs");
  }
  constexpr const char* names[] = {"input gradient", "residual gradient"};
  for (int i = 0; i < (residual ? 2 : 1); ++i) {
    const BatchView<T>& out = i == 0 ? gradients.view() : *gradients.residual();
    check_output(function, names[i], out, "input", in.view());
    check_output(function, names[i], out, "output gradient", out_gradient.view());
    if (residual) check_aliasing(function, names[i], out, "residual", *in.residual());
  }
  if (residual) {
    check_disjoint(function, names[0], gradients.view(), names[1], *gradients.residual());
  }
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_VIEW_CHECK_HPP
