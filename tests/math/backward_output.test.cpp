// SPDX-License-Identifier: MIT
// What backward_from_output refuses. What it computes stands in laws/from_output.test.cpp.
#include "batchnorm/math/backward_output.hpp"

#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "batchnorm/layer.hpp"
#include "support/catch.hpp"

using namespace batchnorm;

namespace {

const char* const who = "BatchNorm::backward_from_output: ";

/// A layer of 3 channels and a minibatch of it, which stays as it is when the call is refused.
struct Refusal {
  Options options;
  State<float> state{3};
  Eigen::MatrixXf out = Eigen::MatrixXf::Ones(3, 4), dy = 2 * out, dx = 3 * out;

  template <class Error>
  void says_exactly(const std::string& text) {
    const BatchNorm<float> layer(state, options);
    Moments<double> batch(3);
    batch.count = 4;
    batch.sum_of_squares.setConstant(4);
    std::string message;
    try {
      layer.backward_from_output(batch, out, dy, dx);
    } catch (const Error& error) {
      message = error.what();
    }
    CHECK(message == who + text);
    CHECK((dx.array() == 3.0f).all());
  }
};

}  // namespace

TEST_CASE("an epilogue that cannot be undone is refused") {
  Refusal refusal;
  const std::string rule =
      "the epilogue has to be undone: expected none, or a leaky ReLU with a slope larger than 0, "
      "got ";
  refusal.options.epilogue = Epilogue::relu();
  refusal.says_exactly<std::invalid_argument>(rule + "ReLU");
  refusal.options.epilogue = Epilogue::leaky_relu(0.0);
  refusal.says_exactly<std::invalid_argument>(rule + "ReLU");
  refusal.options.epilogue = Epilogue::leaky_relu(1e-40);
  refusal.says_exactly<std::invalid_argument>(rule + "a slope of 1e-40, whose inverse overflows");
}

TEST_CASE("a gamma that hides the input is refused") {
  const std::string remedy = " in size, so that the input can be recovered; use backward, got ";
  Refusal zero;
  zero.state.gamma[1] = 0.0f;
  zero.says_exactly<std::domain_error>(
      "gamma of channel 1 is divided by: expected at least 1.17549435e-38" + remedy + "0");
  Refusal small;  // 128 (0.5 + 2^17 - 0.5) / 2^24 = 1
  small.state.gamma[2] = -0.5f;
  small.state.beta[2] = 131071.5f;
  small.says_exactly<std::domain_error>("gamma of channel 2 is divided by: expected at least 1" +
                                        remedy + "0.5");
  Refusal fixed = small;  // gamma is 1, whatever the state says
  fixed.options.scale = false;
  fixed.state.beta[2] = 262143.0f;
  fixed.says_exactly<std::domain_error>("gamma of channel 2 is divided by: expected at least 2" +
                                        remedy + "1");
  Refusal denormal;
  denormal.state.gamma[0] = 0x1p-130f;
  denormal.says_exactly<std::domain_error>(
      "gamma of channel 0 is divided by: expected at least 1.17549435e-38" + remedy +
      "7.34683969e-40");
}

TEST_CASE("shapes and moments that do not fit are refused") {
  Refusal shape;
  shape.dy.resize(3, 5);
  shape.says_exactly<std::invalid_argument>(
      "shape of output gradient must be that of input: expected 4 samples x 3 channels x 1 "
      "positions, got 5 samples x 3 channels x 1 positions");
  Refusal longer;
  longer.out = longer.dy = longer.dx = Eigen::MatrixXf::Constant(3, 5, 3.0f);
  longer.says_exactly<std::invalid_argument>(
      "the moments must be those of this input: expected moments of 5 values per channel, got "
      "moments of 4");
}

TEST_CASE("the rounding of 16-bit types limits beta, and a small slope what is below zero") {
  const auto accepts = [](auto zero, float gamma, float beta, const Epilogue& epilogue) {
    using T = decltype(zero);
    Options options;
    options.epilogue = epilogue;
    State<T> state(1);
    state.gamma[0] = gamma;
    state.beta[0] = beta;
    try {
      detail::check_invertible<T>("f", options, state);
      return true;
    } catch (const std::domain_error&) {
      return false;
    }
  };
  const Epilogue none = Epilogue::none();
  // u is 2^-8 for bfloat16 and 2^-11 for half: |beta / gamma| up to 1 and 15.
  CHECK(accepts(Eigen::bfloat16(0), 1.0f, 1.0f, none));
  CHECK_FALSE(accepts(Eigen::bfloat16(0), 1.0f, 1.01f, none));
  CHECK(accepts(Eigen::half(0), -1.0f, 15.0f, none));
  CHECK_FALSE(accepts(Eigen::half(0), -1.0f, 15.01f, none));
  // The smallest half is 2^-24: at a slope of 2^-17 that is 1/128 of a z of 1.
  CHECK(accepts(Eigen::half(0), 1.0f, 0.0f, Epilogue::leaky_relu(0x1p-16)));
  CHECK_FALSE(accepts(Eigen::half(0), 1.0f, 0.0f, Epilogue::leaky_relu(0x1p-18)));
  CHECK(accepts(0.0f, 1.0f, 0.0f, Epilogue::leaky_relu(0x1p-18)));
}

TEST_CASE("the tables of backward from the output have beta for the mean and 1 / gamma for r") {
  State<float> state(3);
  state.gamma << 2, -4, 0.5f;
  state.beta << 1, 0, -3;
  Moments<double> batch(3);
  batch.count = 5;
  batch.mean << 9, 8, 7;
  batch.sum_of_squares << 20, 80, 1.25;  // deviations 2, 4 and 1/2
  Options options;
  options.epsilon = 0.0;
  const auto tables = [&] {
    return detail::output_tables<float>(options, state, detail::statistics_of(batch));
  };
  const auto first = [](const auto* numbers) { return std::vector<double>(numbers, numbers + 3); };
  using Numbers = std::vector<double>;
  auto both = tables();
  CHECK(first(both.pivot()) == Numbers{1, 0, -3});
  CHECK(first(both.scale()) == Numbers{1, -1, 1});
  CHECK(first(both.inverse()) == Numbers{0.5, -0.25, 2});
  CHECK(first(both.wide_inverse()) == Numbers{0.5, -0.25, 2});
  CHECK(first(both.pivot_error()) == Numbers{0, 0, 0});
  options.scale = options.shift = false;
  auto neither = tables();
  CHECK(first(neither.pivot()) == Numbers{0, 0, 0});
  CHECK(first(neither.scale()) == Numbers{0.5, 0.25, 2});
  CHECK(first(neither.inverse()) == Numbers{1, 1, 1});
}

TEST_CASE("an output leads to the gradients that its input leads to") {
  // xhat is 1, -1, 1, -1 and r 1/2: sums of 10 and 2, dx = 3/2 (dy - 10/4 - xhat 2/4).
  State<double> state(1);
  state.gamma[0] = 3;
  state.beta[0] = 16;
  Options options;
  options.epsilon = 0.0;
  Moments<double> batch(1);
  batch.count = 4;
  batch.mean[0] = 7;
  batch.sum_of_squares[0] = 16;
  const Eigen::RowVectorXd y{{19, 13, 19, 13}}, dy{{1, 2, 5, 2}};
  Eigen::RowVectorXd dx(4);
  const auto gradients = BatchNorm<double>(state, options).backward_from_output(batch, y, dy, dx);
  CHECK(dx.isApprox(Eigen::RowVectorXd{{-3, 0, 3, 0}}, 1e-15));
  CHECK(std::abs(gradients.gamma[0] - 2) <= 1e-15);
  CHECK(gradients.beta[0] == 10.0);
}
