// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_FOLD_BIAS_HPP
#define BATCHNORM_FOLD_BIAS_HPP

#include <Eigen/Core>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "batchnorm/detail/check.hpp"
#include "batchnorm/detail/rounding.hpp"
#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/fold/plan.hpp"
#include "batchnorm/fold/weights.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/eigen.hpp"
#include "batchnorm/view/overlap.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {
namespace detail {

/// What can hold a bias: a vector of Eigen's, or std::vector.
template <class Plain>
struct BiasVector {
  static_assert(is_eigen_dense<Plain>,
                "batchnorm: a bias is an Eigen vector, map, ref or block, or a std::vector");
  using Scalar = std::remove_cv_t<typename Plain::Scalar>;
  static constexpr bool is_vector = static_cast<bool>(Plain::IsVectorAtCompileTime);
  static_assert(is_vector, "batchnorm: a bias is a vector, one number per output channel");
  static_assert(has_memory<Plain>, "batchnorm: an expression has no memory for a bias");
  using Place = Index;
  static constexpr bool owns = owns_elements<Plain>;
  static constexpr bool can_grow =
      std::is_base_of<Eigen::PlainObjectBase<typename Plain::PlainObject>, Plain>::value &&
      Plain::MaxSizeAtCompileTime == Eigen::Dynamic;
};

template <class B, class Allocator>
struct BiasVector<std::vector<B, Allocator>> {
  using Scalar = B;
  using Place = std::size_t;
  static constexpr bool owns = true;
  static constexpr bool can_grow = true;
};

/// A bias as every fold takes it; empty where the layer has none.
/// @tparam Bias  its type, const when the vector is only read
template <class Bias>
struct BiasArgument {
  using Plain = std::remove_const_t<Bias>;
  using Vector = BiasVector<Plain>;
  using Scalar = typename Vector::Scalar;
  using Place = typename Vector::Place;
  static_assert(std::is_same<Scalar, float>::value || std::is_same<Scalar, double>::value ||
                    is_narrow_float<Scalar>(),
                "batchnorm: a bias holds float, double, half or bfloat16");

  /// In double, and zeros where there is none.
  static Eigen::VectorXd read(const char* function, const Plain& bias, Index channels) {
    const Index size = static_cast<Index>(bias.size());
    if (size != 0 && size != channels) {
      fail_argument(function, "size of the bias must be the number of output channels, or 0",
                    text(channels, " or 0"), text(size));
    }
    Eigen::VectorXd values(channels);
    for (Index channel = 0; channel < channels; ++channel) {
      values[channel] = size == 0 ? 0.0 : static_cast<double>(bias[static_cast<Place>(channel)]);
    }
    return values;
  }

  /// Refuses memory of both: what is written to one would be read of the other.
  template <class T>
  static void check_disjoint(const char* function, const Plain& bias,
                             const WeightView<T>& weights) {
    if (bias.size() == 0) return;
    const Scalar* const data = bias.data();
    Index step = static_cast<Index>(sizeof(Scalar));
    if constexpr (is_eigen_dense<Plain>) step *= bias.innerStride();
    // The distance from an element of the bias to a weight, in bytes.
    OverlapQuestion distance(static_cast<std::int64_t>(
        reinterpret_cast<std::uintptr_t>(weights.data()) - reinterpret_cast<std::uintptr_t>(data)));
    const Index bytes = static_cast<Index>(sizeof(T));
    const WeightSizes& sizes = weights.sizes();
    const WeightStrides& strides = weights.strides();
    distance.add(sizes.groups, strides.group * bytes);
    distance.add(sizes.out_per_group, strides.out * bytes);
    distance.add(sizes.in_per_group, strides.in * bytes);
    distance.add(sizes.taps, strides.tap * bytes);
    distance.add(static_cast<Index>(bias.size()), -step);
    if (!distance.reaches(1 - bytes, static_cast<std::int64_t>(sizeof(Scalar)) - 1)) return;
    fail_argument(function, "bias and weights must be disjoint", "no overlap",
                  "memory that overlaps");
  }

  static void check_writable(const char* function, const Plain& bias) {
    static_assert(
        !std::is_const<std::remove_reference_t<decltype(std::declval<Bias&>()[0])>>::value,
        "batchnorm: the bias is read-only");
    if (!Vector::can_grow && bias.size() == 0) {
      fail_argument(function, "bias that comes into being", "a vector that can be resized",
                    "a map, ref, block or fixed vector of size 0");
    }
  }

  static void write(Bias& bias, const BiasMap<Scalar>& values) {
    if constexpr (Vector::can_grow) bias.resize(static_cast<Place>(values.rows()));
    for (Index channel = 0; channel < values.rows(); ++channel) {
      bias[static_cast<Place>(channel)] = values(channel, 0);
    }
  }
};

template <class Bias>
constexpr void check_bias_outlives() {
  static_assert(std::is_lvalue_reference<Bias>::value ||
                    !BiasVector<std::remove_cv_t<std::remove_reference_t<Bias>>>::owns,
                "batchnorm: the bias is a temporary, the folded one would be lost");
}

}  // namespace detail
}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_FOLD_BIAS_HPP
