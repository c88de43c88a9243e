// SPDX-License-Identifier: MIT
#ifndef BATCHNORM_VIEW_EIGEN_HPP
#define BATCHNORM_VIEW_EIGEN_HPP

#include <Eigen/Core>
#include <type_traits>
#include <utility>

#include "batchnorm/detail/scalar.hpp"
#include "batchnorm/version.hpp"
#include "batchnorm/view/batch_view.hpp"

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

/// Which side of a matrix counts the examples.
enum class Examples {
  in_columns,  ///< features x examples: Z of the course notes
  in_rows      ///< examples x features, as PyTorch and NumPy hold it
};

/// The view of an Eigen matrix, array, map, ref or block that also knows how to make another of
/// its kind, for calls that allocate their output. Made by examples_in_columns and
/// examples_in_rows.
///
/// Shapes: rows x columns of the matrix, of which `Side` counts the examples; one position. Cost:
/// constant, but for make_owner. Errors: as BatchView. Thread safety: immutable, as BatchView.
///
/// @tparam T      element, const when the matrix is
/// @tparam Owner  the plain Eigen type of the same shape and storage order
template <class T, class Owner, Examples Side>
class MatrixView : public BatchView<T> {
 public:
  /// Of a matrix whose first element lies at `data`.
  template <class Derived>
  MatrixView(T* data, const Derived& matrix)
      : BatchView<T>(data, by_columns ? matrix.cols() : matrix.rows(),
                     by_columns ? matrix.rows() : matrix.cols(), 1,
                     by_columns ? column_step(matrix) : row_step(matrix),
                     by_columns ? row_step(matrix) : column_step(matrix), 1),
        rows_(matrix.rows()),
        columns_(matrix.cols()) {}

  /// A new matrix of the same shape, its elements not set.
  Owner make_owner() const {
    Owner owner;
    owner.resize(rows_, columns_);
    return owner;
  }

  /// The view of such a matrix, `owner`.
  static MatrixView<typename Owner::Scalar, Owner, Side> view_of(Owner& owner) {
    return {owner.data(), owner};
  }

 private:
  static constexpr bool by_columns = Side == Examples::in_columns;

  template <class Derived>
  static Index row_step(const Derived& matrix) {
    return Derived::IsRowMajor ? matrix.outerStride() : matrix.innerStride();
  }
  template <class Derived>
  static Index column_step(const Derived& matrix) {
    return Derived::IsRowMajor ? matrix.innerStride() : matrix.outerStride();
  }

  Index rows_;
  Index columns_;
};

namespace detail {

template <class Derived>
std::true_type eigen_dense_test(const Eigen::DenseBase<Derived>&);
std::false_type eigen_dense_test(...);

/// Matrix, Array, or an expression of them.
template <class M>
inline constexpr bool is_eigen_dense = decltype(eigen_dense_test(std::declval<const M&>()))::value;

/// Has memory that can be pointed into: not a product, a sum or another lazy expression.
template <class M>
inline constexpr bool has_memory = (static_cast<int>(M::Flags) & Eigen::DirectAccessBit) != 0;

template <class M>
struct IsConstRef : std::false_type {};
template <class Plain, int Options, class Stride>
struct IsConstRef<Eigen::Ref<const Plain, Options, Stride>> : std::true_type {};

/// Owns its elements, so that they die with it: Matrix, Array and what is derived from them, and
/// Ref<const>, which holds a copy when it is bound to an expression.
template <class M>
inline constexpr bool owns_elements =
    std::is_base_of<Eigen::PlainObjectBase<typename M::PlainObject>, M>::value ||
    IsConstRef<M>::value;

template <class M>
using ElementOf = std::remove_pointer_t<decltype(std::declval<M&>().data())>;

/// The one way from an Eigen object with memory to a view.
template <Examples Side, class M>
auto view_of_matrix(M& matrix) {
  using Owner = typename std::remove_const_t<M>::PlainObject;
  return MatrixView<ElementOf<M>, Owner, Side>(matrix.data(), matrix);
}

/// What may become a view that outlives the call; each refusal in our own words.
template <Examples Side, class M>
auto lasting_view(M&& matrix) {
  using Plain = std::remove_cv_t<std::remove_reference_t<M>>;
  static_assert(is_eigen_dense<Plain>,
                "batchnorm: a matrix view is made of an Eigen matrix, array, map, ref or block");
  if constexpr (is_eigen_dense<Plain>) {
    static_assert(has_memory<Plain>,
                  "batchnorm: an expression has no memory to view; assign it to a matrix first");
    static_assert(std::is_lvalue_reference<M>::value || !owns_elements<Plain>,
                  "batchnorm: a view must not bind to a temporary matrix; give the matrix a name");
    if constexpr (has_memory<Plain>) return view_of_matrix<Side>(matrix);
  }
}

}  // namespace detail

/// View of a features x examples matrix, one example per column: Z of the course notes. This is
/// also how a matrix without a maker is read, whatever its storage order.
///
/// Takes anything of Eigen's that has memory: Matrix, Array, Map with any strides, Ref, Block,
/// transpose(), row- or column-major, fixed or dynamic. A temporary matrix and an expression
/// without memory are refused when compiled. The matrix must outlive the view. Shapes: `matrix` is
/// channels x samples. Cost: constant.
/// @throws std::invalid_argument as BatchView, for a matrix without features
template <class Matrix>
auto examples_in_columns(Matrix&& matrix) {
  return detail::lasting_view<Examples::in_columns>(std::forward<Matrix>(matrix));
}

/// View of an examples x features matrix, one example per row, as PyTorch and NumPy users hold it.
/// Takes what examples_in_columns takes, and throws what it throws. Shapes: `matrix` is samples x
/// channels. Errors: as examples_in_columns. Cost: constant.
template <class Matrix>
auto examples_in_rows(Matrix&& matrix) {
  return detail::lasting_view<Examples::in_rows>(std::forward<Matrix>(matrix));
}

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_VIEW_EIGEN_HPP
