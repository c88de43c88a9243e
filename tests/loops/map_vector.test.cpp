// SPDX-License-Identifier: MIT
#include "batchnorm/loops/map_vector.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "batchnorm/loops/map_job.hpp"
#include "batchnorm/loops/simd.hpp"
#include "loops/map_memory.hpp"
#include "loops/vector_widths.hpp"
#include "support/catch.hpp"

using batchnorm::Index;
using namespace batchnorm_test;
namespace loops = batchnorm::loops;
namespace simd = batchnorm::simd;

namespace {

constexpr std::size_t room = 64;
template <class T>
using Memory = MapMemoryOf<T, room>;
template <class C, class T>
using JobOf = loops::MapJob<C, Rounding, T, 2>;

/// One vector at every place: as its elements one by one, and nothing beside it is written.
template <class T>
struct MapsVectors {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    using Mapper = loops::VectorMapper<JobOf<C, T>, Lanes>;
    simd::Vector<C, Lanes> k[3];
    const C one[3] = {C(0.1f), C(1.7f), C(-0.3f)};
    for (int i = 0; i < 3; ++i) simd::broadcast<C, Lanes>(k[i], one[i]);
    for (std::size_t first = 16; first < 25; ++first) {
      Memory<T> vector(1), single(1);
      Mapper::template map<Lanes, false>(vector.at(first), 3, k);
      for (Index i = 0; i < Lanes; ++i)
        Mapper::template map<1, false>(single.at(first), 3 + i, one);
      INFO(Lanes << " lanes of " << sizeof(C) << " bytes, elements of " << sizeof(T));
      for (int output = 0; output < 2; ++output) {
        CHECK(std::equal(single.out[output], single.out[output] + room, vector.out[output]));
        CHECK(!(single.out[output][first + 3] == Memory<T>::untouched()));
      }
    }
  }
};

/// The same past the cache, where it is aligned.
template <class T>
struct StreamsVectors {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    using Mapper = loops::VectorMapper<JobOf<C, T>, Lanes>;
    if constexpr (Mapper::can_stream) {
      simd::Vector<C, Lanes> k[3];
      for (int i = 0; i < 3; ++i) simd::broadcast<C, Lanes>(k[i], C(0.1f) * static_cast<C>(i + 1));
      Memory<T> streamed(1), stored(1);
      Mapper::template map<Lanes, true>(streamed.at(16), 16, k);
      Mapper::template map<Lanes, false>(stored.at(16), 16, k);
      simd::finish_streaming();
      for (int output = 0; output < 2; ++output) {
        CHECK(std::equal(stored.out[output], stored.out[output] + room, streamed.out[output]));
      }
    }
  }
};

/// Two vectors side by side, each with its own numbers: as one by one.
template <class T>
struct MapsPairs {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    using Mapper = loops::VectorMapper<JobOf<C, T>, Lanes>;
    simd::Vector<C, Lanes> k[2][3];
    for (int i = 0; i < 3; ++i) {
      simd::broadcast<C, Lanes>(k[0][i], C(0.1f) * static_cast<C>(i + 1));
      simd::broadcast<C, Lanes>(k[1][i], C(-0.7f) * static_cast<C>(i + 1));
    }
    for (std::size_t first = 16; first < 33; ++first) {
      Memory<T> pair(1), single(1);
      Mapper::template map<Lanes, false>(single.at(first), 0, k[0]);
      Mapper::template map<Lanes, false>(single.at(first), Lanes, k[1]);
      Mapper::template map_pair<false>(pair.at(first), 0, k[0], k[1]);
      INFO(Lanes << " lanes of " << sizeof(C) << " bytes, elements of " << sizeof(T));
      for (int output = 0; output < 2; ++output) {
        CHECK(std::equal(single.out[output], single.out[output] + room, pair.out[output]));
      }
      if constexpr (Mapper::can_stream) {
        if (Mapper::to_alignment(pair.at(first), 0) != 0) continue;
        Memory<T> streamed(1);
        Mapper::template map_pair<true>(streamed.at(first), 0, k[0], k[1]);
        simd::finish_streaming();
        for (int output = 0; output < 2; ++output) {
          CHECK(std::equal(single.out[output], single.out[output] + room, streamed.out[output]));
        }
      }
    }
  }
};

template <class T>
struct Alignment {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    using Mapper = loops::VectorMapper<JobOf<C, T>, Lanes>;
    Memory<T> memory(1);
    // A pair that is a line is streamed as one.
    const bool in_pairs =
        simd::narrows_in_pairs<C, Lanes, T> && 2 * Lanes * sizeof(T) == std::size_t{64};
    const Index boundary = in_pairs ? 2 * Lanes : Lanes;
    for (std::size_t first = 0; first < 33; ++first) {
      const Index past = static_cast<Index>(first) % boundary;
      INFO(first << " elements from the boundary, " << Lanes << " lanes");
      CHECK(Mapper::to_alignment(memory.at(first), 0) == (past == 0 ? 0 : boundary - past));
      CHECK(Mapper::to_alignment(memory.at(first), 5) ==
            Mapper::to_alignment(memory.at(first + 5), 0));
      for (std::size_t apart = 0; apart < 17; ++apart) {
        CHECK(Mapper::aligned_alike(memory.at(first, apart)) ==
              (static_cast<Index>(apart) % boundary == 0));
      }
    }
    for (Index step = -33; step < 34; ++step) {
      INFO("step " << step << ", " << Lanes << " lanes");
      CHECK(Mapper::keeps_alignment({{step, 0}, {1, 3}}) == (step % boundary == 0));
      CHECK(Mapper::keeps_alignment({{0, step}, {1, 3}}) == (step % boundary == 0));
    }
  }
};

/// An array that is not even aligned to its elements.
struct OddAddress {
  template <class C, int Lanes>
  [[gnu::always_inline]] static void run() {
    using Mapper = loops::VectorMapper<JobOf<C, C>, Lanes>;
    if constexpr (Lanes > 1) {
      alignas(64) static unsigned char bytes[256] = {};
      loops::MapData<C, 2, 2> at = {};
      at.to = {reinterpret_cast<C*>(bytes + 2), reinterpret_cast<C*>(bytes + 2)};
      CHECK_FALSE(Mapper::aligned_alike(at));
    }
  }
};

}  // namespace

TEST_CASE("a vector of elements is mapped as single ones are, and nothing beside it") {
  at_every_width<MapsVectors<float>, float>();
  at_every_width<MapsVectors<double>, double>();
  at_every_width<MapsVectors<float>, double>();
  at_every_width<MapsVectors<Eigen::half>, float>();
  at_every_width<MapsVectors<Eigen::bfloat16>, float>();
  MapsVectors<long double>::run<long double, 1>();
}

TEST_CASE("a streamed vector is what a stored one is") {
  at_every_width<StreamsVectors<float>, float>();
  at_every_width<StreamsVectors<double>, double>();
  at_every_width<StreamsVectors<Eigen::half>, float>();
}

TEST_CASE("a pair of vectors is mapped as one after the other, streamed or not") {
  at_every_width<MapsPairs<float>, float>();
  at_every_width<MapsPairs<double>, double>();
  at_every_width<MapsPairs<float>, double>();
  at_every_width<MapsPairs<Eigen::half>, float>();
  at_every_width<MapsPairs<Eigen::bfloat16>, float>();
}

TEST_CASE("vector boundaries are found, and whether outputs and steps agree about them") {
  at_every_width<Alignment<float>, float>();
  at_every_width<Alignment<double>, double>();
  at_every_width<Alignment<Eigen::half>, float>();
  at_every_width<Alignment<Eigen::bfloat16>, float>();
  at_every_width<OddAddress, float>();
}

TEST_CASE("operands advance each by its own step") {
  Memory<float> memory(1);
  loops::MapData<float, 2, 2> at = memory.at(20);
  loops::VectorMapper<JobOf<float, float>, 1>::advance(at, {{3, -4}, {5, 0}});
  CHECK(at.to[0] == memory.out[0] + 23);
  CHECK(at.to[1] == memory.out[1] + 16);
  CHECK(at.from[0] == memory.in[0] + 25);
  CHECK(at.from[1] == memory.in[1] + 21);
}
