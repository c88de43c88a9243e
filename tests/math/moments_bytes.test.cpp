// SPDX-License-Identifier: MIT
#include "batchnorm/math/moments_bytes.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "support/catch.hpp"
#include "support/generators.hpp"

using namespace batchnorm_test;
using batchnorm::Index;
using batchnorm::Moments;
using batchnorm::moments_from_bytes;
using batchnorm::to_bytes;

namespace {

using Bytes = std::vector<unsigned char>;

Moments<double> some_moments() {
  Moments<double> moments(2);
  moments.count = 3;
  moments.mean << 1.0, -2.0;
  moments.sum_of_squares << 0.5, 0.0;
  return moments;
}

/// The layout of version 1 byte by byte, written down by hand from IEEE 754: 1.0 is 3ff0..., 2.0 is
/// 4000..., 0.5 is 3fe0..., 3.0 is 4008...
Bytes bytes_of_some_moments() {
  Bytes bytes = {'B', 'N', 'M', 'O', 1, 0, 0, 0};
  const Bytes two = {2, 0, 0, 0, 0, 0, 0, 0}, three = {3, 0, 0, 0, 0, 0, 0, 0};
  const Bytes real_three = {0, 0, 0, 0, 0, 0, 0x08, 0x40};
  const Bytes one = {0, 0, 0, 0, 0, 0, 0xf0, 0x3f}, minus_two = {0, 0, 0, 0, 0, 0, 0x00, 0xc0};
  const Bytes half = {0, 0, 0, 0, 0, 0, 0xe0, 0x3f}, zero(8, 0);
  for (const Bytes& part : {two, three, real_three, real_three, one, minus_two, half, zero}) {
    bytes.insert(bytes.end(), part.begin(), part.end());
  }
  return bytes;
}

template <class M>
bool same(const M& a, const M& b) {
  return a.count == b.count && a.mean == b.mean && a.sum_of_squares == b.sum_of_squares &&
         a.weight() == b.weight() && a.squared_weight() == b.squared_weight();
}

Bytes with_byte(std::size_t place, unsigned char value) {
  Bytes bytes = bytes_of_some_moments();
  bytes[place] = value;
  return bytes;
}

}  // namespace

TEST_CASE("the layout of version 1 is fixed") {
  CHECK(to_bytes(some_moments()) == bytes_of_some_moments());
  CHECK(same(moments_from_bytes(bytes_of_some_moments()), some_moments()));
}

TEST_CASE("moments come back from bytes to the last bit") {
  Random random(5);
  for (const Index channels : {0, 1, 7, 300}) {
    Moments<double> moments(channels);
    moments.count = channels == 0 ? 0 : (std::numeric_limits<Index>::max)() / 2 + 8;
    for (Index c = 0; c < channels; ++c) {
      moments.mean[c] = std::ldexp(random.normal(), static_cast<int>(random.below(600)) - 300);
      moments.sum_of_squares[c] = std::ldexp(random.uniform(), static_cast<int>(random.below(900)));
    }
    CHECK(same(moments_from_bytes(to_bytes(moments)), moments));
    if (channels == 0) continue;
    moments.set_weight(0.1, 1e-11);
    CHECK(same(moments_from_bytes(to_bytes(moments)), moments));
  }
  CHECK(to_bytes(Moments<double>(3)).size() == 40 + 3 * 16);
  CHECK(same(moments_from_bytes(to_bytes(Moments<double>(3))), Moments<double>(3)));
}

TEST_CASE("fixed channels, float, and wider scalars to read into") {
  Moments<double, 2> fixed;
  fixed.count = 3;
  fixed.mean << 1.0, -2.0;
  fixed.sum_of_squares << 0.5, 0.0;
  CHECK(to_bytes(fixed) == bytes_of_some_moments());
  CHECK(same(moments_from_bytes<double, 2>(bytes_of_some_moments()), fixed));
  CHECK_THROWS_MATCHES((moments_from_bytes<double, 3>(bytes_of_some_moments())),
                       std::invalid_argument,
                       says("moments_from_bytes: number of channels is fixed by the type: expected "
                            "3, got 2"));
  Moments<float> narrow(1);
  narrow.count = 2;
  narrow.mean << 0.1f;
  CHECK(moments_from_bytes(to_bytes(narrow)).mean[0] == static_cast<double>(0.1f));
  CHECK(moments_from_bytes<long double>(bytes_of_some_moments()).mean[1] == -2.0L);
}

TEST_CASE("bytes that are no moments are refused, whatever their length") {
  const Bytes good = bytes_of_some_moments();
  for (std::size_t size = 0; size < good.size(); ++size) {
    // In memory of its own, so that a sanitizer sees a read behind the end.
    const Bytes cut(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size));
    CHECK_THROWS_AS(moments_from_bytes(cut), std::invalid_argument);
  }
  CHECK_THROWS_MATCHES(moments_from_bytes(Bytes(39, 0)), std::invalid_argument,
                       says("moments_from_bytes: size of moments in bytes: expected at least the "
                            "40 of the header, got 39"));
  CHECK_THROWS_MATCHES(moments_from_bytes(nullptr, 72), std::invalid_argument,
                       says("got a null pointer"));
  Bytes longer = good;
  longer.push_back(0);
  CHECK_THROWS_MATCHES(moments_from_bytes(longer), std::invalid_argument,
                       says("size of moments of 2 channels: expected 40 bytes and 16 per channel, "
                            "got 73"));
  CHECK_THROWS_MATCHES(moments_from_bytes(with_byte(3, 'X')), std::invalid_argument,
                       says("first four bytes: expected the letters BNMO"));
  CHECK_THROWS_MATCHES(moments_from_bytes(with_byte(4, 2)), std::invalid_argument,
                       says("version of the layout: expected 1, the one that this library knows, "
                            "got 2"));
  // Numbers of channels whose 16 bytes each overflow to the size that is there.
  CHECK_THROWS_AS(moments_from_bytes(with_byte(15, 0x10)), std::invalid_argument);
  CHECK_THROWS_AS(moments_from_bytes(with_byte(15, 0x80)), std::invalid_argument);
}

TEST_CASE("numbers that no data leave behind are refused when written and when read") {
  CHECK_THROWS_MATCHES(moments_from_bytes(with_byte(23, 0x80)), std::invalid_argument,
                       says("count of the moments: expected zero or more"));
  // 2^40 values are more than a system of 32 bits can count.
  if (sizeof(Index) == 4) {
    CHECK_THROWS_MATCHES(moments_from_bytes(with_byte(21, 1)), std::invalid_argument,
                         says("count of the moments: expected at most 2147483647, got 10995"));
  }
  CHECK_THROWS_MATCHES(moments_from_bytes(with_byte(16, 0)), std::domain_error,
                       says("mean and sum of squares of channel 0: expected zero, as there are no "
                            "values, got 1 and 0.5"));
  CHECK_THROWS_MATCHES(moments_from_bytes(with_byte(63, 0xbf)), std::domain_error, says("-0.5"));
  CHECK_THROWS_MATCHES(moments_from_bytes(with_byte(31, 0xc0)), std::invalid_argument,
                       says("moments_from_bytes: sums of weights and of their squares: expected "
                            "those of 3 positive weights, got -3 and 3"));
  Moments<double> one(2);
  one.count = 1;
  one.mean << 3.0, 4.0;
  CHECK(moments_from_bytes(to_bytes(one)).mean == one.mean);
  one.sum_of_squares[1] = 2.0;
  CHECK_THROWS_MATCHES(to_bytes(one), std::domain_error,
                       says("to_bytes: mean and sum of squares of channel 1: expected finite "
                            "numbers, the sum zero, as there is one value, got 4 and 2"));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double bad : {nan, infinity, -infinity}) {
    Moments<double> moments = some_moments();
    moments.mean[1] = bad;
    CHECK_THROWS_MATCHES(to_bytes(moments), std::domain_error,
                         says("to_bytes: mean and sum of squares of channel 1: expected finite "
                              "numbers, the sum not negative"));
    moments = some_moments();
    moments.sum_of_squares[0] = bad;
    CHECK_THROWS_AS(to_bytes(moments), std::domain_error);
  }
  Moments<double> uneven = some_moments();
  uneven.sum_of_squares.resize(3);
  CHECK_THROWS_AS(to_bytes(uneven), std::invalid_argument);
}
