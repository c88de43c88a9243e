// SPDX-License-Identifier: MIT
// Folded layers against the unfolded ones, computed by the oracle in long double.
#include "batchnorm/fold/fold.hpp"

#include <cmath>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "support/catch.hpp"
#include "support/fold_cases.hpp"

using namespace batchnorm;
using namespace batchnorm_test;
using reference::Axis;

namespace {

// One to three axes, every order, groups, strides, paddings and dilations that differ per axis.
const std::vector<FoldCase>& fold_cases() {
  const Axis one{};
  const Axis narrow{4, 2};
  const Axis wide{5, 3, 2, 1, 2};
  const Axis spread{6, 2, 1, 3, 0, 2};
  static const std::vector<FoldCase> cases = {
      {"linear, out x in", Order::oihw, 3, 4, 1, {one, one, one}},
      {"linear, in x out", Order::hwio, 3, 4, 1, {one, one, one}},
      {"OIW", Order::oihw, 4, 3, 1, {one, one, spread}},
      {"OIHW", Order::oihw, 3, 2, 1, {one, wide, narrow}},
      {"OIDHW", Order::oihw, 2, 2, 1, {narrow, Axis{3, 3, 1, 1, 1}, narrow}},
      {"OIHW in 3 groups", Order::oihw, 6, 9, 3, {one, narrow, wide}},
      {"OIHW, depthwise, multiplier 2", Order::oihw, 6, 3, 3, {one, narrow, spread}},
      {"HWIO", Order::hwio, 3, 2, 1, {one, wide, spread}},
      {"HWIO in 2 groups", Order::hwio, 4, 6, 2, {one, narrow, narrow}},
      {"HWIM, multiplier 3", Order::hwim, 6, 2, 2, {one, wide, narrow}},
      {"IOHW", Order::iohw, 3, 4, 1, {one, wide, narrow}},
      {"IOHW in 2 groups", Order::iohw, 6, 4, 2, {one, Axis{3, 2, 2, 0, 0, 1, 1}, spread}},
      {"IODHW, stride 3 over 2 taps", Order::iohw, 2, 2, 1, {narrow, one, Axis{3, 2, 3, 0, 1}}},
      {"HWOI", Order::hwoi, 2, 5, 1, {one, wide, narrow}},
  };
  return cases;
}

bool is_padded(const FoldCase& test) {
  for (const Axis& axis : test.axes) {
    if (axis.before != 0 || axis.after != 0) return true;
  }
  return false;
}

FoldCase without_padding(FoldCase test) {
  for (Axis& axis : test.axes) axis.before = axis.after = 0;
  return test;
}

FoldOptions with_padding(Padding padding) {
  FoldOptions options;
  options.padding = padding;
  return options;
}

Options with_epsilon(double epsilon) {
  Options options;
  options.epsilon = epsilon;
  return options;
}

/// The roundings of the oracle itself, in units of a certificate for weights of type T.
template <class T>
double oracle_ulps() {
  return 1000.0 * static_cast<double>(std::numeric_limits<Real>::epsilon()) /
         detail::distance_after_one<T>();
}

/// What every certificate of an ordinary fold must say, `measured` being the change of the outputs
/// by the oracle.
template <class T>
void check_certificate(const FoldCertificate& certificate, double measured, Index terms) {
  CHECK(measured <= certificate.bound_ulps + oracle_ulps<T>());
  CHECK(certificate.probes == 4);
  CHECK(certificate.probes_agree());
  CHECK(certificate.measured_ulps > 0.0);
  const bool is_double = std::is_same<T, double>::value;
  CHECK(certificate.bound_ulps < (is_double ? 10.0 + static_cast<double>(terms) / 2 : 0.501));
  CHECK(certificate.vanished_weights == 0);
}

}  // namespace

TEMPLATE_TEST_CASE("a norm behind a layer", "[fold]", float, double, Eigen::half, Eigen::bfloat16) {
  Random random(31);
  for (const FoldCase& test : fold_cases()) {
    for (const bool with_bias : {true, false}) {
      INFO(test.name << (with_bias ? " with bias" : " without bias"));
      StoredLayer<TestType> layer(test, random, with_bias);
      const State<TestType> state = random_state<TestType>(random, test.out);
      const reference::Layer norm = oracle_of(state, 1e-3);
      const reference::Planes x = random_planes(random, test.in, layer.oracle.input());
      const reference::Planes expected =
          reference::forward(norm, reference::convolve(layer.oracle, x));

      const FoldCertificate certificate =
          fold_after(layer.weights(), layer.bias, state, with_epsilon(1e-3));
      REQUIRE(layer.bias.size() == test.out);
      const reference::Planes got = reference::convolve(layer.now(), x);
      const double measured = change_in_ulps<TestType>(expected, got, layer.oracle,
                                                       no_norm(test.in), norm, largest_of(x));
      check_certificate<TestType>(certificate, measured, layer.weights().terms());
    }
  }
}

TEMPLATE_TEST_CASE("a norm in front of a layer that does not pad", "[fold]", float, double,
                   Eigen::half, Eigen::bfloat16) {
  Random random(32);
  for (const FoldCase& padded : fold_cases()) {
    if (is_transposed(padded)) continue;
    const FoldCase test = without_padding(padded);
    for (const bool with_bias : {true, false}) {
      INFO(test.name << (with_bias ? " with bias" : " without bias"));
      StoredLayer<TestType> layer(test, random, with_bias);
      const State<TestType> state = random_state<TestType>(random, test.in);
      const reference::Layer norm = oracle_of(state, 1e-3);
      const reference::Planes x = random_planes(random, test.in, layer.oracle.input());
      const reference::Planes expected =
          reference::convolve(layer.oracle, reference::forward(norm, x));

      const FoldCertificate certificate = fold_before(
          layer.weights(), layer.bias, state, with_epsilon(1e-3), with_padding(Padding::none));
      REQUIRE(layer.bias.size() == test.out);
      const reference::Planes got = reference::convolve(layer.now(), x);
      const double measured = change_in_ulps<TestType>(expected, got, layer.oracle, norm,
                                                       no_norm(test.out), largest_of(x));
      check_certificate<TestType>(certificate, measured, layer.weights().terms());
    }
  }
}

TEMPLATE_TEST_CASE("a norm in front of zero padding, and of a transposed convolution", "[fold]",
                   float, double, Eigen::bfloat16) {
  Random random(33);
  for (const FoldCase& test : fold_cases()) {
    for (const bool with_bias : {true, false}) {
      INFO(test.name << (with_bias ? " with bias" : " without bias"));
      StoredLayer<TestType> layer(test, random, with_bias);
      const State<TestType> state = random_state<TestType>(random, test.in);
      const reference::Layer norm = oracle_of(state, 1e-5);
      const reference::Planes x = random_planes(random, test.in, layer.oracle.input());
      const reference::Planes expected =
          reference::convolve(layer.oracle, reference::forward(norm, x));

      const Eigen::Matrix<TestType, Eigen::Dynamic, 1> bias_before = layer.bias;
      const PaddedFold<TestType> fold = fold_before_padded(
          layer.weights(), layer.bias, state, with_epsilon(1e-5), library_axes(test.axes));
      CHECK(layer.bias == bias_before);
      REQUIRE(fold.bias.rows() == test.out);
      REQUIRE(fold.bias.cols() == expected.places());
      for (Size axis = 0; axis < 3; ++axis) {
        CHECK(fold.output_sizes[axis] == expected.size[axis]);
      }
      reference::Convolution folded = layer.now();
      for (Real& value : folded.bias) value = 0;
      reference::Planes got = reference::convolve(folded, x);
      for (int o = 0; o < test.out; ++o) {
        for (int p = 0; p < got.places(); ++p) got.at(o, p) += static_cast<Real>(fold.bias(o, p));
      }
      const double measured = change_in_ulps<TestType>(expected, got, layer.oracle, norm,
                                                       no_norm(test.out), largest_of(x));
      check_certificate<TestType>(fold.certificate, measured, layer.weights().terms());
      if (!is_padded(test) && !is_transposed(test)) {
        CHECK(fold.bias == fold.bias.col(0).replicate(1, fold.bias.cols()));
      }
    }
  }
}

TEST_CASE("the border of a padded convolution, worked out by hand", "[fold]") {
  // The norm is x -> 2 x + 3, the kernel (1 10 100) with a zero at each end of three inputs.
  State<float> state(1);
  state.gamma[0] = 2;
  state.beta[0] = 3;
  std::vector<float> kernel = {1, 10, 100};
  Eigen::VectorXf bias(1);
  bias << 0.5f;
  const auto fold = fold_before_padded(convolution_oihw(kernel.data(), 1, 1, 3), bias, state,
                                       with_epsilon(0), {{3, 3, 1, 1, 1}});
  CHECK(kernel == std::vector<float>{2, 20, 200});
  CHECK(fold.bias == Eigen::RowVector3f(330.5f, 333.5f, 33.5f));
  CHECK(fold.output_sizes == std::vector<Index>{3});

  // Transposed, stride 2 over 3 taps: places 0 and 2 are met by taps 0 and 2, place 1 by tap 1.
  kernel = {1, 10, 100};
  const auto transposed = fold_before_padded(transposed_iohw(kernel.data(), 1, 1, 3), bias, state,
                                             with_epsilon(0), {{2, 3, 2}});
  Eigen::RowVectorXf expected(5);
  expected << 3.5f, 30.5f, 303.5f, 30.5f, 300.5f;
  CHECK(transposed.bias == expected);
}

TEST_CASE("padding with values of the input folds exactly, worked out by hand", "[fold]") {
  // The norm is x -> 2 x + 3, the input 1 2 3 with its ends repeated: 5 5 7 9 9 behind the norm.
  State<float> state(1);
  state.gamma[0] = 2;
  state.beta[0] = 3;
  std::vector<float> kernel = {1, 10, 100};
  Eigen::VectorXf bias;
  fold_before(convolution_oihw(kernel.data(), 1, 1, 3), bias, state, with_epsilon(0),
              with_padding(Padding::from_input));
  const float x[] = {1, 1, 2, 3, 3};
  const float expected[] = {755, 975, 997};  // of 5 5 7, 5 7 9, 7 9 9 with 1 10 100
  for (int p = 0; p < 3; ++p) {
    CHECK(kernel[0] * x[p] + kernel[1] * x[p + 1] + kernel[2] * x[p + 2] + bias[0] == expected[p]);
  }
}

TEST_CASE("a layer, a norm, another norm: one rounding", "[fold]") {
  Random random(34);
  const FoldCase test{"", Order::oihw, 5, 7, 1, {Axis{}, Axis{}, Axis{}}};
  StoredLayer<float> layer(test, random, false);
  const State<float> first = random_state<float>(random, 5);
  const State<float> second = random_state<float>(random, 5);
  const InferenceMap chain =
      InferenceMap(first, with_epsilon(1e-5)).then(InferenceMap(second, with_epsilon(1e-3)));
  const reference::Layer one = oracle_of(first, 1e-5);
  const reference::Layer two = oracle_of(second, 1e-3);
  const reference::Planes x = random_planes(random, 7, {1, 1, 1});
  const reference::Planes expected =
      reference::forward(two, reference::forward(one, reference::convolve(layer.oracle, x)));

  const FoldCertificate certificate = fold_after(layer.weights(), layer.bias, chain);
  CHECK(certificate.bound_ulps < 0.501);
  CHECK(certificate.probes_agree());
  const reference::Convolution folded = layer.now();
  Real most = 0;
  for (int o = 0; o < 5; ++o) {
    const Size c = Size(o);
    const Real gain = one.gamma[c] / one.root(c) * two.gamma[c] / two.root(c);
    for (int i = 0; i < 7; ++i) {
      const Real exact = layer.oracle.weight(o, i, 0) * gain;
      const Real ulp = std::ldexp(1.0L, std::ilogb(exact) - 23);
      most = std::max(most, std::fabs(folded.weight(o, i, 0) - exact) / ulp);
    }
    const Real shift = two.gamma[c] / two.root(c) * (one.beta[c] - two.mu[c]) + two.beta[c];
    const Real exact = -one.mu[c] * gain + shift;
    CHECK(std::fabs(folded.bias[c] - exact) <= 0x1p-23L * std::fabs(exact));
  }
  CHECK(most <= 0.5000001L);  // two roundings would pass half a unit
  CHECK(most > 0.4L);
  const reference::Planes got = reference::convolve(folded, x);
  for (int o = 0; o < 5; ++o) CHECK(std::fabs(got.at(o, 0) - expected.at(o, 0)) < 1e-5L);
}
