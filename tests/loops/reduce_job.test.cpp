// SPDX-License-Identifier: MIT
#include "batchnorm/loops/reduce_job.hpp"

#include <array>
#include <cstddef>
#include <vector>

#include "loops/region_sums.hpp"
#include "loops/vector_widths.hpp"
#include "support/catch.hpp"

using namespace batchnorm_test;
namespace loops = batchnorm::loops;

namespace {

/// Sums of products with the deviation from a pivot, of two inputs.
struct Products {
  static constexpr int sums = 2;
  static constexpr int coefficients = 1;
  template <class V>
  [[gnu::always_inline]] static void add(V* s, const V* x, const V* k) {
    s[0] += x[0];
    s[1] += x[0] * (x[1] - k[0]);
  }
};

constexpr int most_lanes = 16;
constexpr float pivot = 3;

/// What lanes sum to when `count` elements from `first` on are added in the lanes from `lane` on.
std::vector<float> expected_lanes(const std::vector<float>& x, const std::vector<float>& y,
                                  Size first, Size count, Size lane, Size lanes, bool products) {
  std::vector<float> sums(lanes, 0.0f);
  for (Size i = 0; i < count; ++i) {
    sums[lane + i] = x[first + i] * (products ? y[first + i] - pivot : 1.0f);
  }
  return sums;
}

struct AddsVectors {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    using Job = loops::ReduceJob<Products, C, C, double, 2>;
    using Adder = loops::VectorAdder<Job, Lanes>;
    constexpr Size lanes = static_cast<Size>(Lanes);
    std::vector<C> x(3 * most_lanes), y(3 * most_lanes);
    for (Size i = 0; i < x.size(); ++i) {
      x[i] = static_cast<C>(i + 1);
      y[i] = static_cast<C>(40 - static_cast<int>(i));
    }
    const std::array<const C*, 2> from = {x.data(), y.data()};
    batchnorm::simd::Vector<C, Lanes> k[Products::coefficients];
    batchnorm::simd::broadcast<C, Lanes>(k[0], pivot);
    const auto check = [&](const batchnorm::simd::Vector<C, Lanes>* s, Size first, Size count,
                           Size lane) {
      for (Size j = 0; j < 2; ++j) {
        CHECK(lanes_of_vector<C, Lanes>(s[j]) ==
              expected_lanes(x, y, first, count, lane, lanes, j == 1));
      }
    };
    {
      batchnorm::simd::Vector<C, Lanes> s[Products::sums] = {};
      Adder::add(s, from, 5, k);
      check(s, 5, lanes, 0);
    }
    for (Size count = 0; count <= lanes; ++count) {
      batchnorm::simd::Vector<C, Lanes> s[Products::sums] = {};
      Adder::add_last(s, from, 2 * most_lanes, static_cast<Index>(count), k);
      check(s, 2 * most_lanes - count, count, lanes - count);
    }
    for (Size count = 0; count < lanes; ++count) {
      batchnorm::simd::Vector<C, Lanes> s[Products::sums] = {};
      Adder::add_few(s, from, 7, static_cast<Index>(count), k);
      check(s, 7, count, 0);
    }
  }
};

}  // namespace

TEST_CASE("vectors of elements are added to lanes, whole ones, last ones and few") {
  at_every_width<AddsVectors, float>();
}

TEST_CASE("inputs come from memory where they are more than caches hold") {
  const auto distant = [](Index samples) {
    const std::vector<float> memory(static_cast<Size>(samples));
    const batchnorm::BatchView<const float> view(memory.data(), samples, 1, 1, 1, 1, 1);
    bool is = false;
    with_job<PlainSum, float, double>(ConstantPivot{}, view, nullptr,
                                      [&](const auto& job) { is = job.distant(); });
    return is;
  };
  CHECK_FALSE(distant(1000));
  CHECK_FALSE(distant(Index{1} << 18));
  CHECK(distant((Index{1} << 18) + 1));
}
