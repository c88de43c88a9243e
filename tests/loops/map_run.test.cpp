// SPDX-License-Identifier: MIT
#include "batchnorm/loops/map_run.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "batchnorm/loops/simd.hpp"
#include "batchnorm/loops/simd_dispatch.hpp"
#include "loops/map_memory.hpp"
#include "loops/region_sums.hpp"
#include "support/catch.hpp"

using batchnorm::InstructionSet;
using namespace batchnorm_test;
namespace loops = batchnorm::loops;
namespace simd = batchnorm::simd;

namespace {

// A multiple of any vector, so that the second output is aligned as the first one is.
constexpr std::size_t room = 704;
constexpr std::size_t margin = 16;

template <class T>
using Memory = MapMemoryOf<T, room>;

/// Numbers of some channels.
template <class C>
struct ChannelTables {
  C first[100];
  C second[100];
  ChannelTables() {
    for (int c = 0; c < 100; ++c) {
      first[c] = C(0.1) * static_cast<C>(c % 7 + 1);
      second[c] = C(0.7) / static_cast<C>(c % 5 + 1);
    }
  }
};

/// Maps the runs of some channels that follow one another.
template <class C, class T>
struct MapsRuns {
  using Job = loops::MapJob<C, Rounding, T, 2>;
  template <int Bytes>
  [[gnu::always_inline]] void run() const {
    constexpr int lanes = simd::lanes_of<C, Bytes>;
    simd::Vector<C, lanes> constants[3] = {};
    simd::broadcast<C, lanes>(constants[2], C(-0.3));
    loops::RunMapper<Job, lanes>::map_lined_up(at, length, channels,
                                               {tables.first + channel, tables.second + channel},
                                               constants, {streaming, false, ahead});
  }
  loops::MapData<T, 2, 2> at;
  Index length;
  bool streaming;
  const ChannelTables<C>& tables;
  Index channel = 0;
  Index channels = 1;
  Index ahead = 0;
};

/// What single elements give, with these instructions, where the runs of channels of `run` elements
/// follow one another from `first` on.
template <class C, class T>
std::vector<std::vector<T>> one_by_one(InstructionSet set, const ChannelTables<C>& tables,
                                       std::size_t first, std::size_t run) {
  Memory<T> memory(1);
  for (std::size_t i = first; i + margin < room; ++i) {
    const auto channel = static_cast<Index>((i - first) / run % 100);
    simd::dispatch(set, MapsRuns<C, T>{memory.at(i), 1, false, tables, channel});
  }
  return {std::vector<T>(memory.out[0], memory.out[0] + room),
          std::vector<T>(memory.out[1], memory.out[1] + room)};
}

/// Whether outputs are as expected in [first, first + length) and untouched elsewhere.
template <class T>
bool written(const T* out, const std::vector<T>& expected, std::size_t first, std::size_t length) {
  for (std::size_t i = 0; i < room; ++i) {
    const bool inside = i >= first && i < first + length;
    if (!(out[i] == (inside ? expected[i] : Memory<T>::untouched()))) return false;
  }
  return true;
}

template <class C, class T>
void check_runs() {
  const ChannelTables<C> tables;
  for (const InstructionSet set : instruction_sets) {
    const std::vector<std::vector<T>> expected = one_by_one<C, T>(set, tables, margin, room);
    REQUIRE(!(expected[0][100] == Memory<T>::untouched()));
    std::vector<std::size_t> lengths = {127, 128, 255, 256, 257, 300, 511, 512, 530, 640};
    for (std::size_t length = 0; length < 40; ++length) lengths.push_back(length);
    for (const std::size_t length : lengths) {
      for (std::size_t first = margin; first < margin + 33; ++first) {
        for (const bool streaming : {false, true}) {
          Memory<T> memory(1);
          const auto count = static_cast<Index>(length);
          simd::dispatch(set, MapsRuns<C, T>{memory.at(first), count, streaming, tables});
          simd::finish_streaming();
          if (written(memory.out[0], expected[0], first, length) &&
              written(memory.out[1], expected[1], first, length)) {
            continue;
          }
          FAIL_CHECK(length << " elements of " << sizeof(T) << " bytes from " << first
                            << " on, streaming " << streaming);
        }
      }
    }
  }
}

/// Runs of several channels as one: vectors that have the numbers of two channels, at every place.
template <class C, class T>
void check_lined_up() {
  const ChannelTables<C> tables;
  for (const InstructionSet set : instruction_sets) {
    for (const std::size_t run : {8u, 9u, 15u, 16u, 17u, 49u, 64u, 196u}) {
      // Runs that are shorter than a vector are not mapped as one.
      if (set == InstructionSet::best && run < simd::lanes_of<C, simd::avx512_bytes>) continue;
      for (std::size_t first = margin; first < margin + 33; ++first) {
        const std::vector<std::vector<T>> expected = one_by_one<C, T>(set, tables, first, run);
        for (const std::size_t channels : {std::size_t{2}, std::size_t{3}, 640 / run}) {
          for (const bool streaming : {false, true}) {
            Memory<T> memory(1);
            simd::dispatch(set, MapsRuns<C, T>{memory.at(first), static_cast<Index>(run), streaming,
                                               tables, 0, static_cast<Index>(channels)});
            simd::finish_streaming();
            if (written(memory.out[0], expected[0], first, run * channels) &&
                written(memory.out[1], expected[1], first, run * channels)) {
              continue;
            }
            FAIL_CHECK(channels << " runs of " << run << " elements of " << sizeof(T)
                                << " bytes from " << first << " on, streaming " << streaming);
          }
        }
      }
    }
  }
}

}  // namespace

TEST_CASE("an element of a run has the same bits wherever it stands, streamed or not") {
  check_runs<float, float>();
  check_runs<double, double>();
  check_runs<float, Eigen::half>();
  check_runs<float, Eigen::bfloat16>();
  check_runs<double, float>();
}

TEST_CASE("runs that follow one another are mapped as one, each with its own numbers") {
  check_lined_up<float, float>();
  check_lined_up<double, double>();
  check_lined_up<float, Eigen::bfloat16>();
}

TEST_CASE("outputs that are not aligned alike are not streamed, and nothing is lost") {
  for (const InstructionSet set : instruction_sets) {
    const ChannelTables<float> tables;
    const std::vector<std::vector<float>> expected =
        one_by_one<float, float>(set, tables, margin, room);
    for (std::size_t first = margin; first < margin + 9; ++first) {
      for (const std::size_t apart : std::vector<std::size_t>{1, 2, 4}) {
        Memory<float> memory(1);
        simd::dispatch(set, MapsRuns<float, float>{memory.at(first, apart), 400, true, tables});
        simd::finish_streaming();
        CHECK(written(memory.out[0], expected[0], first, 400));
        std::vector<float> moved(room);
        std::copy(expected[1].begin(), expected[1].end() - static_cast<Index>(apart),
                  moved.begin() + static_cast<Index>(apart));
        CHECK(written(memory.out[1], moved, first + apart, 400));
      }
    }
  }
}

TEST_CASE("in place, every element is read before it is written") {
  for (const InstructionSet set : instruction_sets) {
    for (const bool streaming : {false, true}) {
      Memory<float> memory(3), copy(3);
      const loops::MapData<float, 2, 2> in_place = {{memory.in[0] + 3, memory.in[1] + 3},
                                                    {memory.in[0] + 3, memory.in[1] + 3}};
      const loops::MapData<float, 2, 2> apart = {{copy.out[0] + 3, copy.out[1] + 3},
                                                 {copy.in[0] + 3, copy.in[1] + 3}};
      const ChannelTables<float> tables;
      simd::dispatch(set, MapsRuns<float, float>{in_place, 100, streaming, tables, 0, 6});
      simd::dispatch(set, MapsRuns<float, float>{apart, 100, false, tables, 0, 6});
      simd::finish_streaming();
      for (int output = 0; output < 2; ++output) {
        CHECK(std::equal(memory.in[output] + 3, memory.in[output] + 603, copy.out[output] + 3));
        CHECK(std::equal(memory.in[output] + 603, memory.in[output] + room, copy.in[output] + 603));
      }
    }
  }
}

TEST_CASE("asking for what comes next, be it beyond the memory, changes nothing") {
  for (const InstructionSet set : instruction_sets) {
    const ChannelTables<float> tables;
    const std::vector<std::vector<float>> expected =
        one_by_one<float, float>(set, tables, margin, 64);
    for (const Index ahead : {Index{1}, Index{640}, Index{-640}, Index{1} << 30}) {
      for (const bool streaming : {false, true}) {
        INFO(ahead << " elements ahead, streaming " << streaming);
        Memory<float> memory(1);
        simd::dispatch(
            set, MapsRuns<float, float>{memory.at(margin), 64, streaming, tables, 0, 10, ahead});
        simd::finish_streaming();
        CHECK(written(memory.out[0], expected[0], margin, 640));
        CHECK(written(memory.out[1], expected[1], margin, 640));
      }
    }
  }
}
