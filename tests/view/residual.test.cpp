// SPDX-License-Identifier: MIT
#include "batchnorm/view/residual.hpp"

#include <type_traits>
#include <utility>

#include "support/catch.hpp"

using namespace batchnorm;
using detail::as_inputs;
using detail::as_outputs;

namespace {

using Matrix = Eigen::MatrixXf;

Matrix ramp() {
  return (Matrix(2, 3) << 1, 2, 3, 4, 5, 6).finished();
}

}  // namespace

TEST_CASE("an input alone is one view, with a residual it is two") {
  const Matrix x = ramp(), r = x * 10;
  const auto alone = as_inputs<float>(x);
  CHECK(alone.views().size() == 1);
  CHECK(alone.lead().data() == x.data());
  CHECK(alone.views()[0](2, 1, 0) == 6.0f);

  const auto held = as_inputs<float>(with_residual(x, r));
  CHECK(held.views().size() == 2);
  CHECK(held.lead().data() == x.data());
  CHECK(held.views()[0].data() == x.data());
  CHECK(held.views()[1].data() == r.data());
}

TEST_CASE("expressions and views of any kind can be either part") {
  const Matrix x = ramp();
  const auto held = as_inputs<float>(with_residual(x.leftCols(2) * 2.0f, examples_in_columns(x)));
  CHECK(held.views()[0](1, 1, 0) == 10.0f);
  CHECK(held.views()[1](2, 0, 0) == 3.0f);
  CHECK(held.views()[1].data() == x.data());
}

TEST_CASE("gradients go where the parts of the output are") {
  Matrix dx = ramp(), dr = ramp();
  const Matrix x = ramp();
  const std::array<BatchView<float>, 1> alone = as_outputs<float, Matrix>(dx);
  CHECK(alone[0].data() == dx.data());
  using Pair = decltype(with_residual(x, x));
  const std::array<BatchView<float>, 2> both =
      as_outputs<float, Pair>(with_residual(dx, dr.leftCols(3)));
  CHECK(both[0].data() == dx.data());
  CHECK(both[1].data() == dr.data());
}

TEST_CASE("what with_residual returns is told from everything else") {
  Matrix x = ramp();
  CHECK(detail::views_of<decltype(with_residual(x, x))> == 2);
  CHECK(detail::views_of<decltype(with_residual(x, x))&> == 2);
  CHECK(detail::views_of<Matrix> == 1);
  CHECK(detail::views_of<const BatchView<float>&> == 1);
}
