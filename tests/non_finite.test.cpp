// SPDX-License-Identifier: MIT
// Also built with -O3 -ffast-math, where compilers assume that there is neither NaN nor infinity.
#include <cstdint>
#include <cstring>
#include <stdexcept>

#include "batchnorm/layer.hpp"
#include "support/catch.hpp"

using batchnorm::BatchNorm;
using batchnorm::Index;
using batchnorm::NonFinite;
using batchnorm::Options;
using namespace batchnorm_test;

namespace {

/// Made of bits: arithmetic with infinities is what -ffast-math takes liberties with.
template <class Real, class Bits>
Real from_bits(Bits bits) {
  static_assert(sizeof(Real) == sizeof(Bits), "one pattern for one number");
  Real value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

template <class Real>
std::vector<Real> bad_values();
template <>
std::vector<float> bad_values() {
  return {from_bits<float>(0x7f800000u), from_bits<float>(0xff800000u),
          from_bits<float>(0x7fc00000u)};
}
template <>
std::vector<double> bad_values() {
  return {from_bits<double>(std::uint64_t{0x7ff0000000000000}),
          from_bits<double>(std::uint64_t{0xfff0000000000000}),
          from_bits<double>(std::uint64_t{0x7ff8000000000000})};
}

bool is_nan(double value) {
  std::uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return (bits & 0x7fffffffffffffffu) > 0x7ff0000000000000u;
}

template <class T>
using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic>;

template <class T>
Matrix<T> ramp(Index channels, Index examples) {
  Matrix<T> x(channels, examples);
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = static_cast<T>((i * 7) % 13);
  return x;
}

/// Elements as bits: NaN equals nothing.
template <class T>
class Bytes {
 public:
  explicit Bytes(const Matrix<T>& matrix) : matrix_(matrix) {}
  bool operator==(const Matrix<T>& other) const {
    return other.size() == matrix_.size() &&
           std::memcmp(other.data(), matrix_.data(),
                       sizeof(T) * static_cast<std::size_t>(other.size())) == 0;
  }

 private:
  Matrix<T> matrix_;
};

template <class T>
void check_same_state(const batchnorm::State<T>& a, const batchnorm::State<T>& b) {
  CHECK(a.running_mean == b.running_mean);
  CHECK(a.running_variance == b.running_variance);
  CHECK(a.batches_seen == b.batches_seen);
  CHECK(a.samples_seen == b.samples_seen);
}

}  // namespace

TEMPLATE_TEST_CASE("a minibatch with NaN or infinity is rejected wherever it stands",
                   "[non_finite]", float, double) {
  BatchNorm<TestType> layer(5);
  layer.train(ramp<TestType>(5, 4));
  const auto before = layer.state();
  for (const TestType bad : bad_values<TestType>()) {
    for (const Index examples : {2, 3, 17, 1100}) {
      for (const Index column : {Index{0}, examples / 2, examples - 1}) {
        Matrix<TestType> x = ramp<TestType>(5, examples);
        x(2, column) = bad;
        x(4, 0) = bad;
        Matrix<TestType> y = Matrix<TestType>::Zero(5, examples);
        const char* text =
            "BatchNorm::train: the statistics of a minibatch must be finite: expected finite "
            "values in every channel, got NaN, infinity or overflow in channel 2";
        CHECK_THROWS_MATCHES(layer.train(x, y), std::domain_error, says(text));
        const Bytes<TestType> given(x);
        Eigen::Matrix<TestType, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> by_rows = x;
        CHECK_THROWS_AS(layer.train(by_rows, by_rows), std::domain_error);
        CHECK(given == Matrix<TestType>(by_rows));
        CHECK_THROWS_AS(layer.normalize(x, y), std::domain_error);
      }
    }
  }
  check_same_state(layer.state(), before);
}

TEST_CASE("overflow in the statistics counts as not finite", "[non_finite]") {
  BatchNorm<float> layer(2);
  Matrix<float> x(2, 4);
  x << 1, 2, 3, 4, 1e30f, -1e30f, 1e30f, -1e30f;
  const Matrix<float> before = x;
  CHECK_THROWS_MATCHES(layer.train(x, x), std::domain_error, says("overflow in channel 1"));
  CHECK(x == before);
  BatchNorm<double> wide(1);
  Matrix<double> huge(1, 2);
  huge << 1e200, -1e200;
  CHECK_THROWS_MATCHES(wide.train(huge, huge), std::domain_error, says("overflow in channel 0"));
  CHECK(wide.state().running_variance[0] == 1.0);
}

TEST_CASE("skip_update writes the output and leaves the running statistics", "[non_finite]") {
  Options options;
  options.non_finite = NonFinite::skip_update;
  BatchNorm<double> layer(2, options);
  layer.train(ramp<double>(2, 8));
  const auto before = layer.state();
  Matrix<double> x = ramp<double>(2, 8);
  x(1, 3) = bad_values<double>()[2];
  const auto [y, batch] = layer.train(x);
  CHECK(is_nan(y(1, 0)));
  CHECK(!is_nan(y(0, 0)));
  check_same_state(layer.state(), before);
  layer.commit(batch);
  check_same_state(layer.state(), before);
  layer.train(ramp<double>(2, 8));
  CHECK(layer.state().batches_seen == 2);
}

TEST_CASE("propagate lets NaN into output and running statistics", "[non_finite]") {
  Options options;
  options.non_finite = NonFinite::propagate;
  BatchNorm<double> layer(2, options);
  Matrix<double> x = ramp<double>(2, 8);
  x(1, 3) = bad_values<double>()[0];
  const auto [y, batch] = layer.train(x);
  CHECK(is_nan(y(1, 5)));
  // The mean of a channel with one infinity is that infinity, as in PyTorch.
  CHECK_FALSE(batchnorm::detail::is_finite(layer.state().running_mean[1]));
  CHECK(is_nan(layer.state().running_variance[1]));
  CHECK(!is_nan(layer.state().running_mean[0]));
  CHECK(layer.state().batches_seen == 1);
  const Matrix<double> test = layer.infer(ramp<double>(2, 1));
  CHECK(is_nan(test(1, 0)));
  CHECK(!is_nan(test(0, 0)));
}

TEST_CASE("commit rejects moments that are not finite, wholly", "[non_finite]") {
  BatchNorm<double> layer(3);
  layer.train(ramp<double>(3, 5));
  const auto before = layer.state();
  auto moments = batchnorm::moments_of(ramp<double>(3, 5));
  for (const double bad : bad_values<double>()) {
    auto wrong_mean = moments;
    wrong_mean.mean[2] = bad;
    CHECK_THROWS_MATCHES(layer.commit(wrong_mean), std::domain_error,
                         says("BatchNorm::commit: the statistics of a minibatch must be finite"));
    check_same_state(layer.state(), before);
  }
}

TEST_CASE("running statistics that are not finite are refused at the door", "[non_finite]") {
  for (const float bad : bad_values<float>()) {
    batchnorm::State<float> state(3);
    state.running_mean[1] = bad;
    CHECK_THROWS_MATCHES(BatchNorm<float>(state, Options()), std::domain_error,
                         says("BatchNorm: running statistics of channel 1: expected finite"));
    state = batchnorm::State<float>(3);
    state.running_variance[2] = bad;
    CHECK_THROWS_AS(BatchNorm<float>(state, Options()), std::domain_error);
    BatchNorm<float> layer(3);
    layer.train(ramp<float>(3, 4));
    layer.state() = state;
    CHECK_THROWS_MATCHES(layer.infer(ramp<float>(3, 1)), std::domain_error,
                         says("BatchNorm::infer: running statistics of channel 2"));
    CHECK_THROWS_AS(layer.freeze(), std::domain_error);
  }
}
