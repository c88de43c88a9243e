// SPDX-License-Identifier: MIT
// Every name here lacks just what it is called after: check.cmake expects a complaint about each of
// them, and no other.
#ifndef BATCHNORM_TESTS_DOCS_LACKING_HPP
#define BATCHNORM_TESTS_DOCS_LACKING_HPP

#include <Eigen/Core>
#include <stdexcept>

namespace batchnorm {
inline namespace BATCHNORM_INLINE_NAMESPACE {

struct no_description {};

/// Members that do something.
class no_thread_safety {
 public:
  /// Does it.
  void run() const {}
};

/// Members of which one fails. Thread safety: immutable.
class Members {
 public:
  /// Fails.
  void no_errors_although_it_throws() const { throw std::runtime_error("no"); }
  /// Does not fail.
  void nothing() const {}

  int no_member_description = 0;
  double no_unit = 0.0;  ///< large

 private:
  int hidden = 0;
};

/// Errors: none. Thread safety: immutable.
class Harmless {
 public:
  /// Fails nevertheless.
  void no_errors_in_its_class() const { throw std::runtime_error("no"); }
};

/// All of it, for a count. Shapes: `in` has any. Errors: none. Cost: constant. Thread safety: as
/// usual.
inline void everything(const Eigen::MatrixXd* in, int count);

/// Shapes: any. Errors: none. Cost: constant. The other argument is not named.
inline void no_parameter(const Eigen::MatrixBase<Eigen::MatrixXd>& input);

/// Takes `in`. Errors: none. Cost: constant.
inline void no_shapes(const Eigen::MatrixBase<Eigen::MatrixXd>& in);

/// Takes `in`. Shapes: any. Errors: none.
inline void no_cost(const Eigen::MatrixBase<Eigen::MatrixXd>& in);

/// Takes a count.
inline void no_errors(int count);

/// Takes a count.
/// @throws nothing of a type
inline void no_type_of_error(int count);

/// Takes a count.
///
///     y = gamma x + beta
///
/// Errors: none.
inline void no_source(int count);

/// Kinds.
enum class Kind {
  said,  ///< one
  no_value_description
};

namespace detail {
struct inside {};
}  // namespace detail

}  // namespace BATCHNORM_INLINE_NAMESPACE
}  // namespace batchnorm

#endif  // BATCHNORM_TESTS_DOCS_LACKING_HPP
