// SPDX-License-Identifier: MIT
#include "batchnorm/loops/map_run.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "loops/map_formulas.hpp"
#include "loops/region_sums.hpp"
#include "support/catch.hpp"
#include "support/generators.hpp"

using batchnorm::InstructionSet;
using namespace batchnorm_test;
namespace loops = batchnorm::loops;
namespace simd = batchnorm::simd;

namespace {

/// y0 = (x0 - k0) k1 + k2 and y1 = x1 k1 + x0: numbers round, and k2 is a constant.
struct Rounding : loops::MapFormula<2, 1, 2> {
  template <class V>
  [[gnu::always_inline]] static void apply(V* y, const V* x, const V* k) {
    y[0] = (x[0] - k[0]) * k[1] + k[2];
    y[1] = x[1] * k[1] + x[0];
  }
};

constexpr std::size_t room = 700;
constexpr std::size_t margin = 16;

/// Two inputs and two outputs, aligned to any vector, with empty memory before and behind.
template <class T>
struct Memory {
  explicit Memory(std::uint64_t seed) {
    Random random(seed);
    for (auto& each : in) {
      for (T& value : each) value = static_cast<T>(static_cast<float>(random.uniform(-9, 9)));
    }
    for (auto& each : out) std::fill(each, each + room, T(-12345.0f));
  }
  /// The operands from an element on; the outputs may be one element apart from each other.
  loops::MapData<T, 2, 2> at(std::size_t first, std::size_t apart = 0) {
    return {{out[0] + first, out[1] + first + apart}, {in[0] + first, in[1] + first + 1}};
  }
  alignas(64) T in[2][room];
  alignas(64) T out[2][room];
};

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
                                               constants, {streaming, 0});
  }
  loops::MapData<T, 2, 2> at;
  Index length;
  bool streaming;
  const ChannelTables<C>& tables;
  Index channel = 0;
  Index channels = 1;
};

/// Maps rows whose numbers are different in every column.
template <class C, class T>
struct MapsRows {
  using Job = loops::MapJob<C, Rounding, T, 2>;
  template <int Bytes>
  [[gnu::always_inline]] void run() const {
    constexpr int lanes = simd::lanes_of<C, Bytes>;
    simd::Vector<C, lanes> constants[3] = {};
    simd::broadcast<C, lanes>(constants[2], C(-0.3));
    const loops::MapSteps<2, 2> step = {{100, 100}, {100, 100}};
    loops::RunMapper<Job, lanes>::map_rows(at, step, rows, columns, {table[0], table[1]}, constants,
                                           {streaming, 0});
  }
  loops::MapData<T, 2, 2> at;
  Index rows, columns;
  const C* table[2];
  bool streaming;
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
    if (!(out[i] == (inside ? expected[i] : T(-12345.0f)))) return false;
  }
  return true;
}

template <class C, class T>
void check_runs() {
  const ChannelTables<C> tables;
  for (const InstructionSet set : instruction_sets) {
    const std::vector<std::vector<T>> expected = one_by_one<C, T>(set, tables, margin, room);
    REQUIRE(!(expected[0][100] == T(-12345.0f)));
    std::vector<std::size_t> lengths = {127, 128, 255, 256, 257, 300, 511, 512, 530, 640};
    for (std::size_t length = 0; length < 40; ++length) lengths.push_back(length);
    for (const std::size_t length : lengths) {
      for (std::size_t first = margin; first < margin + 17; ++first) {
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
      for (std::size_t first = margin; first < margin + 9; ++first) {
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

/// Numbers of every column.
template <class C>
std::vector<C> column_numbers(C scale) {
  std::vector<C> all;
  for (int i = 0; i < 100; ++i) all.push_back(scale / static_cast<C>(i + 3));
  return all;
}

template <class C, class T>
void check_rows() {
  const std::vector<C> first_table = column_numbers<C>(C(1)),
                       second_table = column_numbers<C>(C(-7));
  const auto maps = [&](Memory<T>& memory, std::size_t first, Index rows, Index column,
                        Index columns, bool streaming) {
    return MapsRows<C, T>{memory.at(first + static_cast<std::size_t>(column)),
                          rows,
                          columns,
                          {first_table.data() + column, second_table.data() + column},
                          streaming};
  };
  for (const InstructionSet set : instruction_sets) {
    for (const std::size_t first : std::vector<std::size_t>{16, 17, 19, 24}) {
      Memory<T> single(2);
      for (Index column = 0; column < 90; ++column) {
        simd::dispatch(set, maps(single, first, 1, column, 1, false));
        for (Index row = 1; row < 5; ++row) {
          const std::size_t next = first + 100 * static_cast<std::size_t>(row);
          simd::dispatch(set, maps(single, next, 1, column, 1, false));
        }
      }
      for (const Index columns : {1, 3, 4, 5, 8, 15, 31, 32, 33, 64, 71, 90}) {
        for (const Index rows : {0, 1, 2, 3, 5}) {
          for (const bool streaming : {false, true}) {
            Memory<T> memory(2), wanted(2);
            simd::dispatch(set, maps(memory, first, rows, 0, columns, streaming));
            simd::finish_streaming();
            for (int output = 0; output < 2; ++output) {
              for (Index row = 0; row < rows; ++row) {
                const std::size_t at = first + 100 * static_cast<std::size_t>(row);
                std::copy(single.out[output] + at, single.out[output] + at + columns,
                          wanted.out[output] + at);
              }
              if (!std::equal(wanted.out[output], wanted.out[output] + room, memory.out[output])) {
                FAIL_CHECK(rows << " rows of " << columns << " from " << first << " on, streaming "
                                << streaming << ", elements of " << sizeof(T) << " bytes");
              }
            }
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

TEST_CASE("an element of a row has the same bits wherever it stands, streamed or not") {
  check_rows<float, float>();
  check_rows<double, double>();
  check_rows<float, Eigen::half>();
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
