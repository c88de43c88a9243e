// SPDX-License-Identifier: MIT
#include "batchnorm/loops/simd.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "loops/vector_widths.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"
#include "support/loop_formulas.hpp"

using namespace batchnorm;
using namespace batchnorm_test;

namespace {

template <class C>
const std::vector<C>& special_numbers() {
  using Limits = std::numeric_limits<C>;
  static const std::vector<C> all = {C(0),
                                     -C(0),
                                     C(1),
                                     C(-1),
                                     Limits::infinity(),
                                     -Limits::infinity(),
                                     Limits::quiet_NaN(),
                                     -Limits::quiet_NaN(),
                                     Limits::denorm_min(),
                                     -Limits::denorm_min(),
                                     (Limits::max)(),
                                     Limits::lowest()};
  return all;
}

/// Whether two numbers are the same to the bit; of long double only the bits that count.
template <class C>
bool same_bits(const C& a, const C& b) {
  const std::size_t bytes = sizeof(C) > 8 ? 10 : sizeof(C);
  return std::memcmp(&a, &b, bytes) == 0;
}
template <class C>
bool all_same_bits(const std::vector<C>& some, const C& wanted) {
  bool same = true;
  for (const C& each : some) same = same && same_bits(each, wanted);
  return same;
}

struct Broadcasts {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    for (const C& number : special_numbers<C>()) {
      simd::Vector<C, Lanes> vector;
      simd::broadcast<C, Lanes>(vector, number);
      INFO(Lanes << " lanes of " << number);
      CHECK(all_same_bits(lanes_of_vector<C, Lanes>(vector), number));
      CHECK(same_bits(simd::first_lane<C, Lanes>(vector), number));
    }
  }
};

struct ReadsAndWrites {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    constexpr auto lanes = static_cast<std::size_t>(Lanes);
    std::vector<C> from(3 * lanes);
    for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<C>(i + 1);
    for (std::size_t byte = 0; byte <= sizeof(C) * lanes; ++byte) {
      // Anywhere, not only where numbers of that type may lie.
      std::vector<char> memory(sizeof(C) * 4 * lanes, 'x');
      std::vector<char> wanted = memory;
      std::memcpy(wanted.data() + byte, from.data() + 1, sizeof(C) * lanes);
      simd::Vector<C, Lanes> vector, again;
      simd::read<C, Lanes>(vector, from.data() + 1);
      simd::write<C, Lanes>(memory.data() + byte, vector);
      CHECK(memory == wanted);
      simd::read<C, Lanes>(again, memory.data() + byte);
      CHECK((lanes_of_vector<C, Lanes>(again) == lanes_of_vector<C, Lanes>(vector)));
      CHECK(simd::first_lane<C, Lanes>(again) == C(2));
    }
  }
};

/// The upper half onto the lower one, again and again.
template <class C>
C sum_in_halves(std::vector<C> numbers) {
  while (numbers.size() > 1) {
    const std::size_t half = numbers.size() / 2;
    for (std::size_t i = 0; i < half; ++i) numbers[i] += numbers[i + half];
    numbers.resize(half);
  }
  return numbers[0];
}

template <class C>
std::vector<C> inexact_numbers(Random& random, int count) {
  std::vector<C> numbers;
  for (int i = 0; i < count; ++i) numbers.push_back(static_cast<C>(random.uniform(-1, 1)));
  return numbers;
}

struct SumsOfLanes {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    Random random(11);
    for (int round = 0; round < 20; ++round) {
      const std::vector<C> numbers = inexact_numbers<C>(random, Lanes);
      simd::Vector<C, Lanes> vector;
      simd::read<C, Lanes>(vector, numbers.data());
      CHECK(simd::sum_of_lanes<C, Lanes>(vector) == sum_in_halves(numbers));
      const std::vector<double> wide = inexact_numbers<double>(random, Lanes);
      CHECK(simd::sum_of_array<double, Lanes>(wide.data()) == sum_in_halves(wide));
    }
  }
};

/// Adds a vector to numbers of type A, which have others before and behind.
template <class A, class C, int Lanes>
[[gnu::always_inline]] inline void check_add_lanes(Random& random) {
  constexpr auto lanes = static_cast<std::size_t>(Lanes);
  const std::vector<C> added = inexact_numbers<C>(random, Lanes);
  std::vector<A> sums = inexact_numbers<A>(random, Lanes + 2);
  std::vector<A> wanted = sums;
  for (std::size_t i = 0; i < lanes; ++i) wanted[i + 1] += static_cast<A>(added[i]);
  simd::Vector<C, Lanes> vector;
  simd::read<C, Lanes>(vector, added.data());
  simd::add_lanes<C, Lanes>(sums.data() + 1, vector);
  CHECK(sums == wanted);
}

struct AddsLanes {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    Random random(12);
    check_add_lanes<C, C, Lanes>(random);
    check_add_lanes<double, C, Lanes>(random);
  }
};

struct KeepsLastLanes {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    // Numbers whose other bits must not be seen where they are left out.
    for (const C& left_out : special_numbers<C>()) {
      for (const C& fill : special_numbers<C>()) {
        for (Index count = 0; count <= Lanes; ++count) {
          std::vector<C> numbers(static_cast<std::size_t>(Lanes), left_out);
          std::vector<C> wanted(static_cast<std::size_t>(Lanes), fill);
          for (Index i = Lanes - count; i < Lanes; ++i) {
            const auto at = static_cast<std::size_t>(i);
            wanted[at] = numbers[at] = static_cast<C>(7 + i);
          }
          simd::Vector<C, Lanes> vector, filling;
          simd::read<C, Lanes>(vector, numbers.data());
          simd::broadcast<C, Lanes>(filling, fill);
          simd::keep_last_lanes<C, Lanes>(vector, filling, count);
          const std::vector<C> got = lanes_of_vector<C, Lanes>(vector);
          bool same = true;
          for (std::size_t i = 0; i < got.size(); ++i) same = same && same_bits(got[i], wanted[i]);
          if (!same) FAIL_CHECK(count << " of " << Lanes << " lanes, filled with " << fill);
        }
      }
    }
  }
};

/// Special numbers in every lane, with others beside them.
struct Selects {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    const std::vector<C>& all = special_numbers<C>();
    for (std::size_t first = 0; first < all.size(); ++first) {
      std::vector<C> numbers;
      for (int i = 0; i < Lanes; ++i) {
        numbers.push_back(all[(first + static_cast<std::size_t>(i)) % all.size()]);
      }
      simd::Vector<C, Lanes> x, other, kept;
      simd::read<C, Lanes>(x, numbers.data());
      simd::broadcast<C, Lanes>(other, C(5));
      simd::broadcast<C, Lanes>(kept, C(3));
      simd::keep_where_positive(kept, x, other);
      simd::replace_negative(x, other);
      const std::vector<C> replaced = lanes_of_vector<C, Lanes>(x);
      const std::vector<C> chosen = lanes_of_vector<C, Lanes>(kept);
      for (std::size_t i = 0; i < numbers.size(); ++i) {
        INFO(numbers[i] << " in lane " << i << " of " << Lanes);
        // Neither a zero nor NaN is negative or positive.
        const bool neither = std::isnan(numbers[i]) || numbers[i] == C(0);
        const bool negative = !neither && std::signbit(numbers[i]);
        CHECK(same_bits(replaced[i], negative ? C(5) : numbers[i]));
        CHECK(chosen[i] == (neither || negative ? C(5) : C(3)));
      }
    }
  }
};

}  // namespace

TEST_CASE("broadcast fills every lane, to the bit") {
  at_every_width<Broadcasts, float>();
  at_every_width<Broadcasts, double>();
  Broadcasts::run<long double, 1>();
}

TEST_CASE("vectors are read from anywhere and written there") {
  at_every_width<ReadsAndWrites, float>();
  at_every_width<ReadsAndWrites, double>();
  at_every_width<ReadsAndWrites, long double>();
}

TEST_CASE("the sum of lanes is taken in halves") {
  at_every_width<SumsOfLanes, float>();
  at_every_width<SumsOfLanes, double>();
}

TEST_CASE("lanes are added in the type of the sums, and only to theirs") {
  at_every_width<AddsLanes, float>();
  at_every_width<AddsLanes, double>();
}

TEST_CASE("the last lanes are kept and the others filled, to the bit") {
  at_every_width<KeepsLastLanes, float>();
  at_every_width<KeepsLastLanes, double>();
  KeepsLastLanes::run<long double, 1>();
}

TEST_CASE("what is below or above zero is told from NaN, infinities and both zeros") {
  at_every_width<Selects, float>();
  at_every_width<Selects, double>();
  Selects::run<long double, 1>();
}

TEST_CASE("zero is zero also where a scalar's default is something else") {
  Unset x(50), kept(3);
  simd::replace_negative(x, Unset(5));
  CHECK(x == Unset(50));
  x = Unset(-1);
  simd::replace_negative(x, Unset(5));
  CHECK(x == Unset(5));
  simd::keep_where_positive(kept, Unset(50), Unset(5));
  CHECK(kept == Unset(3));
  simd::keep_where_positive(kept, Unset(0), Unset(5));
  CHECK(kept == Unset(5));
}

TEST_CASE("bits are copied as they are") {
  std::uint32_t bits = 0;
  simd::copy_bits(bits, -2.0f);
  CHECK(bits == 0xc0000000u);
  double number = 0;
  simd::copy_bits(number, std::uint64_t{0x7ff0000000000000u});
  CHECK(number == std::numeric_limits<double>::infinity());
}

TEST_CASE("only float and double have vectors") {
  CHECK(simd::lanes_of<float, 16> == 4);
  CHECK(simd::lanes_of<float, 32> == 8);
  CHECK(simd::lanes_of<double, 16> == 2);
  CHECK(simd::lanes_of<double, 32> == 4);
  CHECK(simd::lanes_of<float, 1> == 1);
  CHECK(simd::lanes_of<long double, 32> == 1);
  CHECK(simd::lanes_of<int, 16> == 1);
  CHECK(simd::lanes_of<Eigen::half, 32> == 1);
}
