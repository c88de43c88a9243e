// SPDX-License-Identifier: MIT
#include "batchnorm/loops/channels.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "batchnorm/loops/simd.hpp"
#include "batchnorm/loops/simd_dispatch.hpp"
#include "loops/vector_widths.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"

using batchnorm::Index;
using batchnorm::InstructionSet;
using namespace batchnorm_test;
using batchnorm::loops::AllLanes;
using batchnorm::loops::ChannelGroup;
using batchnorm::loops::for_channels;
namespace loops = batchnorm::loops;
namespace simd = batchnorm::simd;

namespace {

constexpr Index most_channels = 40;
constexpr Index margin = 5;

/// Numbers of many digits, some of them negative.
template <class T>
std::vector<T> inexact(std::uint64_t seed) {
  Random random(seed);
  std::vector<T> numbers;
  for (Index i = 0; i < most_channels + 2 * margin; ++i) {
    numbers.push_back(static_cast<T>(random.uniform(-3, 9)));
  }
  return numbers;
}

/// Limits the instruction set while it lives.
class Limited {
 public:
  explicit Limited(InstructionSet limit) : before_(batchnorm::limit_instruction_set(limit)) {}
  ~Limited() { batchnorm::limit_instruction_set(before_); }
  Limited(const Limited&) = delete;
  Limited& operator=(const Limited&) = delete;

 private:
  InstructionSet before_;
};

template <class T>
bool same_bits(const T& a, const T& b) {
  return a == b ? std::signbit(a) == std::signbit(b) : std::isnan(a) && std::isnan(b);
}

/// to[c] = a[c] b[c] - 1 / root(a[c]^2 + 2), and a note of every group.
template <class C, class T>
struct Computes {
  template <int Lanes>
  [[gnu::always_inline]] bool run(const ChannelGroup& group) const {
    groups->push_back(group);
    if (group.count > Lanes) return false;
    simd::Vector<C, Lanes> x, y;
    loops::load_channels<C, Lanes>(x, a, group);
    loops::load_channels<C, Lanes>(y, b, group);
    simd::Vector<C, Lanes> root = x * x + C(2);
    loops::square_root<C, Lanes>(root);
    const simd::Vector<C, Lanes> result = x * y - C(1) / root;
    loops::store_channels<C, Lanes>(to + group.first, group, result);
    return group.first + group.count <= until;
  }
  const T* a;
  const T* b;
  T* to;
  std::vector<ChannelGroup>* groups;
  Index until = most_channels + 2 * margin;
};

/// The same of one channel; every step is rounded by itself.
template <class C, class T>
T computed(const T& a, const T& b) {
  const volatile C x = static_cast<C>(a), y = static_cast<C>(b);
  const volatile C square = x * x;
  const volatile C sum = square + C(2);
  const volatile C root = std::sqrt(sum);
  const volatile C inverse = C(1) / root;
  const volatile C product = x * y;
  return static_cast<T>(C(product - inverse));
}

template <class C, class T>
void check_all_channels() {
  const std::vector<T> a = inexact<T>(1), b = inexact<T>(2);
  for (const InstructionSet limit : {InstructionSet::best, InstructionSet::baseline}) {
    const Limited limited(limit);
    for (const Index first : {Index{0}, Index{1}, Index{3}}) {
      for (Index count = 0; count <= most_channels; ++count) {
        std::vector<T> got(a.size(), T(-12345)), wanted = got;
        for (Index c = first; c < first + count; ++c) {
          const auto i = static_cast<std::size_t>(c);
          wanted[i] = computed<C, T>(a[i], b[i]);
        }
        std::vector<ChannelGroup> groups;
        for_channels<C>(first, first + count,
                        Computes<C, T>{a.data(), b.data(), got.data(), &groups});
        INFO(count << " channels from " << first << " on, numbers of " << sizeof(T) << " bytes");
        CHECK(got == wanted);
        Index reached = first;
        for (const ChannelGroup& group : groups) {
          CHECK((group.first == reached && group.count > 0));
          reached += group.count;
          // Fewer than before only at the end.
          CHECK((group.count == groups.front().count || reached == first + count));
        }
        CHECK(reached == first + count);
      }
    }
  }
}

/// All lanes of a group of fewer channels.
struct Loads {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    const std::vector<double> table = inexact<double>(3);
    for (Index first = 0; first < 7; ++first) {
      for (Index count = 1; count <= Lanes; ++count) {
        simd::Vector<C, Lanes> numbers;
        loops::load_channels<C, Lanes>(numbers, table.data(), {first, count});
        const std::vector<C> lanes = lanes_of_vector<C, Lanes>(numbers);
        for (Index lane = 0; lane < Lanes; ++lane) {
          const Index channel = first + (lane < count ? lane : 0);
          CHECK(lanes[static_cast<std::size_t>(lane)] ==
                static_cast<C>(table[static_cast<std::size_t>(channel)]));
        }
      }
    }
  }
};

/// The lanes of some channels, and nothing beside them.
template <class T>
struct Stores {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    const std::vector<C> numbers = inexact<C>(4);
    simd::Vector<C, Lanes> vector;
    simd::read<C, Lanes>(vector, numbers.data());
    for (Index count = 0; count <= Lanes; ++count) {
      std::vector<T> got(32, T(-1)), wanted = got;
      for (Index lane = 0; lane < count; ++lane) {
        wanted[static_cast<std::size_t>(lane + 9)] =
            static_cast<T>(numbers[static_cast<std::size_t>(lane)]);
      }
      // Where it goes is said by the pointer alone.
      loops::store_channels<C, Lanes>(got.data() + 9, {1000, count}, vector);
      INFO(count << " of " << Lanes << " lanes");
      CHECK(got == wanted);
    }
  }
};

struct Rounds {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    const std::vector<C> numbers = inexact<C>(5);
    simd::Vector<C, Lanes> narrowed, kept;
    simd::read<C, Lanes>(narrowed, numbers.data());
    kept = narrowed;
    loops::round_lanes<float, C, Lanes>(narrowed);
    loops::round_lanes<C, C, Lanes>(kept);
    const std::vector<C> got = lanes_of_vector<C, Lanes>(narrowed);
    const std::vector<C> same = lanes_of_vector<C, Lanes>(kept);
    for (std::size_t lane = 0; lane < got.size(); ++lane) {
      CHECK(got[lane] == static_cast<C>(static_cast<float>(numbers[lane])));
      CHECK(got[lane] != numbers[lane]);
      CHECK(same[lane] == numbers[lane]);
    }
  }
};

/// Squares and others, and what has no root.
template <class C>
const std::vector<C>& radicands() {
  using Limits = std::numeric_limits<C>;
  static const std::vector<C> all = {C(0),
                                     -C(0),
                                     C(1),
                                     C(4),
                                     C(2),
                                     C(0.1),
                                     C(1e-5),
                                     (Limits::max)(),
                                     C(-1),
                                     C(9),
                                     C(3),
                                     C(25),
                                     (Limits::min)(),
                                     Limits::denorm_min(),
                                     Limits::infinity(),
                                     Limits::quiet_NaN()};
  return all;
}

struct Roots {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    const std::vector<C>& all = radicands<C>();
    for (std::size_t first = 0; first < all.size(); ++first) {
      C numbers[Lanes];
      for (std::size_t lane = 0; lane < Lanes; ++lane) {
        numbers[lane] = all[(first + lane) % all.size()];
      }
      simd::Vector<C, Lanes> x;
      simd::read<C, Lanes>(x, numbers);
      loops::square_root<C, Lanes>(x);
      const std::vector<C> roots = lanes_of_vector<C, Lanes>(x);
      for (std::size_t lane = 0; lane < Lanes; ++lane) {
        INFO("root of " << numbers[lane] << " in lane " << lane << " of " << Lanes);
        const volatile C number = numbers[lane];
        CHECK(same_bits(roots[lane], C(std::sqrt(number))));
      }
    }
  }
};

/// One lane at a time that is different from the others.
struct JudgesLanes {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    using Limits = std::numeric_limits<C>;
    CHECK(AllLanes<C, Lanes>().passed());
    for (std::size_t place = 0; place < Lanes; ++place) {
      INFO("lane " << place << " of " << Lanes);
      const C nan = Limits::quiet_NaN(), infinity = Limits::infinity();
      for (const C number : {C(0), -C(0), C(1), C(-7), (Limits::max)(), Limits::lowest(),
                             Limits::denorm_min(), infinity, -infinity, nan, -nan}) {
        CHECK(finite<C, Lanes>(place, number) == !(std::isnan(number) || std::isinf(number)));
        CHECK(at_most<C, Lanes>(place, number, C(1)) == (number <= C(1)));
        CHECK(at_most<C, Lanes>(place, C(1), number) == (C(1) <= number));
        CHECK_FALSE(at_most<C, Lanes>(place, number, nan));
      }
      // What has failed once stays so.
      AllLanes<C, Lanes> all;
      simd::Vector<C, Lanes> zero{}, odd;
      set<C, Lanes>(odd, place, nan);
      all.finite(odd);
      all.finite(zero);
      all.at_most(zero, zero);
      CHECK_FALSE(all.passed());
    }
  }

  /// Zero in all lanes but one.
  template <class C, int Lanes>
  [[gnu::always_inline]] static void set(simd::Vector<C, Lanes>& vector, std::size_t place,
                                         const C& number) {
    C numbers[Lanes] = {};
    numbers[place] = number;
    simd::read<C, Lanes>(vector, numbers);
  }
  template <class C, int Lanes>
  [[gnu::always_inline]] static bool finite(std::size_t place, const C& number) {
    simd::Vector<C, Lanes> x;
    set<C, Lanes>(x, place, number);
    AllLanes<C, Lanes> all;
    all.finite(x);
    return all.passed();
  }
  template <class C, int Lanes>
  [[gnu::always_inline]] static bool at_most(std::size_t place, const C& a, const C& b) {
    simd::Vector<C, Lanes> x, y;
    set<C, Lanes>(x, place, a);
    set<C, Lanes>(y, place, b);
    AllLanes<C, Lanes> all;
    all.at_most(x, y);
    return all.passed();
  }
};

}  // namespace

TEST_CASE("every channel is computed once, to the same bits at any width and place") {
  check_all_channels<double, double>();
  check_all_channels<float, float>();
  check_all_channels<double, float>();
  check_all_channels<long double, long double>();
}

TEST_CASE("groups are as wide as vectors of the type that is computed in") {
  const auto widest = [](auto number) {
    using C = decltype(number);
    const std::vector<C> table = inexact<C>(6);
    std::vector<C> to(table.size());
    std::vector<ChannelGroup> groups;
    for_channels<C>(0, most_channels,
                    Computes<C, C>{table.data(), table.data(), to.data(), &groups});
    return groups.front().count;
  };
  CHECK(widest(1.0L) == 1);
  const Limited baseline(InstructionSet::baseline);
  CHECK((widest(1.0) == simd::lanes_of<double, simd::baseline_bytes>));
  CHECK((widest(1.0f) == simd::lanes_of<float, simd::baseline_bytes>));
}

TEST_CASE("a body that returns false is not called again") {
  const std::vector<double> table = inexact<double>(7);
  for (Index until = 0; until <= 21; ++until) {
    std::vector<double> to(table.size());
    std::vector<ChannelGroup> groups;
    for_channels<double>(
        0, 21, Computes<double, double>{table.data(), table.data(), to.data(), &groups, until});
    REQUIRE(!groups.empty());
    const ChannelGroup& last = groups.back();
    INFO("until " << until);
    CHECK((last.first <= until && (last.first + last.count > until || until == 21)));
  }
}

TEST_CASE("lanes of no channel have the numbers of the first one") {
  at_every_width<Loads, double>();
  at_every_width<Loads, float>();
  Loads::run<long double, 1>();
}

TEST_CASE("as many lanes are stored as there are channels") {
  at_every_width<Stores<double>, double>();
  at_every_width<Stores<float>, double>();
  at_every_width<Stores<float>, float>();
  Stores<double>::run<long double, 1>();
}

TEST_CASE("lanes are rounded to a narrower type") {
  at_every_width<Rounds, double>();
  Rounds::run<long double, 1>();
}

TEST_CASE("roots are rounded as those of single numbers are") {
  at_every_width<Roots, double>();
  at_every_width<Roots, float>();
  Roots::run<long double, 1>();
}

TEST_CASE("what holds in all lanes but one does not hold") {
  at_every_width<JudgesLanes, double>();
  at_every_width<JudgesLanes, float>();
  JudgesLanes::run<long double, 1>();
}
